//! Who stands at the other end of each link: a connection with its codec, or a gateway on this thread.

use std::collections::HashMap;

use newim_proto::ids::ConnId;
use newim_proto::link::{LinkDecoder, LinkQueue};

use crate::LinkId;

#[derive(Debug)]
pub(super) enum Peer {
    Tcp {
        conn: ConnId,
        decoder: LinkDecoder,
        queue: LinkQueue,
        /// It wants another shard: what came after its Hello goes along, unread.
        leaving: Option<Vec<u8>>,
    },
    Local,
}

impl Peer {
    pub fn tcp(conn: ConnId, queue_bytes_max: usize) -> Peer {
        Peer::Tcp {
            conn,
            decoder: LinkDecoder::new(),
            queue: LinkQueue::new(queue_bytes_max),
            leaving: None,
        }
    }
}

/// Gateways are few: hundreds.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// By `LinkId::index`; the generation tells lives of an index apart.
    places: Vec<(u32, Option<Peer>)>,
    free: Vec<u32>,
    by_conn: HashMap<ConnId, LinkId>,
}

impl Peers {
    pub fn insert(&mut self, peer: Peer) -> LinkId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let (generation, place) = &mut self.places[index as usize];
        assert!(place.is_none(), "a free place is empty");
        *generation = generation.wrapping_add(1);
        let link = LinkId {
            index,
            generation: *generation,
        };
        if let Peer::Tcp { conn, .. } = &peer {
            assert!(
                self.by_conn.insert(*conn, link).is_none(),
                "a connection opens once"
            );
        }
        *place = Some(peer);
        link
    }

    pub fn link(&self, conn: ConnId) -> Option<LinkId> {
        self.by_conn.get(&conn).copied()
    }

    pub fn get(&mut self, link: LinkId) -> Option<&mut Peer> {
        let (generation, place) = self.places.get_mut(link.index as usize)?;
        if *generation == link.generation {
            place.as_mut()
        } else {
            None
        }
    }

    pub fn remove(&mut self, link: LinkId) -> Option<Peer> {
        self.get(link)?;
        self.free.push(link.index);
        let peer = self.places[link.index as usize].1.take();
        if let Some(Peer::Tcp { conn, .. }) = &peer {
            self.by_conn.remove(conn);
        }
        peer
    }

    pub fn queued_bytes(&self) -> usize {
        let bytes = |place: &(u32, Option<Peer>)| match &place.1 {
            Some(Peer::Tcp { queue, .. }) => queue.bytes(),
            _ => 0,
        };
        self.places.iter().map(bytes).sum()
    }
}
