//! The universal repair: a session that missed something of a box is told to pull it (v2: SYNC), or, where its
//! client can't (v1), the shard reads it from the store for the client (a replay). No session is disconnected
//! for being slow, and nothing piles up for it here. Keeps no state of its own: what a session missed is its
//! lag.

use newim_proto::chat::reply;
use newim_proto::ids::Topic;
use newim_proto::limits;
use newim_proto::log::{Command, Entries, Head, Range};
use newim_proto::ws::CloseCode;

use crate::commands::Purpose;
use crate::lag::{Cause, Missed, Span, Way};
use crate::session::{Flag, SessionMut};
use crate::sessions::Sessions;
use crate::subscriptions::Subscriptions;
use crate::turn::Turn;

/// A session is a member of a topic only while it lives.
pub(crate) const MEMBERS_LIVE: &str = "a topic's members live";

/// The session missed something: repaired at once if its outbox has room, else when it has.
pub(crate) fn missed(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, missed: Missed) {
    if session.uid().is_none() {
        return;
    }
    let has_room = session.outbox_bytes() <= turn.cx.settings.outbox_low_water();
    let cause = missed.cause;
    let is_new = session
        .start_lag()
        .add(missed, turn.cx.settings.lagging_boxes_max);
    if is_new {
        count(turn, cause);
    }
    if is_new && has_room {
        repair(turn, session);
    }
}

/// The stream of a box went from `before` to its present head past this shard.
pub(crate) fn missed_by_all(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &Subscriptions,
    topic: Topic,
    before: Head,
    cause: Cause,
) {
    let Some(index) = subscriptions.find(topic) else {
        return;
    };
    let Some(stream) = subscriptions.stream(index) else {
        return;
    };
    let what = Missed {
        boxid: stream.boxid.clone(),
        box_topic: topic,
        way: Way::Stream,
        span: Span::between(before, stream.head),
        cause,
    };
    for member in subscriptions.members(index) {
        let mut session = sessions.at(*member).expect(MEMBERS_LIVE);
        missed(turn, &mut session, what.clone());
    }
}

/// What is sent to a user reaches this shard from now on. What was sent before, the user's v2 clients list and
/// pull: those that listed too early, and all of them where something may have been missed.
pub(crate) fn list_again(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &Subscriptions,
    user_topic: Topic,
    uncertain: bool,
) {
    let Some(index) = subscriptions.find(user_topic) else {
        return;
    };
    let frame = turn.sending.nudge_frame("", Head::default());
    for member in subscriptions.members(index) {
        let mut session = sessions.at(*member).expect(MEMBERS_LIVE);
        let listed_early = session.replace(Flag::ListedEarly, false);
        if session.is(Flag::V2) && (uncertain || listed_early) {
            count(turn, Cause::UserSettled);
            turn.cx.counters.nudges += 1;
            turn.sending.push(turn.cx, &mut session, frame.clone());
        }
    }
    turn.sending.keep(frame);
}

/// The session missed what nobody can name: a v2 client lists its boxes.
pub(crate) fn list_boxes(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, cause: Cause) {
    if session.is(Flag::V2) {
        count(turn, cause);
        nudge(turn, session, "", Head::default());
    }
}

/// The outbox has room: SYNC for each box that lags, or its replay.
pub(crate) fn repair(turn: &mut Turn<'_>, session: &mut SessionMut<'_>) {
    if session.is_closing() {
        session.end_lag();
        return;
    }
    if !session.is(Flag::V2) {
        return replay(turn, session);
    }
    let Some(lag) = session.end_lag() else {
        return;
    };
    if lag.all {
        return nudge(turn, session, "", Head::default());
    }
    for lagging in lag.boxes {
        nudge(turn, session, lagging.boxid.as_str(), lagging.head());
    }
}

fn nudge(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, boxid: &str, head: Head) {
    turn.cx.counters.nudges += 1;
    turn.sending.answer(turn.cx, session, |out| {
        reply::write_nudge(out, boxid, head);
    });
}

