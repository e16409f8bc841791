//! Keeps the commands of one box in order while one of them waits for its listing with a user. Only a
//! box with such a command has a lane; the commands of all others go straight to the wire.

use std::collections::{HashMap, VecDeque};

use newim_proto::ids::BoxId;

use super::operations::{Call, OperationId};

#[derive(Default)]
pub(super) struct Lanes(HashMap<BoxId, VecDeque<(OperationId, Call)>>);

impl Lanes {
    /// Queues a call behind those that wait in its box. When none does, the call comes back: it may go now.
    pub fn queue(&mut self, boxid: &BoxId, operation: OperationId, call: Call) -> Result<(), Call> {
        if self.0.is_empty() {
            return Err(call);
        }
        match self.0.get_mut(boxid) {
            Some(lane) => {
                lane.push_back((operation, call));
                Ok(())
            }
            None => Err(call),
        }
    }

    /// Queues a call that waits, so that all that come after it wait too.
    pub fn open(&mut self, boxid: &BoxId, operation: OperationId, call: Call) {
        self.0
            .entry(boxid.clone())
            .or_default()
            .push_back((operation, call));
    }

    /// Takes the first call of a lane, if `ready` says so. An empty lane is removed.
    pub fn pop(
        &mut self,
        boxid: &BoxId,
        ready: impl Fn(OperationId) -> bool,
    ) -> Option<(OperationId, Call)> {
        let lane = self.0.get_mut(boxid)?;
        let first = match lane.front() {
            Some((operation, _)) if !ready(*operation) => return None,
            _ => lane.pop_front(),
        };
        if lane.is_empty() {
            self.0.remove(boxid);
        }
        first
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
