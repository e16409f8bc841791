//! The clients of one shard, dense and small: an idle client costs the size of [`Client`]. Names, sources
//! and targets are computed from its number. Lives on the shard's core.

use newim_proto::ids::ConnId;
use newim_proto::ws::Messages;

use crate::place::Place;

/// Index of a client within its shard, from 0.
pub type Local = u32;

/// State of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Life {
    /// Not connected: waits for its turn to connect, or for a timer.
    Away,
    Connecting,
    Upgrading,
    /// Upgraded; waits for the list of its boxes.
    Listing,
    /// Waits for the ACK of its JOIN.
    Joining,
    /// Ready: its boxes are known and joined.
    Settled,
    /// Waits for the ACK of its QUIT, and leaves then.
    Quitting,
    /// Has quit its box and waits for one more answer: whatever the box still sends to it strays.
    Left,
    /// Closing; waits for the end of the connection.
    Closing,
}

impl Life {
    pub fn is_upgraded(self) -> bool {
        matches!(
            self,
            Life::Listing | Life::Joining | Life::Settled | Life::Quitting | Life::Left
        )
    }

    /// Whether it takes one of the places of clients that are being opened.
    pub fn is_opening(self) -> bool {
        matches!(
            self,
            Life::Connecting | Life::Upgrading | Life::Listing | Life::Joining
        )
    }
}

#[derive(Debug)]
pub struct Client {
    pub conn: ConnId,
    pub messages: Messages,
    /// When it began to connect, in µs on CLOCK_MONOTONIC; 0 once it is settled.
    pub since_us: u64,
    /// Index of its unsent bytes in `wire`.
    pub out: u32,
    pub home: Place,
    pub pair: Place,
    pub life: Life,
    /// Connections in a row that failed or ended, for the back-off.
    pub failures: u8,
    /// Number of its earlier connections.
    pub connects: u16,
    pub is_slow: bool,
    /// Whether it was settled before: the next time counts as a reconnect.
    pub was_settled: bool,
    pub is_enrolled: bool,
}

const _: () = assert!(
    size_of::<Client>() <= 100,
    "the budget of an idle client, besides the engine's connection"
);

pub const NO_OUT: u32 = u32::MAX;
const NO_CONN: ConnId = ConnId {
    index: u32::MAX,
    generation: u32::MAX,
};
const NOBODY: Local = Local::MAX;

impl Default for Client {
    fn default() -> Client {
        Client {
            conn: NO_CONN,
            messages: Messages::new(),
            since_us: 0,
            out: NO_OUT,
            home: Place::default(),
            pair: Place::default(),
            life: Life::Away,
            failures: 0,
            connects: 0,
            is_slow: false,
            was_settled: false,
            is_enrolled: false,
        }
    }
}

pub struct Clients {
    all: Vec<Client>,
    /// Clients by connection index.
    by_conn: Vec<Local>,
}

impl Clients {
    pub fn new(count: u32) -> Clients {
        let mut all = Vec::new();
        all.resize_with(count as usize, Client::default);
        Clients {
            all,
            by_conn: Vec::new(),
        }
    }

    pub fn len(&self) -> u32 {
        self.all.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&mut self, local: Local) -> &mut Client {
        &mut self.all[local as usize]
    }

    pub fn look(&self, local: Local) -> &Client {
        &self.all[local as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (Local, &Client)> {
        (0..).zip(&self.all)
    }

    pub fn connects(&mut self, local: Local, conn: ConnId) {
        let index = conn.index as usize;
        if index >= self.by_conn.len() {
            self.by_conn.resize(index + 1, NOBODY);
        }
        self.by_conn[index] = local;
        self.all[local as usize].conn = conn;
    }

    /// The client of a connection. None: the connection no longer belongs to a client.
    pub fn of(&self, conn: ConnId) -> Option<Local> {
        let local = *self.by_conn.get(conn.index as usize)?;
        let client = self.all.get(local as usize)?;
        (client.conn == conn).then_some(local)
    }

    pub fn ended(&mut self, local: Local) {
        self.all[local as usize].conn = NO_CONN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_its_clients_until_it_ends() {
        let mut clients = Clients::new(3);
        let conn = ConnId {
            index: 7,
            generation: 1,
        };
        clients.connects(2, conn);
        assert_eq!(clients.of(conn), Some(2));
        let other = ConnId {
            generation: 2,
            ..conn
        };
        assert_eq!(clients.of(other), None);
        clients.ended(2);
        assert_eq!(clients.of(conn), None);
    }
}
