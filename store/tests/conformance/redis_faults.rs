//! The Redis client against servers that restart, forget, refuse, run full, or vanish.

use crate::in_redis::{Connection, config};
use crate::subject::*;
use newim_proto::log::{AppendKind, Command, Head, StoreError, StoreResult, StoreToken};
use newim_store::FaultKind;
use newim_store::redis::{RedisConfig, RedisFault};
use newim_store::settings::StoreSettings;
use newim_testkit::Redis;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

fn connect(redis: &Redis) -> Connection {
    Connection::open(redis, config(redis, StoreSettings::default()))
}

/// Sends one inline command past the client, as an operator would. Returns the first line of the answer.
fn operator(redis: &Redis, command: &str) -> String {
    let mut stream = TcpStream::connect(redis.address()).expect("connected");
    stream
        .write_all(format!("{command}\r\n").as_bytes())
        .expect("sent");
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .expect("answered");
    answer
}

fn chat(number: u64) -> Command {
    Command::Append(append("a", "ann", AppendKind::Chat, number).client_id(&format!("m{number}")))
}

/// What the client thinks of the server once a probe has been answered.
fn fault_after_probe(connection: &mut Connection) -> Option<FaultKind> {
    let now_us = connection.now_us();
    connection.client.probe(now_us);
    connection.send();
    let mut replies = Vec::new();
    while connection.client.next_deadline().is_some() {
        assert!(connection.receive(&mut replies).expect("no garbage"));
    }
    assert!(replies.is_empty());
    connection.client.fault().map(|fault| fault.kind)
}

#[test]
fn a_write_that_lacks_replicas_is_a_fault_until_one_succeeds() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    assert!(operator(&redis, "CONFIG SET min-replicas-to-write 1").starts_with("+OK"));
    let refused = connection.append(append("a", "ann", AppendKind::Chat, 2));
    assert!(
        matches!(&refused, Err(StoreError::Unavailable(text)) if text.contains("NOREPLICAS")),
        "{refused:?}"
    );
    let kind = FaultKind::NoReplicas;
    assert_eq!(fault_after_probe(&mut connection), Some(kind));
    let head = connection.heads(&["a"])[0];
    assert_eq!(head.seq, 1, "reading goes on");
    assert_eq!(
        connection.client.fault().map(|fault| fault.kind),
        Some(kind),
        "and says nothing about writing"
    );
    assert!(operator(&redis, "CONFIG SET min-replicas-to-write 0").starts_with("+OK"));
    connection
        .append(append("a", "ann", AppendKind::Chat, 3))
        .expect("appended");
    assert_eq!(connection.client.fault(), None);
}

#[test]
fn a_probe_that_is_not_answered_ends_the_connection() {
    let redis = Redis::start();
    let limits = RedisConfig {
        command_ms_max: 50,
        ..config(&redis, StoreSettings::default())
    };
    let mut connection = Connection::open(&redis, limits);
    connection.handshake().expect("let in");
    redis.pause();
    connection.client.probe(1_000_000);
    assert_eq!(connection.client.next_deadline(), Some(1_050_000));
    assert_eq!(
        connection.client.on_deadline(1_050_000),
        Err(RedisFault::TimedOut { ms_max: 50 })
    );
    redis.resume();
}

