//! Questions of the HTTP API, put to the shards: any gateway shard can ask the store, so they take turns. On the
//! control thread, which waits for the answer; the shard never does.

use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use newim_gateway_core::driver::AnswerTo;
use newim_gateway_core::{Answer, Question};
use newim_proto::ids::ShardIndex;
use tokio::sync::oneshot;

use super::controls::{ShardControl, Teller};
use crate::admin::{Ask, AskError, Asking};
use crate::limits::ASK_MS_MAX;

pub struct Asker<C> {
    teller: Teller<C>,
    next: AtomicU16,
}

impl<C> Asker<C> {
    pub fn new(teller: Teller<C>) -> Asker<C> {
        Asker {
            teller,
            next: AtomicU16::new(0),
        }
    }
}

impl<C: ShardControl> Ask for Asker<C> {
    fn ask(&self, question: Question) -> Asking<'_> {
        Box::pin(async move {
            let (tell, answered) = oneshot::channel();
            let answer_to = AnswerTo::new(move |answer| {
                let _ = tell.send(answer); // the caller may have hung up
            });
            let control = C::ask(question, answer_to).ok_or(AskError::NoGateway)?;
            let turn = self.next.fetch_add(1, Ordering::Relaxed);
            let shard = ShardIndex(turn % self.teller.shards());
            let sent = self.teller.to(shard).try_send(control);
            sent.map_err(|_| AskError::Busy)?;
            match tokio::time::timeout(Duration::from_millis(ASK_MS_MAX), answered).await {
                Ok(Ok(Answer::Box(facts))) => Ok(facts),
                Ok(Ok(Answer::Overloaded)) => Err(AskError::Busy),
                Ok(Ok(Answer::Failed(error))) => Err(AskError::Store(error)),
                Ok(Err(_)) => Err(AskError::Ended),
                Err(_) => Err(AskError::TooLate),
            }
        })
    }
}
