//! What a node's io_uring engines did, as its admin port tells it: system calls, entries and completions. How
//! many a message takes depends on how much the kernel gathers into a batch, so it is reported, never asserted.

use std::net::SocketAddr;
use std::ops::{AddAssign, Sub};

use crate::failure::Failure;
use crate::servers::get;

/// Counters summed over a node's shards, all from one reading.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EngineCounters {
    enters: f64,
    sqes: f64,
    cqes: f64,
    /// Messages that left for clients.
    messages: f64,
}

impl EngineCounters {
    pub fn read(admin: SocketAddr) -> Result<EngineCounters, Failure> {
        let answer = get(admin, "/metrics");
        let text = answer.map_err(|error| Failure::Setup(format!("{admin}/metrics: {error}")))?;
        Ok(EngineCounters::parse(&text))
    }

    fn parse(metrics: &str) -> EngineCounters {
        let sum = |name: &str| -> f64 {
            let samples = metrics.lines().filter_map(|line| {
                let labels = line.strip_prefix(name)?;
                labels.starts_with(['{', ' ']).then_some(labels)
            });
            samples
                .filter_map(|sample| sample.rsplit_once(' ')?.1.parse::<f64>().ok())
                .sum()
        };
        EngineCounters {
            enters: sum("newim_engine_enters_total"),
            sqes: sum("newim_engine_sqes_total"),
            cqes: sum("newim_engine_cqes_total"),
            messages: sum("newim_messages_out_total"),
        }
    }

    /// In words; None where no message left the node.
    pub fn per_message(&self) -> Option<String> {
        let per = |count: f64| format!("{:.3}", count / self.messages);
        (self.messages > 0.0).then(|| {
            format!(
                "{} system calls, {} entries, {} completions per message that leaves",
                per(self.enters),
                per(self.sqes),
                per(self.cqes)
            )
        })
    }
}

impl Sub for EngineCounters {
    type Output = EngineCounters;

    fn sub(self, before: EngineCounters) -> EngineCounters {
        EngineCounters {
            enters: self.enters - before.enters,
            sqes: self.sqes - before.sqes,
            cqes: self.cqes - before.cqes,
            messages: self.messages - before.messages,
        }
    }
}

impl AddAssign for EngineCounters {
    fn add_assign(&mut self, more: EngineCounters) {
        self.enters += more.enters;
        self.sqes += more.sqes;
        self.cqes += more.cqes;
        self.messages += more.messages;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_shards_and_told_per_message() {
        let text = "# HELP newim_engine_enters_total Calls.\n\
                    newim_engine_enters_total{shard=\"0\"} 10\n\
                    newim_engine_enters_total{shard=\"1\"} 20\n\
                    newim_engine_enters_totals 5\n\
                    newim_engine_sqes_total{shard=\"0\"} 60\n\
                    newim_engine_cqes_total{shard=\"0\"} 90\n\
                    newim_messages_out_total{shard=\"0\"} 60\n";
        let counters = EngineCounters::parse(text);
        assert_eq!(
            counters.per_message().unwrap(),
            "0.500 system calls, 1.000 entries, 1.500 completions per message that leaves"
        );
        assert_eq!((counters - counters).per_message(), None);
    }
}
