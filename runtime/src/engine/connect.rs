//! Connecting. The socket is made and set up by plain calls, moved into the ring's table (which picks the
//! slot), and connected by the ring.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::conns::{Cause, Phase, bits};
use crate::engine::Engine;
use crate::engine::driver::{Driver, Event};
use crate::engine::ring::Completion;
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};

/// Of a connection that has no place in the table yet.
pub(crate) const NO_SLOT: u32 = u32::MAX;
/// IORING_FILE_INDEX_ALLOC: the kernel picks the slot.
const SLOT_ALLOC: i32 = -1;

/// What the kernel reads, and writes to, while a connection comes about. Boxed: it must not move.
pub(crate) struct Connecting {
    /// Closed as soon as the table holds it.
    socket: Option<Socket>,
    /// The descriptor on its way in, the slot on its way out.
    descriptor: i32,
    addr: SockAddr,
}

impl<M> Engine<M> {
    /// Always leads to Connected or Closed, also where there is no room for it.
    pub fn connect(&mut self, to: SocketAddr, from: Option<IpAddr>) -> ConnId {
        self.stats.connects += 1;
        let id = self.conns.insert(NO_SLOT, Phase::Registering);
        let socket = match open_socket(to, from) {
            Ok(socket) => socket,
            Err(error) => {
                self.end(
                    id,
                    Cause::errno(error.raw_os_error().unwrap_or(libc::EINVAL)),
                );
                return id;
            }
        };
        let descriptor = socket.as_raw_fd();
        let mut connecting = Box::new(Connecting {
            socket: Some(socket),
            descriptor,
            addr: to.into(),
        });
        let entry = opcode::FilesUpdate::new(&raw mut connecting.descriptor, 1)
            .offset(SLOT_ALLOC)
            .build();
        self.connecting.insert(id.index, connecting);
        self.conns.live(id).expect("just made").set(bits::REGISTER);
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Register, id).pack()));
        id
    }

    pub fn on_register(&mut self, token: Token, completion: Completion) {
        let id = token.conn();
        let conn = self.conns.live(id).expect("its place waits for this");
        conn.clear(bits::REGISTER);
        let connecting = self
            .connecting
            .get_mut(&id.index)
            .expect("kept until it is connected or not");
        connecting.socket = None;
        if completion.result == 1 {
            conn.slot = connecting.descriptor as u32;
        }
        if conn.phase == Phase::Registering && completion.result == 1 {
            conn.phase = Phase::Connecting;
            conn.set(bits::CONNECT);
            let (addr, len) = (connecting.addr.as_ptr(), connecting.addr.len());
            let entry = opcode::Connect::new(types::Fixed(conn.slot), addr.cast(), len).build();
            self.ring
                .push(entry.user_data(Token::of_conn(Op::Connect, id).pack()));
            return;
        }
        self.connecting.remove(&id.index);
        self.end(id, Cause::errno(completion.errno().unwrap_or(libc::ENFILE)));
        self.step_out(id);
    }

    /// Is it open now?
    fn on_connect(&mut self, id: ConnId, completion: Completion) -> bool {
        self.connecting.remove(&id.index);
        let conn = self.conns.live(id).expect("its place waits for this");
        conn.clear(bits::CONNECT);
        if conn.phase == Phase::Connecting && completion.errno().is_none() {
            conn.phase = Phase::Open;
            self.arm_poll(id);
            return true;
        }
        self.end(
            id,
            Cause::errno(completion.errno().unwrap_or(libc::ECANCELED)),
        );
        self.step_out(id);
        false
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_connect(&mut self, token: Token, completion: Completion) {
        let conn = token.conn();
        if self.engine.on_connect(conn, completion) {
            self.emit(Event::Connected { conn });
        }
    }
}

fn open_socket(to: SocketAddr, from: Option<IpAddr>) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok(socket)
}

/// The port is picked with the destination known (ip(7)), so a source address has 28,000 ports for each
/// destination, not for all together.
fn bind_address_no_port(socket: &Socket) -> std::io::Result<()> {
    let yes: libc::c_int = 1;
    // SAFETY: the value lives through the call, and its size is passed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const yes).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(())
    }
}
