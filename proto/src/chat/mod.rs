//! ChatMessage on the hot path: read by borrowing ([`ChatView`]), stamped by appending ([`stamp()`]), and the
//! server's own messages written straight into a send buffer ([`reply`]). Gateway shards call it on their
//! cores. It never panics on a peer's bytes, and copies none to read them.

mod error;
pub mod reply;
mod stamp;
mod view;

pub use error::ChatError;
pub use stamp::{Stamp, append_identity, append_position, stamp};
pub use view::{ChatView, digest};

/// Field numbers of ChatMessage.
pub(crate) mod field {
    pub const BOXID: u32 = 1;
    pub const GROUP: u32 = 2;
    pub const UUID: u32 = 3;
    pub const SENDER: u32 = 4;
    pub const RECEIVER: u32 = 5;
    pub const BODY: u32 = 6;
    pub const MTYPE: u32 = 7;
    pub const OP: u32 = 8;
    pub const CLIENT_ID: u32 = 9;
    pub const SEQ: u32 = 10;
    pub const EPOCH: u32 = 11;
    pub const TS_MS: u32 = 12;
    pub const HEAD_SEQ: u32 = 13;
    pub const ACK_SEQ: u32 = 14;
    pub const READ_SEQ: u32 = 15;
    pub const LIMIT: u32 = 16;
    pub const DONE: u32 = 17;
    pub const ERROR_CODE: u32 = 18;
    pub const ERROR_TEXT: u32 = 19;
    pub const RETRY_AFTER_MS: u32 = 20;
    pub const STATUS: u32 = 21;

    pub const NAMES: [&str; 22] = [
        "",
        "boxid",
        "group",
        "uuid",
        "sender",
        "receiver",
        "body",
        "mtype",
        "op",
        "client_id",
        "seq",
        "epoch",
        "ts_ms",
        "head_seq",
        "ack_seq",
        "read_seq",
        "limit",
        "done",
        "error_code",
        "error_text",
        "retry_after_ms",
        "status",
    ];
}