#[test]
fn a_restarted_server_counts_on_in_a_new_epoch() {
    let mut redis = Redis::start();
    let mut connection = connect(&redis);
    let before = connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    connection
        .append(append("a", "ann", AppendKind::Chat, 2).client_id("m"))
        .expect("appended");
    connection.mark("a", "ann", 2, 1).expect("marked");
    redis.restart();
    let mut connection = connect(&redis);
    assert_eq!(
        connection.heads(&["a"]),
        [Head {
            epoch: before.epoch,
            seq: 2
        }],
        "nothing was issued yet"
    );
    let mut again = append("a", "ann", AppendKind::Chat, 3).client_id("m");
    again.digest = [2; 16];
    let again = connection.append(again).expect("a duplicate");
    assert_eq!(
        (again.epoch, again.seq, again.duplicate),
        (before.epoch, 2, true),
        "as it was issued"
    );
    let after = connection
        .append(append("a", "ann", AppendKind::Chat, 500))
        .expect("appended");
    assert_eq!((after.epoch, after.seq), (START_MS + 500, 3));
    let next = connection
        .append(append("a", "ann", AppendKind::Chat, 4))
        .expect("appended");
    assert_eq!((next.epoch, next.seq), (after.epoch, 4), "once per restart");
    let entries = connection.range("a", "ann", 0).expect("a member").entries;
    let epochs: Vec<u64> = entries.iter().map(|entry| entry.epoch).collect();
    assert_eq!(
        epochs,
        [before.epoch, before.epoch, after.epoch, after.epoch],
        "entries keep their own"
    );
    let state = connection.boxes("ann").remove(0);
    assert_eq!(
        (state.head.seq, state.delivered, state.read),
        (4, 2, 1),
        "what was held still counts"
    );
}

#[test]
fn an_epoch_goes_up_even_where_the_clock_went_back() {
    let mut redis = Redis::start();
    let before = connect(&redis)
        .append(append("a", "ann", AppendKind::Join, 1000))
        .expect("appended");
    redis.restart();
    let after = connect(&redis)
        .append(append("a", "ann", AppendKind::Chat, 1))
        .expect("appended");
    assert_eq!(after.epoch, before.epoch + 1);
}

#[test]
fn a_server_killed_in_flight_fails_all_that_it_did_not_answer() {
    // With `everysec` a Redis delays its writes while a sync is under way, and a kill loses some that it
    // acknowledged.
    let mut redis = Redis::start_with(&["--appendfsync", "always"]);
    let mut connection = connect(&redis);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    // From here on the server takes commands and does none of them.
    assert!(operator(&redis, "CLIENT PAUSE 600000 ALL").starts_with("+OK"));
    for number in 0..100 {
        connection.push(number, chat(number));
    }
    connection.send();
    redis.kill();
    let mut replies = Vec::new();
    while connection.receive(&mut replies).expect("no garbage") {}
    assert!(replies.is_empty(), "it was killed before it could answer");
    connection.client.closed(&mut replies);
    let tokens: Vec<u64> = replies.iter().map(|(token, _)| token.0).collect();
    assert_eq!(tokens, (0..100).collect::<Vec<_>>());
    assert!(
        replies
            .iter()
            .all(|(_, result)| matches!(result, Err(StoreError::Unavailable(_))))
    );
    let refused = connection.client.push(0, StoreToken(100), chat(100));
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "nothing is taken without a connection"
    );
    assert_eq!(
        (
            connection.client.in_flight(),
            connection.client.take_output()
        ),
        (0, None)
    );
    redis.restart();
    let mut connection = connect(&redis);
    let retried = connection.run((0..100).map(chat).collect());
    let seqs: Vec<u64> = retried
        .into_iter()
        .map(|result| appended(result.expect("appended")).seq)
        .collect();
    assert_eq!(
        seqs,
        (2..102).collect::<Vec<_>>(),
        "a retry has each once, whether it was done or not"
    );
}

#[test]
fn one_client_serves_the_next_connection_too() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    connection.push(7, chat(2));
    let mut replies = Vec::new();
    connection.client.closed(&mut replies);
    assert_eq!(replies.len(), 1);
    let mut connection = connection.reopen(&redis);
    assert_eq!(
        connection
            .append(append("a", "ann", AppendKind::Chat, 3))
            .expect("appended")
            .seq,
        2
    );
}

