//! One outgoing connection to a name, from the look-up of its addresses to the end: each address is tried in
//! turn, then comes a pause that grows and is jittered, then the name is looked up anew, since it may lead
//! elsewhere by now. Pure: it is told of time and of what happened, and says what to do next.
//!
//! Lives in a shard's driver. Links to chat shards and connections to Redis are dialled by it.

use std::net::SocketAddr;
use std::sync::Arc;

use newim_proto::backoff::{Backoff, mix, mix_all};
use newim_proto::ids::{BootId, ConnId, ShardIndex};
use newim_proto::time::Now;

use super::limits::{RESOLVE_MS_MAX, RETRY_MS_MAX, RETRY_MS_MIN};

pub(super) struct Dial {
    /// `host:port`.
    name: Arc<str>,
    seed: u64,
    backoff: Backoff,
    greeting_ms_max: u64,
    state: State,
    /// The addresses that this round has not tried yet, the next one last.
    untried: Vec<SocketAddr>,
    /// The address of the latest attempt.
    addr: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The last round has failed, or none was begun.
    Waiting {
        until_us: u64,
    },
    /// The control thread looks the name up.
    Resolving {
        until_us: u64,
    },
    /// The next address is to be tried now.
    Trying,
    /// Connecting, or waiting for the peer's greeting.
    Greeting {
        conn: ConnId,
        until_us: u64,
    },
    Up {
        conn: ConnId,
    },
    /// Given up; its Closed is on the way.
    Ending {
        conn: ConnId,
    },
}

/// What the owner of a dial has to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the name's addresses, and answer with [`Dial::resolved`].
    Resolve,
    /// Connect, and answer with [`Dial::connecting`].
    Connect(SocketAddr),
    /// Abort this connection: it took too long. Its Closed follows.
    GiveUp(ConnId),
}

/// Randomness for the pauses of one dial: another for each node, shard and peer.
pub(super) fn seed(node: BootId, shard: ShardIndex, peer: u64) -> u64 {
    mix_all(&[node.0, u64::from(shard.0), peer])
}

impl Dial {
    /// Due at once. `greeting_ms_max`: from connecting to [`Dial::up`].
    pub fn new(name: Arc<str>, seed: u64, greeting_ms_max: u64) -> Dial {
        Dial {
            name,
            seed,
            backoff: Backoff::new(RETRY_MS_MIN, RETRY_MS_MAX),
            greeting_ms_max,
            state: State::Waiting { until_us: 0 },
            untried: Vec::new(),
            addr: None,
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The address of the latest attempt, or the name where there was none.
    pub fn peer(&self) -> String {
        self.addr
            .map_or_else(|| self.name.to_string(), |addr| addr.to_string())
    }

    pub fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Waiting { .. } | State::Resolving { .. } | State::Trying => None,
            State::Greeting { conn, .. } | State::Up { conn } | State::Ending { conn } => {
                Some(conn)
            }
        }
    }

    /// The connection while it may be sent to and read from: not once it was given up.
    pub fn live_conn(&self) -> Option<ConnId> {
        match self.state {
            State::Greeting { conn, .. } | State::Up { conn } => Some(conn),
            _ => None,
        }
    }

    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub fn is_greeting(&self) -> bool {
        matches!(self.state, State::Greeting { .. })
    }

    /// The last round has failed, and the next has not begun.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// The step that is due now, if any. A name that is an address needs no look-up.
    pub fn next_step(&mut self, now: Now) -> Option<Step> {
        match self.state {
            State::Waiting { until_us } if until_us <= now.mono_us => {
                if let Ok(addr) = self.name.parse() {
                    self.try_each(&[addr]);
                    return self.next_step(now);
                }
                let until_us = now.after_ms(RESOLVE_MS_MAX);
                self.state = State::Resolving { until_us };
                Some(Step::Resolve)
            }
            State::Resolving { until_us } if until_us <= now.mono_us => {
                self.wait(now);
                None
            }
            State::Trying => {
                self.addr = self.untried.pop();
                self.addr.map(Step::Connect)
            }
            State::Greeting { conn, until_us } if until_us <= now.mono_us => {
                self.state = State::Ending { conn };
                Some(Step::GiveUp(conn))
            }
            _ => None,
        }
    }

