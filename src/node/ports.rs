//! The ports that the control thread binds itself; those of clients and links belong to the shards.

use std::net::SocketAddr;
use std::time::Duration;

use newim_proto::backoff::Backoff;
use newim_runtime::StartError;
use tokio::net::TcpListener;

use super::error::RunError;
use crate::admin::{self, AdminListener};
use crate::limits::{ACCEPT_RETRY_MS_MAX, ACCEPT_RETRY_MS_MIN};

/// What a running node listens on, with real ports where 0 was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// For clients; a chat node has none.
    pub ws: Option<SocketAddr>,
    /// For other nodes; a standalone node has none.
    pub exchange: Option<SocketAddr>,
    pub admin: SocketAddr,
}

impl Ports {
    /// The line that scripts wait for, once the node serves.
    pub fn ready_line(&self) -> String {
        let ws = self.ws.map_or_else(|| "-".to_owned(), |ws| ws.to_string());
        let exchange = self.exchange;
        let exchange = exchange.map_or_else(String::new, |addr| format!(" exchange={addr}"));
        format!("ready ws={ws}{exchange} admin={}\n", self.admin)
    }
}

/// Binds the admin port; `admin::serve` takes it from there. Returns the address with its real port.
pub fn bind_admin(addr: SocketAddr) -> Result<(AdminListener, SocketAddr), RunError> {
    let error = |error| RunError::AdminBind { addr, error };
    let listener = admin::bind(addr).map_err(error)?;
    let bound = listener.address().map_err(error)?;
    Ok((listener, bound))
}

/// Binds the exchange port of a gateway, to which nobody needs to connect: the address is the gateway's name in the
/// cluster, and must not be another process's too. A connection is accepted and closed.
pub async fn hold_exchange(addr: SocketAddr) -> Result<SocketAddr, RunError> {
    let failed = |error| RunError::Shards(StartError::Bind { addr, error });
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::spawn(async move {
        let mut backoff = Backoff::new(ACCEPT_RETRY_MS_MIN, ACCEPT_RETRY_MS_MAX);
        loop {
            match listener.accept().await {
                Ok(_) => backoff.succeeded(),
                Err(_) => {
                    let pause_ms = backoff.failed(fastrand::u64(..));
                    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                }
            }
        }
    });
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_the_ports_that_a_node_has() {
        let addr = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let line = |ws, exchange| {
            let admin = addr(3);
            let ports = Ports {
                ws,
                exchange,
                admin,
            };
            ports.ready_line()
        };
        assert_eq!(
            line(Some(addr(1)), Some(addr(2))),
            "ready ws=127.0.0.1:1 exchange=127.0.0.1:2 admin=127.0.0.1:3\n"
        );
        assert_eq!(
            line(Some(addr(1)), None),
            "ready ws=127.0.0.1:1 admin=127.0.0.1:3\n"
        );
        assert_eq!(
            line(None, Some(addr(2))),
            "ready ws=- exchange=127.0.0.1:2 admin=127.0.0.1:3\n"
        );
    }
}
