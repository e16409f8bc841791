//! Behaviours of the configuration as a whole: sources, order, refusals, defaults.

use super::*;

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

/// What a node on four cores makes of its sources.
fn load(
    mode: Mode,
    flags: Settings,
    environment: &Environment,
    file: Option<(&str, &str)>,
) -> Result<Config, ConfigErrors> {
    super::load(mode, flags, environment, file, 4).map(|effective| effective.config)
}

fn standalone(text: &str) -> Result<Config, ConfigErrors> {
    let file = Some(("newim.toml", text));
    load(Mode::Standalone, Settings::default(), &Vec::new(), file)
}

fn listen(config: &Config) -> Option<SocketAddr> {
    match config.node {
        Node::Standalone { listen, .. } | Node::Gateway { listen, .. } => Some(listen),
        Node::Chat { .. } => None,
    }
}

/// The lines that an operator reads.
fn errors(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result
        .expect_err("it is wrong")
        .0
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn without_settings_a_node_serves_this_machine_alone() {
    let config = load(Mode::Standalone, Settings::default(), &Vec::new(), None).unwrap();
    assert_eq!(
        config.node,
        Node::Standalone {
            listen: ([127, 0, 0, 1], 8180).into(),
            data_dir: "newim-data".into()
        }
    );
    assert_eq!(config.admin, ([127, 0, 0, 1], 8182).into());
    assert_eq!(config.shards, 4);
    assert!(config.echo);
    assert_eq!(config.limits.message_bytes_max, 65_536);
}

#[test]
fn a_node_of_a_cluster_listens_to_the_network_and_has_no_echo() {
    let env = environment(&[("NEWIM_ZOOKEEPER", "zk"), ("NEWIM_REDIS", "redis://r")]);
    let config = load(Mode::Gateway, Settings::default(), &env, None).unwrap();
    assert_eq!(listen(&config), Some(([0, 0, 0, 0], 8180).into()));
    assert_eq!(config.exchange, ([0, 0, 0, 0], 8181).into());
    assert_eq!(config.admin, ([127, 0, 0, 1], 8182).into());
    assert!(!config.echo);
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let file = "shards = 2\nadmin = \"127.0.0.1:1002\"\nexchange = \"127.0.0.1:1001\"";
    let env = environment(&[("NEWIM_SHARDS", "3"), ("NEWIM_ADMIN", "127.0.0.1:1012")]);
    let mut flags = Settings::default();
    flags.flag("shards", "--shards", Some("5".into()));
    flags.flag("listen", "--listen", None);
    let config = load(Mode::Standalone, flags, &env, Some(("newim.toml", file))).unwrap();
    assert_eq!(config.shards, 5, "the flag's");
    assert_eq!(config.admin.port(), 1012, "the environment's");
    assert_eq!(config.exchange.port(), 1001, "the file's");
    assert_eq!(listen(&config).unwrap().port(), 8180, "the default");
}

#[test]
fn a_value_that_another_goes_over_need_not_be_right() {
    let env = environment(&[("NEWIM_SHARDS", "many")]);
    let mut flags = Settings::default();
    flags.flag("shards", "--shards", Some("5".into()));
    let file = Some(("newim.toml", "shards = 0"));
    assert_eq!(load(Mode::Standalone, flags, &env, file).unwrap().shards, 5);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest_key() {
    let text =
        "# NewIM\nshards = 2\nlisen = \"127.0.0.1:1\"\n\n[limits]\nmessage_bytes = 1\n[limit]\n";
    assert_eq!(
        errors(standalone(text)),
        [
            "unknown key `lisen` at newim.toml:3; did you mean `listen`?",
            "unknown key `limits.message_bytes` at newim.toml:6; did you mean `limits.message_bytes_max`?",
            "unknown section `[limit]` at newim.toml:7; did you mean `[limits]`?",
        ]
    );
}

#[test]
fn an_unknown_section_is_refused_with_what_was_probably_meant() {
    let text = "[Limit]\n[websocket]\nidle_ping_ms = 1\n[server]\nlisten = \"x\"\n[colour]\nred = 1\n[[drain]]\n[limits.more]";
    assert_eq!(
        errors(standalone(text)),
        [
            "unknown section `[Limit]` at newim.toml:1; did you mean `[limits]`?",
            "unknown section `[websocket]` at newim.toml:2; did you mean `[limits]`?",
            "unknown section `[server]` at newim.toml:4; did you mean `listen` above all sections?",
            "unknown section `[colour]` at newim.toml:6",
            "`drain` at newim.toml:8 must be a section, not a TOML array",
            "unknown key `limits.more` at newim.toml:9",
        ]
    );
}

#[test]
fn dotted_keys_and_inline_tables_are_the_same_as_sections() {
    let dotted = standalone("limits.upgrade_ms_max = 777").unwrap();
    let inline = standalone("limits = { upgrade_ms_max = 777 }").unwrap();
    assert_eq!(dotted.limits.upgrade_ms_max, 777);
    assert_eq!(dotted, inline);
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line() {
    let text = "listen = 8180\nshards = \"four\"\necho = \"on\"\nlimits = 3\n[log]\nlevel = \"info\"\n[drain]\nms_max = 1.5";
    assert_eq!(
        errors(standalone(text)),
        [
            "`listen` at newim.toml:1 must be a \"string\", not the number 8180",
            "`shards` at newim.toml:2 must be a whole number, not the string \"four\"",
            "`echo` at newim.toml:3 must be true or false, not the string \"on\"",
            "`limits` at newim.toml:4 must be a section, not the number 3",
            "`log` at newim.toml:5 must be a \"string\", not a section",
            "`drain.ms_max` at newim.toml:8 must be a whole number, not a TOML float",
        ]
    );
}

#[test]
fn a_file_that_is_no_toml_names_the_line() {
    let lines = errors(standalone("shards = 2\nlisten = = 3\n"));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("newim.toml:2: "), "{}", lines[0]);
    let lines = errors(standalone("shards = 2\nshards = 3\n"));
    assert!(
        lines[0].starts_with("newim.toml:2: ") && lines[0].contains("duplicate"),
        "{}",
        lines[0]
    );
}

#[test]
fn a_value_out_of_range_names_its_place_and_its_range() {
    assert_eq!(
        errors(standalone("shards = 1025")),
        ["`shards` can't be `1025` (from newim.toml:1): write a whole number from 1 to 1024"]
    );
    assert_eq!(standalone("shards = 1024").unwrap().shards, 1024);
    assert_eq!(standalone("shards = 0x10").unwrap().shards, 16);
    assert_eq!(errors(standalone("shards = 0")).len(), 1);
    assert_eq!(errors(standalone("shards = -1")).len(), 1);
    let env = environment(&[("NEWIM_SHARDS", "many")]);
    assert_eq!(
        errors(load(Mode::Standalone, Settings::default(), &env, None)),
        ["`shards` can't be `many` (from NEWIM_SHARDS): write a whole number from 1 to 1024"]
    );
}

#[test]
fn an_unknown_variable_is_refused_unless_kubernetes_sets_it() {
    let env = environment(&[
        ("NEWIM_LISEN", "x"),
        ("NEWIM_SERVICE_HOST", "10.0.0.1"),
        ("NEWIM_SERVICE_PORT_WS", "8180"),
        ("NEWIM_PORT", "tcp://10.0.0.1:8180"),
        ("NEWIM_GATEWAY_PORT_8180_TCP_ADDR", "10.0.0.1"),
        ("NEWIM_REDIS", ""),
        ("PATH", "/bin"),
    ]);
    assert_eq!(
        errors(load(Mode::Standalone, Settings::default(), &env, None)),
        ["unknown variable `NEWIM_LISEN` in the environment; did you mean `NEWIM_LISTEN`?"]
    );
}

#[test]
fn sections_are_reached_from_the_environment() {
    let env = environment(&[
        ("NEWIM_LIMITS_MESSAGE_BYTES_MAX", "2_048"),
        ("NEWIM_ECHO", "off"),
    ]);
    let config = load(Mode::Standalone, Settings::default(), &env, None).unwrap();
    assert_eq!(config.limits.message_bytes_max, 2048);
    assert!(!config.echo);
}

#[test]
fn a_node_of_a_cluster_refuses_to_start_without_what_it_needs() {
    assert_eq!(
        errors(load(Mode::Gateway, Settings::default(), &Vec::new(), None)),
        [
            "a gateway node needs `zookeeper`: it finds the other nodes there",
            "a gateway node needs `redis`: it keeps the messages there",
        ]
    );
    let error = load(Mode::Chat, Settings::default(), &Vec::new(), None).unwrap_err();
    assert_eq!(error.0.len(), 1, "a chat node keeps no messages");
    assert!(error.0[0].hint().unwrap().contains("NEWIM_ZOOKEEPER"));
}

#[test]
fn a_standalone_node_refuses_what_it_would_ignore() {
    let lines = errors(standalone(
        "redis = \"redis://127.0.0.1\"\nzookeeper = \"127.0.0.1\"",
    ));
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].contains("no use for `zookeeper` (from newim.toml:2)"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("no use for `redis` (from newim.toml:1)"),
        "{}",
        lines[1]
    );
}

#[test]
fn gateways_and_chat_nodes_may_share_a_file() {
    let text = "zookeeper = \"zk\"\nredis = \"redis://r\"\nlisten = \"0.0.0.0:80\"";
    let with = |mode| {
        load(
            mode,
            Settings::default(),
            &Vec::new(),
            Some(("newim.toml", text)),
        )
    };
    assert!(with(Mode::Gateway).is_ok());
    assert_eq!(listen(&with(Mode::Chat).unwrap()), None);
    assert_eq!(mode_of_file("newim.toml", text), Mode::Gateway);
    assert_eq!(mode_of_file("newim.toml", "zookeeper = \"zk\""), Mode::Chat);
    assert_eq!(mode_of_file("newim.toml", "shards = 3"), Mode::Standalone);
}

#[test]
fn two_listeners_on_one_port_contradict_each_other() {
    assert_eq!(
        errors(standalone("listen = \"0.0.0.0:8182\"")),
        ["`listen` and `admin` contradict each other: both want port 8182"]
    );
    let of_a_cluster_alone = standalone("listen = \"0.0.0.0:8181\"");
    assert!(of_a_cluster_alone.is_ok(), "it has no exchange port");
    assert!(
        standalone("listen = \"127.0.0.1:0\"\nexchange = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"")
            .is_ok()
    );
    assert!(
        standalone("listen = \"127.0.0.1:8181\"").is_ok(),
        "it has no exchange port"
    );
}

#[test]
fn an_outbox_must_take_a_whole_message() {
    let text = "[limits]\nmessage_bytes_max = 65536\noutbox_bytes_max = 65535";
    assert!(errors(standalone(text))[0].contains("would never fit"));
    let wrong = errors(standalone("[limits]\noutbox_bytes_max = 1"));
    assert_eq!(
        wrong.len(),
        1,
        "a wrong bound contradicts nothing: {wrong:?}"
    );
    assert!(standalone("[limits]\nmessage_bytes_max = 65536\noutbox_bytes_max = 65536").is_ok());
}

#[test]
fn a_log_filter_that_means_nothing_is_refused() {
    let lines = errors(standalone("log = \"info,newim=loud\""));
    assert!(
        lines[0].starts_with("`log` can't be `info,newim=loud` (from newim.toml:1)"),
        "{}",
        lines[0]
    );
}

#[test]
fn a_wrong_redis_url_does_not_show_its_password() {
    let env = environment(&[
        ("NEWIM_ZOOKEEPER", "zk"),
        ("NEWIM_REDIS", "redis://u:s3cret@h:port"),
    ]);
    let lines = errors(load(Mode::Gateway, Settings::default(), &env, None));
    assert_eq!(lines.len(), 1);
    assert!(!lines[0].contains("s3cret"), "{}", lines[0]);
}

#[test]
fn all_errors_are_told_at_once_whatever_their_source() {
    let env = environment(&[("NEWIM_NOPE", "1"), ("NEWIM_ADMIN", "here")]);
    let mut flags = Settings::default();
    flags.flag("shards", "--shards", Some("0".into()));
    let lines = errors(load(
        Mode::Standalone,
        flags,
        &env,
        Some(("newim.toml", "lisen = 1")),
    ));
    assert_eq!(lines.len(), 4, "{lines:#?}");
}

#[test]
fn what_is_shown_is_a_file_that_gives_the_same_node() {
    let shown = |mode, env: &[_]| {
        let effective = super::load(mode, Settings::default(), &environment(env), None, 4).unwrap();
        let text = effective.to_string();
        let again = load(mode, Settings::default(), &Vec::new(), Some(("f", &text)));
        assert_eq!(again.unwrap(), effective.config, "{text}");
        text
    };
    let standalone = shown(
        Mode::Standalone,
        &[
            ("NEWIM_DATA_DIR", "/tmp/a \"b\""),
            ("NEWIM_DRAIN_MS_MAX", "5"),
        ],
    );
    let cluster = [
        ("NEWIM_ZOOKEEPER", "zk"),
        ("NEWIM_REDIS", "redis://r"),
        ("NEWIM_ADVERTISE", "h:1"),
    ];
    shown(Mode::Chat, &cluster);
    let all = format!("\n{standalone}\n{}", shown(Mode::Gateway, &cluster));
    for key in keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(all.contains(&format!("\n{name} = ")), "{}", key.name);
    }
}

#[test]
fn what_is_shown_names_the_place_of_each_value_and_hides_the_password() {
    let env = environment(&[
        ("NEWIM_ZOOKEEPER", "zk"),
        ("NEWIM_REDIS", "redis://im:s3cret@r/2"),
    ]);
    let mut flags = Settings::default();
    flags.flag("shards", "--shards", Some("2".into()));
    let file = "listen = 'localhost:80'\n[limits]\ncommands_max = 7";
    let file = Some(("newim.toml", file));
    let effective = super::load(Mode::Gateway, flags, &env, file, 4).unwrap();
    let text = effective.to_string();
    let lines: Vec<&str> = text.lines().collect();
    for line in [
        "listen = \"127.0.0.1:80\" # newim.toml:1",
        "exchange = \"0.0.0.0:8181\"",
        "zookeeper = \"zk:2181\" # NEWIM_ZOOKEEPER",
        "redis = \"redis://***@r/2\" # NEWIM_REDIS",
        "shards = 2 # --shards",
        "echo = false",
        "[limits]",
        "message_bytes_max = 65536",
        "commands_max = 7 # newim.toml:3",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{text}");
    }
}

#[test]
fn the_help_names_the_defaults_of_the_table() {
    let help = <crate::cli::Cli as clap::CommandFactory>::command().render_long_help();
    let help = help
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    for name in ["listen", "exchange", "admin", "data_dir", "log"] {
        for mode in [Mode::Standalone, Mode::Gateway] {
            let key = keys::find(name).unwrap();
            let default = key.default.text(mode, 1).unwrap();
            assert!(help.contains(&default), "{name}: {default}");
        }
    }
}
