//! Assertions on a run, such as `--assert "p99<5ms,loss=0,bytes_per_conn<600"`. Parsed before the run, so
//! that a slip costs no run; checked at its end. Main thread; the caller exits with status 4.

mod metric;
mod parse;

use super::figures::{UNKNOWN, plain, width};
use super::{Report, figures};

pub use metric::Metric;
pub use parse::{ParseError, parse};

use metric::Dimension;

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// The assertion as it was written.
    pub text: String,
    pub metric: Metric,
    pub operator: Operator,
    /// The bound in the metric's own unit; a share of 1 where `relative`.
    pub bound: f64,
    /// Whether the bound was given in percent.
    pub relative: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
    Not,
}

impl Operator {
    fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Operator::Less => measured < bound,
            Operator::AtMost => measured <= bound,
            Operator::Equal => measured == bound,
            Operator::AtLeast => measured >= bound,
            Operator::Greater => measured > bound,
            Operator::Not => measured != bound,
        }
    }
}

/// The outcome of one assertion.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub assertion: Assertion,
    /// The value in the unit of the bound, or why there is none. Without a value the assertion fails.
    pub measured: Result<f64, String>,
}

impl Outcome {
    pub fn holds(&self) -> bool {
        let Assertion {
            operator, bound, ..
        } = self.assertion;
        self.measured
            .as_ref()
            .is_ok_and(|measured| operator.holds(*measured, bound))
    }

    fn shown(&self) -> String {
        let value = match &self.measured {
            Err(why) => return plain(why),
            Ok(value) => *value,
        };
        if self.assertion.relative {
            return figures::percent(value);
        }
        match self.assertion.metric.dimension() {
            Dimension::Time => figures::duration(value),
            Dimension::Bytes => figures::bytes(value),
            Dimension::PerSecond => format!("{}/s", figures::rate(value)),
            Dimension::Count if value.is_finite() => figures::count(value as u64),
            Dimension::Count => UNKNOWN.to_owned(),
        }
    }
}

/// Checks each assertion against the report. Returns the outcomes in the same order.
pub fn check(assertions: &[Assertion], report: &Report) -> Vec<Outcome> {
    let outcome = |assertion: &Assertion| Outcome {
        measured: assertion.metric.measure(report, assertion.relative),
        assertion: assertion.clone(),
    };
    assertions.iter().map(outcome).collect()
}

pub fn all_hold(outcomes: &[Outcome]) -> bool {
    outcomes.iter().all(Outcome::holds)
}

