//! A gateway alone on its core: what the engine runs in `newim gateway`.

use std::sync::Arc;

use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_runtime::{Driver, Event, Io};

use super::{AnswerTo, ExchangeAddrs, GatewayDriver};
use crate::events::{Mail, Question};

/// From the control thread and the embedded store's.
#[derive(Debug)]
pub enum GatewayControl {
    /// Start to accept clients.
    Serve,
    Routes(Arc<RouteTable>, Arc<ExchangeAddrs>),
    Stored(Vec<(StoreToken, StoreResult)>),
    /// Answer a question, as soon as the store can tell.
    Ask(Question, AnswerTo),
    /// Stop accepting, tell clients to move, finish what is in flight: `GatewaySnapshot::drained`.
    Drain,
    /// End now.
    Stop,
}

/// Index of the WebSocket listener in the runtime's configuration.
const WS_LISTENER: usize = 0;

pub struct GatewayNode {
    gateway: GatewayDriver,
}

impl GatewayNode {
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

/// The same for a gateway alone and one beside a chat shard.
impl GatewayDriver {
    pub fn event(&mut self, io: &mut Io<'_, Mail>, event: Event<'_, Mail, GatewayControl>) {
        match event {
            Event::Received { conn, bytes } => self.received(io, conn, bytes),
            Event::Sent { conn, buf } => self.sent(io, conn, buf),
            Event::Mail { from, mail } => self.mail(io, from, mail),
            Event::Accepted { conn, .. } => self.accepted(io, conn),
            Event::Connected { conn } => self.connected(io, conn),
            Event::Closed { conn, .. } => self.closed(io, conn),
            Event::HandedOver { conn, .. } => self.arrived(io, conn),
            Event::Control(control) => self.control(io, control),
        }
    }

    fn control(&mut self, io: &mut Io<'_, Mail>, control: GatewayControl) {
        match control {
            GatewayControl::Stored(replies) => self.stored(replies),
            GatewayControl::Routes(routes, addrs) => self.routes(io, routes, &addrs),
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
