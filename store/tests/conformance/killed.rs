//! The embedded engine under kill -9, and its folder's lock. The victim is this test binary, started
//! again for one hidden test.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};

use crossbeam_channel::unbounded;
use newim_proto::ids::ShardIndex;
use newim_proto::log::{AppendKind, Command, Reply, StoreToken};
use newim_store::embedded::{EmbeddedConfig, EmbeddedStore, OpenError, SubmitError};

use crate::on_disk::OnDisk;
use crate::subject::*;

const FOLDER: &str = "NEWIM_TEST_VICTIM_FOLDER";
const BOXES: [&str; 3] = ["a", "b", "c"];

/// The victim: appends until it is killed, and prints what was acknowledged.
#[test]
#[ignore = "the victim of the test below, which starts it"]
fn victim() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let config = EmbeddedConfig {
        wal_bytes_max: 64 * 1024, // so that most kills hit a checkpoint
        ..EmbeddedConfig::default()
    };
    let store = EmbeddedStore::open(Path::new(&folder), config).expect("opened");
    let handle = store.handle();
    #[allow(
        clippy::disallowed_methods,
        reason = "bounded by what the test submits"
    )]
    let (sender, replies) = unbounded();
    let _thread = store
        .start(move |_, batch| sender.send(batch).expect("awaited"))
        .expect("started");
    for round in 0u64.. {
        let commands = (0..40).map(|at| {
            let number = round * 40 + at;
            let kind = if number < 3 {
                AppendKind::Join
            } else {
                AppendKind::Chat
            };
            let in_box = BOXES[(number % 3) as usize];
            let message = append(in_box, "ann", kind, number).client_id(&format!("{number}"));
            (
                StoreToken(number),
                Command::Append(message.payload(payload(500))),
            )
        });
        // Two batches under way at a time: at the kill, some are written and some acknowledged.
        handle
            .submit(ShardIndex(0), commands.collect())
            .expect("room for two");
        if round == 0 {
            continue;
        }
        for (token, result) in replies.recv().expect("the thread runs") {
            match result {
                Ok(Reply::Appended(appended)) => println!("ack {} {}", token.0, appended.seq),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn start_victim(folder: &Path) -> Child {
    Process::new(std::env::current_exe().expect("this test"))
        .args(["killed::victim", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("started")
}

/// Kills the victim after `count` acknowledgements. Returns the seqs of all messages that it printed.
fn acknowledged_before_the_kill(folder: &Path, count: usize) -> BTreeMap<u64, u64> {
    let mut victim = start_victim(folder);
    let mut acknowledged = BTreeMap::new();
    let output = BufReader::new(victim.stdout.take().expect("piped"));
    for line in output.lines().map_while(Result::ok) {
        let Some((_, words)) = line.split_once("ack ") else {
            continue;
        };
        let mut words = words.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(number)), Some(Ok(seq)), None) = (words.next(), words.next(), words.next())
        {
            acknowledged.insert(number, seq);
        }
        if acknowledged.len() == count {
            victim.kill().expect("killed"); // SIGKILL; the lines already in the pipe still come
        }
    }
    victim.wait().expect("ended");
    assert!(acknowledged.len() >= count, "the victim ended early");
    acknowledged
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    for count in [1, 100, 1_500, 3_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let acknowledged = acknowledged_before_the_kill(folder.path(), count);
        let mut store = OnDisk::open(folder.path(), EmbeddedConfig::default());
        for (&number, &seq) in &acknowledged {
            let kind = if number < 3 {
                AppendKind::Join
            } else {
                AppendKind::Chat
            };
            let again = append(BOXES[(number % 3) as usize], "ann", kind, number);
            let again = store
                .append(again.client_id(&format!("{number}")))
                .expect("known");
            assert_eq!(
                (again.seq, again.duplicate),
                (seq, true),
                "message {number}"
            );
        }
        for in_box in BOXES {
            let mut after = 0;
            loop {
                let read = store.range(in_box, "ann", after).expect("a member");
                let expected: Vec<u64> = (after + 1..=read.scanned_to).collect();
                assert_eq!(seqs(&read), expected, "contiguous, in order");
                assert!(
                    read.entries
                        .iter()
                        .all(|entry| *entry.payload == payload(500))
                );
                after = read.scanned_to;
                if after == read.head.seq {
                    break;
                }
            }
            let next = store
                .append(append(in_box, "ann", AppendKind::Chat, 1 << 40))
                .expect("goes on");
            assert_eq!(next.seq, after + 1);
        }
    }
}

#[test]
fn a_folder_in_use_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(folder.path(), EmbeddedConfig::default()).expect("opened");
    let refused = EmbeddedStore::open(folder.path(), EmbeddedConfig::default())
        .err()
        .expect("in use");
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains("in use by another process"),
        "{refused}"
    );
    drop(store);
    EmbeddedStore::open(folder.path(), EmbeddedConfig::default()).expect("free again");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("messages.redb");
    std::fs::write(&file, b"somebody's letter, not a database").expect("written");
    let refused = EmbeddedStore::open(folder.path(), EmbeddedConfig::default())
        .err()
        .expect("no store");
    assert!(matches!(refused, OpenError::File { .. }), "{refused:?}");
    assert_eq!(
        std::fs::read(&file).expect("still there"),
        b"somebody's letter, not a database"
    );
    let refused = EmbeddedStore::open(&file, EmbeddedConfig::default())
        .err()
        .expect("no folder");
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused:?}");
}

