//! WebSocket (RFC 6455) as pure functions of bytes: the upgrade, frames, whole messages, close codes. Gateway
//! shards call it on their cores; the load generator does so in the client's role.

pub mod client;
pub mod close;
pub mod frame;
pub mod handshake;
pub mod message;
pub mod refusal;
pub mod request;

pub use close::CloseCode;
pub use frame::{FrameError, Opcode, Side};
pub use handshake::{Upgrade, parse_upgrade, write_accept};
pub use message::{MessageLimits, Messages, WsEvent};
pub use refusal::{Refusal, write_refusal};
pub use request::UpgradeRequest;
