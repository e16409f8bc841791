//! How some fields of a report are written as JSON, where serde's own way doesn't fit. `data.rs` names
//! these.

/// A figure that may be unknown: null, because JSON has no NaN.
pub mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*value) // null where it is not finite
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// Parts of a sum, in the order to be shown.
pub mod parts {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::number;

    #[derive(Serialize, Deserialize)]
    struct Part {
        part: String,
        #[serde(with = "number")]
        bytes: f64,
    }

    pub fn serialize<S: Serializer>(
        parts: &[(String, f64)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(parts.iter().map(|(part, bytes)| Part {
            part: part.clone(),
            bytes: *bytes,
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(String, f64)>, D::Error> {
        let parts = Vec::<Part>::deserialize(deserializer)?;
        Ok(parts
            .into_iter()
            .map(|part| (part.part, part.bytes))
            .collect())
    }
}

/// A histogram with its summary.
pub mod histogram {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::{
        Deserializer as HistogramReader, Serializer as _, V2DeflateSerializer,
    };
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::super::super::figures::{max_us, mean_us, percentile_us};

    #[derive(Serialize)]
    struct Summary {
        count: u64,
        mean_us: Option<f64>,
        max_us: Option<u64>,
        p50_us: Option<u64>,
        p90_us: Option<u64>,
        p99_us: Option<u64>,
        p99_9_us: Option<u64>,
        p99_99_us: Option<u64>,
        hdr: String,
    }

    #[derive(Deserialize)]
    struct Encoded {
        hdr: String,
    }

    pub fn serialize<S: Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let at = |quantile| percentile_us(histogram, quantile).map(|us| us as u64);
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .map_err(|error| S::Error::custom(format!("histogram: {error}")))?;
        let summary = Summary {
            count: histogram.len(),
            mean_us: mean_us(histogram),
            max_us: max_us(histogram).map(|us| us as u64),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            hdr: STANDARD.encode(bytes),
        };
        summary.serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let encoded = Encoded::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(encoded.hdr)
            .map_err(|error| D::Error::custom(format!("histogram: {error}")))?;
        HistogramReader::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("histogram: {error}")))
    }
}
