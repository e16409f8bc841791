//! Why bytes are no ChatMessage, in words that the developer of a client understands. The gateway puts them
//! into the reason of a close frame.

use std::fmt;

use crate::chat::field;
use crate::protobuf::WireError;

/// Why bytes are no ChatMessage. `field` is a field's number in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatError {
    /// The bytes are no protobuf message.
    Wire(WireError),
    /// A field of the schema has another wire type than the schema says.
    WireType {
        /// The field.
        field: u32,
        /// The wire type by the schema.
        expected: &'static str,
        /// The wire type that came.
        found: &'static str,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// The field.
        field: u32,
    },
    /// A required field (boxid, group, mtype or op) is not there.
    Missing {
        /// The field.
        field: u32,
    },
    /// The value of mtype or op is none of the schema's.
    UnknownEnum {
        /// The field.
        field: u32,
        /// The enum's name in the schema.
        enum_name: &'static str,
        /// The value that came.
        value: i32,
    },
    /// A field inside one of the `status` entries is wrong.
    Status {
        /// The field of ChatStatus.
        field: u32,
    },
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |field: u32| field::NAMES[field as usize];
        match *self {
            ChatError::Wire(error) => error.fmt(f),
            ChatError::WireType {
                field,
                expected,
                found,
            } => {
                write!(
                    f,
                    "field {field} ({}): expected {expected}, found {found}",
                    name(field)
                )
            }
            ChatError::NotUtf8 { field } => write!(f, "field {field} ({}): not UTF-8", name(field)),
            ChatError::Missing { field } => {
                write!(f, "field {field} ({}): required and missing", name(field))
            }
            ChatError::UnknownEnum {
                field,
                enum_name,
                value,
            } => {
                write!(
                    f,
                    "field {field} ({}): {value} is no {enum_name}",
                    name(field)
                )
            }
            ChatError::Status { field } => {
                write!(f, "field 21 (status): its field {field} is malformed")
            }
        }
    }
}

impl std::error::Error for ChatError {}

impl From<WireError> for ChatError {
    fn from(error: WireError) -> Self {
        ChatError::Wire(error)
    }
}
