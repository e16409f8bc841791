//! The records of the write-ahead log. A record is the command that made a change, so that doing it again on
//! the same state brings the same result; that of an append also has its position, so that a difference shows.
//! Numbers are of fixed width in little-endian; names and payloads stand behind their lengths. Written and read
//! on the writer thread.

use newim_proto::ids::{BoxId, ClientId, Uid, Uuid};
use newim_proto::log::{Append, AppendKind, Head, Mark};

/// A change that was made.
#[derive(Debug)]
pub(super) enum Record {
    /// An append that was stored at this position (not a duplicate).
    Append(Append, Head),
    Mark(Mark),
    /// The box was listed with the user, for a direct message that was refused afterwards.
    Listed(Uid, BoxId),
}

const JOIN: u8 = 1;
const QUIT: u8 = 2;
const CHAT: u8 = 3;
const DIRECT: u8 = 4;
const MARK: u8 = 5;
const LISTED: u8 = 6;

pub(super) fn write_append(append: &Append, at: Head, into: &mut Vec<u8>) {
    let (kind, receiver) = match &append.kind {
        AppendKind::Join => (JOIN, ""),
        AppendKind::Quit => (QUIT, ""),
        AppendKind::Chat => (CHAT, ""),
        AppendKind::Direct { receiver } => (DIRECT, receiver.as_str()),
    };
    into.push(kind);
    into.extend_from_slice(&at.epoch.to_le_bytes());
    into.extend_from_slice(&at.seq.to_le_bytes());
    into.extend_from_slice(&append.ts_ms.to_le_bytes());
    into.extend_from_slice(&append.uuid.0.to_le_bytes());
    into.extend_from_slice(&append.digest);
    write_name(append.boxid.as_str(), into);
    write_name(append.sender.as_str(), into);
    write_name(receiver, into);
    write_name(append.client_id.as_ref().map_or("", ClientId::as_str), into);
    let payload_bytes = u32::try_from(append.payload.len()).expect("a frame is far below 4 GB");
    into.extend_from_slice(&payload_bytes.to_le_bytes());
    into.extend_from_slice(&append.payload);
}

pub(super) fn write_mark(mark: &Mark, into: &mut Vec<u8>) {
    into.push(MARK);
    for number in [mark.epoch, mark.delivered, mark.read] {
        into.push(u8::from(number.is_some()));
        into.extend_from_slice(&number.unwrap_or(0).to_le_bytes());
    }
    write_name(mark.boxid.as_str(), into);
    write_name(mark.uid.as_str(), into);
}

pub(super) fn write_listed(uid: &Uid, boxid: &BoxId, into: &mut Vec<u8>) {
    into.push(LISTED);
    write_name(uid.as_str(), into);
    write_name(boxid.as_str(), into);
}

fn write_name(name: &str, into: &mut Vec<u8>) {
    into.push(u8::try_from(name.len()).expect("a name has at most 255 bytes"));
    into.extend_from_slice(name.as_bytes());
}

/// The first record, and the bytes after it. None: these bytes were never written, so the log is damaged.
pub(super) fn read(bytes: &[u8]) -> Option<(Record, &[u8])> {
    let mut rest = Bytes(bytes);
    let record = match rest.byte()? {
        MARK => Record::Mark(mark(&mut rest)?),
        LISTED => Record::Listed(
            Uid::parse(rest.name()?).ok()?,
            BoxId::parse(rest.name()?).ok()?,
        ),
        kind => append(kind, &mut rest)?,
    };
    Some((record, rest.0))
}

