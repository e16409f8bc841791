//! Joining, leaving, draining and being refused, on a real ZooKeeper that works.

mod support;

use newim_cluster::{ClusterConfig, ClusterError, ClusterState};
use newim_proto::ids::BootId;
use newim_proto::routes::Role;
use newim_testkit::ZooKeeper;
use zookeeper_client::{Acls, Client, CreateMode};

use support::{Node, assert_same_epoch_is_same_table, config, info, names};

/// Session timeout that no test waits for: nothing that a test sees comes from an expiry.
const LONG_MS: u64 = 60_000;

/// A client of the test's own, that changes ZooKeeper behind the nodes' backs.
fn as_operator<T>(zookeeper: &ZooKeeper, act: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(&zookeeper.address())
            .await
            .expect("a ready server");
        act(client).await
    })
}

#[test]
fn nodes_that_join_and_leave_are_seen_by_the_others_at_once() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    assert!(gateway.table().slots.is_empty(), "no chat node lives");
    let first = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let second = Node::joined(config, info(Role::Chat, 3, 13));

    let table = gateway.wait_for_chats(&[2, 3]);
    assert_eq!(names(&table).1, ["127.0.0.1:1"]);
    assert_eq!(table.chats[0].boot_id, BootId(12));
    let owns = |boot_id| {
        table
            .slots
            .iter()
            .filter(|owner| owner.node == BootId(boot_id))
            .count()
    };
    assert!(owns(12) > 0 && owns(13) > 0 && owns(12) + owns(13) == table.slots.len());
    assert_eq!(first.wait_for_chats(&[2, 3]).epoch, table.epoch);

    assert_eq!(second.leave(), Ok(()));
    assert_eq!(second.state(), ClusterState::Left);
    let later = gateway.wait_for_chats(&[2]);
    assert!(later.epoch > table.epoch);
    assert_same_epoch_is_same_table(&[&gateway, &first, &second]);
}

#[test]
fn a_dropped_cluster_leaves_too() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    let mut chat = Node::joined(config, info(Role::Chat, 2, 12));
    gateway.wait_for_chats(&[2]);
    chat.cluster = None;
    gateway.wait_for_chats(&[]);
}

#[test]
fn a_draining_node_stays_listed_gets_no_slots_and_makes_a_newer_epoch() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let first = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let second = Node::joined(config, info(Role::Chat, 3, 13));
    let before = first.wait_for_chats(&[2, 3]);
    assert_eq!(second.set_draining(), Ok(()));
    assert!(
        second.table().chats[1].draining,
        "its own table says so when the call returns"
    );
    let after = first.wait_for_table("draining", |table| {
        table.chats.iter().any(|chat| chat.draining)
    });
    assert_eq!(names(&after), names(&before));
    assert!(after.slots.iter().all(|owner| owner.node == BootId(12)));
    assert!(after.epoch > before.epoch);
    assert_eq!(second.table().epoch, after.epoch);
}

#[test]
fn another_slot_count_is_refused_for_good() {
    let zookeeper = ZooKeeper::start();
    as_operator(&zookeeper, async |client| {
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client.mkdir("/newim", &persistent).await.expect("created");
        client
            .create("/newim/slots", br#"{"slots":16,"layout":1}"#, &persistent)
            .await
            .expect("created");
    });
    let node = Node::start(config(&zookeeper.address(), 1000), info(Role::Chat, 2, 12));
    let state = node.wait_for_state("refused", |state| matches!(state, ClusterState::Refused(_)));
    let ClusterState::Refused(ClusterError::SlotsMismatch { found, ours }) = state else {
        panic!("{state:?}");
    };
    assert_eq!(found, r#"{"slots":16,"layout":1}"#);
    assert!(ours.contains("4096"), "{ours}");
    assert!(node.leave().is_err(), "there is no membership to leave");
}

#[test]
fn a_second_node_of_the_same_name_is_refused_while_the_first_lives() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), 600);
    let first = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let second = Node::start(config, info(Role::Chat, 2, 99));
    let waiting = second.wait_for_state(
        "waiting",
        |state| matches!(state, ClusterState::Connecting { why } if why.contains("boot id")),
    );
    assert!(matches!(waiting, ClusterState::Connecting { .. }));
    let state = second.wait_for_state("refused", |state| matches!(state, ClusterState::Refused(_)));
    let path = "/newim/servers/routers/127.0.0.1:2".to_owned();
    let error = ClusterError::DuplicateName {
        path,
        boot_id: Some(BootId(12)),
    };
    assert_eq!(state, ClusterState::Refused(error));
    assert_eq!(first.state(), ClusterState::Connected);
    assert_eq!(first.table().chats[0].boot_id, BootId(12));
}

