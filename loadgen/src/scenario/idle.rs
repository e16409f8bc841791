//! `idle`: sessions that send nothing but heartbeats.

use super::{base, members};
use crate::cli::Idle;
use crate::failure::Failure;
use crate::plan::{Phase, Plan};

pub fn plan(options: &Idle) -> Result<Plan, Failure> {
    let common = &options.common;
    Ok(Plan {
        members_per_box: members(&options.boxes, common.connections),
        phases: vec![Phase {
            name: "hold".into(),
            duration: options.hold.unwrap_or(common.duration),
            is_measured: true,
            paces: Vec::new(),
            fault: None,
            until_settled: false,
        }],
        ..base("idle", common)?
    })
}
