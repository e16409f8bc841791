//! Who this process is: its boot id, and the addresses by which others reach it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use newim_proto::ids::BootId;
use newim_proto::routes::{NodeInfo, Role};

use super::error::RunError;
use super::resolve::resolve;
use crate::config::{Config, Zookeeper};
use crate::console;

/// One life of this process: 64 random bits.
pub fn boot_id() -> BootId {
    BootId(fastrand::u64(1..))
}

/// The `host:port` by which other nodes reach this one's exchange, and its name in the cluster:
/// `--advertise`, or the bound address, or, where that is a wildcard, this machine's address on the way
/// to ZooKeeper, which the other nodes reach as well.
pub async fn exchange_name(
    config: &Config,
    exchange: SocketAddr,
    zookeeper: Option<&Zookeeper>,
) -> Result<String, RunError> {
    if let Some(advertise) = &config.advertise {
        return Ok(advertise.address(exchange.port()));
    }
    let Some(zookeeper) = zookeeper.filter(|_| exchange.ip().is_unspecified()) else {
        return Ok(exchange.to_string());
    };
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

/// Connecting a UDP socket sends nothing: it only asks the routing table.
fn local_towards(addr: SocketAddr) -> io::Result<IpAddr> {
    let wildcard: IpAddr = match addr {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((wildcard, 0))?;
    socket.connect(addr)?;
    Ok(socket.local_addr()?.ip())
}

/// `name`: see `exchange_name`.
pub fn describe(
    config: &Config,
    boot_id: BootId,
    role: Role,
    ws: Option<SocketAddr>,
    name: String,
    admin: SocketAddr,
) -> NodeInfo {
    NodeInfo {
        name: name.clone(),
        role,
        boot_id,
        ws: ws.map(|addr| addr.to_string()),
        exchange: name,
        admin: admin.to_string(),
        shards: config.shards,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: false,
    }
}

/// The line that scripts wait for.
pub fn say_ready(info: &NodeInfo, ws: Option<SocketAddr>, exchange: SocketAddr) {
    let ws = ws.map_or_else(|| "-".to_owned(), |addr| addr.to_string());
    let line = format!("ready ws={ws} exchange={exchange} admin={}\n", info.admin);
    // A node serves on when nobody reads its stdout.
    if let Err(error) = console::print(&line) {
        tracing::warn!(%error, "serving, but the ready line can't be written to stdout");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_address_is_told_to_others_as_the_one_towards_them() {
        let towards = local_towards("127.0.0.1:2181".parse().expect("an address"));
        assert_eq!(
            towards.expect("loopback is routed"),
            IpAddr::from(Ipv4Addr::LOCALHOST)
        );
    }
}
