//! Metrics as tables: the name of each metric, its help text, and how to read it. Each crate keeps its table in
//! a `metrics.rs` beside the counters that its shards bump, so a new counter gets its row next door; the admin
//! HTTP of the node walks the tables on the control thread, once for each scrape. Pure: nothing here counts.

/// One metric of a table, read from a `T` (the counters of one shard).
pub struct Metric<T: 'static> {
    /// The name as it is scraped: `newim_` first, then `_bytes` or `_seconds` where the value has that unit, and
    /// `_total` last for a counter.
    pub name: &'static str,
    /// One sentence for an operator: what is counted, when it grows, and what a high value means.
    pub help: &'static str,
    /// What the values are.
    pub kind: Kind,
    /// How the values are read.
    pub samples: Samples<T>,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A total since the process started; it only grows.
    Counter,
    /// A value as of now.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
}

/// The unit of a metric, as its name says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `_bytes`.
    Bytes,
    /// `_seconds`.
    Seconds,
}

/// How a metric is read. The caller adds its own labels, such as the shard.
pub enum Samples<T: 'static> {
    /// One sample.
    One(fn(&T) -> u64),
    /// One sample for each value of `label`.
    Each {
        /// The label's name.
        label: &'static str,
        /// The label's values, each with its sample.
        values: &'static [LabelValue<T>],
    },
    /// A histogram.
    Durations(fn(&T) -> Durations<'_>),
}

/// A value of a label, and how its sample is read.
pub type LabelValue<T> = (&'static str, fn(&T) -> u64);

/// A histogram of durations as counted: in microseconds, and each bucket without those below it.
#[derive(Clone, Copy, Debug)]
pub struct Durations<'a> {
    /// The longest duration that each bucket takes, ascending.
    pub bounds_us: &'a [u64],
    /// One more than bounds: the last bucket takes what is longer than all of them.
    pub counts: &'a [u64],
    /// All durations together.
    pub sum_us: u64,
}

impl<T> Metric<T> {
    /// A total with one sample.
    pub const fn counter(name: &'static str, help: &'static str, read: fn(&T) -> u64) -> Metric<T> {
        Metric::new(name, help, Kind::Counter, Samples::One(read))
    }

    /// Counters of one name, told apart by a label.
    pub const fn counters(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [LabelValue<T>],
    ) -> Metric<T> {
        Metric::new(name, help, Kind::Counter, Samples::Each { label, values })
    }

    /// A value as of now with one sample.
    pub const fn gauge(name: &'static str, help: &'static str, read: fn(&T) -> u64) -> Metric<T> {
        Metric::new(name, help, Kind::Gauge, Samples::One(read))
    }

    /// Gauges of one name, told apart by a label.
    pub const fn gauges(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [LabelValue<T>],
    ) -> Metric<T> {
        Metric::new(name, help, Kind::Gauge, Samples::Each { label, values })
    }

    /// A histogram of durations.
    pub const fn durations(
        name: &'static str,
        help: &'static str,
        read: fn(&T) -> Durations<'_>,
    ) -> Metric<T> {
        Metric::new(name, help, Kind::Histogram, Samples::Durations(read))
    }

    const fn new(
        name: &'static str,
        help: &'static str,
        kind: Kind,
        samples: Samples<T>,
    ) -> Metric<T> {
        Metric {
            name,
            help,
            kind,
            samples,
        }
    }
}

/// A metric's name without the `_total` of a counter: what OpenMetrics calls the metric family.
pub fn family_of(name: &str, kind: Kind) -> &str {
    match kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        Kind::Gauge | Kind::Histogram => name,
    }
}

/// The unit that a metric's name says.
pub fn unit_of(name: &str, kind: Kind) -> Option<Unit> {
    let family = family_of(name, kind);
    [Unit::Bytes, Unit::Seconds]
        .into_iter()
        .find(|unit| family.ends_with(unit.suffix()))
}

impl Unit {
    /// The unit's name in OpenMetrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
        }
    }

    /// What a name with this unit ends in (before `_total`).
    pub const fn suffix(self) -> &'static str {
        match self {
            Unit::Bytes => "_bytes",
            Unit::Seconds => "_seconds",
        }
    }
}

/// Declares a struct of counters, and for the crate's tests a `numbered()` that gives each field a value of its
/// own: with [`unread`] a test finds the counter that no row of a table reads. Fields are `u64`, or implement
/// [`Numbered`].
#[macro_export]
macro_rules! counters {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
        }

        #[cfg(test)]
        impl $name {
            /// The struct with a different value in each field, and each field's name with its value.
            pub(crate) fn numbered() -> ($name, Vec<(&'static str, u64)>) {
                let fields = [$(stringify!($field)),*];
                let mut values = 1_u64..;
                let counters = $name {
                    $($field: $crate::metrics::Numbered::numbered(
                        values.next().expect("numbers don't end"),
                    ),)*
                };
                (counters, fields.into_iter().zip(1..).collect())
            }
        }
    };
}

