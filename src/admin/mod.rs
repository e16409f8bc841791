//! Admin HTTP, on the control thread: `/healthz`, `/readyz`, `/metrics`, `/api/nodes`, `/api/memory`. It
//! reads what the node publishes ([`state::NodeView`]) and changes nothing. The composition binds it before the node
//! says that it is ready, and serves it until the node has drained.

mod http;
mod kernel;
mod memory;
mod metrics;
mod nodes;
mod process;
pub mod state;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

pub use http::{AdminListener, bind};
pub use memory::{NodeMemory, Tables};
pub use metrics::MetricSink;
pub use state::{NodeView, NotReady};

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
        .route("/api/nodes", get(api_nodes))
        .route("/api/memory", get(api_memory))
        .fallback(unknown)
        .with_state(view)
}

const INDEX: &str = "NewIM admin\n\
    /healthz    is the process alive?\n\
    /readyz     does the node serve? 503 with the reasons if not\n\
    /metrics    counters, for Prometheus\n\
    /api/nodes  the cluster as this node sees it\n\
    /api/memory what connections cost, by part\n";

async fn index() -> &'static str {
    INDEX
}

/// The control thread answers, so the process lives. What it lacks is `/readyz`'s to say: a restart
/// would not bring a lost Redis back.
async fn healthz() -> Response {
    json_response(StatusCode::OK, json!({ "status": "ok" }))
}

async fn readyz(State(view): State<View>) -> Response {
    let reasons = view.not_ready();
    if reasons.is_empty() {
        return json_response(StatusCode::OK, json!({ "ready": true }));
    }
    let reasons: Vec<_> = reasons
        .iter()
        .map(|reason| json!({ "what": reason.what, "why": reason.why }))
        .collect();
    json_response(
        StatusCode::SERVICE_UNAVAILABLE,
        json!({ "ready": false, "reasons": reasons }),
    )
}

async fn metrics(State(view): State<View>) -> Response {
    let mut sink = MetricSink::default();
    view.collect(&mut sink);
    process::collect(&mut sink);
    memory::collect(&mut sink, &memory::parts(&view.memory()));
    (
        [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)],
        sink.render(),
    )
        .into_response()
}

async fn api_nodes(State(view): State<View>) -> Response {
    json_response(
        StatusCode::OK,
        nodes::describe(view.boot_id(), &view.cluster(), &view.routes()),
    )
}

async fn api_memory(State(view): State<View>) -> Response {
    let memory = view.memory();
    let parts = memory::parts(&memory);
    json_response(StatusCode::OK, memory::describe(&memory, &parts))
}

async fn unknown() -> Response {
    (StatusCode::NOT_FOUND, INDEX).into_response()
}

/// Indented, because people read it with curl.
fn json_response(status: StatusCode, body: serde_json::Value) -> Response {
    let text = format!("{body:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests;
