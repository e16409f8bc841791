//! Time: deadlines come when they are due, and a process with nothing to do does nothing.

mod common;

use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{PATIENCE, config, start_echo, stop_echo};
use newim_proto::ids::ShardIndex;
use newim_runtime::{Config, Driver, EngineStats, Event, Io, start};

/// Asks for a flush every `period_us`, `rounds` times, and tells when each came.
struct Ticker {
    period_us: u64,
    rounds: u32,
    due_us: Option<u64>,
    ticks: mpsc::Sender<(u64, u64)>,
}

impl Driver for Ticker {
    type Mail = ();
    type Control = ();

    fn started(&mut self, io: &mut Io<'_, ()>) {
        self.due_us = Some(io.now().mono_us + self.period_us);
    }

    fn event(&mut self, _io: &mut Io<'_, ()>, _event: Event<'_, (), ()>) {}

    fn flush(&mut self, io: &mut Io<'_, ()>) {
        let now_us = io.now().mono_us;
        let Some(due_us) = self.due_us.filter(|due_us| *due_us <= now_us) else {
            return;
        };
        self.ticks.send((due_us, now_us)).expect("the test waits");
        self.rounds -= 1;
        self.due_us = Some(now_us + self.period_us);
        if self.rounds == 0 {
            io.stop();
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        self.due_us
    }
}

fn deadlines_come(period: Duration, rounds: u32) {
    let (ticks, ticked) = mpsc::channel();
    let runtime = start(Config::default(), move |_| Ticker {
        period_us: period.as_micros() as u64,
        rounds,
        due_us: None,
        ticks: ticks.clone(),
    })
    .expect("the runtime starts");
    for _ in 0..rounds {
        let (due_us, now_us) = ticked.recv_timeout(PATIENCE).expect("the deadline comes");
        assert!(now_us >= due_us);
    }
    assert_eq!(runtime.join().len(), 1);
}

#[test]
fn short_deadlines_come_while_the_shard_waits_on_its_ring() {
    deadlines_come(Duration::from_millis(3), 20);
}

#[test]
fn long_deadlines_wake_a_shard_that_sleeps_in_glommio() {
    deadlines_come(Duration::from_millis(180), 4);
}

fn stats(control: &newim_runtime::ControlSender<common::EchoControl>) -> EngineStats {
    let (sender, stats) = mpsc::channel();
    let act: common::EchoControl =
        Box::new(move |io| sender.send(*io.stats()).expect("the test waits"));
    assert!(control.send_by(act, Instant::now() + PATIENCE).is_ok());
    stats.recv_timeout(PATIENCE).expect("the shard answers")
}

#[test]
fn an_idle_shard_makes_no_system_calls() {
    let runtime = start_echo(config(2));
    let _stream = std::net::TcpStream::connect(runtime.addrs[0]).expect("it listens");
    let control = runtime.control(ShardIndex(0));
    common::eventually("the shard sleeps", || {
        let before = stats(&control);
        std::thread::sleep(Duration::from_millis(500));
        let after = stats(&control);
        // Asking twice takes a few: waking, answering, waiting out a turn and parking again.
        after.parks > before.parks && after.enters - before.enters < 16
    });
    stop_echo(runtime);
}
