//! What the admin HTTP asks of a node. `crate::node` implements it over the snapshots that the shards and the
//! cluster publish. Every method is called on the control thread, for each request, and must not wait.

use std::pin::Pin;
use std::sync::Arc;

use newim_gateway_core::Question;
use newim_proto::ids::BootId;
use newim_proto::log::{BoxFacts, StoreError};
use newim_proto::routes::RouteTable;

use super::memory::NodeMemory;
use super::metrics::MetricSink;

pub trait NodeView: Send + Sync + 'static {
    /// The boot id of this process, to tell it from the others in the route table.
    fn boot_id(&self) -> BootId;

    /// Where membership comes from, and its state: "embedded", "connected", "suspended: …".
    fn cluster(&self) -> String;

    /// The newest route table.
    fn routes(&self) -> Arc<RouteTable>;

    /// Everything that keeps the node from serving; empty when it serves.
    fn not_ready(&self) -> Vec<NotReady>;

    /// The memory that the node's shards hold, by their own count.
    fn memory(&self) -> NodeMemory;

    /// Whom to ask what no snapshot shows.
    fn asker(&self) -> &dyn Ask;

    /// Adds the node's metrics to `sink`.
    fn collect(&self, sink: &mut MetricSink);
}

/// Puts a question to the node's shards.
pub trait Ask: Send + Sync {
    /// Resolves when a shard has answered, at the latest after `ASK_MS_MAX`.
    fn ask(&self, question: Question) -> Asking<'_>;
}

/// The answer, as it comes.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<BoxFacts, AskError>> + Send + 'a>>;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskError {
    /// This node has no gateway shards, so it has no store to ask.
    NoGateway,
    /// Too many questions, or store commands, are in flight.
    Busy,
    /// The store could not say.
    Store(StoreError),
    /// The shard ended first.
    Ended,
    /// No answer came within `ASK_MS_MAX`.
    TooLate,
}

/// One thing that keeps a node from serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotReady {
    /// "zookeeper", "redis", "draining", …: for a program.
    pub what: &'static str,
    /// For a person.
    pub why: String,
}
