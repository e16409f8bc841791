//! Data of an earlier version of the Redis store, which kept a hash for a box's position, four fields in an
//! entry, and a key for each client_id. The tests write it by that version's own script.

use std::io::{Read, Write};
use std::net::TcpStream;

use newim_proto::ids::Uuid;
use newim_proto::log::{AppendKind, Head, StoreError};
use newim_store::settings::{RetentionPolicy, StoreSettings};
use newim_testkit::Redis;

use crate::in_redis::{Connection, config};
use crate::subject::*;

const EARLIER_APPEND: &str = include_str!("earlier_append.lua");
const BOX: &str = "a {b} c";

/// A gateway of the earlier version, as far as appends to one box go.
struct Earlier<'a> {
    redis: &'a Redis,
    run_id: String,
    settings: StoreSettings,
}

impl Earlier<'_> {
    fn new(redis: &Redis, settings: StoreSettings) -> Earlier<'_> {
        let info = ask(redis, &[b"INFO", b"server"]);
        let run_id = info
            .lines()
            .find_map(|line| line.strip_prefix("run_id:"))
            .expect("a run id")
            .to_owned();
        Earlier {
            redis,
            run_id,
            settings,
        }
    }

    /// The first line of the answer: `*6` when it was appended.
    fn append(
        &self,
        sender: &str,
        kind: &str,
        receiver: &str,
        number: u64,
        client: bool,
    ) -> String {
        let key = |kind: &str| format!("newim:{kind}:{{b:{BOX}}}").into_bytes();
        let mut keys = vec![key("meta"), key("log"), key("members"), key("parties")];
        if client {
            keys.push(seen_key(sender, number));
        }
        let between = match kind {
            "D" => format!("{sender}\0{receiver}"),
            _ => String::new(),
        };
        let example = append(BOX, sender, AppendKind::Chat, number);
        let mut arguments = vec![
            b"EVAL".to_vec(),
            EARLIER_APPEND.into(),
            keys.len().to_string().into(),
        ];
        arguments.extend(keys);
        arguments.extend([kind.into(), sender.into(), receiver.into(), between.into()]);
        arguments.extend([
            example.digest.to_vec(),
            example.uuid.0.to_be_bytes().to_vec(),
        ]);
        arguments.extend([example.ts_ms.to_string().into(), example.payload.to_vec()]);
        arguments.push(self.run_id.clone().into());
        let StoreSettings { retention, .. } = &self.settings;
        for number in [
            retention.messages_max,
            retention.age_ms_max,
            self.settings.dedupe_window_ms,
            4,
        ] {
            arguments.push(number.to_string().into());
        }
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        let answer = ask(self.redis, &arguments);
        answer.lines().next().expect("a line").to_owned()
    }
}

/// The earlier version's key of the client_id "m<number>".
fn seen_key(sender: &str, number: u64) -> Vec<u8> {
    let hash = blake3::hash(format!("{sender}\0m{number}").as_bytes()).to_hex();
    format!("newim:seen:{{b:{BOX}}}{}", &hash[..32]).into_bytes()
}

fn ask(redis: &Redis, arguments: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(redis.address()).expect("connected");
    let mut call = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        call.extend(format!("${}\r\n", argument.len()).bytes());
        call.extend_from_slice(argument);
        call.extend(b"\r\n");
    }
    call.extend(b"*1\r\n$4\r\nQUIT\r\n");
    stream.write_all(&call).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    String::from_utf8_lossy(&answer).into_owned()
}

fn again(sender: &str, kind: AppendKind, number: u64) -> newim_proto::log::Append {
    append(BOX, sender, kind, number).client_id(&format!("m{number}"))
}

