//! Accepting: one multishot accept per listener and shard, which the kernel fills the table of direct
//! descriptors by. It is put off when the machine or the table is full.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use socket2::Socket;

use crate::conns::Phase;
use crate::engine::Engine;
use crate::engine::driver::{Driver, Event};
use crate::engine::ring::Completion;
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};

/// Before trying again at EMFILE and its like. Re-arming at once would burn the core: the connection
/// that can't be accepted stays ready.
const BACKOFF_US: u64 = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Nobody asked for it yet.
    Off,
    On,
    /// The machine lacks something; on again at that time.
    BackingOff {
        until: u64,
    },
    /// The table is full; on again when connections have closed.
    Full,
    Stopped,
}

pub(crate) struct Acceptor {
    /// Closed once nothing of it is in the kernel after `stop_accepting`.
    socket: Option<Socket>,
    mode: Mode,
    in_kernel: bool,
}

impl Acceptor {
    pub fn new(socket: Socket) -> Acceptor {
        Acceptor {
            socket: Some(socket),
            mode: Mode::Off,
            in_kernel: false,
        }
    }

    pub fn resumes_at(&self) -> Option<u64> {
        match self.mode {
            Mode::BackingOff { until } => Some(until),
            _ => None,
        }
    }
}

impl<M> Engine<M> {
    pub fn accept(&mut self, listener: usize) -> io::Result<()> {
        let acceptor = &mut self.acceptors[listener];
        if acceptor.mode != Mode::Off {
            return Ok(());
        }
        let socket = acceptor
            .socket
            .as_ref()
            .expect("a listener that is off has its socket");
        socket.listen(self.limits.backlog)?;
        acceptor.mode = Mode::On;
        self.arm_accept(listener);
        Ok(())
    }

    pub fn stop_accepting(&mut self, listener: usize) {
        let acceptor = &mut self.acceptors[listener];
        acceptor.mode = Mode::Stopped;
        if acceptor.in_kernel {
            self.cancel(accept_token(listener));
        } else {
            acceptor.socket = None;
        }
    }

    fn arm_accept(&mut self, listener: usize) {
        let acceptor = &mut self.acceptors[listener];
        if acceptor.mode != Mode::On || acceptor.in_kernel {
            return;
        }
        acceptor.in_kernel = true;
        let socket = acceptor
            .socket
            .as_ref()
            .expect("open as long as it is not stopped");
        let entry = opcode::AcceptMulti::new(types::Fd(socket.as_raw_fd()))
            .allocate_file_index(true)
            .build();
        self.ring
            .push(entry.user_data(accept_token(listener).pack()));
    }

    /// The kernel would go on accepting, find no slot, and drop those that came.
    fn pause_when_full(&mut self) {
        if self.conns.len() < self.limits.accept_max as usize {
            return;
        }
        for listener in 0..self.acceptors.len() {
            if self.acceptors[listener].mode == Mode::On {
                self.acceptors[listener].mode = Mode::Full;
                self.stats.accept_backoffs += 1;
                if self.acceptors[listener].in_kernel {
                    self.cancel(accept_token(listener));
                }
            }
        }
    }

    /// Beside so many connections, on any shard.
    pub fn has_room_beside(&self, conns: u32) -> bool {
        let accept_max = self.limits.accept_max;
        conns.saturating_add(accept_max / 32) < accept_max
    }

    /// After each close. Waits for some room, so that a full table doesn't cancel and arm with each
    /// connection that comes and goes.
    pub fn resume_when_room(&mut self) {
        if !self.has_room_beside(self.conns.len() as u32) {
            return;
        }
        for listener in 0..self.acceptors.len() {
            if self.acceptors[listener].mode == Mode::Full {
                self.acceptors[listener].mode = Mode::On;
                self.arm_accept(listener);
            }
        }
    }

    pub fn resume_accepting(&mut self) {
        for listener in 0..self.acceptors.len() {
            if self.acceptors[listener]
                .resumes_at()
                .is_some_and(|until| until <= self.now.mono_us)
            {
                self.acceptors[listener].mode = Mode::On;
                self.arm_accept(listener);
            }
        }
    }

    fn accept_failed(&mut self, listener: usize, errno: i32) {
        match errno {
            // That peer is gone again, or we cancelled: nothing to wait for.
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {}
            _ => {
                self.stats.accept_backoffs += 1;
                let acceptor = &mut self.acceptors[listener];
                if acceptor.mode == Mode::On {
                    acceptor.mode = Mode::BackingOff {
                        until: self.now.mono_us + BACKOFF_US,
                    };
                }
            }
        }
    }

    fn accept_left_kernel(&mut self, listener: usize) {
        let acceptor = &mut self.acceptors[listener];
        acceptor.in_kernel = false;
        if acceptor.mode == Mode::Stopped {
            acceptor.socket = None;
        }
        self.arm_accept(listener);
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_accept(&mut self, token: Token, completion: Completion) {
        let listener = token.index as usize;
        match completion.errno() {
            None => self.accepted(listener, completion.result as u32),
            Some(errno) => self.engine.accept_failed(listener, errno),
        }
        if !completion.more() {
            self.engine.accept_left_kernel(listener);
        }
    }

    fn accepted(&mut self, listener: usize, slot: u32) {
        let engine = &mut self.engine;
        engine.stats.accepts += 1;
        if engine.conns.len() >= engine.limits.conns_max as usize {
            engine.stats.accept_dropped += 1;
            engine.close_slot(slot);
            return;
        }
        let conn = engine.conns.insert(slot, Phase::Open);
        engine.arm_poll(conn);
        engine.pause_when_full();
        self.emit(Event::Accepted { conn, listener });
    }
}

fn accept_token(listener: usize) -> Token {
    Token::of_index(Op::Accept, listener as u32)
}
