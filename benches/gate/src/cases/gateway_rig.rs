//! A gateway shard for the cases, with a chat shard, a store and sockets that answer at once. They keep to
//! the contract and allocate nothing of their own on a message's path, so that only the shard is counted.
//! `tests/steady.rs` counts the same path with a store on disk and its thread.

use newim_gateway_core::{GatewayShard, Input, LinkInput, Output, Settings};
use newim_proto::ids::{BootId, BoxId, ChatShard, ConnId, ShardIndex, Uuid};
use newim_proto::link::{Delivery, LinkMessage};
use newim_proto::log::{Appended, BoxState, Command, Head, Reply, StoreToken};
use newim_proto::time::Now;

use super::messages::routes;
use super::upgrade::request;

const GATEWAY: BootId = BootId(99 << 32);
/// The only chat shard of the routes.
const CHAT: ChatShard = ChatShard {
    node: BootId(1 << 32),
    shard: ShardIndex(0),
};
/// Position of every box at the start: so large that no number grows by a byte while it is counted.
const HEAD: Head = Head {
    epoch: 1,
    seq: 1_000_000,
};
/// Connections of a generation that a shard has seen before.
const GENERATION: u32 = 5;

pub struct GatewayRig {
    shard: GatewayShard,
    now: Now,
    /// The position that the store gives next.
    seq: u64,
    asked: Vec<(StoreToken, Asked)>,
    tally: Tally,
}

/// What the shard put out since it was last taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sends: u64,
    pub bytes_sent: u64,
    pub publishes: u64,
}

/// Commands that the store is to answer.
enum Asked {
    Append { uuid: Uuid, ts_ms: u64 },
    Boxes,
    Heads(usize),
}

impl GatewayRig {
    /// A shard that is connected to its chat shard and has no client yet.
    pub fn new() -> GatewayRig {
        let mut rig = GatewayRig {
            shard: GatewayShard::new(Settings {
                echo_message_bytes_max: Some(1 << 20),
                ..Settings::new(GATEWAY, ShardIndex(0), 1)
            }),
            now: Now {
                mono_us: 1_000_000,
                wall_ms: 1_700_000_000_000,
            },
            seq: HEAD.seq,
            asked: Vec::with_capacity(16),
            tally: Tally::default(),
        };
        rig.input(Input::Routes(routes(1, 1)));
        rig.input(Input::Link {
            chat: CHAT,
            input: LinkInput::Up,
        });
        rig.settle(&[]);
        rig
    }

    /// A shard with this many members of the box, all known and in force.
    pub fn with_members(members: u32, boxid: &str) -> GatewayRig {
        let mut rig = GatewayRig::new();
        let boxes = [joined(boxid)];
        for index in 0..members {
            rig.open(
                index,
                &mut request(&format!("uid-{index}")).into_bytes(),
                &boxes,
            );
        }
        rig.take_tally();
        rig
    }

    /// A connection comes, upgrades and learns its boxes. Returns when all that follows is done.
    pub fn open(&mut self, index: u32, request: &mut [u8], boxes: &[BoxState]) {
        let conn = conn(index);
        self.input(Input::Accepted { conn });
        self.input(Input::Received {
            conn,
            bytes: request,
        });
        self.settle(boxes);
    }

    pub fn close(&mut self, index: u32) {
        self.input(Input::Closed { conn: conn(index) });
        self.settle(&[]);
    }

    /// Takes bytes of a client. Returns when all that follows is done, the store's answer included.
    pub fn received(&mut self, index: u32, bytes: &mut [u8]) {
        let conn = conn(index);
        self.input(Input::Received { conn, bytes });
        self.settle(&[]);
    }

    /// Takes the next message of its box from the chat shard. What the shard sends then waits for `settle`.
    pub fn deliver(&mut self, delivery: &Delivery) {
        self.seq += 1;
        let message = LinkMessage::Deliver(Delivery {
            seq: self.seq,
            ..delivery.clone()
        });
        let input = LinkInput::Message(message);
        self.input(Input::Link { chat: CHAT, input });
    }

    /// Does everything that the shard asks for, until it asks for nothing.
    pub fn settle(&mut self, boxes: &[BoxState]) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.act(output);
            }
            let Some((token, asked)) = self.asked.pop() else {
                return;
            };
            let reply = self.reply(asked, boxes);
            self.input(Input::Stored {
                token,
                result: Ok(reply),
            });
        }
    }

    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle_input(self.now, input);
    }

    fn act(&mut self, output: Output) {
        match output {
            Output::Send { conn, buf } => {
                self.tally.sends += 1;
                self.tally.bytes_sent += buf.as_ref().len() as u64;
                self.input(Input::Sent { conn, buf });
            }
            Output::Store { token, command } => self.asked.push((token, asked(&command))),
            Output::LinkSend { message, .. } => self.chat_answers(&message),
            Output::LinkOpen { .. } => {}
            other => unreachable!("no case makes a shard do this: {other:?}"),
        }
    }

    /// Answers as a chat shard does: in force, accepted.
    fn chat_answers(&mut self, message: &LinkMessage) {
        let answer = match message {
            LinkMessage::Interest { barrier, .. } if *barrier > 0 => {
                LinkMessage::Settled { barrier: *barrier }
            }
            LinkMessage::Publish(publish) => {
                self.tally.publishes += 1;
                LinkMessage::Accepted {
                    number: publish.number,
                }
            }
            _ => return,
        };
        let input = LinkInput::Message(answer);
        self.input(Input::Link { chat: CHAT, input });
    }

    fn reply(&mut self, asked: Asked, boxes: &[BoxState]) -> Reply {
        match asked {
            Asked::Append { uuid, ts_ms } => {
                self.seq += 1;
                Reply::Appended(Appended {
                    epoch: 1,
                    seq: self.seq,
                    uuid,
                    ts_ms,
                    duplicate: false,
                    has_members: false,
                })
            }
            Asked::Boxes => Reply::Boxes(boxes.to_vec()),
            Asked::Heads(count) => Reply::Heads(vec![HEAD; count]),
        }
    }
}

/// A box that the user is a member of.
pub fn joined(boxid: &str) -> BoxState {
    BoxState {
        boxid: BoxId::parse(boxid).expect("a good name"),
        head: HEAD,
        delivered: 0,
        read: 0,
        joined: true,
    }
}

pub fn conn(index: u32) -> ConnId {
    ConnId {
        index,
        generation: GENERATION,
    }
}

fn asked(command: &Command) -> Asked {
    match command {
        Command::Append(append) => Asked::Append {
            uuid: append.uuid,
            ts_ms: append.ts_ms,
        },
        Command::Boxes(_) => Asked::Boxes,
        Command::Heads(boxes) => Asked::Heads(boxes.len()),
        other => unreachable!("no case asks this of the store: {other:?}"),
    }
}
