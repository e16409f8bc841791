//! The clients: users of v1 and v2 on modelled sockets, who join, chat, whisper, quit, are cut off and come
//! back, by the rules that SDKs are to follow.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use newim_proto::chat::ChatView;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::schema::{ChatMessage, ErrorCode};
use newim_proto::sendbuf::SendBuf;
use newim_proto::ws::client::{Answer, ClientRequest, parse_answer, write_request};
use newim_proto::ws::frame::masked_frame_into;
use newim_proto::ws::{self, MessageLimits, Messages, Opcode, WsEvent};
use prost::Message;

use crate::agenda::{Event, NodeLife};
use crate::inbox::{Inbox, Pull};
use crate::network::{Place, Side, WireId};
use crate::oracle::Stream;
use crate::plan::Plan;
use crate::world::World;

/// Any sixteen bytes: nobody guesses at it here.
const KEY: &str = "bmV3aW0gc2ltdWxhdGlvbg==";
const UNACKNOWLEDGED_MAX: usize = 6;
const LIMITS: MessageLimits = MessageLimits {
    side: ws::Side::Client,
    message_bytes_max: 1 << 20,
};

pub struct Client {
    index: usize,
    pub uid: String,
    pub v2: bool,
    /// Joins and leaves as it likes; the others join their boxes once.
    wanders: bool,
    home: Vec<String>,
    /// The same user's second device: comes when the first has joined its boxes.
    twin_of: Option<usize>,
    pub wire: Option<WireId>,
    pub phase: Phase,
    messages: Messages,
    out: Vec<u8>,
    sending: bool,
    said: u64,
    pub outgoing: VecDeque<Outgoing>,
    /// v1 has no names for its requests: they are answered in order.
    asked: VecDeque<u64>,
    pub boxes: BTreeMap<String, Inbox>,
    /// Whose mark was refused while its pull may yet be answered: one request asks for both.
    half_refused: BTreeSet<String>,
    joined: BTreeSet<String>,
    left: BTreeSet<String>,
    pub list: List,
    /// Refused lists and pulls wait until then.
    retry_us: u64,
    pub stream: Stream,
}

pub enum Phase {
    Away,
    Upgrading(Vec<u8>),
    Open,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    Wanted,
    /// `again`: what it will say may be old already.
    Asked {
        again: bool,
    },
    Have,
}

#[derive(Debug)]
pub struct Outgoing {
    number: u64,
    message: ChatMessage,
    /// On this connection.
    sent: bool,
    not_before_us: u64,
}

