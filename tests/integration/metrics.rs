//! `/metrics` as the tests read it: parsed as Prometheus would.

use std::collections::BTreeMap;

/// One reading.
#[derive(Debug)]
pub struct Metrics {
    samples: Vec<Sample>,
    /// Metric family → its type.
    types: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// Panics at a line that is no exposition format.
    pub fn parse(text: &str) -> Metrics {
        let mut metrics = Metrics {
            samples: Vec::new(),
            types: BTreeMap::new(),
            helps: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("TYPE name kind");
                let earlier = metrics.types.insert(name.to_owned(), kind.to_owned());
                assert!(earlier.is_none(), "two families are called {name}");
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect("HELP name text");
                metrics.helps.insert(name.to_owned(), help.to_owned());
            } else if !line.starts_with('#') {
                metrics.samples.push(parse_sample(line));
            }
        }
        metrics
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub fn families(&self) -> impl Iterator<Item = (&str, &str)> {
        let families = self.types.iter();
        families.map(|(name, kind)| (name.as_str(), kind.as_str()))
    }

    pub fn help(&self, family: &str) -> Option<&str> {
        self.helps.get(family).map(String::as_str)
    }

    /// The sum over all samples of that name with these labels; 0 when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matching = self.samples.iter().filter(|sample| {
            let has = |&(key, value): &(&str, &str)| {
                sample.labels.get(key).map(String::as_str) == Some(value)
            };
            sample.name == name && labels.iter().all(has)
        });
        matching.map(|sample| sample.value).sum()
    }

    /// Labels of the shards that have a sample of that name, sorted.
    pub fn shards_of(&self, name: &str) -> Vec<&str> {
        let samples = self.samples.iter().filter(|sample| sample.name == name);
        let mut shards: Vec<&str> = samples
            .filter_map(|sample| sample.labels.get("shard").map(String::as_str))
            .collect();
        shards.sort_unstable();
        shards
    }

    /// Number of shards with a sample of that name above zero.
    pub fn busy_shards(&self, name: &str) -> usize {
        let busy = self.samples.iter().filter(|sample| {
            sample.name == name && sample.labels.contains_key("shard") && sample.value > 0.0
        });
        busy.count()
    }
}

/// Metrics by the names that tests use.
impl Metrics {
    pub fn connections(&self) -> f64 {
        self.sum("newim_connections", &[])
    }

    /// Upgrades that were refused with that status.
    pub fn refused(&self, status: u16) -> f64 {
        let own = [400, 401, 404, 405, 408, 426, 431].contains(&status);
        let status = if own {
            status.to_string()
        } else {
            "other".to_owned()
        };
        let labels = [("status", &*status)];
        self.sum("newim_upgrades_refused_total", &labels)
    }

    /// Connections that the node closed with that code.
    pub fn closed(&self, code: u16) -> f64 {
        let labels = [("code", &*code.to_string())];
        self.sum("newim_closes_total", &labels)
    }

    /// Requests answered with an error.
    pub fn errors(&self) -> f64 {
        self.sum("newim_errors_total", &[])
    }

    pub fn messages_in(&self) -> f64 {
        self.sum("newim_messages_in_total", &[])
    }

    pub fn messages_out(&self) -> f64 {
        self.sum("newim_messages_out_total", &[])
    }

    pub fn appends(&self) -> f64 {
        self.sum("newim_appends_total", &[])
    }

    pub fn appends_failed(&self) -> f64 {
        self.sum("newim_appends_failed_total", &[])
    }

    pub fn append_latency_count(&self) -> f64 {
        self.sum("newim_append_latency_seconds_count", &[])
    }

    pub fn outbox_bytes(&self) -> f64 {
        self.sum("newim_outbox_bytes", &[])
    }

    pub fn outbox_drops(&self) -> f64 {
        self.sum("newim_drops_total", &[("cause", "outbox_full")])
    }

    /// Topics of a chat node.
    pub fn chat_topics(&self) -> f64 {
        self.sum("newim_chat_topics", &[])
    }

    pub fn chat_links(&self) -> f64 {
        self.sum("newim_chat_links", &[])
    }
}

/// Parses `name{label="value",…} number`.
fn parse_sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("series and value");
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
    };
    let labels = labels.split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (key, value) = label.split_once('=').expect("label=\"value\"");
        (key.to_owned(), value.trim_matches('"').to_owned())
    });
    Sample {
        name: name.to_owned(),
        labels: labels.collect(),
        value: value.parse().expect("a number"),
    }
}

#[test]
fn samples_are_summed_by_name_and_labels() {
    let text = "# HELP a_total What.\n# TYPE a_total counter\n\
                a_total{shard=\"0\",cause=\"x\"} 2\na_total{shard=\"1\",cause=\"x\"} 3\nb 7\n";
    let metrics = Metrics::parse(text);
    assert_eq!(metrics.sum("a_total", &[("cause", "x")]), 5.0);
    assert_eq!(metrics.sum("a_total", &[("shard", "1")]), 3.0);
    assert_eq!(metrics.sum("b", &[]), 7.0);
    assert_eq!(metrics.busy_shards("a_total"), 2);
    assert_eq!(metrics.help("a_total"), Some("What."));
}
