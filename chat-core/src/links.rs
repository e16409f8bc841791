//! The links of a chat shard: which gateway is at the other end, how many topics it wants, and how far its
//! publishes have come. Part of [`crate::ChatShard`], on its core.

use std::collections::VecDeque;

use newim_proto::ids::BootId;

use crate::events::LinkId;

/// The name of a link in the tables of its shard. It is not used for another link before every topic has
/// forgotten the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub u32);

/// All links of a shard.
#[derive(Debug, Default)]
pub(crate) struct Links {
    slots: Vec<Slot>,
    free: Vec<LinkKey>,
    /// The key of the link with that `LinkId::index`.
    by_index: Vec<Option<LinkKey>>,
    live: usize,
    /// Links that are gone, and that some topics have yet to forget. The first one is being forgotten.
    forgetting: VecDeque<Forgetting>,
    /// Links with publishes that are not accepted yet.
    unaccepted: Vec<LinkKey>,
    /// When the Hello of each link is due, in `Now::mono_us`. The oldest first.
    hello_due: VecDeque<(u64, LinkId)>,
}

#[derive(Debug)]
enum Slot {
    Free,
    Live(Box<Link>),
    Forgetting,
}

/// A link that is gone. The topics that it wanted are found by going through all topics, a few at a time: a
/// list per link would cost every topic's key once more for as long as links live.
#[derive(Debug)]
pub(crate) struct Forgetting {
    pub key: LinkKey,
    /// The next place to look at in the table of topics.
    pub place: u32,
    /// The number of topics that have yet to forget it.
    pub left: usize,
}

/// One link.
#[derive(Debug)]
pub(crate) struct Link {
    pub id: LinkId,
    /// The life of the gateway; None before its Hello.
    pub gateway: Option<BootId>,
    /// The number of topics that it wants.
    pub interests: usize,
    /// The number of the last publish taken.
    pub published: u64,
    /// The number up to which publishes were accepted.
    accepted: u64,
}

impl Links {
    /// The number of links that are open.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no link is open and every closed one is forgotten.
    pub fn is_empty(&self) -> bool {
        self.live == 0 && self.forgetting.is_empty()
    }

    /// Adds a link whose Hello is due at that time (`Now::mono_us`).
    pub fn insert(&mut self, id: LinkId, hello_due_us: u64) -> LinkKey {
        let link = Link {
            id,
            gateway: None,
            interests: 0,
            published: 0,
            accepted: 0,
        };
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            LinkKey(self.slots.len() as u32 - 1)
        });
        self.slots[key.0 as usize] = Slot::Live(Box::new(link));
        let index = id.index as usize;
        if self.by_index.len() <= index {
            self.by_index.resize(index + 1, None);
        }
        assert!(
            self.by_index[index].is_none(),
            "the driver reports a close before it uses an index again"
        );
        self.by_index[index] = Some(key);
        self.hello_due.push_back((hello_due_us, id));
        self.live += 1;
        key
    }

    /// The key of a link; None if this shard has closed or handed it over.
    pub fn key(&self, id: LinkId) -> Option<LinkKey> {
        let key = (*self.by_index.get(id.index as usize)?)?;
        self.get(key)
            .is_some_and(|link| link.id == id)
            .then_some(key)
    }

    /// An open link.
    pub fn get(&self, key: LinkKey) -> Option<&Link> {
        match &self.slots[key.0 as usize] {
            Slot::Live(link) => Some(link),
            _ => None,
        }
    }

    /// An open link, to be changed.
    pub fn get_mut(&mut self, key: LinkKey) -> Option<&mut Link> {
        match &mut self.slots[key.0 as usize] {
            Slot::Live(link) => Some(link),
            _ => None,
        }
    }

    /// The links that have said Hello.
    pub fn greeted(&self) -> impl Iterator<Item = &Link> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Live(link) if link.gateway.is_some() => Some(&**link),
            _ => None,
        })
    }

    /// Takes out a link that is gone. Its topics forget it turn by turn.
    pub fn remove(&mut self, key: LinkKey) -> Link {
        let slot = std::mem::replace(&mut self.slots[key.0 as usize], Slot::Forgetting);
        let Slot::Live(link) = slot else {
            panic!("only live links are removed")
        };
        self.by_index[link.id.index as usize] = None;
        self.live -= 1;
        self.forgetting.push_back(Forgetting {
            key,
            place: 0,
            left: link.interests,
        });
        *link
    }

    /// Whether some topic has yet to forget a link.
    pub fn is_forgetting(&self) -> bool {
        !self.forgetting.is_empty()
    }

    /// The link that is being forgotten.
    pub fn forgetting(&mut self) -> Option<&mut Forgetting> {
        self.forgetting.front_mut()
    }

    /// No topic knows that link any more, so its key may name another one.
    pub fn forgotten(&mut self) {
        let done = self.forgetting.pop_front().expect("one is being forgotten");
        assert_eq!(done.left, 0, "links and topics know of each other");
        self.slots[done.key.0 as usize] = Slot::Free;
        self.free.push(done.key);
    }

    /// Counts a publish of the link as taken; `next_accepted` will name it.
    pub fn published(&mut self, key: LinkKey) {
        let Some(link) = self.get_mut(key) else {
            return;
        };
        if link.published == link.accepted {
            self.unaccepted.push(key);
        }
        self.get_mut(key).expect("just seen").published += 1;
    }

    /// Takes a link with publishes to accept, and the number up to which they now are.
    pub fn next_accepted(&mut self) -> Option<(LinkId, u64)> {
        while let Some(key) = self.unaccepted.pop() {
            if let Some(link) = self.get_mut(key)
                && link.accepted != link.published
            {
                link.accepted = link.published;
                return Some((link.id, link.accepted));
            }
        }
        None
    }

    /// When the next Hello is due, in `Now::mono_us`.
    pub fn next_hello_due_us(&self) -> Option<u64> {
        self.hello_due.front().map(|(due_us, _)| *due_us)
    }

    /// Takes a link whose Hello is overdue.
    pub fn take_hello_due(&mut self, now_us: u64) -> Option<LinkKey> {
        self.forget_hellos_heard();
        let (due_us, id) = *self.hello_due.front()?;
        if due_us > now_us {
            return None;
        }
        self.hello_due.pop_front();
        self.key(id)
    }

    /// Drops deadlines that were met, so that the shard is not woken for them.
    pub fn forget_hellos_heard(&mut self) {
        while let Some((_, id)) = self.hello_due.front()
            && !self.awaits_hello(*id)
        {
            self.hello_due.pop_front();
        }
    }

    /// The interests of all links, those that are not forgotten yet included.
    pub fn interests(&self) -> usize {
        let live = self.slots.iter().map(|slot| match slot {
            Slot::Live(link) => link.interests,
            _ => 0,
        });
        live.sum::<usize>() + self.forgetting.iter().map(|gone| gone.left).sum::<usize>()
    }

    fn awaits_hello(&self, id: LinkId) -> bool {
        self.key(id)
            .and_then(|key| self.get(key))
            .is_some_and(|link| link.gateway.is_none())
    }
}
