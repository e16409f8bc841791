//! Bounds of a chart.

/// Columns with a tooltip in one drawing. More would be narrower than a pointer can aim.
pub const HOVER_COLUMNS_MAX: usize = 60;

/// Round values written at a vertical axis, at most; each has a line of the grid.
pub const VERTICAL_TICKS_MAX: usize = 5;
