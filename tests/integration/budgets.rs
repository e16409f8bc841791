//! Budgets of a message: the system calls, submissions and completions that it costs the node, by the engine's
//! own counters, stay within `benches/gate/baseline.toml`, where the goals stand beside them.
//!
//! A budget is what a message costs when the kernel gathers nothing into one batch, and what a shard does by
//! its clock is not counted. So a slow or busy machine fails none of them. What gathering saves is tested where
//! the test gives the batch: in `runtime/tests/batches.rs` and by the case `fan-out/100/16` of newim-gate.
//! `scripts/bench` reports what a machine gathers.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use crate::client::{Client, in_group};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::raw::{BINARY, RawPeer, masked_frame};
use crate::wire::Op;

const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Header of a short frame of the server.
const HEADER_BYTES: usize = 2;

/// Most system calls per second that a shard makes by its clock: it looks at the end of each turn of 50 ms, sleeps
/// and wakes in between, and publishes its counters ten times.
const CLOCK_ENTERS_PER_S: f64 = 100.0;
/// Entries of a shard that parks, and their completions: it sets a timer, and may remove an earlier one.
const SQES_PER_PARK: f64 = 2.0;
const CQES_PER_PARK: f64 = 3.0;

/// The engine's counters, summed over the shards.
#[derive(Clone, Copy, Debug)]
struct Engine {
    enters: f64,
    sqes: f64,
    cqes: f64,
    parks: f64,
    mail: f64,
    wakes: f64,
}

impl Engine {
    fn of(metrics: &Metrics) -> Engine {
        let sum = |what: &str| metrics.sum(&format!("newim_engine_{what}_total"), &[]);
        Engine {
            enters: sum("enters"),
            sqes: sum("sqes"),
            cqes: sum("cqes"),
            parks: sum("parks"),
            mail: sum("mail_out"),
            wakes: sum("wakes_out"),
        }
    }
}

/// What a message costs.
struct Cost {
    enters: f64,
    sqes: f64,
    cqes: f64,
    mail: f64,
    wakes: f64,
}

/// The counters at the start of a measurement.
struct Start {
    at: Instant,
    engine: Engine,
    shards: usize,
}

impl Start {
    fn new(engine: Engine, shards: usize) -> Start {
        Start {
            at: Instant::now(),
            engine,
            shards,
        }
    }

    /// The cost of each of so many messages since then, without what the clock costs.
    fn per_message(&self, now: &Engine, messages: usize) -> Cost {
        let Start { at, engine, shards } = self;
        let clock_enters = CLOCK_ENTERS_PER_S * at.elapsed().as_secs_f64() * *shards as f64;
        let parks = now.parks - engine.parks;
        let share = |spent: f64| spent.max(0.0) / messages as f64;
        Cost {
            enters: share(now.enters - engine.enters - clock_enters),
            sqes: share(now.sqes - engine.sqes - SQES_PER_PARK * parks),
            cqes: share(now.cqes - engine.cqes - CQES_PER_PARK * parks),
            mail: share(now.mail - engine.mail),
            wakes: share(now.wakes - engine.wakes),
        }
    }
}

/// The counters once the node says that it has taken so many messages in and given so many out.
fn settled(node: &Node, messages_in: f64, messages_out: f64) -> Engine {
    let mut engine = None;
    node.await_metrics("all messages are counted", |metrics| {
        engine = Some(Engine::of(metrics));
        metrics.messages_in() >= messages_in && metrics.messages_out() >= messages_out
    });
    engine.expect("read at least once")
}

