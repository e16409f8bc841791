//! The cost of a delivery as there are more connections, and as boxes have more members. It stays flat if
//! no work for one grows with the number of all. A standalone node, driven by newim-loadgen.
//!
//! Descriptors cap what one shard can hold, so many connections need more shards, here all on one core. To
//! tell the two apart, the same number of shards is also measured with few connections and shown beside it.

mod page;

use std::time::Duration;

use newim_loadgen::output;

use crate::failure::Failure;
use crate::generator;
use crate::limits::{CONNECTIONS_PER_SHARD_MAX, FLAT_MAX, MEMBERS_MIN};
use crate::machine;
use crate::options::Options;
use crate::report::{Figure, Report};
use crate::servers::Server;

const SCENARIO: &str = "growth";
const UNIT: &str = "µs CPU per delivery";
/// Person to person, all users in turn, at this rate in all.
const AT_RATE: [&str; 3] = ["p2p", "--rate", "2000"];
/// Person to person, a thousand users alone, whoever else is connected. What grows here grows with idle
/// connections; what grows only above grows with the memory that messages touch.
const AT_RATE_FEW: [&str; 5] = ["p2p", "--rate", "2000", "--senders", "500"];
/// Person to person, a few users with one message each in flight. At a rate, a faster disk makes smaller
/// commits, which cost more per message; here commits are as large whatever the disk does.
const IN_FLIGHT: [&str; 5] = ["p2p", "--closed-loop", "1", "--senders", "500"];
const RATE: &str = "p2p at a rate";
const FLIGHT: &str = "p2p, 500 in flight";
const ALONE: &str = "1,000 alone";

/// One line of a chart.
struct Series {
    name: String,
    /// Name of the traffic; lines of the same traffic can be compared.
    traffic: &'static str,
    /// Whether these are few connections, on as many shards as many connections would need.
    is_alone: bool,
    cases: Vec<Case>,
}

/// One point of a line.
struct Case {
    /// Connections or members: what the line grows by.
    size: u32,
    connections: u32,
    shards: u16,
    /// Arguments for newim-loadgen, besides the usual ones.
    words: Vec<String>,
    /// CPU of the node in µs per delivery, by round.
    cpu_us: Vec<f64>,
}

impl Case {
    fn new(size: u32, connections: u32, shards: u16, words: &[&str]) -> Case {
        Case {
            size,
            connections,
            shards,
            words: words.iter().map(|&word| word.to_owned()).collect(),
            cpu_us: Vec::new(),
        }
    }

    fn figure(&self, what: &str) -> Figure {
        let (size, shards) = (self.size, self.shards);
        let what = format!("{what}: {size}, on {shards} shards");
        Figure::new(SCENARIO, what, UNIT, &self.cpu_us)
    }
}