/// The outcomes as text: what was demanded and what was found. Ends with a newline, unless it is empty.
pub fn table(outcomes: &[Outcome]) -> String {
    let texts = outcomes
        .iter()
        .map(|outcome| width(&outcome.assertion.text));
    let column = texts.max().unwrap_or(0);
    let line = |outcome: &Outcome| {
        let text = &outcome.assertion.text;
        let verdict = if outcome.holds() { "holds " } else { "FAILED" };
        let pad = column - width(text);
        format!("{verdict}  {text}{:pad$}  {}\n", "", outcome.shown())
    };
    outcomes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{empty, report};

    fn outcomes(text: &str, report: &Report) -> Vec<Outcome> {
        check(&parse(text).expect(text), report)
    }

    fn holds(text: &str) -> bool {
        all_hold(&outcomes(text, &report()))
    }

    #[test]
    fn every_operator_turns_at_its_bound() {
        // 10,000 checked, none lost; 1,000 of 1,000 connections.
        let cases = [
            ("loss<1", "loss<0"),
            ("loss<=0", "rate<=166"),
            ("loss=0", "loss=1"),
            ("loss>=0", "loss>=1"),
            ("rate>166", "loss>0"),
            ("loss!=1", "loss!=0"),
        ];
        for (good, bad) in cases {
            assert!(holds(good), "{good}");
            assert!(!holds(bad), "{bad}");
        }
    }

    #[test]
    fn latencies_are_of_delivery_unless_said_otherwise() {
        assert!(holds(
            "p99>9.8ms,p99<10ms,delivery.p99<10ms,max<=10.1ms,mean<5.1ms"
        ));
        assert!(holds("ack.p99<=1ms,ack.p99>900us"));
        assert!(holds("raw.p99<5ms,raw.p99>4.9ms,ack.raw.p99<0.6ms"));
    }

    #[test]
    fn in_a_run_without_deliveries_the_latency_is_that_of_echoes() {
        let mut echo = report();
        echo.latencies[0].name = "echo".to_owned();
        assert!(all_hold(&outcomes("p50<5.1ms,echo.p50<5.1ms", &echo)));
        assert!(!all_hold(&outcomes("delivery.p50<5.1ms", &echo)));
    }

    #[test]
    fn all_metrics_of_a_whole_run_can_be_measured() {
        let mut whole = report();
        for name in ["direct", "group", "echo", "handshake"] {
            let latency = super::super::Latency {
                name: name.to_owned(),
                ..whole.latencies[0].clone()
            };
            whole.latencies.push(latency);
        }
        for name in metric::known_names() {
            let metric = Metric::named(&name).expect("known");
            assert!(metric.measure(&whole, false).is_ok(), "{name}");
        }
    }

    #[test]
    fn wrong_messages_are_counted_by_their_kind() {
        let mut wrong = report();
        wrong.verified.lost = 1;
        wrong.verified.duplicated = 2;
        wrong.verified.misordered = 3;
        wrong.verified.corrupted = 4;
        wrong.connections.refused = 5;
        wrong.connections.lost = 6;
        wrong.messages.refused = 7;
        let text = "loss=1,duplicates=2,misordered=3,corrupted=4,strayed=0,refused=12,lost_connections=6,errors=28";
        let outcomes = outcomes(text, &wrong);
        assert!(all_hold(&outcomes), "{}", table(&outcomes));
    }

    #[test]
    fn percentages_are_shares_of_what_could_have_been() {
        let mut report = report();
        report.verified.lost = 10; // of 10,010
        assert!(all_hold(&outcomes(
            "loss<0.1%,loss>0.09%,rate>98%,rate<98.1%",
            &report
        )));
        report.messages.offered_per_s = 0.0;
        let closed = outcomes("rate>98%", &report);
        assert!(!all_hold(&closed), "a closed loop offers no rate to reach");
        assert!(
            closed[0]
                .measured
                .as_ref()
                .expect_err("unknown")
                .contains("offered")
        );
    }

    #[test]
    fn what_the_run_did_not_measure_fails_and_says_so() {
        for text in [
            "p99<1s",
            "ack.p99<1s",
            "bytes_per_conn<600",
            "cpu_us_per_delivery<5",
            "loss=0",
        ] {
            let outcomes = outcomes(text, &empty());
            assert!(!all_hold(&outcomes), "{text}");
            assert!(
                table(&outcomes).contains("not measured"),
                "{}",
                table(&outcomes)
            );
        }
        let outcomes = outcomes("bytes_per_conn.tls<600", &report());
        let why = outcomes[0].measured.as_ref().expect_err("no such part");
        assert!(why.contains("user, kernel, total"), "{why}");
    }

    #[test]
    fn spoiled_latencies_meet_no_bound() {
        let mut spoiled = report();
        spoiled.honesty.spoiled.push("sends left late".to_owned());
        assert!(!all_hold(&outcomes("p99<1s", &spoiled)));
        assert!(all_hold(&outcomes("loss=0,send_lag.p99<1ms", &spoiled)));
    }

    #[test]
    fn bytes_per_connection_are_the_total_or_a_part() {
        assert!(holds(
            "bytes_per_conn<4.2KB,bytes_per_conn.user<=256B,bytes_per_conn.kernel=3860"
        ));
        assert!(!holds("bytes_per_conn.user<256"));
    }

    #[test]
    fn the_table_shows_each_assertion_with_what_was_found() {
        let text = table(&outcomes(
            "p50<5ms, loss=0, bytes_per_conn<600, rate>=99%",
            &report(),
        ));
        let expected = "FAILED  p50<5ms             5 ms\n\
                        holds   loss=0              0\n\
                        FAILED  bytes_per_conn<600  4.12 KB\n\
                        FAILED  rate>=99%           98.1 %\n";
        assert_eq!(text, expected);
        assert_eq!(table(&[]), "");
    }
}
