//! `broadcast`: one box with everyone in it, the users of other generators included.

use super::{base, pace, steady};
use crate::cli::Broadcast;
use crate::failure::Failure;
use crate::plan::{Flow, Pace, Plan, Traffic};

pub fn plan(options: &Broadcast) -> Result<Plan, Failure> {
    let common = &options.common;
    let flow = Flow {
        traffic: Traffic::Group {
            senders_per_box: options.senders,
        },
        pace: pace(common, Pace::Open { per_s: 1.0 }),
    };
    Ok(Plan {
        members_per_box: Some(u32::MAX),
        flows: vec![flow],
        phases: steady(common, flow, "hold", None),
        ..base("broadcast", common)?
    })
}
