//! Links that another shard of this process hands over. The socket comes through the ring and the Hello
//! through the mesh, so either may be first: it waits here for the other. Part of the driver, on the core of
//! the shard that the link is for.

use std::collections::{HashMap, VecDeque};

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::time::Now;

use super::Letter;
use crate::limits::HAND_OVER_MS_MAX;

/// The shard that hands the link over, and its tag for it.
type Key = (ShardIndex, u64);

/// All links that are half here.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    halves: HashMap<Key, Half>,
    by_conn: HashMap<ConnId, Key>,
    /// Deadlines in `Now::mono_us`, the oldest first. Those of links that are whole by now stay until then.
    due: VecDeque<(u64, Key)>,
}

#[derive(Debug)]
enum Half {
    Letter(Letter),
    /// The connection, and the bytes that came before its letter.
    Socket(ConnId, Vec<u8>),
}

/// A link that is whole.
pub(super) struct Arrived {
    pub conn: ConnId,
    pub letter: Letter,
    /// Bytes that came between the socket and the letter.
    pub early: Vec<u8>,
}

/// A half that has waited too long.
pub(super) enum Expired {
    Letter,
    Socket(ConnId),
}

impl Arrivals {
    /// A socket came. Some: its letter was here already.
    pub fn socket(
        &mut self,
        now: Now,
        conn: ConnId,
        from: ShardIndex,
        tag: u64,
    ) -> Option<Arrived> {
        let key = (from, tag);
        if let Some(Half::Letter(letter)) = self.halves.remove(&key) {
            return Some(Arrived {
                conn,
                letter,
                early: Vec::new(),
            });
        }
        self.by_conn.insert(conn, key);
        self.wait(now, key, Half::Socket(conn, Vec::new()));
        None
    }

    /// A letter came. Some: its socket was here already.
    pub fn letter(&mut self, now: Now, from: ShardIndex, letter: Letter) -> Option<Arrived> {
        let key = (from, letter.tag);
        if let Some(Half::Socket(conn, early)) = self.halves.remove(&key) {
            self.by_conn.remove(&conn);
            return Some(Arrived {
                conn,
                letter,
                early,
            });
        }
        self.wait(now, key, Half::Letter(letter));
        None
    }

    /// Keeps the bytes of a socket that waits for its letter. Err: with these bytes it would be more than
    /// `bytes_max`; the connection is forgotten, and the caller resets it.
    pub fn received(&mut self, conn: ConnId, bytes: &[u8], bytes_max: usize) -> Result<(), ConnId> {
        let Some(key) = self.by_conn.get(&conn) else {
            return Ok(());
        }; // late bytes of a link that this side closed
        let Some(Half::Socket(_, early)) = self.halves.get_mut(key) else {
            return Ok(());
        };
        if early.len() + bytes.len() > bytes_max {
            self.closed(conn);
            return Err(conn);
        }
        early.extend_from_slice(bytes);
        Ok(())
    }

    /// A connection is gone.
    pub fn closed(&mut self, conn: ConnId) {
        if let Some(key) = self.by_conn.remove(&conn) {
            self.halves.remove(&key);
        }
    }

    /// When the next half expires, in `Now::mono_us`.
    pub fn next_due_us(&self) -> Option<u64> {
        self.due.front().map(|(due_us, _)| *due_us)
    }

    /// Takes a half that has waited too long.
    pub fn take_expired(&mut self, now: Now) -> Option<Expired> {
        while let Some((due_us, key)) = self.due.front().copied() {
            let waits = self.halves.contains_key(&key);
            if waits && due_us > now.mono_us {
                return None;
            }
            self.due.pop_front();
            match self.halves.remove(&key) {
                Some(Half::Socket(conn, _)) => {
                    self.by_conn.remove(&conn);
                    return Some(Expired::Socket(conn));
                }
                Some(Half::Letter(_)) => return Some(Expired::Letter),
                None => {}
            }
        }
        None
    }

    fn wait(&mut self, now: Now, key: Key, half: Half) {
        self.halves.insert(key, half);
        self.due.push_back((now.after_ms(HAND_OVER_MS_MAX), key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use newim_proto::ids::BootId;
    use newim_proto::link::Hello;

    const CONN: ConnId = ConnId {
        index: 3,
        generation: 1,
    };
    const FROM: ShardIndex = ShardIndex(1);

    fn letter(tag: u64) -> Letter {
        let hello = Hello {
            version: 2,
            node: "gateway:8181".into(),
            boot_id: BootId(1),
            chat_boot_id: BootId(2),
            chat_shard: ShardIndex(0),
            slot_count: 4096,
        };
        Letter {
            tag,
            hello,
            rest: b"rest".to_vec(),
        }
    }

    fn after_s(s: u64) -> Now {
        Now {
            mono_us: s * 1_000_000,
            wall_ms: 0,
        }
    }

    #[test]
    fn a_link_is_here_when_both_halves_are_whichever_came_first() {
        let mut arrivals = Arrivals::default();
        assert!(arrivals.letter(after_s(0), FROM, letter(1)).is_none());
        assert!(
            arrivals.socket(after_s(0), CONN, FROM, 2).is_none(),
            "the socket of another link"
        );
        assert!(arrivals.by_conn.contains_key(&CONN));
        arrivals.received(CONN, b"ear", 5).unwrap();
        arrivals.received(CONN, b"ly", 5).unwrap();
        let arrived = arrivals
            .letter(after_s(0), FROM, letter(2))
            .expect("both are here");
        assert_eq!(
            (arrived.conn, &arrived.letter.rest[..], &arrived.early[..]),
            (CONN, &b"rest"[..], &b"early"[..])
        );
        let other = ConnId {
            generation: 2,
            ..CONN
        };
        let arrived = arrivals
            .socket(after_s(0), other, FROM, 1)
            .expect("both are here");
        assert_eq!((arrived.conn, arrived.letter.tag), (other, 1));
        assert!(
            arrivals.take_expired(after_s(99)).is_none(),
            "nothing is left to expire"
        );
        assert_eq!(arrivals.next_due_us(), None);
    }

    #[test]
    fn a_half_without_its_other_half_expires() {
        let mut arrivals = Arrivals::default();
        arrivals.letter(after_s(0), FROM, letter(1));
        arrivals.socket(after_s(1), CONN, FROM, 2);
        assert!(arrivals.take_expired(after_s(9)).is_none());
        assert!(matches!(
            arrivals.take_expired(after_s(10)),
            Some(Expired::Letter)
        ));
        assert!(arrivals.take_expired(after_s(10)).is_none());
        assert!(matches!(
            arrivals.take_expired(after_s(11)),
            Some(Expired::Socket(CONN))
        ));
        assert!(!arrivals.by_conn.contains_key(&CONN));
    }

    #[test]
    fn a_socket_that_sends_too_much_or_closes_is_forgotten() {
        let mut arrivals = Arrivals::default();
        arrivals.socket(after_s(0), CONN, FROM, 1);
        assert_eq!(arrivals.received(CONN, b"123456", 5), Err(CONN));
        assert!(!arrivals.by_conn.contains_key(&CONN));
        arrivals.socket(after_s(0), CONN, FROM, 2);
        arrivals.closed(CONN);
        assert!(arrivals.letter(after_s(0), FROM, letter(2)).is_none());
    }
}
