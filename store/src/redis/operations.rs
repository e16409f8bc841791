//! The commands under way, and how far each has come.

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{Appended, Command, Head, StoreError, StoreToken};

use super::answers::{Listed, Standing};

/// Index of an operation. Reused; an operation ends only when none of its calls is unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationId(u32);

/// One step on the wire, of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    ListJoin,
    /// For the sender.
    ListSender,
    ListReceiver,
    Append,
    ConfirmJoin,
    /// After a QUIT.
    Unlist,
    Range,
    /// Of the box with that index.
    Head(u32),
    Facts,
    /// For the heads of no box.
    Ping,
    List,
    /// Of the listed box with that index.
    Standing(u32),
    MarkStanding,
    Mark,
}

/// What a reply is for, in the order of the wire.
#[derive(Debug)]
pub(super) enum Awaited {
    Step(OperationId, Call),
    /// One reply that holds an answer to the append of each.
    Appends(Vec<OperationId>),
    /// Tidying up: nobody waits for it, and it may fail.
    Unlisted,
    Auth,
    Select,
    Info,
    /// `Script::ALL` at that index.
    Load(usize),
}

#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing is known but the command.
    Begun,
    Listing {
        unanswered: u8,
        /// The JOIN put the box on the list: to be taken back if it isn't appended.
        newly: bool,
        failure: Option<StoreError>,
    },
    Appended(Appended),
    Heads {
        heads: Vec<Head>,
        unanswered: usize,
        failure: Option<StoreError>,
    },
    Boxes {
        list: Vec<(Listed, Option<Standing>)>,
        unanswered: usize,
        failure: Option<StoreError>,
    },
    Marking(Standing),
}

#[derive(Debug)]
pub(super) struct Operation {
    pub token: StoreToken,
    pub command: Command,
    pub progress: Progress,
    /// Counts the operations of this client: a deadline knows by it whether it is still theirs.
    pub serial: u64,
    /// A script that the server had forgotten was loaded again for it.
    pub reloaded: bool,
}

#[derive(Default)]
pub(super) struct Operations {
    slots: Vec<Option<Operation>>,
    free: Vec<u32>,
}

impl Operations {
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn insert(&mut self, operation: Operation) -> OperationId {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            assert!(slot.is_none(), "a free slot is empty");
            *slot = Some(operation);
            return OperationId(index);
        }
        let index =
            u32::try_from(self.slots.len()).expect("fewer commands than 2^32, by commands_max");
        self.slots.push(Some(operation));
        OperationId(index)
    }

    pub fn at(&mut self, id: OperationId) -> &mut Operation {
        self.slots[id.0 as usize]
            .as_mut()
            .expect("an awaited operation is there")
    }

    pub fn remove(&mut self, id: OperationId) -> Operation {
        let operation = self.slots[id.0 as usize]
            .take()
            .expect("an operation ends once");
        self.free.push(id.0);
        operation
    }

    pub fn is_under_way(&self, id: OperationId, serial: u64) -> bool {
        self.slots[id.0 as usize]
            .as_ref()
            .is_some_and(|operation| operation.serial == serial)
    }

    /// Whether it may be sent, or ended: it doesn't wait for its listing.
    pub fn is_listed(&self, id: OperationId) -> bool {
        let operation = self.slots[id.0 as usize]
            .as_ref()
            .expect("a queued operation is there");
        !matches!(
            operation.progress,
            Progress::Listing {
                unanswered: 1..,
                ..
            }
        )
    }

    /// All, in the order of their coming.
    pub fn drain(&mut self) -> Vec<Operation> {
        let mut all: Vec<_> = self.slots.drain(..).flatten().collect();
        self.free.clear();
        all.sort_by_key(|operation| operation.serial);
        all
    }
}

impl Operation {
    /// The user and box whose list the command changes.
    pub fn listing(&self) -> (&Uid, &BoxId) {
        match &self.command {
            Command::Append(append) => (&append.sender, &append.boxid),
            other => unreachable!("only appends are listed, not {other:?}"),
        }
    }
}
