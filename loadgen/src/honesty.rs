//! Decides whether the generator spoiled its own figures. Pure; called once, at the end, on the main
//! thread.
//!
//! In the open loop latency runs from the intended send, so a late generator looks like a slow server. Four
//! rules, each against one way to lie:
//!
//! 1. *Late sends.* The p99 of the send lag may be 1 ms, or a tenth of the measured p99 latency: then at
//!    least nine tenths of the shown latency are the server's.
//! 2. *A busy shard.* A thread that used over 90 % of its core had a queue of its own, before the server's.
//! 3. *Busy cores.* The same rule for many shards on few cores: the CPU of the whole process against the
//!    cores that it may use.
//! 4. *A schedule that wasn't kept.* At least 1 % of the scheduled messages were not sent, although the
//!    server was there to take them.
//!
//! In a closed loop there are no intended times, so none of the rules applies: it shows what both sides
//! together can do.

use crate::limits::{CPU_SHARE_MAX, LAG_SHARE_MAX, LAG_US_ALLOWED_MIN, SENT_SHARE_MIN};
use hdrhistogram::Histogram;

/// What is known of the measured time.
pub struct Evidence<'a> {
    pub send_lag_us: &'a Histogram<u64>,
    /// The p99 of each kind of latency that was recorded, in µs.
    pub latencies_p99_us: Vec<u64>,
    /// CPU of the busiest shard, as a share of one core.
    pub busiest_shard_cpu: f64,
    /// CPU of the process in cores, and the number of cores that it may use.
    pub cpu: f64,
    pub cores: usize,
    pub offered: f64,
    pub sent: u64,
    /// Whether clients went away and came back, by themselves or by plan: their messages wait and are not
    /// sent in time.
    pub is_disturbed: bool,
}

/// Reasons not to believe the latencies; none: they are good.
pub fn spoiled(evidence: &Evidence<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let lag_us = evidence.send_lag_us.value_at_quantile(0.99);
    // The smallest, because lateness spoils it first.
    let latency_us = evidence.latencies_p99_us.iter().min().copied().unwrap_or(0);
    let lag_us_max = LAG_US_ALLOWED_MIN.max((latency_us as f64 * LAG_SHARE_MAX) as u64);
    if lag_us > lag_us_max {
        reasons.push(format!(
            "sends left late: p99 of their lag is {lag_us} us, and {lag_us_max} us are allowed (a tenth of \
             the p99 latency, at least 1 ms). Give the generator cores of its own, or a lower rate"
        ));
    }
    if evidence.busiest_shard_cpu > CPU_SHARE_MAX {
        reasons.push(format!(
            "a shard of the generator used {:.0} % of its core, and 90 % is allowed; use more --shards",
            evidence.busiest_shard_cpu * 100.0
        ));
    }
    let cpu_max = evidence.cores as f64 * CPU_SHARE_MAX;
    if evidence.cpu > cpu_max {
        reasons.push(format!(
            "the generator used {:.2} of its {} cores, and {cpu_max:.2} are allowed; use a lower rate, more \
             cores, or more machines",
            evidence.cpu, evidence.cores
        ));
    }
    let sent_min = evidence.offered * SENT_SHARE_MIN - 1.0;
    if (evidence.sent as f64) < sent_min && !evidence.is_disturbed {
        reasons.push(format!(
            "the schedule was not kept: only {} of {:.0} messages were sent in time",
            evidence.sent, evidence.offered
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

    fn reasons(change: impl FnOnce(&mut Evidence<'_>), lag_us: u64) -> Vec<String> {
        let mut lags = histogram();
        (0..100).for_each(|_| crate::tally::record(&mut lags, lag_us));
        let mut evidence = Evidence {
            send_lag_us: &lags,
            latencies_p99_us: vec![2000, 900_000],
            busiest_shard_cpu: 0.9,
            cpu: 1.8,
            cores: 2,
            offered: 1000.0,
            sent: 995,
            is_disturbed: false,
        };
        change(&mut evidence);
        spoiled(&evidence)
    }

    #[test]
    fn a_generator_that_keeps_up_is_believed() {
        assert_eq!(reasons(|_| {}, 1000), [""; 0]);
        assert_eq!(
            reasons(|e| e.latencies_p99_us = vec![50_000], 4900),
            [""; 0]
        );
    }

    #[test]
    fn each_rule_has_its_own_reason() {
        assert!(reasons(|_| {}, 1100)[0].contains("left late"));
        assert!(reasons(|e| e.busiest_shard_cpu = 0.91, 1)[0].contains("a shard"));
        assert!(reasons(|e| e.cpu = 1.81, 1)[0].contains("of its 2 cores"));
        assert!(reasons(|e| e.sent = 980, 1)[0].contains("not kept"));
    }

    #[test]
    fn late_sends_of_clients_that_are_away_on_purpose_spoil_nothing() {
        let away = |e: &mut Evidence<'_>| {
            e.sent = 500;
            e.is_disturbed = true;
        };
        assert_eq!(reasons(away, 1), [""; 0]);
    }
}
