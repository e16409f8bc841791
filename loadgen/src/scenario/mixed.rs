//! `mixed`: P2P and groups together, in the phases of a plan file.

use super::base;
use crate::cli::Mixed;
use crate::failure::Failure;
use crate::plan::{Flow, Pace, Plan, Traffic};
use crate::plan_file::PlanFile;

pub fn plan(options: &Mixed) -> Result<Plan, Failure> {
    let common = &options.common;
    let file = PlanFile::read(&options.plan)?;
    let mut plan = base("mixed", common)?;
    plan.members_per_box = Some(file.members);
    let idle = Pace::Open { per_s: 0.0 };
    let group = Traffic::Group {
        senders_per_box: file.senders,
    };
    let p2p = Traffic::P2p {
        senders: file.pairs.unwrap_or(u32::MAX),
    };
    plan.flows = [p2p, group]
        .map(|traffic| Flow {
            traffic,
            pace: idle,
        })
        .into();
    plan.phases = file.phases()?;
    if let Some(per_s) = file.ramp_per_s() {
        plan.ramp.per_s = per_s;
    }
    Ok(plan)
}
