//! `newim-gate-measured CASE [FAULT]`: runs one case and prints nothing. `newim-gate` starts it under
//! callgrind. It is a binary of its own with the product's allocator, because the work of counting
//! allocations would be counted.

use std::process::ExitCode;

use newim_gate::case::Plant;
use newim_gate::cases;

#[global_allocator]
static ALLOCATOR: newim_runtime::Allocator = newim_runtime::Allocator;

const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().and_then(|name| cases::by_name(&name));
    let plant = arguments.next().map(|text| text.parse::<Plant>());
    match (case, plant.transpose()) {
        (Some(case), Ok(plant)) => {
            case.warm(plant).run();
            ExitCode::SUCCESS
        }
        (None, _) => {
            eprintln!(
                "usage: newim-gate-measured CASE [FAULT], with a case of `newim-gate --list`"
            );
            ExitCode::from(WRONG_USAGE)
        }
        (_, Err(why)) => {
            eprintln!("the fault {why}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}
