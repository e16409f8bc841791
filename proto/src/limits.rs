//! Every bound that crates share: of the protocol, of links between nodes, of what shards keep. Each says
//! its unit and what happens at the bound. Constants are part of the contract; what an operator or a test
//! may shrink is a field of a settings struct, which takes its default from here. A bound that only one
//! crate knows stands in that crate's `limits.rs` or `settings.rs`.

// Names.

/// Bytes of a uid. A longer one is refused: HTTP 400 at the upgrade, BAD_RECEIVER in a message.
pub const UID_BYTES_MAX: usize = 128;
/// Bytes of a boxid. A longer one is answered with BAD_BOXID.
pub const BOXID_BYTES_MAX: usize = 256;
/// Bytes of a client_id. A longer one is answered with BAD_CLIENT_ID.
pub const CLIENT_ID_BYTES_MAX: usize = 128;

// The upgrade (HTTP).

/// Bytes of the request line and all headers together. A longer request is refused with HTTP 431.
pub const UPGRADE_BYTES_MAX: usize = 8 * 1024;
/// Header fields of an upgrade request. One more is refused with HTTP 431.
pub const UPGRADE_HEADERS_MAX: usize = 64;
/// Milliseconds from the accepted connection to the whole request. A later one is refused with HTTP 408.
pub const UPGRADE_MS_MAX: u64 = 10_000;
/// Seconds that a refusal with HTTP 503 names in `Retry-After`.
pub const REFUSED_RETRY_S: u64 = 5;

// Messages (WebSocket and protobuf).

/// Default bound on the bytes of one message, all fragments together. A longer one closes the connection
/// with 1009.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Default bound on the bytes of one message on `/echo`. A longer one closes the connection with 1009.
pub const ECHO_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Payload bytes of a control frame (RFC 6455, 5.5). A longer one closes the connection with 1002.
pub const CONTROL_BYTES_MAX: usize = 125;
/// Protobuf groups or messages inside one another. Deeper ones make a message undecodable; prost and
/// protobuf-java stop at the same depth.
pub const PROTOBUF_DEPTH_MAX: u32 = 100;
/// Bytes of the text in an error reply. A longer text is cut off.
pub const ERROR_TEXT_BYTES_MAX: usize = 512;

// Pulls and boxes.

/// Messages in one answer to a pull, whatever limit the client names. The client pulls on.
pub const PULL_MESSAGES_MAX: u32 = 256;
/// Messages in one answer to a pull that names no limit.
pub const PULL_MESSAGES_DEFAULT: u32 = 100;
/// Payload bytes in one answer to a pull. The answer ends before the message that would exceed it, but
/// always holds at least one.
pub const PULL_BYTES_MAX: usize = 256 * 1024;
/// Boxes of one user. A JOIN or a P2P message beyond it is answered with OVERLOADED.
pub const BOXES_PER_USER_MAX: usize = 4096;

// Links between nodes.

/// Bytes of one link frame, without its length. A longer one from a peer closes the link.
pub const LINK_FRAME_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a delivery's payload, so that its frame stays within [`LINK_FRAME_BYTES_MAX`]. A configured
/// message bound that could exceed it once stamped (by [`STAMP_BYTES_MAX`]) is refused at start.
pub const LINK_PAYLOAD_BYTES_MAX: usize = LINK_FRAME_BYTES_MAX - 256;
/// Bytes that the server appends to a client's message at most.
pub const STAMP_BYTES_MAX: usize = UID_BYTES_MAX + 80;
/// Topics in one Interest or Withdraw. The sender splits a longer list; one from a peer closes the link.
pub const LINK_TOPICS_MAX: usize = 4096;
/// Bytes that wait or are in flight on one link. One message more closes the link; SYNC repairs it when it
/// is back.
pub const LINK_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of capacity that each of a link's two send buffers keeps from one send to the next. A burst's
/// memory beyond it is freed.
pub const LINK_SPARE_BYTES_MAX: usize = 256 * 1024;
/// Bytes of capacity that a link's decoder keeps between cut frames: enough for a usual Deliver. What a
/// cut list of topics took beyond it is freed.
pub const LINK_CUT_SPARE_BYTES_MAX: usize = 16 * 1024;

// Payload pools (one per shard).

/// Blocks of one pool, those in flight among them. A payload beyond them is allocated and freed.
pub const PAYLOAD_BLOCKS_MAX: usize = 4096;
/// Bytes of all blocks of one pool. A payload beyond them is allocated and freed.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes of one block. A larger one is allocated and freed, which costs little beside copying what is in
/// it.
pub const PAYLOAD_BLOCK_BYTES_MAX: usize = 4096;

// The cluster.

/// Shards of one process. More are refused at start, and a znode that claims more is ignored.
pub const SHARDS_MAX: u16 = 1024;
/// Hash partitions of all topics. Fixed for a cluster's life: a node that finds another number in
/// `/newim/slots` refuses to join.
pub const SLOT_COUNT: u16 = 4096;
