//! The cost of the hot path, counted. Each case is a piece of work that a core does per frame, per
//! message or per session; it is defined once (`cases`) and run three ways:
//!
//! - `newim-gate` (run it by `scripts/perf-gate`) counts instructions under callgrind and allocations by
//!   an allocator that counts, and holds both against `baseline.toml`: the same work gives the same
//!   figures on a busy machine, so that a loss of 2 % is seen where wall clocks see 20 %.
//! - `cargo bench -p newim-gate` tells wall times, for people.
//!
//! Callgrind emulates one processor wherever it runs: with AVX2, without AVX-512 and SHA-NI. So the counts
//! are the same on any x86-64 machine of the last ten years, and an upgrade's SHA-1 costs more in them
//! than in life. Another compiler or C library may change them: the baseline names those that made it.
//!
//! Callgrind is run directly. gungraun would do the same, but needs a second installed binary (a minute
//! of building on each machine), and what is compared with what is our own: a committed file, a reason
//! for each change of it.
//!
//! Only pure parts are measured here (the shards, the wire, the mesh), which build without an engine
//! in a minute. System calls and submissions of the whole node: `tests/integration/budgets.rs`.

pub mod allocations;
pub mod case;
pub mod cases;
pub mod sites;
