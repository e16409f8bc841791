//! What a run found, and every way to show it. All of it lives on the main thread, away from the shards:
//! `live` while the run goes on, and at its end `table` for people, `json` for programs, `html` for both
//! eyes and archives, `assertions` for pipelines. `together` starts several processes at one moment and
//! brings their reports to one of them, which adds them up with `merge`.

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
