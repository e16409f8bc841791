//! The wire of a client: building requests, and telling what an incoming message is. By the schema's own
//! types, as the author of an SDK would, and not by the node's codec.

use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::schema::{ChatMessage, ErrorCode};

use crate::limits;

/// The box of two people, the same whichever of them writes. (Any boxid works for P2P; this one is the
/// convention.)
pub fn direct_box(one: &str, other: &str) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    format!("p2p:{first}:{second}")
}

/// Makes the user a member of a box.
pub fn join(boxid: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Join, None)
}

/// Ends the user's membership.
pub fn quit(boxid: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Quit, None)
}

/// Text for all members of a box.
pub fn chat(boxid: &str, text: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Chat, Some(text.to_owned()))
}

/// Text for one person, in the box of the two.
pub fn direct(sender: &str, receiver: &str, text: &str) -> ChatMessage {
    ChatMessage {
        boxid: direct_box(sender, receiver),
        group: 0,
        receiver: Some(receiver.to_owned()),
        body: Some(text.to_owned()),
        op: ChatOp::Chat.into(),
        mtype: MessageType::SmallText.into(),
        ..Default::default()
    }
}

fn group_message(boxid: &str, op: ChatOp, body: Option<String>) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        body,
        op: op.into(),
        mtype: MessageType::SmallText.into(),
        ..Default::default()
    }
}

/// "I hold everything up to `mark`, in the numbering of `epoch`; send what follows." Moves the delivered
/// mark.
pub fn pull(boxid: &str, epoch: Option<u64>, mark: u64) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        epoch,
        ack_seq: Some(mark),
        ..sync()
    }
}

/// "Which boxes are mine, and where is each of them?"
pub fn list() -> ChatMessage {
    sync()
}

fn sync() -> ChatMessage {
    ChatMessage {
        op: ChatOp::Ack.into(),
        mtype: MessageType::Sync.into(),
        ..Default::default()
    }
}

/// What an incoming message is, told by the fields that the protocol sets for each kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A send (by `client_id`), a pull (by `boxid`) or a list was not done.
    Refused(Refusal),
    /// The gateway leaves: reconnect after so many milliseconds.
    Leaving {
        /// At most [`limits::RETRY_MS_MAX`].
        after_ms: u64,
    },
    /// Boxes of this user's, in `status`.
    Boxes {
        /// The list is complete.
        done: bool,
    },
    /// The answer to a pull ends.
    PullEnd {
        /// The box's present epoch.
        epoch: u64,
        /// The box's newest seq; 0: it is empty.
        head: u64,
        /// Everything up to here that this user may read was sent.
        read_to: u64,
    },
    /// There is more in the box than was sent; with an empty `boxid`: in any of this user's boxes.
    Nudge {
        /// The box's epoch.
        epoch: u64,
        /// The box's newest seq.
        head: u64,
    },
    /// What was sent under `client_id` is stored.
    Stored {
        /// The epoch that it is stored in.
        epoch: u64,
        /// Its position.
        seq: u64,
    },
    /// A message of a box.
    Message {
        /// The epoch that it is stored in.
        epoch: u64,
        /// Its position.
        seq: u64,
    },
    /// A message without a position: it is shown, and not counted.
    Transient,
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A value of [`ErrorCode`], or one of a later protocol.
    pub code: u32,
    /// For a developer to read.
    pub text: String,
    /// Milliseconds after which the same request may succeed, if the server said so. At most
    /// [`limits::RETRY_MS_MAX`].
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// Whether it has this code.
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code as u32
    }

    /// Whether the same request may be done later.
    pub fn is_temporary(&self) -> bool {
        self.is(ErrorCode::StoreUnavailable)
            || self.is(ErrorCode::Overloaded)
            || self.is(ErrorCode::Draining)
    }

    /// Milliseconds to wait before the same request is tried again.
    pub fn wait_ms(&self) -> u64 {
        self.retry_after_ms.unwrap_or(limits::RETRY_MS)
    }
}

