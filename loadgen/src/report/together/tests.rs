//! Processes as tasks, each with a session of its own, against a real ZooKeeper.

use std::sync::{Arc, Mutex};

use newim_testkit::ZooKeeper;
use tokio::task::JoinSet;
use zookeeper_client::Client;

use super::*;
use crate::report::samples::{noise, report};

type Told = Arc<Mutex<Vec<String>>>;

fn config(zookeeper: &ZooKeeper, of: u32, label: &str, told: &Told) -> Config {
    let told = Arc::clone(told);
    Config {
        session_timeout_ms: 2000,
        join_ms_max: 20_000,
        ready_ms_max: 20_000,
        finish_ms_max: 20_000,
        progress: Box::new(move |text| told.lock().expect("no panic").push(text.to_owned())),
        ..Config::new(&zookeeper.address(), "night-7", of, label)
    }
}

/// All processes, in the order of their indexes.
async fn joined(zookeeper: &ZooKeeper, of: u32, told: &Told) -> Vec<Together> {
    let mut tasks = JoinSet::new();
    for host in 0..of {
        tasks.spawn(Together::join_with(config(
            zookeeper,
            of,
            &format!("host-{host}"),
            told,
        )));
    }
    let mut together: Vec<Together> = tasks
        .join_all()
        .await
        .into_iter()
        .map(|joined| joined.expect("all are here"))
        .collect();
    together.sort_by_key(Together::index);
    together
}

async fn started(together: &mut [Together]) -> Vec<u64> {
    let mut starts = Vec::new();
    let starting: Vec<_> = together.iter_mut().map(Together::start_at).collect();
    // They need each other, so they are polled side by side.
    for start in join_all(starting).await {
        starts.push(start.expect("all are ready"));
    }
    starts
}

async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if outputs.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outputs
        .into_iter()
        .map(|output| output.expect("all are ready"))
        .collect()
}

async fn finished(together: Vec<Together>) -> Vec<Outcome> {
    let ends = together
        .into_iter()
        .map(|one| one.finish(report()))
        .collect();
    join_all(ends)
        .await
        .into_iter()
        .map(|end| end.expect("finished"))
        .collect()
}

async fn is_clean(zookeeper: &ZooKeeper) -> bool {
    let client = Client::connect(&zookeeper.address())
        .await
        .expect("it runs");
    client
        .check_stat("/newim/loadgen")
        .await
        .expect("it answers")
        .is_none()
}

