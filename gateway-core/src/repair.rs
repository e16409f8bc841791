//! The universal repair: a session that missed something of a box is told to pull it (v2: SYNC), or,
//! where its client can't (v1), the shard pulls it from the store for it. Nobody is disconnected for
//! being slow, and nothing piles up for them here.

use newim_proto::chat::reply;
use newim_proto::ids::{BoxId, ConnId, Topic};
use newim_proto::limits;
use newim_proto::log::{Command, Head, Range, Reply, StoreError, StoreResult};
use newim_proto::ws::CloseCode;

use crate::pending::Pending;
use crate::session::Flag;
use crate::shard::GatewayShard;

/// What one session missed. Exists only while it missed something.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    boxes: Vec<LagBox>,
    /// More boxes than are counted singly: the client lists them all.
    all: bool,
}

#[derive(Debug)]
struct LagBox {
    missed: Missed,
    /// A replay is on its way from the store (v1).
    replaying: bool,
}

/// (after, head] of a box.
#[derive(Clone, Debug)]
pub(crate) struct Missed {
    pub boxid: BoxId,
    pub box_topic: Topic,
    pub after: Head,
    pub head: Head,
}

impl Lag {
    /// If the box lags, its repair now goes up to `head`, and live delivery is to be left out.
    pub fn extend(&mut self, box_topic: Topic, head: Head) -> bool {
        if self.all {
            return true;
        }
        match self
            .boxes
            .iter_mut()
            .find(|b| b.missed.box_topic == box_topic)
        {
            Some(lagging) => {
                // A P2P message comes by another way than its box's: not always in order.
                let known = &mut lagging.missed.head;
                if (head.epoch, head.seq) > (known.epoch, known.seq) {
                    *known = head;
                }
                true
            }
            None => false,
        }
    }

    fn find(&mut self, box_topic: Topic) -> Option<&mut LagBox> {
        self.boxes
            .iter_mut()
            .find(|b| b.missed.box_topic == box_topic)
    }
}

impl GatewayShard {
    /// The session missed (after, head] of the box: repaired at once if there is room, else when there is.
    pub(crate) fn missed(
        &mut self,
        conn: ConnId,
        boxid: &BoxId,
        box_topic: Topic,
        after: Head,
        head: Head,
    ) {
        let boxid = boxid.clone();
        self.missed_in(
            conn,
            Missed {
                boxid,
                box_topic,
                after,
                head,
            },
        );
    }

    pub(crate) fn missed_in(&mut self, conn: ConnId, missed: Missed) {
        let boxes_max = self.settings.lagging_boxes_max;
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.uid().is_none() {
            return;
        }
        let idle = session.outbox_bytes() <= low_water;
        let lag = session.start_lag();
        if lag.extend(missed.box_topic, missed.head) {
            return;
        }
        if lag.boxes.len() < boxes_max {
            lag.boxes.push(LagBox {
                missed,
                replaying: false,
            });
        } else {
            lag.all = true;
        }
        if idle {
            self.repair(conn);
        }
    }

    /// The outbox has room: SYNC for each box that lags, or its replay.
    pub(crate) fn repair(&mut self, conn: ConnId) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.is_closing() {
            session.end_lag();
            return;
        }
        if !session.is(Flag::V2) {
            return self.replay(conn);
        }
        let Some(lag) = session.end_lag() else {
            return;
        };
        if lag.all {
            self.nudge(conn, "", Head::default());
            return;
        }
        for lagging in lag.boxes {
            self.nudge(conn, lagging.missed.boxid.as_str(), lagging.missed.head);
        }
    }

    fn nudge(&mut self, conn: ConnId, boxid: &str, head: Head) {
        self.counters.nudges += 1;
        self.answer(conn, |out| reply::write_nudge(out, boxid, head));
    }

    /// A v1 client knows no SYNC: the shard reads for it.
    fn replay(&mut self, conn: ConnId) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Some(uid) = session.uid().cloned() else {
            return;
        };
        let Some(lag) = session.lag() else { return };
        if lag.all {
            self.too_far_behind.push(conn); // not at once: a fan-out may be going through its members
            return;
        }
        let mut wanted = Vec::new();
        for lagging in lag.boxes.iter_mut().filter(|b| !b.replaying) {
            lagging.replaying = true;
            wanted.push(lagging.missed.clone());
        }
        for missed in wanted {
            self.counters.replays += 1;
            let range = Range {
                boxid: missed.boxid.clone(),
                reader: uid.clone(),
                after: missed.after.seq,
                messages_max: limits::PULL_MESSAGES_MAX,
                bytes_max: self.settings.outbox_low_water().min(limits::PULL_BYTES_MAX),
            };
            let pending = Pending::Replay {
                conn,
                boxid: missed.boxid,
                box_topic: missed.box_topic,
            };
            self.command(pending, Command::Range(range));
        }
    }

    pub(crate) fn replayed(
        &mut self,
        conn: ConnId,
        boxid: &BoxId,
        box_topic: Topic,
        result: StoreResult,
    ) {
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Some(lagging) = session.lag().and_then(|lag| lag.find(box_topic)) else {
            return;
        };
        lagging.replaying = false;
        let head = lagging.missed.head;
        match result {
            Ok(Reply::Entries(mut entries)) => {
                // Live delivery goes on right after `head`, which may have grown since the store read. A
                // read that gets nowhere ends it too: the store lost what was there.
                entries.entries.retain(|e| e.seq <= head.seq);
                let stuck = entries.scanned_to <= lagging.missed.after.seq;
                lagging.missed.after.seq = entries.scanned_to;
                if entries.scanned_to >= head.seq || stuck {
                    self.caught_up_in(conn, box_topic);
                }
                self.push_entries(conn, &entries);
            }
            Err(StoreError::Unavailable(_) | StoreError::Failed(_)) => {
                self.behind.push(conn);
                return;
            }
            Err(_) => self.caught_up_in(conn, box_topic), // not a member any more
            Ok(_) => unreachable!("a Range is answered with Entries: {boxid}"),
        }
        let room = self
            .sessions
            .get(conn)
            .is_some_and(|s| s.lags() && s.outbox_bytes() <= low_water);
        if room {
            self.repair(conn);
        }
    }

    fn caught_up_in(&mut self, conn: ConnId, box_topic: Topic) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if let Some(lag) = session.lag() {
            lag.boxes.retain(|b| b.missed.box_topic != box_topic);
            if lag.boxes.is_empty() && !lag.all {
                session.end_lag();
            }
        }
    }

    /// v1 sessions that missed more than can be told apart, with no way to say so to them: they start anew.
    pub(crate) fn close_too_far_behind(&mut self) {
        for conn in std::mem::take(&mut self.too_far_behind) {
            let reason = "too far behind in too many boxes";
            self.fail(conn, CloseCode::TRY_AGAIN_LATER, reason);
        }
    }

    /// The store is back: replays that failed are tried again.
    pub(crate) fn replay_again(&mut self) {
        for conn in std::mem::take(&mut self.behind) {
            self.repair(conn);
        }
    }
}
