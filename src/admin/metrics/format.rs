//! Which format a scraper gets: OpenMetrics if its `Accept` header prefers that, otherwise the text format of
//! Prometheus, which every scraper and every person with curl reads.

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4
    /// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    Text,
    /// OpenMetrics 1.0.0 (<https://prometheus.io/docs/specs/om/open_metrics_spec/>).
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The best that the request's `Accept` headers ask for (RFC 9110, 12.5.1): highest `q` first, then the
    /// order of the header. Text for a scraper that says nothing, or nothing that exists here.
    pub fn accepted_by(headers: &HeaderMap) -> Format {
        let lines = headers.get_all(ACCEPT).iter();
        let ranges = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','));
        let mut best = (0.0, Format::Text);
        for (quality, format) in ranges.filter_map(offer) {
            if quality > best.0 {
                best = (quality, format);
            }
        }
        best.1
    }
}

/// The `q` of one media range, and the format that answers it; None where no format does.
fn offer(range: &str) -> Option<(f32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let (mut quality, mut version) = (1.0, None);
    for parameter in parts {
        let (name, value) = parameter.split_once('=')?;
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => quality = value.trim().parse().ok()?,
            "version" => version = Some(value.trim().trim_matches('"')),
            _ => {}
        }
    }
    let format = match (media.as_str(), version) {
        ("application/openmetrics-text", None | Some("0.0.1" | "1.0.0")) => Format::OpenMetrics,
        ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((quality, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(lines: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().expect("a header"));
        }
        Format::accepted_by(&headers)
    }

    #[test]
    fn scrapers_that_prefer_openmetrics_get_it() {
        // As sent by Prometheus 2.42 and by 3.0.
        for line in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "Application/OpenMetrics-Text; version=\"1.0.0\"",
        ] {
            assert_eq!(accepted(&[line]), Format::OpenMetrics, "{line}");
        }
        let two = ["text/plain; q=0.3", "application/openmetrics-text; q=0.4"];
        assert_eq!(accepted(&two), Format::OpenMetrics);
    }

    #[test]
    fn everybody_else_gets_text() {
        for lines in [
            &[][..],
            &["*/*"],
            &["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
            &["text/plain;version=0.0.4"],
            &["application/openmetrics-text;version=2.0.0"],
            &["application/openmetrics-text;q=0"],
            &["application/openmetrics-text;q=high"],
            &["application/openmetrics-text;q=0.5, text/plain"],
            &[
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ],
            &[";;q=,"],
        ] {
            assert_eq!(accepted(lines), Format::Text, "{lines:?}");
        }
    }
}
