//! Sending: what the shard says to its clients goes through here, into a session's outbox and, when the batch
//! of inputs is done, out of it in one send. Owns the list of sessions with something to send and the spare
//! buffers of all outboxes. A shard has one send in flight per connection.

use std::rc::Rc;

use newim_proto::chat::{append_position, reply};
use newim_proto::ids::ConnId;
use newim_proto::link::Delivery;
use newim_proto::log::{Entries, Head};
use newim_proto::sendbuf::SendBuf;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::{frame_into, write_header};

use crate::context::Context;
use crate::events::Output;
use crate::limits::QUIET_ENTRIES_MAX;
use crate::outbox::Spares;
use crate::session::{Flag, SessionMut};
use crate::sessions::Sessions;

pub(crate) struct Sending {
    /// Sessions with something to send and no send in flight.
    dirty: Vec<ConnId>,
    spares: Spares,
    /// Payloads are built here before they are framed.
    scratch: Vec<u8>,
}

/// What a finished send leaves to be done for its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterSend {
    Nothing,
    /// The outbox is below its low-water mark: what fell behind is repaired, and reading resumes.
    HasRoom,
    /// A closing session's last frame is with the kernel.
    LastWordsSent,
}

impl Sending {
    pub fn new(send_bytes_max: usize) -> Sending {
        Sending {
            dirty: Vec::new(),
            spares: Spares::new(send_bytes_max),
            scratch: Vec::new(),
        }
    }

    /// Queues a frame that others get too, whatever the outbox holds. The caller counts the message.
    #[inline]
    pub fn push(&mut self, cx: &mut Context, session: &mut SessionMut<'_>, frame: Rc<Vec<u8>>) {
        if session.is_closing() {
            return;
        }
        cx.counters.outbox_bytes_now += frame.len() as u64;
        session.push(frame, &mut self.spares);
        self.mark_dirty(session);
    }

    /// Queues a message of a fan-out, for a caller that knows that the session isn't closing, and that counts it.
    #[inline]
    pub fn push_shared(&mut self, session: &mut SessionMut<'_>, frame: &Rc<Vec<u8>>) {
        session.push(frame.clone(), &mut self.spares);
        self.mark_dirty(session);
    }

    /// Queues bytes for one session alone, whatever its outbox holds: answers, which are bounded because
    /// reading pauses. A closing session gets nothing. Returns the bytes.
    #[inline]
    pub fn write(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        match session.is_closing() {
            true => 0,
            false => self.write_last(cx, session, write),
        }
    }

