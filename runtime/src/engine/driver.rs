//! What a shard's thread runs: the seam between the engine and the nodes. The engine owns the sockets;
//! a [`Driver`] owns the shard. Every method is called synchronously, on the shard's own core, by the
//! engine's one glommio task, so no borrow ever crosses an await.

use super::event::Event;
use super::io::Io;

/// The state of one core, as the engine sees it.
///
/// No method may block: a shard that waits keeps all of its connections waiting. A panic ends the shard
/// (`ShardError::Panicked`) and closes its sockets; the other shards go on.
pub trait Driver: 'static {
    /// What shards of this process send one another, over the mesh.
    type Mail: Send + 'static;
    /// What other threads (control thread, embedded store) send to this shard.
    type Control: Send + 'static;

    /// Called once, before any event.
    fn started(&mut self, io: &mut Io<'_, Self::Mail>);

    /// Called for each event of a batch. Take it in; leave the answering to `flush`.
    fn event(&mut self, io: &mut Io<'_, Self::Mail>, event: Event<'_, Self::Mail, Self::Control>);

    /// Called after `started`, after each batch of events, and whenever `next_deadline` has passed: hand
    /// all outputs to `io`.
    fn flush(&mut self, io: &mut Io<'_, Self::Mail>);

    /// When `flush` is wanted without any event, in `Now::mono_us`. Asked after each flush.
    fn next_deadline(&self) -> Option<u64>;
}
