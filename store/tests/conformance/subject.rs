//! The engine under test, as the suite sees it: it answers commands, in order.

use newim_proto::ids::{BoxId, ClientId, Uid, Uuid};
use newim_proto::log::{
    Append, AppendKind, Appended, BoxFacts, BoxState, Command, Entries, Head, Mark, Range, Reply,
    StoreError, StoreResult,
};
use newim_store::model::Model;

pub trait Subject {
    /// Submits all commands before it waits for any; the results are in the order of the commands.
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult>;
}

impl Subject for Model {
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult> {
        commands
            .into_iter()
            .map(|command| self.apply(command))
            .collect()
    }
}

/// The time at which tests begin, Unix ms. Any value with room on both sides would do.
pub const START_MS: u64 = 1_700_000_000_000;

pub fn uid(name: &str) -> Uid {
    Uid::parse(name).expect("a valid uid")
}

pub fn boxid(name: &str) -> BoxId {
    BoxId::parse(name).expect("a valid boxid")
}

pub fn append(in_box: &str, sender: &str, kind: AppendKind, number: u64) -> Append {
    Append {
        boxid: boxid(in_box),
        sender: uid(sender),
        kind,
        client_id: None,
        digest: [number as u8; 16],
        uuid: Uuid(u128::from(number) << 64 | 1),
        ts_ms: START_MS + number,
        payload: format!("message {number}").into_bytes().into(),
    }
}

pub fn direct(receiver: &str) -> AppendKind {
    AppendKind::Direct {
        receiver: uid(receiver),
    }
}

pub trait AppendExt {
    fn client_id(self, id: &str) -> Self;
    fn payload(self, payload: Vec<u8>) -> Self;
}

impl AppendExt for Append {
    fn client_id(mut self, id: &str) -> Append {
        self.client_id = Some(ClientId::parse(id).expect("a valid client_id"));
        self
    }

    fn payload(mut self, payload: Vec<u8>) -> Append {
        self.payload = payload.into();
        self
    }
}

/// One command at a time, with the reply of its kind.
pub trait SubjectExt: Subject {
    fn one(&mut self, command: Command) -> StoreResult {
        let mut results = self.run(vec![command]);
        assert_eq!(results.len(), 1, "one command has one result");
        results.remove(0)
    }

    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        self.one(Command::Append(append)).map(appended)
    }

    fn range(&mut self, in_box: &str, reader: &str, after: u64) -> Result<Entries, StoreError> {
        self.range_within(in_box, reader, after, 1000, usize::MAX)
    }

    fn range_within(
        &mut self,
        in_box: &str,
        reader: &str,
        after: u64,
        messages_max: u32,
        bytes_max: usize,
    ) -> Result<Entries, StoreError> {
        let (boxid, reader) = (boxid(in_box), uid(reader));
        match self.one(Command::Range(Range {
            boxid,
            reader,
            after,
            messages_max,
            bytes_max,
        }))? {
            Reply::Entries(entries) => Ok(entries),
            other => panic!("a range was answered with {other:?}"),
        }
    }

    fn heads(&mut self, boxes: &[&str]) -> Vec<Head> {
        match self.one(Command::Heads(
            boxes.iter().map(|name| boxid(name)).collect(),
        )) {
            Ok(Reply::Heads(heads)) => heads,
            other => panic!("heads were answered with {other:?}"),
        }
    }

    fn facts(&mut self, of: &str) -> BoxFacts {
        match self.one(Command::Facts(boxid(of))) {
            Ok(Reply::Facts(facts)) => facts,
            other => panic!("facts were answered with {other:?}"),
        }
    }

    /// Sorted: the order of a list is not promised.
    fn boxes(&mut self, of: &str) -> Vec<BoxState> {
        match self.one(Command::Boxes(uid(of))) {
            Ok(Reply::Boxes(boxes)) => sorted(boxes),
            other => panic!("a list was answered with {other:?}"),
        }
    }

    fn mark(
        &mut self,
        in_box: &str,
        of: &str,
        delivered: u64,
        read: u64,
    ) -> Result<Head, StoreError> {
        self.mark_in_epoch(in_box, of, None, delivered, read)
    }

    fn mark_in_epoch(
        &mut self,
        in_box: &str,
        of: &str,
        epoch: Option<u64>,
        delivered: u64,
        read: u64,
    ) -> Result<Head, StoreError> {
        let (delivered, read) = (Some(delivered), Some(read));
        let mark = Mark {
            boxid: boxid(in_box),
            uid: uid(of),
            epoch,
            delivered,
            read,
        };
        match self.one(Command::Mark(mark))? {
            Reply::Marked(head) => Ok(head),
            other => panic!("a mark was answered with {other:?}"),
        }
    }
}

impl<S: Subject + ?Sized> SubjectExt for S {}

pub fn appended(reply: Reply) -> Appended {
    match reply {
        Reply::Appended(appended) => appended,
        other => panic!("an append was answered with {other:?}"),
    }
}

pub fn sorted(mut boxes: Vec<BoxState>) -> Vec<BoxState> {
    boxes.sort_by(|a, b| a.boxid.cmp(&b.boxid));
    boxes
}

/// A result in a form that can be compared: `Reply` has no equality of its own.
pub fn comparable(result: &StoreResult) -> String {
    match result {
        Ok(Reply::Boxes(boxes)) => format!("{:?}", sorted(boxes.clone())),
        other => format!("{other:?}"),
    }
}

pub fn seqs(entries: &Entries) -> Vec<u64> {
    entries.entries.iter().map(|entry| entry.seq).collect()
}

pub fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
}
