//! Nodes that die, and a ZooKeeper that is late, stops, dies, and comes back.

mod support;

use std::time::{Duration, Instant};

use newim_cluster::{Cluster, ClusterState};
use newim_proto::ids::BootId;
use newim_proto::routes::{Role, RouteTable};
use newim_testkit::{Process, TempFolder, ZooKeeper, ZooKeeperEnsemble};

use support::{LIMIT, Node, assert_same_epoch_is_same_table, config, info, names};

/// Session timeout: the shortest with which a test can wait for an expiry on the testkit's ZooKeeper reliably.
const SHORT_MS: u64 = 1500;
/// Longer than any restart of a server takes.
const LONG_MS: u64 = 30_000;

/// A chat node in a process of its own: this test binary, told to run `node_process` alone.
struct ChatProcess {
    process: Process,
    _folder: TempFolder,
}

impl ChatProcess {
    fn start(servers: &str, port: u16, boot_id: u64, session_timeout_ms: u64) -> ChatProcess {
        let folder = TempFolder::new("node");
        let binary = std::env::current_exe().expect("a test binary has a path");
        let arguments = [
            format!("NODE={servers} {port} {boot_id} {session_timeout_ms}"),
            binary.display().to_string(),
            "--ignored".to_owned(),
            "--exact".to_owned(),
            "node_process".to_owned(),
            "--nocapture".to_owned(),
        ];
        let process = Process::start("env", &arguments, &folder.path().join("log"));
        ChatProcess {
            process,
            _folder: folder,
        }
    }
}

/// Not a test: the body of `ChatProcess`. Prints each state, and ends with an error if an epoch goes
/// back.
#[test]
#[ignore = "the body of a child process"]
fn node_process() {
    let Ok(arguments) = std::env::var("NODE") else {
        return;
    };
    let words: Vec<&str> = arguments.split(' ').collect();
    let number = |index: usize| words[index].parse::<u64>().expect("a number");
    let config = config(words[0], number(3));
    let me = info(Role::Chat, number(1) as u16, number(2));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let mut cluster = Cluster::start(config, me);
        let mut epoch = 0;
        loop {
            tokio::select! {
                Ok(()) = cluster.state.changed() => println!("{:?}", *cluster.state.borrow_and_update()),
                Ok(()) = cluster.routes.changed() => {
                    let now = cluster.routes.borrow_and_update().epoch;
                    assert!(now >= epoch, "{epoch:#x} came before {now:#x}");
                    epoch = now;
                }
            }
        }
    });
}

#[test]
fn a_node_killed_is_missed_after_its_session_timeout_and_may_come_back_as_another_life() {
    let zookeeper = ZooKeeper::start();
    let gateway = Node::joined(
        config(&zookeeper.address(), LONG_MS),
        info(Role::Gateway, 1, 11),
    );
    let mut chat = ChatProcess::start(&zookeeper.address(), 2, 12, SHORT_MS);
    let before = gateway.wait_for_chats(&[2]);
    chat.process.kill();

    // The successor starts before ZooKeeper notices the death: it waits for the name.
    let successor = Node::start(
        config(&zookeeper.address(), SHORT_MS),
        info(Role::Chat, 2, 13),
    );
    successor.wait_for_state("waiting for the dead one's session", |state| {
        matches!(state, ClusterState::Connecting { why } if why.contains("boot id 000000000000000c"))
    });
    let is_back = |table: &RouteTable| table.chats.iter().any(|chat| chat.boot_id == BootId(13));
    let after = gateway.wait_for_table("the successor", is_back);
    assert!(after.epoch > before.epoch);
    successor.wait_for_state("joined", |state| *state == ClusterState::Connected);
    // Whether it saw a table without either depends on how soon it looked: a table channel tells the newest one.
    // None had both.
    let tables = gateway.tables();
    assert!(tables.iter().all(|table| table.chats.len() <= 1));
    assert_eq!(
        gateway.states(),
        [ClusterState::Connected],
        "nobody else was disturbed"
    );
}

#[test]
fn a_zookeeper_that_is_late_is_waited_for() {
    let mut zookeeper = ZooKeeper::absent();
    let node = Node::start(
        config(&zookeeper.address(), LONG_MS),
        info(Role::Chat, 2, 12),
    );
    node.wait_for_state("says why", |state| {
        matches!(state, ClusterState::Connecting { why } if why.contains(&zookeeper.address()))
    });
    assert!(node.table().chats.is_empty());
    zookeeper.restart();
    node.wait_for_state("joined", |state| *state == ClusterState::Connected);
    node.wait_for_chats(&[2]);
    assert_eq!(
        node.states().len(),
        2,
        "one change for all tries: {:?}",
        node.states()
    );
}

