//! What combining waiting frames into one send saves, and that it costs no time where nothing waits: a node
//! as it is, compared with one that sends each frame by itself, in turns.

use crate::failure::Failure;
use crate::generator;
use crate::limits::{COALESCING_RUN_MAX, SLOWER_MAX, SPOILED_TRIES_MAX};
use crate::options::Options;
use crate::report::{Figure, Report};
use crate::servers::Server;

const SCENARIO: &str = "coalescing";
/// Traffic so low that two frames hardly ever wait for one client.
const SELDOM: [&str; 5] = ["p2p", "--connections", "100", "--rate", "200"];
/// One sender with many messages in flight, so that frames pile up for everybody.
const OFTEN: [&str; 7] = [
    "group",
    "--connections",
    "1000",
    "--members",
    "1000",
    "--closed-loop",
    "16",
];

struct Turn {
    name: &'static str,
    node: Server,
    /// Figures by round.
    median_us: Vec<f64>,
    cpu_us: Vec<f64>,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let turn = |name, node| Turn {
        name,
        node,
        median_us: Vec::new(),
        cpu_us: Vec::new(),
    };
    let mut turns = [
        turn("combined", Server::standalone(options)?),
        turn(
            "one by one",
            Server::standalone(&options.with_single_frames())?,
        ),
    ];
    for _ in 0..options.rounds() {
        for turn in &mut turns {
            turn.measure(options)?;
        }
    }
    let ratios = |of: fn(&Turn) -> &Vec<f64>| -> Vec<f64> {
        let rounds = of(&turns[0]).iter().zip(of(&turns[1]));
        rounds.map(|(together, single)| together / single).collect()
    };
    let (slower, dearer) = (ratios(|turn| &turn.median_us), ratios(|turn| &turn.cpu_us));
    for turn in &turns {
        let what = format!("200 messages per second, {}: delivery, p50", turn.name);
        report.add(Figure::new(SCENARIO, what, "µs", &turn.median_us));
        let what = format!("box of 1000, 16 in flight, {}", turn.name);
        report.add(Figure::new(
            SCENARIO,
            what,
            "µs CPU per delivery",
            &turn.cpu_us,
        ));
    }
    let what = "200 messages per second: p50, combined / one by one";
    let mut figure = Figure::new(SCENARIO, what, "×", &slower);
    figure.expected_max = Some(SLOWER_MAX);
    report.add(figure);
    let what = "box of 1000, 16 in flight: CPU, combined / one by one";
    report.add(Figure::new(SCENARIO, what, "×", &dearer));
    Ok(())
}

impl Turn {
    fn measure(&mut self, options: &Options) -> Result<(), Failure> {
        let median_us = self.unspoiled_median_us(options)?;
        self.median_us.push(median_us);
        let often = generator::run(options, &self.words(&OFTEN, options)?, COALESCING_RUN_MAX)?;
        let server = often.server.as_ref();
        self.cpu_us
            .push(server.map_or(0.0, |server| server.cpu_us_per_delivery));
        Ok(())
    }

    /// Runs again when the generator itself was late: such a run says nothing about the server.
    fn unspoiled_median_us(&self, options: &Options) -> Result<f64, Failure> {
        let mut spoiled = String::new();
        for _ in 0..SPOILED_TRIES_MAX {
            let seldom =
                generator::run(options, &self.words(&SELDOM, options)?, COALESCING_RUN_MAX)?;
            let delivery = seldom.latencies.iter().find(|l| l.name == "delivery");
            match delivery {
                Some(latency) if seldom.honesty.spoiled.is_empty() => {
                    return Ok(latency.corrected_us.value_at_quantile(0.5) as f64);
                }
                _ => spoiled = seldom.honesty.spoiled.join("; "),
            }
        }
        Err(Failure::Setup(format!(
            "the generator itself was late in {SPOILED_TRIES_MAX} runs: {spoiled}"
        )))
    }

    fn words(&self, load: &[&str], options: &Options) -> Result<Vec<String>, Failure> {
        let target = format!("ws://{}", self.node.ws()?);
        let pid = self.node.watched().pid.to_string();
        let duration = format!("{}ms", options.round().as_millis());
        let usual = [
            "--target",
            &target,
            "--server-pid",
            &pid,
            "--duration",
            &duration,
        ];
        let words = load.iter().copied().chain(usual);
        Ok(words.map(str::to_owned).collect())
    }
}
