//! Every bound of the protocol and of the nodes' queues, and what happens at it. Tests shrink what a
//! settings struct carries; what stands here as a constant is part of the contract.

/// A longer uid is refused: HTTP 400 at the upgrade.
pub const UID_BYTES_MAX: usize = 128;
/// A longer boxid is answered with BAD_BOXID.
pub const BOXID_BYTES_MAX: usize = 256;
/// A longer client_id is answered with BAD_CLIENT_ID.
pub const CLIENT_ID_BYTES_MAX: usize = 128;

/// The text of an error reply; the rest is cut off.
pub const ERROR_TEXT_BYTES_MAX: usize = 512;

/// Request line and headers of an upgrade together; more is HTTP 431.
pub const UPGRADE_BYTES_MAX: usize = 8 * 1024;
/// Header fields of an upgrade; more is HTTP 431.
pub const UPGRADE_HEADERS_MAX: usize = 64;
/// An upgrade that is not complete by then is HTTP 408.
pub const UPGRADE_MS_MAX: u64 = 10_000;

/// Default bound of one message, fragments together; more closes with 1009.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The same on `/echo`.
pub const ECHO_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// RFC 6455, 5.5: a longer control frame closes with 1002.
pub const CONTROL_BYTES_MAX: usize = 125;

/// Messages in one answer to a pull, whatever limit the client names.
pub const PULL_MESSAGES_MAX: u32 = 256;
/// Messages in one answer to a pull that names no limit.
pub const PULL_MESSAGES_DEFAULT: u32 = 100;
/// Payload bytes after which an answer to a pull ends early (it always holds at least one message).
pub const PULL_BYTES_MAX: usize = 256 * 1024;
/// Boxes of one user; a JOIN beyond it is answered with OVERLOADED.
pub const BOXES_PER_USER_MAX: usize = 4096;

/// A node-to-node frame; a longer one closes the link.
pub const LINK_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Of a frame, what a delivery's payload may take: a message bound that would exceed it once stamped
/// (by [`STAMP_BYTES_MAX`]) is refused in the configuration.
pub const LINK_PAYLOAD_BYTES_MAX: usize = LINK_FRAME_BYTES_MAX - 256;
/// What the server appends to a client's message at most.
pub const STAMP_BYTES_MAX: usize = UID_BYTES_MAX + 80;
/// Topics in one Interest or Withdraw frame; longer lists are split.
pub const LINK_TOPICS_MAX: usize = 4096;
/// Bytes queued on one link; beyond it the link is closed, and repaired by SYNC when it is back.
pub const LINK_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Shards of one process.
pub const SHARDS_MAX: u16 = 1024;
/// Hash partitions of all topics. Fixed for a cluster's life: checked against `/newim/slots`.
pub const SLOT_COUNT: u16 = 4096;