#[test]
fn leaving_does_not_wait_for_a_zookeeper_that_never_was() {
    let zookeeper = ZooKeeper::absent();
    let node = Node::start(
        config(&zookeeper.address(), LONG_MS),
        info(Role::Chat, 2, 12),
    );
    assert_eq!(node.leave(), Ok(()));
    assert_eq!(node.state(), ClusterState::Left);
}

#[test]
fn leaving_waits_only_so_long_for_a_zookeeper_that_does_not_answer() {
    let zookeeper = ZooKeeper::start();
    let patient = config(&zookeeper.address(), LONG_MS);
    let node = Node::joined(
        newim_cluster::ClusterConfig {
            command_ms_max: 300,
            ..patient
        },
        info(Role::Chat, 2, 12),
    );
    zookeeper.pause();
    assert!(node.leave().is_err());
    node.wait_for_state("left all the same", |state| *state == ClusterState::Left);
}

#[test]
fn a_paused_zookeeper_suspends_and_changes_nothing_and_all_goes_on_when_it_answers_again() {
    let zookeeper = ZooKeeper::start();
    // Long enough that the pause ends before the session does: it is noticed after 2/5 of it.
    let config = config(&zookeeper.address(), 8000);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    let _chat = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let before = gateway.wait_for_chats(&[2]);
    zookeeper.pause();
    gateway.wait_for_state("suspended", |state| *state == ClusterState::Suspended);
    assert_eq!(names(&gateway.table()), names(&before));
    zookeeper.resume();
    gateway.wait_for_state("back", |state| *state == ClusterState::Connected);

    // The watch is set on the new connection as well.
    let _late = Node::joined(config, info(Role::Chat, 3, 13));
    gateway.wait_for_chats(&[2, 3]);
    let expected = [
        ClusterState::Connected,
        ClusterState::Suspended,
        ClusterState::Connected,
    ];
    assert_eq!(gateway.states(), expected);
    gateway.tables();
}

#[test]
fn a_restart_of_zookeeper_within_the_session_keeps_nodes_registered() {
    let mut zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), LONG_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    let chat = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let before = gateway.wait_for_chats(&[2]);
    zookeeper.kill();
    gateway.wait_for_state("suspended", |state| *state == ClusterState::Suspended);
    chat.wait_for_state("suspended", |state| *state == ClusterState::Suspended);
    zookeeper.restart();
    gateway.wait_for_state("back", |state| *state == ClusterState::Connected);
    chat.wait_for_state("back", |state| *state == ClusterState::Connected);
    assert_eq!(
        gateway.table().epoch,
        before.epoch,
        "the znodes are the same ones"
    );

    let _late = Node::joined(config, info(Role::Chat, 3, 13));
    gateway.wait_for_chats(&[2, 3]);
    chat.wait_for_chats(&[2, 3]);
    let expired = |state: &ClusterState| matches!(state, ClusterState::Expired { .. });
    assert!(!gateway.states().iter().chain(&chat.states()).any(expired));
}

#[test]
fn a_node_that_outlives_its_session_registers_again_under_the_same_boot_id() {
    let mut zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), SHORT_MS);
    let chat = Node::joined(config.clone(), info(Role::Chat, 2, 12));
    let before = chat.wait_for_chats(&[2]);
    zookeeper.kill();
    chat.wait_for_state("gave its session up", |state| {
        matches!(state, ClusterState::Expired { .. })
    });
    assert_eq!(
        names(&chat.table()),
        names(&before),
        "it serves on with the last routes"
    );

    // ZooKeeper still knows the old session, and with it a znode of ours that will vanish.
    zookeeper.restart();
    chat.wait_for_state("registered again", |state| {
        *state == ClusterState::Connected
    });
    let after = chat.wait_for_table("its own new znode", |table| table.epoch > before.epoch);
    assert_eq!((after.chats.len(), after.chats[0].boot_id), (1, BootId(12)));

    let gateway = Node::joined(config, info(Role::Gateway, 1, 11));
    gateway.wait_for_chats(&[2]);
    // If the znode were still the old session's, it would be gone with it by now.
    let old_session_over = Duration::from_millis(2 * SHORT_MS);
    let lasting = std::time::Instant::now() + old_session_over;
    while std::time::Instant::now() < lasting {
        assert_eq!(gateway.table().chats.len(), 1);
        std::thread::sleep(Duration::from_millis(20));
    }
    chat.tables();
}