impl Client {
    pub fn new(index: usize, plan: &Plan) -> Client {
        let twin_of = (index == 1).then_some(0);
        let user = twin_of.unwrap_or(index);
        let v2 = index % 3 != 2;
        Client {
            index,
            uid: format!("user{user}"),
            v2,
            wanders: v2 && index > 2 && index % 4 == 3,
            home: (0..plan.boxes)
                .filter(|b| (b + user) % 3 != 1 || *b == 0)
                .map(Plan::box_name)
                .collect(),
            twin_of,
            wire: None,
            phase: Phase::Away,
            messages: Messages::new(),
            out: Vec::new(),
            sending: false,
            said: 0,
            outgoing: VecDeque::new(),
            asked: VecDeque::new(),
            boxes: BTreeMap::new(),
            half_refused: BTreeSet::new(),
            joined: BTreeSet::new(),
            left: BTreeSet::new(),
            list: List::Wanted,
            retry_us: 0,
            stream: Stream::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    fn is_home(&self) -> bool {
        self.home.iter().all(|boxid| self.joined.contains(boxid))
    }

    fn wants_room(&self, boxid: &str) -> bool {
        !self.joined.contains(boxid) && !self.outgoing.iter().any(|out| out.message.boxid == boxid)
    }

    fn say(&mut self, message: ChatMessage) {
        self.said += 1;
        let client_id = self.v2.then(|| format!("{}-{}", self.index, self.said));
        let message = ChatMessage {
            client_id,
            ..message
        };
        self.outgoing.push_back(Outgoing {
            number: self.said,
            message,
            sent: false,
            not_before_us: 0,
        });
    }

    fn put(&mut self, message: &ChatMessage) {
        let mask = (self.said as u32 ^ 0x5a5a_a5a5).to_be_bytes();
        masked_frame_into(
            &mut self.out,
            Opcode::Binary,
            true,
            mask,
            &message.encode_to_vec(),
        );
    }

    /// All that is due on this connection: the list, what is to be said, then pulls.
    fn put_due(&mut self, now_us: u64) {
        if !self.is_open() {
            return;
        }
        if self.v2 && self.list == List::Wanted && self.retry_us <= now_us {
            self.list = List::Asked { again: false };
            self.put(&sync("", None));
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for out in outgoing
            .iter_mut()
            .filter(|out| !out.sent && out.not_before_us <= now_us)
        {
            out.sent = true;
            self.put(&out.message);
            if !self.v2 {
                self.asked.push_back(out.number);
            }
        }
        self.outgoing = outgoing;
        if self.v2 && self.retry_us <= now_us {
            let mut due = Vec::new();
            for (boxid, inbox) in self
                .boxes
                .iter_mut()
                .filter(|(_, inbox)| inbox.pull == Pull::Needed)
            {
                inbox.pull = Pull::Running;
                due.push(sync(boxid, Some(inbox.mark())));
            }
            due.iter().for_each(|pull| self.put(pull));
        }
    }

    /// The request that an answer is to.
    fn answered(&mut self, view: &ChatView<'_>) -> Option<usize> {
        if self.v2 {
            let id = view.client_id?;
            return self
                .outgoing
                .iter()
                .position(|out| out.message.client_id.as_deref() == Some(id));
        }
        let number = self
            .asked
            .pop_front()
            .expect("a v1 client gets one answer for each request");
        self.outgoing.iter().position(|out| out.number == number)
    }

    fn lost(&mut self) {
        self.wire = None;
        self.phase = Phase::Away;
        self.messages = Messages::new();
        self.out.clear();
        self.sending = false;
        self.asked.clear();
        self.list = List::Wanted;
        self.half_refused.clear();
        self.stream = Stream::default();
        if !self.v2 {
            self.outgoing.retain(|out| out.message.op() == ChatOp::Join); // the rest may be stored, or not
        }
        self.outgoing.iter_mut().for_each(|out| out.sent = false);
        self.boxes.values_mut().for_each(Inbox::connection_lost);
    }
}

fn sync(boxid: &str, ack_seq: Option<u64>) -> ChatMessage {
    let message = ChatMessage {
        boxid: boxid.to_owned(),
        ack_seq,
        limit: ack_seq.map(|_| 3),
        ..ChatMessage::default()
    };
    assert_eq!(
        (message.op(), message.mtype()),
        (ChatOp::Ack, MessageType::Sync),
        "the schema's own defaults"
    );
    message
}

fn to_box(boxid: &str, op: ChatOp, body: Option<String>) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        body,
        op: op.into(),
        mtype: MessageType::SmallText.into(),
        ..ChatMessage::default()
    }
}

impl World {
    pub fn client_connects(&mut self, client: usize) {
        let me = &self.clients[client];
        if me.wire.is_some() {
            return;
        }
        let waits_for_twin = me
            .twin_of
            .is_some_and(|first| !self.clients[first].is_home());
        let alive: Vec<usize> = (0..self.gateways.len())
            .filter(|node| self.gateways[*node].alive)
            .collect();
        if waits_for_twin || alive.is_empty() {
            self.agenda
                .at(self.now_us + 100_000, Event::ClientConnects { client });
            return;
        }
        let node = *self.rng.pick(&alive);
        let at = NodeLife {
            node,
            life: self.gateways[node].life,
        };
        let shard = self.rng.below(self.gateways[node].shards.len());
        let wire = self
            .net
            .connect(Place::Client(client), Place::Gateway(at, shard));
        let me = &mut self.clients[client];
        let (uid, v2) = (&me.uid, me.v2);
        self.trace.say(
            self.now_us,
            format_args!(
                "client {client} ({uid}, v2: {v2}) connects {wire:?} to {at:?} shard {shard}"
            ),
        );
        me.wire = Some(wire);
        me.phase = Phase::Upgrading(Vec::new());
        let request = ClientRequest {
            host: "sim",
            path: "/websocket",
            key: KEY,
            sid: Some(&me.uid),
            v2: me.v2,
        };
        write_request(&mut me.out, &request);
        self.gateway_accept(at, shard, wire);
        self.client_flush(client);
    }

