//! What one shard counts and times: plain numbers on its core. `snapshot` copies them while the shard runs;
//! at the end they are handed over whole, and the main thread adds up all shards.

use crate::limits::{EXAMPLES_MAX, LATENCY_US_MAX};
use hdrhistogram::Histogram;

/// Significant digits of a histogram.
const DIGITS: u8 = 3;

/// Counts since the start of the run, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub opened: u64,
    pub refused: u64,
    pub lost: u64,
    pub reconnects: u64,

    pub sent: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub pulled: u64,
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Requests that the server refused with an error.
    pub requests_refused: u64,
    pub retried: u64,
    /// Messages of the measured time alone, by their intended times.
    pub measured_offered: u64,
    pub measured_sent: u64,
    pub measured_delivered: u64,

    pub checked: u64,
    pub duplicated: u64,
    /// Messages out of order, where nothing was sent again that would explain it.
    pub misordered: u64,
    pub corrupted: u64,
    pub strayed: u64,
    /// Messages that never came; known only at the end.
    pub lost_messages: u64,
}

impl Counts {
    pub fn wrong(&self) -> u64 {
        self.lost_messages + self.duplicated + self.misordered + self.corrupted + self.strayed
    }

    /// Adds the counts of another shard.
    pub fn add(&mut self, other: &Counts) {
        self.opened += other.opened;
        self.refused += other.refused;
        self.lost += other.lost;
        self.reconnects += other.reconnects;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.pulled += other.pulled;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.requests_refused += other.requests_refused;
        self.retried += other.retried;
        self.measured_offered += other.measured_offered;
        self.measured_sent += other.measured_sent;
        self.measured_delivered += other.measured_delivered;
        self.checked += other.checked;
        self.duplicated += other.duplicated;
        self.misordered += other.misordered;
        self.corrupted += other.corrupted;
        self.strayed += other.strayed;
        self.lost_messages += other.lost_messages;
    }
}

/// Latencies from the intended send (corrected) and from the actual one (raw), in µs.
#[derive(Clone, Debug)]
pub struct Timed {
    pub corrected_us: Histogram<u64>,
    pub raw_us: Histogram<u64>,
}

impl Default for Timed {
    fn default() -> Timed {
        Timed {
            corrected_us: histogram(),
            raw_us: histogram(),
        }
    }
}

impl Timed {
    pub fn record(&mut self, now_us: u64, intended_us: u64, sent_us: u64) {
        record(&mut self.corrected_us, since(now_us, intended_us));
        record(&mut self.raw_us, since(now_us, sent_us));
    }

    pub fn add(&mut self, other: &Timed) {
        add(&mut self.corrected_us, &other.corrected_us);
        add(&mut self.raw_us, &other.raw_us);
    }

    pub fn is_empty(&self) -> bool {
        self.corrected_us.is_empty()
    }
}

/// A few examples in words of a kind of trouble that may occur millions of times.
#[derive(Clone, Debug, Default)]
pub struct Examples(pub Vec<String>);

impl Examples {
    pub fn add(&mut self, describe: impl FnOnce() -> String) {
        if self.0.len() < EXAMPLES_MAX {
            self.0.push(describe());
        }
    }

    pub fn extend(&mut self, other: Examples) {
        let room = EXAMPLES_MAX - self.0.len().min(EXAMPLES_MAX);
        self.0.extend(other.0.into_iter().take(room));
    }
}

#[derive(Clone, Debug)]
pub struct Tally {
    pub counts: Counts,
    /// Deliveries from person to person (direct), and those to a box (group).
    pub direct: Timed,
    pub group: Timed,
    pub ack: Timed,
    pub echo: Timed,
    pub handshake: Timed,
    /// How late scheduled sends left, within the measured time.
    pub send_lag_us: Histogram<u64>,
    pub wrong: Examples,
    pub refusals: Examples,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            counts: Counts::default(),
            direct: Timed::default(),
            group: Timed::default(),
            ack: Timed::default(),
            echo: Timed::default(),
            handshake: Timed::default(),
            send_lag_us: histogram(),
            wrong: Examples::default(),
            refusals: Examples::default(),
        }
    }
}

impl Tally {
    /// Deliveries of both kinds together.
    pub fn delivery(&self) -> Timed {
        let mut both = self.direct.clone();
        both.add(&self.group);
        both
    }

    pub fn add(&mut self, other: Tally) {
        self.counts.add(&other.counts);
        self.direct.add(&other.direct);
        self.group.add(&other.group);
        self.ack.add(&other.ack);
        self.echo.add(&other.echo);
        self.handshake.add(&other.handshake);
        add(&mut self.send_lag_us, &other.send_lag_us);
        self.wrong.extend(other.wrong);
        self.refusals.extend(other.refusals);
    }
}

/// An empty histogram; it is small and grows with its values.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("3 digits are allowed")
}

/// Records a value, up to `LATENCY_US_MAX`. A saturating record would not let the histogram grow.
pub fn record(histogram: &mut Histogram<u64>, us: u64) {
    let us = us.min(LATENCY_US_MAX);
    histogram.record(us).expect("it grows as far as that");
}

pub fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.add(other)
        .expect("a histogram that resizes itself takes everything");
}

/// Time since then in µs, at least 1: histograms begin at 1.
fn since(now_us: u64, then_us: u64) -> u64 {
    now_us.saturating_sub(then_us).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up() {
        let mut first = Tally::default();
        first.counts.sent = 1;
        first.direct.record(50, 10, 20);
        let mut second = first.clone();
        second.group.record(90, 0, 0);
        second.wrong.add(|| "odd".into());
        first.add(second);
        assert_eq!(first.counts.sent, 2);
        let direct = &first.direct;
        assert_eq!(direct.corrected_us.len(), 2);
        assert_eq!((direct.corrected_us.max(), direct.raw_us.max()), (40, 30));
        let delivery = first.delivery();
        assert_eq!(delivery.corrected_us.len(), 3);
        assert_eq!(delivery.corrected_us.max(), 90);
        assert_eq!(first.wrong.0, ["odd"]);
    }

    #[test]
    fn a_histogram_grows_with_what_it_is_given() {
        let mut timed = Timed::default();
        timed.record(90_000_000, 0, 89_999_000);
        assert!(
            timed.corrected_us.max() >= 90_000_000,
            "{}",
            timed.corrected_us.max()
        );
        assert_eq!(timed.raw_us.max(), 1000);
        timed.record(u64::MAX, 0, 0);
        assert!(timed.raw_us.max() >= LATENCY_US_MAX);
    }

    #[test]
    fn only_a_few_examples_are_kept() {
        let mut examples = Examples::default();
        (0..100).for_each(|number| examples.add(|| number.to_string()));
        examples.extend(examples.clone());
        assert_eq!(examples.0.len(), EXAMPLES_MAX);
    }
}
