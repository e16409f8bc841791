//! All that goes into a chat shard and all that comes out, as data.

use std::sync::Arc;

use newim_proto::ids::ShardIndex;
use newim_proto::link::{Hello, LinkMessage};
use newim_proto::routes::RouteTable;

use crate::fault::LinkFault;

/// A link of this shard, named by its driver. `generation` differs between two links that used the
/// same index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    /// Dense: from 0, reused. Fit to index a `Vec`.
    pub index: u32,
    pub generation: u32,
}

#[derive(Debug)]
pub enum Input {
    /// Somebody connected; their Hello is to come.
    LinkOpened {
        link: LinkId,
    },
    LinkMessage {
        link: LinkId,
        message: LinkMessage,
    },
    /// The link is gone, whoever ended it. Also after Close and HandOver, where it changes nothing.
    LinkClosed {
        link: LinkId,
    },
    Routes(Arc<RouteTable>),
    /// Tell the gateways to leave; serve on until they have.
    Drain,
}

#[derive(Debug, PartialEq)]
pub enum Output {
    Send {
        link: LinkId,
        message: LinkMessage,
    },
    /// The shard has forgotten the link: nothing more is said on it.
    Close {
        link: LinkId,
        why: LinkFault,
    },
    /// The gateway wants another shard of this process: pass the link on, with its Hello, which that
    /// shard takes as if it came from the wire. This shard has forgotten the link.
    HandOver {
        link: LinkId,
        to: ShardIndex,
        hello: Hello,
    },
}