    pub fn client_acts(&mut self, client: usize) {
        if self.now_us >= self.plan.acts_until_us {
            return;
        }
        if self.clients[client].outgoing.len() < UNACKNOWLEDGED_MAX
            && self.clients[client].is_open()
        {
            self.client_says_something(client);
            self.client_flush(client);
        }
        let due_us = self.now_us + self.rng.between(10_000, 250_000);
        self.agenda.at(due_us, Event::ClientActs { client });
    }

    fn client_says_something(&mut self, client: usize) {
        let me = &self.clients[client];
        let body = format!("{client}-{}", me.said);
        let leaves = |boxid: &String| {
            me.outgoing
                .iter()
                .any(|o| o.message.boxid == *boxid && o.message.op() == ChatOp::Quit)
        };
        let knows = |boxid: &&String| (me.boxes.contains_key(*boxid) || !me.v2) && !leaves(boxid);
        let known: Vec<String> = me.joined.iter().filter(knows).cloned().collect();
        let to_join: Vec<String> = me
            .home
            .iter()
            .filter(|boxid| me.wants_room(boxid))
            .cloned()
            .collect();
        let (wanders, twin) = (me.wanders, me.twin_of.is_some());
        if !to_join.is_empty() && !twin {
            let boxid = self.rng.pick(&to_join).clone();
            return self.clients[client].say(to_box(&boxid, ChatOp::Join, None));
        }
        match self.rng.below(100) {
            0..25 => self.client_whispers(client, body),
            25..30 if wanders => {
                let quiet =
                    |boxid: &&String| !me.outgoing.iter().any(|out| out.message.boxid == **boxid);
                if let Some(boxid) = known.iter().find(quiet).cloned() {
                    self.clients[client].say(to_box(&boxid, ChatOp::Quit, None));
                }
            }
            30..34 if !known.is_empty() => {
                let boxid = self.rng.pick(&known).clone();
                self.client_whispers_in(client, boxid, body);
            }
            _ if !known.is_empty() => {
                let boxid = self.rng.pick(&known).clone();
                self.clients[client].say(to_box(&boxid, ChatOp::Chat, Some(body)));
            }
            _ => {}
        }
    }

    /// To one user, in a box of the two.
    fn client_whispers(&mut self, client: usize, body: String) {
        let other = self.rng.below(self.clients.len());
        let (mine, theirs) = (
            self.clients[client].uid.clone(),
            self.clients[other].uid.clone(),
        );
        let boxid = format!("p2p:{}:{}", (&mine).min(&theirs), (&mine).max(&theirs));
        let message = ChatMessage {
            group: 0,
            receiver: Some(theirs),
            ..to_box(&boxid, ChatOp::Chat, Some(body))
        };
        self.clients[client].say(message);
    }

    /// To one user, in a box of many: the others' numbers have a gap there.
    fn client_whispers_in(&mut self, client: usize, boxid: String, body: String) {
        let other = self.rng.below(self.clients.len());
        let other = &self.clients[other];
        let settled = self.oracle.is_member(&boxid, &other.uid) || !other.home.contains(&boxid);
        if other.wanders || self.clients[client].wanders || !settled {
            return; // whether they may read what is around it would depend on when they look
        }
        let receiver = Some(other.uid.clone());
        let message = ChatMessage {
            group: 0,
            receiver,
            ..to_box(&boxid, ChatOp::Chat, Some(body))
        };
        self.clients[client].say(message);
    }

    /// Says one thing in a box, for the last check.
    pub fn client_probes(&mut self, client: usize, boxid: &str) {
        let body = format!("probe-{client}");
        self.clients[client].say(to_box(boxid, ChatOp::Chat, Some(body)));
        self.client_flush(client);
    }

    pub fn client_looks(&mut self, client: usize) {
        self.client_flush(client);
    }

    fn client_flush(&mut self, client: usize) {
        let now_us = self.now_us;
        let me = &mut self.clients[client];
        me.put_due(now_us);
        let Some(wire) = me.wire else { return };
        if !me.sending && !me.out.is_empty() {
            me.sending = true;
            let out = std::mem::take(&mut me.out);
            self.send(wire, Side::Connector, SendBuf::Owned(out));
        }
    }