fn shards_for(connections: u32) -> u16 {
    connections.div_ceil(CONNECTIONS_PER_SHARD_MAX) as u16
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let mut by_connections = by_connections(options);
    let mut by_members = by_members(options);
    for round in 1..=options.rounds() {
        let series = by_connections.iter_mut().chain(&mut by_members);
        for case in series.flat_map(|series| &mut series.cases) {
            let words = case.words.join(" ");
            output::tell(&format!("  round {round}: {words}, {} shards", case.shards));
            measure(case, options, report)?;
        }
    }
    for series in by_connections.iter().chain(&by_members) {
        tell(series, report);
    }
    for series in &by_connections {
        tell_beside_few(series, &by_connections, report);
    }
    if let Some(path) = &options.page {
        let page = page::render(&by_connections, &by_members, options);
        std::fs::write(path, page)
            .map_err(|error| Failure::Setup(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

fn by_connections(options: &Options) -> Vec<Series> {
    let sizes: &[u32] = if options.quick {
        &[1000, 4000]
    } else {
        &[1000, 10_000, 100_000, 500_000]
    };
    let sizes = || {
        sizes
            .iter()
            .copied()
            .filter(|size| *size <= options.largest)
    };
    let all = |words: &'static [&str]| {
        sizes()
            .map(|size| Case::new(size, size, shards_for(size), words))
            .collect()
    };
    // Where one shard is enough, there is nothing to tell apart.
    let crowded = sizes().filter(|size| shards_for(*size) > 1);
    let least = sizes().min().unwrap_or(1000);
    let few = |words: &'static [&str]| {
        crowded
            .clone()
            .map(|size| Case::new(size, least, shards_for(size), words))
            .collect()
    };
    let all = [
        (RATE, "all talk", all(&AT_RATE)),
        (RATE, "1,000 talk", all(&AT_RATE_FEW)),
        (RATE, ALONE, few(&AT_RATE)),
        (FLIGHT, "all", all(&IN_FLIGHT)),
        (FLIGHT, ALONE, few(&IN_FLIGHT)),
    ];
    let series = |(traffic, who, cases)| Series {
        name: format!("{traffic}, {who}"),
        traffic,
        is_alone: who == ALONE,
        cases,
    };
    all.into_iter()
        .map(series)
        .filter(|series| !series.cases.is_empty())
        .collect()
}

fn by_members(options: &Options) -> Vec<Series> {
    let (sizes, least): (&[u32], u32) = if options.quick {
        (&[2, 100, 1000], 1000)
    } else {
        (&[2, 100, 10_000, 100_000], MEMBERS_MIN)
    };
    let sizes = || {
        sizes
            .iter()
            .copied()
            .filter(|size| *size <= options.largest)
    };
    let series = |in_flight: &str| {
        let case = |size: u32| {
            let members = size.to_string();
            let words = ["group", "--members", &members, "--closed-loop", in_flight];
            let connections = size.max(least);
            Case::new(size, connections, shards_for(connections), &words)
        };
        Series {
            name: format!("boxes, {in_flight} in flight, members"),
            traffic: "boxes",
            is_alone: false,
            cases: sizes().map(case).collect(),
        }
    };
    vec![series("1"), series("16")]
}

/// Measures one round on a new node, to which nobody has connected before.
fn measure(case: &mut Case, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let needed_kib = u64::from(case.connections) * 9 + 500_000;
    if machine::available_kib() < needed_kib {
        let connections = case.connections;
        return Err(Failure::Setup(format!(
            "{connections} connections need {needed_kib} KiB of free memory; give a smaller --largest"
        )));
    }
    let node = Server::standalone(&options.with_shards(case.shards))?;
    let mut words = case.words.clone();
    let shards = case.shards.to_string();
    let connections = case.connections.to_string();
    let target = format!("ws://{}", node.ws()?);
    let pid = node.watched().pid.to_string();
    let duration = format!("{}ms", options.round().as_millis() * 5);
    let usual = [
        ("--target", &target),
        ("--server-pid", &pid),
        ("--connections", &connections),
        ("--shards", &shards),
        ("--duration", &duration),
        // The first messages of 100,000 boxes take a while in a closed loop.
        ("--settle", &"60s".to_owned()),
    ];
    for (name, value) in usual {
        words.extend([name.to_owned(), value.clone()]);
    }
    let limit = Duration::from_secs(600 + u64::from(case.connections) / 500);
    let run = generator::run(options, &words, limit)?;
    let server = run.server.as_ref();
    let cpu_us = server.map_or(0.0, |server| server.cpu_us_per_delivery);
    output::tell(&format!("    {cpu_us:.3} {UNIT}"));
    let what = case.words.join(" ");
    if !(cpu_us.is_finite() && cpu_us > 0.0) {
        return Err(Failure::Missing(format!("{what}: nothing was delivered")));
    }
    if run.messages.pulled > 0 {
        let (pulled, delivered) = (run.messages.pulled, run.messages.delivered);
        report.note(format!(
            "{SCENARIO}: {what}: {pulled} of {delivered} deliveries were brought by a pull"
        ));
    }
    if !run.honesty.spoiled.is_empty() {
        let (why, rate) = (run.honesty.spoiled.join("; "), run.messages.achieved_per_s);
        report.note(format!(
            "{SCENARIO}: {what}, {connections} connections: {rate:.0} messages a second, and the generator \
             was late, so the node had more to do at once than it was meant to: {why}"
        ));
    }
    case.cpu_us.push(cpu_us);
    Ok(())
}

fn tell(series: &Series, report: &mut Report) {
    let figures = series.cases.iter().map(|case| case.figure(&series.name));
    let figures: Vec<Figure> = figures.collect();
    let medians = || figures.iter().map(|figure| figure.median);
    let (least, most) = (
        medians().fold(f64::INFINITY, f64::min),
        medians().fold(0.0, f64::max),
    );
    if figures.len() > 1 {
        let what = format!("{}: largest / smallest", series.name);
        let mut flatness = Figure::new(SCENARIO, what, "×", &[most / least]);
        flatness.expected_max = Some(FLAT_MAX);
        figures.into_iter().for_each(|figure| report.add(figure));
        report.add(flatness);
    } else {
        figures.into_iter().for_each(|figure| report.add(figure));
    }
}

/// How much more connections alone make a delivery cost: each case compared with the same traffic of the
/// fewest connections on as many shards.
fn tell_beside_few(series: &Series, all: &[Series], report: &mut Report) {
    let same = all.iter().filter(|one| one.traffic == series.traffic);
    let cases: Vec<&Case> = same.flat_map(|one| &one.cases).collect();
    for case in &series.cases {
        let on_as_many = cases.iter().filter(|few| few.shards == case.shards);
        let few = on_as_many.min_by_key(|few| few.connections);
        let Some(few) = few.filter(|few| few.connections < case.connections) else {
            continue;
        };
        let ratios = case.cpu_us.iter().zip(&few.cpu_us);
        let ratios: Vec<f64> = ratios.map(|(all, few)| all / few).collect();
        let (name, size, least, shards) = (&series.name, case.size, few.connections, case.shards);
        let what = format!("{name}: {size} / {least}, both on {shards} shards");
        let mut flatness = Figure::new(SCENARIO, what, "×", &ratios);
        flatness.expected_max = Some(FLAT_MAX);
        report.add(flatness);
    }
}
