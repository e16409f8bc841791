//! Bounds of the gate: how far a figure may move, and how much it keeps and shows.

/// Instructions as a ratio to the baseline. Above it the case fails.
pub const SLOWER_RATIO_MAX: f64 = 1.02;
/// The same ratio where another compiler made the baseline: the same source may cost a little more or
/// less there, so only what is plain counts as a loss.
pub const SLOWER_BY_ANOTHER_RATIO_MAX: f64 = 1.10;
/// Instructions as a ratio to the baseline, at or below which the case is better. The baseline is to be
/// updated then, or the gain could be lost unnoticed.
pub const BETTER_RATIO_MAX: f64 = 0.98;
/// Reasons of updates that the baseline keeps, the newest first; older ones are dropped.
pub const REASONS_MAX: usize = 12;
/// Callers that `--sites` shows above the line that allocates.
pub const CALLERS_MAX: usize = 2;
