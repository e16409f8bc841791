//! The clients: users of v1 and v2 on modelled sockets, who join, chat, whisper, quit, are cut off and come
//! back. A v2 client follows the client rules of newim-client-core, as SDKs do.

use newim_proto::chat::ChatView;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::schema::{ChatMessage, ErrorCode};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_proto::ws::client::{Answer, ClientRequest, parse_answer, write_request};
use newim_proto::ws::frame::masked_frame_into;
use newim_proto::ws::{self, MessageLimits, Messages, Opcode, WsEvent};
use prost::Message;

use crate::agenda::{Event, NodeLife};
use crate::limits::UNACKNOWLEDGED_MAX;
use crate::network::{Place, Side, WireId};
use crate::oracle::Stream;
use crate::plan::Plan;
use crate::v1::V1;
use crate::v2::V2;
use crate::world::World;

/// The key of every upgrade. Nobody guesses at it here, so any sixteen bytes will do.
const KEY: &str = "bmV3aW0gc2ltdWxhdGlvbg==";
const LIMITS: MessageLimits = MessageLimits {
    side: ws::Side::Client,
    message_bytes_max: 1 << 20,
};

pub struct Client {
    pub uid: String,
    pub v2: bool,
    /// It joins and leaves boxes as it likes. The others join theirs once.
    wanders: bool,
    home: Vec<String>,
    /// The client whose user's second device this is. It connects when the first has joined its boxes.
    twin_of: Option<usize>,
    pub wire: Option<WireId>,
    pub phase: Phase,
    messages: Messages,
    out: Vec<u8>,
    sending: bool,
    said: u64,
    pub rules: Rules,
    pub stream: Stream,
}

/// The client's side of the protocol.
pub enum Rules {
    V1(V1),
    V2(Box<V2>),
}

pub enum Phase {
    Away,
    Upgrading(Vec<u8>),
    Open,
}

