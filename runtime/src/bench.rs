//! The runtime's private parts one by one, for `newim-gate`, which counts what they cost. Nothing else may
//! use it: it promises nothing.

use std::io;
use std::sync::Arc;

use newim_proto::ids::ShardIndex;

use crate::bell::Bell;
use crate::conns::Conn;
use crate::flights::Flight;
use crate::mesh::{Mesh, MeshPort};

/// What exists once per connection or per send: name and bytes.
pub fn sizes() -> Vec<(&'static str, usize)> {
    vec![
        ("runtime connection", size_of::<Conn>()),
        ("runtime send in flight", size_of::<Flight>()),
    ]
}

/// The mesh between two shards of one process that are both awake.
pub struct MeshBench<M> {
    from: MeshPort<M>,
    to: MeshPort<M>,
}

impl<M> MeshBench<M> {
    /// Each bell has an eventfd, which the system may refuse.
    pub fn new(capacity: u32) -> io::Result<MeshBench<M>> {
        let bells = [Arc::new(Bell::new()?), Arc::new(Bell::new()?)];
        let mesh = Arc::new(Mesh::new(&bells, capacity));
        Ok(MeshBench {
            from: MeshPort::new(Arc::clone(&mesh), ShardIndex(0)),
            to: MeshPort::new(mesh, ShardIndex(1)),
        })
    }

    /// Sends the messages, announces them once, and takes them. Returns how many arrived.
    pub fn pass(&mut self, messages: impl Iterator<Item = M>) -> u64 {
        for message in messages {
            let sent = self.from.send(ShardIndex(1), message);
            assert!(sent.is_ok(), "a batch fits into the queue");
        }
        self.from
            .announce(|_, _| unreachable!("a shard that runs is not woken"));
        let mut collected = self.to.collect();
        let mut taken = 0;
        while self.to.take(&mut collected).is_some() {
            taken += 1;
        }
        taken
    }
}
