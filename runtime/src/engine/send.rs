//! The sends of one shard: one in flight per connection. A buffer stays here until the kernel has all of
//! it, however often that takes, and whatever becomes of the connection meanwhile. On the shard's own
//! core; called by `engine` alone.

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;

use super::ring::{Completion, Ring};
use super::stats::EngineStats;
use super::token::{Op, Token};
use crate::conns::{Conn, Phase, bits};
use crate::flights::Flights;
use crate::limits::SEND_BYTES_MAX;

#[derive(Default)]
pub(crate) struct Sending {
    flights: Flights,
}

/// What a completed SEND leads to.
pub(crate) enum SendStep {
    /// The rest of the buffer is submitted.
    GoesOn,
    /// The buffer is with the kernel, or it was cut because the connection is ending.
    Out(SendBuf),
    /// The socket refused it with this errno; the buffer is freed.
    Failed(i32),
}

impl Sending {
    /// Submits a buffer on a connection that has no send in flight.
    pub fn begin(&mut self, ring: &mut Ring, id: ConnId, conn: &mut Conn, buf: SendBuf) {
        debug_assert!(!conn.has(bits::SEND), "one send in flight per connection");
        conn.flight = self.flights.begin(buf);
        self.submit(ring, id, conn);
    }

    /// Submits what the kernel has not taken of the connection's buffer.
    fn submit(&mut self, ring: &mut Ring, id: ConnId, conn: &mut Conn) {
        let flight = self.flights.get(conn.flight).expect("a buffer to send");
        let rest = &flight.buf.as_ref()[flight.moved as usize..];
        let len = rest.len().min(SEND_BYTES_MAX) as u32;
        // The bytes stay where they are: the buffer is owned by its flight, whose heap memory doesn't move
        // with the table, until the completion of this entry clears `bits::SEND`.
        let entry = opcode::Send::new(types::Fixed(conn.descriptor), rest.as_ptr(), len)
            .flags(libc::MSG_NOSIGNAL)
            .build();
        conn.set(bits::SEND);
        ring.push(entry.user_data(Token::of_conn(Op::Send, id).pack()));
    }

    /// Takes the completion of a SEND in, and submits the rest where there is some.
    pub fn completed(
        &mut self,
        ring: &mut Ring,
        stats: &mut EngineStats,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) -> SendStep {
        conn.clear(bits::SEND);
        let flight = self.flights.get(conn.flight).expect("a send was in flight");
        match completion.errno() {
            None => {
                flight.moved += completion.result as u32;
                stats.send_bytes += completion.result as u64;
            }
            Some(libc::EAGAIN | libc::EINTR) => {}
            Some(errno) => {
                self.free(conn);
                return SendStep::Failed(errno);
            }
        }
        if (flight.moved as usize) < flight.buf.as_ref().len() && conn.phase != Phase::Ending {
            conn.set(bits::PROGRESS);
            stats.send_short += 1;
            self.submit(ring, id, conn);
            return SendStep::GoesOn;
        }
        stats.sends += 1;
        let buf = self.flights.end(&mut conn.flight);
        SendStep::Out(buf.expect("it was looked up above"))
    }

    /// Frees the buffer of a connection whose send has left the kernel, or that has none.
    pub fn free(&mut self, conn: &mut Conn) {
        self.flights.end(&mut conn.flight);
    }

    /// Leaks all buffers. For the end of a shard whose kernel wouldn't let go of them: better than memory
    /// that the kernel reads after it was freed.
    pub fn leak(&mut self) {
        #[allow(
            clippy::disallowed_methods,
            reason = "the kernel still reads these buffers"
        )]
        std::mem::forget(std::mem::take(&mut self.flights));
    }

    pub fn heap_bytes(&self) -> usize {
        self.flights.heap_bytes()
    }
}
