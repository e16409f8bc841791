//! Admin HTTP, on the control thread: `/healthz`, `/readyz`, `/metrics`, and `/api/…` in `api`. It reads what the
//! node publishes ([`NodeView`]) and changes nothing. The node binds it before its shards start, and serves it
//! until it has drained.

mod api;
mod boxes;
mod http;
mod kernel;
mod memory;
mod metrics;
mod nodes;
mod process;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use metrics::Format;

pub use http::{AdminListener, bind};
pub use memory::{NodeMemory, Tables};
pub use metrics::MetricSink;
pub use view::{Ask, AskError, Asking, NodeView, NotReady};

type View = Arc<dyn NodeView>;

/// Serves on `listener` until it is dropped. Runs on a tokio runtime with I/O and time.
pub async fn serve(listener: AdminListener, view: View) {
    http::serve(listener, routes(view)).await;
}

fn routes(view: View) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .nest("/api", api::routes())
        .fallback(unknown)
        .with_state(view)
}

const INDEX: &str = "NewIM admin\n\
    /healthz    is the process alive?\n\
    /readyz     does the node serve? 503 with the reasons if not\n\
    /metrics    counters, for Prometheus (text, or OpenMetrics if asked for)\n\
    /api/nodes  the cluster as this node sees it\n\
    /api/memory what connections cost, by part\n\
    /api/boxes/BOX head and members' count of a box\n";

async fn index() -> &'static str {
    INDEX
}

/// The control thread answers, so the process is alive. What the node lacks belongs to `/readyz`: a restart
/// would not bring a lost Redis back.
async fn healthz() -> Response {
    api::answer(StatusCode::OK, json!({ "status": "ok" }))
}

async fn readyz(State(view): State<View>) -> Response {
    let reasons = view.not_ready();
    if reasons.is_empty() {
        return api::answer(StatusCode::OK, json!({ "ready": true }));
    }
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| json!({ "what": reason.what, "why": reason.why }))
        .collect();
    api::answer(
        StatusCode::SERVICE_UNAVAILABLE,
        json!({ "ready": false, "reasons": reasons }),
    )
}

async fn metrics(State(view): State<View>, headers: HeaderMap) -> Response {
    let mut sink = MetricSink::default();
    view.collect(&mut sink);
    process::collect(&mut sink);
    memory::collect(&mut sink, &memory::parts(&view.memory()));
    let format = Format::accepted_by(&headers);
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::VARY, "Accept"),
    ];
    (headers, sink.write(format)).into_response()
}

async fn unknown() -> Response {
    (StatusCode::NOT_FOUND, INDEX).into_response()
}

#[cfg(test)]
mod tests;
