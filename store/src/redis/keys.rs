//! The names of the keys. All keys of a box carry the box's hash tag, all keys of a user the user's, so that
//! each script's keys lie on one node of a cluster. The kind stands first: whatever a name holds, no two
//! keys are the same, and braces in a name only make its tag shorter.

use std::fmt::Write;

use newim_proto::ids::{BoxId, Uid};

#[derive(Clone, Copy, Debug)]
pub(super) enum BoxKey {
    /// String: the box's head and counters, packed (see `scripts/append.lua`, which also names the two hashes
    /// of client_ids, `seen0` and `seen1`, by the tag of this key).
    Head,
    /// Hash: the head as an earlier version kept it. Removed at the box's next append.
    Meta,
    /// Stream, ids `<seq>-<epoch>`, with one field m(essage): ts_ms, the two names if direct, payload. An
    /// earlier version wrote ids `<seq>-0` and fields e(poch), t(s_ms), w (the two names), p(ayload).
    Log,
    /// Set of uids.
    Members,
    /// Set of uids that sent or received a direct message.
    Parties,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum UserKey {
    /// Hash: boxid → "epoch seq" of the JOIN. Holds every box that the user is a member of, and
    /// perhaps some that the user is not: the box's own set is the truth.
    Joined,
    /// Set of boxids: the same as Joined for direct messages.
    Direct,
    /// Hash: boxid → "epoch delivered read".
    Marks,
}

/// Writes keys into one buffer, so that none costs an allocation.
#[derive(Debug, Default)]
pub(super) struct KeyWriter(String);

impl KeyWriter {
    pub fn of_box(&mut self, key: BoxKey, boxid: &BoxId) -> &str {
        let kind = match key {
            BoxKey::Head => "head",
            BoxKey::Meta => "meta",
            BoxKey::Log => "log",
            BoxKey::Members => "members",
            BoxKey::Parties => "parties",
        };
        self.write(kind, 'b', boxid.as_str())
    }

    pub fn of_user(&mut self, key: UserKey, uid: &Uid) -> &str {
        let kind = match key {
            UserKey::Joined => "joined",
            UserKey::Direct => "direct",
            UserKey::Marks => "marks",
        };
        self.write(kind, 'u', uid.as_str())
    }

    fn write(&mut self, kind: &str, tag: char, name: &str) -> &str {
        self.0.clear();
        write!(self.0, "newim:{kind}:{{{tag}:{name}}}").expect("a String takes all");
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_tag(key: &str) -> &str {
        let after = &key[key.find('{').expect("an opening brace") + 1..];
        &after[..after.find('}').expect("a closing brace")]
    }

    #[test]
    fn keys_of_one_box_share_one_tag_whatever_its_name() {
        for name in ["lobby", "{", "}", "a}b{c", "{}", "}{"] {
            let boxid = BoxId::parse(name).expect("a name");
            let mut keys = KeyWriter::default();
            let tag = hash_tag(keys.of_box(BoxKey::Head, &boxid)).to_owned();
            assert!(tag.starts_with("b:"), "{name}");
            for key in [BoxKey::Meta, BoxKey::Log, BoxKey::Members, BoxKey::Parties] {
                assert_eq!(hash_tag(keys.of_box(key, &boxid)), tag, "{name} {key:?}");
            }
        }
    }
}