/// Reads for a v1 client what it missed, as far as nothing reads it already.
fn replay(turn: &mut Turn<'_>, session: &mut SessionMut<'_>) {
    let Some(uid) = session.uid().cloned() else {
        return;
    };
    let conn = session.conn();
    let Some(lag) = session.lag() else { return };
    if lag.all {
        // It missed more than can be told apart, and there is no way to tell it so: it starts anew.
        let reason = "too far behind in too many boxes";
        return turn.cx.evict(conn, CloseCode::TRY_AGAIN_LATER, reason);
    }
    let mut wanted = Vec::new();
    for lagging in lag.boxes.iter_mut().filter(|b| b.replaying.is_none()) {
        let after = lagging.after();
        lagging.replaying = Some(after);
        wanted.push((lagging.boxid.clone(), lagging.box_topic, after));
    }
    let low_water = turn.cx.settings.outbox_low_water();
    for (boxid, box_topic, after) in wanted {
        turn.cx.counters.replays += 1;
        let range = Range {
            boxid,
            reader: uid.clone(),
            after,
            messages_max: limits::PULL_MESSAGES_MAX,
            bytes_max: low_water.min(limits::PULL_BYTES_MAX),
        };
        let purpose = Purpose::Replay { box_topic };
        turn.commands
            .send(turn.cx, session, purpose, Command::Range(range));
    }
}

/// A replay that was asked for has no answer in flight any more. Returns what it read after; None: nothing of
/// the box is missing by now.
pub(crate) fn replay_ended(session: &mut SessionMut<'_>, box_topic: Topic) -> Option<u64> {
    session.lag()?.find(box_topic)?.replaying.take()
}

/// A replay's answer: what the client lacks of it goes to the client, and what is still missing is read next.
pub(crate) fn replayed(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    box_topic: Topic,
    mut entries: Entries,
) {
    let Some(from) = replay_ended(session, box_topic) else {
        return;
    };
    let lagging = session.lag().and_then(|lag| lag.find(box_topic));
    let lagging = lagging.expect("its replay ended just now");
    // Otherwise more is missing by now, from before what was read. It is read again, so that all is in order.
    if lagging.after() >= from {
        // What the client lacks may have grown since the store read. A read that gets nowhere ends the repair
        // as well: the store lost what was there.
        entries.entries.retain(|entry| lagging.lacks(entry));
        let stuck = entries.scanned_to <= from;
        if lagging.replayed_to(entries.scanned_to) || stuck {
            end_lag_of(session, box_topic);
        }
        turn.sending.entries(turn.cx, session, &entries);
    }
    repair_if_room(turn, session);
}

/// A replay that the store refuses for good: its reader is no member any more.
pub(crate) fn replay_refused(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, box_topic: Topic) {
    if replay_ended(session, box_topic).is_some() {
        end_lag_of(session, box_topic);
        repair_if_room(turn, session);
    }
}

fn repair_if_room(turn: &mut Turn<'_>, session: &mut SessionMut<'_>) {
    let (waiting, lags) = session.backlog();
    if lags && waiting <= turn.cx.settings.outbox_low_water() {
        repair(turn, session);
    }
}

fn end_lag_of(session: &mut SessionMut<'_>, box_topic: Topic) {
    if let Some(lag) = session.lag() {
        lag.boxes.retain(|b| b.box_topic != box_topic);
        if lag.boxes.is_empty() && !lag.all {
            session.end_lag();
        }
    }
}

pub(crate) fn count(turn: &mut Turn<'_>, cause: Cause) {
    let counters = &mut turn.cx.counters;
    let counter = match cause {
        Cause::Gap => &mut counters.missed_gap,
        Cause::Word => &mut counters.missed_word,
        Cause::StoreAhead => &mut counters.missed_store_ahead,
        Cause::Subscribed => &mut counters.missed_subscribed,
        Cause::OutboxFull => &mut counters.missed_outbox_full,
        Cause::UserSettled => &mut counters.missed_user_settled,
    };
    *counter += 1;
}
