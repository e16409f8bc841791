//! What the engine of one shard counts, and the table of its metrics. Plain integers that live on the shard's own
//! core; the driver copies them out for the control thread, where the admin HTTP reads them.

use newim_proto::metrics::Metric;

newim_proto::counters! {
    /// Totals since the shard started. A field that ends in `_now` is a value as of now.
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
}

impl EngineStats {
    /// One row for each counter. A new counter gets its row here; a test finds one without.
    pub const METRICS: &'static [Metric<EngineStats>] = &[
        Metric::gauge(
            "newim_engine_connections",
            "Sockets of the shard that are open now: clients, links, and connections to the store.",
            |c| c.conns_now,
        ),
        Metric::counter(
            "newim_engine_accepts_total",
            "Connections accepted by the shard's listeners.",
            |c| c.accepts,
        ),
        Metric::counter(
            "newim_engine_accept_backoffs_total",
            "Times that accepting was put off because the machine or the shard's table had no room; a growing \
             value means that a limit is reached.",
            |c| c.accept_backoffs,
        ),
        Metric::counter(
            "newim_engine_accept_full_total",
            "Times that the shard became full, so that new clients waited in the kernel's queue; a growing value \
             means that the node needs more shards or a higher limit.",
            |c| c.accept_full,
        ),
        Metric::gauge(
            "newim_engine_accept_full",
            "1 while the shard is full and takes no new connections, else 0.",
            |c| c.accept_full_now,
        ),
        Metric::counter(
            "newim_engine_accept_dropped_total",
            "Sockets that were accepted or handed over and closed at once, because the shard had no place for \
             them.",
            |c| c.accept_dropped,
        ),
        Metric::counter(
            "newim_engine_connects_total",
            "Connections that the shard opened itself: links and the store's.",
            |c| c.connects,
        ),
        Metric::counter(
            "newim_engine_closes_total",
            "Sockets that the shard closed or gave to another shard.",
            |c| c.closes,
        ),
        Metric::counter(
            "newim_engine_polls_total",
            "Polls submitted to learn when a quiet connection has something to read.",
            |c| c.polls,
        ),
        Metric::counter(
            "newim_engine_recvs_total",
            "Receives from sockets that completed with data.",
            |c| c.recvs,
        ),
        Metric::counter(
            "newim_engine_recv_bytes_total",
            "Bytes received from sockets.",
            |c| c.recv_bytes,
        ),
        Metric::counter(
            "newim_engine_recv_no_buffer_total",
            "Times that a readable connection had to wait for a free receive buffer, to be read again.",
            |c| c.recv_no_buffer,
        ),
        Metric::counter(
            "newim_engine_sends_total",
            "Sends to sockets that completed.",
            |c| c.sends,
        ),
        Metric::counter(
            "newim_engine_send_bytes_total",
            "Bytes that sockets took of sends.",
            |c| c.send_bytes,
        ),
        Metric::counter(
            "newim_engine_send_short_total",
            "Sends that the kernel took in part, and that were submitted again for the rest: the peer reads \
             slowly.",
            |c| c.send_short,
        ),
        Metric::counter(
            "newim_engine_hand_overs_out_total",
            "Connections given to other shards: clients to the shard of their user, links to the shard that \
             they asked for.",
            |c| c.hand_overs_out,
        ),
        Metric::counter(
            "newim_engine_hand_overs_in_total",
            "Connections taken over from other shards.",
            |c| c.hand_overs_in,
        ),
        Metric::counter(
            "newim_engine_sqes_total",
            "Operations submitted to the socket ring.",
            |c| c.sqes,
        ),
        Metric::counter(
            "newim_engine_cqes_total",
            "Completions taken from the socket ring.",
            |c| c.cqes,
        ),
        Metric::counter(
            "newim_engine_enters_total",
            "System calls of io_uring_enter on the socket ring; a busy shard makes few of them for many \
             operations.",
            |c| c.enters,
        ),
        Metric::counter(
            "newim_engine_cq_overflows_total",
            "Times that the completion queue overflowed; the kernel kept the rest, so nothing was lost.",
            |c| c.cq_overflows,
        ),
        Metric::counter(
            "newim_engine_parks_total",
            "Times that the shard went to sleep because nothing happened for a while.",
            |c| c.parks,
        ),
        Metric::counter(
            "newim_engine_batches_total",
            "Batches of events that the shard handled.",
            |c| c.batches,
        ),
        Metric::counter(
            "newim_engine_wakes_out_total",
            "Wake-ups sent to other shards for mail; each is an operation on the ring, not a system call of its \
             own.",
            |c| c.wakes_out,
        ),
        Metric::counter(
            "newim_engine_mail_out_total",
            "Mail sent to other shards.",
            |c| c.mail_out,
        ),
        Metric::counter(
            "newim_engine_mail_in_total",
            "Mail taken from other shards.",
            |c| c.mail_in,
        ),
        Metric::counter(
            "newim_engine_mail_refused_total",
            "Mail given back to its sender, which tries again, because the receiving shard's queue was full or \
             the shard had ended.",
            |c| c.mail_refused,
        ),
        Metric::counter(
            "newim_engine_controls_in_total",
            "Messages to the shard from the control thread and the embedded store's thread.",
            |c| c.controls_in,
        ),
    ];
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{faults, unread};

    use super::*;

    #[test]
    fn every_counter_is_a_metric_with_a_good_name() {
        let (counters, fields) = EngineStats::numbered();
        let nothing: [&str; 0] = [];
        assert_eq!(unread(EngineStats::METRICS, &counters, &fields), nothing);
        assert_eq!(faults(EngineStats::METRICS), nothing);
    }
}
