//! The cost of the hot path, counted. Each case is a piece of work that a core does per frame, per message
//! or per session. It is defined once (`cases`) and used in two ways:
//!
//! - `newim-gate` (run by `scripts/perf-gate`) counts instructions under callgrind and allocations with a
//!   counting allocator, and compares both with `baseline.toml`. The same work gives the same figures on a
//!   busy machine, so a loss of 2 % shows where wall clocks show 20 %.
//! - `cargo bench -p newim-gate` measures wall times, for people.
//!
//! Callgrind emulates one processor wherever it runs: with AVX2, without AVX-512 and SHA-NI. So the counts
//! are the same on any x86-64 machine of the last ten years, and an upgrade's SHA-1 costs more in them than
//! in reality. Another compiler or C library may change them: the baseline names those that made it.
//!
//! Callgrind is run directly. gungraun would do the same, but needs a second installed binary (a minute of
//! building on each machine), and what the figures are compared with is our own: a committed file, with a
//! reason for each change.
//!
//! Only pure parts are measured here (the shards, the wire, the mesh), which build without an engine in a
//! minute. System calls and submissions of the whole node are counted by `tests/integration/budgets.rs`.

pub mod allocations;
pub mod case;
pub mod cases;
pub mod limits;
pub mod sites;
