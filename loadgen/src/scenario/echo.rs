//! `echo`: every client sends to itself, through NewIM's `/echo` or any server that sends back what it
//! gets.

use super::{base, pace, steady};
use crate::cli::Echo;
use crate::failure::Failure;
use crate::plan::{Dialect, Flow, Pace, Plan, Traffic};

pub fn plan(options: &Echo) -> Result<Plan, Failure> {
    let common = &options.common;
    let flow = Flow {
        traffic: Traffic::Echo,
        pace: pace(common, Pace::Closed { in_flight: 1 }),
    };
    Ok(Plan {
        dialect: Dialect::Echo,
        flows: vec![flow],
        phases: steady(common, flow, "hold", None),
        ..base("echo", common)?
    })
}
