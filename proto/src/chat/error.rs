//! Why bytes are no ChatMessage, in words that the developer of a client understands. The gateway
//! puts them into a close reason and counts them by variant.

use std::fmt;

use crate::chat::field;
use crate::protobuf::WireError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatError {
    /// Not protobuf at all.
    Wire(WireError),
    /// A field that we know has another type than the schema says.
    WireType {
        field: u32,
        expected: &'static str,
        found: &'static str,
    },
    NotUtf8 {
        field: u32,
    },
    /// boxid, group, mtype or op isn't there.
    Missing {
        field: u32,
    },
    /// A value of mtype or op that the schema doesn't have.
    UnknownEnum {
        field: u32,
        enum_name: &'static str,
        value: i32,
    },
    /// A field inside one of the `status` entries is wrong.
    Status {
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
