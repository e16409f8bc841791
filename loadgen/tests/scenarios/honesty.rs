//! Exit statuses 3 and 1: a generator that spoiled its figures says so and shows none, and one that can't
//! run says why.

use std::time::Duration;

use crate::generator::Generator;
use crate::liar::{self, Lie};

#[test]
fn a_generator_that_was_stopped_for_a_moment_shows_no_latency() {
    let server = liar::echo(Lie::Nothing);
    let line = format!("echo -t raw:ws://{server} -c 4 --rate 500 --duration 3s --warm-up 0");
    let mut run = Generator::start(&line);
    run.await_text(" hold ");
    run.process().pause();
    // Not a wait for a condition: being stopped this long is what the test does to it.
    std::thread::sleep(Duration::from_millis(400));
    run.process().resume();
    let ended = run.end();
    ended.assert(3, &["sends left late"]);
    assert!(!ended.text.contains("echo         p50"), "{}", ended.text);
}

#[test]
fn a_rate_that_nobody_can_keep_is_no_result() {
    let server = liar::echo(Lie::Nothing);
    let line = format!("echo -t raw:ws://{server} -c 4 --rate 5000000 --duration 1s --warm-up 0");
    let ended = Generator::run(&line);
    ended.assert(3, &["! "]);
    assert!(!ended.text.contains("echo         p50"), "{}", ended.text);
}

#[test]
fn a_run_that_is_impossible_says_why() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    Generator::run(&format!("idle -t ws://{address} -c 2")).assert(1, &["refused"]);
    Generator::run("idle -t http://127.0.0.1:1").assert(1, &["not a WebSocket address"]);
    Generator::run("idle -t wss://127.0.0.1:1").assert(1, &["TLS"]);
    Generator::run("idle").assert(1, &["--target"]);
    Generator::run("echo -t ws://127.0.0.1:1 --payload 3").assert(1, &["verifying a message"]);
    Generator::run("mixed /nowhere/plan.toml -t ws://127.0.0.1:1").assert(1, &["plan.toml"]);
}

#[test]
fn an_echo_server_is_told_apart_from_newim() {
    let server = liar::echo(Lie::Nothing);
    let ended = Generator::run(&format!("p2p -t ws://{server} -c 2"));
    ended.assert(1, &["newim.v2"]);
}

#[test]
fn a_reader_that_goes_away_ends_no_run_and_makes_no_panic() {
    let server = liar::echo(Lie::Nothing);
    let run =
        format!("echo -t {server} --raw -c 1 --closed-loop 1 --duration 1s --warm-up 0 --json -");
    for line in ["--help", "completions zsh", &run] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_newim-loadgen"))
            .args(line.split(' '))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it was built");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.code().is_some_and(|code| code != 101),
            "{line}: {said}"
        );
        assert!(!said.contains("panicked"), "{line}: {said}");
    }
}

#[test]
fn help_has_examples_and_shells_are_completed() {
    Generator::run("--help").assert(0, &["Examples:", "storm", "Exit status"]);
    Generator::run("completions bash").assert(0, &["newim-loadgen"]);
}
