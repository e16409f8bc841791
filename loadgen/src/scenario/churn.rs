//! `churn`: members quit their box, disconnect, come back and join, all through the measured time. Nothing
//! of a box may reach a client that has quit it.

use super::group::disturbed;
use crate::cli::Churn;
use crate::failure::Failure;
use crate::plan::{Fault, Plan};

pub fn plan(options: &Churn) -> Result<Plan, Failure> {
    let fault = Fault::Churn {
        per_s: options.leaving,
    };
    disturbed("churn", &options.group, "churn", Some(fault))
}
