//! The key or variable that somebody most likely meant by one that doesn't exist.

use super::keys;

/// The full name of the key nearest to `unknown` (a full name too), unless none is near. A known key
/// that stands in the wrong section is nearest.
pub fn key(unknown: &str) -> Option<&'static str> {
    let last = last_segment(unknown);
    if let Some(misplaced) = keys::KEYS.iter().find(|key| last_segment(key.name) == last) {
        return Some(misplaced.name);
    }
    let by_name = nearest(unknown, keys::KEYS.iter().map(|key| (key.name, key.name)));
    let by_segment = nearest(
        last,
        keys::KEYS
            .iter()
            .map(|key| (last_segment(key.name), key.name)),
    );
    match (by_name, by_segment) {
        (Some(name), Some(segment)) if segment.0 < name.0 => Some(segment.1),
        (name, segment) => name.or(segment).map(|(_, key)| key),
    }
}

pub fn section(unknown: &str) -> Option<&'static str> {
    nearest(unknown, keys::sections().map(|section| (section, section))).map(|(_, name)| name)
}

pub fn variable(unknown: &str) -> Option<String> {
    let known: Vec<String> = keys::KEYS
        .iter()
        .map(|key| keys::variable(key.name))
        .chain(["NEWIM_CONFIG".into()])
        .collect();
    let prefix = "NEWIM_".len();
    nearest(
        &unknown[prefix..],
        known.iter().map(|name| (&name[prefix..], name)),
    )
    .map(|(_, name)| name.clone())
}

fn last_segment(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// One slip in three characters still makes the same word; more makes another.
fn nearest<'a, T>(unknown: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<(usize, T)> {
    let slips_max = (unknown.len() / 3).max(1);
    known
        .map(|(name, what)| (strsim::damerau_levenshtein(unknown, name), what))
        .min_by_key(|(slips, _)| *slips)
        .filter(|(slips, _)| *slips <= slips_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(key("lisen"), Some("listen"));
        assert_eq!(key("zokeeper"), Some("zookeeper"));
        assert_eq!(
            key("limits.mesage_bytes_max"),
            Some("limits.message_bytes_max")
        );
        assert_eq!(section("limit"), Some("limits"));
        assert_eq!(variable("NEWIM_SHARD").as_deref(), Some("NEWIM_SHARDS"));
        assert_eq!(variable("NEWIM_CONFG").as_deref(), Some("NEWIM_CONFIG"));
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_to_its_own() {
        assert_eq!(key("message_bytes_max"), Some("limits.message_bytes_max"));
        assert_eq!(key("drain.messages_max"), Some("retention.messages_max"));
    }

    #[test]
    fn another_word_altogether_is_near_to_nothing() {
        assert_eq!(key("favourite_colour"), None);
        assert_eq!(section("x509"), None);
        assert_eq!(variable("NEWIM_FAVOURITE_COLOUR"), None);
        assert_eq!(
            variable("NEWIM_FOO"),
            None,
            "short words are near to everything"
        );
    }
}