/// A field of a [`counters!`](crate::counters) struct: made from a number, and read back by a table as that number.
pub trait Numbered {
    /// The field that stands for the number.
    fn numbered(number: u64) -> Self;
}

impl Numbered for u64 {
    fn numbered(number: u64) -> u64 {
        number
    }
}

/// For the tests of a table: those of `fields` (name and value, from `numbered()`) that no metric of `table`
/// reads from `counters`. A histogram reads its sum.
pub fn unread<T>(
    table: &[Metric<T>],
    counters: &T,
    fields: &[(&'static str, u64)],
) -> Vec<&'static str> {
    let read: Vec<u64> = table
        .iter()
        .flat_map(|metric| match &metric.samples {
            Samples::One(read) => vec![read(counters)],
            Samples::Each { values, .. } => values.iter().map(|(_, read)| read(counters)).collect(),
            Samples::Durations(read) => vec![read(counters).sum_us],
        })
        .collect();
    let missing = fields.iter().filter(|(_, value)| !read.contains(value));
    missing.map(|(field, _)| *field).collect()
}

/// For the tests of a table: what is wrong with its names and help texts.
pub fn faults<T>(table: &[Metric<T>]) -> Vec<String> {
    let mut faults = Vec::new();
    for (index, metric) in table.iter().enumerate() {
        let (name, help) = (metric.name, metric.help);
        let mut check = |holds: bool, rule: &str| {
            if !holds {
                faults.push(format!("{name}: {rule}"));
            }
        };
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        check(
            name.starts_with("newim_") && name.chars().all(letters),
            "a name is newim_ and lower-case words",
        );
        check(
            name.ends_with("_total") == (metric.kind == Kind::Counter),
            "counters, and only they, end in _total",
        );
        check(
            metric.kind != Kind::Histogram || name.ends_with(Unit::Seconds.suffix()),
            "durations are in seconds",
        );
        check(
            help.len() > 20 && help.ends_with('.') && !help.contains(['"', '\\', '\n']),
            "a help text is a sentence, without what a format would have to escape",
        );
        let mut words = help.split(' ');
        check(
            !words.next().is_some_and(|first| first.starts_with("Of")),
            "a help text is read without its neighbours",
        );
        check(
            table[..index].iter().all(|earlier| earlier.name != name),
            "a name has one row",
        );
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    counters! {
        /// Three fields, of which a table may forget some.
        pub struct Small {
            pub sent: u64,
            pub lost: u64,
            pub waiting_now: u64,
        }
    }

    const SENT: Metric<Small> =
        Metric::counter("newim_sent_total", "Letters that were sent off.", |c| {
            c.sent
        });

    #[test]
    fn a_counter_that_no_row_reads_is_named() {
        let (counters, fields) = Small::numbered();
        assert_eq!(unread(&[SENT], &counters, &fields), ["lost", "waiting_now"]);
        let rest: &[Metric<Small>] = &[
            SENT,
            Metric::gauges(
                "newim_others",
                "All others, by what they are.",
                "what",
                &[("lost", |c| c.lost), ("waiting", |c| c.waiting_now)],
            ),
        ];
        assert!(unread(rest, &counters, &fields).is_empty());
        assert!(faults(rest).is_empty());
    }

    #[test]
    fn names_and_helps_that_break_a_rule_are_faults() {
        let wrong: &[Metric<Small>] = &[
            Metric::counter("newim_sent", "Letters that were sent off.", |c| c.sent),
            Metric::gauge("newim_lost_total", "Of them, lost.", |c| c.lost),
            SENT,
            SENT,
        ];
        assert_eq!(faults(wrong).len(), 5, "{:?}", faults(wrong));
    }

    #[test]
    fn a_name_says_its_unit_and_its_family() {
        let name = "newim_message_bytes_total";
        assert_eq!(unit_of(name, Kind::Counter), Some(Unit::Bytes));
        assert_eq!(family_of(name, Kind::Counter), "newim_message_bytes");
        assert_eq!(
            unit_of("newim_uptime_seconds", Kind::Gauge),
            Some(Unit::Seconds)
        );
        assert_eq!(unit_of("newim_bytes_per_connection", Kind::Gauge), None);
    }
}
