//! Bounds of the generator: how much it keeps, how long it waits, when it doubts itself, and how much its
//! reports show.

use std::time::Duration;

// What a run may ask for.

/// Highest number of a core in `--cores`, plus one.
pub const CORES_MAX: usize = 1024;
/// Assertions in one `--assert`. More is a wrong file that somebody pasted, and is refused.
pub const ASSERTIONS_MAX: usize = 64;
/// Generators in one run. More is a slip of the keyboard, and is refused.
pub const PROCESSES_MAX: u32 = 1000;
/// Bytes in the name of a run that several generators share. A longer name is refused.
pub const RUN_NAME_BYTES_MAX: usize = 64;
/// Source addresses that are used of a network; on loopback, those up to 127.128.0.0.
pub const SOURCES_MAX: u32 = 1 << 22;
/// Connections from one source address: half of its ports, so that the kernel finds a free one at once,
/// and a storm's reconnects have the other half while the old connections are in TIME_WAIT.
pub const CONNS_PER_SOURCE_MAX: u32 = 14_000;

// Opening connections.

/// Members of a box up to which all join when they come online. The members of a larger box join before
/// the ramp, few at a time: every member who is online is told of a JOIN, so that a box that all join at
/// once costs the square of its size.
pub const MEMBERS_JOIN_ONLINE_MAX: u32 = 64;
/// Clients that join boxes at the same time before the ramp, on all shards together.
pub const ENROLLING_MAX: u32 = 64;
/// Bytes of an answer to an upgrade. A longer head counts as one that doesn't end, and the connection as
/// refused.
pub const UPGRADE_ANSWER_BYTES_MAX: usize = 8 * 1024;
/// First step of the pause before a client whose connection failed connects again, in milliseconds. A
/// pause is random between half of a step and all of it.
pub const RECONNECT_MS_MIN: u64 = 200;
/// Longest step of that pause.
pub const RECONNECT_MS_MAX: u64 = 10_000;
/// Time within which the ramp or the enrolment must make progress. Without any, the run fails.
pub const STALL_MAX: Duration = Duration::from_secs(30);
/// Time within which one connection of a run must open. If all were refused until then, the run fails.
pub const NOBODY_MAX: Duration = Duration::from_secs(3);

// While a run goes on.

/// Sends that a shard makes before it looks at what came in meanwhile.
pub const SENDS_PER_BATCH_MAX: usize = 1024;
/// Messages of one shard on their way. At the bound the schedule waits, and its lag tells.
pub const IN_FLIGHT_MAX: u64 = 65_536;
/// Messages of one sender on their way. A gateway stops reading from a session at 64 requests, so the
/// rest wait in sockets.
pub const IN_FLIGHT_PER_SENDER_MAX: usize = 1024;
/// Clients that `churn` looks at to find one that may leave. If none of them may, nobody leaves this time.
pub const CHURN_TRIES_MAX: u32 = 32;
/// Empty send buffers that a shard keeps for the next clients that send.
pub const SPARE_MAX: usize = 1024;
/// Capacity up to which an empty send buffer is kept; a larger one is freed.
pub const SPARE_BYTES_MAX: usize = 16 * 1024;
/// Microseconds between an order to the shards and the time at which it applies, so that all of them have
/// heard of it by then.
pub const ORDER_LEAD_US: u64 = 20_000;
/// Time for the shards to answer what needs no server.
pub const SHARDS_ANSWER_MAX: Duration = Duration::from_secs(30);
/// Time that the last check for missing messages gets, even where settling has used up its own.
pub const CHECK_MIN: Duration = Duration::from_secs(2);
/// Time for the server's admin address to answer. Without an answer its figures stay unknown.
pub const ADMIN_ANSWER_MAX: Duration = Duration::from_secs(2);
/// Bytes that are read of an answer to `/metrics`; the rest is cut off.
pub const METRICS_BYTES_MAX: u64 = 4 << 20;