#[test]
fn a_box_of_the_earlier_version_is_read_and_counts_on() {
    let (redis, settings) = (Redis::start(), StoreSettings::default());
    let earlier = Earlier::new(&redis, settings);
    for (at, (sender, kind, receiver)) in [
        ("ann", "J", ""),
        ("ann", "C", ""),
        ("bob", "D", "ann"),
        ("eve", "J", ""),
        ("eve", "Q", ""),
    ]
    .iter()
    .enumerate()
    {
        let answer = earlier.append(sender, kind, receiver, at as u64 + 1, true);
        assert_eq!(answer, "*6", "{sender} {kind}");
    }
    let mut connection = Connection::open(&redis, config(&redis, settings));
    let epoch = START_MS + 1;
    assert_eq!(
        connection.heads(&[BOX, "b"]),
        [Head { epoch, seq: 5 }, Head::default()]
    );
    let read = connection.range(BOX, "ann", 1).expect("a member");
    assert_eq!((seqs(&read), read.head.seq), (vec![2, 3, 4, 5], 5));
    assert_eq!(&*read.entries[1].payload, b"message 3");
    assert!(read.entries.iter().all(|entry| entry.epoch == epoch));
    let read = connection.range(BOX, "bob", 0).expect("a party");
    assert_eq!((seqs(&read), read.scanned_to), (vec![3], 5));
    assert_eq!(
        connection.mark(BOX, "ann", 6, 0).unwrap_err(),
        StoreError::BadSeq { head: 5 }
    );

    let next = connection
        .append(again("ann", AppendKind::Chat, 6))
        .expect("a member still");
    assert_eq!(
        (next.epoch, next.seq, next.has_members),
        (epoch, 6, true),
        "the server has not begun anew"
    );
    let refused = connection.append(again("eve", AppendKind::Chat, 7));
    assert_eq!(refused.unwrap_err(), StoreError::NotAMember);
    let answer = connection
        .append(append(BOX, "ann", direct("bob"), 8))
        .expect("appended");
    assert_eq!((answer.epoch, answer.seq), (epoch, 7));
    let read = connection.range(BOX, "bob", 0).expect("a party");
    assert_eq!(seqs(&read), [3, 7], "one log of two shapes");
    let read = connection.range(BOX, "ann", 0).expect("a member");
    assert_eq!(seqs(&read), [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_client_id_that_the_earlier_version_saw_is_a_duplicate_for_the_rest_of_the_window() {
    let redis = Redis::start();
    let settings = StoreSettings {
        dedupe_window_ms: 60_000,
        ..StoreSettings::default()
    };
    let earlier = Earlier::new(&redis, settings);
    assert_eq!(earlier.append("bob", "D", "ann", 1, true), "*6");
    assert_eq!(earlier.append("bob", "D", "ann", 2, true), "*6");
    let mut connection = Connection::open(&redis, config(&redis, settings));
    for round in 0..2 {
        let duplicate = connection
            .append(again("bob", direct("ann"), 2))
            .expect("the first answer");
        assert_eq!((duplicate.seq, duplicate.duplicate), (2, true), "{round}");
        assert_eq!(duplicate.uuid, Uuid(2 << 64 | 1));
        assert_eq!(duplicate.ts_ms, START_MS + 2);
        let mut reused = again("bob", direct("ann"), 1);
        reused.digest = [9; 16];
        assert_eq!(
            connection.append(reused).unwrap_err(),
            StoreError::ClientIdReused
        );
        // The second round finds the box in the present shape.
        let next = connection
            .append(again("bob", direct("ann"), 100 + round))
            .expect("appended");
        assert_eq!((next.seq, next.duplicate), (3 + round, false));
    }
    let mut late = again("bob", direct("ann"), 2);
    late.ts_ms = START_MS + 2 + 60_000;
    assert_eq!(connection.append(late).expect("forgotten").seq, 5);
}

#[test]
fn an_earlier_gateway_is_refused_once_a_box_was_written_to() {
    let (redis, settings) = (Redis::start(), StoreSettings::default());
    let earlier = Earlier::new(&redis, settings);
    assert_eq!(earlier.append("bob", "D", "ann", 1, false), "*6");
    let mut connection = Connection::open(&redis, config(&redis, settings));
    connection
        .append(append(BOX, "ann", direct("bob"), 2))
        .expect("appended");
    let meta = format!("newim:meta:{{b:{BOX}}}");
    assert!(ask(&redis, &[b"EXISTS", meta.as_bytes()]).starts_with(":0"));
    let answer = earlier.append("bob", "D", "ann", 3, false);
    assert!(answer.starts_with('-'), "never a seq twice: {answer}");
    let next = connection
        .append(append(BOX, "ann", direct("bob"), 4))
        .expect("appended");
    assert_eq!(next.seq, 3, "nothing was half done");
}

#[test]
fn entries_of_the_earlier_version_go_by_age_and_count() {
    let redis = Redis::start();
    let retention = RetentionPolicy {
        messages_max: 8,
        age_ms_max: 1000,
    };
    let settings = StoreSettings {
        retention,
        ..StoreSettings::default()
    };
    let earlier = Earlier::new(&redis, settings);
    for number in 0..6 {
        assert_eq!(earlier.append("bob", "D", "ann", 300 * number, false), "*6");
    }
    let mut connection = Connection::open(&redis, config(&redis, settings));
    connection
        .append(append(BOX, "bob", direct("ann"), 1900))
        .expect("appended");
    let read = connection.range(BOX, "ann", 0).expect("a party");
    assert_eq!(seqs(&read), [5, 6, 7], "of 1200 and later");
    for number in 1901..1908 {
        connection
            .append(append(BOX, "bob", direct("ann"), number))
            .expect("appended");
    }
    let read = connection.range(BOX, "ann", 0).expect("a party");
    assert_eq!(seqs(&read), (7..=14).collect::<Vec<_>>());
}
