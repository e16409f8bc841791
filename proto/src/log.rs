//! The contract with the message log: commands and replies as data, the same for Redis, for the embedded
//! engine and for the model. A gateway shard emits a [`Command`] under a [`StoreToken`]; its driver takes it
//! to a store and brings exactly one [`StoreResult`] back under the same token.
//!
//! Order: commands of one shard for one box take effect in the order in which the shard emitted them.
//! Replies come in any order, so the token tells them apart. Nothing orders commands of two shards, or for
//! two boxes. A reply means that what it says is durable (in the sense of the store's configuration).
//!
//! Positions: a box numbers its messages by `seq`, contiguous from 1. If the store loses writes, it goes on
//! from the last seq that it still has, under a new *epoch*; so a pair (epoch, seq) is never given to two
//! messages, and epochs only grow.

use crate::ids::{BoxId, ClientId, Uid, Uuid};
use crate::payload::Payload;

/// The number under which a shard sent a command; the reply comes back under the same one. Unique among the
/// shard's unanswered commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreToken(pub u64);

/// What a shard asks of the store. Each names the reply that `Ok` holds and the errors that it may meet
/// beside [`StoreError::Unavailable`] and [`StoreError::Failed`], which any command may.
#[derive(Clone, Debug)]
pub enum Command {
    /// Stores a message. Reply: [`Reply::Appended`]. Errors: NotAMember, ClientIdReused, TooManyBoxes.
    Append(Append),
    /// Reads messages of a box for one reader. Reply: [`Reply::Entries`]. Errors: NotAMember.
    Range(Range),
    /// Reads the heads of boxes. Reply: [`Reply::Heads`], as many and in the same order. No errors of its
    /// own: a box that does not exist has a head of zeros.
    Heads(Vec<BoxId>),
    /// Lists all boxes of a user, with marks and heads. Reply: [`Reply::Boxes`]; no errors of its own. What
    /// it reads may be newer than the commands before this one left it, never older.
    Boxes(Uid),
    /// Moves a user's marks in a box. Reply: [`Reply::Marked`]. Errors: NotAMember, BadSeq.
    Mark(Mark),
    /// Reads the facts of a box, for an operator or the backend: nobody's membership is checked. Reply:
    /// [`Reply::Facts`]. No errors of its own.
    Facts(BoxId),
}

/// One message to be stored, in one atomic step keyed by box: dedupe on (sender, box, client_id), check the
/// membership, take the next seq, append, change the membership. The user's own list of boxes is kept in
/// step beside it: idempotent, in the same batch, before the reply.
#[derive(Clone, Debug)]
pub struct Append {
    /// The box that numbers and keeps the message.
    pub boxid: BoxId,
    /// The session's user.
    pub sender: Uid,
    /// What the message does to the membership, and who may read it.
    pub kind: AppendKind,
    /// The client's name for this message. None: no dedupe (v1 clients send none).
    pub client_id: Option<ClientId>,
    /// Digest of what the client meant (op, mtype, group, receiver, body; see [`crate::chat::digest`]). The
    /// same client_id with another digest is ClientIdReused.
    pub digest: [u8; 16],
    /// The server's id for the message, if it is no duplicate.
    pub uuid: Uuid,
    /// When the gateway took the message, in Unix milliseconds.
    pub ts_ms: u64,
    /// A whole ChatMessage with sender, uuid and ts_ms stamped; seq and epoch are not in it.
    pub payload: Payload,
}

/// What an append does to the box's membership, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendKind {
    /// Makes the sender a member. Appended each time, also when the sender is one already. TooManyBoxes
    /// when the sender's list is full.
    Join,
    /// Ends the membership. NotAMember when there is none.
    Quit,
    /// A message to the members. NotAMember when the sender is none.
    Chat,
    /// A P2P message. It needs no membership, and lists the box with both users (TooManyBoxes when the list
    /// of either is full). Only the two may read the entry.
    Direct {
        /// The other user.
        receiver: Uid,
    },
}

/// Asks for the entries of a box in (after, head], in seq order, as far as `reader` may see them: Direct
/// entries only if the reader is one of the two, all others only if the reader is a member. NotAMember when
/// the reader is neither a member nor party to any Direct entry of the box.
#[derive(Clone, Debug)]
pub struct Range {
    /// The box to read.
    pub boxid: BoxId,
    /// The user whose rights count.
    pub reader: Uid,
    /// The seq before the first one wanted: the reader's mark.
    pub after: u64,
    /// Entries in the answer at most; at least 1.
    pub messages_max: u32,
    /// Payload bytes in the answer at most. It ends before the entry that would exceed it, but holds at
    /// least one if there is any.
    pub bytes_max: usize,
}

