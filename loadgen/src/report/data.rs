//! What a run found, as values: filled by the run, merged across processes, and shown by the other files
//! of this folder. Lives on the main thread. Times in microseconds where a name ends in `_us`.

use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::json::fields;

/// One run, of one process or of several merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub version: String,
    /// The command line, of the first process.
    pub command: Vec<String>,
    pub scenario: String,
    pub targets: Vec<String>,
    pub started_unix_ms: u64,
    /// From the first connect to the last message heard.
    pub duration_ms: u64,
    pub machine: Machine,
    pub processes: u32,
    pub shards: u32,
    pub connections: Connections,
    pub messages: Messages,
    pub latencies: Vec<Latency>,
    pub verified: Verified,
    pub honesty: Honesty,
    /// In order of time; once a second.
    pub samples: Vec<Sample>,
    pub phases: Vec<Phase>,
    /// None: no `--admin` was given, so nothing is known of the server's inside.
    pub server: Option<Server>,
    /// Processes that should be in here and are not, in words. Empty: this is the whole run.
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
    /// Ended by the server or the network, unasked.
    pub lost: u64,
    pub reconnects: u64,
    /// Over the time from the first connect to the last upgrade.
    #[serde(with = "fields::number")]
    pub handshakes_per_s: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// Per second, as the schedule had it; 0 in a closed loop.
    #[serde(with = "fields::number")]
    pub offered_per_s: f64,
    /// Per second, as they were sent.
    #[serde(with = "fields::number")]
    pub achieved_per_s: f64,
    pub sent: u64,
    /// Acknowledged by the server; echoes where the scenario is echo.
    pub acknowledged: u64,
    /// Messages at clients.
    pub delivered: u64,
    /// Of these, those that came while a pull was on its way: what it brought, and pushes meanwhile.
    pub pulled: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Requests that the server refused with an error, and the first few of them in words.
    pub refused: u64,
    pub refusals: Vec<String>,
}

/// One kind of latency. `corrected` runs from the intended send, `raw` from the actual one; in a closed
/// loop there is no intention and both are the same.
#[derive(Clone, Serialize, Deserialize)]
pub struct Latency {
    /// "delivery", "ack", "echo", "handshake" (TCP and upgrade together). Where a run has deliveries of both
    /// kinds, "direct" (from person to person) and "group" are parts of "delivery".
    pub name: String,
    #[serde(rename = "corrected", with = "fields::histogram")]
    pub corrected_us: Histogram<u64>,
    #[serde(rename = "raw", with = "fields::histogram")]
    pub raw_us: Histogram<u64>,
}

/// Without its thousands of buckets.
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

/// What the clients checked. All zeros but `checked`: every message came once, whole and in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Verified {
    pub checked: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub misordered: u64,
    pub corrupted: u64,
    /// To somebody who should not have had it.
    pub strayed: u64,
    /// The first few, in words.
    pub examples: Vec<String>,
}

impl Verified {
    pub fn wrong(&self) -> u64 {
        self.lost + self.duplicated + self.misordered + self.corrupted + self.strayed
    }
}

/// What the generator did to its own figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Honesty {
    /// How late sends left against the schedule.
    pub send_lag_p99_us: u64,
    pub send_lag_max_us: u64,
    /// Of one core, the busiest shard's thread, over the measured time: 1.0 is all of it.
    #[serde(with = "fields::number")]
    pub busiest_shard_cpu: f64,
    /// Of the whole process, in cores.
    #[serde(with = "fields::number")]
    pub cpu: f64,
    /// Why the latencies are not to be believed. Empty: they are.
    pub spoiled: Vec<String>,
}

/// The phase before the ramp in which users are made members of large boxes.
pub const ENROL: &str = "enrol";

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// From the start of the run.
    pub at_ms: u64,
    pub phase: String,
    pub connections: u64,
    /// Users who were made members of their boxes before the ramp.
    pub enrolled: u64,
    #[serde(with = "fields::number")]
    pub offered_per_s: f64,
    #[serde(with = "fields::number")]
    pub sent_per_s: f64,
    #[serde(with = "fields::number")]
    pub delivered_per_s: f64,
    /// Delivery (or echo) latency within this second, corrected.
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
    /// Of the run so far: refused and lost connections, refused requests, wrong messages.
    pub errors: u64,
    /// Of this process in this second, in cores.
    #[serde(with = "fields::number")]
    pub cpu: f64,
    pub rss_bytes: u64,
    /// The server's user memory, where `--admin` or `--server-pid` tells it.
    pub server_rss_bytes: Option<u64>,
}

/// A part of a run with a name, for the plots' background and the table.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Phase {
    pub name: String,
    pub from_ms: u64,
    pub to_ms: u64,
}

/// The server, as its own admin address or `/proc` tells it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Bytes for each connection at the end of the ramp, by part ("user", "kernel", …), in the order to
    /// be shown; "total" last.
    #[serde(with = "fields::parts")]
    pub bytes_per_conn: Vec<(String, f64)>,
    /// CPU seconds that the server's processes used during the measured time.
    #[serde(with = "fields::number")]
    pub cpu_s: f64,
    /// The same for each delivered message, in microseconds.
    #[serde(with = "fields::number")]
    pub cpu_us_per_delivery: f64,
}
