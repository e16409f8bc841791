//! What an operator types: help, configuration, mistakes in both, and the ready line.

use newim_testkit::TempFolder;

use crate::client::Client;
use crate::http;
use crate::node::{Ended, Node, SOON, run_to_end, run_unread};

fn config_file(folder: &TempFolder, text: &str) -> String {
    let path = folder.path().join("newim.toml");
    std::fs::write(&path, text).expect("our own folder");
    path.display().to_string()
}

#[test]
fn the_help_teaches_commands_flags_and_an_example() {
    let help = run_to_end(&["--help"]);
    assert!(help.status.success());
    let commands = ["standalone", "gateway", "chat", "client", "check-config"];
    let flags = [
        "--listen",
        "--exchange",
        "--admin",
        "--data-dir",
        "--zookeeper",
        "--redis",
        "--shards",
        "--config",
        "--log",
    ];
    for word in commands.iter().chain(&flags) {
        assert!(help.stdout.contains(word), "{word} is not in the help");
    }
    assert!(
        help.stdout
            .contains("newim client ws://127.0.0.1:8180 --uid alice --box lobby")
    );
    assert!(!help.stdout.contains('\x1b'), "no colours into a file");
    let client = run_to_end(&["client", "--help"]);
    for word in ["/join", "/quit", "/to"] {
        assert!(
            client.stdout.contains(word),
            "{word} is not in the client's help"
        );
    }
}

#[test]
fn the_ready_line_is_all_that_stdout_gets_and_names_the_real_ports() {
    let node = Node::standalone(&["--log", "debug"]);
    let stdout = node.stdout();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let ports = [node.ws(), node.admin()].map(|address| address.port());
    let expected = format!(
        "ready ws=127.0.0.1:{} admin=127.0.0.1:{}\n",
        ports[0], ports[1]
    );
    assert_eq!(stdout, expected);
    assert!(!ports.contains(&0));
    assert!(!node.log().is_empty(), "logs go to stderr");
}

#[test]
fn without_a_command_a_standalone_node_runs() {
    let listen = format!("127.0.0.1:{}", newim_testkit::free_port());
    let mut node = Node::launch(&["--listen", &listen]);
    node.await_ready();
    assert_eq!(node.ws().to_string(), listen);
    Client::v2(node.ws(), "alice").join("lobby");
}

#[test]
fn a_good_file_is_ok_and_its_values_are_shown() {
    let folder = TempFolder::new("config");
    let path = config_file(&folder, "shards = 3\n[limits]\nmessage_bytes_max = 4096\n");
    let checked = run_to_end(&["check-config", &path]);
    assert!(checked.status.success(), "{checked:?}");
    assert!(checked.stdout.contains("ok"));
    assert!(checked.stdout.contains("4096"), "{}", checked.stdout);
}

#[test]
fn an_unknown_key_refuses_to_start_with_line_and_nearest_key() {
    let folder = TempFolder::new("config");
    let path = config_file(&folder, "shards = 1\n\nlisen = \"127.0.0.1:0\"\n");
    for arguments in [
        &["check-config", path.as_str()][..],
        &["--config", path.as_str()],
    ] {
        let ended = run_to_end(arguments);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        for word in ["lisen", &format!("{path}:3"), "listen"] {
            assert!(
                ended.stderr.contains(word),
                "{word} is not in {}",
                ended.stderr
            );
        }
        assert!(
            !ended.stdout.contains("ready"),
            "nothing is bound before the file is right"
        );
    }
}

#[test]
fn wrong_values_are_refused_with_their_key() {
    let folder = TempFolder::new("config");
    let cases = [
        ("shards = 0\n", "shards"),
        ("shards = \"many\"\n", "shards"),
        ("listen = \"nowhere\"\n", "listen"),
        ("[limits]\nmessage_bytes_max = 1\n", "message_bytes_max"),
        ("listen = \n", ":1"),
    ];
    for (text, word) in cases {
        let path = config_file(&folder, text);
        let ended = run_to_end(&["check-config", &path]);
        assert_eq!(ended.status.code(), Some(2), "{text:?}: {ended:?}");
        assert!(
            ended.stderr.contains(word),
            "{word} is not in {}",
            ended.stderr
        );
    }
}

#[test]
fn flags_go_over_the_environment_over_the_file() {
    let folder = TempFolder::new("config");
    let path = config_file(&folder, "shards = 2\n");
    let shards_of = |node: &Node| {
        let nodes = node.nodes();
        nodes["nodes"][0]["shards"]
            .as_u64()
            .expect("/api/nodes tells the shards")
    };
    let mut node = Node::launch(&["standalone", "--config", &path]);
    node.await_ready();
    assert_eq!(shards_of(&node), 2);
    let mut node = Node::launch_with_variable("NEWIM_SHARDS=3", &["standalone", "--config", &path]);
    node.await_ready();
    assert_eq!(shards_of(&node), 3);
    let arguments = ["standalone", "--config", &path, "--shards", "4"];
    let mut node = Node::launch_with_variable("NEWIM_SHARDS=3", &arguments);
    node.await_ready();
    assert_eq!(shards_of(&node), 4);
}

#[test]
fn of_a_flag_that_is_given_twice_the_last_one_counts() {
    let mut node = Node::launch(&["standalone", "--shards", "x", "--shards", "2"]);
    node.await_ready();
    assert_eq!(node.nodes()["nodes"][0]["shards"].as_u64(), Some(2));
}

