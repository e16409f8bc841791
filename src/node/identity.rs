//! How this process is known to others: its boot id, its name in the cluster, and its description there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use newim_proto::ids::BootId;
use newim_proto::routes::{NodeInfo, Role};

use super::error::RunError;
use super::life::Me;
use super::ports::Ports;
use super::resolve::resolve;
use crate::config::{Config, Zookeeper};

/// One life of this process: 64 random bits.
pub fn boot_id() -> BootId {
    BootId(fastrand::u64(1..))
}

/// The name of a node of a cluster, which is the `host:port` by which other nodes reach its exchange port:
/// `--advertise`, or the bound address, or, where that is a wildcard, this machine's address on the way to
/// ZooKeeper, which the other nodes reach as well. Errors: no server of ZooKeeper has a route or a name that
/// resolves.
pub async fn cluster_name(
    config: &Config,
    ports: &Ports,
    zookeeper: &Zookeeper,
) -> Result<String, RunError> {
    let exchange = ports
        .exchange
        .expect("a node of a cluster binds its exchange port");
    if let Some(advertise) = &config.advertise {
        return Ok(advertise.address(exchange.port()));
    }
    if !exchange.ip().is_unspecified() {
        return Ok(exchange.to_string());
    }
    let servers = zookeeper.servers.as_str();
    let servers = servers
        .split_once('/')
        .map_or(servers, |(hosts, _chroot)| hosts);
    let mut failed = None;
    for server in servers.split(',') {
        match resolve(server)
            .await
            .and_then(|addr| local_towards(addr).map_err(RunError::NoAddress))
        {
            Ok(ip) => return Ok(SocketAddr::new(ip, exchange.port()).to_string()),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.expect("a checked configuration names a server"))
}

/// The name of a standalone node, for people alone: `--advertise`, or the address for clients.
pub fn standalone_name(config: &Config, ports: &Ports) -> String {
    let ws = ports.ws.expect("a standalone node listens for clients");
    match &config.advertise {
        Some(advertise) => advertise.address(ws.port()),
        None => ws.to_string(),
    }
}

/// This machine's address on the way to `addr`. Connecting a UDP socket sends nothing: it only asks the kernel's
/// routes.
fn local_towards(addr: SocketAddr) -> io::Result<IpAddr> {
    let wildcard: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((wildcard, 0))?;
    socket.connect(addr)?;
    Ok(socket.local_addr()?.ip())
}

/// This node in the given role, as the others see it. Where no exchange port is bound, no address is told for it.
pub fn describe(me: &Me<'_>, role: Role, name: String, ports: &Ports) -> NodeInfo {
    NodeInfo {
        role,
        boot_id: me.boot_id,
        ws: match role {
            Role::Gateway => ports.ws.map(|ws| ws.to_string()),
            Role::Chat => None,
        },
        exchange: ports.exchange.map_or_else(String::new, |_| name.clone()),
        name,
        admin: ports.admin.to_string(),
        shards: me.config.shards,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_advertised_as_the_one_towards_the_others() {
        let towards = local_towards("127.0.0.1:2181".parse().expect("an address"));
        assert_eq!(
            towards.expect("loopback is routed"),
            IpAddr::from(Ipv4Addr::LOCALHOST)
        );
    }
}
