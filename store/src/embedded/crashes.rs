//! Tests: wherever a crash cuts the engine off (between two groups, in a checkpoint, in the middle of a write),
//! what it has answered is there when it is opened again, and nothing else except perhaps a group that failed.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use newim_proto::ids::{BoxId, ClientId, Uid, Uuid};
use newim_proto::log::{Append, AppendKind, Command, Mark, Reply, StoreResult};
use proptest::prelude::*;
use tempfile::TempDir;

use super::EmbeddedConfig;
use super::engine::Engine;
use super::faults::Faults;
use super::wal::{FILE_NAMES, HEADER_BYTES};
use crate::model::Model;
use crate::settings::{RetentionPolicy, StoreSettings};

const USERS: [&str; 3] = ["ann", "bob", "eve"];
const BOXES: [&str; 4] = ["a", "b", "c", "d"];

/// Bounds so small that short sequences reach them.
fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        settings: StoreSettings {
            retention: RetentionPolicy {
                messages_max: 6,
                age_ms_max: 40_000,
            },
            dedupe_window_ms: 60_000,
            boxes_per_user_max: 3,
        },
        boxes_cached_max: 3,
        wal_bytes_max: 2048,
        ..EmbeddedConfig::default()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Group(Vec<Command>),
    /// A checkpoint begins: only if it is due, or in any case. It ends with one of the next two steps.
    Begin {
        due: bool,
    },
    Finish,
    /// The checkpoint fails: its disk is full, or doesn't sync.
    Fail {
        full: bool,
    },
    Crash,
    /// A crash in the write of this group, of which this many per cent arrived.
    CutOff(Vec<Command>, u64),
    /// A group whose sync fails. The process goes on.
    Unsynced(Vec<Command>),
}

fn uid() -> impl Strategy<Value = Uid> {
    prop::sample::select(&USERS[..]).prop_map(|name| Uid::parse(name).expect("a name"))
}

fn boxid() -> impl Strategy<Value = BoxId> {
    prop::sample::select(&BOXES[..]).prop_map(|name| BoxId::parse(name).expect("a name"))
}

fn command() -> impl Strategy<Value = (Command, u64)> {
    let kind = prop_oneof![
        3 => Just(AppendKind::Join),
        1 => Just(AppendKind::Quit),
        6 => Just(AppendKind::Chat),
        3 => uid().prop_map(|receiver| AppendKind::Direct { receiver }),
    ];
    let client_id = prop::option::weighted(0.6, 0..5u8);
    let append = (boxid(), uid(), kind, client_id, any::<u64>(), 0..300usize).prop_map(
        |(boxid, sender, kind, client_id, uuid, payload_bytes)| {
            Command::Append(Append {
                boxid,
                sender,
                kind,
                client_id: client_id.map(|id| ClientId::parse(&format!("{id}")).expect("a name")),
                digest: [(uuid % 2) as u8; 16],
                uuid: Uuid(uuid.into()),
                ts_ms: 0, // set by `timed`
                payload: vec![uuid as u8; payload_bytes].into(),
            })
        },
    );
    let mark = (boxid(), uid(), 0..20u64).prop_map(|(boxid, uid, read)| {
        Command::Mark(Mark {
            boxid,
            uid,
            epoch: None,
            delivered: None,
            read: Some(read),
        })
    });
    let range = (boxid(), uid(), 0..20u64).prop_map(|(boxid, reader, after)| {
        Command::Range(newim_proto::log::Range {
            boxid,
            reader,
            after,
            messages_max: 5,
            bytes_max: 700,
        })
    });
    let command = prop_oneof![6 => append, 2 => mark, 2 => range];
    let step_ms = prop_oneof![10 => 0..500u64, 2 => 5_000..30_000u64, 1 => 60_000..200_000u64];
    (command, step_ms)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = || prop::collection::vec(command(), 1..8);
    let step = prop_oneof![
        8 => group().prop_map(Untimed::Group),
        2 => any::<bool>().prop_map(|due| Untimed::Other(Step::Begin { due })),
        1 => Just(Untimed::Other(Step::Finish)),
        1 => any::<bool>().prop_map(|full| Untimed::Other(Step::Fail { full })),
        1 => Just(Untimed::Other(Step::Crash)),
        1 => (group(), prop_oneof![0..100u64, Just(100)]).prop_map(|(group, share)| Untimed::CutOff(group, share)),
        1 => group().prop_map(Untimed::Unsynced),
    ];
    prop::collection::vec(step, 1..30).prop_map(timed)
}

/// A step whose commands have no time yet.
#[derive(Clone, Debug)]
enum Untimed {
    Group(Vec<(Command, u64)>),
    CutOff(Vec<(Command, u64)>, u64),
    Unsynced(Vec<(Command, u64)>),
    Other(Step),
}

fn timed(steps: Vec<Untimed>) -> Vec<Step> {
    let mut now_ms = 1_700_000_000_000;
    let mut set_time = |(mut command, step_ms): (Command, u64)| {
        now_ms += step_ms;
        if let Command::Append(append) = &mut command {
            append.ts_ms = now_ms;
        }
        command
    };
    let mut times = |group: Vec<_>| group.into_iter().map(&mut set_time).collect();
    let with_times = |step| match step {
        Untimed::Group(group) => Step::Group(times(group)),
        Untimed::CutOff(group, share) => Step::CutOff(times(group), share),
        Untimed::Unsynced(group) => Step::Unsynced(times(group)),
        Untimed::Other(step) => step,
    };
    steps.into_iter().map(with_times).collect()
}

