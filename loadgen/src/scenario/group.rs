//! `group`: boxes with members, the first few of which send to all. `storm`, `churn` and `slow` disturb
//! this traffic.

use super::{base, members, pace, steady};
use crate::cli::Group;
use crate::failure::Failure;
use crate::plan::{Fault, Flow, Pace, Plan, Traffic};

const MEMBERS_DEFAULT: u32 = 10;

pub fn plan(options: &Group) -> Result<Plan, Failure> {
    disturbed("group", options, "hold", None)
}

/// The plan of `group`, with a fault while it is measured.
pub fn disturbed(
    scenario: &'static str,
    options: &Group,
    name: &str,
    fault: Option<Fault>,
) -> Result<Plan, Failure> {
    let common = &options.common;
    let flow = Flow {
        traffic: Traffic::Group {
            senders_per_box: options.senders,
        },
        pace: pace(common, Pace::Open { per_s: 100.0 }),
    };
    let given = members(&options.boxes, common.connections);
    Ok(Plan {
        members_per_box: given.or(Some(MEMBERS_DEFAULT)),
        flows: vec![flow],
        phases: steady(common, flow, name, fault),
        ..base(scenario, common)?
    })
}