impl Client {
    pub fn new(index: usize, plan: &Plan) -> Client {
        let twin_of = (index == 1).then_some(0);
        let user = twin_of.unwrap_or(index);
        let v2 = index % 3 != 2;
        Client {
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
            rules: match v2 {
                true => Rules::V2(Box::new(V2::new(index, &format!("user{user}")))),
                false => Rules::V1(V1::default()),
            },
            stream: Stream::default(),
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    fn is_home(&self) -> bool {
        self.home.iter().all(|boxid| self.is_member(boxid))
    }

    fn is_member(&self, boxid: &str) -> bool {
        match &self.rules {
            Rules::V1(v1) => v1.joined.contains(boxid),
            Rules::V2(v2) => v2.session.is_member(boxid),
        }
    }

    /// Messages that are not acknowledged, in order.
    pub fn unacknowledged(&self) -> Vec<&ChatMessage> {
        match &self.rules {
            Rules::V1(v1) => v1.outgoing.iter().map(|request| &request.message).collect(),
            Rules::V2(v2) => v2.session.unacknowledged().collect(),
        }
    }

    fn has_said_in(&self, boxid: &str) -> bool {
        self.unacknowledged()
            .iter()
            .any(|message| message.boxid == boxid)
    }

    fn is_leaving(&self, boxid: &str) -> bool {
        self.unacknowledged()
            .iter()
            .any(|message| message.boxid == boxid && message.op() == ChatOp::Quit)
    }

    /// Boxes that it may say something in.
    fn known(&self) -> Vec<String> {
        let known: Vec<&str> = match &self.rules {
            Rules::V1(v1) => v1.joined.iter().map(String::as_str).collect(),
            Rules::V2(v2) => v2
                .session
                .memberships()
                .filter(|boxid| v2.session.box_log(boxid).is_some())
                .collect(),
        };
        let known = known.into_iter().filter(|boxid| !self.is_leaving(boxid));
        known.map(str::to_owned).collect()
    }

    fn say(&mut self, message: ChatMessage) {
        self.said += 1;
        match &mut self.rules {
            Rules::V1(v1) => v1.say(self.said, message),
            Rules::V2(v2) => {
                v2.session.send(message);
            }
        }
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

    /// Puts all requests that are due into `out`: the list, messages, then pulls.
    fn put_due(&mut self, now: Now) {
        if !self.is_open() {
            return;
        }
        let due = match &mut self.rules {
            Rules::V1(v1) => v1.take_due(now.mono_us),
            Rules::V2(v2) => v2.perform(now),
        };
        due.iter().for_each(|message| self.put(message));
    }

    fn lost(&mut self) {
        self.wire = None;
        self.phase = Phase::Away;
        self.messages = Messages::new();
        self.out.clear();
        self.sending = false;
        self.stream = Stream::default();
        match &mut self.rules {
            Rules::V1(v1) => v1.connection_lost(),
            Rules::V2(v2) => {
                v2.half_refused.clear();
                v2.session.disconnected(0);
            }
        }
    }
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
        if self.clients[client].unacknowledged().len() < UNACKNOWLEDGED_MAX
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
        let known = me.known();
        let wanted = |boxid: &&String| !me.is_member(boxid) && !me.has_said_in(boxid);
        let to_join: Vec<String> = me.home.iter().filter(wanted).cloned().collect();
        let (wanders, twin) = (me.wanders, me.twin_of.is_some());
        if !to_join.is_empty() && !twin {
            let boxid = self.rng.pick(&to_join).clone();
            return self.clients[client].say(to_box(&boxid, ChatOp::Join, None));
        }
        match self.rng.below(100) {
            0..25 => self.client_whispers(client, body),
            25..30 if wanders => {
                let quiet = |boxid: &&String| !me.has_said_in(boxid);
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

    /// Says something to one user, in a box of the two.
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

    /// Says something to one user in a box of many, so that the others' seqs have a gap there.
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
        let now = self.now();
        let me = &mut self.clients[client];
        me.put_due(now);
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
        let now = self.now();
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
                if let Rules::V2(v2) = &mut me.rules {
                    v2.session.connected(now);
                }
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
            (ChatOp::Ack, false, _) if view.boxid.is_empty() && view.head_seq.is_none() => {}
            (ChatOp::Ack, false, Some(true)) => {
                if let Rules::V2(v2) = &mut self.clients[client].rules {
                    v2.half_refused.remove(view.boxid);
                }
            }
            (ChatOp::Ack, false, _) => self.client_nudged(client, view),
            _ => self.client_gets(client, view),
        }
        self.client_obeys(client, view);
    }

    /// Gives the message to the client's own rules, after the oracle.
    fn client_obeys(&mut self, client: usize, view: &ChatView<'_>) {
        let now = self.now();
        if let Rules::V2(v2) = &mut self.clients[client].rules {
            let message = ChatMessage::decode(view.bytes);
            v2.received(now, message.expect("prost reads what our reader reads"));
        }
    }

    fn client_gets(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        self.oracle.delivered(&me.uid, view);
        let seq = view.seq.expect("checked");
        let pulled = match &me.rules {
            Rules::V1(_) => false,
            Rules::V2(v2) => v2.is_pulling(view.boxid),
        };
        let truth = self.oracle.truth(view.boxid).expect("checked");
        me.stream.came(truth, view.boxid, seq, me.v2, pulled);
    }

    fn client_nudged(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        assert!(me.v2, "no SYNC reaches a v1 client: {view:?}");
        self.oracle.nudges += 1;
        let head = view.head_seq.expect("a nudge tells of a head");
        me.stream.nudged(view.boxid, head);
    }

    fn client_acknowledged(&mut self, client: usize, view: &ChatView<'_>) {
        let me = &mut self.clients[client];
        let said = match &mut me.rules {
            Rules::V1(v1) => v1.answered().map(|request| request.message),
            Rules::V2(v2) => v2.unacknowledged(view).cloned(),
        };
        let body = said.as_ref().map(|message| message.body());
        self.oracle.acknowledged(&me.uid, view, body);
        let Some(said) = said else { return };
        let boxid = &said.boxid;
        match (said.op(), &mut me.rules) {
            (ChatOp::Join, rules) => {
                me.stream.restart(boxid);
                match rules {
                    Rules::V1(v1) => drop(v1.joined.insert(boxid.clone())),
                    // What was said before the JOIN doesn't concern it.
                    Rules::V2(v2) => {
                        let seq = view.seq.expect("checked");
                        v2.session.hold(boxid, None, seq - 1);
                    }
                }
            }
            (ChatOp::Quit, Rules::V1(v1)) => drop(v1.joined.remove(boxid)),
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
        let is_ours = match &mut me.rules {
            Rules::V1(v1) => v1.refused(retry_us),
            Rules::V2(v2) if view.op == ChatOp::Ack => {
                if v2.is_pulling(view.boxid) {
                    v2.half_refused.insert(view.boxid.to_owned());
                }
                // Left, by a QUIT that was stored and not acknowledged yet.
                !(code == ErrorCode::NotAMember as u32 && me.wanders)
            }
            Rules::V2(v2) => v2.unacknowledged(view).is_some(),
        };
        assert!(
            again || !is_ours,
            "{} was refused for good: {view:?}",
            me.uid
        );
        self.client_obeys(client, view);
    }
}
