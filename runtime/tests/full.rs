//! A full shard says so in the log. A test program of its own, because the log is the process's.

mod common;

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use common::{Shards, config, eventually};
use newim_runtime::Config;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn times(&self, words: &str) -> usize {
        let log = self.0.lock().expect("no panic");
        String::from_utf8_lossy(&log).matches(words).count()
    }
}

#[test]
fn the_log_says_once_that_a_shard_is_full_and_once_that_it_has_room() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
    let shards = Shards::new(Config {
        conns_per_shard_max: 8,
        conns_reserved: 4,
        ..config(1)
    });
    for _ in 0..3 {
        let streams: Vec<_> = (0..5)
            .map(|_| TcpStream::connect(shards.addr()).expect("the kernel queues it"))
            .collect();
        eventually("it is full", || {
            shards.on(0, |io| io.stats().accept_full_now) == 1
        });
        drop(streams);
        eventually("it has room", || {
            shards.on(0, |io| (io.stats().accept_full_now, io.stats().conns_now)) == (0, 0)
        });
    }
    assert!(shards.on(0, |io| io.stats().accept_full) >= 3);
    shards.stop();
    assert_eq!(log.times("this shard is full"), 1);
    assert_eq!(log.times("shard=0 connections=4"), 1);
    assert_eq!(log.times("this shard has room again"), 1);
}
