//! Makes a checked plan of the command line, before any connection opens. Each scenario has a file: who is
//! in which box, who sends, and in which phases. Main thread.

mod broadcast;
mod churn;
mod echo;
mod group;
mod idle;
mod mixed;
mod p2p;
mod slow;
mod storm;

use std::time::Duration;

use crate::cli::{Boxes, Command, Common};
use crate::failure::Failure;
use crate::hash::mix;
use crate::machine;
use crate::names::Names;
use crate::plan::{Dialect, Fault, Flow, Pace, Phase, Plan, Ramp, Traffic};
use crate::sources::Sources;
use crate::target::Target;

/// The plan that a command asks for. Errors: options that contradict each other or ask for too much. Panics
/// if the command is not a scenario.
pub fn plan(command: &Command) -> Result<Plan, Failure> {
    let plan = match command {
        Command::Idle(options) => idle::plan(options),
        Command::Echo(options) => echo::plan(options),
        Command::P2p(options) => p2p::plan(options),
        Command::Group(options) => group::plan(options),
        Command::Broadcast(options) => broadcast::plan(options),
        Command::Storm(options) => storm::plan(options),
        Command::Churn(options) => churn::plan(options),
        Command::Slow(options) => slow::plan(options),
        Command::Mixed(options) => mixed::plan(options),
        Command::Completions { .. } => unreachable!("answered without a plan"),
    }?;
    check(&plan)?;
    Ok(plan)
}

/// The plan without what a scenario adds: nobody is in a box, nobody sends, nothing is disturbed.
fn base(scenario: &'static str, common: &Common) -> Result<Plan, Failure> {
    let mut targets = Vec::new();
    for url in &common.target {
        let mut target = Target::parse(url)?;
        target.is_raw |= common.raw;
        targets.push(target);
    }
    let first = &targets[0];
    let users = common.first_user.checked_add(common.connections);
    let users = users.ok_or_else(|| {
        Failure::Option("--first-user is too high: the last user's number must fit 32 bits".into())
    })?;
    let sources = match &common.sources {
        Some(text) => Sources::parse(text, common.connections)?,
        None => Sources::fitting(first.address.ip()),
    };
    let run_id = run_id(common, users);
    // Names stay within 23 bytes: a server keeps such names without a heap block for each.
    let own_prefix = || format!("lg{:06x}-", run_id & 0xff_ffff);
    let prefix = common.users_prefix.clone().unwrap_or_else(own_prefix);
    Ok(Plan {
        scenario,
        dialect: dialect(&targets, common),
        targets,
        connections: common.connections,
        first_user: common.first_user,
        names: Names::new(&prefix),
        run_id,
        members_per_box: None,
        is_enrolled: common.enrolled,
        flows: Vec::new(),
        payload_bytes: common.payload,
        arrivals: common.arrivals,
        shards: shards(common)?,
        ramp: Ramp {
            per_s: common.ramp,
            opening_max: common.opening_max,
        },
        sources,
        heartbeat: Some(common.heartbeat).filter(|every| !every.is_zero()),
        phases: Vec::new(),
        settle: common.settle,
        seed: common.seed,
    })
}

fn dialect(targets: &[Target], common: &Common) -> Dialect {
    match targets.iter().any(|target| target.is_raw) {
        true => Dialect::Echo,
        false if common.v1 => Dialect::V1,
        false => Dialect::V2,
    }
}

/// Number of the run. Generators that run together derive the same from the run's name; all others differ.
fn run_id(common: &Common, users: u32) -> u32 {
    let id = match &common.run {
        Some(name) => mix(&name.bytes().map(u64::from).collect::<Vec<_>>()),
        None => mix(&[
            machine::monotonic_us(),
            std::process::id().into(),
            users.into(),
        ]),
    };
    id as u32
}

/// Number of shards that the limit on descriptors asks for.
fn shards(common: &Common) -> Result<u16, Failure> {
    let each = machine::conns_per_shard_max();
    let needed = common.connections.div_ceil(each).max(1);
    let shards = common.shards.map_or(needed, u32::from);
    if shards < needed || needed > u32::from(newim_proto::limits::SHARDS_MAX) {
        return Err(Failure::Option(format!(
            "{} connections need {needed} shards, because the limit of open files (`ulimit -Hn`) leaves {each} connections to each",
            common.connections
        )));
    }
    Ok(shards as u16)
}