#[test]
fn one_name_may_be_a_gateway_and_a_chat_node() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 2, 12));
    let _chat = Node::joined(config, info(Role::Chat, 2, 12));
    gateway.wait_for_chats(&[2]);
}

#[test]
fn a_missing_chroot_is_made_and_keeps_two_clusters_apart() {
    let zookeeper = ZooKeeper::start();
    let here = ClusterConfig::new(&format!("{}/im/eu", zookeeper.address()));
    let there = ClusterConfig::new(&zookeeper.address());
    let first = Node::joined(here.clone(), info(Role::Chat, 2, 12));
    let other = Node::joined(there, info(Role::Chat, 3, 13));
    let second = Node::joined(here, info(Role::Chat, 4, 14));
    first.wait_for_chats(&[2, 4]);
    second.wait_for_chats(&[2, 4]);
    other.wait_for_chats(&[3]);
}

#[test]
fn a_node_whose_znode_an_operator_removed_registers_again() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    let _chat = Node::joined(config, info(Role::Chat, 2, 12));
    let before = gateway.wait_for_chats(&[2]);
    as_operator(&zookeeper, async |client| {
        client
            .delete("/newim/servers/routers/127.0.0.1:2", None)
            .await
            .expect("deleted");
    });
    let back = |table: &newim_proto::routes::RouteTable| {
        table.epoch > before.epoch && table.chats.len() == 1
    };
    gateway.wait_for_table("registered again", back);
}

#[test]
fn a_znode_that_makes_no_sense_is_left_out_and_disturbs_nobody() {
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    as_operator(&zookeeper, async |client| {
        let persistent = CreateMode::Persistent.with_acls(Acls::anyone_all());
        client
            .create("/newim/servers/routers/nonsense", b"\xff{", &persistent)
            .await
            .expect("created");
        client
            .create("/newim/servers/nonsense", b"", &persistent)
            .await
            .expect("created");
    });
    let _chat = Node::joined(config, info(Role::Chat, 2, 12));
    gateway.wait_for_chats(&[2]);
}

#[test]
fn a_burst_of_nodes_gives_all_who_watch_the_same_tables() {
    const NODES: u16 = 40;
    let zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let watcher = Node::joined(config.clone(), info(Role::Gateway, 1, 1));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let entered = runtime.enter();
    let start = |port: u16| {
        newim_cluster::Cluster::start(config.clone(), info(Role::Chat, port, port.into()))
    };
    let clusters: Vec<_> = (100..100 + NODES).map(start).collect();
    drop(entered);
    let all: Vec<u16> = (100..100 + NODES).collect();
    let table = watcher.wait_for_chats(&all);
    let other = Node::joined(config.clone(), info(Role::Gateway, 2, 2));
    other.wait_for_chats(&all);

    // Half drain, half leave, while two watch.
    runtime.block_on(async {
        for (index, cluster) in clusters.iter().enumerate() {
            let done = if index % 2 == 0 {
                cluster.set_draining().await
            } else {
                cluster.leave().await
            };
            done.expect("ZooKeeper works");
        }
    });
    let rest: Vec<u16> = all.iter().copied().step_by(2).collect();
    watcher.wait_for_chats(&rest);
    let drained = |table: &newim_proto::routes::RouteTable| {
        table.chats.len() == rest.len() && table.chats.iter().all(|chat| chat.draining)
    };
    let last = watcher.wait_for_table("all that are left drain", drained);
    let others = other.wait_for_table("all that are left drain", drained);
    assert!(last.epoch > table.epoch);
    assert_eq!((last.epoch, &last.slots), (others.epoch, &others.slots));
    assert_same_epoch_is_same_table(&[&watcher, &other]);
}
