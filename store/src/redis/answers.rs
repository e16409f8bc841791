//! Reads the server's values: the answers of the scripts, errors, and INFO. Used by the client of one
//! connection, on its shard's core.

use newim_proto::ids::{BoxId, Uuid};
use newim_proto::log::{Append, Appended, BoxFacts, Entries, Entry, Head, StoreError};
use redis::{ServerError, Value};

use crate::fault::StoreFault;

/// The first value of the scripts' answers.
const DONE: u64 = 0;
const NOT_A_MEMBER: u64 = 1;
const TOO_MANY_BOXES: u64 = 4;

fn unexpected(value: &Value) -> StoreError {
    let mut text = format!("an answer that makes no sense: {value:?}");
    text.truncate(text.floor_char_boundary(200));
    StoreError::Failed(text)
}

/// An error as the server put it.
pub(super) fn text(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The fault of the whole server that an error tells of. None: the error is about one command.
pub(super) fn fault(error: &ServerError) -> Option<StoreFault> {
    StoreFault::of_redis_error(error.code(), || text(error))
}

/// The result of a command that the server answered with an error.
pub(super) fn error(error: &ServerError) -> StoreError {
    let text = format!("Redis: {}", text(error));
    match error.code() {
        // It can't serve now, and says so before it does anything.
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY"
        | "NOREPLICAS" | "MOVED" | "ASK" => StoreError::Unavailable(text),
        _ => StoreError::Failed(text),
    }
}

/// A number, whether it comes as a number, as digits, or as nothing, which stands for 0.
fn number(value: &Value) -> Result<u64, StoreError> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(digits) => str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok()),
        Value::Nil => Some(0),
        _ => None,
    };
    number.ok_or_else(|| unexpected(value))
}

fn array(value: &Value) -> Result<&[Value], StoreError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unexpected(value)),
    }
}

fn bytes(value: &Value) -> Result<&[u8], StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        _ => Err(unexpected(value)),
    }
}

fn fields<const COUNT: usize>(value: &Value) -> Result<&[Value; COUNT], StoreError> {
    array(value)?.first_chunk().ok_or_else(|| unexpected(value))
}

/// The values after the status, when that is DONE.
pub(super) fn done(value: &Value) -> Result<&[Value], StoreError> {
    let (status, rest) = array(value)?
        .split_first()
        .ok_or_else(|| unexpected(value))?;
    match number(status)? {
        DONE => Ok(rest),
        NOT_A_MEMBER => Err(StoreError::NotAMember),
        TOO_MANY_BOXES => Err(StoreError::TooManyBoxes),
        _ => Err(unexpected(value)),
    }
}

/// The answer to an append (see `append.lua`), and whether the sender is a member now.
pub(super) fn appended(value: &Value, append: &Append) -> Result<(Appended, bool), StoreError> {
    let (duplicate, rest) = match bytes(value)? {
        [b'A', rest @ ..] => (false, rest),
        [b'D', rest @ ..] => (true, rest),
        b"N" => return Err(StoreError::NotAMember),
        b"R" => return Err(StoreError::ClientIdReused),
        _ => return Err(unexpected(value)),
    };
    let mut rest = Packed(rest);
    let answer = (|| {
        let (epoch, seq) = (rest.u64()?, rest.u64()?);
        let [has_members, is_member] = rest.take()?;
        let (uuid, ts_ms) = match duplicate {
            false => (append.uuid, append.ts_ms),
            true => (Uuid(u128::from_be_bytes(rest.take()?)), rest.u64()?),
        };
        let appended = Appended {
            epoch,
            seq,
            uuid,
            ts_ms,
            duplicate,
            has_members: has_members == b'1',
        };
        rest.0.is_empty().then_some((appended, is_member == b'1'))
    })();
    answer.ok_or_else(|| unexpected(value))
}

/// The rest of a packed answer.
struct Packed<'a>(&'a [u8]);

impl Packed<'_> {
    fn take<const COUNT: usize>(&mut self) -> Option<[u8; COUNT]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

/// The answer of list_join: whether it put the box on the list.
pub(super) fn newly_listed(value: &Value) -> Result<bool, StoreError> {
    match done(value)? {
        [added] => Ok(number(added)? != 0),
        _ => Err(unexpected(value)),
    }
}

pub(super) fn entries(value: &Value) -> Result<Entries, StoreError> {
    let rest = done(value)?;
    let Some(([epoch, seq, scanned_to], found)) = rest.split_first_chunk::<3>() else {
        return Err(unexpected(value));
    };
    let (found, odd) = found.as_chunks::<3>();
    if !odd.is_empty() {
        return Err(unexpected(value));
    }
    let entry = |[seq, epoch, payload]: &[Value; 3]| {
        Ok(Entry {
            epoch: number(epoch)?,
            seq: number(seq)?,
            payload: bytes(payload)?.into(),
        })
    };
    Ok(Entries {
        entries: found.iter().map(entry).collect::<Result<_, StoreError>>()?,
        scanned_to: number(scanned_to)?,
        head: Head {
            epoch: number(epoch)?,
            seq: number(seq)?,
        },
    })
}