#[test]
fn a_store_that_was_closed_holds_all_when_opened_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut store = OnDisk::open(folder.path(), EmbeddedConfig::default());
    store
        .append(append("a", "ann", AppendKind::Join, 1).client_id("j"))
        .expect("appended");
    store
        .append(append("a", "bob", direct("ann"), 2))
        .expect("appended");
    store.mark("a", "ann", 2, 1).expect("marked");
    let before = (
        store.boxes("ann"),
        store.range("a", "ann", 0).expect("a member").entries,
    );
    drop(store);
    let mut store = OnDisk::open(folder.path(), EmbeddedConfig::default());
    assert_eq!(
        (
            store.boxes("ann"),
            store.range("a", "ann", 0).expect("a member").entries
        ),
        before
    );
    let joined = append("a", "ann", AppendKind::Join, 1).client_id("j");
    assert!(store.append(joined).expect("known").duplicate);
}

#[test]
fn all_that_was_submitted_is_answered_before_the_thread_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = EmbeddedStore::open(folder.path(), EmbeddedConfig::default()).expect("opened");
    let handle = store.handle();
    #[allow(
        clippy::disallowed_methods,
        reason = "bounded by what the test submits"
    )]
    let (sender, replies) = unbounded();
    for number in 0..50 {
        let join = Command::Append(append("a", "ann", AppendKind::Join, number));
        handle
            .submit(ShardIndex(0), vec![(StoreToken(number), join)])
            .expect("room");
    }
    drop(
        store
            .start(move |_, batch| sender.send(batch).expect("awaited"))
            .expect("started"),
    );
    let answered: usize = replies.try_iter().map(|batch| batch.len()).sum();
    assert_eq!(answered, 50);
    let late = vec![(StoreToken(50), Command::Heads(Vec::new()))];
    let refused = handle.submit(ShardIndex(0), late);
    assert!(
        matches!(&refused, Err(SubmitError::Ended(back)) if back.len() == 1),
        "nobody would answer this: {refused:?}"
    );
}

#[test]
fn a_full_queue_hands_the_batch_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = EmbeddedConfig {
        queue_batches_max: 1,
        ..EmbeddedConfig::default()
    };
    let store = EmbeddedStore::open(folder.path(), config).expect("opened");
    let batch = |token| vec![(StoreToken(token), Command::Heads(Vec::new()))];
    assert!(store.handle().submit(ShardIndex(0), batch(1)).is_ok());
    let refused = store.handle().submit(ShardIndex(0), batch(2));
    let Err(SubmitError::Full(back)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(back[0].0, StoreToken(2));
}