    pub fn client_sent(&mut self, client: usize, wire: WireId) {
        if self.clients[client].wire == Some(wire) {
            self.clients[client].sending = false;
            self.client_flush(client);
        }
    }

    pub fn client_closed(&mut self, client: usize, wire: WireId) {
        if self.clients[client].wire != Some(wire) {
            return;
        }
        self.clients[client].lost();
        let due_us = self.now_us + self.rng.between(1_000, 500_000);
        self.agenda.at(due_us, Event::ClientConnects { client });
    }

    pub fn client_received(&mut self, client: usize, wire: WireId, bytes: &mut [u8]) {
        if self.clients[client].wire != Some(wire) {
            return;
        }
        let Phase::Upgrading(answer) = &mut self.clients[client].phase else {
            return self.client_reads(client, wire, bytes);
        };
        answer.extend_from_slice(bytes);
        match parse_answer(answer, KEY) {
            Answer::Partial => {}
            Answer::Accepted { v2, consumed } => {
                let mut rest = answer.split_off(consumed);
                let me = &mut self.clients[client];
                assert_eq!(v2, me.v2, "the protocol that was asked for");
                me.phase = Phase::Open;
                self.client_reads(client, wire, &mut rest);
                self.client_flush(client);
            }
            other => panic!("the upgrade was answered with {other:?}"),
        }
    }

    fn client_reads(&mut self, client: usize, wire: WireId, mut bytes: &mut [u8]) {
        let mut messages = std::mem::take(&mut self.clients[client].messages);
        while let Some(event) = messages
            .next(LIMITS, &mut bytes)
            .expect("a gateway frames by RFC 6455")
        {
            match event {
                WsEvent::Binary(payload) => {
                    let view =
                        ChatView::parse(payload).expect("a v1 reader understands all that is sent");
                    self.client_hears(client, &view);
                }
                WsEvent::Ping(payload) => {
                    masked_frame_into(
                        &mut self.clients[client].out,
                        Opcode::Pong,
                        true,
                        [1, 2, 3, 4],
                        payload,
                    );
                }
                WsEvent::Close(why) => {
                    self.trace.say(
                        self.now_us,
                        format_args!("client {client} is sent away: {why:?}"),
                    );
                    self.close(wire, Side::Connector);
                    return;
                }
                WsEvent::Text(_) | WsEvent::Pong(_) => {
                    panic!("a gateway answers no text and no ping of ours")
                }
            }
        }
        self.clients[client].messages = messages;
        self.client_flush(client);
    }

    fn client_hears(&mut self, client: usize, view: &ChatView<'_>) {
        self.trace.say(
            self.now_us,
            format_args!(
                "client {client} hears {:?} {:?} {} seq {:?} head {:?} error {:?}",
                view.op, view.mtype, view.boxid, view.seq, view.head_seq, view.error_code
            ),
        );
        if let Some(code) = view.error_code {
            return self.client_refused(client, view, code);
        }
        match (view.op, view.uuid.is_some(), view.done) {
            (ChatOp::Ack, true, _) => self.client_acknowledged(client, view),
            (ChatOp::Ack, false, _) if view.boxid.is_empty() && view.head_seq.is_none() => {
                self.client_listed(client, view)
            }
            (ChatOp::Ack, false, Some(true)) => {
                let (epoch, head) = (view.epoch.expect("said"), view.head_seq.expect("said"));
                self.clients[client].half_refused.remove(view.boxid);
                if let Some(inbox) = self.clients[client].boxes.get_mut(view.boxid) {
                    inbox.pull_ended(epoch, head, view.ack_seq.expect("said"));
                }
            }
            (ChatOp::Ack, false, _) => self.client_nudged(client, view),
            _ => self.client_gets(client, view),
        }
    }

    fn client_gets(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        self.oracle.delivered(&me.uid, view);
        let (epoch, seq) = (view.epoch.expect("checked"), view.seq.expect("checked"));
        let running = me
            .boxes
            .get(view.boxid)
            .is_some_and(|inbox| inbox.pull == Pull::Running);
        let pulled = running || me.half_refused.contains(view.boxid);
        let truth = self.oracle.truth(view.boxid).expect("checked");
        me.stream.came(truth, view.boxid, seq, me.v2, pulled);
        if me.v2 && !me.left.contains(view.boxid) {
            let inbox = me
                .boxes
                .entry(view.boxid.to_owned())
                .or_insert_with(|| Inbox::new(0));
            inbox.take(epoch, seq);
        }
    }

