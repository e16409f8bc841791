//! Every bound of this crate that no configuration sets, and what happens at it. What can be configured is
//! in `Config`; some of these cut it.
#![cfg_attr(not(feature = "engine"), allow(dead_code))] // most are the engine's

/// The oldest kernel that has everything without which the engine can't work: MSG_RING with descriptors
/// and synchronous cancel. 6.1 brings DEFER_TASKRUN, the mode that it was built for.
pub const KERNEL_MIN: &str = "6.0";

/// Bytes of one SEND; a longer buffer takes several. The result of one must fit an i32.
pub(crate) const SEND_BYTES_MAX: usize = 1 << 30;

/// Bytes that a transport stage may have to say by itself while a send is in flight. A peer that makes it say
/// more reads nothing of it, and is cut off.
pub(crate) const STAGE_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Reads from a peer that goes on sending after our FIN; then it is cut off. 4 MiB in full buffers.
pub(crate) const LINGER_READS_MAX: u16 = 2048;

/// Microseconds before accepting is tried again when the machine lacked something (EMFILE and its like).
pub(crate) const ACCEPT_RETRY_US: u64 = 20_000;

/// Microseconds between two log lines that say the same of a shard (it is full, it can't accept); what comes
/// sooner isn't said.
pub(crate) const NOTICE_US_MIN: u64 = 60_000_000;

/// Connections by which a shard may be ahead of the one that hands it another, where both have few; beyond it
/// `Io::may_hand_over` says no.
pub(crate) const HAND_OVER_AHEAD_MAX: u32 = 64;

/// Completions of one batch; the rest waits for the next. So the driver flushes at least so often.
pub(crate) const BATCH_MAX: usize = 1024;

/// Control messages of one batch; the rest waits for the next.
pub(crate) const CONTROLS_PER_BATCH_MAX: usize = 256;

/// Microseconds that a shard waits on its own ring before it gives the thread to glommio, and that it
/// keeps the thread at most when it is busy. The engine's task is the only one of its executor, so nothing
/// waits for that turn; and parking in glommio costs several system calls, too many for a shard that sees
/// some hundred messages a second.
pub(crate) const TURN_US: u64 = 50_000;

/// Microseconds between two rests of a shard, by which it returns memory: what little traffic frees and takes
/// again stays where it is.
pub(crate) const REST_US_MIN: u64 = 500_000;

/// Sends in flight that a quiet shard keeps room for. What a burst (one fan-out to all) took beyond it is
/// given back.
pub(crate) const QUIET_FLIGHTS_MAX: usize = 1024;

/// Receive buffers of one shard (`Config::buffer_count`): what a buffer ring of the kernel holds.
pub(crate) const BUFFER_COUNT_MAX: u16 = 32_768;
/// Bytes of one receive buffer (`Config::buffer_bytes`).
pub(crate) const BUFFER_BYTES_MAX: u32 = 1 << 20;

/// Entries of the completion queues of all shards together, 4 MiB; each gets its share.
pub(crate) const COMPLETIONS_MAX: u32 = 262_144;
/// Receive buffers of all shards together, 16 MiB of the usual size; each gets its share.
pub(crate) const BUFFERS_MAX: u16 = 4096;
/// Receive buffers that one shard has at least, however many shards share the cores: many shards are for many
/// quiet connections.
pub(crate) const BUFFERS_PER_SHARD_MIN: u16 = 32;
/// Messages that wait for one shard from all others together, which bounds the mesh's memory: 64 shards hold
/// at most 64 × 4,096. Each queue gets its share; `Io::mail` refuses beyond it.
pub(crate) const MAIL_PER_SHARD_MAX: u32 = 4096;
/// Messages that may wait between two shards, however many shards there are: a batch's worth.
pub(crate) const MAIL_PER_PAIR_MIN: u32 = 64;

/// Milliseconds that a port may still be held by the rings of a process that has ended; then the start is
/// refused.
pub(crate) const LEFTOVER_PORT_MS_MAX: u64 = 2000;
/// Milliseconds between two tries at such a port.
pub(crate) const LEFTOVER_PORT_RETRY_MS: u64 = 20;

/// Bytes of locked memory (RLIMIT_MEMLOCK) that glommio demands for an executor; with less the start is
/// refused.
pub(crate) const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;