fn append(kind: u8, bytes: &mut Bytes) -> Option<Record> {
    let at = Head {
        epoch: bytes.number()?,
        seq: bytes.number()?,
    };
    let ts_ms = bytes.number()?;
    let uuid = Uuid(u128::from_le_bytes(*bytes.array()?));
    let digest = *bytes.array()?;
    let boxid = BoxId::parse(bytes.name()?).ok()?;
    let sender = Uid::parse(bytes.name()?).ok()?;
    let receiver = bytes.name()?;
    let kind = match kind {
        JOIN => AppendKind::Join,
        QUIT => AppendKind::Quit,
        CHAT => AppendKind::Chat,
        DIRECT => AppendKind::Direct {
            receiver: Uid::parse(receiver).ok()?,
        },
        _ => return None,
    };
    let client_id = match bytes.name()? {
        "" => None,
        name => Some(ClientId::parse(name).ok()?),
    };
    let payload_bytes = u32::from_le_bytes(*bytes.array()?);
    let append = Append {
        boxid,
        sender,
        kind,
        client_id,
        digest,
        uuid,
        ts_ms,
        payload: bytes.take(payload_bytes as usize)?.into(),
    };
    Some(Record::Append(append, at))
}

fn mark(bytes: &mut Bytes) -> Option<Mark> {
    let (epoch, delivered, read) = (bytes.option()?, bytes.option()?, bytes.option()?);
    Some(Mark {
        boxid: BoxId::parse(bytes.name()?).ok()?,
        uid: Uid::parse(bytes.name()?).ok()?,
        epoch,
        delivered,
        read,
    })
}

/// The bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| *byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn option(&mut self) -> Option<Option<u64>> {
        let (is_some, number) = (self.byte()?, self.number()?);
        Some((is_some != 0).then_some(number))
    }

    fn name(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        str::from_utf8(self.take(length.into())?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appends() -> Vec<Append> {
        let receiver = Uid::parse("bob").expect("a name");
        [
            (AppendKind::Join, None, 0),
            (AppendKind::Quit, Some("q"), 1),
            (AppendKind::Chat, Some("c"), 300),
            (AppendKind::Direct { receiver }, None, 70_000),
        ]
        .map(|(kind, client_id, payload_bytes)| Append {
            boxid: BoxId::parse(&"b".repeat(100)).expect("a name"),
            sender: Uid::parse("ann").expect("a name"),
            kind,
            client_id: client_id.map(|name| ClientId::parse(name).expect("a name")),
            digest: [3; 16],
            uuid: Uuid(1 << 100),
            ts_ms: 4,
            payload: vec![5; payload_bytes].into(),
        })
        .into()
    }

    fn marks() -> Vec<Mark> {
        let mark = |epoch, delivered, read| Mark {
            boxid: BoxId::parse("b").expect("a name"),
            uid: Uid::parse("ann").expect("a name"),
            epoch,
            delivered,
            read,
        };
        vec![mark(None, Some(0), None), mark(Some(7), None, Some(9))]
    }

    #[test]
    fn records_come_back_in_order() {
        let mut bytes = Vec::new();
        for append in &appends() {
            write_append(append, Head { epoch: 8, seq: 9 }, &mut bytes);
        }
        for mark in &marks() {
            write_mark(mark, &mut bytes);
        }
        let (uid, boxid) = (marks()[0].uid.clone(), marks()[0].boxid.clone());
        write_listed(&uid, &boxid, &mut bytes);
        let mut rest = bytes.as_slice();
        for append in appends() {
            let (record, after) = read(rest).expect("a record");
            let expected = Record::Append(append, Head { epoch: 8, seq: 9 });
            assert_eq!(format!("{record:?}"), format!("{expected:?}"));
            rest = after;
        }
        for mark in marks() {
            let (record, after) = read(rest).expect("a record");
            assert_eq!(format!("{record:?}"), format!("{:?}", Record::Mark(mark)));
            rest = after;
        }
        let (record, rest) = read(rest).expect("a record");
        assert_eq!(
            format!("{record:?}"),
            format!("{:?}", Record::Listed(uid, boxid))
        );
        assert!(rest.is_empty());
    }

    #[test]
    fn a_shortened_record_is_refused() {
        let mut bytes = Vec::new();
        write_append(&appends()[2], Head { epoch: 8, seq: 9 }, &mut bytes);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_none(), "{length} bytes");
        }
        bytes.clear();
        write_mark(&marks()[0], &mut bytes);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_none(), "{length} bytes");
        }
        assert!(read(&[200; 200]).is_none(), "of no kind");
    }
}
