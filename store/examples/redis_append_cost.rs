//! Measures the CPU time that a message costs the process of a Redis with `appendfsync always`:
//!
//!     cargo run --release -p newim-store --example redis_append_cost [MESSAGES] [UNDER_WAY] [BOXES] [WINDOW_MS]
//!
//! It starts a redis-server in a temporary folder. One connection keeps UNDER_WAY direct messages of each
//! box under way, with dedupe, as a gateway does: an answered message is followed by the next of its box.
//! Ten messages take one millisecond of the messages' own time, so that a short dedupe window shows the
//! cost of a day-old box. To compare two versions of `store/src/redis`, run both at the same time: other work
//! on the machine moves both figures.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use newim_proto::ids::{BoxId, ClientId, Uid, Uuid};
use newim_proto::log::{Append, AppendKind, Command, StoreToken};
use newim_store::redis::{RedisClient, RedisConfig};
use newim_store::settings::StoreSettings;
use newim_testkit::Redis;

/// A ChatMessage of 64 bytes of text with its ids.
const PAYLOAD_BYTES: usize = 140;
const TICKS_A_SECOND: f64 = 100.0;
/// Calls and bytes of this share of the messages are not counted: boxes are made and listed in it.
const WARM_UP_SHARE: u64 = 5;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |or: u64| {
        arguments
            .next()
            .map_or(or, |number| number.parse().expect("a number"))
    };
    let (messages, under_way, boxes) = (number(200_000), number(16), number(500));
    let dedupe_window_ms = number(StoreSettings::default().dedupe_window_ms);
    // A rewrite of the append-only file is a cost of its own.
    let redis = Redis::start_with(&["--auto-aof-rewrite-percentage", "0"]);
    let mut load = Load::connect(&redis, boxes, dedupe_window_ms);
    load.run(0, messages / WARM_UP_SHARE, under_way);
    ask(&redis, "CONFIG RESETSTAT");
    let (bytes, file, cpu) = (memory(&redis), file(&redis), cpu_seconds(&redis));
    let began = Instant::now();
    let counted = load.run(messages / WARM_UP_SHARE, messages, under_way) as f64;
    let cpu = cpu_seconds(&redis) - cpu;
    println!(
        "{under_way} under way in each of {boxes} boxes: {:.2} µs CPU of Redis a message, {:.0} a second, \
         {:.0} bytes of memory and {:.0} of file each",
        cpu * 1e6 / counted,
        counted / began.elapsed().as_secs_f64(),
        (memory(&redis) - bytes) / counted,
        (self::file(&redis) - file) / counted,
    );
    for line in ask(&redis, "INFO commandstats").lines() {
        if let Some(line) = line.strip_prefix("cmdstat_") {
            println!("  {line}");
        }
    }
}

struct Load {
    client: RedisClient,
    stream: TcpStream,
    boxes: u64,
    buffer: Vec<u8>,
}

impl Load {
    fn connect(redis: &Redis, boxes: u64, dedupe_window_ms: u64) -> Load {
        let mut config = RedisConfig::parse(&redis.url()).expect("a URL");
        config.settings.dedupe_window_ms = dedupe_window_ms;
        let mut client = RedisClient::new(config);
        client.connected(0);
        let stream = TcpStream::connect(redis.address()).expect("connected");
        stream.set_nodelay(true).expect("set");
        let buffer = vec![0; 256 * 1024];
        Load {
            client,
            stream,
            boxes,
            buffer,
        }
    }

    /// How many were appended.
    fn run(&mut self, from: u64, to: u64, under_way: u64) -> u64 {
        let mut next_of_box: Vec<u64> = (0..self.boxes).map(|in_box| from + in_box).collect();
        let (mut sent, mut answered) = (0, 0);
        let mut replies = Vec::new();
        for in_box in 0..self.boxes {
            for _ in 0..under_way {
                sent += self.push(&mut next_of_box, in_box, to);
            }
        }
        while answered < sent {
            while let Some(output) = self.client.take_output() {
                self.stream.write_all(&output).expect("sent");
                self.client.sent(output);
            }
            let bytes = self.stream.read(&mut self.buffer).expect("an answer");
            assert!(bytes > 0, "Redis closed the connection");
            self.client
                .feed(&self.buffer[..bytes], &mut replies)
                .expect("the protocol holds");
            for (StoreToken(in_box), result) in std::mem::take(&mut replies) {
                result.expect("appended");
                answered += 1;
                sent += self.push(&mut next_of_box, in_box, to);
            }
        }
        answered
    }

    fn push(&mut self, next_of_box: &mut [u64], in_box: u64, to: u64) -> u64 {
        let number = next_of_box[in_box as usize];
        if number >= to {
            return 0;
        }
        next_of_box[in_box as usize] += self.boxes;
        self.client
            .push(0, StoreToken(in_box), command(number, in_box))
            .expect("room");
        1
    }
}

fn command(number: u64, in_box: u64) -> Command {
    let uid = |name: u64| Uid::parse(&format!("p2p-user-{name}")).expect("a name");
    let (mut uuid, mut payload) = ([0; 16], vec![b'x'; PAYLOAD_BYTES]);
    uuid[8..].copy_from_slice(&number.to_be_bytes());
    payload[..8].copy_from_slice(&number.to_be_bytes());
    Command::Append(Append {
        boxid: BoxId::parse(&format!("p2p-box-{in_box}")).expect("a name"),
        sender: uid(2 * in_box),
        kind: AppendKind::Direct {
            receiver: uid(2 * in_box + 1),
        },
        client_id: Some(ClientId::parse(&format!("client-{number}")).expect("a name")),
        digest: uuid,
        uuid: Uuid(u128::from_be_bytes(uuid)),
        ts_ms: 1_700_000_000_000 + number / 10,
        payload: payload.into(),
    })
}

/// User and system time of the server.
fn cpu_seconds(redis: &Redis) -> f64 {
    let path = format!("/proc/{}/stat", redis.process().pid());
    let stat = std::fs::read_to_string(path).expect("Linux");
    let after_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = after_name.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks
        .map(|ticks| ticks.parse::<f64>().expect("a number"))
        .sum();
    ticks / TICKS_A_SECOND
}

fn memory(redis: &Redis) -> f64 {
    info(redis, "memory", "used_memory")
}

fn file(redis: &Redis) -> f64 {
    info(redis, "persistence", "aof_current_size")
}

fn info(redis: &Redis, section: &str, field: &str) -> f64 {
    let text = ask(redis, &format!("INFO {section}"));
    let value = |line: &str| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok();
    text.lines().find_map(value).expect("Redis tells it")
}

/// One inline command on a connection of its own, and all of its answer.
fn ask(redis: &Redis, command: &str) -> String {
    let mut stream = TcpStream::connect(redis.address()).expect("connected");
    stream
        .write_all(format!("{command}\r\nQUIT\r\n").as_bytes())
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
