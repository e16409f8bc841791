//! The universal repair: a session that missed something of a box is told to pull it (v2: SYNC), or,
//! where its client can't (v1), the shard pulls it from the store for it. Nobody is disconnected for
//! being slow, and nothing piles up for them here.

use newim_proto::chat::reply;
use newim_proto::ids::{BoxId, ConnId, Topic};
use newim_proto::limits;
use newim_proto::log::{Command, Head, Range, Reply, StoreError, StoreResult};
use newim_proto::ws::CloseCode;

use crate::lag::{Cause, Missed};
use crate::pending::Pending;
use crate::session::Flag;
use crate::shard::GatewayShard;

impl GatewayShard {
    /// Repaired at once if there is room, else when there is.
    pub(crate) fn missed(&mut self, conn: ConnId, missed: Missed) {
        let boxes_max = self.settings.lagging_boxes_max;
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.uid().is_none() {
            return;
        }
        let idle = session.outbox_bytes() <= low_water;
        let cause = missed.cause;
        let is_new = session.start_lag().add(missed, boxes_max);
        if is_new {
            self.count_missed(cause);
        }
        if is_new && idle {
            self.repair(conn);
        }
    }

    pub(crate) fn count_missed(&mut self, cause: Cause) {
        let counter = match cause {
            Cause::Gap => &mut self.counters.missed_gap,
            Cause::Word => &mut self.counters.missed_word,
            Cause::StoreAhead => &mut self.counters.missed_store_ahead,
            Cause::Subscribed => &mut self.counters.missed_subscribed,
            Cause::OutboxFull => &mut self.counters.missed_outbox_full,
            Cause::UserSettled => &mut self.counters.missed_user_settled,
        };
        *counter += 1;
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
            self.nudge(conn, lagging.boxid.as_str(), lagging.head());
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
        for lagging in lag.boxes.iter_mut().filter(|b| b.replaying.is_none()) {
            let after = lagging.after();
            lagging.replaying = Some(after);
            wanted.push((lagging.boxid.clone(), lagging.box_topic, after));
        }
        for (boxid, box_topic, after) in wanted {
            self.counters.replays += 1;
            let range = Range {
                boxid: boxid.clone(),
                reader: uid.clone(),
                after,
                messages_max: limits::PULL_MESSAGES_MAX,
                bytes_max: self.settings.outbox_low_water().min(limits::PULL_BYTES_MAX),
            };
            let pending = Pending::Replay {
                conn,
                boxid,
                box_topic,
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
        let Some(from) = lagging.replaying.take() else {
            return;
        };
        match result {
            // More is missing by now, from before what was read: all in order, so it is read again.
            Ok(Reply::Entries(_)) if lagging.after() < from => {}
            Ok(Reply::Entries(mut entries)) => {
                // What it lacks may have grown since the store read. A read that gets nowhere ends it too:
                // the store lost what was there.
                entries.entries.retain(|entry| lagging.lacks(entry));
                let stuck = entries.scanned_to <= from;
                if lagging.replayed_to(entries.scanned_to) || stuck {
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
            lag.boxes.retain(|b| b.box_topic != box_topic);
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
