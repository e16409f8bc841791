//! One client's place in one box, by the protocol's client rules: seq = mark + 1 is applied, what is
//! older is dropped, and a gap or word of more is pulled.
//!
//! It does not use newim-client-core: it reads messages without decoding or copying them and is 24 bytes for
//! each of a hundred thousand clients, because what the load costs is taken from the same cores as what it
//! measures.

use newim_proto::chat::ChatView;
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::ChatOp;
use prost::Message;

#[derive(Clone, Copy, Debug, Default)]
pub struct Follower {
    pub mark: u64,
    /// The newest seq that it heard of.
    head: u64,
    is_pulling: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next message of the box; `pulled` when a repair brought it.
    Message {
        seq: u64,
        pulled: bool,
    },
    /// The client must ask for what follows its mark.
    Pull,
    /// A message that the client sent is stored.
    Ack,
    /// The list of the client's boxes is complete.
    Listed,
    Nothing,
}

impl Follower {
    /// Takes one message. Errors: the server refused something.
    pub fn hear(&mut self, payload: &[u8]) -> Result<Heard, String> {
        let view = ChatView::parse(payload).map_err(|error| format!("no ChatMessage: {error}"))?;
        if let Some(code) = view.error_code {
            let text = view.error_text.unwrap_or_default();
            return Err(format!("the server refused with error {code}: {text}"));
        }
        if view.op != ChatOp::Ack {
            return Ok(self.pushed(view.seq.ok_or("a message without a seq")?));
        }
        if !view.is_sync() {
            return Ok(Heard::Ack);
        }
        if view.boxid.is_empty() {
            return self.listed(&view);
        }
        self.head = self.head.max(view.head_seq.unwrap_or(0));
        if view.done == Some(true) {
            self.is_pulling = false;
            self.mark = self.mark.max(view.ack_seq.unwrap_or(0));
        }
        Ok(self.pull_if_behind())
    }

    fn pushed(&mut self, seq: u64) -> Heard {
        self.head = self.head.max(seq);
        if seq <= self.mark {
            return Heard::Nothing;
        }
        if seq == self.mark + 1 {
            self.mark = seq;
            return Heard::Message {
                seq,
                pulled: self.is_pulling,
            };
        }
        self.pull_if_behind()
    }

    fn pull_if_behind(&mut self) -> Heard {
        if self.is_pulling || self.head <= self.mark {
            return Heard::Nothing;
        }
        self.is_pulling = true;
        Heard::Pull
    }

    /// Starts at the head of the box: these clients are in one box at most.
    fn listed(&mut self, view: &ChatView<'_>) -> Result<Heard, String> {
        if view.status_count > 0 {
            let list = ChatMessage::decode(view.bytes).map_err(|error| error.to_string())?;
            for status in &list.status {
                self.mark = self.mark.max(status.head_seq.unwrap_or(0));
                self.head = self.head.max(self.mark);
            }
        }
        Ok(match view.done {
            Some(true) => Heard::Listed,
            _ => Heard::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use newim_proto::schema::chat_message::MessageType;

    fn chat(seq: u64) -> Vec<u8> {
        ChatMessage {
            boxid: "b".into(),
            mtype: MessageType::SmallText as i32,
            op: ChatOp::Chat as i32,
            seq: Some(seq),
            ..ChatMessage::default()
        }
        .encode_to_vec()
    }

    fn sync(head_seq: u64, ack_seq: Option<u64>) -> Vec<u8> {
        ChatMessage {
            boxid: "b".into(),
            head_seq: Some(head_seq),
            ack_seq,
            done: ack_seq.map(|_| true),
            ..ChatMessage::default()
        }
        .encode_to_vec()
    }

    fn message(seq: u64, pulled: bool) -> Result<Heard, String> {
        Ok(Heard::Message { seq, pulled })
    }

    #[test]
    fn messages_in_order_are_applied_once() {
        let mut follower = Follower::default();
        assert_eq!(follower.hear(&chat(1)), message(1, false));
        assert_eq!(follower.hear(&chat(1)), Ok(Heard::Nothing));
        assert_eq!(follower.hear(&chat(2)), message(2, false));
    }

    #[test]
    fn a_gap_is_pulled_once_and_what_came_ahead_is_pulled_after_it() {
        let mut follower = Follower::default();
        assert_eq!(follower.hear(&chat(3)), Ok(Heard::Pull));
        assert_eq!(follower.hear(&chat(4)), Ok(Heard::Nothing));
        assert_eq!(follower.hear(&chat(1)), message(1, true));
        assert_eq!(follower.hear(&chat(2)), message(2, true));
        assert_eq!(follower.hear(&sync(2, Some(2))), Ok(Heard::Pull));
        assert_eq!(follower.hear(&chat(3)), message(3, true));
        assert_eq!(follower.hear(&chat(4)), message(4, true));
        assert_eq!(follower.hear(&sync(4, Some(4))), Ok(Heard::Nothing));
        assert_eq!(follower.hear(&chat(5)), message(5, false));
    }

    #[test]
    fn word_of_a_later_message_leads_to_a_pull_and_word_of_none_does_not() {
        let mut follower = Follower::default();
        assert_eq!(follower.hear(&sync(1, None)), Ok(Heard::Pull));
        assert_eq!(follower.hear(&chat(1)), message(1, true));
        assert_eq!(follower.hear(&sync(1, Some(1))), Ok(Heard::Nothing));
        assert_eq!(follower.hear(&sync(1, None)), Ok(Heard::Nothing));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let refusal = ChatMessage {
            error_code: Some(7),
            error_text: Some("too much".into()),
            ..ChatMessage::default()
        };
        let error = Follower::default().hear(&refusal.encode_to_vec());
        assert!(error.unwrap_err().contains("error 7: too much"));
    }
}
