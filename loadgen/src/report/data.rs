//! The result of a run as values: filled by the run, merged across processes, and shown by the other files
//! of this folder. Main thread. Times are microseconds where a name ends in `_us`.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::json::fields;

/// The report of one run, by one process or merged of several.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    /// Command line of the first process.
    pub command: Vec<String>,
    pub scenario: String,
    pub targets: Vec<String>,
    pub started_unix_ms: u64,
    /// Time from the first connect to the last message.
    pub duration_ms: u64,
    pub machine: Machine,
    pub processes: u32,
    pub shards: u32,
    pub connections: Connections,
    pub messages: Messages,
    pub latencies: Vec<Latency>,
    pub verified: Verified,
    pub honesty: Honesty,
    /// Samples in order of time, one per second.
    pub samples: Vec<Sample>,
    pub phases: Vec<Phase>,
    /// Figures of the server. None: neither `--admin` nor `--server-pid` was given.
    pub server: Option<Server>,
    /// Processes whose reports are missing, in words. Empty: this is the whole run.
    #[serde(default)]
    pub missing: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: u32,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Connections {
    pub asked: u64,
    pub opened: u64,
    pub refused: u64,
    /// Connections that the server or the network ended unasked.
    pub lost: u64,
    pub reconnects: u64,
    /// Connections opened per second, from the first connect to the last upgrade.
    #[serde(with = "fields::number")]
    pub handshakes_per_s: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// Messages per second by the schedule; 0 in a closed loop.
    #[serde(with = "fields::number")]
    pub offered_per_s: f64,
    /// Messages per second as they were sent.
    #[serde(with = "fields::number")]
    pub achieved_per_s: f64,
    pub sent: u64,
    /// Messages that the server acknowledged; in `echo`, those that came back.
    pub acknowledged: u64,
    /// Messages that clients received.
    pub delivered: u64,
    /// Delivered messages that came while a pull was on its way: those that it brought, and pushes
    /// meanwhile.
    pub pulled: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Requests that the server refused with an error, and the first few of them in words.
    pub refused: u64,
    pub refusals: Vec<String>,
}

/// One kind of latency. `corrected` runs from the intended send, `raw` from the actual one. In a closed
/// loop there are no intended times and both are the same.
#[derive(Clone, Serialize, Deserialize)]
pub struct Latency {
    /// "delivery", "ack", "echo" or "handshake" (TCP and upgrade together). Where a run has both kinds of
    /// deliveries, "direct" (from person to person) and "group" are parts of "delivery".
    pub name: String,
    #[serde(rename = "corrected", with = "fields::histogram")]
    pub corrected_us: Histogram<u64>,
    #[serde(rename = "raw", with = "fields::histogram")]
    pub raw_us: Histogram<u64>,
}

/// Shown without its thousands of buckets.
impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (corrected, raw) = (self.corrected_us.len(), self.raw_us.len());
        write!(
            f,
            "Latency({}, {corrected} corrected, {raw} raw)",
            self.name
        )
    }
}

/// What the clients checked. If all but `checked` are zero, every message came once, whole and in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    pub checked: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub misordered: u64,
    pub corrupted: u64,
    /// Messages that reached a client that should not have got them.
    pub strayed: u64,
    /// The first few examples, in words.
    pub examples: Vec<String>,
}

impl Verified {
    pub fn wrong(&self) -> u64 {
        self.lost + self.duplicated + self.misordered + self.corrupted + self.strayed
    }
}

/// How much the generator distorted its own figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Honesty {
    /// How late sends left, compared with the schedule.
    pub send_lag_p99_us: u64,
    pub send_lag_max_us: u64,
    /// CPU of the busiest shard's thread over the measured time, as a share of one core: 1.0 is all of it.
    #[serde(with = "fields::number")]
    pub busiest_shard_cpu: f64,
    /// CPU of the whole process over the measured time, in cores.
    #[serde(with = "fields::number")]
    pub cpu: f64,
    /// Reasons not to believe the latencies. Empty: they are good.
    pub spoiled: Vec<String>,
}

/// Name of the phase before the ramp in which users become members of large boxes.
pub const ENROL: &str = "enrol";

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Time since the start of the run.
    pub at_ms: u64,
    pub phase: String,
    pub connections: u64,
    /// Users who became members of their boxes before the ramp, so far.
    pub enrolled: u64,
    #[serde(with = "fields::number")]
    pub offered_per_s: f64,
    #[serde(with = "fields::number")]
    pub sent_per_s: f64,
    #[serde(with = "fields::number")]
    pub delivered_per_s: f64,
    /// Corrected latency of deliveries (or echoes) within this second.
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
    /// Errors of the run so far: refused and lost connections, refused requests, wrong messages.
    pub errors: u64,
    /// CPU of this process in this second, in cores.
    #[serde(with = "fields::number")]
    pub cpu: f64,
    pub rss_bytes: u64,
    /// The server's user memory. None: neither `--admin` nor `--server-pid` tells it.
    pub server_rss_bytes: Option<u64>,
}

/// A named part of a run, for charts and tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    pub name: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

/// The server's figures, from its admin address or `/proc`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Bytes per connection at the end of the ramp, by part ("user", "kernel", …) in the order to be shown;
    /// "total" is last.
    #[serde(with = "fields::parts")]
    pub bytes_per_conn: Vec<(String, f64)>,
    /// CPU seconds that the server's processes used during the measured time.
    #[serde(with = "fields::number")]
    pub cpu_s: f64,
    /// CPU of the server per delivered message, in microseconds.
    #[serde(with = "fields::number")]
    pub cpu_us_per_delivery: f64,
}
