//! Route tables out of the census: numbers them and publishes them for the shards. Called by the session, on the
//! control thread.

use std::sync::Arc;

use newim_proto::routes::RouteTable;
use tokio::sync::watch;

use crate::census::View;

/// The only publisher of tables. It outlives sessions, so that an epoch never goes back.
#[derive(Debug)]
pub(crate) struct Tables {
    sender: watch::Sender<Arc<RouteTable>>,
}

impl Tables {
    pub fn new() -> (Tables, watch::Receiver<Arc<RouteTable>>) {
        let (sender, receiver) = watch::channel(Arc::new(RouteTable::empty()));
        (Tables { sender }, receiver)
    }

    /// Publishes what `view` shows, if it differs from the last table.
    pub fn publish(&self, view: &View) {
        let last = self.sender.borrow().clone();
        let chats = view.infos_of_chats();
        let gateways = view.infos_of_gateways();
        let chats_changed = chats != last.chats;
        let epoch = next_epoch(last.epoch, view.epoch, chats_changed);
        if epoch == last.epoch && gateways == last.gateways {
            return;
        }
        let table = if chats_changed {
            RouteTable::build(epoch, chats, gateways)
        } else {
            // Owners depend on the chat nodes alone, and hashing every slot again is the expensive part.
            RouteTable {
                epoch,
                chats,
                gateways,
                slots: last.slots.clone(),
            }
        };
        tracing::info!(
            "cluster: routes epoch {epoch:#x}, {} chat nodes, {} gateways",
            table.chats.len(),
            table.gateways.len()
        );
        self.sender.send_replace(Arc::new(table));
    }
}

/// The epoch of the next table. A ZooKeeper transaction id names one state of the chat nodes, the same for every
/// node that reads it. It falls behind the last one only if the ensemble lost its data or was replaced; then we
/// count on by ourselves, as a shard must never be given an older table.
fn next_epoch(last: u64, read: u64, chats_changed: bool) -> u64 {
    if read > last {
        return read;
    }
    if read < last {
        tracing::warn!(
            "cluster: ZooKeeper's transaction ids went back from {last:#x} to {read:#x}"
        );
    }
    if chats_changed { last + 1 } else { last }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_follows_zookeeper_while_that_goes_forward() {
        assert_eq!(next_epoch(5, 9, true), 9);
        assert_eq!(next_epoch(5, 9, false), 9);
        assert_eq!(next_epoch(9, 9, false), 9);
    }

    #[test]
    fn an_epoch_never_goes_back_and_other_owners_are_always_a_newer_one() {
        assert_eq!(next_epoch(9, 3, false), 9);
        assert_eq!(next_epoch(9, 3, true), 10);
    }
}
