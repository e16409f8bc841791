//! What the control thread tells the shards of every kind of node, and the way to tell them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use newim_chat_core::driver::ChatControl;
use newim_gateway_core::Question;
use newim_gateway_core::driver::{AnswerTo, GatewayControl};
use newim_proto::backoff::Backoff;
use newim_proto::ids::ShardIndex;
use newim_proto::routes::RouteTable;
use newim_runtime::{ControlSender, Runtime};

use crate::limits::{CONTROL_MS_MAX, CONTROL_RETRY_MS_MAX, CONTROL_RETRY_MS_MIN};

/// The messages that a shard of any kind takes.
pub trait ShardControl: Send + Sized + 'static {
    /// Route by a new table.
    fn routes(routes: &Arc<RouteTable>) -> Self;
    /// Finish what is in flight; the shard's cell says when it has drained.
    fn drain() -> Self;
    /// End now.
    fn stop() -> Self;
    /// Answer a question; None: shards of this kind can't.
    fn ask(question: Question, answer_to: AnswerTo) -> Option<Self>;
}

impl ShardControl for GatewayControl {
    fn routes(routes: &Arc<RouteTable>) -> GatewayControl {
        GatewayControl::Routes(Arc::clone(routes))
    }

    fn drain() -> GatewayControl {
        GatewayControl::Drain
    }

    fn stop() -> GatewayControl {
        GatewayControl::Stop
    }

    fn ask(question: Question, answer_to: AnswerTo) -> Option<GatewayControl> {
        Some(GatewayControl::Ask(question, answer_to))
    }
}

impl ShardControl for ChatControl {
    fn routes(routes: &Arc<RouteTable>) -> ChatControl {
        ChatControl::Routes(Arc::clone(routes))
    }

    fn drain() -> ChatControl {
        ChatControl::Drain
    }

    fn stop() -> ChatControl {
        ChatControl::Stop
    }

    fn ask(_: Question, _: AnswerTo) -> Option<ChatControl> {
        None
    }
}

/// The way to the shards. Cheap to clone.
pub struct Teller<C> {
    controls: Arc<[ControlSender<C>]>,
}

impl<C> Clone for Teller<C> {
    fn clone(&self) -> Self {
        Teller {
            controls: Arc::clone(&self.controls),
        }
    }
}

impl<C: Send + 'static> Teller<C> {
    pub fn new(runtime: &Runtime<C>) -> Teller<C> {
        Teller {
            controls: (0..runtime.shards())
                .map(|shard| runtime.control(ShardIndex(shard)))
                .collect(),
        }
    }

    /// Shards of this node; at least one.
    pub fn shards(&self) -> u16 {
        self.controls.len() as u16
    }

    pub fn to(&self, shard: ShardIndex) -> &ControlSender<C> {
        &self.controls[usize::from(shard.0)]
    }

    /// Tells every shard, waiting for those that are busy, up to [`CONTROL_MS_MAX`] each.
    pub async fn tell(&self, mut control: impl FnMut() -> C) {
        for (shard, sender) in self.controls.iter().enumerate() {
            let deadline = Instant::now() + Duration::from_millis(CONTROL_MS_MAX);
            let mut backoff = Backoff::new(CONTROL_RETRY_MS_MIN, CONTROL_RETRY_MS_MAX);
            let mut waiting = control();
            while let Err(refused) = sender.try_send(waiting) {
                if Instant::now() >= deadline {
                    tracing::error!(shard, "a shard is stuck: it takes no messages");
                    break;
                }
                waiting = refused;
                let pause_ms = backoff.failed(fastrand::u64(..));
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            }
        }
    }
}
