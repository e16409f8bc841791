//! What a message costs the node in system calls, submissions and completions, by the engine's own
//! counters: never more than the budgets in `benches/gate/baseline.toml`, where the goals stand beside
//! them. The counts follow from the order of things and not from the clock; where the kernel may gather
//! more or less into one batch, the budget is what it takes when it gathers nothing.

use std::io::{Read, Write};
use std::path::Path;

use crate::client::{Client, in_group};
use crate::metrics::Metrics;
use crate::node::Node;
use crate::raw::{BINARY, RawPeer, masked_frame};
use crate::wire::Op;

const PAYLOAD: [u8; 64] = [b'x'; 64];
/// The server's header of a short frame.
const HEADER_BYTES: usize = 2;

/// The engine's counters, summed over the shards.
#[derive(Clone, Copy, Debug)]
struct Engine {
    enters: f64,
    sqes: f64,
    cqes: f64,
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
            mail: sum("mail_out"),
            wakes: sum("wakes_out"),
        }
    }

    /// Of so many messages since `before`.
    fn per_message(&self, before: &Engine, messages: usize) -> Engine {
        let share = |now: f64, before: f64| (now - before) / messages as f64;
        Engine {
            enters: share(self.enters, before.enters),
            sqes: share(self.sqes, before.sqes),
            cqes: share(self.cqes, before.cqes),
            mail: share(self.mail, before.mail),
            wakes: share(self.wakes, before.wakes),
        }
    }
}

/// When the node says that it has taken so many messages in and given so many out.
fn settled(node: &Node, messages_in: f64, messages_out: f64) -> Engine {
    let mut engine = None;
    node.await_metrics("all messages are counted", |metrics| {
        engine = Some(Engine::of(metrics));
        metrics.messages_in() >= messages_in && metrics.messages_out() >= messages_out
    });
    engine.expect("read at least once")
}

/// Compares with `[budgets]`, each by its name, and says all that is over.
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

/// Rounds of a window of messages on each connection, all written before the first answer is read.
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
    let before = settled(&node, warm, warm);
    (0..rounds).for_each(|_| round(&mut peers));
    let messages = connections * window * rounds;
    let all = warm + messages as f64;
    let cost = settled(&node, all, all).per_message(&before, messages);
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

/// A box of members, with everything that their joining caused done and counted.
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
    node.await_metrics("the last words are counted", |metrics| {
        metrics.sum("newim_texts_in_total", &[]) >= count as f64
    });
    members
}

/// Messages of one member to all, so many in flight; costs are per delivery.
fn fan_out(scenario: &str, window: usize, rounds: usize) {
    const MEMBERS: usize = 40;
    let node = Node::standalone(&["--shards", "2"]);
    let mut members = members(&node, MEMBERS);
    let base = node.metrics();
    let before = Engine::of(&base);
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
    let cost = settled(&node, all_in, all_out).per_message(&before, deliveries);
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

/// Direct messages of one user to others on all shards.
#[test]
fn a_direct_message_passes_between_cores_once_at_most() {
    const RECEIVERS: usize = 12;
    const EACH: usize = 25;
    let node = Node::standalone(&["--shards", "4"]);
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
    let before = Engine::of(&base);
    (0..EACH).for_each(|number| tell_all(&number.to_string()));
    let messages = RECEIVERS * EACH;
    let all_in = base.messages_in() + messages as f64;
    let all_out = base.messages_out() + 2.0 * messages as f64;
    let cost = settled(&node, all_in, all_out).per_message(&before, messages);
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
