//! Measures how many messages a second the store on disk takes, and the CPU time that one costs:
//!
//!     cargo run --release -p newim-store --example append_rate [FOLDER] [MESSAGES] [WAL_BYTES_MAX]
//!
//! Four shards keep 64 messages of 200 bytes each under way, with dedupe, into 1,000 boxes.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use newim_proto::ids::{BoxId, ClientId, ShardIndex, Uid, Uuid};
use newim_proto::log::{Append, AppendKind, Command, StoreToken};
use newim_store::embedded::{EmbeddedConfig, EmbeddedStore};

const SHARDS: u16 = 4;
const UNDER_WAY: u64 = 64;
const BOXES: u64 = 1000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(
        || std::env::temp_dir().join("newim-append-rate"),
        PathBuf::from,
    );
    let messages: u64 = arguments
        .next()
        .map_or(200_000, |number| number.parse().expect("a number"));
    let mut config = EmbeddedConfig::default();
    if let Some(bytes) = arguments.next() {
        config.wal_bytes_max = bytes.parse().expect("a number");
    }
    let store = EmbeddedStore::open(&folder, config).expect("opened");
    let handle = store.handle();
    let (sender, replies) = mpsc::channel();
    let thread = store
        .start(move |shard, batch| sender.send((shard, batch)).expect("awaited"))
        .expect("started");

    let run_id = std::process::id();
    let began = Instant::now();
    let cpu_began = cpu_time();
    let mut next = 0;
    let mut submitted_at = Vec::new();
    let mut submit = |shard: ShardIndex, count: u64, submitted_at: &mut Vec<Instant>| {
        let batch: Vec<_> = (next..(next + count).min(messages))
            .map(|number| command(number, run_id))
            .collect();
        next = (next + count).min(messages);
        submitted_at.resize(next as usize, Instant::now());
        if !batch.is_empty() {
            handle.submit(shard, batch).expect("room");
        }
    };
    for shard in 0..SHARDS {
        submit(ShardIndex(shard), UNDER_WAY, &mut submitted_at);
    }
    let mut latencies = Vec::new();
    while (latencies.len() as u64) < messages {
        let (shard, batch) = replies.recv().expect("the thread runs");
        let now = Instant::now();
        for (StoreToken(number), result) in &batch {
            result.as_ref().expect("appended");
            latencies.push(now - submitted_at[*number as usize]);
        }
        submit(shard, batch.len() as u64, &mut submitted_at);
    }
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu_began);
    latencies.sort();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{messages} appends in {took:.2?}: {:.0} a second, {:.2} µs CPU each; p50 {:.2?} p99 {:.2?} p99.9 {:.2?} max {:.2?}",
        messages as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / messages as f64,
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
    drop(thread);
    let bytes = std::fs::metadata(folder.join("messages.redb"))
        .expect("the file")
        .len();
    println!("{:.0} MB on disk", bytes as f64 / 1e6);
}

fn command(number: u64, run_id: u32) -> (StoreToken, Command) {
    let in_box = number % BOXES;
    let append = Append {
        boxid: BoxId::parse(&format!("box {in_box}")).expect("a name"),
        sender: Uid::parse(&format!("user {in_box}")).expect("a name"),
        kind: if number < BOXES {
            AppendKind::Join
        } else {
            AppendKind::Chat
        },
        client_id: Some(ClientId::parse(&format!("{run_id}-{number}")).expect("a name")),
        digest: [0; 16],
        uuid: Uuid(number.into()),
        ts_ms: 1_700_000_000_000 + number / 10,
        payload: vec![b'x'; 200].into(),
    };
    (StoreToken(number), Command::Append(append))
}

/// User and system time of this process: the shards' share of it is the building of commands.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().unwrap_or(0))
        .sum();
    Duration::from_millis(ticks * 10)
}