#[test]
fn a_silent_server_is_given_up_after_the_limit() {
    let redis = Redis::start();
    let limits = RedisConfig {
        command_ms_max: 50,
        ..config(&redis, StoreSettings::default())
    };
    let mut connection = Connection::open(&redis, limits);
    connection.handshake().expect("let in");
    assert_eq!(
        connection.client.next_deadline(),
        None,
        "nothing is under way"
    );
    redis.pause();
    connection
        .client
        .push(1_000_000, StoreToken(1), chat(1))
        .expect("taken");
    connection
        .client
        .push(1_000_900, StoreToken(2), chat(2))
        .expect("taken");
    assert_eq!(
        connection.client.next_deadline(),
        Some(1_050_000),
        "the oldest counts"
    );
    assert_eq!(connection.client.on_deadline(1_049_999), Ok(()));
    assert_eq!(
        connection.client.on_deadline(1_050_000),
        Err(RedisFault::TimedOut { ms_max: 50 })
    );
    redis.resume();
}

#[test]
fn a_silent_handshake_is_given_up_too() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    assert_eq!(connection.client.next_deadline(), Some(2_000_000));
    assert_eq!(
        connection.client.on_deadline(2_000_000),
        Err(RedisFault::TimedOut { ms_max: 2000 })
    );
}

#[test]
fn forgotten_scripts_are_loaded_again_and_nothing_is_overtaken() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    assert!(operator(&redis, "SCRIPT FLUSH").starts_with("+OK"));
    let mut commands: Vec<Command> = (2..200).map(chat).collect();
    commands.push(Command::Append(append("b", "ann", AppendKind::Join, 1)));
    commands.push(Command::Append(append("c", "ann", direct("bob"), 1)));
    commands.push(Command::Boxes(uid("ann")));
    let results = connection.run(commands);
    let (chats, rest) = results.split_at(198);
    for (at, result) in chats.iter().enumerate() {
        assert_eq!(
            appended(result.clone().expect("appended")).seq,
            at as u64 + 2
        );
    }
    assert!(rest.iter().all(Result::is_ok), "{rest:?}");
}

#[test]
fn a_box_whose_keys_were_spoilt_fails_alone() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    assert!(operator(&redis, "LPUSH newim:head:{b:head} x").starts_with(":1"));
    assert!(operator(&redis, "SET newim:log:{b:log} x").starts_with("+OK"));
    let boxes = ["a", "head", "a", "log", "log", "b", "a"];
    let commands = |from: u64| -> Vec<Command> {
        let message = |(at, in_box): (u64, &&str)| {
            let number = from + at;
            append(in_box, "ann", direct("bob"), number).client_id(&format!("m{number}"))
        };
        let messages = (0..).zip(&boxes).map(message);
        messages.map(Command::Append).collect()
    };
    for round in 0..2 {
        let results = connection.run(commands(10 * round));
        let mut seqs = Vec::new();
        for (in_box, result) in boxes.iter().zip(results) {
            match result {
                Ok(reply) => seqs.push((*in_box, appended(reply).seq)),
                Err(StoreError::Failed(text)) if text.contains("WRONGTYPE") => {
                    assert!(["head", "log"].contains(in_box), "{in_box}: {text}");
                }
                Err(error) => panic!("{in_box}: {error:?}"),
            }
        }
        let expected = [("a", 1), ("a", 2), ("b", 1), ("a", 3)];
        let in_round = |(in_box, seq)| (in_box, seq + round * if in_box == "a" { 3 } else { 1 });
        assert_eq!(seqs, expected.map(in_round));
        assert_eq!(
            connection.client.fault(),
            None,
            "two boxes are spoilt, and the server works"
        );
    }
    assert!(operator(&redis, "DEL newim:head:{b:head} newim:log:{b:log}").starts_with(":2"));
    for (in_box, result) in boxes.iter().zip(connection.run(commands(0))) {
        let appended = appended(result.expect("mended"));
        assert_eq!(
            appended.duplicate,
            !["head", "log"].contains(in_box),
            "what failed in {in_box} was not remembered"
        );
    }
}

