//! The HTTP server under the admin pages: accepts on the control thread, with bounds on how many
//! connections there are and how long a peer may dribble, which `axum::serve` alone doesn't set.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Operators' tools hold a few each. One more waits in the kernel's backlog.
const CONNECTIONS_MAX: usize = 64;
/// A request's head must be whole by then, and a kept-alive connection ask again by then.
const HEAD_MS_MAX: u64 = 10_000;
/// Out of descriptors: try again after so long, as trying at once burns the core.
const ACCEPT_BACK_OFF_MS: u64 = 100;

/// Bound, not yet served.
#[derive(Debug)]
pub struct AdminListener(TcpListener);

/// Errors: the address is taken or not of this machine.
pub fn bind(address: SocketAddr) -> io::Result<AdminListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(AdminListener(listener))
}

impl AdminListener {
    /// With the real port where 0 was asked.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Runs until dropped; dropping it ends its connections too.
pub async fn serve(listener: AdminListener, routes: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener.0) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "admin HTTP can't be served"),
    };
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let routes = routes.clone();
                connections.spawn(async move {
                    connection(stream, routes).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin HTTP can't accept");
                tokio::time::sleep(Duration::from_millis(ACCEPT_BACK_OFF_MS)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended");
    }
}