fn said(told: &Told, text: &str) -> bool {
    told.lock()
        .expect("no panic")
        .iter()
        .any(|line| line.contains(text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_start_at_one_moment_and_end_in_one_report() {
    let zookeeper = ZooKeeper::start();
    let told = Told::default();
    let mut together = joined(&zookeeper, 3, &told).await;
    let indexes: Vec<u32> = together.iter().map(Together::index).collect();
    assert_eq!(indexes, [0, 1, 2]);

    let before_ms = unix_ms();
    let starts = started(&mut together).await;
    assert!(starts.iter().all(|start| *start == starts[0]), "{starts:?}");
    assert!(
        starts[0] > before_ms && starts[0] < before_ms + 60_000 && starts[0].is_multiple_of(1000)
    );

    let mut reports = vec![report(), report(), report()];
    reports[1].command.push(noise(2_500_000)); // several znodes long
    reports[2]
        .honesty
        .spoiled
        .push("sends left late".to_owned());
    let ends = together
        .into_iter()
        .zip(reports)
        .map(|(one, report)| one.finish(report))
        .collect();
    let mut outcomes = join_all(ends).await.into_iter();
    let Some(Ok(Outcome::Merged(merged, missing))) = outcomes.next() else {
        panic!("the first merges");
    };
    assert!(outcomes.all(|outcome| matches!(outcome, Ok(Outcome::Sent))));
    assert_eq!((merged.processes, merged.verified.checked), (3, 30_000));
    assert!(missing.is_empty() && merged.missing.is_empty());
    assert!(merged.honesty.spoiled[0].starts_with("process 3 (host-"));
    assert!(is_clean(&zookeeper).await);
    assert!(said(&told, "all 3 processes are here"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_is_missed_by_name_and_the_rest_is_merged() {
    let zookeeper = ZooKeeper::start();
    let told = Told::default();
    let mut together = joined(&zookeeper, 3, &told).await;
    started(&mut together).await;
    let dead = together.remove(1);
    let label = dead.config.label.clone();
    drop(dead);
    let outcomes = finished(together).await;
    let Outcome::Merged(merged, missing) = &outcomes[0] else {
        panic!("the first merges");
    };
    assert_eq!(merged.processes, 2);
    assert_eq!((missing.len(), missing[0].index), (1, 1));
    assert_eq!(missing[0].label, label);
    assert!(
        merged.missing[0].contains(&format!("process 2 of 3 ({label})")),
        "{:?}",
        merged.missing
    );
    assert!(matches!(outcomes[1], Outcome::Sent));
    assert!(said(&told, "left without a report"));
    assert!(is_clean(&zookeeper).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_first_dies_the_next_merges() {
    let zookeeper = ZooKeeper::start();
    let mut together = joined(&zookeeper, 3, &Told::default()).await;
    started(&mut together).await;
    drop(together.remove(0));
    let outcomes = finished(together).await;
    assert!(matches!(&outcomes[0], Outcome::Merged(merged, _) if merged.processes == 2));
    assert!(matches!(outcomes[1], Outcome::Sent));
    assert!(is_clean(&zookeeper).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zookeeper_that_restarts_during_the_run_costs_no_report() {
    let mut zookeeper = ZooKeeper::start();
    let mut together = joined(&zookeeper, 2, &Told::default()).await;
    started(&mut together).await;
    let zookeeper = tokio::task::spawn_blocking(move || {
        zookeeper.restart();
        zookeeper
    });
    let zookeeper = zookeeper.await.expect("it restarts");
    let outcomes = finished(together).await;
    let merged = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Merged(merged, missing) if missing.is_empty() => Some(merged.processes),
        _ => None,
    });
    assert_eq!(merged, Some(2));
    assert!(is_clean(&zookeeper).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_beyond_a_full_run_is_refused_and_one_that_waits_in_vain_is_told() {
    let zookeeper = ZooKeeper::start();
    let told = Told::default();
    let together = joined(&zookeeper, 2, &told).await;
    let late = Together::join_with(config(&zookeeper, 2, "late", &told)).await;
    assert!(matches!(late, Err(TogetherError::TooMany { of: 2, .. })));

    let lonely = Config {
        run: "lonely".to_owned(),
        join_ms_max: 300,
        ..config(&zookeeper, 2, "one", &told)
    };
    let lonely = Together::join_with(lonely).await;
    assert!(matches!(
        lonely,
        Err(TogetherError::TooFew { here: 1, of: 2, .. })
    ));
    let outcomes = finished(together).await;
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Sent))
            .count(),
        1
    );
    assert!(is_clean(&zookeeper).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_all_is_none_and_its_leftovers_do_not_disturb_the_next_run() {
    let zookeeper = ZooKeeper::start();
    let told = Told::default();
    let mut together = joined(&zookeeper, 2, &told).await;
    together.remove(1).room.leave().await;
    let error = together[0].start_at().await.expect_err("one is gone");
    assert!(
        matches!(
            error,
            TogetherError::GoneBeforeStart {
                index: 1,
                of: 2,
                ..
            }
        ),
        "{error}"
    );
    together.remove(0).room.leave().await;
    assert!(
        !is_clean(&zookeeper).await,
        "a run that failed leaves its roster"
    );

    let again = joined(&zookeeper, 2, &told).await;
    let outcomes = finished(again).await;
    assert!(
        outcomes
            .iter()
            .any(|outcome| matches!(outcome, Outcome::Merged(merged, _) if merged.processes == 2))
    );
    assert!(is_clean(&zookeeper).await);
}

#[tokio::test]
async fn what_can_name_no_run_is_refused_before_anything_connects() {
    for run in ["", ".", "..", "a/b", "größe", &"x".repeat(65)] {
        let refused = Together::join("127.0.0.1:1", run, 2, "host").await;
        assert!(matches!(refused, Err(TogetherError::BadRun(_))), "{run}");
    }
    for of in [0, PROCESSES_MAX + 1] {
        let refused = Together::join("127.0.0.1:1", "run", of, "host").await;
        assert!(matches!(refused, Err(TogetherError::BadCount(_))), "{of}");
    }
    let refused = Together::join("/only/a/chroot", "run", 2, "host").await;
    assert!(matches!(refused, Err(TogetherError::BadAddress(_))));
}
