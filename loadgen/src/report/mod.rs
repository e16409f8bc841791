//! The result of a run, and every way to show it. All of it runs on the main thread, away from the shards:
//! `live` while the run goes on; at its end `table` and `html` for people, `json` for programs,
//! `assertions` for pipelines. `together` starts several processes at one moment and collects their reports
//! in one of them, which adds them up with `merge`.

pub mod assertions;
pub mod data;
mod figures;
pub mod html;
pub mod json;
pub mod live;
mod merge;
pub mod plain;
#[cfg(test)]
mod samples;
pub mod table;
pub mod together;

pub use data::*;
pub use merge::merge;