/// Compares the measured figures with `[budgets]`, each by its name, and fails with all that are over.
fn assert_within(scenario: &str, measured: &[(&str, f64)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/gate/baseline.toml");
    let text = std::fs::read_to_string(&path).expect("the baseline lies in the checkout");
    let baseline: toml::Table = text.parse().expect("the baseline is TOML");
    let mut over = Vec::new();
    for (what, now) in measured {
        let name = format!("{scenario}/{what}");
        let max = baseline["budgets"]
            .get(&name)
            .and_then(|budget| budget.get("max")?.as_float())
            .unwrap_or_else(|| panic!("no budget `{name}` in {}", path.display()));
        println!("{name}: {now:.4} of at most {max}");
        if *now > max {
            over.push(format!(
                "{name}: {now:.4} per message, at most {max} are allowed"
            ));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

/// Rounds of a window of messages on each connection: all are written before the first answer is read, those
/// of one connection at once.
fn echo(scenario: &str, connections: usize, window: usize, rounds: usize) {
    let node = Node::standalone(&["--shards", "1"]);
    let mut peers: Vec<RawPeer> = (0..connections)
        .map(|_| RawPeer::upgraded(node.ws(), "/echo", "ann"))
        .collect();
    let frames = masked_frame(BINARY, &PAYLOAD).repeat(window);
    let round = |peers: &mut [RawPeer]| {
        for peer in peers.iter_mut() {
            peer.stream.write_all(&frames).expect("live");
        }
        for peer in peers.iter_mut() {
            let mut answer = vec![0; window * (HEADER_BYTES + PAYLOAD.len())];
            peer.stream
                .read_exact(&mut answer)
                .expect("the echo in time");
            assert!(
                answer
                    .chunks(HEADER_BYTES + PAYLOAD.len())
                    .all(|f| f[2..] == PAYLOAD)
            );
        }
    };
    round(&mut peers);
    let warm = (connections * window) as f64;
    let start = Start::new(settled(&node, warm, warm), 1);
    (0..rounds).for_each(|_| round(&mut peers));
    let messages = connections * window * rounds;
    let all = warm + messages as f64;
    let cost = start.per_message(&settled(&node, all, all), messages);
    assert_within(
        scenario,
        &[
            ("enters", cost.enters),
            ("sqes", cost.sqes),
            ("cqes", cost.cqes),
        ],
    );
}

#[test]
fn an_echo_that_is_waited_for() {
    echo("echo/1x1", 1, 1, 2000);
}

#[test]
fn echoes_16_in_flight_on_one_connection() {
    echo("echo/1x16", 1, 16, 300);
}

#[test]
fn echoes_16_in_flight_on_each_of_32_connections() {
    echo("echo/32x16", 32, 16, 40);
}

#[test]
fn echoes_64_in_flight_on_each_of_8_connections() {
    echo("echo/8x64", 8, 64, 40);
}

/// The members of a box, once everything that their joining caused is done and counted.
fn members(node: &Node, count: usize) -> Vec<Client> {
    let mut members: Vec<Client> = (0..count)
        .map(|index| Client::v2(node.ws(), &format!("uid-{index}")))
        .collect();
    for index in 0..count {
        members[index].join("lobby");
        for earlier in &mut members[..=index] {
            earlier.expect("the JOIN", |chat| chat.op == Op::Join);
        }
    }
    members.iter_mut().for_each(Client::round_trip);
    node.await_metrics("the last messages are counted", |metrics| {
        metrics.sum("newim_texts_in_total", &[]) >= count as f64
    });
    members
}

/// Sends messages of one member to all, `window` of them in flight; costs are per delivery.
fn fan_out(scenario: &str, window: usize, rounds: usize) {
    const MEMBERS: usize = 40;
    const SHARDS: usize = 2;
    let node = Node::standalone(&["--shards", &SHARDS.to_string()]);
    let mut members = members(&node, MEMBERS);
    let base = node.metrics();
    let start = Start::new(Engine::of(&base), SHARDS);
    for round in 0..rounds {
        let body = |number: usize| format!("{round}/{number}");
        for number in 0..window {
            members[0].send(&in_group("lobby", Op::Chat, Some(&body(number))));
        }
        for member in &mut members {
            (0..window).for_each(|number| drop(member.expect_body(&body(number))));
        }
    }
    let messages = window * rounds;
    let deliveries = messages * MEMBERS;
    let all_in = base.messages_in() + messages as f64;
    let all_out = base.messages_out() + (deliveries + messages) as f64;
    let cost = start.per_message(&settled(&node, all_in, all_out), deliveries);
    let per_message = MEMBERS as f64;
    assert_within(
        scenario,
        &[
            ("enters", cost.enters),
            ("sqes", cost.sqes),
            ("cqes", cost.cqes),
            ("mail per message", cost.mail * per_message),
            ("wakes per message", cost.wakes * per_message),
        ],
    );
}

#[test]
fn a_direct_message_passes_between_cores_once_at_most() {
    const RECEIVERS: usize = 12;
    const EACH: usize = 25;
    const SHARDS: usize = 4;
    let node = Node::standalone(&["--shards", &SHARDS.to_string()]);
    let mut ann = Client::v2(node.ws(), "ann");
    let mut others: Vec<Client> = (0..RECEIVERS)
        .map(|number| Client::v2(node.ws(), &format!("uid-{number}")))
        .collect();
    let mut tell_all = |body: &str| {
        for other in &mut others {
            ann.tell(&other.uid, body);
            other.expect_body(body);
        }
    };
    tell_all("warm"); // their boxes are listed from now on
    let base = node.metrics();
    let start = Start::new(Engine::of(&base), SHARDS);
    (0..EACH).for_each(|number| tell_all(&number.to_string()));
    let messages = RECEIVERS * EACH;
    let all_in = base.messages_in() + messages as f64;
    let all_out = base.messages_out() + 2.0 * messages as f64;
    let cost = start.per_message(&settled(&node, all_in, all_out), messages);
    assert!(cost.mail > 0.0, "some are on other shards");
    assert_within(
        "p2p/1x1",
        &[
            ("mail per message", cost.mail),
            ("wakes per message", cost.wakes),
        ],
    );
}

#[test]
fn a_group_message_that_is_waited_for() {
    fan_out("fan-out/1", 1, 100);
}

#[test]
fn group_messages_16_in_flight() {
    fan_out("fan-out/16", 16, 20);
}
