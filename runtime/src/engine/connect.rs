//! Connecting. The socket is made and set up by plain calls, moved into the ring's table of direct
//! descriptors, and connected by the ring. On the shard's own core; called by `engine` alone.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::ring::{Completion, Ring};
use super::token::{Op, Token};
use crate::conns::{Conn, Phase, bits};

/// The direct descriptor of a connection that isn't in the ring's table yet.
pub(crate) const NO_DESCRIPTOR: u32 = u32::MAX;
/// IORING_FILE_INDEX_ALLOC: the kernel picks the descriptor.
const DESCRIPTOR_ALLOC: i32 = -1;

/// What the kernel reads, and writes to, while a connection comes about.
struct Attempt {
    /// Closed as soon as the table holds it.
    socket: Option<Socket>,
    /// The process's descriptor on its way in, the table's on its way out.
    descriptor: i32,
    addr: SockAddr,
}

#[derive(Default)]
pub(crate) struct Connecting {
    /// Attempts by connection index. Boxed because the kernel holds pointers into them.
    attempts: HashMap<u32, Box<Attempt>>,
}

impl Connecting {
    /// Makes a socket and has it put into the table. Errors are those of socket(2) and bind(2).
    pub fn begin(
        &mut self,
        ring: &mut Ring,
        id: ConnId,
        conn: &mut Conn,
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> io::Result<()> {
        let socket = open_socket(to, from)?;
        let mut attempt = Box::new(Attempt {
            descriptor: socket.as_raw_fd(),
            socket: Some(socket),
            addr: to.into(),
        });
        let entry = opcode::FilesUpdate::new(&raw mut attempt.descriptor, 1)
            .offset(DESCRIPTOR_ALLOC)
            .build();
        self.attempts.insert(id.index, attempt);
        conn.set(bits::REGISTER);
        ring.push(entry.user_data(Token::of_conn(Op::Register, id).pack()));
        Ok(())
    }

    /// The socket is in the table, and is connected next. The errno where the table had no room, or where
    /// the connection was given up meanwhile.
    pub fn registered(
        &mut self,
        ring: &mut Ring,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) -> Result<(), i32> {
        conn.clear(bits::REGISTER);
        let attempt = self
            .attempts
            .get_mut(&id.index)
            .expect("kept until it is connected or not");
        attempt.socket = None;
        if completion.result == 1 {
            conn.descriptor = attempt.descriptor as u32;
        }
        if conn.phase == Phase::Registering && completion.result == 1 {
            conn.phase = Phase::Connecting;
            conn.set(bits::CONNECT);
            let (addr, len) = (attempt.addr.as_ptr(), attempt.addr.len());
            let entry =
                opcode::Connect::new(types::Fixed(conn.descriptor), addr.cast(), len).build();
            ring.push(entry.user_data(Token::of_conn(Op::Connect, id).pack()));
            return Ok(());
        }
        self.attempts.remove(&id.index);
        Err(completion.errno().unwrap_or(libc::ENFILE))
    }

    /// The connection is open, or the errno says why it isn't.
    pub fn connected(
        &mut self,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) -> Result<(), i32> {
        self.attempts.remove(&id.index);
        conn.clear(bits::CONNECT);
        if conn.phase == Phase::Connecting && completion.errno().is_none() {
            conn.phase = Phase::Open;
            return Ok(());
        }
        Err(completion.errno().unwrap_or(libc::ECANCELED))
    }
}

fn open_socket(to: SocketAddr, from: Option<IpAddr>) -> io::Result<Socket> {
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
fn bind_address_no_port(socket: &Socket) -> io::Result<()> {
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
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