    fn client_nudged(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        assert!(me.v2, "no SYNC reaches a v1 client: {view:?}");
        self.oracle.nudges += 1;
        let head = view.head_seq.expect("a nudge tells of a head");
        me.stream.nudged(view.boxid, head);
        if view.boxid.is_empty() {
            me.list = match me.list {
                List::Asked { .. } => List::Asked { again: true },
                _ => List::Wanted,
            };
        } else if !me.left.contains(view.boxid) {
            // Perhaps somebody's first words to us, which the outbox had no room for.
            let inbox = me
                .boxes
                .entry(view.boxid.to_owned())
                .or_insert_with(|| Inbox::new(0));
            inbox.head_is(view.epoch.expect("with its epoch"), head);
        }
    }

    fn client_listed(&mut self, client: usize, view: &ChatView<'_>) {
        let list = ChatMessage::decode(view.bytes).expect("prost reads what our reader reads");
        let me = &mut self.clients[client];
        for status in &list.status {
            if me.left.contains(status.boxid()) {
                continue;
            }
            if status.joined() {
                me.joined.insert(status.boxid().to_owned());
            }
            let inbox = me
                .boxes
                .entry(status.boxid().to_owned())
                .or_insert_with(|| Inbox::new(status.ack_seq()));
            inbox.head_is(status.epoch(), status.head_seq());
        }
        if list.done() {
            me.list = match me.list {
                List::Asked { again: true } => List::Wanted,
                _ => List::Have,
            };
        }
    }

    fn client_acknowledged(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        let said = me.answered(view).and_then(|at| me.outgoing.remove(at));
        let body = said.as_ref().map(|out| out.message.body());
        self.oracle.acknowledged(&me.uid, view, body);
        let Some(said) = said else { return };
        let (epoch, seq) = (view.epoch.expect("checked"), view.seq.expect("checked"));
        let boxid = said.message.boxid.clone();
        match said.message.op() {
            ChatOp::Join => {
                me.joined.insert(boxid.clone());
                me.left.remove(&boxid);
                me.stream.restart(&boxid);
                if me.v2 {
                    me.boxes.entry(boxid).or_insert_with(|| Inbox::new(seq - 1));
                }
            }
            ChatOp::Quit => {
                me.joined.remove(&boxid);
                me.boxes.remove(&boxid);
                me.left.insert(boxid);
            }
            _ if me.v2 => {
                // It stands for the message itself, which isn't sent to this connection if it is direct.
                let inbox = me.boxes.entry(boxid).or_insert_with(|| Inbox::new(0));
                inbox.take(epoch, seq);
            }
            _ => {}
        }
    }

    fn client_refused(&mut self, client: usize, view: &ChatView<'_>, code: u32) {
        let again = [
            ErrorCode::StoreUnavailable,
            ErrorCode::Overloaded,
            ErrorCode::Draining,
        ]
        .iter()
        .any(|c| *c as u32 == code);
        let retry_us = self.now_us + view.retry_after_ms.unwrap_or(1000) * 1000;
        self.agenda.at(retry_us, Event::ClientLooks { client });
        let me = &mut self.clients[client];
        if view.op == ChatOp::Ack {
            if code == ErrorCode::NotAMember as u32 && me.wanders {
                me.boxes.remove(view.boxid); // left, by a QUIT that was stored and not acknowledged yet
                return;
            }
            assert!(again, "a sync was refused for good: {view:?}");
            me.retry_us = retry_us;
            match me.boxes.get_mut(view.boxid) {
                _ if view.boxid.is_empty() => me.list = List::Wanted,
                Some(inbox) if inbox.pull == Pull::Running => {
                    inbox.pull = Pull::Needed;
                    me.half_refused.insert(view.boxid.to_owned());
                }
                _ => {}
            }
            return;
        }
        let Some(at) = me.answered(view) else { return };
        assert!(again, "{} was refused for good: {view:?}", me.uid);
        if me.v2 || view.op == ChatOp::Join {
            me.outgoing[at].sent = false;
            me.outgoing[at].not_before_us = retry_us;
        } else {
            me.outgoing.remove(at);
        }
    }
}
