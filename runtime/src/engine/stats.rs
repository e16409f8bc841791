//! What the engine of one shard counts. Plain numbers on the shard's own core: the driver copies them out
//! to other threads.

/// Counted since the shard started; only gauges (named `_now`) go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Connections in the shard's table, whatever their state.
    pub conns_now: u64,
    /// Sockets that the kernel accepted for this shard.
    pub accepts: u64,
    /// Times that accept was put off because the machine or the table had no room.
    pub accept_backoffs: u64,
    /// Times that the shard became full, so that new clients waited in the kernel's queue.
    pub accept_full: u64,
    /// 1 while the shard is full.
    pub accept_full_now: u64,
    /// Sockets that were accepted or handed over, and closed at once for want of a place.
    pub accept_dropped: u64,
    /// Calls of `Io::connect`.
    pub connects: u64,
    /// Connections that ended, those that were handed over included.
    pub closes: u64,
    /// Polls that were submitted: one for each connection, and one for each time that the kernel ended one.
    pub polls: u64,
    /// Reads that brought bytes.
    pub recvs: u64,
    /// Bytes of those reads.
    pub recv_bytes: u64,
    /// Times a readable connection had to wait for a receive buffer.
    pub recv_no_buffer: u64,
    /// Sends that the kernel has wholly.
    pub sends: u64,
    /// Bytes that the kernel took of sends.
    pub send_bytes: u64,
    /// Sends that the kernel took in part, and that were submitted again for the rest.
    pub send_short: u64,
    /// Connections that another shard took over.
    pub hand_overs_out: u64,
    /// Connections that this shard took over.
    pub hand_overs_in: u64,
    /// Entries submitted to the socket ring.
    pub sqes: u64,
    /// Completions taken from it.
    pub cqes: u64,
    /// System calls of io_uring_enter on the socket ring.
    pub enters: u64,
    /// Times the completion queue overflowed (the kernel kept the rest; nothing was lost).
    pub cq_overflows: u64,
    /// Times this shard went to sleep in glommio because nothing happened for a while.
    pub parks: u64,
    /// Wake-ups sent to other shards.
    pub wakes_out: u64,
    /// Mail sent to shards, in messages.
    pub mail_out: u64,
    /// Mail received.
    pub mail_in: u64,
    /// Mail given back because the receiver's queue was full or the receiver is gone.
    pub mail_refused: u64,
    /// Messages of other threads.
    pub controls_in: u64,
    /// Batches of events that the driver saw.
    pub batches: u64,
}
