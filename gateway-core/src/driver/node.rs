//! A gateway shard alone on its core: the driver that the engine runs in `newim gateway`; and the dispatch of the
//! engine's events, which a standalone shard shares.

use std::sync::Arc;

use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_runtime::{Driver, Event, Io};

use super::{AnswerTo, GatewayDriver, Resolved};
use crate::events::{Mail, Question};

/// Messages to a gateway shard from the control thread, and from the embedded store's thread.
#[derive(Debug)]
pub enum GatewayControl {
    /// Start to accept clients.
    Serve,
    /// A newer route table.
    Routes(Arc<RouteTable>),
    /// The answer to a question of this shard's [`Resolver`](super::Resolver).
    Resolved(Resolved),
    /// Replies of the embedded store; none: its fault has changed.
    Stored(Vec<(StoreToken, StoreResult)>),
    /// Answer a question, as soon as the store can tell.
    Ask(Question, AnswerTo),
    /// Stop accepting, tell clients to move, finish what is in flight. `GatewaySnapshot::drained` says when
    /// that is done.
    Drain,
    /// End now.
    Stop,
}

/// Index of the WebSocket listener in the runtime's configuration.
const WS_LISTENER: usize = 0;

/// A gateway shard that has its core for itself.
pub struct GatewayNode {
    gateway: GatewayDriver,
}

impl GatewayNode {
    /// Wraps the driver for the engine.
    pub fn new(gateway: GatewayDriver) -> GatewayNode {
        GatewayNode { gateway }
    }
}

impl Driver for GatewayNode {
    type Mail = Mail;
    type Control = GatewayControl;

    fn started(&mut self, _io: &mut Io<'_, Mail>) {}

    fn event(&mut self, io: &mut Io<'_, Mail>, event: Event<'_, Mail, GatewayControl>) {
        self.gateway.event(io, event);
    }

    fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.gateway.flush(io);
    }

    fn next_deadline(&self) -> Option<u64> {
        self.gateway.next_deadline()
    }
}

/// Dispatch of events, the same for a gateway alone and one beside a chat shard.
impl GatewayDriver {
    /// Takes one event of the engine. Its effects come with the next flush.
    pub fn event(&mut self, io: &mut Io<'_, Mail>, event: Event<'_, Mail, GatewayControl>) {
        match event {
            Event::Received { conn, bytes } => self.received(io, conn, bytes),
            Event::Sent { conn, buf } => self.sent(io, conn, buf),
            Event::Mail { from, mail } => self.mail(io, from, mail),
            Event::Accepted { conn, .. } => self.accepted(io, conn),
            Event::Connected { conn } => self.connected(io, conn),
            Event::Closed { conn, cause } => self.closed(io, conn, &cause),
            Event::HandedOver { conn, .. } => self.arrived(io, conn),
            Event::Control(control) => self.control(io, control),
        }
    }

    fn control(&mut self, io: &mut Io<'_, Mail>, control: GatewayControl) {
        match control {
            GatewayControl::Stored(replies) => self.stored(replies),
            GatewayControl::Routes(routes) => self.routes(io, routes),
            GatewayControl::Resolved(resolved) => self.resolved(io, &resolved),
            GatewayControl::Serve => match io.accept(WS_LISTENER) {
                Ok(()) => self.now_serving(),
                Err(error) => tracing::error!(%error, "this shard can't accept connections"),
            },
            GatewayControl::Ask(question, answer_to) => self.ask(io, question, answer_to),
            GatewayControl::Drain => {
                io.stop_accepting(WS_LISTENER);
                self.drain(io);
            }
            GatewayControl::Stop => io.stop(),
        }
    }
}
