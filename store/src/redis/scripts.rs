//! The Lua scripts. Each touches the keys of one hash tag only, so each is atomic on one node of a
//! cluster. They are loaded once per connection and then called by their hashes.

/// A script that reads a box's head, with the function for that before it.
macro_rules! reads_head {
    ($script:literal) => {
        concat!(include_str!("scripts/read_head.lua"), include_str!($script))
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    Append,
    Head,
    Facts,
    Range,
    State,
    ListJoin,
    ConfirmJoin,
    Unlist,
    ListDirect,
    List,
    Mark,
}

impl Script {
    pub const ALL: [Script; 11] = [
        Script::Append,
        Script::Head,
        Script::Facts,
        Script::Range,
        Script::State,
        Script::ListJoin,
        Script::ConfirmJoin,
        Script::Unlist,
        Script::ListDirect,
        Script::List,
        Script::Mark,
    ];

    pub fn source(self) -> &'static str {
        match self {
            Script::Append => include_str!("scripts/append.lua"),
            Script::Head => reads_head!("scripts/head.lua"),
            Script::Facts => reads_head!("scripts/facts.lua"),
            Script::Range => reads_head!("scripts/range.lua"),
            Script::State => reads_head!("scripts/state.lua"),
            Script::ListJoin => include_str!("scripts/list_join.lua"),
            Script::ConfirmJoin => include_str!("scripts/confirm_join.lua"),
            Script::Unlist => include_str!("scripts/unlist.lua"),
            Script::ListDirect => include_str!("scripts/list_direct.lua"),
            Script::List => include_str!("scripts/list.lua"),
            Script::Mark => include_str!("scripts/mark.lua"),
        }
    }
}

/// The hashes that the server gave for the loaded scripts, by `Script as usize`.
#[derive(Debug, Default)]
pub(super) struct Loaded([String; Script::ALL.len()]);

impl Loaded {
    pub fn set(&mut self, script: Script, hash: String) {
        self.0[script as usize] = hash;
    }

    pub fn hash(&self, script: Script) -> &str {
        let hash = &self.0[script as usize];
        debug_assert!(
            !hash.is_empty(),
            "{script:?} is called before it was loaded"
        );
        hash
    }
}