// What is verified and recorded.

/// Numbers of one stream that are missing and may still come. Beyond it they count as lost at once.
pub const MISSING_MAX: usize = 65_536;
/// Positions of a box that are remembered. A member who is further behind is checked by the checksums of
/// its messages and by its mark alone.
pub const REMEMBERED_MAX: usize = 1024;
/// Longest latency that is told apart, in microseconds: ten minutes. A longer one counts as this.
pub const LATENCY_US_MAX: u64 = 600_000_000;
/// Samples in a report: one per second of a day. Later ones are shown and not kept.
pub const SAMPLES_MAX: usize = 86_400;
/// Examples in words that a process keeps of each kind of trouble.
pub const EXAMPLES_MAX: usize = 5;

// When the generator doubts its own latencies.

/// p99 of the send lag that is always allowed, in microseconds.
pub const LAG_US_ALLOWED_MIN: u64 = 1000;
/// p99 of the send lag that is allowed, as a share of the p99 latency.
pub const LAG_SHARE_MAX: f64 = 0.1;
/// CPU of the busiest shard, as a share of a core. Above it latencies are spoiled.
pub const CPU_SHARE_MAX: f64 = 0.9;
/// Achieved rate as a share of the offered one. Below it latencies are spoiled.
pub const SENT_SHARE_MIN: f64 = 0.99;

// Several generators together.

/// Milliseconds between the agreement on a start and the start: all must have heard of it by then.
pub const START_LEAD_MS: u64 = 2000;
/// Bytes of a report in one znode. ZooKeeper refuses requests above 1 MiB (`jute.maxbuffer`), and the path
/// takes some of it.
pub const PART_BYTES_MAX: usize = 900_000;
/// Parts of one report. A minute's report deflates to some 20 KB, a day's to some 5 MB; a larger one is
/// refused.
pub const PARTS_MAX: usize = 64;
/// Bytes that a report may inflate to. Beyond it is not a report of ours, and is refused.
pub const JSON_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Attempts to enter a run. Somebody who tidies up an earlier run may remove a folder just before we write
/// into it.
pub const ENTER_TRIES_MAX: usize = 5;
/// Lost connections and sessions that one end of a run survives.
pub const RECOVERIES_MAX: usize = 20;
/// Time in which a process whose session is lost may come back with another session and its report.
pub const GONE_GRACE_MAX: Duration = Duration::from_secs(2);
/// Time for the goodbye of one process to reach ZooKeeper.
pub const GOODBYE_MAX: Duration = Duration::from_secs(3);
/// Time that the collector waits for the others to leave, once a watch told them that they may.
pub const GOODBYES_MAX: Duration = Duration::from_secs(10);
/// What a process that waits to be merged waits longer than the collector waits for the slowest.
pub const COLLECTOR_MARGIN: Duration = Duration::from_secs(15);
/// Seconds without a sample up to which a process is taken to hold what it last held. After a longer
/// silence it counts as gone.
pub const GAP_S_MAX: u64 = 3;
/// Examples, refusals and reasons that a merged report keeps of each kind.
pub const WORDS_MAX: usize = 16;

// What reports show.

/// Columns of the table. Longer lines are broken.
pub const TABLE_WIDTH_MAX: usize = 80;
/// Refusals, wrong messages and reasons that the table shows of each kind; JSON has all that were kept.
pub const EXAMPLES_SHOWN_MAX: usize = 5;
/// Lines of one sentence in the table. What is longer is cut.
pub const SENTENCE_LINES_MAX: usize = 3;
/// Examples, refusals and reasons that the page lists of each kind.
pub const WORDS_SHOWN_MAX: usize = 8;
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
/// Seconds that the live view remembers for its curves; a wider terminal shows no more.
pub const SPARKS_MAX: usize = 60;
/// Columns below which a row of the live view has no curve.
pub const SPARKS_MIN: u16 = 8;
