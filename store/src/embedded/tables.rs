//! The tables on disk and the shape of their rows. Keys and values are fixed-width numbers and plain
//! names, so that an append costs no serializer. The writer thread reads them; the checkpoints' thread writes
//! them.

use newim_proto::ids::{BoxId, ClientId, Uuid};
use newim_proto::log::Head;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::wal::{Key, Position};

/// Number of the layout, kept in the file so that a later version can tell an older layout. 2: with a
/// write-ahead log, and client_ids in the keys of the dedupe window.
pub(super) const FORMAT: u64 = 2;
pub(super) const COUNTER_FORMAT: &str = "format";
/// Key of the counter that has the last box number given out.
pub(super) const COUNTER_BOXES: &str = "boxes";

pub(super) const COUNTERS: TableDefinition<&str, u64> = TableDefinition::new("counters");
/// One row, [`WalState`].
const WAL: TableDefinition<(), (&Key, u64, u64)> = TableDefinition::new("wal");
/// boxid → [`BoxRow`].
pub(super) const BOXES: TableDefinition<&str, BoxTuple> = TableDefinition::new("boxes");
/// (box number, seq) → [`LogValue`].
pub(super) const LOG: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("log");
/// [`seen_row_key`] → [`SeenRow`].
pub(super) const SEEN: TableDefinition<&SeenRowKey, &SeenRowBytes> = TableDefinition::new("seen");
pub(super) type SeenRowKey = [u8; 48];
pub(super) type SeenRowBytes = [u8; 56];
/// (uid, boxid) → [`UserBoxRow`].
pub(super) const USER_BOXES: TableDefinition<(&str, &str), (u8, u64, u64)> =
    TableDefinition::new("user_boxes");
/// uid → (boxes joined, boxes listed for direct messages).
pub(super) const USERS: TableDefinition<&str, (u32, u32)> = TableDefinition::new("users");

/// Creates the tables that are missing, so that a read never meets an absent one. Inner error: the file has
/// this other format, and nothing was done.
pub(super) fn create(transaction: &WriteTransaction) -> Result<Result<(), u64>, redb::Error> {
    let mut counters = transaction.open_table(COUNTERS)?;
    let format = counters.get(COUNTER_FORMAT)?.map(|value| value.value());
    match format {
        None => {
            counters.insert(COUNTER_FORMAT, FORMAT)?;
        }
        Some(FORMAT) => {}
        Some(other) => return Ok(Err(other)),
    }
    transaction.open_table(WAL)?;
    transaction.open_table(BOXES)?;
    transaction.open_table(LOG)?;
    transaction.open_table(SEEN)?;
    transaction.open_table(USER_BOXES)?;
    transaction.open_table(USERS)?;
    Ok(Ok(()))
}

/// What the tables know of the write-ahead log.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalState {
    pub key: Key,
    /// The tables hold everything up to this position.
    pub settled: Position,
}

impl WalState {
    /// Reads the state. None: there was no log yet.
    pub fn read(transaction: &WriteTransaction) -> Result<Option<WalState>, redb::Error> {
        let table = transaction.open_table(WAL)?;
        let row = table.get(())?;
        Ok(row.map(|row| {
            let (key, round, frames) = row.value();
            let settled = Position { round, frames };
            WalState { key: *key, settled }
        }))
    }

    pub fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let Position { round, frames } = self.settled;
        let mut table = transaction.open_table(WAL)?;
        table.insert((), (&self.key, round, frames))?;
        Ok(())
    }
}

pub(super) type BoxTuple = (u64, u64, u64, u64, u64, u64);

/// The present state of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BoxRow {
    /// Number that stands for the boxid in the keys of its log, to keep them short.
    pub number: u64,
    pub head: Head,
    /// Messages up to this seq are out of retention, and gone.
    pub floor: u64,
    /// The oldest readable message's timestamp when it was last looked at.
    pub oldest_ts_ms: u64,
    pub member_count: u64,
}

impl BoxRow {
    pub fn from_tuple((number, epoch, seq, floor, oldest_ts_ms, member_count): BoxTuple) -> BoxRow {
        BoxRow {
            number,
            head: Head { epoch, seq },
            floor,
            oldest_ts_ms,
            member_count,
        }
    }

    pub fn tuple(&self) -> BoxTuple {
        let Head { epoch, seq } = self.head;
        (
            self.number,
            epoch,
            seq,
            self.floor,
            self.oldest_ts_ms,
            self.member_count,
        )
    }
}

/// One stored message: epoch (8), ts_ms (8), length of sender (1) and receiver (1) of a direct
/// message or zeros, the two names, payload.
pub(super) struct LogValue<'a> {
    pub epoch: u64,
    pub ts_ms: u64,
    pub between: Option<(&'a str, &'a str)>,
    pub payload: &'a [u8],
}