/// An engine, and the model with the right answers.
struct Pair {
    folder: TempDir,
    engine: Engine,
    faults: Faults,
    model: Model,
}

impl Pair {
    fn new() -> Pair {
        let folder = tempfile::tempdir().expect("a folder");
        let faults = Faults::default();
        let engine = Engine::open_with_faults(folder.path(), config(), &faults);
        Pair {
            engine: engine.expect("opened"),
            folder,
            faults,
            model: Model::new(config().settings),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Group(group) => self.compare(group),
            Step::Begin { due: true } => self.engine.checkpoint_if_due(),
            Step::Begin { due: false } => self.engine.begin_checkpoint(),
            Step::Finish => self.engine.finish_checkpoint(),
            Step::Fail { full } => {
                let fault = if full {
                    &self.faults.full
                } else {
                    &self.faults.unsynced
                };
                self.engine.begin_checkpoint();
                fault.store(true, Ordering::SeqCst);
                self.engine.finish_checkpoint();
                fault.store(false, Ordering::SeqCst);
            }
            Step::Crash => self.open_again(),
            Step::CutOff(group, share) => self.cut_off(group, share),
            Step::Unsynced(group) => {
                let (_, written) = self.fail_sync(&group);
                // The next start reads the group from the log, and can't know that it was never answered.
                if !written.is_empty() {
                    self.expect(group);
                }
            }
        }
        self.compare_state();
    }

    /// Ends as a killed process does: without a checkpoint.
    fn open_again(&mut self) {
        let elsewhere = tempfile::tempdir().expect("a folder");
        let placeholder = Engine::open(elsewhere.path().into(), config()).expect("opened");
        drop(std::mem::replace(&mut self.engine, placeholder));
        let engine = Engine::open_with_faults(self.folder.path(), config(), &self.faults);
        self.engine = engine.expect("opened again");
    }

    fn cut_off(&mut self, group: Vec<Command>, share: u64) {
        let (file, written) = self.fail_sync(&group);
        let arrived = written.start + (written.end - written.start) * share / 100;
        file.set_len(arrived).expect("cut");
        self.open_again();
        if !written.is_empty() && arrived == written.end {
            self.expect(group);
        }
    }

    /// The bytes of the log that the group takes. None, if it changes nothing or didn't get that far.
    fn fail_sync(&mut self, group: &[Command]) -> (File, Range<u64>) {
        self.engine.run([Command::Heads(Vec::new())].iter()); // open, if a fault has closed it
        let (round, start) = self.engine.wal_end().expect("it is open");
        let path = self.folder.path().join(FILE_NAMES[(round % 2) as usize]);
        let file = File::options().read(true).write(true).open(path);
        let file = file.expect("it is there");
        let before = file.metadata().expect("a file").len();
        let zeros = vec![0; before.saturating_sub(start) as usize];
        file.write_all_at(&zeros, start)
            .expect("what stands behind the end is of earlier rounds");
        self.faults.unsynced.store(true, Ordering::SeqCst);
        for result in self.engine.run(group.iter()) {
            let is_new = matches!(&result, Ok(Reply::Appended(appended)) if !appended.duplicate);
            assert!(!is_new, "answered without a sync: {result:?}");
        }
        self.faults.unsynced.store(false, Ordering::SeqCst);
        let mut header = [0; HEADER_BYTES];
        let is_written =
            file.read_exact_at(&mut header, start).is_ok() && header != [0; HEADER_BYTES];
        let records_bytes = header.last_chunk().map(|bytes| u32::from_le_bytes(*bytes));
        let frame_bytes = HEADER_BYTES as u64 + u64::from(records_bytes.expect("four bytes"));
        let end = start + if is_written { frame_bytes } else { 0 };
        (file, start..end)
    }

    fn expect(&mut self, group: Vec<Command>) -> Vec<StoreResult> {
        let apply = |command| self.model.apply(command);
        group.into_iter().map(apply).collect()
    }

    fn compare(&mut self, group: Vec<Command>) {
        let results = self.engine.run(group.iter());
        let expected = self.expect(group);
        assert_eq!(format!("{results:?}"), format!("{expected:?}"));
    }

    /// Everything that can be read from the engine.
    fn compare_state(&mut self) {
        let uids = USERS.map(|name| Uid::parse(name).expect("a name"));
        let boxids = BOXES.map(|name| BoxId::parse(name).expect("a name"));
        let mut reads: Vec<_> = uids.iter().cloned().map(Command::Boxes).collect();
        for boxid in &boxids {
            for reader in &uids {
                reads.push(Command::Range(newim_proto::log::Range {
                    boxid: boxid.clone(),
                    reader: reader.clone(),
                    after: 0,
                    messages_max: 100,
                    bytes_max: usize::MAX,
                }));
            }
        }
        reads.push(Command::Heads(boxids.into()));
        self.compare(reads);
    }
}

#[test]
fn whatever_cuts_it_off_it_goes_on_from_what_it_answered() {
    let config = proptest::test_runner::Config {
        cases: 48,
        failure_persistence: None,
        ..Default::default()
    };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&steps(), |steps| {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}
