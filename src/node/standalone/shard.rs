//! The driver of a standalone node's thread: a gateway shard, the chat shard of the same index, and the link between
//! them, which is a queue. Lives on the shard's core; the engine calls it, and all sockets are the gateway's.

use newim_chat_core::{ChatShard, Input, LinkId, Output, Settings};
use newim_gateway_core::driver::{GatewayControl, GatewayDriver, LocalLink};
use newim_gateway_core::{LinkInput, Mail};
use newim_proto::ids;
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{Hello, LINK_VERSION, LinkMessage};
use newim_runtime::{Driver, Event, Io};

use crate::node::cells::ChatCell;

pub struct StandaloneShard {
    gateway: GatewayDriver,
    chat: ChatShard,
    /// The chat shard's identity, by which the gateway routes to it.
    me: ids::ChatShard,
    /// The only link that the chat shard ever has.
    link: LinkId,
    /// Where the chat shard's counters are published; the gateway has a cell of its own.
    cell: ChatCell,
    /// What the gateway said to the chat shard. Empty between calls; kept for its memory.
    said: Vec<LocalLink>,
    chat_table_bytes: u64,
    /// When the gateway last measured its tables, at the time that the chat shard's were measured.
    measured_us: u64,
}

impl StandaloneShard {
    /// `gateway` was made with `local_chat`.
    pub fn new(gateway: GatewayDriver, chat: Settings, cell: ChatCell) -> StandaloneShard {
        StandaloneShard {
            gateway,
            me: ids::ChatShard {
                node: chat.node,
                shard: chat.shard,
            },
            chat: ChatShard::new(chat),
            link: LinkId {
                index: 0,
                generation: 0,
            },
            cell,
            said: Vec::new(),
            chat_table_bytes: 0,
            measured_us: 0,
        }
    }

    /// Gives the chat shard what the gateway says, as if it came over a wire.
    fn chat_hears(&mut self, io: &Io<'_, Mail>, said: LocalLink) {
        let (now, link) = (io.now(), self.link);
        match said {
            LocalLink::Send(message) => self
                .chat
                .handle_input(now, Input::LinkMessage { link, message }),
            LocalLink::Open(chat) => {
                self.chat.handle_input(now, Input::LinkOpened { link });
                let hello = Hello {
                    version: LINK_VERSION,
                    node: "local".to_owned(),
                    boot_id: chat.node,
                    chat_boot_id: chat.node,
                    chat_shard: chat.shard,
                    slot_count: SLOT_COUNT,
                };
                let message = LinkMessage::Hello(hello);
                self.chat
                    .handle_input(now, Input::LinkMessage { link, message });
            }
        }
    }

    /// Gives the gateway what the chat shard says. True if it said anything.
    fn gateway_hears(&mut self, io: &mut Io<'_, Mail>) -> bool {
        let mut said = false;
        while let Some(output) = self.chat.poll_output() {
            said = true;
            let input = match output {
                Output::Send {
                    message: LinkMessage::Welcome(_),
                    ..
                } => LinkInput::Up,
                Output::Send { message, .. } => LinkInput::Message(message),
                Output::Close { why, .. } => {
                    tracing::error!(%why, shard = self.me.shard.0, "the chat shard refused its own gateway");
                    LinkInput::Down
                }
                Output::HandOver { .. } => unreachable!("the Hello named this very shard"),
            };
            self.gateway.local_link(io, self.me, input);
        }
        said
    }
}

impl Driver for StandaloneShard {
    type Mail = Mail;
    type Control = GatewayControl;

    fn started(&mut self, _io: &mut Io<'_, Mail>) {}

    fn event(&mut self, io: &mut Io<'_, Mail>, event: Event<'_, Mail, GatewayControl>) {
        if let Event::Control(GatewayControl::Routes(routes)) = &event {
            let input = Input::Routes(routes.clone());
            self.chat.handle_input(io.now(), input);
        }
        self.gateway.event(io, event);
    }

    /// The two talk until neither has anything to say, so that a message passes from one to the other within one
    /// batch.
    fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.gateway.begin(io);
        if self
            .chat
            .poll_timeout()
            .is_some_and(|due| due <= io.now().mono_us)
        {
            self.chat.handle_timeout(io.now());
        }
        loop {
            self.gateway.work(io);
            let mut said = std::mem::take(&mut self.said);
            self.gateway.take_local(&mut said);
            for said in said.drain(..) {
                self.chat_hears(io, said);
            }
            self.said = said;
            if !self.gateway_hears(io) {
                break;
            }
        }
        self.gateway.finish(io);
        if self.measured_us != self.gateway.measured_us() {
            self.measured_us = self.gateway.measured_us();
            self.chat_table_bytes = self.chat.table_bytes();
        }
        self.cell
            .publish(|| (self.chat.counters(), self.chat_table_bytes));
    }

    fn next_deadline(&self) -> Option<u64> {
        let deadlines = [self.gateway.next_deadline(), self.chat.poll_timeout()];
        deadlines.into_iter().flatten().min()
    }
}