#[test]
fn a_message_that_fails_among_others_of_its_box_fails_alone() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    assert!(operator(&redis, "SET newim:members:{b:a} x").starts_with("+OK"));
    for round in 0..2 {
        let kinds = [direct("bob"), AppendKind::Chat, direct("bob")];
        let messages = (1..).zip(kinds).map(|(number, kind)| {
            let number = 10 * round + number;
            append("a", "ann", kind, number).client_id(&format!("m{number}"))
        });
        let results = connection.run(messages.map(Command::Append).collect());
        let [first, spoilt, last] = &results[..] else {
            panic!("three were sent")
        };
        assert!(
            matches!(spoilt, Err(StoreError::Failed(text)) if text.contains("WRONGTYPE")),
            "{spoilt:?}"
        );
        for (result, seq) in [(first, 2 * round + 1), (last, 2 * round + 2)] {
            let appended = appended(result.clone().expect("appended"));
            assert_eq!((appended.seq, appended.duplicate), (seq, false));
        }
    }
}

#[test]
fn remembered_client_ids_expire_where_nobody_writes() {
    const WINDOW_MS: u64 = 200;
    let redis = Redis::start();
    let settings = StoreSettings {
        dedupe_window_ms: WINDOW_MS,
        ..StoreSettings::default()
    };
    let mut connection = Connection::open(&redis, config(&redis, settings));
    let seen = || {
        let count = operator(&redis, "EXISTS newim:seen0:{b:a} newim:seen1:{b:a}");
        count.trim_start_matches(':').trim().parse::<u64>()
    };
    for number in 0..10 {
        let at_ms = number * WINDOW_MS;
        connection
            .append(append("a", "ann", direct("bob"), at_ms).client_id(&format!("m{number}")))
            .expect("appended");
        assert!((1..=2).contains(&seen().expect("a number")), "two at most");
    }
    newim_testkit::wait_until("they expire", std::time::Duration::from_secs(10), || {
        seen() == Ok(0)
    });
    assert!(
        operator(&redis, "PTTL newim:head:{b:a}").starts_with(":-1"),
        "the box stays"
    );
}

#[test]
fn many_client_ids_of_one_window_are_all_remembered() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    let messages = || (0..100).map(chat).collect::<Vec<_>>();
    connection
        .append(append("a", "ann", AppendKind::Join, 0))
        .expect("appended");
    connection.run(messages());
    assert!(
        // The answer begins with the length of the word: `hashtable`; a list is a `listpack` or `ziplist`.
        operator(&redis, "OBJECT ENCODING newim:seen1:{b:a}").starts_with("$9"),
        "a list would be searched from end to end"
    );
    for (number, result) in (0..).zip(connection.run(messages())) {
        let appended = appended(result.expect("the first answer"));
        assert_eq!((appended.seq, appended.duplicate), (number + 2, true));
    }
}

#[test]
fn a_full_memory_is_an_error_and_never_an_acknowledgement() {
    let redis = Redis::start_with(&["--maxmemory", "4mb", "--maxmemory-policy", "noeviction"]);
    let mut connection = connect(&redis);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    let mut acknowledged = 1;
    let refused = loop {
        let large =
            append("a", "ann", AppendKind::Chat, acknowledged + 1).payload(payload(64 * 1024));
        match connection.append(large) {
            Ok(appended) => {
                acknowledged += 1;
                assert_eq!(appended.seq, acknowledged);
            }
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "4 MB don't hold this");
    };
    assert!(
        matches!(&refused, StoreError::Failed(text) if text.contains("OOM")),
        "{refused:?}"
    );
    let kind = connection.client.fault().map(|fault| fault.kind);
    assert_eq!(kind, Some(FaultKind::OutOfMemory));
    // A small message might still find room.
    assert!(operator(&redis, "CONFIG SET maxmemory 1").starts_with("+OK"));
    assert_eq!(
        fault_after_probe(&mut connection),
        Some(FaultKind::OutOfMemory)
    );
    assert_eq!(
        connection.heads(&["a"])[0].seq,
        acknowledged,
        "reads go on, and nothing was half done"
    );
    assert!(operator(&redis, "CONFIG SET maxmemory 100mb").starts_with("+OK"));
    assert_eq!(
        fault_after_probe(&mut connection),
        None,
        "seen although nobody wrote anything"
    );
    assert!(operator(&redis, "EXISTS newim:probe").starts_with(":0"));
    let next = connection
        .append(append("a", "ann", AppendKind::Chat, 5000))
        .expect("there is room");
    assert_eq!(next.seq, acknowledged + 1);
}

