//! The message log's contract: commands and replies as data, the same for Redis and for the embedded
//! engine. A gateway shard emits commands; its driver takes them to a store and brings replies back.

use crate::ids::{BoxId, ClientId, Uid, Uuid};
use crate::payload::Payload;

/// Names a command on its shard; comes back with the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreToken(pub u64);

#[derive(Clone, Debug)]
pub enum Command {
    Append(Append),
    Range(Range),
    /// Heads of boxes, in the order asked.
    Heads(Vec<BoxId>),
    /// All boxes of a user, with marks and heads. They may be newer than the commands before this one
    /// left them, never older.
    Boxes(Uid),
    Mark(Mark),
    /// What a box is like: for an operator or the backend, so no membership is asked for.
    Facts(BoxId),
}

/// One atomic step keyed by box: dedupe on (sender, box, client_id), check membership, next
/// contiguous seq, append, change membership. Beside it (idempotent, in the same batch, before the
/// reply) the user's own list of boxes is kept in step.
#[derive(Clone, Debug)]
pub struct Append {
    pub boxid: BoxId,
    pub sender: Uid,
    pub kind: AppendKind,
    /// None: no dedupe (v1 clients name none).
    pub client_id: Option<ClientId>,
    /// Of what the client meant (op, mtype, group, receiver, body): the same client_id with another
    /// digest is ClientIdReused.
    pub digest: [u8; 16],
    pub uuid: Uuid,
    pub ts_ms: u64,
    /// A whole ChatMessage with sender, uuid and ts_ms stamped; seq and epoch are not in it.
    pub payload: Payload,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendKind {
    /// Makes the sender a member. Appended each time, also when they are one already.
    Join,
    /// Ends the membership. NotAMember when there is none.
    Quit,
    /// To the members. NotAMember when the sender is none.
    Chat,
    /// P2P: needs no membership; lists the box with both users. Only the two may read the entry.
    Direct { receiver: Uid },
}

/// Reads (after, head] of a box in seq order, for one reader: entries that are Direct are left out
/// unless the reader is one of the two; entries that are not are left out unless the reader is a
/// member. NotAMember when the reader is neither a member nor party to any Direct entry.
#[derive(Clone, Debug)]
pub struct Range {
    pub boxid: BoxId,
    pub reader: Uid,
    pub after: u64,
    /// At least 1.
    pub messages_max: u32,
    /// The answer ends before the entry that would exceed it, but holds at least one.
    pub bytes_max: usize,
}

/// Moves a user's marks in a box forward (never back within an epoch). BadSeq beyond the head or in an
/// epoch that the box has not reached. NotAMember as for Range.
#[derive(Clone, Debug)]
pub struct Mark {
    pub boxid: BoxId,
    pub uid: Uid,
    /// The epoch the client counts in; None: the box's present one. Of an older epoch: ignored, answered as usual.
    pub epoch: Option<u64>,
    pub delivered: Option<u64>,
    pub read: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Appended(Appended),
    Entries(Entries),
    Heads(Vec<Head>),
    Boxes(Vec<BoxState>),
    Marked(Head),
    /// To `Command::Facts`.
    Facts(BoxFacts),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub epoch: u64,
    pub seq: u64,
    /// Of the stored message: the first one's, when this is a duplicate.
    pub uuid: Uuid,
    pub ts_ms: u64,
    pub duplicate: bool,
    /// Has the box any member (JOINed, still there)? A Direct entry in such a box makes a gap that its
    /// members must be told to skip.
    pub has_members: bool,
}

/// What a Range read. `scanned_to` is how far the box was read, whether or not the reader may see
/// what stands there: the mark to go on from. It may fall short of the head even with no entries: a
/// store reads past a bounded number of other people's messages in one go.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    pub entries: Vec<Entry>,
    pub scanned_to: u64,
    pub head: Head,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub epoch: u64,
    pub seq: u64,
    /// As appended.
    pub payload: Payload,
}

/// The newest position of a box; zeros for a box that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub epoch: u64,
    pub seq: u64,
}

/// What a box is like, whoever asks. Zeros for a box that nobody has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoxFacts {
    /// The newest position.
    pub head: Head,
    /// Users who JOINed and are still in it.
    pub members: u64,
}

/// One box of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxState {
    pub boxid: BoxId,
    pub head: Head,
    pub delivered: u64,
    pub read: u64,
    /// A member; else only party to Direct entries.
    pub joined: bool,
}

/// Why a command was not done. One variant for each thing that a client or an operator must tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    NotAMember,
    ClientIdReused,
    BadSeq {
        head: u64,
    },
    TooManyBoxes,
    /// Not reached, timed out, or lost before the answer: the command may or may not have been done.
    /// A retry under the same client_id is safe.
    Unavailable(String),
    /// The store answered with something else than it should: a full disk, a wrong type, corruption.
    Failed(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::NotAMember => write!(f, "not a member of the box"),
            StoreError::ClientIdReused => write!(f, "client_id was used with another payload"),
            StoreError::BadSeq { head } => write!(f, "seq is beyond the head of the box, {head}"),
            StoreError::TooManyBoxes => write!(f, "the user has too many boxes"),
            StoreError::Unavailable(why) => write!(f, "store unavailable: {why}"),
            StoreError::Failed(why) => write!(f, "store failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}

pub type StoreResult = Result<Reply, StoreError>;
