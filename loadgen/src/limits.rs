//! Bounds of the generator: what it keeps, how long it waits, what its reports show.

/// Latencies in one plot by percentile; the kinds beyond are in the table alone.
pub const KINDS_MAX: usize = 4;
/// Points of a curve by percentile. Between them it is straight to the eye.
pub const PERCENTILE_POINTS_MAX: usize = 240;
/// Tenfold steps to the right in a plot by percentile: what is rarer than one in ten million is not drawn.
pub const NINES_MAX: f64 = 7.0;
/// Highest latency per median up to which the vertical axis is linear. Beyond it is logarithmic, or the
/// plot would show the tail alone.
pub const LINEAR_RATIO_MAX: f64 = 12.0;
/// Columns of a plot over time. Each has its lowest and highest sample: more than the eye can tell apart.
pub const COLUMNS_MAX: usize = 300;
/// Phases that a plot shades; later ones have no shade.
pub const BANDS_MAX: usize = 40;
/// Deliveries per send from which on the page plots them apart, as sends would lie on the floor.
pub const FAN_OUT_MIN: f64 = 4.0;
/// Examples, refusals and reasons that the page lists of each kind.
pub const WORDS_MAX: usize = 8;

/// Seconds that the live view remembers for its curves; a wider terminal shows no more.
pub const SPARKS_MAX: usize = 60;
/// Columns below which a row of the live view has no curve.
pub const SPARKS_MIN: u16 = 8;
