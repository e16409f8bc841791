//! What a driver may ask of its shard's engine. Handed to each of its methods; nothing here waits.

use std::io;
use std::net::{IpAddr, SocketAddr};

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;

use super::engine::Engine;
use super::event::SendOutcome;
use super::stats::EngineStats;

/// The engine of this shard. What is asked of it goes to the kernel after the present batch, in the order
/// in which it was asked for.
///
/// Ids of connections that have ended are ignored, so a late call harms nothing. After `close`, `abort`
/// or `hand_over` the only event that follows for an id is its `Closed`.
pub struct Io<'a, M> {
    pub(super) engine: &'a mut Engine<M>,
}

impl<'a, M> Io<'a, M> {
    pub(crate) fn new(engine: &'a mut Engine<M>) -> Io<'a, M> {
        Io { engine }
    }

    /// The time of this batch; the clocks are read once for each.
    pub fn now(&self) -> Now {
        self.engine.now()
    }

    /// This shard.
    pub fn shard(&self) -> ShardIndex {
        self.engine.shard()
    }

    /// How many shards this process has.
    pub fn shards(&self) -> u16 {
        self.engine.shards()
    }

    /// Listens on `Config::listeners[listener]` on this shard, and accepts. Asked again, does nothing.
    /// Errors are those of listen(2). Panics for a listener that doesn't exist.
    ///
    /// A shard that has as many connections as it may (`KernelReport::accepts_per_shard`) stops accepting
    /// by itself, and goes on when some have left: peers wait in the kernel's queue (`Config::backlog`).
    pub fn accept(&mut self, listener: usize) -> io::Result<()> {
        self.engine.accept(listener)
    }

    /// Closes this shard's listening socket, for good. Connections that the kernel has queued and not
    /// accepted are reset. Panics for a listener that doesn't exist.
    pub fn stop_accepting(&mut self, listener: usize) {
        self.engine.stop_accepting(listener);
    }

    /// Opens a plain connection. Answered with Connected or Closed, at the earliest in the next batch; the
    /// kernel's own patience (minutes) applies, `abort` is for less. The id's index may lie beyond the
    /// connection limit when the shard is full; then Closed follows.
    pub fn connect(&mut self, to: SocketAddr) -> ConnId {
        self.engine.connect(to, None)
    }

    /// Like `connect`, from a given source address.
    pub fn connect_from(&mut self, to: SocketAddr, from: IpAddr) -> ConnId {
        self.engine.connect(to, Some(from))
    }

    /// Sends all of the buffer, after all that was sent before; one at a time. See [`SendOutcome`]. Panics
    /// for a buffer of 4 GiB or more.
    pub fn send(&mut self, conn: ConnId, buf: SendBuf) -> SendOutcome {
        self.engine.send(conn, buf)
    }

    /// Lets the send in flight out, then ends the connection in good order: the transport stage's last
    /// words, FIN, and reading (unseen) until the peer ends it too, so that it gets our last bytes. Cut off
    /// by `Config::linger_ms`.
    pub fn close(&mut self, conn: ConnId) {
        self.engine.close(conn);
    }

    /// Ends it now; a send in flight may be cut.
    pub fn abort(&mut self, conn: ConnId) {
        self.engine.abort(conn);
    }

    /// Stops reading; what a read that is under way brings (one buffer) still comes.
    pub fn pause(&mut self, conn: ConnId) {
        self.engine.pause(conn);
    }

    /// Reads again, first what came meanwhile.
    pub fn resume(&mut self, conn: ConnId) {
        self.engine.resume(conn);
    }

    /// Gives the connection to another shard of this process, whose driver gets HandedOver{from, tag},
    /// then the bytes of `seen` (which this one has seen, and leaves to the other), then all that this one
    /// hasn't. This one gets Closed{HandedOver}, or an error where the other couldn't take it. A send in
    /// flight is let out first, without a Sent. Panics for a shard that doesn't exist.
    pub fn hand_over(&mut self, conn: ConnId, to: ShardIndex, tag: u64, seen: Vec<u8>) {
        self.engine.hand_over(conn, to, tag, seen);
    }

    /// Would `hand_over` to that shard keep the shards' loads alike? Not where it is nearly full, nor where
    /// it has an eighth (and 64) more connections than this one. By what it told after its last batch.
    /// Panics for a shard that doesn't exist.
    pub fn may_hand_over(&self, to: ShardIndex) -> bool {
        self.engine.may_hand_over(to)
    }

    /// Sends mail to a shard of this process, this one included; in order per sender. Gives it back when the
    /// queue is full (`Config::mesh_capacity_of`) or that shard has ended. Panics for a shard that
    /// doesn't exist.
    pub fn mail(&mut self, to: ShardIndex, mail: M) -> Result<(), M> {
        self.engine.mail(to, mail)
    }

    /// Ends this shard's loop after the present batch and closes all of its sockets. No event follows.
    pub fn stop(&mut self) {
        self.engine.stop();
    }

    /// Bytes on the heap that the engine keeps for this shard's connections.
    pub fn table_bytes(&self) -> usize {
        self.engine.heap_bytes()
    }

    /// Queues to and from other shards that take memory now.
    pub fn mesh_queues(&self) -> usize {
        self.engine.mesh_queues()
    }

    /// What the engine has counted; as of the end of the last batch for what the ring counts.
    pub fn stats(&self) -> &EngineStats {
        self.engine.stats()
    }
}
