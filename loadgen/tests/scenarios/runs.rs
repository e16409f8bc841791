//! Every scenario in small, against a node that works as it should.

use std::time::Duration;

use newim_testkit::TempFolder;

use crate::generator::Generator;
use crate::node::Node;

const SHORT: &str = "--duration 1s --warm-up 200ms --settle 15s";

#[test]
fn idle_clients_are_there_and_the_server_is_measured() {
    let node = Node::start();
    let (ws, admin, pid) = (&node.ws, &node.admin, node.pid());
    let line = format!("idle -t {ws} -c 300 --members 10 --hold 500ms --heartbeat 1s");
    let by_pid = Generator::run(&format!("{line} --server-pid {pid}"));
    by_pid.assert(0, &["300 of 300 opened", "bytes per connection, user"]);
    let by_admin = Generator::run(&format!("{line} --admin {admin} --ramp 1000"));
    by_admin.assert(
        0,
        &[
            "300 of 300 opened",
            "bytes per connection, user",
            " 0 lost,",
        ],
    );
}

#[test]
fn echoes_come_back_in_both_loops_over_several_shards() {
    let node = Node::start();
    let closed = format!(
        "echo -t {} -c 50 --closed-loop 4 --shards 3 {SHORT}",
        node.ws
    );
    let closed = Generator::run(&closed);
    closed.assert(0, &["3 shards", "echo         p50"]);
    closed.assert_verified(&[]);
    assert!(closed.count("checked") > 1000, "{}", closed.text);
    let open = format!(
        "echo -t raw:{}/echo -c 20 --rate 500 --arrivals poisson {SHORT}",
        node.ws
    );
    let open = Generator::run(&open);
    open.assert_verified(&[]);
    assert!(
        (450..=750).contains(&open.count("checked")),
        "{}",
        open.text
    );
}

#[test]
fn every_p2p_message_arrives_in_both_dialects() {
    let node = Node::start();
    for v1 in ["", " --v1"] {
        let line = format!("p2p -t {} -c 40 --rate 200 --shards 2 {SHORT}{v1}", node.ws);
        let ended = Generator::run(&line);
        ended.assert_verified(&["40 of 40 opened"]);
        assert_eq!(
            ended.count("delivered"),
            ended.count("sent"),
            "{}",
            ended.text
        );
    }
    let closed = format!(
        "p2p -t {} -c 20 --closed-loop 2 --first-user 1000 {SHORT}",
        node.ws
    );
    Generator::run(&closed).assert_verified(&["delivery     p50"]);
}

#[test]
fn every_member_of_a_group_gets_every_message() {
    let node = Node::start();
    for (v1, prefix) in ["", " --v1"].into_iter().zip(["a-", "b-"]) {
        let boxes = "--members 8 --senders 2 --shards 2";
        let line = format!(
            "group -t {} -c 40 --rate 100 {boxes} --users-prefix {prefix} {SHORT}{v1}",
            node.ws
        );
        let ended = Generator::run(&line);
        ended.assert_verified(&["40 of 40 opened"]);
        assert_eq!(
            ended.count("delivered"),
            8 * ended.count("sent"),
            "{}",
            ended.text
        );
    }
}

#[test]
fn a_broadcast_reaches_all_and_its_members_join_beforehand() {
    let node = Node::start();
    let line = format!(
        "broadcast -t {} -c 150 --rate 10 --shards 2 --users-prefix same- {SHORT}",
        node.ws
    );
    let first = Generator::run(&line);
    first.assert_verified(&["150 of 150 opened"]);
    assert_eq!(
        first.count("delivered"),
        150 * first.count("sent"),
        "{}",
        first.text
    );
    // They are members by now, and earlier messages are history.
    let again = Generator::run(&line);
    again.assert_verified(&[]);
    assert_eq!(
        again.count("delivered"),
        150 * again.count("sent"),
        "{}",
        again.text
    );
}

#[test]
fn clients_cut_in_a_storm_come_back_and_miss_nothing() {
    let node = Node::start();
    for drop in ["--drop 100", "--drop 50 --pace 100"] {
        let line = format!("storm -t {} -c 60 --rate 200 {drop} {SHORT}", node.ws);
        let ended = Generator::run(&line);
        ended.assert_verified(&[]);
        assert!(ended.count("reconnects") >= 15, "{}", ended.text);
        assert_eq!(
            ended.count("delivered"),
            10 * ended.count("sent"),
            "{}",
            ended.text
        );
    }
}

