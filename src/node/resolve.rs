//! Resolves names to addresses, on the control thread: a shard never waits for a resolver.

use std::net::SocketAddr;

use newim_gateway_core::driver::ExchangeAddrs;
use newim_proto::routes::RouteTable;

use super::error::RunError;

/// The first address of `host:port`. Errors: the name doesn't resolve, or has no address.
pub async fn resolve(host: &str) -> Result<SocketAddr, RunError> {
    let failed = |error| RunError::Resolve {
        host: host.to_owned(),
        error,
    };
    let mut addrs = tokio::net::lookup_host(host).await.map_err(failed)?;
    addrs
        .next()
        .ok_or_else(|| failed(std::io::Error::other("it has no address")))
}

/// Where the chat nodes of a table listen. A name that can't be resolved is left out and logged; it is tried again
/// with the next table.
pub async fn exchanges(routes: &RouteTable) -> ExchangeAddrs {
    let mut addrs = ExchangeAddrs::new();
    for chat in &routes.chats {
        match resolve(&chat.exchange).await {
            Ok(addr) => {
                addrs.insert(chat.exchange.clone(), addr);
            }
            Err(error) => {
                tracing::warn!(%error, "a chat node has no address: no link to it until the next route table")
            }
        }
    }
    addrs
}
