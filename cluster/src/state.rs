//! This node's standing with ZooKeeper, for operators and for /readyz: one value, one log line for each change
//! and none for each try. Set by the member and its session, on the control thread.

use std::fmt;
use std::sync::Mutex;

use newim_proto::ids::BootId;
use thiserror::Error;
use tokio::sync::watch;

/// This node's standing with ZooKeeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// The node is not a member yet, for this reason; it goes on trying.
    Connecting { why: String },
    /// The node is registered; the table is kept current.
    Connected,
    /// The connection is lost; the session may still live. The others see this node until it expires. The last
    /// table stays.
    Suspended,
    /// The session ended: the others don't see this node. It registers again, as soon as it can, under the same
    /// boot id. The last table stays.
    Expired { why: String },
    /// The node can't become a member as things are: somebody must act, then start the node again.
    Refused(ClusterError),
    /// The node left.
    Left,
}

/// Why a node can't join. Each variant has a remedy of its own.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClusterError {
    #[error("bad ZooKeeper address: {0}")]
    BadAddress(String),
    #[error("{name:?} can't be the name of a znode: it must be the node's host:port")]
    BadName { name: String },
    /// ZooKeeper belongs to another release, or to another cluster: this node would route otherwise than the
    /// others.
    #[error("/newim/slots holds {found}, this node needs {ours}")]
    SlotsMismatch { found: String, ours: String },
    /// Two nodes claim one exchange address, and both live.
    #[error("{path} belongs to another node that lives{}", shown(*boot_id))]
    DuplicateName {
        path: String,
        boot_id: Option<BootId>,
    },
    #[error("ZooKeeper does not permit access to {path}")]
    NoPermission { path: String },
    #[error("ZooKeeper refuses this client's credentials")]
    AuthFailed,
    #[error("this ZooKeeper is too old: 3.6 or later is needed (recursive watches, multi-reads)")]
    TooOld,
}

/// The boot id of a node, as people see it elsewhere; nothing where the znode doesn't tell it.
fn shown(boot_id: Option<BootId>) -> String {
    boot_id.map_or_else(String::new, |boot_id| format!(" (boot id {boot_id})"))
}

impl fmt::Display for ClusterState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClusterState::Connecting { why } => write!(f, "connecting: {why}"),
            ClusterState::Connected => write!(f, "connected"),
            ClusterState::Suspended => {
                write!(f, "suspended: the connection to ZooKeeper is lost")
            }
            ClusterState::Expired { why } => write!(f, "expired: {why}"),
            ClusterState::Refused(error) => write!(f, "refused: {error}"),
            ClusterState::Left => write!(f, "left"),
        }
    }
}

/// Derives the state from what two observers see: the life of the session, and our work in it.
#[derive(Debug)]
pub(crate) struct Reporter {
    facts: Mutex<Facts>,
    state: watch::Sender<ClusterState>,
}

#[derive(Debug)]
struct Facts {
    link_up: bool,
    registered: bool,
    ever_registered: bool,
    /// The last trouble, or what keeps this node from being registered.
    why: String,
    end: Option<ClusterState>,
}

impl Reporter {
    pub fn new() -> (Reporter, watch::Receiver<ClusterState>) {
        let facts = Facts {
            link_up: false,
            registered: false,
            ever_registered: false,
            why: "starting".to_owned(),
            end: None,
        };
        let (state, receiver) = watch::channel(facts.state());
        let facts = Mutex::new(facts);
        (Reporter { facts, state }, receiver)
    }

    /// There is no session, or none any more.
    pub fn without_session(&self, why: String) {
        self.change(|facts| {
            facts.link_up = false;
            facts.registered = false;
            facts.why = why;
        });
    }

    pub fn link_up(&self) {
        self.change(|facts| facts.link_up = true);
    }

    pub fn link_lost(&self) {
        self.change(|facts| facts.link_up = false);
    }

    pub fn registered(&self) {
        self.change(|facts| {
            facts.registered = true;
            facts.ever_registered = true;
            facts.why.clear();
        });
    }

    /// Something failed and will be tried again: one log line for each new reason, none for each try.
    pub fn trouble(&self, why: String) {
        self.change(|facts| {
            if facts.registered && facts.why != why {
                tracing::warn!("cluster: {why}");
            }
            facts.why = why; // of a node that isn't registered, this is the state
        });
    }