#[test]
fn an_epoch_never_goes_back_even_when_zookeeper_lost_all_its_data() {
    let mut zookeeper = ZooKeeper::start();
    let config = config(&zookeeper.address(), SHORT_MS);
    let gateway = Node::joined(config.clone(), info(Role::Gateway, 1, 11));
    // Transactions that the empty one will not have made when it is asked.
    for life in 0..5 {
        let passing = Node::joined(config.clone(), info(Role::Chat, 3, 100 + life));
        assert_eq!(passing.leave(), Ok(()));
    }
    let before = gateway.table();
    zookeeper.kill();
    zookeeper.wipe();
    zookeeper.restart();
    let chat = Node::joined(config, info(Role::Chat, 2, 12));
    let after = gateway.wait_for_chats(&[2]);
    assert!(
        chat.table().epoch < before.epoch,
        "the new ensemble counts from the beginning"
    );
    assert!(after.epoch > before.epoch);
    gateway.tables();
}

#[test]
fn a_stopped_process_is_missed_and_comes_back_with_the_same_boot_id_when_it_goes_on() {
    let zookeeper = ZooKeeper::start();
    let gateway = Node::joined(
        config(&zookeeper.address(), LONG_MS),
        info(Role::Gateway, 1, 11),
    );
    let mut chat = ChatProcess::start(&zookeeper.address(), 2, 12, SHORT_MS);
    let before = gateway.wait_for_chats(&[2]);
    chat.process.pause();
    let without = gateway.wait_for_chats(&[]);
    chat.process.resume();
    let after = gateway.wait_for_chats(&[2]);
    assert!(before.epoch < without.epoch && without.epoch < after.epoch);
    assert_eq!(after.chats[0].boot_id, BootId(12));
    let deadline = Instant::now() + LIMIT;
    loop {
        let log = chat.process.log_tail();
        // That its session had expired is shown by the table without it. Its own word of that may go by unseen:
        // a state channel tells the newest state, and it may have registered again before anybody looked.
        if log.trim_end().ends_with("Connected") {
            break;
        }
        let is_alive = chat.process.exit_status().is_none();
        assert!(is_alive && Instant::now() < deadline, "it says: {log}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_drain_that_was_wished_while_zookeeper_was_away_comes_into_force_when_it_is_back() {
    let mut zookeeper = ZooKeeper::start();
    let patient = config(&zookeeper.address(), LONG_MS);
    let hasty = newim_cluster::ClusterConfig {
        command_ms_max: 200,
        ..patient.clone()
    };
    let chat = Node::joined(hasty, info(Role::Chat, 2, 12));
    zookeeper.kill();
    assert!(chat.set_draining().is_err());
    zookeeper.restart();
    let gateway = Node::joined(patient, info(Role::Gateway, 1, 11));
    gateway.wait_for_table("draining", |table| {
        table.chats.iter().any(|chat| chat.draining)
    });
}

#[test]
fn an_ensemble_that_loses_its_leader_goes_on_serving() {
    let mut ensemble = ZooKeeperEnsemble::start(3);
    let config = config(&ensemble.addresses(), LONG_MS);
    let nodes: Vec<Node> = (1..=3)
        .map(|port| Node::joined(config.clone(), info(Role::Chat, port, port.into())))
        .collect();
    for node in &nodes {
        node.wait_for_chats(&[1, 2, 3]);
    }
    let dead = ensemble.kill_leader();
    let late = Node::joined(config.clone(), info(Role::Chat, 4, 4));
    for node in nodes.iter().chain([&late]) {
        node.wait_for_chats(&[1, 2, 3, 4]);
    }
    ensemble.servers[dead].restart();
    assert_eq!(late.leave(), Ok(()));
    for node in &nodes {
        node.wait_for_chats(&[1, 2, 3]);
        let expired = |state: &ClusterState| matches!(state, ClusterState::Expired { .. });
        assert!(!node.states().iter().any(expired), "{:?}", node.states());
    }
    assert_same_epoch_is_same_table(&nodes.iter().collect::<Vec<_>>());
}
