//! `GET /api/boxes/{box}`: what a box is like, whoever asks. A shard asks the store for it, as it does for clients.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use newim_gateway_core::Question;
use newim_proto::ids::BoxId;
use serde_json::json;

use super::view::AskError;
use super::{View, api};

/// 200: `box`, `epoch` and `seq` of its head (zeros for a box that nobody has used), `members`, the count of users
/// who JOINed and are still in it. 400: no boxid. 404: this node has no gateway. 502: the store failed. 503: too much
/// is in flight, or the store can't be reached: ask again. 504: no answer in time.
pub async fn describe(State(view): State<View>, Path(name): Path<String>) -> Response {
    let boxid = match BoxId::parse(&name) {
        Ok(boxid) => boxid,
        Err(error) => return api::error(StatusCode::BAD_REQUEST, &format!("the boxid {error}")),
    };
    match view.asker().ask(Question::Box(boxid)).await {
        Ok(facts) => api::answer(
            StatusCode::OK,
            json!({
                "box": name,
                "epoch": facts.head.epoch,
                "seq": facts.head.seq,
                "members": facts.members,
            }),
        ),
        Err(error) => {
            let (status, why) = refusal(&error);
            api::error(status, &why)
        }
    }
}

fn refusal(error: &AskError) -> (StatusCode, String) {
    use newim_proto::log::StoreError;
    let (status, why) = match error {
        AskError::NoGateway => (
            StatusCode::NOT_FOUND,
            "a chat node has no store: ask a gateway",
        ),
        AskError::Busy => (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests wait for the store: ask again",
        ),
        AskError::Ended => (StatusCode::SERVICE_UNAVAILABLE, "the node is ending"),
        AskError::TooLate => (
            StatusCode::GATEWAY_TIMEOUT,
            "the store has not answered in time",
        ),
        AskError::Store(error @ StoreError::Unavailable(_)) => {
            return (StatusCode::SERVICE_UNAVAILABLE, error.to_string());
        }
        AskError::Store(error) => return (StatusCode::BAD_GATEWAY, error.to_string()),
    };
    (status, why.to_owned())
}
