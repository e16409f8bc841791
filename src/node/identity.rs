//! Who this process is: its boot id, and the addresses by which others reach it.

use std::net::SocketAddr;

use newim_proto::ids::BootId;
use newim_proto::routes::{NodeInfo, Role};

use crate::config::Config;

/// One life of this process: 64 random bits.
pub fn boot_id() -> BootId {
    BootId(fastrand::u64(1..))
}

/// `exchange`: as bound. Others are told `--advertise` where there is one.
pub fn describe(
    config: &Config,
    boot_id: BootId,
    role: Role,
    ws: Option<SocketAddr>,
    exchange: SocketAddr,
    admin: SocketAddr,
) -> NodeInfo {
    let name = match &config.advertise {
        Some(advertise) => advertise.address(exchange.port()),
        None => exchange.to_string(),
    };
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
    println!("ready ws={ws} exchange={exchange} admin={}", info.admin);
}
