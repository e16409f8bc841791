//! What an operator most likely meant by a key, section or variable that doesn't exist. Answers are words for
//! behind "did you mean", with names in backticks.

use super::keys;

/// The full name of the key nearest to `unknown` (a full name too); None: none is near. A known key in the
/// wrong section is nearest.
pub fn key(unknown: &str) -> Option<String> {
    key_name(unknown).map(quoted)
}

fn key_name(unknown: &str) -> Option<&'static str> {
    let last = last_segment(unknown);
    if let Some(misplaced) = keys::KEYS.iter().find(|key| last_segment(key.name) == last) {
        return Some(misplaced.name);
    }
    let names = keys::KEYS.iter().map(|key| key.name);
    let by_name = nearest(unknown, names.clone().map(|name| (name, name)));
    let by_segment = nearest(last, names.map(|name| (last_segment(name), name)));
    match (by_name, by_segment) {
        (Some(name), Some(segment)) if segment.0 < name.0 => Some(segment.1),
        (name, segment) => name.or(segment).map(|(_, key)| key),
    }
}

/// The section nearest to `unknown`. If no name is near, its keys tell: the place of the first of them that
/// is known elsewhere.
pub fn section<'a>(unknown: &str, mut its_keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let sections = keys::KEYS.iter().filter_map(|key| section_of(key.name));
    let by_name = nearest(unknown, sections.map(|section| (section, section)));
    if let Some((_, section)) = by_name {
        return Some(format!("`[{section}]`"));
    }
    let called = |name| keys::KEYS.iter().find(|key| last_segment(key.name) == name);
    let known = its_keys.find_map(called)?;
    Some(match section_of(known.name) {
        Some(section) => format!("`[{section}]`"),
        None => format!("`{}` above all sections", known.name),
    })
}

/// The variable nearest to `unknown`, which begins with `NEWIM_`.
pub fn variable(unknown: &str) -> Option<String> {
    let variables = keys::KEYS.iter().map(|key| keys::variable(key.name));
    let known: Vec<String> = variables.chain(["NEWIM_CONFIG".into()]).collect();
    let prefix = "NEWIM_".len();
    let names = known.iter().map(|name| (&name[prefix..], name));
    nearest(&unknown[prefix..], names).map(|(_, name)| quoted(name))
}

fn quoted(name: &str) -> String {
    format!("`{name}`")
}

fn section_of(key: &'static str) -> Option<&'static str> {
    key.split_once('.').map(|(section, _)| section)
}

fn last_segment(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(_, last)| last)
}

/// The nearest with its number of slips. One slip in three characters still makes the same word; more makes
/// another. Upper and lower case are the same.
fn nearest<'a, T>(unknown: &str, known: impl Iterator<Item = (&'a str, T)>) -> Option<(usize, T)> {
    let unknown = unknown.to_ascii_lowercase();
    let slips_max = (unknown.len() / 3).max(1);
    known
        .map(|(name, what)| {
            let name = name.to_ascii_lowercase();
            (strsim::damerau_levenshtein(&unknown, &name), what)
        })
        .min_by_key(|(slips, _)| *slips)
        .filter(|(slips, _)| *slips <= slips_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section_by_name(unknown: &str) -> Option<String> {
        section(unknown, std::iter::empty())
    }

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        assert_eq!(key_name("lisen"), Some("listen"));
        assert_eq!(key_name("zokeeper"), Some("zookeeper"));
        assert_eq!(key_name("LISTEN"), Some("listen"));
        assert_eq!(
            key_name("limits.mesage_bytes_max"),
            Some("limits.message_bytes_max")
        );
        assert_eq!(section_by_name("limit").as_deref(), Some("`[limits]`"));
        assert_eq!(section_by_name("Drain").as_deref(), Some("`[drain]`"));
        assert_eq!(variable("NEWIM_SHARD").as_deref(), Some("`NEWIM_SHARDS`"));
        assert_eq!(variable("NEWIM_CONFG").as_deref(), Some("`NEWIM_CONFIG`"));
    }

    #[test]
    fn a_key_in_the_wrong_section_is_sent_to_its_own() {
        assert_eq!(
            key_name("message_bytes_max"),
            Some("limits.message_bytes_max")
        );
        assert_eq!(
            key_name("drain.messages_max"),
            Some("retention.messages_max")
        );
    }

    #[test]
    fn a_section_that_nobody_knows_is_told_by_its_keys() {
        let of = |keys: &[&str]| section("websocket", keys.iter().copied());
        assert_eq!(
            of(&["colour", "idle_ping_ms"]).as_deref(),
            Some("`[limits]`")
        );
        assert_eq!(
            of(&["listen"]).as_deref(),
            Some("`listen` above all sections")
        );
        assert_eq!(of(&["colour"]), None);
    }

    #[test]
    fn another_word_altogether_is_near_to_nothing() {
        assert_eq!(key_name("favourite_colour"), None);
        assert_eq!(section_by_name("x509"), None);
        assert_eq!(variable("NEWIM_FAVOURITE_COLOUR"), None);
        assert_eq!(
            variable("NEWIM_FOO"),
            None,
            "short words are near to everything"
        );
    }
}