#[test]
fn members_who_leave_and_come_back_get_what_is_theirs() {
    let node = Node::start();
    let line = format!("churn -t {} -c 60 --rate 100 --leaving 40 {SHORT}", node.ws);
    let ended = Generator::run(&line);
    ended.assert_verified(&[]);
    assert!(ended.count("reconnects") >= 20, "{}", ended.text);
}

#[test]
fn slow_readers_have_everything_in_the_end() {
    let node = Node::start();
    for rate in ["--read-rate 0", "--read-rate 3000"] {
        let line = format!(
            "slow -t {} -c 40 --rate 300 --slow 30 {rate} {SHORT}",
            node.ws
        );
        let ended = Generator::run(&line);
        ended.assert_verified(&[]);
        assert_eq!(
            ended.count("delivered"),
            10 * ended.count("sent"),
            "{}",
            ended.text
        );
    }
}

#[test]
fn a_plan_runs_through_its_phases() {
    let folder = TempFolder::new("loadgen-plan");
    let path = folder.path().join("plan.toml");
    let plan = "members = 5\n\
        [[phase]]\nkind = 'ramp'\nper_s = 200\n\
        [[phase]]\nkind = 'hold'\nduration = '1s'\np2p_per_s = 50\ngroup_per_s = 20\n\
        [[phase]]\nkind = 'fault'\nduration = '1s'\ndrop = { percent = 50 }\n\
        [[phase]]\nkind = 'fault'\nduration = '1s'\nslow = { percent = 50 }\n\
        [[phase]]\nkind = 'recover'\nduration = '10s'\n";
    std::fs::write(&path, plan).expect("our own folder");
    let node = Node::start();
    let line = format!("mixed {} -t {} -c 60 --settle 15s", path.display(), node.ws);
    let ended = Generator::run(&line);
    ended.assert_verified(&["delivery     p50", "direct       p50", "group        p50"]);
    assert!(ended.count("reconnects") >= 10, "{}", ended.text);
    assert!(ended.count("sent") >= 140, "{}", ended.text);
}

#[test]
fn a_signal_ends_a_run_early_and_it_still_reports() {
    let node = Node::start();
    let line = format!(
        "p2p -t {} -c 20 --rate 100 --duration 1h --warm-up 0",
        node.ws
    );
    let mut run = Generator::start(&line);
    run.await_text(" hold ");
    let status = run.process().terminate(Duration::from_secs(20));
    // Status 3, where the machine was too busy for so short a run.
    assert!(
        matches!(status.code(), Some(0 | 3)),
        "{status}: {}",
        run.text()
    );
    let text = run.text();
    assert!(
        text.contains("verified") && text.contains(": 0 lost"),
        "{text}"
    );
}

#[test]
fn reports_go_where_they_are_wanted_and_an_assertion_that_fails_ends_with_4() {
    let node = Node::start();
    let folder = TempFolder::new("loadgen-reports");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let line = |assertions: &str| {
        format!(
            "echo -t {} -c 10 --rate 50 {SHORT} --json {} --html {} --assert {assertions}",
            node.ws,
            path("report.json"),
            path("report.html"),
        )
    };
    let held = Generator::run(&line("loss=0,rate>1"));
    held.assert_verified(&["holds   loss=0", "holds   rate>1"]);
    let json = std::fs::read_to_string(path("report.json")).expect("it was asked for");
    let report = newim_loadgen::report::json::read(&json).expect("it is its own format");
    assert_eq!(report.verified.wrong(), 0);
    assert!(report.messages.sent > 0 && report.scenario == "echo");
    let html = std::fs::read_to_string(path("report.html")).expect("it was asked for");
    assert!(html.contains("<svg") && !html.contains("<script"));

    let failed = Generator::run(&line("rate>1000k"));
    let spoiled = failed.text.contains("! ");
    failed.assert(if spoiled { 3 } else { 4 }, &["FAILED  rate>1000k"]);
    let unread = Generator::run(&line("p98<1s"));
    unread.assert(1, &["p98", "did you mean"]);
    let nowhere = format!("echo -t {} -c 2 {SHORT} --html /nowhere/r.html", node.ws);
    Generator::run(&nowhere).assert(1, &["can't write /nowhere/r.html"]);
}
