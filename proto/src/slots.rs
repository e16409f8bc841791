//! Which chat shard routes a topic: topic → slot → shard. Every node computes it alike from the same
//! membership, so no leader assigns anything. The control thread builds the tables, and every core reads them.
//!
//! Slots are dealt by rendezvous hashing (Thaler & Ravishankar 1998, "Using name-based mappings to increase
//! hit rates"): each slot belongs to the candidate with the greatest weight, so a candidate that leaves moves
//! its own slots and no others.

use std::sync::Arc;

use crate::ids::{BootId, ChatShard, ShardIndex, Topic};
use crate::limits::SLOT_COUNT;
use crate::routes::{NodeInfo, RouteTable};

/// The slot of a topic, below [`SLOT_COUNT`]. It comes from bytes that the tables' hash of a topic does not
/// use; otherwise all topics of a shard would crowd into the same buckets of its tables.
pub fn slot_of(topic: Topic) -> u16 {
    u16::from_le_bytes([topic.0[0], topic.0[1]]) % SLOT_COUNT
}

impl RouteTable {
    /// The table without any node, before a first one is known.
    pub fn empty() -> RouteTable {
        RouteTable {
            epoch: 0,
            chats: Vec::new(),
            gateways: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// The table of these members; the order in which they are given does not matter. Slots go to the shards
    /// of chat nodes that are not draining or, if all are, to the shards of all of them.
    pub fn build(
        epoch: u64,
        mut chats: Vec<Arc<NodeInfo>>,
        mut gateways: Vec<Arc<NodeInfo>>,
    ) -> RouteTable {
        // The boot id after the name: in a cluster two lives of one node never stand side by side, but the
        // order has to be the same whatever a caller passes.
        chats.sort_by(|a, b| (&a.name, a.boot_id).cmp(&(&b.name, b.boot_id)));
        gateways.sort_by(|a, b| (&a.name, a.boot_id).cmp(&(&b.name, b.boot_id)));
        let candidates = candidates(&chats);
        let slots = (0..SLOT_COUNT)
            .filter_map(|slot| owner_of_slot(slot, &candidates))
            .collect();
        RouteTable {
            epoch,
            chats,
            gateways,
            slots,
        }
    }

    /// The table of a membership that never changes (standalone): slots are dealt to the shards in turn, so
    /// that all have equally many. By weight, one of fifty shards would have half as many again as another.
    pub fn dealt(
        epoch: u64,
        chats: Vec<Arc<NodeInfo>>,
        gateways: Vec<Arc<NodeInfo>>,
    ) -> RouteTable {
        let table = RouteTable::build(epoch, chats, gateways);
        let candidates = candidates(&table.chats);
        let in_turn = candidates.iter().map(|candidate| candidate.shard).cycle();
        RouteTable {
            slots: in_turn.take(usize::from(SLOT_COUNT)).collect(),
            ..table
        }
    }

    /// The chat shard that routes the topic; None while no chat node lives.
    pub fn owner(&self, topic: Topic) -> Option<ChatShard> {
        self.slots.get(usize::from(slot_of(topic))).copied()
    }

    /// The live node with that boot id, be it a chat node or a gateway.
    pub fn node(&self, boot_id: BootId) -> Option<&Arc<NodeInfo>> {
        self.chats
            .iter()
            .chain(&self.gateways)
            .find(|node| node.boot_id == boot_id)
    }
}

struct Candidate {
    shard: ChatShard,
    /// Hash of the node's name and the shard. The boot id is not in it, so a node that restarts gets its slots
    /// back.
    hash: u64,
}

/// The candidates in the order of (name, shard), which decides between equal weights.
fn candidates(chats: &[Arc<NodeInfo>]) -> Vec<Candidate> {
    let all_drain = chats.iter().all(|node| node.draining);
    chats
        .iter()
        .filter(|node| all_drain || !node.draining)
        .flat_map(|node| (0..node.shards).map(move |shard| candidate(node, ShardIndex(shard))))
        .collect()
}

fn candidate(node: &NodeInfo, shard: ShardIndex) -> Candidate {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(node.name.as_bytes())
        .update(&[0])
        .update(&shard.0.to_le_bytes());
    let hash = hasher.finalize();
    let hash = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight of 32 bytes"));
    Candidate {
        shard: ChatShard {
            node: node.boot_id,
            shard,
        },
        hash,
    }
}

fn owner_of_slot(slot: u16, candidates: &[Candidate]) -> Option<ChatShard> {
    // max_by_key takes the last of equals; reversed, the first.
    let heaviest = candidates
        .iter()
        .rev()
        .max_by_key(|candidate| weight(slot, candidate.hash));
    heaviest.map(|candidate| candidate.shard)
}

/// The weight of a candidate for a slot: SplitMix64's finalizer (Steele, Lea & Flood 2014) over both. 4096 slots
/// and a thousand shards need four million of these, some 10 ms; a cryptographic hash would take a second.
fn weight(slot: u16, candidate_hash: u64) -> u64 {
    let mut x = candidate_hash ^ (u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Role;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn chat(number: u64, shards: u16, draining: bool) -> Arc<NodeInfo> {
        Arc::new(NodeInfo {
            name: format!("10.0.0.{number}:8181"),
            role: Role::Chat,
            boot_id: BootId(number),
            ws: None,
            exchange: format!("10.0.0.{number}:8181"),
            admin: format!("10.0.0.{number}:8182"),
            shards,
            version: "0.1.0".into(),
            draining,
        })
    }

    fn counts(table: &RouteTable) -> HashMap<ChatShard, usize> {
        let mut counts = HashMap::new();
        table
            .slots
            .iter()
            .for_each(|owner| *counts.entry(*owner).or_default() += 1);
        counts
    }

    #[test]
    fn without_chat_nodes_nothing_has_an_owner() {
        assert_eq!(RouteTable::empty().owner(Topic::of_box("a")), None);
        assert_eq!(
            RouteTable::build(1, vec![], vec![]).owner(Topic::of_box("a")),
            None
        );
    }

    #[test]
    fn a_topics_owner_is_the_owner_of_its_slot() {
        let table = RouteTable::build(7, vec![chat(1, 2, false), chat(2, 2, false)], vec![]);
        let topic = Topic([0xff; 16]);
        assert_eq!(slot_of(topic), 4095);
        assert_eq!(table.owner(topic), Some(table.slots[4095]));
        assert_eq!(table.node(BootId(2)).unwrap().name, "10.0.0.2:8181");
        assert!(table.node(BootId(3)).is_none());
    }

    #[test]
    fn a_draining_node_gets_no_slots_unless_all_drain() {
        let table = RouteTable::build(1, vec![chat(1, 2, true), chat(2, 2, false)], vec![]);
        assert!(table.slots.iter().all(|owner| owner.node == BootId(2)));
        let table = RouteTable::build(1, vec![chat(1, 2, true), chat(2, 2, true)], vec![]);
        assert_eq!(counts(&table).len(), 4);
    }

    #[test]
    fn slots_spread_evenly_over_shards() {
        let table = RouteTable::build(1, (1..=8).map(|n| chat(n, 4, false)).collect(), vec![]);
        let counts = counts(&table);
        assert_eq!(counts.len(), 32);
        // The mean is 128 and the standard deviation 11; five of them are allowed either way.
        assert!(
            counts.values().all(|count| (73..=183).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn dealt_slots_differ_by_one_at_most() {
        let table = RouteTable::dealt(1, vec![chat(1, 53, false)], vec![]);
        let counts = counts(&table);
        assert_eq!(counts.len(), 53);
        assert!(counts.values().all(|count| (77..=78).contains(count)));
        assert!(RouteTable::dealt(1, vec![], vec![]).slots.is_empty());
    }

    #[test]
    fn a_node_that_restarts_gets_its_slots_back() {
        let before = RouteTable::build(1, vec![chat(1, 2, false), chat(2, 2, false)], vec![]);
        let mut restarted = (*chat(2, 2, false)).clone();
        restarted.boot_id = BootId(99);
        let after = RouteTable::build(2, vec![chat(1, 2, false), Arc::new(restarted)], vec![]);
        for (before, after) in before.slots.iter().zip(&after.slots) {
            let same_node = before.node == after.node;
            assert!(same_node || (before.node, after.node) == (BootId(2), BootId(99)));
            assert_eq!(before.shard, after.shard);
        }
    }

    #[test]
    fn the_layout_is_pinned() {
        // Nodes of two builds must agree. A change of these owners needs a new SLOTS_LAYOUT.
        let table = RouteTable::build(1, (1..=3).map(|n| chat(n, 2, false)).collect(), vec![]);
        let owners: Vec<(u64, u16)> = table.slots[..8]
            .iter()
            .map(|owner| (owner.node.0, owner.shard.0))
            .collect();
        assert_eq!(owners, PINNED_OWNERS);
        assert_eq!(slot_of(Topic::of_box("lobby")), PINNED_SLOT);
    }

    const PINNED_OWNERS: [(u64, u16); 8] = [
        (1, 1),
        (1, 1),
        (3, 1),
        (1, 0),
        (3, 1),
        (1, 0),
        (3, 0),
        (2, 1),
    ];
    const PINNED_SLOT: u16 = 3995;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_order_of_the_members_does_not_matter(
            nodes in proptest::collection::btree_map(1u64..50, (1u16..5, any::<bool>()), 0..8),
            seed: u64,
        ) {
            let ordered: Vec<_> = nodes.iter().map(|(n, (s, d))| chat(*n, *s, *d)).collect();
            let mut shuffled = ordered.clone();
            shuffled.sort_by_key(|node| weight(0, node.boot_id.0 ^ seed));
            let (a, b) = (RouteTable::build(1, ordered, vec![]), RouteTable::build(1, shuffled, vec![]));
            prop_assert_eq!(a.slots, b.slots);
            prop_assert_eq!(a.chats, b.chats);
        }

        #[test]
        fn a_node_that_leaves_moves_its_own_slots_only(
            nodes in proptest::collection::btree_map(1u64..50, 1u16..5, 2..8),
            leaver: proptest::sample::Index,
        ) {
            let all: Vec<_> = nodes.iter().map(|(n, s)| chat(*n, *s, false)).collect();
            let leaver = all[leaver.index(all.len())].boot_id;
            let rest = all.iter().filter(|node| node.boot_id != leaver).cloned().collect();
            let (before, after) = (RouteTable::build(1, all, vec![]), RouteTable::build(2, rest, vec![]));
            for (before, after) in before.slots.iter().zip(&after.slots) {
                prop_assert!(after.node != leaver);
                prop_assert!(before.node == leaver || before == after);
            }
            prop_assert_eq!(after.slots.len(), usize::from(SLOT_COUNT));
        }
    }
}
