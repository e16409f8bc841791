//! A report in the form that znodes can hold: JSON, deflated, cut into parts. Pure; used by `collect`.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

use super::super::{Report, json};
use super::TogetherError;
use crate::limits::{JSON_BYTES_MAX, PART_BYTES_MAX, PARTS_MAX};

pub(super) fn cut(report: &Report) -> Result<Vec<Vec<u8>>, TogetherError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let deflated = encoder
        .write_all(json::write(report).as_bytes())
        .and_then(|()| encoder.finish());
    let deflated = deflated.expect("memory takes every byte");
    if deflated.len() > PART_BYTES_MAX * PARTS_MAX {
        return Err(TogetherError::TooLong {
            bytes: deflated.len(),
        });
    }
    Ok(deflated
        .chunks(PART_BYTES_MAX)
        .map(<[u8]>::to_vec)
        .collect())
}

/// Joins the parts and reads the report. Errors say in words what is wrong with the parts.
pub(super) fn join(parts: &[Vec<u8>]) -> Result<Report, String> {
    let deflated = parts.concat();
    let mut text = String::new();
    let mut decoder = ZlibDecoder::new(deflated.as_slice()).take(JSON_BYTES_MAX);
    decoder
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    json::read(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{noise, report};

    #[test]
    fn a_report_longer_than_a_znode_is_cut_and_joined() {
        let mut long = report();
        long.command.push(noise(3_000_000));
        let parts = cut(&long).expect("short enough");
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() <= PART_BYTES_MAX));
        let joined = join(&parts).expect("ours");
        assert_eq!(json::write(&joined), json::write(&long));
    }

    #[test]
    fn a_part_that_is_missing_is_noticed() {
        let mut long = report();
        long.command.push(noise(3_000_000));
        let parts = cut(&long).expect("short enough");
        assert!(join(&parts[..parts.len() - 1]).is_err());
        assert!(join(&parts[1..]).is_err());
        assert!(join(&[]).is_err());
    }
}
