//! Reports for the tests of this folder: one like that of a real run, and arbitrary ones.

use hdrhistogram::Histogram;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

pub fn histogram(values_us: impl IntoIterator<Item = u64>) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000, 3).expect("the engine's bounds");
    for us in values_us {
        histogram.saturating_record(us);
    }
    histogram
}

pub fn latency(name: &str, values_us: impl Iterator<Item = u64> + Clone) -> Latency {
    Latency {
        name: name.to_owned(),
        corrected_us: histogram(values_us.clone()),
        raw_us: histogram(values_us.map(|us| us / 2)),
    }
}

/// A report of a run in which nothing happened.
pub fn empty() -> Report {
    Report {
        version: "0.1.0".to_owned(),
        command: vec!["newim-loadgen".to_owned()],
        scenario: "idle".to_owned(),
        targets: Vec::new(),
        started_unix_ms: 1_795_426_200_000,
        duration_ms: 0,
        machine: Machine::default(),
        processes: 1,
        shards: 1,
        connections: Connections::default(),
        messages: Messages::default(),
        latencies: Vec::new(),
        verified: Verified::default(),
        honesty: Honesty::default(),
        samples: Vec::new(),
        phases: Vec::new(),
        server: None,
        missing: Vec::new(),
    }
}

/// A good run of a minute with 10,000 deliveries of 1 to 10,000 µs.
pub fn report() -> Report {
    Report {
        command: ["newim-loadgen", "group", "--connections", "1000"]
            .map(str::to_owned)
            .to_vec(),
        scenario: "group".to_owned(),
        targets: vec!["ws://127.0.0.1:8180".to_owned()],
        duration_ms: 60_000,
        machine: Machine {
            kernel: "Linux 6.18.0".to_owned(),
            cpu: "Intel Xeon".to_owned(),
            cores: 2,
            memory_bytes: 24_000_000_000,
        },
        shards: 4,
        connections: Connections {
            asked: 1000,
            opened: 1000,
            handshakes_per_s: 21_400.0,
            ..Connections::default()
        },
        messages: Messages {
            offered_per_s: 170.0,
            achieved_per_s: 166.7,
            sent: 10_000,
            acknowledged: 10_000,
            delivered: 10_000,
            bytes_out: 1_280_000,
            bytes_in: 12_800_000,
            ..Messages::default()
        },
        latencies: vec![
            latency("delivery", 1..=10_000),
            latency("ack", (1..=10_000).map(|us| us / 10 + 1)),
        ],
        verified: Verified {
            checked: 10_000,
            ..Verified::default()
        },
        honesty: Honesty {
            send_lag_p99_us: 40,
            send_lag_max_us: 1200,
            busiest_shard_cpu: 0.43,
            cpu: 0.8,
            spoiled: Vec::new(),
        },
        samples: (1..=60).map(sample).collect(),
        phases: vec![phase("ramp", 0, 10_000), phase("hold", 10_000, 60_000)],
        server: Some(Server {
            bytes_per_conn: [("user", 256.0), ("kernel", 3860.0), ("total", 4116.0)]
                .map(|(part, bytes)| (part.to_owned(), bytes))
                .to_vec(),
            cpu_s: 12.3,
            cpu_us_per_delivery: 2.05,
        }),
        ..empty()
    }
}

pub fn phase(name: &str, from_ms: u64, to_ms: u64) -> Phase {
    Phase {
        name: name.to_owned(),
        from_ms,
        to_ms,
    }
}

fn sample(second: u64) -> Sample {
    Sample {
        at_ms: second * 1000,
        phase: if second <= 10 { "ramp" } else { "hold" }.to_owned(),
        connections: (second * 100).min(1000),
        enrolled: 0,
        offered_per_s: if second <= 10 { 0.0 } else { 170.0 },
        sent_per_s: if second <= 10 {
            0.0
        } else {
            160.0 + (second % 7) as f64
        },
        delivered_per_s: if second <= 10 {
            0.0
        } else {
            160.0 + (second % 5) as f64
        },
        p50_us: 5000 + second,
        p99_us: 9900 + 10 * second,
        p999_us: 9990 + 10 * second,
        max_us: 10_000 + 100 * (second % 13),
        errors: 0,
        cpu: 0.8,
        rss_bytes: 20_000_000 + second * 10_000,
        server_rss_bytes: Some(30_000_000 + second * 100_000),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        ".{0,12}",
        Just("</script><b>\"'&\u{1b}[2J".to_owned())
    ]
}

fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..1e9, 1 => Just(0.0), 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)]
}

prop_compose! {
    fn any_sample()(
        at_ms in 0..100_000_u64, phase in text(), count in 0..10_000_000_u64, rates in vec(figure(), 4),
        times in vec(0..60_000_000_u64, 4), server in proptest::option::of(0..u64::MAX / 1_000_000),
    ) -> Sample {
        Sample {
            at_ms, phase, connections: count, enrolled: count / 3, offered_per_s: rates[0], sent_per_s: rates[1],
            delivered_per_s: rates[2], p50_us: times[0], p99_us: times[1], p999_us: times[2],
            max_us: times[3], errors: count / 7, cpu: rates[3], rss_bytes: count * 100,
            server_rss_bytes: server,
        }
    }
}

prop_compose! {
    fn any_latency()(
        name in prop_oneof![Just("delivery".to_owned()), Just("ack".to_owned()), text()],
        corrected in vec(0..100_000_000_u64, 0..50), raw in vec(0..100_000_000_u64, 0..50),
    ) -> Latency {
        Latency { name, corrected_us: histogram(corrected), raw_us: histogram(raw) }
    }
}

prop_compose! {
    fn counted()(counts in vec(0..1_000_000_000_000_u64, 16), figures in vec(figure(), 6), words in vec(text(), 0..4))
        -> (Connections, Messages, Verified, Honesty)
    {
        let connections = Connections {
            asked: counts[0], opened: counts[1], refused: counts[2], lost: counts[3], reconnects: counts[4],
            handshakes_per_s: figures[0],
        };
        let messages = Messages {
            offered_per_s: figures[1], achieved_per_s: figures[2], sent: counts[5], acknowledged: counts[6],
            delivered: counts[7], pulled: counts[8], bytes_out: counts[9], bytes_in: counts[10],
            refused: counts[11], refusals: words.clone(),
        };
        let verified = Verified {
            checked: counts[12], lost: counts[13], duplicated: counts[14], misordered: counts[15],
            corrupted: counts[0], strayed: counts[1], examples: words.clone(),
        };
        let honesty = Honesty {
            send_lag_p99_us: counts[2], send_lag_max_us: counts[3], busiest_shard_cpu: figures[3],
            cpu: figures[4], spoiled: words,
        };
        (connections, messages, verified, honesty)
    }
}

prop_compose! {
    /// An arbitrary report, sensible or not, with hostile texts.
    pub fn any_report()(
        (connections, messages, verified, honesty) in counted(), command in vec(text(), 0..4),
        targets in vec(text(), 0..3), scenario in text(), started_unix_ms in 1_795_426_200_000..1_795_426_260_000_u64,
        duration_ms in 0..1_000_000_u64, processes in 0..100_u32, mut samples in vec(any_sample(), 0..20),
        latencies in vec(any_latency(), 0..4), parts in proptest::option::of(vec((text(), figure()), 0..4)),
        phases in vec((text(), 0..100_000_u64, 0..100_000_u64), 0..4),
    ) -> Report {
        samples.sort_by_key(|sample| sample.at_ms);
        Report {
            command, targets, scenario, started_unix_ms, duration_ms, processes, shards: processes * 2,
            connections, messages, verified, honesty, samples, latencies,
            phases: phases.into_iter().map(|(name, from_ms, to_ms)| phase(&name, from_ms, to_ms)).collect(),
            server: parts.map(|bytes_per_conn| Server { bytes_per_conn, cpu_s: 1.5, cpu_us_per_delivery: f64::NAN }),
            ..empty()
        }
    }
}

/// Text that doesn't deflate to less than three quarters of its size.
pub fn noise(bytes: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64; // xorshift: the same in every run
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state % 64) as u8)
    };
    (0..bytes).map(letter).collect()
}