pub(super) fn head(value: &Value) -> Result<Head, StoreError> {
    let [epoch, seq] = fields(value)?;
    Ok(Head {
        epoch: number(epoch)?,
        seq: number(seq)?,
    })
}

pub(super) fn facts(value: &Value) -> Result<BoxFacts, StoreError> {
    let [epoch, seq, members] = fields(value)?;
    Ok(BoxFacts {
        head: Head {
            epoch: number(epoch)?,
            seq: number(seq)?,
        },
        members: number(members)?,
    })
}

/// A box, and what one user is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub head: Head,
    /// The seq that the present epoch began after.
    pub epoch_base: u64,
    pub member: bool,
    pub party: bool,
}

pub(super) fn standing(value: &Value) -> Result<Standing, StoreError> {
    let [epoch, seq, epoch_base, member, party] = fields(value)?;
    Ok(Standing {
        head: Head {
            epoch: number(epoch)?,
            seq: number(seq)?,
        },
        epoch_base: number(epoch_base)?,
        member: number(member)? != 0,
        party: number(party)? != 0,
    })
}

/// One box on a user's list, as the list has it. The box itself may say otherwise.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub boxid: BoxId,
    /// Position of the JOIN that it is listed for; zeros while that is under way. None: listed for direct
    /// messages.
    pub joined: Option<Head>,
    pub marks_epoch: u64,
    pub delivered: u64,
    pub read: u64,
}

/// The boxes on a user's list, sorted by name.
pub(super) fn list(value: &Value) -> Result<Vec<Listed>, StoreError> {
    let [joined, direct, marks] = fields(value)?;
    let listed = |boxid, joined| Listed {
        boxid,
        joined,
        marks_epoch: 0,
        delivered: 0,
        read: 0,
    };
    let mut list = Vec::new();
    for [name, position] in pairs(joined)? {
        let [epoch, seq] = words(position)?;
        list.push(listed(boxid(name)?, Some(Head { epoch, seq })));
    }
    for name in array(direct)? {
        list.push(listed(boxid(name)?, None));
    }
    // A box listed for both reasons stands twice: the JOIN's comes first, and stays.
    list.sort_by(|a, b| {
        a.boxid
            .cmp(&b.boxid)
            .then(b.joined.is_some().cmp(&a.joined.is_some()))
    });
    list.dedup_by(|a, b| a.boxid == b.boxid);
    for [name, marks] in pairs(marks)? {
        let name = boxid(name)?;
        if let Ok(at) = list.binary_search_by(|listed| listed.boxid.cmp(&name)) {
            let [marks_epoch, delivered, read] = words(marks)?;
            list[at] = Listed {
                marks_epoch,
                delivered,
                read,
                ..list[at].clone()
            };
        }
    }
    Ok(list)
}

fn pairs(value: &Value) -> Result<&[[Value; 2]], StoreError> {
    match array(value)?.as_chunks::<2>() {
        (pairs, []) => Ok(pairs),
        _ => Err(unexpected(value)),
    }
}

fn boxid(value: &Value) -> Result<BoxId, StoreError> {
    let name = str::from_utf8(bytes(value)?)
        .ok()
        .and_then(|name| BoxId::parse(name).ok());
    name.ok_or_else(|| unexpected(value))
}

/// Numbers separated by spaces.
fn words<const COUNT: usize>(value: &Value) -> Result<[u64; COUNT], StoreError> {
    let text = str::from_utf8(bytes(value)?).map_err(|_| unexpected(value))?;
    let words: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
    words
        .and_then(|words| words.try_into().ok())
        .ok_or_else(|| unexpected(value))
}

/// What the server says of itself in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// As `7.0.15`.
    pub version: String,
    /// Identity of the server's process, another one after each restart. Boxes that are written to under
    /// another one begin a new epoch.
    pub run_id: String,
    /// Anything but `noeviction` lets the server drop messages when its memory is full.
    pub maxmemory_policy: String,
    pub(super) loading: bool,
    pub(super) replica: bool,
    /// Part of a Redis Cluster: the keys of one call must lie in one slot.
    pub(super) cluster: bool,
}

/// Reads the text of INFO. Error: it is no such text.
pub(super) fn server_info(value: &Value) -> Result<ServerInfo, StoreError> {
    let text = String::from_utf8_lossy(bytes(value)?);
    let field = |name: &str| {
        let find = |line: &str| {
            line.strip_prefix(name)?
                .strip_prefix(':')
                .map(str::to_owned)
        };
        text.lines().find_map(find).unwrap_or_default()
    };
    let info = ServerInfo {
        version: field("redis_version"),
        run_id: field("run_id"),
        maxmemory_policy: field("maxmemory_policy"),
        loading: field("loading") == "1",
        replica: field("role") == "slave",
        cluster: field("cluster_enabled") == "1",
    };
    match info.run_id.is_empty() {
        true => Err(unexpected(value)),
        false => Ok(info),
    }
}