    /// The answer to [`Step::Resolve`]; none: the name has no address now. Ignored when nobody asked.
    pub fn resolved(&mut self, now: Now, addrs: &[SocketAddr]) {
        if !matches!(self.state, State::Resolving { .. }) {
            return;
        }
        match addrs {
            [] => self.wait(now),
            addrs => self.try_each(addrs),
        }
    }

    /// The answer to [`Step::Connect`].
    pub fn connecting(&mut self, now: Now, conn: ConnId) {
        let until_us = now.after_ms(self.greeting_ms_max);
        self.state = State::Greeting { conn, until_us };
    }

    /// The peer's greeting was what it should be.
    pub fn up(&mut self) {
        if let State::Greeting { conn, .. } = self.state {
            self.state = State::Up { conn };
            self.backoff.succeeded();
            self.untried.clear();
        }
    }

    /// Gives up the connection, which the caller must abort. Its Closed follows.
    pub fn give_up(&mut self) -> Option<ConnId> {
        let conn = self.live_conn()?;
        self.state = State::Ending { conn };
        Some(conn)
    }

    /// The connection has ended: the next address is tried at once, and after the last one comes a pause.
    /// True: it was up until now.
    pub fn closed(&mut self, now: Now) -> bool {
        let was_up = self.is_up();
        match self.untried.is_empty() {
            true => self.wait(now),
            false => self.state = State::Trying,
        }
        was_up
    }

