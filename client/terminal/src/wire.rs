//! The client's side of the protocol: building requests and telling what an incoming message is. By the
//! schema's own types, as an SDK author would, and not by the node's codec.

use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};

/// The box of two people: the same whoever of them writes.
pub fn direct_box(one: &str, other: &str) -> String {
    let (first, second) = if one <= other {
        (one, other)
    } else {
        (other, one)
    };
    format!("p2p:{first}:{second}")
}

pub fn join(boxid: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Join, None)
}

pub fn quit(boxid: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Quit, None)
}

pub fn chat(boxid: &str, text: &str) -> ChatMessage {
    group_message(boxid, ChatOp::Chat, Some(text.to_owned()))
}

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

/// "I hold and have shown everything up to `mark`; send what follows."
pub fn pull(boxid: &str, epoch: Option<u64>, mark: u64) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        epoch,
        ack_seq: Some(mark),
        read_seq: Some(mark),
        ..sync()
    }
}

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

/// An incoming message, told apart by the fields that the protocol sets for each.
#[derive(Debug)]
pub enum Incoming {
    /// `client_id` or a pull or list was not done.
    Refused { error: Refusal },
    /// The gateway leaves; come back after so long.
    Leaving { after_ms: u64 },
    /// Boxes of ours; with `done` the list is complete.
    Boxes { done: bool },
    /// The answer to a pull ends: the box was read up to `read_to`.
    PullEnd { epoch: u64, head: u64, read_to: u64 },
    /// There is more in the box than we were sent; with an empty boxid: in any of them.
    Nudge { epoch: u64, head: u64 },
    /// What we sent under `client_id` is stored.
    Stored { epoch: u64, seq: u64 },
    /// A message of a box.
    Message { epoch: u64, seq: u64 },
    /// Without a place in its box: shown, and not counted.
    Transient,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    pub text: String,
    pub retry_after_ms: Option<u64>,
}

// Values of ErrorCode.
pub const NOT_A_MEMBER: u32 = 3;
pub const BAD_SEQ: u32 = 5;
const STORE_UNAVAILABLE: u32 = 6;
const OVERLOADED: u32 = 7;
const DRAINING: u32 = 8;

impl Refusal {
    /// May the same request be done later?
    pub fn is_temporary(&self) -> bool {
        [STORE_UNAVAILABLE, OVERLOADED, DRAINING].contains(&self.code)
    }
}

pub fn incoming(message: &ChatMessage) -> Incoming {
    if let Some(code) = message.error_code.filter(|code| *code != 0) {
        let after_ms = message.retry_after_ms.unwrap_or(1000);
        if code == DRAINING && message.client_id.is_none() && message.op() == ChatOp::Ack {
            return Incoming::Leaving { after_ms };
        }
        let text = message
            .error_text
            .clone()
            .unwrap_or_else(|| format!("error {code}"));
        let error = Refusal {
            code,
            text,
            retry_after_ms: message.retry_after_ms,
        };
        return Incoming::Refused { error };
    }
    let epoch = message.epoch.unwrap_or(0);
    if message.op() == ChatOp::Ack && message.mtype() == MessageType::Sync && message.uuid.is_none()
    {
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

/// Is it from person to person?
pub fn is_direct(message: &ChatMessage) -> bool {
    message.group == 0 && message.receiver.is_some()
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
            matches!(incoming(&refused), Incoming::Refused { error } if error.text == "no" && !error.is_temporary())
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
