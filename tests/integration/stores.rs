//! Stores that can't be reached, refuse writes or run full: the node says so in `/readyz` and once in its log,
//! and goes on by itself when they are well again.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use newim_testkit::{Redis, TempFolder, ZooKeeper, free_port, wait_until};

use crate::client::{Client, in_group};
use crate::cluster::Cluster;
use crate::http;
use crate::node::{Node, SOON, may_have_mounts_of_its_own, run_to_end};
use crate::wire::{Chat, Op, error_code};

/// One inline command past the node, as an operator would.
fn operator(redis: &Redis, command: &str) {
    let mut stream = TcpStream::connect(redis.address()).expect("connected");
    let line = format!("{command}\r\n");
    stream.write_all(line.as_bytes()).expect("sent");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("answered");
    assert!(answer.starts_with("+OK"), "{command}: {answer}");
}

fn lines_with(node: &Node, text: &str) -> usize {
    node.log()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

fn say(body: &str, client_id: &str) -> Chat {
    Chat {
        client_id: Some(client_id.into()),
        ..in_group("lobby", Op::Chat, Some(body))
    }
}

#[test]
fn a_redis_out_of_memory_is_a_reason_not_to_be_ready_until_it_has_room() {
    let cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    alice.join("lobby");
    alice.ask_ok(say("before", "m1"));
    operator(&cluster.redis, "CONFIG SET maxmemory 1");
    for number in 0..20 {
        let refused = alice.ask(say("in vain", &format!("in vain {number}")));
        assert_eq!(refused.error_code, Some(error_code::STORE_UNAVAILABLE));
    }
    let answer = cluster.gateways[0].await_readiness(503);
    assert!(answer.body.contains("redis"), "{}", answer.body);
    assert!(answer.body.contains("maxmemory"), "{}", answer.body);
    assert_eq!(
        alice.pull("lobby", 0, None).bodies(),
        ["before"],
        "reading goes on"
    );

    operator(&cluster.redis, "CONFIG SET maxmemory 0");
    // Nobody writes anything: the node finds out by itself.
    cluster.gateways[0].await_readiness(200);
    let gateway = &cluster.gateways[0];
    wait_until("the log says so", SOON, || {
        lines_with(gateway, "the message store works again") == 1
    });
    assert_eq!(
        lines_with(gateway, "messages can't be stored"),
        1,
        "one line for a change"
    );
    alice.ask_ok(say("after", "m2"));
    assert_eq!(alice.pull("lobby", 0, None).bodies(), ["before", "after"]);
}

#[test]
fn a_redis_whose_name_has_no_address_yet_is_waited_for_and_looked_up_again() {
    if !may_have_mounts_of_its_own() {
        return;
    }
    let folder = TempFolder::new("hosts");
    let hosts = folder.path().join("hosts");
    let say_hosts = |text: &str| {
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{text}")).expect("our own folder");
    };
    say_hosts("");
    let mut redis = Redis::start();
    let zookeeper = ZooKeeper::absent();
    let admin = format!("127.0.0.1:{}", free_port());
    let gateway = Node::launch_with_mounts(
        &format!("mount --bind {} /etc/hosts", hosts.display()),
        &[
            "gateway",
            "--zookeeper",
            &zookeeper.address(),
            "--redis",
            &format!("redis://redis.test:{}", redis.port()),
            "--admin",
            &admin,
            "--shards",
            "2",
        ],
    );
    wait_until("the admin port answers", SOON, || {
        http::try_get(gateway.admin(), "/healthz").is_some_and(|answer| answer.status == 200)
    });
    let await_reason = |what: &str, reason: &str| {
        wait_until(what, SOON, || gateway.readiness().body.contains(reason));
    };
    await_reason("a name without an address", "redis.test");
    assert_eq!(lines_with(&gateway, "has no address"), 1);

    // Two addresses, and only the second is its own: both are tried.
    say_hosts("127.0.0.2 redis.test\n127.0.0.1 redis.test\n");
    wait_until("it is found", SOON, || {
        !gateway.readiness().body.contains("redis")
    });
    redis.kill();
    await_reason("it is gone", "can't be reached");
    say_hosts("127.0.0.2 redis.test\n");
    redis.restart();
    await_reason("the name leads elsewhere", "127.0.0.2");
    say_hosts("127.0.0.1 redis.test\n");
    wait_until("the name leads back", SOON, || {
        !gateway.readiness().body.contains("redis")
    });
}

#[test]
fn a_full_disk_is_a_reason_not_to_be_ready_until_it_has_room() {
    if !may_have_mounts_of_its_own() {
        return;
    }
    let folder = TempFolder::new("disk");
    let disk = folder.path().display().to_string();
    let admin = format!("127.0.0.1:{}", free_port());
    let mut node = Node::launch_with_mounts(
        &format!("mount -t tmpfs -o size=12m none {disk}"),
        &[
            "standalone",
            "--data-dir",
            &format!("{disk}/data"),
            "--admin",
            &admin,
            "--shards",
            "2",
        ],
    );
    node.await_ready();
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    alice.ask_ok(say("before", "m1"));
    let filler = node.inner_path(&format!("{disk}/filler"));
    fill(&filler);
    // The log's file has been grown in advance, and takes some more.
    let large = "x".repeat(30_000);
    let mut stored = 1;
    loop {
        let answer = alice.ask(say(&large, &format!("large {stored}")));
        if answer.is_error() {
            assert_eq!(answer.error_code, Some(error_code::STORE_UNAVAILABLE));
            break;
        }
        stored += 1;
        assert!(stored < 1000, "30 MB don't fit");
    }
    let answer = node.await_readiness(503);
    assert!(
        answer.body.contains("no room for the data folder"),
        "{}",
        answer.body
    );
    assert_eq!(lines_with(&node, "no room for the data folder"), 1);

    std::fs::remove_file(&filler).expect("it is there");
    node.await_readiness(200);
    wait_until("the log says so", SOON, || {
        lines_with(&node, "the message store works again") == 1
    });
    let after = alice.ask_ok(say("after", "m2"));
    // The JOIN, and all that was acknowledged.
    assert_eq!(after.seq, Some(1 + stored + 1));
    let pulled = alice.pull("lobby", stored, None);
    assert_eq!(pulled.bodies(), [large.as_str(), "after"]);
}

/// Takes all the room of the disk that the file is on.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("made");
    for bytes in [64 * 1024, 1024, 1] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
}

#[test]
fn a_refused_start_leaves_no_files_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("bound").to_string();
    for flag in ["--listen", "--admin"] {
        let folder = TempFolder::new("refused");
        let data = folder.path().join("a/data").display().to_string();
        let mut arguments = vec!["standalone", "--data-dir", &data];
        for port in ["--listen", "--admin", "--exchange"] {
            let address = match port == flag {
                true => &taken,
                false => "127.0.0.1:0",
            };
            arguments.extend([port, address]);
        }
        let ended = run_to_end(&arguments);
        assert!(!ended.status.success(), "{flag}: {ended:?}");
        let left = std::fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 0, "{flag}");
    }
}

#[test]
fn a_data_folder_that_cannot_be_used_is_refused_with_the_flag_that_names_it() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0)).to_string();
    let ended = run_to_end(&[
        "standalone",
        "--data-dir",
        "/proc/newim",
        "--listen",
        &any,
        "--admin",
        &any,
        "--exchange",
        &any,
    ]);
    assert!(!ended.status.success());
    assert!(ended.stderr.contains("--data-dir"), "{}", ended.stderr);
}