#[test]
fn an_unknown_section_refuses_to_start_with_what_was_probably_meant() {
    let folder = TempFolder::new("config");
    for (text, meant) in [
        ("[limit]\nmessage_bytes_max = 4096\n", "`[limits]`"),
        ("[server]\nlisten = \"127.0.0.1:0\"\n", "`listen`"),
    ] {
        let path = config_file(&folder, text);
        let ended = run_to_end(&["check-config", &path]);
        assert_eq!(ended.status.code(), Some(2), "{ended:?}");
        let meant = format!("did you mean {meant}");
        for word in [&format!("{path}:1"), &meant] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["--shards", "x"],
    ] {
        let ended = run_to_end(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(!ended.stderr.is_empty());
    }
}

#[test]
fn a_gateway_without_zookeeper_or_redis_says_what_it_needs() {
    for (arguments, word) in [
        (
            &["gateway", "--redis", "redis://127.0.0.1:1"][..],
            "zookeeper",
        ),
        (&["gateway", "--zookeeper", "127.0.0.1:1"], "redis"),
        (&["chat"], "zookeeper"),
    ] {
        let ended = run_to_end(arguments);
        assert_eq!(ended.status.code(), Some(2), "{arguments:?}: {ended:?}");
        assert!(
            ended.stderr.contains(word),
            "{word} is not in {}",
            ended.stderr
        );
    }
}

#[test]
fn a_second_node_on_the_same_port_fails_and_says_which() {
    let node = Node::standalone(&[]);
    let other = TempFolder::new("other");
    let data = other.path().display().to_string();
    let taken = node.ws();
    let standalone = ["standalone", "--data-dir", &data];
    let cluster = ["--zookeeper", "127.0.0.1:1"];
    let gateway = [&["gateway", "--redis", "redis://127.0.0.1:1"][..], &cluster].concat();
    let chat = [&["chat"][..], &cluster].concat();
    for (role, flags, flag, address) in [
        (
            &standalone[..],
            &["--listen", "--admin"][..],
            "--listen",
            taken,
        ),
        (
            &standalone,
            &["--listen", "--admin"],
            "--admin",
            node.admin(),
        ),
        (
            &gateway,
            &["--listen", "--exchange", "--admin"],
            "--exchange",
            taken,
        ),
        (&chat, &["--exchange", "--admin"], "--exchange", taken),
    ] {
        let address_text = address.to_string();
        let ports = flags.iter().flat_map(|&name| {
            let is_taken = name == flag;
            [
                name,
                if is_taken {
                    &address_text
                } else {
                    "127.0.0.1:0"
                },
            ]
        });
        let arguments: Vec<&str> = role.iter().copied().chain(ports).collect();
        let ended = run_to_end(&arguments);
        assert_eq!(ended.status.code(), Some(1), "{flag}: {ended:?}");
        assert!(
            ended.stderr.contains(&address.to_string()),
            "{flag}: {}",
            ended.stderr
        );
        assert!(!ended.stdout.contains("ready"), "{flag}");
    }
    Client::v2(node.ws(), "alice").join("lobby");
}

/// A standalone node on that data folder, which is to refuse to start.
fn start_on(data: &str) -> Ended {
    run_to_end(&[
        "standalone",
        "--data-dir",
        data,
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ])
}

#[test]
fn a_second_node_on_the_same_data_fails_and_says_where() {
    let node = Node::standalone(&[]);
    let data = node.folder().join("data").display().to_string();
    let ended = start_on(&data);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&data), "{}", ended.stderr);
    Client::v2(node.ws(), "alice").join("lobby");
}

#[test]
fn two_standalone_nodes_need_no_port_for_other_nodes() {
    let nodes = [Node::standalone(&[]), Node::standalone(&[])];
    for node in nodes {
        let told = node.nodes();
        assert_eq!(told["nodes"][0]["name"], node.ws().to_string(), "{told}");
        assert!(told["nodes"][0]["exchange"].is_null(), "{told}");
    }
}

#[test]
fn a_start_that_is_refused_leaves_no_data_behind() {
    let node = Node::standalone(&[]);
    let folder = TempFolder::new("refused");
    let data = folder.path().join("data");
    for (flag, other, taken) in [
        ("--listen", "--admin", node.ws()),
        ("--admin", "--listen", node.admin()),
    ] {
        let ended = run_to_end(&[
            "standalone",
            "--data-dir",
            &data.display().to_string(),
            flag,
            &taken.to_string(),
            other,
            "127.0.0.1:0",
        ]);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(!data.exists(), "{flag} was taken");
    }
}

#[test]
fn a_folder_that_cannot_be_used_names_the_flag() {
    let folder = TempFolder::new("unusable");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("our own folder");
    let data = file.join("data").display().to_string();
    let ended = start_on(&data);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    for word in [data.as_str(), "--data-dir"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

#[test]
fn what_is_printed_to_nobody_ends_quietly() {
    let folder = TempFolder::new("config");
    let path = config_file(&folder, "shards = 3\n");
    for arguments in [
        &["check-config", path.as_str()][..],
        &["completions", "bash"],
        &["--version"],
        &["--help"],
    ] {
        let ended = run_unread(arguments);
        // As a shell tells of a program that SIGPIPE ended.
        assert_eq!(ended.status.code(), Some(141), "{arguments:?}: {ended:?}");
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn a_node_whose_output_nobody_reads_serves_and_drains() {
    let admin = format!("127.0.0.1:{}", newim_testkit::free_port());
    let arguments = ["standalone", "--admin", &admin, "--log", "debug"];
    let mut node = Node::launch_unread(&arguments);
    newim_testkit::wait_until("it is ready", SOON, || {
        http::try_get(node.admin(), "/readyz").is_some_and(|answer| answer.status == 200)
    });
    assert_eq!(node.terminate(SOON).code(), Some(0));
}