/// The pace by the options: closed loop, the given rate, or the scenario's own.
fn pace(common: &Common, default: Pace) -> Pace {
    match (common.closed_loop, common.rate) {
        (Some(in_flight), _) => Pace::Closed { in_flight },
        (None, Some(per_s)) => Pace::Open { per_s },
        (None, None) => default,
    }
}

fn members(boxes: &Boxes, connections: u32) -> Option<u32> {
    match (boxes.members, boxes.boxes) {
        (Some(members), _) => Some(members),
        (None, Some(count)) => Some(connections.div_ceil(count)),
        (None, None) => None,
    }
}

/// The phases of one flow: the warm-up, which is not measured, then the measured time.
fn steady(common: &Common, flow: Flow, name: &str, fault: Option<Fault>) -> Vec<Phase> {
    let phase = |name: &str, duration: Duration, fault: Option<Fault>| Phase {
        name: name.to_owned(),
        duration,
        is_measured: false,
        paces: vec![flow.pace],
        fault,
        until_settled: false,
    };
    let mut phases = Vec::new();
    if !common.warm_up.is_zero() {
        phases.push(phase("warm-up", common.warm_up, None));
    }
    phases.push(Phase {
        is_measured: true,
        ..phase(name, common.duration, fault)
    });
    phases
}

/// Refuses what can be known to fail before it is tried.
fn check(plan: &Plan) -> Result<(), Failure> {
    let wrong = |why: &str| Err(Failure::Option(why.to_owned()));
    let speaks_echo = plan.flows.iter().any(|flow| flow.traffic == Traffic::Echo);
    if plan.targets.iter().any(|target| target.is_raw) {
        if !plan.targets.iter().all(|target| target.is_raw) {
            return wrong("either all targets are raw or none is");
        }
        if !speaks_echo && plan.scenario != "idle" {
            return wrong("a raw target works with `echo` and `idle` only");
        }
    }
    for flow in &plan.flows {
        let senders = plan.senders_in(flow.traffic, 0..plan.connections);
        if senders == 0 {
            return wrong("nobody would send; a pair needs two connections, a box one");
        }
        let paces = plan.phases.iter().flat_map(|phase| &phase.paces);
        if paces
            .clone()
            .any(|pace| matches!(pace, Pace::Open { per_s } if *per_s == 0.0))
            && plan.scenario != "mixed"
        {
            return wrong("with --rate 0 nothing is sent");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    fn plan_of(line: &str) -> Result<Plan, Failure> {
        let words = ["newim-loadgen"].into_iter().chain(line.split(' '));
        plan(
            &Cli::try_parse_from(words)
                .expect("a line that parses")
                .command,
        )
    }

    fn refusal(line: &str) -> String {
        plan_of(line).expect_err("a plan that can't be").to_string()
    }

    #[test]
    fn every_scenario_makes_a_plan() {
        let names = [
            "idle",
            "echo",
            "p2p",
            "group",
            "broadcast",
            "storm",
            "churn",
            "slow",
        ];
        for name in names {
            let plan = plan_of(&format!("{name} -t ws://127.0.0.1:1 -c 100")).unwrap();
            assert_eq!((plan.scenario, plan.connections), (name, 100));
            assert!(!plan.phases.is_empty(), "{name}");
            let fits = plan
                .phases
                .iter()
                .all(|p| p.paces.len() == plan.flows.len());
            assert!(fits, "{name}: one pace for each flow");
        }
    }

    #[test]
    fn contradictions_are_named() {
        assert!(refusal("group -t raw:ws://127.0.0.1:1").contains("raw target"));
        assert!(
            refusal("echo -t raw:ws://127.0.0.1:1,ws://127.0.0.1:2")
                .contains("all targets are raw")
        );
        assert!(refusal("p2p -t ws://127.0.0.1:1 -c 1").contains("two connections"));
        assert!(refusal("echo -t ws://127.0.0.1:1 --rate 0").contains("nothing is sent"));
        assert!(refusal("idle -t ws://127.0.0.1:1 -c 50000000").contains("shards"));
    }

    #[test]
    fn a_million_connections_get_the_shards_that_descriptors_need() {
        let plan = plan_of("idle -t ws://127.0.0.1:1 -c 1000000").unwrap();
        let each = machine::conns_per_shard_max();
        assert!(u64::from(plan.shards) * u64::from(each) >= 1_000_000);
    }
}