#[test]
fn a_password_is_needed_where_one_is_set() {
    let redis = Redis::start();
    assert!(operator(&redis, "CONFIG SET requirepass s3cret").starts_with("+OK"));
    let refused = connect(&redis).handshake().expect_err("no password");
    assert!(
        matches!(&refused, RedisFault::Refused(FaultKind::Refused, text) if text.contains("NOAUTH")),
        "{refused:?}"
    );
    let password = Some("wrong".to_owned());
    let wrong = RedisConfig {
        password,
        ..config(&redis, StoreSettings::default())
    };
    let refused = Connection::open(&redis, wrong)
        .handshake()
        .expect_err("a wrong password");
    assert!(
        matches!(&refused, RedisFault::Refused(_, text) if text.contains("WRONGPASS")),
        "{refused:?}"
    );
    let password = Some("s3cret".to_owned());
    let right = RedisConfig {
        password,
        database: 3,
        ..config(&redis, StoreSettings::default())
    };
    let mut connection = Connection::open(&redis, right);
    connection
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    assert_eq!(connection.client.server().maxmemory_policy, "noeviction");
}

#[test]
fn a_replica_is_no_place_to_write_to() {
    let redis = Redis::start();
    let mut before = connect(&redis);
    before
        .append(append("a", "ann", AppendKind::Join, 1))
        .expect("appended");
    assert!(operator(&redis, "REPLICAOF 127.0.0.1 1").starts_with("+OK"));
    let result = before.append(append("a", "ann", AppendKind::Chat, 2));
    assert!(
        matches!(&result, Err(StoreError::Unavailable(text)) if text.contains("READONLY")),
        "{result:?}"
    );
    assert_eq!(fault_after_probe(&mut before), Some(FaultKind::ReadOnly));
    let refused = connect(&redis).handshake().expect_err("a replica");
    assert!(
        matches!(&refused, RedisFault::Refused(FaultKind::ReadOnly, text) if text.contains("replica")),
        "{refused:?}"
    );
}

#[test]
fn more_commands_than_the_bound_are_refused_at_once() {
    let redis = Redis::start();
    let limits = RedisConfig {
        commands_max: 3,
        ..config(&redis, StoreSettings::default())
    };
    let mut connection = Connection::open(&redis, limits);
    for number in 0..3 {
        connection.push(number, chat(number));
    }
    let refused = connection.client.push(0, StoreToken(3), chat(3));
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    let mut replies: Vec<(StoreToken, StoreResult)> = Vec::new();
    while replies.len() < 3 {
        connection.send();
        assert!(connection.receive(&mut replies).expect("no garbage"));
    }
    connection
        .client
        .push(0, StoreToken(3), chat(3))
        .expect("there is room again");
}

#[test]
fn a_server_that_is_no_redis_is_refused_at_once() {
    let redis = Redis::start();
    let mut connection = connect(&redis);
    let mut replies = Vec::new();
    let fault = connection
        .client
        .feed(b"HTTP/1.1 400 Bad Request\r\n", &mut replies)
        .expect_err("not Redis");
    assert!(matches!(fault, RedisFault::Protocol(_)), "{fault:?}");
}
