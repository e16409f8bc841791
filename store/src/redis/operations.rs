//! The commands of one connection that are under way, and how far each has come.

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{Appended, Command, Head, StoreError, StoreToken};

use super::answers::{Listed, Standing};

/// Index of an operation. It is reused once the operation has ended, which is when all its calls are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OperationId(u32);

/// One step of one operation on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    ListJoin,
    /// Lists a direct message's box with its sender.
    ListSender,
    ListReceiver,
    Append,
    ConfirmJoin,
    /// After a QUIT.
    Unlist,
    Range,
    /// Reads the head of the box with that index in the command.
    Head(u32),
    /// Reads the head and the number of members.
    Facts,
    /// Stands in for the heads of no box.
    Ping,
    List,
    /// Reads the listed box with that index, and what the user is in it.
    Standing(u32),
    MarkStanding,
    Mark,
}

/// The purpose of a reply. Replies come in the order of the wire.
#[derive(Debug)]
pub(super) enum Awaited {
    Step(OperationId, Call),
    /// One reply that holds an answer to each of these appends.
    Appends(Vec<OperationId>),
    /// A listing was taken back: nobody waits for it, and it may fail.
    Unlisted,
    /// The server was asked whether it takes writes.
    Probe,
    Auth,
    Select,
    Info,
    /// The script with that index in `Script::ALL` was loaded.
    Load(usize),
}

#[derive(Debug)]
pub(super) enum Progress {
    /// Nothing is known but the command.
    Begun,
    Listing {
        unanswered: u8,
        /// The JOIN put the box on the list; it is taken off again if the JOIN isn't appended.
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
    /// Number of the operation among all of this client's: it tells a deadline whether its operation is still
    /// the one under that id.
    pub serial: u64,
    /// Scripts that the server had forgotten were loaded again for this operation.
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

    /// Whether the operation may be sent, or ended: it doesn't wait for its listing.
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

    /// Removes all operations, in the order of their pushes.
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
