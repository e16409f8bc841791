//! A session against a model of the server, under arbitrary loss, repetition, reordering, refusals, broken
//! connections and lost writes. In the end what was applied is what the user may read, each message once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use newim_client_core::{Effect, Pace, Session, Settings, wire};
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::schema::{ChatMessage, ChatStatus, ErrorCode};
use newim_proto::time::Now;
use proptest::prelude::*;

const BOXES: [&str; 2] = ["den", "lobby"];
/// Messages in one answer to a pull: small, so that pulls end short of the head.
const PULL_MAX: usize = 3;
/// Requests that a client may take to catch up with a quiet server. More is asking for ever.
const REQUESTS_MAX: usize = 400;
/// Turns of server and client for the same.
const TURNS_MAX: usize = 4000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Somebody writes; the user may read it, or not (a P2P message of others in the box).
    Write {
        boxid: usize,
        readable: bool,
    },
    /// The user writes.
    Say {
        boxid: usize,
    },
    /// The server answers its next request.
    Serve,
    /// The same, but the store refuses what moves the mark, what reads, or both.
    Refuse {
        mark: bool,
        range: bool,
    },
    /// One message arrives: any push, or the next answer.
    Arrive {
        index: usize,
    },
    /// A push is lost. The server says so before the end.
    Lose {
        index: usize,
    },
    Repeat {
        index: usize,
    },
    Nudge {
        boxid: usize,
    },
    NudgeAll,
    Cut,
    Connect,
    /// The store loses its newest messages of a box, and numbers on in a new epoch.
    LoseWrites {
        boxid: usize,
        count: usize,
    },
    Wait {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let boxid = 0..BOXES.len();
    prop_oneof![
        6 => (boxid.clone(), prop::bool::weighted(0.8))
            .prop_map(|(boxid, readable)| Step::Write { boxid, readable }),
        3 => boxid.clone().prop_map(|boxid| Step::Say { boxid }),
        8 => Just(Step::Serve),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(mark, range)| Step::Refuse { mark, range }),
        12 => (0..8usize).prop_map(|index| Step::Arrive { index }),
        2 => (0..8usize).prop_map(|index| Step::Lose { index }),
        2 => (0..8usize).prop_map(|index| Step::Repeat { index }),
        2 => boxid.clone().prop_map(|boxid| Step::Nudge { boxid }),
        1 => Just(Step::NudgeAll),
        1 => Just(Step::Cut),
        3 => Just(Step::Connect),
        1 => (boxid, 1..4usize).prop_map(|(boxid, count)| Step::LoseWrites { boxid, count }),
        2 => (1..2000u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

#[derive(Clone, Debug)]
struct Stored {
    epoch: u64,
    readable: bool,
    message: ChatMessage,
}

#[derive(Default)]
struct Box {
    log: Vec<Stored>,
    epoch: u64,
    /// The next write begins a new epoch.
    lost_writes: bool,
    /// The user's delivered mark.
    mark: u64,
}

impl Box {
    fn head(&self) -> u64 {
        self.log.len() as u64
    }

    fn write(&mut self, readable: bool, message: ChatMessage) -> ChatMessage {
        if self.epoch == 0 || std::mem::take(&mut self.lost_writes) {
            self.epoch += 1;
        }
        let (epoch, seq) = (self.epoch, self.head() + 1);
        let message = ChatMessage {
            uuid: Some(format!("{epoch}/{seq}")),
            epoch: Some(epoch),
            seq: Some(seq),
            ..message
        };
        self.log.push(Stored {
            epoch,
            readable,
            message: message.clone(),
        });
        message
    }
}

struct Model {
    now: Now,
    session: Session,
    connected: bool,
    boxes: [Box; BOXES.len()],
    requests: VecDeque<ChatMessage>,
    /// May arrive in any order.
    pushes: Vec<ChatMessage>,
    /// Arrive in their order.
    answers: VecDeque<ChatMessage>,
    applied: BTreeMap<String, Vec<(u64, u64)>>,
    /// Bodies that were acknowledged.
    acknowledged: Vec<String>,
    said: u64,
    lost_any_writes: bool,
    asked: usize,
}

impl Model {
    fn new(pace: Pace) -> Model {
        let settings = Settings {
            past: u64::MAX,
            pace,
            pull_messages: Some(PULL_MAX as u32),
            answer_ms_max: None,
            ..Settings::new("alice", "run")
        };
        Model {
            now: Now::default(),
            session: Session::new(settings),
            connected: false,
            boxes: Default::default(),
            requests: VecDeque::new(),
            pushes: Vec::new(),
            answers: VecDeque::new(),
            applied: BTreeMap::new(),
            acknowledged: Vec::new(),
            said: 0,
            lost_any_writes: false,
            asked: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { boxid, readable } => {
                let message = wire::chat(BOXES[boxid], "theirs");
                let stored = self.boxes[boxid].write(readable, message);
                if self.connected && readable {
                    self.pushes.push(stored);
                }
            }
            Step::Say { boxid } => {
                self.said += 1;
                let body = format!("mine {}", self.said);
                self.session.send(wire::chat(BOXES[boxid], &body));
            }
            Step::Serve => self.serve(false, false),
            Step::Refuse { mark, range } => self.serve(mark, range),
            Step::Arrive { index } => self.arrive(index),
            Step::Lose { index } if index < self.pushes.len() => {
                drop(self.pushes.swap_remove(index));
            }
            Step::Repeat { index } => self.pushes.extend(self.pushes.get(index).cloned()),
            Step::Nudge { boxid } if self.connected => self.nudge(boxid),
            Step::NudgeAll if self.connected => self.pushes.push(wire::list()),
            Step::Cut => self.cut(),
            Step::Connect if !self.connected => {
                self.connected = true;
                self.session.connected(self.now);
            }
            Step::LoseWrites { boxid, count } => {
                let held = &mut self.boxes[boxid];
                let kept = held.log.len().saturating_sub(count);
                held.lost_writes |= kept < held.log.len();
                self.lost_any_writes |= kept < held.log.len();
                held.log.truncate(kept);
                held.mark = held.mark.min(kept as u64);
            }
            Step::Wait { ms } => self.now.mono_us += ms * 1000,
            Step::Lose { .. } | Step::Nudge { .. } | Step::NudgeAll | Step::Connect => {}
        }
        self.perform();
    }

    fn cut(&mut self) {
        if self.connected {
            self.connected = false;
            self.requests.clear();
            self.pushes.clear();
            self.answers.clear();
            self.session.disconnected(0);
        }
    }

    fn nudge(&mut self, boxid: usize) {
        let held = &self.boxes[boxid];
        self.pushes.push(ChatMessage {
            boxid: BOXES[boxid].to_owned(),
            epoch: Some(held.epoch),
            head_seq: Some(held.head()),
            ..wire::list()
        });
    }

    fn arrive(&mut self, index: usize) {
        let message = if index < self.pushes.len() {
            Some(self.pushes.swap_remove(index))
        } else {
            self.answers.pop_front()
        };
        if let Some(message) = message {
            self.session.received(self.now, message);
        }
    }

    fn perform(&mut self) {
        while let Some(effect) = self.session.poll_effect(self.now) {
            match effect {
                Effect::Send(request) => {
                    assert!(self.connected, "sent without a connection");
                    self.asked += 1;
                    self.requests.push_back(*request);
                }
                Effect::Apply(message) => self.applied(&message),
                Effect::Stored(message) => self.acknowledged.push(message.body().to_owned()),
                Effect::HangUp(why) => panic!("{why:?}"),
                Effect::Refused(request, refusal) => panic!("{request:?}: {refusal:?}"),
                Effect::Transient(_)
                | Effect::Postponed(_)
                | Effect::SyncRefused { .. }
                | Effect::Boxes { .. }
                | Effect::Connect { .. } => {}
            }
        }
    }

    fn applied(&mut self, message: &ChatMessage) {
        let applied = self.applied.entry(message.boxid.clone()).or_default();
        let position = (message.epoch.unwrap(), message.seq.unwrap());
        assert!(!applied.contains(&position), "{position:?} twice");
        if !self.lost_any_writes
            && let Some(last) = applied.last()
        {
            assert!(last.1 < position.1, "{position:?} after {last:?}");
        }
        applied.push(position);
    }

    fn serve(&mut self, refuse_mark: bool, refuse_range: bool) {
        let Some(request) = self.requests.pop_front() else {
            return;
        };
        if request.op() == ChatOp::Chat {
            return self.append(request, refuse_range);
        }
        if request.boxid.is_empty() {
            return match refuse_range {
                true => self.refuse(&request, ErrorCode::StoreUnavailable),
                false => self.list(),
            };
        }
        let index = BOXES.iter().position(|b| *b == request.boxid).unwrap();
        let held = &mut self.boxes[index];
        let mark = request.ack_seq();
        let epoch = request.epoch.unwrap_or(held.epoch);
        let is_beyond = epoch > held.epoch || (epoch == held.epoch && mark > held.head());
        match (refuse_mark, is_beyond) {
            (true, _) => self.refuse(&request, ErrorCode::StoreUnavailable),
            (false, true) => self.refuse(&request, ErrorCode::BadSeq),
            (false, false) => held.mark = held.mark.max(mark.min(held.head())),
        }
        match refuse_range {
            true => self.refuse(&request, ErrorCode::StoreUnavailable),
            false => self.pull(index, mark),
        }
    }

    fn refuse(&mut self, request: &ChatMessage, code: ErrorCode) {
        self.answers.push_back(ChatMessage {
            error_code: Some(code as u32),
            retry_after_ms: Some(100),
            ..request.clone()
        });
    }

    /// A repetition is stored once, for as long as the store has the first.
    fn append(&mut self, request: ChatMessage, refused: bool) {
        if refused {
            return self.refuse(&request, ErrorCode::StoreUnavailable);
        }
        let index = BOXES.iter().position(|b| *b == request.boxid).unwrap();
        let held = &mut self.boxes[index];
        let same = |stored: &&Stored| stored.message.client_id == request.client_id;
        let known = held
            .log
            .iter()
            .find(same)
            .map(|stored| stored.message.clone());
        let stored = known.unwrap_or_else(|| held.write(true, request));
        self.pushes.push(stored.clone());
        self.answers.push_back(ChatMessage {
            op: ChatOp::Ack.into(),
            body: None,
            ..stored
        });
    }

    fn list(&mut self) {
        let status = BOXES
            .iter()
            .zip(&self.boxes)
            .map(|(boxid, held)| ChatStatus {
                boxid: Some((*boxid).to_owned()),
                epoch: Some(held.epoch),
                head_seq: Some(held.head()),
                ack_seq: Some(0), // so that all of it is read
                joined: Some(true),
                ..Default::default()
            });
        self.answers.push_back(ChatMessage {
            status: status.collect(),
            done: Some(true),
            ..wire::list()
        });
    }

    fn pull(&mut self, index: usize, mark: u64) {
        let held = &self.boxes[index];
        let mut read_to = mark.min(held.head());
        let mut count = 0;
        for (seq, stored) in (1..).zip(&held.log).skip(read_to as usize) {
            if count == PULL_MAX {
                break;
            }
            read_to = seq;
            if stored.readable {
                count += 1;
                self.answers.push_back(stored.message.clone());
            }
        }
        self.answers.push_back(ChatMessage {
            epoch: Some(held.epoch),
            head_seq: Some(held.head()),
            ack_seq: Some(read_to),
            done: Some(true),
            ..wire::pull(BOXES[index], None, 0)
        });
    }

    /// Nothing goes wrong any more: the client has to come to rest by itself.
    fn settle(&mut self) {
        self.asked = 0;
        for turn in 0.. {
            if self.is_quiet() {
                return;
            }
            assert!(turn < TURNS_MAX, "it does not come to rest");
            assert!(self.asked < REQUESTS_MAX, "it asks for ever");
            let before = self.asked;
            let arrived = !self.pushes.is_empty() || !self.answers.is_empty();
            self.step(Step::Arrive { index: 0 });
            self.step(Step::Serve);
            if !arrived && self.asked == before {
                self.step(Step::Wait { ms: 50 });
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let is_idle = self.pushes.is_empty() && self.answers.is_empty();
        is_idle && self.requests.is_empty() && self.session.is_settled()
    }

    fn check(&self) {
        for (boxid, held) in BOXES.iter().zip(&self.boxes) {
            let readable: BTreeSet<(u64, u64)> = (1..)
                .zip(&held.log)
                .filter(|(_, stored)| stored.readable)
                .map(|(seq, stored)| (stored.epoch, seq))
                .collect();
            let applied: BTreeSet<(u64, u64)> = self
                .applied
                .get(*boxid)
                .into_iter()
                .flatten()
                .copied()
                .collect();
            let missing: Vec<_> = readable.difference(&applied).collect();
            assert!(
                missing.is_empty(),
                "{boxid} lacks {missing:?}: {readable:?}"
            );
            if !self.lost_any_writes {
                assert_eq!(readable, applied, "{boxid}");
            }
        }
        assert_eq!(self.acknowledged.len() as u64, self.said);
    }
}

fn run(pace: Pace, steps: &[Step]) {
    let mut model = Model::new(pace);
    steps.iter().for_each(|step| model.step(*step));
    model.step(Step::Connect);
    let boxes = || 0..BOXES.len();
    // What was lost is told.
    boxes().for_each(|boxid| model.step(Step::Nudge { boxid }));
    model.settle();
    model.check();
    // A client at rest has only the nudge to go by, of one box or of all.
    for nudges in [
        boxes().map(|boxid| Step::Nudge { boxid }).collect(),
        vec![Step::NudgeAll],
    ] {
        for boxid in boxes() {
            model.step(Step::Write {
                boxid,
                readable: true,
            });
            model.step(Step::Lose { index: 0 });
        }
        nudges.into_iter().for_each(|nudge| model.step(nudge));
        model.settle();
        model.check();
    }
}

/// `PROPTEST_CASES` asks for more than the suite has time for. What fails becomes a test of its own, in
/// `box_log_tests.rs`, and no file of seeds.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: config.cases.max(400),
        failure_persistence: None,
        ..config
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn in_the_end_the_log_is_the_box_in_turn(steps in prop::collection::vec(step(), 1..120)) {
        run(Pace::InTurn, &steps);
    }

    #[test]
    fn in_the_end_the_log_is_the_box_at_once(steps in prop::collection::vec(step(), 1..120)) {
        run(Pace::AtOnce, &steps);
    }
}
