//! Bounds of the terminal client, and what happens at each.

use newim_proto::limits;

/// Lines that are typed ahead of the session. At the bound a pipe that has more waits.
pub const LINES_AHEAD_MAX: usize = 16;

/// Characters of one visible character: a letter with its marks, a joined emoji. More are left out, because
/// a hundred marks on one letter cover the lines around it.
pub const CLUSTER_CHARS_MAX: usize = 16;

/// Bytes of a message from the node: more than any node sends in one. A longer one ends the connection.
pub const MESSAGE_BYTES_MAX: usize = 2 * limits::ECHO_MESSAGE_BYTES_MAX;

/// Milliseconds for a connection with its upgrade. Then the attempt has failed.
pub const CONNECT_MS_MAX: u64 = 10_000;
/// Milliseconds without a word from the node after which it is pinged…
pub const SILENCE_MS_PING: u64 = 20_000;
/// …and after which the connection counts as dead.
pub const SILENCE_MS_MAX: u64 = 40_000;
/// Milliseconds for the node to take the bytes of one message. Then the connection counts as dead.
pub const SEND_MS_MAX: u64 = 10_000;

/// Milliseconds after the end of the input for what was said to be acknowledged. Then the client fails.
pub const ACKNOWLEDGE_MS_MAX: u64 = 30_000;
