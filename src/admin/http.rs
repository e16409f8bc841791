//! The HTTP server under the admin pages: accepts on the control thread, with bounds on the connections and on the
//! time that a request may take to arrive, which `axum::serve` alone doesn't set.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use newim_proto::backoff::Backoff;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::limits::{
    ACCEPT_RETRY_MS_MAX, ACCEPT_RETRY_MS_MIN, ADMIN_CONNECTIONS_MAX, ADMIN_HEAD_MS_MAX,
};

/// A port that is bound and not served yet.
#[derive(Debug)]
pub struct AdminListener(TcpListener);

/// Binds the port. Errors: the address is taken, or this machine doesn't have it.
pub fn bind(address: SocketAddr) -> io::Result<AdminListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(AdminListener(listener))
}

impl AdminListener {
    /// The bound address, with the real port where 0 was asked for.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves until it is dropped; dropping it ends its connections too.
pub async fn serve(listener: AdminListener, routes: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener.0) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "admin HTTP can't be served"),
    };
    let slots = Arc::new(Semaphore::new(ADMIN_CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut backoff = Backoff::new(ACCEPT_RETRY_MS_MIN, ACCEPT_RETRY_MS_MAX);
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                backoff.succeeded();
                let routes = routes.clone();
                connections.spawn(async move {
                    connection(stream, routes).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin HTTP can't accept");
                let pause_ms = backoff.failed(fastrand::u64(..));
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, routes: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(ADMIN_HEAD_MS_MAX))
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection ended");
    }
}
