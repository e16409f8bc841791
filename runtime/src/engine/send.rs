//! Sending: one send in flight per connection. The buffer stays with the connection until the kernel
//! has all of it, however often that takes, and whatever becomes of the connection meanwhile.

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;

use crate::conns::{Cause, Phase, bits};
use crate::engine::Engine;
use crate::engine::driver::{Driver, Event, SendOutcome};
use crate::engine::ring::Completion;
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};

/// One SEND; longer buffers take several. The result of one must fit an i32.
const SEND_BYTES_MAX: usize = 1 << 30;

impl<M> Engine<M> {
    pub fn send(&mut self, id: ConnId, buf: SendBuf) -> SendOutcome {
        assert!(
            buf.as_ref().len() <= u32::MAX as usize,
            "a send of at most 4 GiB"
        );
        let Some((conn, flights)) = self.conns.live_with_flights(id) else {
            return SendOutcome::Closed(buf);
        };
        if conn.phase != Phase::Open {
            return SendOutcome::Closed(buf);
        }
        if conn.has(bits::SEND) {
            return SendOutcome::Busy(buf);
        }
        conn.flight = flights.begin(buf);
        self.submit_send(id);
        SendOutcome::Sent
    }

    /// The rest of the connection's buffer.
    fn submit_send(&mut self, id: ConnId) {
        let (conn, flights) = self
            .conns
            .live_with_flights(id)
            .expect("the caller looked it up");
        let flight = flights.get(conn.flight).expect("a buffer to send");
        let rest = &flight.buf.as_ref()[flight.moved as usize..];
        let len = rest.len().min(SEND_BYTES_MAX) as u32;
        // The bytes stay where they are: the buffer is owned by its flight, whose heap memory doesn't move
        // with the table, until the completion of this entry clears `bits::SEND`.
        let entry = opcode::Send::new(types::Fixed(conn.slot), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        conn.set(bits::SEND);
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Send, id).pack()));
    }

    /// Takes a completion in. The buffer when all of it is with the kernel and the driver wants to know.
    fn on_send(&mut self, id: ConnId, completion: Completion) -> Option<SendBuf> {
        let (conn, flights) = self.conns.live_with_flights(id)?;
        conn.clear(bits::SEND);
        let flight = flights.get(conn.flight).expect("a send was in flight");
        let ending = conn.phase == Phase::Ending;
        match completion.errno() {
            None => {
                flight.moved += completion.result as u32;
                self.stats.send_bytes += completion.result as u64;
            }
            Some(libc::EAGAIN | libc::EINTR) => {}
            Some(errno) => {
                flights.end(&mut conn.flight);
                self.end(id, Cause::errno(errno));
                self.step_out(id);
                return None;
            }
        }
        if (flight.moved as usize) < flight.buf.as_ref().len() && !ending {
            conn.set(bits::PROGRESS);
            self.stats.send_short += 1;
            self.submit_send(id);
            return None;
        }
        self.stats.sends += 1;
        let buf = flights.end(&mut conn.flight);
        if conn.phase == Phase::Open {
            return buf;
        }
        self.step_out(id);
        None
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_send(&mut self, token: Token, completion: Completion) {
        let conn = token.conn();
        if let Some(buf) = self.engine.on_send(conn, completion) {
            self.emit(Event::Sent { conn, buf });
        }
    }
}
