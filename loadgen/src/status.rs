//! The entries of a list's answer, read by borrowing: with a million clients that connect, decoding whole
//! messages would be most of the generator's work. Pure; called on the shards.

use newim_proto::protobuf::{Fields, Value};

const STATUS: u32 = 21;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status<'a> {
    pub boxid: &'a str,
    pub epoch: u64,
    pub head_seq: u64,
    pub is_joined: bool,
}

/// The entries of a ChatMessage that was checked as a whole before.
pub fn statuses(message: &[u8]) -> impl Iterator<Item = Status<'_>> {
    let mut fields = Fields::of(message);
    std::iter::from_fn(move || {
        loop {
            match fields.next_field().ok()?? {
                (STATUS, Value::Bytes(entry)) => return Some(status(entry)),
                _ => continue,
            }
        }
    })
}

fn status(entry: &[u8]) -> Status<'_> {
    let mut status = Status::default();
    let mut fields = Fields::of_nested(entry);
    while let Ok(Some((number, value))) = fields.next_field() {
        match (number, value) {
            (9, Value::Bytes(text)) => status.boxid = str::from_utf8(text).unwrap_or_default(),
            (10, Value::Varint(epoch)) => status.epoch = epoch,
            (11, Value::Varint(seq)) => status.head_seq = seq,
            (15, Value::Varint(joined)) => status.is_joined = joined != 0,
            _ => {}
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use newim_proto::chat::reply::write_list;
    use newim_proto::ids::{BoxId, Uid};
    use newim_proto::log::{BoxState, Head};

    #[test]
    fn each_box_of_a_list_is_read() {
        let state = |boxid: &str, seq| BoxState {
            boxid: BoxId::parse(boxid).expect("a good name"),
            head: Head { epoch: 3, seq },
            delivered: 1,
            read: 1,
            joined: seq == 5,
        };
        let mut message = Vec::new();
        let uid = Uid::parse("alice").expect("a good name");
        write_list(&mut message, &uid, &[state("b1", 5), state("p2", 6)], true);
        let status = |boxid, head_seq| Status {
            boxid,
            epoch: 3,
            head_seq,
            is_joined: head_seq == 5,
        };
        let all: Vec<Status<'_>> = statuses(&message).collect();
        assert_eq!(all, [status("b1", 5), status("p2", 6)]);
    }
}
