//! What the engine of one shard counts. Plain numbers on the shard's own core: whoever wants them
//! elsewhere copies them out through the driver.

/// Counted since the shard started; only gauges (named `_now`) go down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    pub conns_now: u64,
    pub accepts: u64,
    /// Times that accept was put off because the machine or the table had no room.
    pub accept_backoffs: u64,
    /// Sockets that were accepted or handed over, and closed at once for want of a place.
    pub accept_dropped: u64,
    pub connects: u64,
    pub closes: u64,
    pub polls: u64,
    pub recvs: u64,
    pub recv_bytes: u64,
    /// Times a readable connection had to wait for a receive buffer.
    pub recv_no_buffer: u64,
    pub sends: u64,
    pub send_bytes: u64,
    /// Sends that the kernel took in part, and that were submitted again for the rest.
    pub send_short: u64,
    pub hand_overs_out: u64,
    pub hand_overs_in: u64,
    pub sqes: u64,
    pub cqes: u64,
    /// System calls of io_uring_enter on the socket ring.
    pub enters: u64,
    /// Times the completion queue overflowed (the kernel kept the rest; nothing was lost).
    pub cq_overflows: u64,
    /// Times this shard went to sleep in glommio because nothing happened for a while.
    pub parks: u64,
    /// Wake-ups sent to other shards.
    pub wakes_out: u64,
    pub mail_out: u64,
    pub mail_in: u64,
    /// Mail given back because the receiver's queue was full or the receiver is gone.
    pub mail_refused: u64,
    pub controls_in: u64,
    pub batches: u64,
}
