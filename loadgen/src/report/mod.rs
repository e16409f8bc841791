//! What a run found, and how it is shown: on the main thread, called by `show`.

pub mod data;
pub mod plain;
