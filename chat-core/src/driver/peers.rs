//! The connection of each link, with its codec and its queue. Lives on the shard's core; its driver
//! finds a peer by the engine's connection or by the shard's link.

use std::collections::HashMap;

use newim_proto::ids::ConnId;
use newim_proto::link::{Hello, LinkDecoder, LinkQueue};

use crate::LinkId;
use crate::limits::GATEWAY_NAME_BYTES_MAX;

/// The other end of a link.
#[derive(Debug)]
pub(super) struct Peer {
    pub conn: ConnId,
    pub decoder: LinkDecoder,
    pub queue: LinkQueue,
    /// The gateway's exchange address, for the log. None before its Hello: it may be anybody.
    pub gateway: Option<String>,
    /// Set when the peer wants another shard: what came after its Hello, unread, which goes along.
    pub rest: Option<Vec<u8>>,
}

impl Peer {
    pub fn new(conn: ConnId, queue_bytes_max: usize) -> Peer {
        Peer {
            conn,
            decoder: LinkDecoder::new(),
            queue: LinkQueue::new(queue_bytes_max),
            gateway: None,
            rest: None,
        }
    }

    /// The peer said Hello: it is a gateway, by its own word.
    pub fn greeted(&mut self, hello: &Hello) {
        let end = hello.node.floor_char_boundary(GATEWAY_NAME_BYTES_MAX);
        self.gateway = Some(hello.node[..end].to_owned());
    }
}

/// All peers of a shard. Gateways are few: hundreds.
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
        assert!(
            self.by_conn.insert(peer.conn, link).is_none(),
            "a connection opens once"
        );
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
        if let Some(peer) = &peer {
            self.by_conn.remove(&peer.conn);
        }
        peer
    }

    /// Bytes that wait or are in flight, of all links together.
    pub fn queued_bytes(&self) -> usize {
        let peers = self.places.iter().filter_map(|(_, peer)| peer.as_ref());
        peers.map(|peer| peer.queue.bytes()).sum()
    }
}