impl<'a> LogValue<'a> {
    /// Appends the bytes to `into`.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let (sender, receiver) = self.between.unwrap_or(("", ""));
        let length = |name: &str| u8::try_from(name.len()).expect("a uid has at most 128 bytes");
        into.extend_from_slice(&self.epoch.to_le_bytes());
        into.extend_from_slice(&self.ts_ms.to_le_bytes());
        into.extend_from_slice(&[length(sender), length(receiver)]);
        into.extend_from_slice(sender.as_bytes());
        into.extend_from_slice(receiver.as_bytes());
        into.extend_from_slice(self.payload);
    }

    /// Reads the bytes. None: `encode` never writes these, so the file is damaged.
    pub fn decode(bytes: &'a [u8]) -> Option<LogValue<'a>> {
        let (epoch, bytes) = bytes.split_first_chunk::<8>()?;
        let (ts_ms, bytes) = bytes.split_first_chunk::<8>()?;
        let (&[sender_bytes, receiver_bytes], bytes) = bytes.split_first_chunk::<2>()?;
        let (sender, bytes) = bytes.split_at_checked(sender_bytes.into())?;
        let (receiver, payload) = bytes.split_at_checked(receiver_bytes.into())?;
        let between = match sender_bytes {
            0 => None,
            _ => Some((str::from_utf8(sender).ok()?, str::from_utf8(receiver).ok()?)),
        };
        let (epoch, ts_ms) = (u64::from_le_bytes(*epoch), u64::from_le_bytes(*ts_ms));
        Some(LogValue {
            epoch,
            ts_ms,
            between,
            payload,
        })
    }
}

/// The answer that a client_id got.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SeenRow {
    pub digest: [u8; 16],
    pub uuid: Uuid,
    pub ts_ms: u64,
    pub head: Head,
}

impl SeenRow {
    pub fn encode(&self) -> SeenRowBytes {
        let mut bytes = [0; 56];
        bytes[..16].copy_from_slice(&self.digest);
        bytes[16..32].copy_from_slice(&self.uuid.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.ts_ms.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.head.epoch.to_le_bytes());
        bytes[48..].copy_from_slice(&self.head.seq.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &SeenRowBytes) -> SeenRow {
        let number =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        SeenRow {
            digest: bytes[..16].try_into().expect("sixteen bytes"),
            uuid: Uuid(u128::from_le_bytes(
                bytes[16..32].try_into().expect("sixteen bytes"),
            )),
            ts_ms: number(32),
            head: Head {
                epoch: number(40),
                seq: number(48),
            },
        }
    }
}

/// Key of a row of the dedupe window. Rows are sorted by the window of time that they fall into, so that
/// expired ones stand first in the table and need no index to be found; then by box, then by the first bytes
/// of the client_id. Where client_ids grow with time (UUIDv7, ULID, a counter), the new rows of a box stand
/// together and share pages, both when they are written and when they are looked up. The hash alone tells rows
/// apart.
pub(super) fn seen_row_key(
    bucket: u64,
    box_number: u64,
    client_id: &ClientId,
    seen_key: &[u8; 16],
) -> SeenRowKey {
    let mut key = [0; 48];
    key[..8].copy_from_slice(&bucket.to_be_bytes());
    key[8..16].copy_from_slice(&box_number.to_be_bytes());
    let begin = client_id.as_str().bytes().take(16);
    for (to, byte) in key[16..32].iter_mut().zip(begin) {
        *to = byte;
    }
    key[32..].copy_from_slice(seen_key);
    key
}

pub(super) fn seen_row_bucket(key: &SeenRowKey) -> u64 {
    u64::from_be_bytes(key[..8].try_into().expect("eight bytes"))
}

/// One user in one box: whether the user is a member and may read, and the user's marks. The row stays after a
/// QUIT, for the marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct UserBoxRow {
    pub member: bool,
    /// The user sent or received a direct message here.
    pub party: bool,
    /// The box counts among the user's boxes for direct messages. Set before `party`.
    pub listed: bool,
    pub delivered: u64,
    pub read: u64,
}

impl UserBoxRow {
    pub fn from_tuple((bits, delivered, read): (u8, u64, u64)) -> UserBoxRow {
        UserBoxRow {
            member: bits & 1 != 0,
            party: bits & 2 != 0,
            listed: bits & 4 != 0,
            delivered,
            read,
        }
    }

    pub fn tuple(&self) -> (u8, u64, u64) {
        let bits = u8::from(self.member) | u8::from(self.party) << 1 | u8::from(self.listed) << 2;
        (bits, self.delivered, self.read)
    }

    pub fn may_read(&self) -> bool {
        self.member || self.party
    }
}

/// Reads a boxid from the file. None: no such name was ever put in, so the file is damaged.
pub(super) fn stored_boxid(name: &str) -> Option<BoxId> {
    BoxId::parse(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let row = BoxRow {
            number: 1,
            head: Head { epoch: 2, seq: 3 },
            floor: 4,
            oldest_ts_ms: 5,
            member_count: 6,
        };
        assert_eq!(BoxRow::from_tuple(row.tuple()), row);
        let row = SeenRow {
            digest: [7; 16],
            uuid: Uuid(8),
            ts_ms: 9,
            head: Head { epoch: 10, seq: 11 },
        };
        assert_eq!(SeenRow::decode(&row.encode()), row);
        for bits in 0..8 {
            assert_eq!(
                UserBoxRow::from_tuple((bits, 12, 13)).tuple(),
                (bits, 12, 13)
            );
        }
    }

    #[test]
    fn log_values_come_back_and_shortened_ones_are_refused() {
        let mut bytes = Vec::new();
        let value = LogValue {
            epoch: 1,
            ts_ms: 2,
            between: Some(("ann", "bob")),
            payload: b"",
        };
        value.encode(&mut bytes);
        let back = LogValue::decode(&bytes).expect("what was encoded");
        assert_eq!(
            (back.epoch, back.ts_ms, back.between, back.payload),
            (1, 2, value.between, value.payload)
        );
        for length in 0..bytes.len() {
            assert!(
                LogValue::decode(&bytes[..length]).is_none(),
                "{length} bytes"
            );
        }
    }
}