    /// When [`Dial::next_step`] is wanted, in the time of [`Now`].
    pub fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_us }
            | State::Resolving { until_us }
            | State::Greeting { until_us, .. } => Some(until_us),
            State::Trying => Some(0),
            State::Up { .. } | State::Ending { .. } => None,
        }
    }

    fn try_each(&mut self, addrs: &[SocketAddr]) {
        self.untried.clear();
        self.untried.extend(addrs.iter().rev());
        self.state = State::Trying;
    }

    fn wait(&mut self, now: Now) {
        let pause_ms = self.backoff.failed(mix(self.seed ^ now.mono_us));
        let until_us = now.after_ms(pause_ms);
        self.state = State::Waiting { until_us };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GREETING_MS_MAX: u64 = 3_000;

    fn dial(name: &str) -> Dial {
        Dial::new(name.into(), 1, GREETING_MS_MAX)
    }

    fn at_ms(ms: u64) -> Now {
        Now {
            mono_us: ms * 1000,
            wall_ms: 0,
        }
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn conn(index: u32) -> ConnId {
        ConnId {
            index,
            generation: 0,
        }
    }

    /// The end of the pause that the dial makes now.
    fn pause_end(dial: &Dial) -> Now {
        assert!(dial.is_waiting());
        Now {
            mono_us: dial.next_deadline().expect("a pause ends"),
            wall_ms: 0,
        }
    }

    #[test]
    fn all_addresses_are_tried_in_turn_before_a_pause() {
        let mut dial = dial("redis.example:6379");
        let now = at_ms(7);
        assert_eq!(dial.next_step(now), Some(Step::Resolve));
        assert_eq!(dial.next_step(now), None, "asked once");
        let addrs = [addr("[::1]:6379"), addr("10.0.0.1:6379")];
        dial.resolved(now, &addrs);
        for (index, addr) in (0..).zip(addrs) {
            assert_eq!(dial.next_deadline(), Some(0), "no pause between them");
            assert_eq!(dial.next_step(now), Some(Step::Connect(addr)));
            dial.connecting(now, conn(index));
            assert_eq!(dial.next_step(now), None);
            assert!(!dial.closed(now));
        }
        assert_eq!(dial.next_step(now), None);
        assert!(pause_end(&dial).mono_us > now.mono_us);
    }

    #[test]
    fn a_name_is_looked_up_anew_after_each_round_and_after_a_loss() {
        let mut dial = dial("redis.example:6379");
        let mut now = at_ms(0);
        for round in 0..3 {
            assert_eq!(dial.next_step(now), Some(Step::Resolve), "round {round}");
            let elsewhere = addr(&format!("10.0.0.{round}:6379"));
            dial.resolved(now, &[elsewhere]);
            assert_eq!(dial.next_step(now), Some(Step::Connect(elsewhere)));
            dial.connecting(now, conn(round));
            if round == 1 {
                dial.up();
                assert!(dial.is_up() && dial.next_deadline().is_none());
            }
            assert_eq!(dial.closed(now), round == 1);
            now = pause_end(&dial);
        }
    }

    #[test]
    fn a_name_without_an_address_is_waited_for() {
        let mut dial = dial("redis.example:6379");
        let mut now = at_ms(0);
        for _ in 0..10 {
            assert_eq!(dial.next_step(now), Some(Step::Resolve));
            dial.resolved(now, &[]);
            assert_eq!(dial.next_step(now), None);
            now = pause_end(&dial);
        }
        assert_eq!(dial.next_step(now), Some(Step::Resolve));
        dial.resolved(now, &[addr("10.0.0.1:6379")]);
        assert!(matches!(dial.next_step(now), Some(Step::Connect(_))));
    }

    #[test]
    fn a_look_up_that_is_never_answered_is_a_failed_attempt() {
        let mut dial = dial("redis.example:6379");
        assert_eq!(dial.next_step(at_ms(0)), Some(Step::Resolve));
        let late = at_ms(RESOLVE_MS_MAX);
        assert_eq!(dial.next_deadline(), Some(late.mono_us));
        assert_eq!(dial.next_step(late), None);
        dial.resolved(late, &[addr("10.0.0.1:6379")]);
        assert!(dial.is_waiting(), "an answer that comes too late");
        let after = pause_end(&dial);
        assert_eq!(dial.next_step(after), Some(Step::Resolve));
    }

    #[test]
    fn an_address_needs_no_look_up() {
        let mut dial = dial("127.0.0.1:6379");
        let expected = Step::Connect(addr("127.0.0.1:6379"));
        assert_eq!(dial.next_step(at_ms(0)), Some(expected));
    }

    #[test]
    fn a_silent_peer_is_given_up_and_the_next_address_tried() {
        let mut dial = dial("redis.example:6379");
        let now = at_ms(0);
        dial.next_step(now);
        dial.resolved(now, &[addr("10.0.0.1:1"), addr("10.0.0.2:1")]);
        dial.next_step(now);
        dial.connecting(now, conn(5));
        let late = at_ms(GREETING_MS_MAX);
        assert_eq!(dial.next_step(late), Some(Step::GiveUp(conn(5))));
        assert_eq!((dial.conn(), dial.live_conn()), (Some(conn(5)), None));
        assert_eq!(dial.next_deadline(), None, "its Closed is on the way");
        dial.closed(late);
        let next = Step::Connect(addr("10.0.0.2:1"));
        assert_eq!(dial.next_step(late), Some(next));
    }

    /// The instants of the first attempts of a dial whose peer is away.
    fn attempts_us(seed: u64) -> Vec<u64> {
        let mut dial = Dial::new("10.0.0.1:6379".into(), seed, GREETING_MS_MAX);
        let mut now = at_ms(1_000);
        let attempt = |_| {
            assert!(matches!(dial.next_step(now), Some(Step::Connect(_))));
            dial.connecting(now, conn(0));
            dial.closed(now);
            now = pause_end(&dial);
            now.mono_us
        };
        (0..20).map(attempt).collect()
    }

    #[test]
    fn shards_and_nodes_that_lose_one_peer_together_do_not_come_back_together() {
        let mut instants = BTreeSet::new();
        let (mut dials, mut attempts) = (0, 0);
        for node in [BootId(1), BootId(2), BootId(0xdead_beef)] {
            for shard in 0..4 {
                let of_dial = attempts_us(seed(node, ShardIndex(shard), 9));
                dials += 1;
                attempts += of_dial.len();
                instants.extend(of_dial);
            }
        }
        // The first pauses have only some 25 different lengths; the later ones 1,000.
        assert!(
            attempts - instants.len() < dials,
            "{} of {attempts} attempts fell on one instant with another",
            attempts - instants.len()
        );
    }
}