    /// Queues the last words of a closing session. Returns the bytes.
    #[inline]
    pub fn write_last(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> usize {
        let written = session.write(&mut self.spares, write);
        cx.counters.outbox_bytes_now += written as u64;
        self.mark_dirty(session);
        written
    }

    /// Queues a WebSocket frame for one session. Returns its bytes.
    #[inline]
    pub fn write_frame(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        opcode: Opcode,
        payload: &[u8],
    ) -> usize {
        self.write(cx, session, |out| frame_into(out, opcode, payload))
    }

    /// Queues one ChatMessage for one session.
    #[inline]
    pub fn answer(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        write(&mut payload);
        let bytes = self.write_frame(cx, session, Opcode::Binary, &payload);
        self.scratch = payload;
        cx.counters.messages_out += 1;
        cx.counters.message_bytes_out += bytes as u64;
    }

    /// Queues stored messages, each with its position.
    pub fn entries(&mut self, cx: &mut Context, session: &mut SessionMut<'_>, entries: &Entries) {
        for entry in &entries.entries {
            self.answer(cx, session, |out| {
                out.extend_from_slice(&entry.payload);
                append_position(out, entry.epoch, entry.seq);
            });
        }
    }

    /// A delivery as every session of the shard gets it: the message, and its position in its box. To be
    /// given to `keep` when it is in all outboxes.
    pub fn delivery_frame(&mut self, delivery: &Delivery) -> Rc<Vec<u8>> {
        self.scratch.clear();
        append_position(&mut self.scratch, delivery.epoch, delivery.seq);
        let mut frame = self.spares.frame();
        let out = Rc::get_mut(&mut frame).expect("nobody else's yet");
        let payload_bytes = delivery.payload.len() + self.scratch.len();
        write_header(out, Opcode::Binary, true, payload_bytes);
        out.extend_from_slice(&delivery.payload);
        out.extend_from_slice(&self.scratch);
        frame
    }

    /// "There is more, up to `head`", as one frame for several sessions. An empty boxid: list your boxes.
    pub fn nudge_frame(&mut self, boxid: &str, head: Head) -> Rc<Vec<u8>> {
        self.scratch.clear();
        reply::write_nudge(&mut self.scratch, boxid, head);
        let mut frame = self.spares.frame();
        let out = Rc::get_mut(&mut frame).expect("nobody else's yet");
        frame_into(out, Opcode::Binary, &self.scratch);
        frame
    }

    /// Takes a shared frame that outboxes may still hold, to fill it again when they have sent it.
    pub fn keep(&mut self, frame: Rc<Vec<u8>>) {
        self.spares.keep(frame);
    }

    /// The next send, of any session with something to send.
    pub fn next_send(&mut self, cx: &mut Context, sessions: &mut Sessions) -> Option<Output> {
        while let Some(conn) = self.dirty.pop() {
            let Some(mut session) = sessions.get(conn) else {
                continue;
            };
            session.replace(Flag::Dirty, false);
            if session.is(Flag::Sending) || session.is(Flag::Closed) {
                continue;
            }
            let Some(buf) = session.take_send(&mut self.spares) else {
                continue;
            };
            session.set(Flag::Sending);
            cx.counters.outbox_bytes_now -= buf.as_ref().len() as u64;
            cx.counters.sends += 1;
            return Some(Output::Send { conn, buf });
        }
        None
    }

    /// The send in flight is with the kernel.
    pub fn sent(&mut self, cx: &Context, session: &mut SessionMut<'_>) -> AfterSend {
        session.replace(Flag::Sending, false);
        let (waiting, lags) = session.backlog();
        let waits_for_room = lags || session.is(Flag::Paused);
        if waiting > 0 {
            self.mark_dirty(session);
        } else if session.is_closing() {
            return AfterSend::LastWordsSent;
        }
        match waits_for_room && waiting <= cx.settings.outbox_low_water() {
            true => AfterSend::HasRoom,
            false => AfterSend::Nothing,
        }
    }

    /// Backpressure: a peer that asks for more than it takes, or than the store answers, isn't read.
    #[inline]
    pub fn pause_if_over(&mut self, cx: &mut Context, session: &mut SessionMut<'_>) {
        let over = session.outbox_bytes() >= cx.settings.outbox_bytes_max
            || session.commands >= cx.settings.session_commands_max;
        if over && !session.is_closing() && !session.replace(Flag::Paused, true) {
            cx.counters.pauses += 1;
            let conn = session.conn();
            cx.outputs.push_back(Output::Pause { conn });
        }
    }

    #[inline]
    pub fn resume_if_under(&mut self, cx: &mut Context, session: &mut SessionMut<'_>) {
        if session.is(Flag::Paused)
            && session.outbox_bytes() <= cx.settings.outbox_low_water()
            && session.commands < cx.settings.session_commands_max
        {
            session.replace(Flag::Paused, false);
            let conn = session.conn();
            cx.outputs.push_back(Output::Resume { conn });
        }
    }

    /// Takes a sent buffer back, to be filled again.
    pub fn reuse(&mut self, buf: SendBuf) {
        self.spares.give_back(buf);
    }

    /// For a session that ends with something in its outbox.
    pub fn spares(&mut self) -> &mut Spares {
        &mut self.spares
    }

    /// Gives a burst's memory back.
    pub fn tidy(&mut self) {
        if self.dirty.is_empty() {
            self.dirty.shrink_to(QUIET_ENTRIES_MAX);
        }
    }

    #[inline]
    fn mark_dirty(&mut self, session: &mut SessionMut<'_>) {
        if session.becomes_dirty() {
            self.dirty.push(session.conn());
        }
    }
}
