//! `slow`: a share of all members reads slowly, or nothing until the end. The others must not notice, and
//! the slow ones must have everything once they read on.

use super::group::disturbed;
use crate::cli::Slow;
use crate::failure::Failure;
use crate::plan::{Fault, Plan};

pub fn plan(options: &Slow) -> Result<Plan, Failure> {
    let fault = Fault::Slow {
        percent: options.slow,
        bytes_per_s: options.read_rate,
    };
    disturbed("slow", &options.group, "slow", Some(fault))
}
