//! Idle: the one timer of each session, for everything a peer has a time for: its upgrade, its pong, its close
//! frame. A session that says nothing for `idle_ping_ms` is pinged, and ended when it then says nothing for
//! `pong_ms_max`. Owns the timer wheel.

use newim_proto::ws::Opcode;

use crate::context::Context;
use crate::session::{Flag, Phase, SessionMut};
use crate::timers::Timers;
use crate::turn::Turn;

pub(crate) struct Idle {
    timers: Timers,
    /// Empty between calls; kept for its memory.
    due: Vec<u32>,
}

/// What a session has run out of time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Its upgrade request isn't complete.
    Upgrade,
    /// It didn't answer a ping, or a close frame.
    Answer,
}

impl Idle {
    pub fn new() -> Idle {
        Idle {
            timers: Timers::new(),
            due: Vec::new(),
        }
    }

    /// A connection began.
    pub fn began(&mut self, cx: &Context, index: u32) {
        let first_ms = cx.settings.upgrade_ms_max.min(cx.settings.idle_ping_ms);
        self.timers.set(index, cx.deadline_s(first_ms));
    }

    /// A session began to close: at that second of `Now::mono_us` its connection ends.
    pub fn closing(&mut self, index: u32, deadline_s: u64) {
        self.timers.set(index, deadline_s);
    }

    pub fn ended(&mut self, index: u32) {
        self.timers.clear(index);
    }

    /// Sessions whose timer is over, to be given back to `put_back`; `overdue` says what that means.
    pub fn take_due(&mut self, cx: &Context) -> Vec<u32> {
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(cx.now_s(), &mut due);
        due
    }

    pub fn put_back(&mut self, mut due: Vec<u32>) {
        due.clear();
        self.due = due;
    }

    /// What the session is overdue with. A timer that is over often means nothing: activity only notes the
    /// time, and the timer is set again here. A session that was silent is pinged.
    pub fn overdue(
        &mut self,
        turn: &mut Turn<'_>,
        session: &mut SessionMut<'_>,
    ) -> Option<Overdue> {
        let settings = &turn.cx.settings;
        let whole_s = |ms: u64| ms.div_ceil(1000);
        let (now_s, index) = (turn.cx.now_s(), session.conn().index);
        let heard_s = u64::from(session.heard_s);
        let (due_s, overdue) = match &session.phase {
            Phase::Vacant | Phase::Arriving | Phase::Leaving => return None, // the engine limits a move
            Phase::Closing { deadline_s, .. } => (u64::from(*deadline_s), Overdue::Answer),
            Phase::Upgrading(_) => (heard_s + whole_s(settings.upgrade_ms_max), Overdue::Upgrade),
            Phase::Open(_) | Phase::Echo if session.is(Flag::Pinged) => (now_s, Overdue::Answer),
            Phase::Open(_) | Phase::Echo => {
                let due_s = heard_s + whole_s(settings.idle_ping_ms);
                if due_s > now_s {
                    self.timers.set(index, due_s);
                    return None;
                }
                session.set(Flag::Pinged); // until it says anything
                self.timers
                    .set(index, now_s + whole_s(settings.pong_ms_max));
                turn.sending
                    .write_frame(turn.cx, session, Opcode::Ping, &[]);
                return None;
            }
        };
        if due_s > now_s {
            self.timers.set(index, due_s);
            return None;
        }
        if session.is(Flag::Pinged) && !session.is_closing() {
            turn.cx.counters.closed_idle += 1;
        }
        Some(overdue)
    }

    pub fn next_due_s(&self) -> Option<u64> {
        self.timers.next_due_s()
    }

    /// Gives a burst's memory back.
    pub fn tidy(&mut self) {
        self.due.shrink_to(crate::limits::QUIET_ENTRIES_MAX);
    }

    pub fn heap_bytes(&self) -> usize {
        self.timers.heap_bytes()
    }
}