/// Tells what a message from the server is.
pub fn incoming(message: &ChatMessage) -> Incoming {
    if let Some(code) = message.error_code.filter(|code| *code != 0) {
        let refusal = Refusal {
            code,
            text: match &message.error_text {
                Some(text) => text.clone(),
                None => format!("error {code}"),
            },
            retry_after_ms: message
                .retry_after_ms
                .map(|ms| ms.min(limits::RETRY_MS_MAX)),
        };
        let is_notice = message.client_id.is_none() && message.op() == ChatOp::Ack;
        return match refusal.is(ErrorCode::Draining) && is_notice {
            true => Incoming::Leaving {
                after_ms: refusal.wait_ms(),
            },
            false => Incoming::Refused(refusal),
        };
    }
    let epoch = message.epoch.unwrap_or(0);
    let is_sync = message.op() == ChatOp::Ack && message.mtype() == MessageType::Sync;
    if is_sync && message.uuid.is_none() {
        let head = message.head_seq.unwrap_or(0);
        return match (message.boxid.is_empty(), message.done()) {
            (true, done) if done || !message.status.is_empty() => Incoming::Boxes { done },
            (false, true) => Incoming::PullEnd {
                epoch,
                head,
                read_to: message.ack_seq.unwrap_or(0),
            },
            (_, _) => Incoming::Nudge { epoch, head },
        };
    }
    match (message.op(), message.seq) {
        (ChatOp::Ack, Some(seq)) => Incoming::Stored { epoch, seq },
        (_, Some(seq)) => Incoming::Message { epoch, seq },
        (_, None) => Incoming::Transient,
    }
}

/// Whether a message is from person to person.
pub fn is_direct(message: &ChatMessage) -> bool {
    message.group == 0 && message.receiver.is_some()
}

/// Whether a request of this client's asks for the list of boxes.
pub fn is_list(request: &ChatMessage) -> bool {
    request.op() == ChatOp::Ack && request.boxid.is_empty()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn two_people_share_one_box_whoever_writes() {
        assert_eq!(direct_box("bob", "alice"), "p2p:alice:bob");
        assert_eq!(direct_box("alice", "bob"), "p2p:alice:bob");
    }

    #[test]
    fn the_required_fields_are_always_written() {
        for message in [
            join("b"),
            quit("b"),
            chat("b", "x"),
            direct("a", "b", "x"),
            pull("b", None, 0),
            list(),
        ] {
            let bytes = message.encode_to_vec();
            let fields: Vec<u8> = bytes
                .iter()
                .copied()
                .filter(|b| [0x0a, 0x10, 0x38, 0x40].contains(b))
                .collect();
            assert!(fields.len() >= 4, "{message:?}: {bytes:?}");
        }
    }

    #[test]
    fn incoming_messages_are_told_apart() {
        let ack = ChatMessage {
            op: ChatOp::Ack.into(),
            mtype: MessageType::SmallText.into(),
            uuid: Some("u".into()),
            client_id: Some("c".into()),
            epoch: Some(1),
            seq: Some(4),
            ..join("b")
        };
        assert!(matches!(
            incoming(&ack),
            Incoming::Stored { epoch: 1, seq: 4 }
        ));
        let end = ChatMessage {
            done: Some(true),
            head_seq: Some(9),
            ack_seq: Some(8),
            epoch: Some(1),
            ..pull("b", None, 0)
        };
        assert!(matches!(
            incoming(&end),
            Incoming::PullEnd {
                epoch: 1,
                head: 9,
                read_to: 8
            }
        ));
        let nudge = ChatMessage {
            head_seq: Some(9),
            epoch: Some(1),
            boxid: "b".into(),
            ..list()
        };
        assert!(matches!(
            incoming(&nudge),
            Incoming::Nudge { epoch: 1, head: 9 }
        ));
        assert!(
            matches!(incoming(&list()), Incoming::Nudge { epoch: 0, head: 0 }),
            "of every box"
        );
        let boxes = ChatMessage {
            done: Some(true),
            ..list()
        };
        assert!(matches!(incoming(&boxes), Incoming::Boxes { done: true }));
        let pushed = ChatMessage {
            seq: Some(3),
            epoch: Some(1),
            uuid: Some("u".into()),
            ..chat("b", "x")
        };
        assert!(matches!(
            incoming(&pushed),
            Incoming::Message { epoch: 1, seq: 3 }
        ));
        assert!(matches!(incoming(&chat("b", "x")), Incoming::Transient));
        let refused = ChatMessage {
            error_code: Some(3),
            error_text: Some("no".into()),
            ..chat("b", "x")
        };
        assert!(
            matches!(incoming(&refused), Incoming::Refused(refusal) if refusal.text == "no" && !refusal.is_temporary())
        );
        let leaving = ChatMessage {
            error_code: Some(8),
            retry_after_ms: Some(77),
            ..list()
        };
        assert!(matches!(
            incoming(&leaving),
            Incoming::Leaving { after_ms: 77 }
        ));
    }
}