    /// There is a session, but our node is not registered in it.
    pub fn unregistered(&self, why: String) {
        self.change(|facts| {
            facts.registered = false;
            facts.why = why;
        });
    }

    pub fn ended(&self, end: ClusterState) {
        self.change(|facts| facts.end = Some(end));
    }

    fn change(&self, with: impl FnOnce(&mut Facts)) {
        let mut facts = self.facts.lock().expect("no panic while it is held");
        with(&mut facts);
        let state = facts.state();
        let changed = self.state.send_if_modified(|present| {
            let changed = *present != state;
            present.clone_from(&state);
            changed
        });
        if changed {
            log(&state);
        }
    }
}

impl Facts {
    fn state(&self) -> ClusterState {
        if let Some(end) = &self.end {
            return end.clone();
        }
        match (self.registered, self.link_up) {
            (true, true) => ClusterState::Connected,
            (true, false) => ClusterState::Suspended,
            (false, _) if self.ever_registered => ClusterState::Expired {
                why: self.why.clone(),
            },
            (false, _) => ClusterState::Connecting {
                why: self.why.clone(),
            },
        }
    }
}

fn log(state: &ClusterState) {
    match state {
        ClusterState::Connecting { why } => {
            tracing::warn!("cluster: not joined yet, ZooKeeper is tried again: {why}")
        }
        ClusterState::Connected => tracing::info!("cluster: joined through ZooKeeper"),
        ClusterState::Suspended => {
            tracing::warn!("cluster: ZooKeeper does not answer; serving on with the last routes");
        }
        ClusterState::Expired { why } => {
            tracing::warn!("cluster: session ended, registering again: {why}");
        }
        ClusterState::Refused(error) => tracing::error!("cluster: can't join: {error}"),
        ClusterState::Left => tracing::info!("cluster: left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_shown_as_everywhere_and_only_if_it_is_known() {
        let error = |boot_id| {
            let path = "/newim/servers/exchange/h:1".to_owned();
            ClusterError::DuplicateName { path, boot_id }.to_string()
        };
        assert!(error(Some(BootId(0xab))).ends_with("that lives (boot id 00000000000000ab)"));
        assert!(error(None).ends_with("that lives"));
    }

    #[test]
    fn a_lost_link_suspends_a_member_and_only_a_member() {
        let (reporter, state) = Reporter::new();
        reporter.link_up();
        reporter.link_lost();
        assert!(matches!(*state.borrow(), ClusterState::Connecting { .. }));
        reporter.link_up();
        reporter.registered();
        assert_eq!(*state.borrow(), ClusterState::Connected);
        reporter.link_lost();
        assert_eq!(*state.borrow(), ClusterState::Suspended);
        reporter.link_up();
        assert_eq!(*state.borrow(), ClusterState::Connected);
    }

    #[test]
    fn registering_and_hearing_of_the_link_may_come_in_either_order() {
        let (reporter, state) = Reporter::new();
        reporter.registered();
        reporter.link_up();
        assert_eq!(*state.borrow(), ClusterState::Connected);
    }

    #[test]
    fn a_member_that_lost_its_session_is_expired_until_it_is_registered_again() {
        let (reporter, state) = Reporter::new();
        reporter.link_up();
        reporter.registered();
        reporter.without_session("timeout".to_owned());
        assert_eq!(
            *state.borrow(),
            ClusterState::Expired {
                why: "timeout".to_owned()
            }
        );
        reporter.link_up();
        assert!(matches!(*state.borrow(), ClusterState::Expired { .. }));
        reporter.registered();
        assert_eq!(*state.borrow(), ClusterState::Connected);
    }

    #[test]
    fn a_try_that_fails_like_the_last_is_no_change() {
        let (reporter, mut state) = Reporter::new();
        reporter.without_session("nobody answers".to_owned());
        assert!(state.has_changed().expect("the reporter lives"));
        state.mark_unchanged();
        reporter.without_session("nobody answers".to_owned());
        assert!(!state.has_changed().expect("the reporter lives"));
    }

    #[test]
    fn an_end_is_final() {
        let (reporter, state) = Reporter::new();
        reporter.ended(ClusterState::Left);
        reporter.link_up();
        reporter.registered();
        assert_eq!(*state.borrow(), ClusterState::Left);
    }
}
