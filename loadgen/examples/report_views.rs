//! Shows every view of a report from its JSON: `report_views REPORT.json PAGE.html` writes the page and
//! prints the table. So a change of either can be looked at without a run.

use std::process::ExitCode;

use newim_loadgen::output;
use newim_loadgen::report::{html, json, table};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        output::tell("usage: report_views REPORT.json PAGE.html");
        return ExitCode::FAILURE;
    };
    match show(from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            output::tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn show(from: &str, to: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(from).map_err(|error| format!("{from}: {error}"))?;
    let report = json::read(&text).map_err(|error| format!("{from}: {error}"))?;
    std::fs::write(to, html::render(&report)).map_err(|error| format!("{to}: {error}"))?;
    output::print(&table::render(&report)).map_err(|error| error.to_string())
}
