//! Random commands: whatever the sequence, an engine answers as the model does.

use newim_proto::ids::{ClientId, Uuid};
use newim_proto::log::{Append, AppendKind, Command, Mark, Range};
use newim_store::model::Model;
use newim_store::settings::{RetentionPolicy, StoreSettings};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::subject::*;
use crate::suite::Maker;

const USERS: [&str; 4] = ["ann", "bob", "eve", "{b:x}"];
const BOXES: [&str; 5] = ["a", "b", "c", "{b:x}", "d e"];

/// Tiny bounds, so that short sequences reach them.
fn tiny() -> StoreSettings {
    StoreSettings {
        retention: RetentionPolicy {
            messages_max: 6,
            age_ms_max: 40_000,
        },
        dedupe_window_ms: 60_000,
        boxes_per_user_max: 3,
    }
}

fn user() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&USERS[..])
}

fn in_box() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&BOXES[..])
}

fn kind() -> impl Strategy<Value = AppendKind> {
    prop_oneof![
        3 => Just(AppendKind::Join),
        1 => Just(AppendKind::Quit),
        6 => Just(AppendKind::Chat),
        3 => user().prop_map(direct),
    ]
}

/// Time steps: mostly small, at times past the retention, at times back.
fn step_ms() -> impl Strategy<Value = i64> {
    prop_oneof![10 => 0..500i64, 2 => 5_000..30_000i64, 1 => 60_000..200_000i64, 1 => -3_000..0i64]
}

fn an_append() -> impl Strategy<Value = Command> {
    let client_id = prop::option::weighted(0.6, 0..5u8);
    (
        in_box(),
        user(),
        kind(),
        client_id,
        0..2u8,
        any::<u64>(),
        0..200usize,
    )
        .prop_map(|(in_box, sender, kind, client_id, digest, uuid, bytes)| {
            Command::Append(Append {
                boxid: boxid(in_box),
                sender: uid(sender),
                kind,
                client_id: client_id.map(|id| ClientId::parse(&format!("id {id}")).expect("valid")),
                digest: [digest; 16],
                uuid: Uuid(u128::from(uuid) * 0x1_0000_0001),
                ts_ms: 0, // set by `timed`
                payload: payload(bytes).into(),
            })
        })
}

fn a_read_or_mark() -> impl Strategy<Value = Command> {
    let range = (in_box(), user(), 0..30u64, 0..8u32, 0..600usize).prop_map(
        |(in_box, reader, after, messages_max, bytes_max)| {
            let (boxid, reader) = (boxid(in_box), uid(reader));
            Command::Range(Range {
                boxid,
                reader,
                after,
                messages_max,
                bytes_max,
            })
        },
    );
    let mark = (
        in_box(),
        user(),
        prop::option::of(0..20u64),
        prop::option::of(0..20u64),
    )
        .prop_map(|(in_box, user, delivered, read)| {
            Command::Mark(Mark {
                boxid: boxid(in_box),
                uid: uid(user),
                epoch: None,
                delivered,
                read,
            })
        });
    prop_oneof![
        3 => range,
        2 => mark,
        1 => prop::collection::vec(in_box(), 0..4)
            .prop_map(|boxes| Command::Heads(boxes.into_iter().map(boxid).collect())),
        2 => user().prop_map(|of| Command::Boxes(uid(of))),
        1 => in_box().prop_map(|of| Command::Facts(boxid(of))),
    ]
}

fn commands(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![3 => an_append(), 2 => a_read_or_mark()];
    prop::collection::vec((command, step_ms()), count).prop_map(timed)
}

fn timed(commands: Vec<(Command, i64)>) -> Vec<Command> {
    let mut now_ms = START_MS;
    let set_time = |(mut command, step_ms): (Command, i64)| {
        now_ms = now_ms
            .checked_add_signed(step_ms)
            .expect("far from both ends");
        if let Command::Append(append) = &mut command {
            append.ts_ms = now_ms;
        }
        command
    };
    commands.into_iter().map(set_time).collect()
}

fn compare(subject: &mut dyn Subject, model: &mut Model, batch: &[Command]) {
    let results = subject.run(batch.to_vec());
    for ((command, result), expected) in batch.iter().zip(&results).zip(model.run(batch.to_vec())) {
        assert_eq!(comparable(result), comparable(&expected), "{command:?}");
    }
}

/// Runs one command at a time, with bounds so small that they are reached.
fn short_sequences_are_answered_as_by_the_model<'a>(
    new: &dyn Fn(StoreSettings) -> Box<dyn Subject + 'a>,
    cases: u32,
) {
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&commands(1..120), |commands| {
        let (mut subject, mut model) = (new(tiny()), Model::new(tiny()));
        for command in commands {
            compare(&mut *subject, &mut model, &[command]);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

/// Runs ten thousand commands at once, then compares the outcome. The bound on boxes stays out of reach: at the
/// bound a pipeline may refuse a JOIN for which the QUIT before it has just made room. Lists come after the
/// rest: within a pipeline they may show heads and marks that are newer.
fn a_pipeline_of_10k_is_answered_as_by_the_model(new: Maker) {
    let settings = StoreSettings {
        boxes_per_user_max: 100,
        ..tiny()
    };
    let mut runner = TestRunner::deterministic();
    let tree = commands(10_000..10_001)
        .new_tree(&mut runner)
        .expect("a sequence");
    let mut commands = prop::strategy::ValueTree::current(&tree);
    commands.retain(|command| !matches!(command, Command::Boxes(_)));
    let (mut subject, mut model) = (new(settings), Model::new(settings));
    compare(&mut *subject, &mut model, &commands);
    let lists: Vec<Command> = USERS.iter().map(|user| Command::Boxes(uid(user))).collect();
    compare(&mut *subject, &mut model, &lists);
}

#[test]
fn on_disk_short_sequences_are_answered_as_by_the_model() {
    short_sequences_are_answered_as_by_the_model(
        &|settings| Box::new(crate::on_disk::OnDisk::new(settings)),
        48,
    );
}

#[test]
fn on_disk_a_pipeline_of_10k_is_answered_as_by_the_model() {
    a_pipeline_of_10k_is_answered_as_by_the_model(&|settings| {
        Box::new(crate::on_disk::OnDisk::new(settings))
    });
}

#[test]
fn in_redis_short_sequences_are_answered_as_by_the_model() {
    let redis = newim_testkit::Redis::start();
    let new = |settings| -> Box<dyn Subject + '_> {
        Box::new(crate::in_redis::Emptied::new(&redis, settings))
    };
    short_sequences_are_answered_as_by_the_model(&new, 64);
}

#[test]
fn in_redis_a_pipeline_of_10k_is_answered_as_by_the_model() {
    a_pipeline_of_10k_is_answered_as_by_the_model(&|settings| {
        Box::new(crate::in_redis::InRedis::new(settings))
    });
}

/// The same in a Cluster, whose keys have slots: a call with keys of two slots is refused.
#[test]
fn in_a_cluster_a_pipeline_of_10k_is_answered_as_by_the_model() {
    a_pipeline_of_10k_is_answered_as_by_the_model(&|settings| {
        Box::new(crate::in_redis::InRedis::in_cluster(settings))
    });
}
