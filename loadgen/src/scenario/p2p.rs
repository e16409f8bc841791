//! `p2p`: pairs of users; each even user sends to the odd user after it.

use super::{base, members, pace, steady};
use crate::cli::P2p;
use crate::failure::Failure;
use crate::plan::{Flow, Pace, Plan, Traffic};

pub fn plan(options: &P2p) -> Result<Plan, Failure> {
    let common = &options.common;
    let flow = Flow {
        traffic: Traffic::P2p {
            senders: options.senders.unwrap_or(u32::MAX),
        },
        pace: pace(common, Pace::Open { per_s: 1000.0 }),
    };
    Ok(Plan {
        members_per_box: members(&options.boxes, common.connections),
        flows: vec![flow],
        phases: steady(common, flow, "hold", None),
        ..base("p2p", common)?
    })
}
