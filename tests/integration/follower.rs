//! A client that holds everything in its user's boxes, which is what the user would see however delivery was
//! disturbed. It lists and pulls when it connects, takes pushed messages and those that a SYNC brings, and keeps
//! one message per (epoch, seq) over all of its connections.
//! It knows nothing of newim-client-core, on purpose: it is the tests' second opinion on the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::client::{Arrival, Client};
use crate::node::SOON;
use crate::wire::{Chat, Op};

pub struct Follower {
    pub client: Client,
    boxes: BTreeMap<String, BTreeMap<(u64, u64), Chat>>,
}

impl Follower {
    pub fn connect(ws: SocketAddr, uid: &str) -> Follower {
        let mut follower = Follower {
            client: Client::v2(ws, uid),
            boxes: BTreeMap::new(),
        };
        follower.client.catch_up();
        follower
    }

    /// Continues on another connection with what it holds.
    pub fn reconnect(&mut self, ws: SocketAddr) {
        self.client = Client::v2(ws, &self.client.uid);
        self.client.catch_up();
    }

    /// Waits until a message with each of these bodies is held.
    pub fn await_bodies(&mut self, boxid: &str, bodies: &[String]) {
        let deadline = Instant::now() + SOON;
        while let Some(missing) = self.first_missing(boxid, bodies) {
            let missing = missing.to_owned();
            let Some(arrival) = self.client.next(deadline) else {
                let held = self.bodies(boxid);
                let uid = &self.client.uid;
                panic!("{uid} misses {missing:?} of {boxid}, and holds {held:?}");
            };
            self.take(arrival);
        }
    }

    fn first_missing<'a>(&self, boxid: &str, bodies: &'a [String]) -> Option<&'a str> {
        let held = self.bodies(boxid);
        let missing = bodies.iter().find(|body| !held.contains(&body.as_str()));
        missing.map(String::as_str)
    }

    pub fn await_body(&mut self, boxid: &str, body: &str) {
        self.await_bodies(boxid, &[body.to_owned()]);
    }

    /// Bodies of the held messages, in the order of the box.
    pub fn bodies(&self, boxid: &str) -> Vec<&str> {
        let held = self.boxes.get(boxid).into_iter().flatten();
        held.filter_map(|(_, chat)| chat.body.as_deref()).collect()
    }

    fn take(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Chat(chat) if chat.op == Op::Ack || chat.is_error() => {}
            Arrival::Chat(chat) => self.keep(*chat),
            Arrival::Closed(code) => panic!("{} was disconnected: {code:?}", self.client.uid),
            Arrival::Text(_) | Arrival::Pong(_) | Arrival::Binary(_) => {}
        }
    }

    fn keep(&mut self, chat: Chat) {
        let (Some(epoch), Some(seq)) = (chat.epoch, chat.seq) else {
            return; // transient
        };
        let held = self.boxes.entry(chat.boxid.clone()).or_default();
        if let Some(earlier) = held.insert((epoch, seq), chat.clone()) {
            assert_eq!(earlier.uuid, chat.uuid, "two messages have one position");
        }
    }
}
