//! `/api/…`: what a node knows, as JSON for people and programs. A route is a line in [`routes`] and a function
//! below it. Errors are JSON too: `{"error": "…"}`, with a fitting status. On the control thread.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use super::{View, boxes, memory, nodes};

/// To be nested under `/api`.
pub fn routes() -> Router<View> {
    Router::new()
        .route("/nodes", get(api_nodes))
        .route("/memory", get(api_memory))
        .route("/boxes/{box}", get(boxes::describe))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
}

async fn api_nodes(State(view): State<View>) -> Response {
    answer(
        StatusCode::OK,
        nodes::describe(view.boot_id(), &view.cluster(), &view.routes()),
    )
}

async fn api_memory(State(view): State<View>) -> Response {
    let memory = view.memory();
    let parts = memory::parts(&memory);
    answer(StatusCode::OK, memory::describe(&memory, &parts))
}

async fn unknown() -> Response {
    error(
        StatusCode::NOT_FOUND,
        "no such API: GET / lists what there is",
    )
}

async fn wrong_method() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "this API answers GET alone")
}

/// An error as every API answers it; `why` is a sentence for the caller.
pub fn error(status: StatusCode, why: &str) -> Response {
    answer(status, json!({ "error": why }))
}

/// Indented, because people read it with curl.
pub fn answer(status: StatusCode, body: Value) -> Response {
    let text = format!("{body:#}\n");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
