//! The report as JSON: the machine-readable result of a run, and what processes of one run send each other.
//! Main thread.
//!
//! The document is one object. `schema` is 1; within that number fields may be added, and none is removed
//! or changes its meaning or unit. All other fields are those of [`Report`] by name; times are in the unit
//! that the name ends in. A figure that is unknown is `null`. Each of `latencies` has
//!
//! ```json
//! { "name": "delivery",
//!   "corrected": { "count": 1, "mean_us": 1.0, "max_us": 1, "p50_us": 1, "p90_us": 1, "p99_us": 1,
//!                  "p99_9_us": 1, "p99_99_us": 1, "hdr": "HISTFAAAA…" },
//!   "raw": { … } }
//! ```
//!
//! where `hdr` is base64 of HdrHistogram's V2 serialization, deflated, as its own tools read it. The
//! figures beside it are for readers without such a tool; reading a report back ignores them.

pub mod fields;

use serde::{Deserialize, Serialize};

use super::Report;

/// Schema number of the documents that this version writes and reads.
pub const SCHEMA: u32 = 1;

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not JSON, or not a report; the text says where.
    #[error("this is not a report of newim-loadgen: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version wrote it; nothing of it was read.
    #[error("the report has schema {found}, but this version reads schema {SCHEMA}")]
    Schema { found: u32 },
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    #[serde(flatten)]
    report: &'a Report,
}

#[derive(Deserialize)]
struct Head {
    schema: u32,
}

/// The report in one line, for programs and the wire.
pub fn write(report: &Report) -> String {
    let document = Document {
        schema: SCHEMA,
        report,
    };
    serde_json::to_string(&document)
        .expect("a report has string keys only, and histograms serialize")
}

/// The report indented, for people.
pub fn write_pretty(report: &Report) -> String {
    let document = Document {
        schema: SCHEMA,
        report,
    };
    serde_json::to_string_pretty(&document).expect("as in `write`")
}

/// Reads what [`write()`] wrote, in this or an earlier version with the same schema number. Fields that this
/// version doesn't know are ignored.
pub fn read(text: &str) -> Result<Report, ReadError> {
    let head: Head = serde_json::from_str(text)?;
    if head.schema != SCHEMA {
        return Err(ReadError::Schema { found: head.schema });
    }
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::samples::{any_report, report};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_report_comes_back_as_it_went(report in any_report()) {
            let text = write(&report);
            let back = read(&text).expect("our own document");
            for (before, after) in report.latencies.iter().zip(&back.latencies) {
                prop_assert_eq!(&before.corrected_us, &after.corrected_us);
                prop_assert_eq!(&before.raw_us, &after.raw_us);
            }
            prop_assert_eq!(write(&back), text.as_str());
            let pretty = read(&write_pretty(&report)).expect("our own document");
            prop_assert_eq!(write(&pretty), text);
        }
    }

    #[test]
    fn percentiles_stand_beside_the_histogram_for_readers_without_one() {
        let value: serde_json::Value = serde_json::from_str(&write(&report())).expect("JSON");
        assert_eq!(value["schema"], 1);
        let corrected = &value["latencies"][0]["corrected"];
        assert_eq!(value["latencies"][0]["name"], "delivery");
        assert_eq!(corrected["count"], 10_000);
        let p99 = corrected["p99_us"].as_u64().expect("a number");
        assert!((9_890..=9_910).contains(&p99), "{p99}");
        assert!(
            corrected["hdr"]
                .as_str()
                .expect("text")
                .starts_with("HISTF")
        );
    }

    #[test]
    fn an_unknown_figure_is_null_and_comes_back_unknown() {
        let mut report = report();
        report.connections.handshakes_per_s = f64::NAN;
        let text = write(&report);
        assert!(text.contains(r#""handshakes_per_s":null"#));
        assert!(
            read(&text)
                .expect("ours")
                .connections
                .handshakes_per_s
                .is_nan()
        );
    }

    #[test]
    fn another_schema_is_refused_by_its_number() {
        let text = write(&report()).replacen(r#""schema":1"#, r#""schema":2"#, 1);
        let error = read(&text).expect_err("schema 2");
        assert!(matches!(error, ReadError::Schema { found: 2 }), "{error}");
    }

    #[test]
    fn text_that_is_not_a_report_is_refused_with_the_place() {
        for text in ["", "{}", "[1]", r#"{"schema":1}"#, r#"{"schema":"1"}"#] {
            assert!(matches!(read(text), Err(ReadError::Malformed(_))), "{text}");
        }
        let broken = write(&report()).replacen("HISTF", "HISTG", 1);
        let error = read(&broken).expect_err("no histogram").to_string();
        assert!(error.contains("histogram"), "{error}");
    }

    #[test]
    fn fields_of_a_later_version_are_left_out() {
        let text = write(&report()).replacen(r#""schema":1"#, r#""schema":1,"colour":"blue""#, 1);
        assert_eq!(write(&read(&text).expect("schema 1")), write(&report()));
    }
}
