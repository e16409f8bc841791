//! Listening sockets: one per shard and address, bound before any shard starts, so that an address in
//! use is reported at once. Made on the starting thread by `start`; the shards listen on them (`accept`).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use super::config::Listener;
use super::error::StartError;
use crate::limits::{LEFTOVER_PORT_MS_MAX, LEFTOVER_PORT_RETRY_MS};

/// The sockets of one shard, in the order of `Config::listeners`.
pub(crate) type ShardListeners = Vec<Socket>;

/// Binds every address for every shard; returns the real addresses and each shard's sockets.
///
/// None of them listens yet: the kernel spreads connections over the sockets of a port that listen, so a
/// shard that never accepts gets none.
pub(crate) fn bind_all(
    listeners: &[Listener],
    shards: u16,
) -> Result<(Vec<SocketAddr>, Vec<ShardListeners>), StartError> {
    let mut real = Vec::with_capacity(listeners.len());
    let mut per_shard: Vec<ShardListeners> = (0..shards)
        .map(|_| Vec::with_capacity(listeners.len()))
        .collect();
    for wanted in listeners.iter().map(|listener| listener.addr) {
        let failed = |error| {
            StartError::of(error, |error| StartError::Bind {
                addr: wanted,
                error,
            })
        };
        check_free(wanted).map_err(failed)?;
        let mut addr = wanted;
        for sockets in &mut per_shard {
            let socket = bind_shared(addr).map_err(failed)?;
            // After the first shard, port 0 is the port that it got.
            addr = local_addr(&socket).map_err(failed)?;
            sockets.push(socket);
        }
        real.push(addr);
    }
    Ok((real, per_shard))
}

/// Checks that no other process listens on an address. With SO_REUSEPORT a second process of the same user
/// would join in silently and take half of the connections. This bind, without it, fails where a process
/// listens; SO_REUSEADDR only lets it pass connections in TIME_WAIT.
///
/// The kernel takes a ring apart, and its listening sockets with it, a while after its process has
/// ended: a node that is started again at once finds its own port taken, and tries again for a while.
fn check_free(addr: SocketAddr) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_millis(LEFTOVER_PORT_MS_MAX);
    loop {
        let socket = tcp_socket(addr)?;
        socket.set_reuse_address(true)?;
        match socket.bind(&addr.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(LEFTOVER_PORT_RETRY_MS));
            }
            outcome => return outcome,
        }
    }
}

fn bind_shared(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp_socket(addr)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn tcp_socket(addr: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))
}

fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    let addr = socket.local_addr()?;
    addr.as_socket()
        .ok_or_else(|| io::Error::other("a TCP socket without an internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[test]
    fn all_shards_get_the_same_port_and_two_listeners_two() {
        let (addrs, shards) =
            bind_all(&[loopback().into(), loopback().into()], 3).expect("loopback is free");
        assert_ne!(addrs[0].port(), addrs[1].port());
        for sockets in shards {
            for (socket, addr) in sockets.iter().zip(&addrs) {
                assert_eq!(local_addr(socket).expect("bound"), *addr);
            }
        }
    }

    #[test]
    fn a_port_that_another_listens_on_is_refused_even_with_reuse_port() {
        let (addrs, shards) = bind_all(&[loopback().into()], 1).expect("loopback is free");
        shards[0][0].listen(1).expect("bound");
        let error = bind_all(&[addrs[0].into()], 1).expect_err("in use");
        match error {
            StartError::Bind { addr, error } => {
                assert_eq!(addr, addrs[0]);
                assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
            }
            other => panic!("{other}"),
        }
    }
}
