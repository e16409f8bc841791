//! `storm`: a share of all connections is cut under load, all at once or some per second, and comes back. A
//! client that was away pulls what it missed.

use super::group::disturbed;
use crate::cli::Storm;
use crate::failure::Failure;
use crate::plan::{Fault, Plan};

pub fn plan(options: &Storm) -> Result<Plan, Failure> {
    let fault = Fault::Drop {
        percent: options.drop,
        per_s: options.pace,
    };
    disturbed("storm", &options.group, "storm", Some(fault))
}