/// Moves a user's marks in a box forward; a mark never moves back within an epoch. BadSeq when a mark is
/// beyond the head, or in an epoch that the box has not reached. NotAMember as for [`Range`].
#[derive(Clone, Debug)]
pub struct Mark {
    /// The box that the marks are in.
    pub boxid: BoxId,
    /// The user whose marks move.
    pub uid: Uid,
    /// The epoch that the client counts in; None: the box's present one. Marks of an older epoch are ignored
    /// and answered as usual.
    pub epoch: Option<u64>,
    /// The seq up to which the user's clients hold all messages; None: leave that mark.
    pub delivered: Option<u64>,
    /// The seq up to which the user has seen all messages; None: leave that mark.
    pub read: Option<u64>,
}

/// The answer to a [`Command`] that was done.
#[derive(Clone, Debug)]
pub enum Reply {
    /// The message of an Append is stored, or was before.
    Appended(Appended),
    /// What a Range read.
    Entries(Entries),
    /// The heads that Heads asked for, in that order.
    Heads(Vec<Head>),
    /// All boxes of the user; their order promises nothing.
    Boxes(Vec<BoxState>),
    /// The marks of a Mark are stored; the head of the box at that time.
    Marked(Head),
    /// The facts that Facts asked for.
    Facts(BoxFacts),
}

/// Where an appended message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The epoch that `seq` counts in.
    pub epoch: u64,
    /// The message's position in its box.
    pub seq: u64,
    /// The id of the stored message: that of the first one when this is a duplicate.
    pub uuid: Uuid,
    /// The time of the stored message, in Unix milliseconds: likewise.
    pub ts_ms: u64,
    /// The same client_id with the same digest was stored before; nothing was appended.
    pub duplicate: bool,
    /// Whether the box has any member. A Direct entry in such a box makes a gap that its members must be
    /// told to skip.
    pub has_members: bool,
}

/// What a [`Range`] read.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// The entries that the reader may see, in seq order.
    pub entries: Vec<Entry>,
    /// How far the box was read, whether or not the reader may see what stands there: the mark to go on
    /// from. It may fall short of the head even without any entry, because a store reads past a bounded
    /// number of other people's messages in one go.
    pub scanned_to: u64,
    /// The head of the box at the time of the read.
    pub head: Head,
}

/// One stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The epoch that `seq` counts in.
    pub epoch: u64,
    /// The message's position in its box.
    pub seq: u64,
    /// The bytes that were appended.
    pub payload: Payload,
}

/// The newest position of a box; zeros for a box that has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The box's present epoch.
    pub epoch: u64,
    /// The newest seq in that epoch.
    pub seq: u64,
}

/// The facts of a box, whatever the rights of the caller. Zeros for a box that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoxFacts {
    /// The box's newest position.
    pub head: Head,
    /// The number of members.
    pub members: u64,
}

/// One box in a user's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoxState {
    /// The box.
    pub boxid: BoxId,
    /// The box's newest position.
    pub head: Head,
    /// The user's delivered mark, in the epoch of `head`.
    pub delivered: u64,
    /// The user's read mark, in the epoch of `head`.
    pub read: u64,
    /// Whether the user is a member. If not, the box is listed for its P2P messages with the user.
    pub joined: bool,
}

/// Why a command was not done. There is one variant for each thing that a client or an operator must tell
/// apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The user is no member of the box (or, for reads and marks, not even party to a P2P message in it).
    /// The client's mistake: JOIN first. A retry does not help.
    NotAMember,
    /// The client_id was used for a message with another digest. The client's mistake; a retry under a new
    /// client_id is another message.
    ClientIdReused,
    /// A mark is beyond the head of the box. The client's mistake, or a box in a new epoch: list or pull,
    /// then mark again.
    BadSeq {
        /// The newest seq of the box.
        head: u64,
    },
    /// The user's list of boxes is full ([`crate::limits::BOXES_PER_USER_MAX`]). A retry helps once the user
    /// has quit a box.
    TooManyBoxes,
    /// The store was not reached, did not answer in time, cannot serve at present, or was lost before it
    /// answered: the command may or may not have been done. A retry under the same client_id is safe. The
    /// text says why, for the operator.
    Unavailable(String),
    /// The store answered something else than it should: a full disk, a wrong type, corruption. The command
    /// may or may not have been done; a retry under the same client_id is safe, but does not help before an
    /// operator has acted. The text says what the store answered.
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

/// What comes back for a command: its reply, or why it was not done.
pub type StoreResult = Result<Reply, StoreError>;
