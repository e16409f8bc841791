//! Writes figures for people: units that adapt, three significant digits, thousands separated. Pure; used
//! by the live view, the table and the HTML page.

use hdrhistogram::Histogram;

/// The percentiles that every result shows.
pub const PERCENTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

/// Text for a figure that is unknown.
pub const UNKNOWN: &str = "–";

/// A percentile in µs. `None`: nothing was recorded; an empty histogram's percentiles are not zeros.
pub fn percentile_us(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64)
}

pub fn max_us(histogram: &Histogram<u64>) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.max() as f64)
}

pub fn mean_us(histogram: &Histogram<u64>) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.mean())
}

/// A duration of this many µs, as `312 µs`, `1.21 ms`, `3.4 s`, `2 min 5 s`.
pub fn duration(us: f64) -> String {
    match us {
        us if !us.is_finite() => UNKNOWN.to_owned(),
        us if us < 999.5 => format!("{} µs", digits(us)),
        us if us < 999_500.0 => format!("{} ms", digits(us / 1e3)),
        us if us < 119_500_000.0 => format!("{} s", digits(us / 1e6)),
        us => long_duration(us),
    }
}

fn long_duration(us: f64) -> String {
    let seconds = (us / 1e6).round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

pub fn duration_or_unknown(us: Option<f64>) -> String {
    us.map_or(UNKNOWN.to_owned(), duration)
}

/// A clock, as `0:07`, `12:34`, `1:02:03`.
pub fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// A count, as `1,234,567`.
pub fn count(value: u64) -> String {
    let plain = value.to_string();
    let mut text = String::with_capacity(plain.len() + plain.len() / 3);
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A rate, as `17`, `9,998`, `1.86 M`; the digits left out mean nothing.
pub fn rate(value: f64) -> String {
    match value {
        value if !value.is_finite() => UNKNOWN.to_owned(),
        value if value < 100.0 => digits(value),
        value if value < 999_500.0 => count(value.round() as u64),
        value if value < 999_500_000.0 => format!("{} M", digits(value / 1e6)),
        value => format!("{} G", digits(value / 1e9)),
    }
}

/// Bytes by powers of 1,000, as `256 B`, `4.76 KB`, `1.2 GB`; networks and memory budgets are counted so
/// here.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let mut value = value;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{} {}", digits(value), UNITS[unit])
}

/// A share of 1, as `43 %`.
pub fn percent(share: f64) -> String {
    if share.is_finite() {
        format!("{} %", digits(share * 100.0))
    } else {
        UNKNOWN.to_owned()
    }
}

/// A moment, as `2026-11-23 09:30:00 UTC`.
pub fn moment(unix_ms: u64) -> String {
    let timestamp = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match timestamp {
        Some(timestamp) => timestamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => UNKNOWN.to_owned(),
    }
}

/// Three significant digits, without trailing zeros after the point.
pub fn digits(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let size = value.abs();
    let decimals = match size {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Terminal columns of a text of ours, which has no wide or combining characters.
pub fn width(text: &str) -> usize {
    text.chars().count()
}

/// Text of others, made safe for a terminal: control characters, which could move the cursor or worse, are
/// replaced.
pub fn plain(text: &str) -> String {
    let visible = |character: char| {
        if character.is_control() {
            '\u{fffd}'
        } else {
            character
        }
    };
    text.chars().map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_in_which_they_read_best() {
        let cases = [
            (0.0, "0 µs"),
            (7.0, "7 µs"),
            (312.4, "312 µs"),
            (999.4, "999 µs"),
            (999.6, "1 ms"),
            (1210.0, "1.21 ms"),
            (12_345.0, "12.3 ms"),
            (999_600.0, "1 s"),
            (3_400_000.0, "3.4 s"),
            (125_000_000.0, "2 min 5 s"),
            (7_260_000_000.0, "2 h 1 min"),
        ];
        for (us, text) in cases {
            assert_eq!(duration(us), text, "{us}");
        }
    }

    #[test]
    fn counts_rates_and_bytes_read_at_a_glance() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rate(17.26), "17.3");
        assert_eq!(rate(9998.4), "9,998");
        assert_eq!(rate(1_860_000.0), "1.86 M");
        assert_eq!(bytes(256.0), "256 B");
        assert_eq!(bytes(4116.0), "4.12 KB");
        assert_eq!(bytes(999_600.0), "1 MB");
        assert_eq!(percent(0.4321), "43.2 %");
        assert_eq!(clock(3_723_000), "1:02:03");
        assert_eq!(clock(7_999), "0:07");
    }

    #[test]
    fn what_is_unknown_is_not_written_as_a_figure() {
        assert_eq!(duration(f64::NAN), UNKNOWN);
        assert_eq!(rate(f64::INFINITY), UNKNOWN);
        assert_eq!(bytes(f64::NAN), UNKNOWN);
        assert_eq!(percent(f64::NAN), UNKNOWN);
        assert_eq!(digits(f64::INFINITY), UNKNOWN);
        let empty = Histogram::<u64>::new(3).expect("three digits are allowed");
        assert_eq!(duration_or_unknown(percentile_us(&empty, 0.5)), UNKNOWN);
    }

    #[test]
    fn a_moment_is_written_in_utc() {
        assert_eq!(moment(1_795_426_200_000), "2026-11-23 09:30:00 UTC");
        assert_eq!(moment(u64::MAX), UNKNOWN);
    }

    #[test]
    fn escape_sequences_of_others_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
