//! Accepting: one multishot accept per listener and shard, by which the kernel puts new sockets into the
//! ring's table of direct descriptors. It is put off when the machine or the table is full, which the log
//! says. On the shard's own core; called by `engine` alone.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use newim_proto::ids::ShardIndex;
use socket2::Socket;

use super::notice::Notice;
use super::ring::Ring;
use super::stats::EngineStats;
use super::token::{Op, Token};
use super::transport::Transport;
use crate::limits::ACCEPT_RETRY_US;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The driver has not asked for it yet.
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

/// One listener of this shard.
pub(crate) struct Acceptor {
    /// Closed once nothing of it is in the kernel after `stop`.
    socket: Option<Socket>,
    transport: Transport,
    mode: Mode,
    in_kernel: bool,
}

impl Acceptor {
    pub fn new(socket: Socket, transport: Transport) -> Acceptor {
        Acceptor {
            socket: Some(socket),
            transport,
            mode: Mode::Off,
            in_kernel: false,
        }
    }

    fn resumes_at(&self) -> Option<u64> {
        match self.mode {
            Mode::BackingOff { until } => Some(until),
            _ => None,
        }
    }

    fn arm(&mut self, ring: &mut Ring, listener: usize) {
        if self.mode != Mode::On || self.in_kernel {
            return;
        }
        self.in_kernel = true;
        let socket = self
            .socket
            .as_ref()
            .expect("open as long as it is not stopped");
        let entry = opcode::AcceptMulti::new(types::Fd(socket.as_raw_fd()))
            .allocate_file_index(true)
            .build();
        ring.push(entry.user_data(accept_token(listener).pack()));
    }
}

/// All listeners of this shard, in the order of `Config::listeners`.
pub(crate) struct Accepting {
    acceptors: Vec<Acceptor>,
    /// Connections of the shard at which accepting stops, outgoing and handed-over ones included.
    accept_max: u32,
    backlog: i32,
    shard: ShardIndex,
    is_full: bool,
    full: Notice,
    lacking: Notice,
}

impl Accepting {
    pub fn new(
        shard: ShardIndex,
        acceptors: Vec<Acceptor>,
        accept_max: u32,
        backlog: i32,
    ) -> Accepting {
        Accepting {
            acceptors,
            accept_max,
            backlog,
            shard,
            is_full: false,
            full: Notice::default(),
            lacking: Notice::default(),
        }
    }

    /// Listens and accepts; asked again, does nothing. Errors are those of listen(2).
    pub fn begin(&mut self, ring: &mut Ring, listener: usize) -> io::Result<()> {
        let acceptor = &mut self.acceptors[listener];
        if acceptor.mode != Mode::Off {
            return Ok(());
        }
        let socket = acceptor
            .socket
            .as_ref()
            .expect("a listener that is off has its socket");
        socket.listen(self.backlog)?;
        acceptor.mode = Mode::On;
        acceptor.arm(ring, listener);
        Ok(())
    }

    /// Closes the listening socket, for good.
    pub fn stop(&mut self, ring: &mut Ring, listener: usize) {
        let acceptor = &mut self.acceptors[listener];
        acceptor.mode = Mode::Stopped;
        if acceptor.in_kernel {
            ring.cancel(accept_token(listener));
        } else {
            acceptor.socket = None;
        }
    }

    pub fn transport(&self, listener: usize) -> &Transport {
        &self.acceptors[listener].transport
    }

    /// May a shard with so many connections take one more, and some to spare?
    pub fn has_room_beside(&self, conns: u32) -> bool {
        conns.saturating_add(self.accept_max / 32) < self.accept_max
    }

    /// After each connection that came: stops accepting where it was the last that fits. The kernel would
    /// go on accepting, find no descriptor, and drop those that came.
    pub fn came(&mut self, ring: &mut Ring, stats: &mut EngineStats, now_us: u64, conns: u32) {
        if self.lacking.ends() {
            tracing::info!(shard = self.shard.0, "this shard can accept again");
        }
        if conns < self.accept_max {
            return;
        }
        for (listener, acceptor) in self.acceptors.iter_mut().enumerate() {
            if acceptor.mode == Mode::On {
                acceptor.mode = Mode::Full;
                stats.accept_backoffs += 1;
                if acceptor.in_kernel {
                    ring.cancel(accept_token(listener));
                }
            }
        }
        if std::mem::replace(&mut self.is_full, true) {
            return;
        }
        stats.accept_full += 1;
        stats.accept_full_now = 1;
        if self.full.begins(now_us) {
            tracing::warn!(
                shard = self.shard.0,
                connections = conns,
                "this shard is full: new clients wait until others leave, or time out. Raise the connections \
                 per shard, the open files where they cap it (ulimit -n, LimitNOFILE=), or the shards"
            );
        }
    }

    /// After each connection that closed. Waits for some room, so that a full table doesn't cancel and arm
    /// with each connection that comes and goes.
    pub fn resume_when_room(&mut self, ring: &mut Ring, stats: &mut EngineStats, conns: u32) {
        if !self.is_full || !self.has_room_beside(conns) {
            return;
        }
        for (listener, acceptor) in self.acceptors.iter_mut().enumerate() {
            if acceptor.mode == Mode::Full {
                acceptor.mode = Mode::On;
                acceptor.arm(ring, listener);
            }
        }
        self.is_full = false;
        stats.accept_full_now = 0;
        if self.full.ends() {
            tracing::info!(
                shard = self.shard.0,
                connections = conns,
                "this shard has room again"
            );
        }
    }

    /// When `retry` has something to do, in `Now::mono_us`.
    pub fn next_deadline(&self) -> Option<u64> {
        self.acceptors.iter().filter_map(Acceptor::resumes_at).min()
    }

    /// Tries again what the machine lacked something for.
    pub fn retry(&mut self, ring: &mut Ring, now_us: u64) {
        for (listener, acceptor) in self.acceptors.iter_mut().enumerate() {
            if acceptor.resumes_at().is_some_and(|until| until <= now_us) {
                acceptor.mode = Mode::On;
                acceptor.arm(ring, listener);
            }
        }
    }

    /// An accept failed; it is tried again at once, or after a while where the machine lacks something.
    pub fn failed(&mut self, stats: &mut EngineStats, now_us: u64, listener: usize, errno: i32) {
        // That peer is gone again, or we cancelled: nothing to wait for.
        if matches!(
            errno,
            libc::ECANCELED | libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO
        ) {
            return;
        }
        stats.accept_backoffs += 1;
        let acceptor = &mut self.acceptors[listener];
        if acceptor.mode == Mode::On {
            // Re-arming at once would burn the core: the connection that can't be accepted stays ready.
            acceptor.mode = Mode::BackingOff {
                until: now_us + ACCEPT_RETRY_US,
            };
        }
        if self.lacking.begins(now_us) {
            tracing::warn!(
                shard = self.shard.0,
                error = %io::Error::from_raw_os_error(errno),
                "this shard can't accept connections; it goes on trying"
            );
        }
    }

    /// The multishot accept has ended; it is armed again where the listener is on.
    pub fn left_kernel(&mut self, ring: &mut Ring, listener: usize) {
        let acceptor = &mut self.acceptors[listener];
        acceptor.in_kernel = false;
        if acceptor.mode == Mode::Stopped {
            acceptor.socket = None;
        }
        acceptor.arm(ring, listener);
    }
}

fn accept_token(listener: usize) -> Token {
    Token::of_index(Op::Accept, listener as u32)
}
