//! A shard's port to the embedded store: batches go by a channel to the writer thread, and its replies come
//! back as `GatewayControl::Stored`. Lives on the shard's core, in the driver's `StorePort`.

use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use newim_proto::time::Now;
use newim_store::embedded::{EmbeddedHandle, SubmitError};
use newim_store::{FaultKind, StoreFault};

use super::limits::QUEUE_RETRY_US;
use super::store_fault::ShownFault;

/// The end of the road to the writer thread. One per shard.
pub struct EmbeddedPort {
    handle: EmbeddedHandle,
    shard: ShardIndex,
    /// Bounded by the shard's `commands_max`: beyond it the shard refuses requests by itself.
    batch: Vec<(StoreToken, Command)>,
    /// Time at which a batch that the full queue refused is tried again.
    retry_us: Option<u64>,
    /// The faults that the writer thread can't see itself: its queue is full, or it has ended.
    queue_fault: ShownFault,
    fault: ShownFault,
}

impl EmbeddedPort {
    pub(super) fn new(handle: EmbeddedHandle, shard: ShardIndex) -> EmbeddedPort {
        EmbeddedPort {
            handle,
            shard,
            batch: Vec::new(),
            retry_us: None,
            queue_fault: ShownFault::default(),
            fault: ShownFault::default(),
        }
    }

    pub(super) fn fault(&self) -> Option<&StoreFault> {
        self.fault.get()
    }

    pub(super) fn push(&mut self, token: StoreToken, command: Command) {
        self.batch.push((token, command));
    }

    /// Sends what was pushed, as one message of the channel. True: the fault that is shown has changed.
    pub(super) fn flush(&mut self, now: Now, replies: &mut Vec<(StoreToken, StoreResult)>) -> bool {
        let refusal = self.submit(now, replies);
        if self.queue_fault.see(now, refusal.as_ref()) {
            self.handle.report(self.shard, self.queue_fault.get());
        }
        let fault = self.handle.fault();
        let seen = fault.as_ref().or(self.queue_fault.get());
        self.fault.see(now, seen)
    }

    /// Why the batch was refused, if it was.
    fn submit(
        &mut self,
        now: Now,
        replies: &mut Vec<(StoreToken, StoreResult)>,
    ) -> Option<StoreFault> {
        self.retry_us = None;
        if self.batch.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.batch);
        match self.handle.submit(self.shard, batch) {
            Ok(()) => None,
            Err(SubmitError::Full(batch)) => {
                self.batch = batch;
                self.retry_us = Some(now.mono_us + QUEUE_RETRY_US);
                Some(StoreFault {
                    kind: FaultKind::QueueFull,
                    cause: "the store's queue is full".to_owned(),
                })
            }
            Err(SubmitError::Ended(batch)) => {
                let why = "the store's thread has ended";
                let failed = |(token, _)| (token, Err(StoreError::Unavailable(why.into())));
                replies.extend(batch.into_iter().map(failed));
                Some(StoreFault {
                    kind: FaultKind::Ended,
                    cause: String::new(),
                })
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let deadlines = [
            self.retry_us,
            self.queue_fault.next_deadline(),
            self.fault.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}
