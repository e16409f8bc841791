//! Exit status 2: a server is found out that loses, duplicates, changes or reorders one message.

use crate::generator::{Ended, Generator};
use crate::liar::{self, Lie};
use crate::node::Node;

const SHORT: &str = "--duration 1s --warm-up 0 --settle 3s";

fn echo(lie: Lie) -> Ended {
    let liar = liar::echo(lie);
    Generator::run(&format!("echo -t raw:ws://{liar} -c 4 --rate 200 {SHORT}"))
}

fn p2p(lie: Lie) -> Ended {
    let node = Node::start();
    let liar = liar::proxy(lie, node.address());
    Generator::run(&format!("p2p -t ws://{liar} -c 8 --rate 200 {SHORT}"))
}

fn group(lie: Lie) -> Ended {
    let node = Node::start();
    let liar = liar::proxy(lie, node.address());
    Generator::run(&format!(
        "group -t ws://{liar} -c 8 --members 8 --rate 50 {SHORT}"
    ))
}

#[test]
fn a_server_that_tells_the_truth_is_believed() {
    echo(Lie::Nothing).assert_verified(&[]);
    group(Lie::Nothing).assert_verified(&[]);
}

#[test]
fn an_echo_that_is_lost_doubled_changed_or_exchanged_is_found() {
    echo(Lie::Drop).assert(2, &["1 lost", "never came"]);
    echo(Lie::Duplicate).assert(2, &["1 duplicated", "came twice"]);
    echo(Lie::Corrupt).assert(2, &["1 corrupted", "differs from what was sent"]);
    echo(Lie::Swap).assert(2, &["1 out of order"]);
}

#[test]
fn a_closed_loop_goes_on_after_a_lost_echo_and_tells_of_it() {
    let liar = liar::echo(Lie::Drop);
    let line = format!("echo -t raw:ws://{liar} -c 2 --closed-loop 4 {SHORT}");
    let ended = Generator::run(&line);
    ended.assert(2, &["1 lost"]);
    assert!(ended.count("delivered") > 100, "{}", ended.text);
}

#[test]
fn a_receiver_whose_last_messages_never_come_is_found() {
    p2p(Lie::DropRest).assert(2, &["never got its last"]);
    group(Lie::DropRest).assert(2, &["never got its last"]);
}

#[test]
fn one_lost_push_is_repaired_by_a_pull_and_is_no_fault() {
    let ended = group(Lie::Drop);
    ended.assert_verified(&[]);
    assert!(ended.count("by") >= 1, "pulled:\n{}", ended.text);
}

#[test]
fn a_delivery_that_is_doubled_or_changed_is_found() {
    p2p(Lie::Duplicate).assert(2, &["1 duplicated"]);
    group(Lie::Duplicate).assert(2, &["1 duplicated"]);
    group(Lie::Corrupt).assert(2, &["1 corrupted"]);
}
