//! Reads link messages out of a stream. One [`LinkDecoder`] per link, on the core that owns it. A
//! frame that lies whole in the receive buffer is read from there; only what its end cuts is kept.

use std::fmt;

use crate::ids::{BootId, ConnId, Origin, ShardIndex, Topic};
use crate::limits;
use crate::link::{
    Carries, Delivery, Hello, LENGTH_BYTES, LinkMessage, ORIGIN_BYTES, Publish, Welcome, field,
    kind,
};
use crate::protobuf::{Fields, Value, WireError};

/// The stream so far: empty between frames.
#[derive(Debug, Default)]
pub struct LinkDecoder {
    cut: Vec<u8>,
}

impl LinkDecoder {
    pub fn new() -> Self {
        LinkDecoder::default()
    }

    /// Takes bytes off the front of `bytes` up to the end of the next message and returns it; None
    /// when all bytes are taken in and more are needed: call until None. After an error, close the link.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<LinkMessage>, LinkError> {
        if self.cut.is_empty() {
            if let Some(frame_bytes) = frame_bytes(bytes)?
                && let Some((frame, rest)) = bytes.split_at_checked(frame_bytes)
            {
                *bytes = rest;
                return parse(&frame[LENGTH_BYTES..]).map(Some);
            }
            self.cut.extend_from_slice(bytes);
            *bytes = &[];
            return Ok(None);
        }
        self.take_up_to(LENGTH_BYTES, bytes);
        let Some(frame_bytes) = frame_bytes(&self.cut)? else {
            return Ok(None);
        };
        self.take_up_to(frame_bytes, bytes);
        if self.cut.len() < frame_bytes {
            return Ok(None);
        }
        let message = parse(&self.cut[LENGTH_BYTES..])?;
        self.cut.clear();
        self.cut.shrink_to(KEPT_BYTES_MAX);
        Ok(Some(message))
    }

    /// Bytes of a frame whose end hasn't come.
    pub fn pending_bytes(&self) -> usize {
        self.cut.len()
    }

    /// Until `cut` holds so many bytes, or `bytes` has none: it grows by what came, not by what a
    /// length announced.
    fn take_up_to(&mut self, wanted: usize, bytes: &mut &[u8]) {
        let missing = wanted.saturating_sub(self.cut.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.cut.extend_from_slice(taken);
        *bytes = rest;
    }
}

/// Capacity that a link keeps between frames: a cut Deliver fits, a cut list of topics is rare.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Why a peer's bytes are no link message. The link is closed, and repaired by SYNC when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    FrameTooLong {
        bytes: u32,
    },
    Wire(WireError),
    /// A field has another type or length than the schema says, or a value out of range.
    BadField {
        field: u32,
    },
    /// A field that this kind of message needs isn't there.
    Missing {
        kind: u64,
        field: u32,
    },
    /// A message that this version doesn't know; Hello should have kept its sender away.
    UnknownKind {
        kind: u64,
    },
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            LinkError::FrameTooLong { bytes } => {
                let bytes_max = limits::LINK_FRAME_BYTES_MAX;
                write!(
                    f,
                    "a link frame of {bytes} bytes, at most {bytes_max} are allowed"
                )
            }
            LinkError::Wire(error) => error.fmt(f),
            LinkError::BadField { field } => {
                write!(
                    f,
                    "field {field} of ExchangeMessage has a wrong type, length or value"
                )
            }
            LinkError::Missing { kind, field } => {
                write!(
                    f,
                    "field {field} of ExchangeMessage is missing in a message of kind {kind}"
                )
            }
            LinkError::UnknownKind { kind } => write!(f, "link message kind {kind} is not known"),
        }
    }
}

impl std::error::Error for LinkError {}

impl From<WireError> for LinkError {
    fn from(error: WireError) -> Self {
        LinkError::Wire(error)
    }
}

/// Length and body together; None while the length isn't whole.
fn frame_bytes(bytes: &[u8]) -> Result<Option<usize>, LinkError> {
    let Some(length) = bytes.first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let bytes = u32::from_be_bytes(*length);
    if bytes as usize > limits::LINK_FRAME_BYTES_MAX {
        return Err(LinkError::FrameTooLong { bytes });
    }
    Ok(Some(LENGTH_BYTES + bytes as usize))
}

fn parse(frame: &[u8]) -> Result<LinkMessage, LinkError> {
    let parts = Parts::read(frame)?;
    let kind = parts.kind;
    Ok(match kind {
        kind::HELLO => LinkMessage::Hello(Hello {
            version: parts.need(parts.link_version, field::LINK_VERSION)?,
            node: parts.need(parts.node, field::NODE)?.to_owned(),
            boot_id: parts.need(parts.boot_id, field::BOOT_ID)?,
            chat_boot_id: parts.need(parts.chat_boot_id, field::CHAT_BOOT_ID)?,
            chat_shard: parts.need(parts.shard, field::SHARD)?,
            slot_count: parts.need(parts.slot_count, field::SLOT_COUNT)?,
        }),
        kind::WELCOME => LinkMessage::Welcome(Welcome {
            version: parts.need(parts.link_version, field::LINK_VERSION)?,
            boot_id: parts.need(parts.boot_id, field::BOOT_ID)?,
            chat_shard: parts.need(parts.shard, field::SHARD)?,
            routes_epoch: parts.need(parts.routes_epoch, field::ROUTES_EPOCH)?,
        }),
        kind::INTEREST => LinkMessage::Interest {
            topics: parts.topics()?,
            barrier: parts.need(parts.barrier, field::BARRIER)?,
        },
        kind::WITHDRAW => LinkMessage::Withdraw {
            topics: parts.topics()?,
        },
        kind::SETTLED => LinkMessage::Settled {
            barrier: parts.need(parts.barrier, field::BARRIER)?,
        },
        kind::PUBLISH => LinkMessage::Publish(Publish {
            number: parts.need(parts.number, field::NUMBER)?,
            routes_epoch: parts.need(parts.routes_epoch, field::ROUTES_EPOCH)?,
            delivery: parts.delivery()?,
        }),
        kind::ACCEPTED => LinkMessage::Accepted {
            number: parts.need(parts.number, field::NUMBER)?,
        },
        kind::REFUSED => LinkMessage::Refused {
            number: parts.need(parts.number, field::NUMBER)?,
            routes_epoch: parts.need(parts.routes_epoch, field::ROUTES_EPOCH)?,
        },
        kind::DELIVER => LinkMessage::Deliver(parts.delivery()?),
        kind::DRAINING => LinkMessage::Draining,
        _ => return Err(LinkError::UnknownKind { kind }),
    })
}

/// The fields of an ExchangeMessage, borrowed; unknown ones (and v1's) are skipped.
#[derive(Default)]
struct Parts<'a> {
    kind: u64,
    link_version: Option<u32>,
    node: Option<&'a str>,
    boot_id: Option<BootId>,
    chat_boot_id: Option<BootId>,
    shard: Option<ShardIndex>,
    slot_count: Option<u16>,
    routes_epoch: Option<u64>,
    topics: Option<&'a [u8]>,
    barrier: Option<u64>,
    number: Option<u64>,
    topic: Option<Topic>,
    box_topic: Option<Topic>,
    epoch: Option<u64>,
    seq: Option<u64>,
    origin: Option<Origin>,
    carries: Option<Carries>,
    payload: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn read(frame: &'a [u8]) -> Result<Self, LinkError> {
        let mut parts = Parts::default();
        let mut fields = Fields::of(frame);
        while let Some((field, value)) = fields.next_field()? {
            parts
                .set(field, value)
                .ok_or(LinkError::BadField { field })?;
        }
        Ok(parts)
    }

    /// None: the value isn't of the field's type, or out of its range.
    fn set(&mut self, field: u32, value: Value<'a>) -> Option<()> {
        match (field, value) {
            (field::KIND, Value::Varint(value)) => self.kind = value,
            (field::LINK_VERSION, Value::Varint(value)) => {
                self.link_version = Some(u32::try_from(value).ok()?);
            }
            (field::NODE, Value::Bytes(value)) => {
                self.node = Some(std::str::from_utf8(value).ok()?);
            }
            (field::BOOT_ID, Value::Fixed64(value)) => self.boot_id = Some(BootId(value)),
            (field::CHAT_BOOT_ID, Value::Fixed64(value)) => self.chat_boot_id = Some(BootId(value)),
            (field::SHARD, Value::Varint(value)) => {
                self.shard = Some(ShardIndex(u16::try_from(value).ok()?));
            }
            (field::SLOT_COUNT, Value::Varint(value)) => {
                self.slot_count = Some(u16::try_from(value).ok()?);
            }
            (field::ROUTES_EPOCH, Value::Varint(value)) => self.routes_epoch = Some(value),
            (field::TOPICS, Value::Bytes(value)) => self.topics = Some(value),
            (field::BARRIER, Value::Varint(value)) => self.barrier = Some(value),
            (field::NUMBER, Value::Varint(value)) => self.number = Some(value),
            (field::TOPIC, Value::Bytes(value)) => self.topic = Some(Topic(value.try_into().ok()?)),
            (field::BOX_TOPIC, Value::Bytes(value)) => {
                self.box_topic = Some(Topic(value.try_into().ok()?));
            }
            (field::EPOCH, Value::Varint(value)) => self.epoch = Some(value),
            (field::SEQ, Value::Varint(value)) => self.seq = Some(value),
            (field::ORIGIN, Value::Bytes(value)) => self.origin = Some(origin(value)?),
            (field::CARRIES, Value::Varint(value)) => self.carries = Some(carries(value)?),
            (field::PAYLOAD, Value::Bytes(value)) => self.payload = Some(value),
            (field::KIND..=field::CHAT_BOOT_ID, _) => return None,
            _ => {}
        }
        Some(())
    }

    fn need<T>(&self, value: Option<T>, field: u32) -> Result<T, LinkError> {
        value.ok_or(LinkError::Missing {
            kind: self.kind,
            field,
        })
    }

    fn topics(&self) -> Result<Vec<Topic>, LinkError> {
        let (topics, rest) = self.need(self.topics, field::TOPICS)?.as_chunks::<16>();
        if !rest.is_empty() || topics.len() > limits::LINK_TOPICS_MAX {
            return Err(LinkError::BadField {
                field: field::TOPICS,
            });
        }
        Ok(topics.iter().map(|topic| Topic(*topic)).collect())
    }

    fn delivery(&self) -> Result<Delivery, LinkError> {
        Ok(Delivery {
            topic: self.need(self.topic, field::TOPIC)?,
            box_topic: self.need(self.box_topic, field::BOX_TOPIC)?,
            epoch: self.need(self.epoch, field::EPOCH)?,
            seq: self.need(self.seq, field::SEQ)?,
            skip: self.origin,
            carries: self.need(self.carries, field::CARRIES)?,
            payload: self.need(self.payload, field::PAYLOAD)?.into(),
        })
    }
}

fn carries(value: u64) -> Option<Carries> {
    Some(match value {
        0 => Carries::Message,
        1 => Carries::Gap,
        2 => Carries::Nudge,
        _ => return None,
    })
}

fn origin(bytes: &[u8]) -> Option<Origin> {
    let bytes: &[u8; ORIGIN_BYTES] = bytes.try_into().ok()?;
    let (node, rest) = bytes.split_first_chunk()?;
    let (shard, rest) = rest.split_first_chunk()?;
    let (index, generation) = rest.split_first_chunk()?;
    Some(Origin {
        node: BootId(u64::from_be_bytes(*node)),
        shard: ShardIndex(u16::from_be_bytes(*shard)),
        conn: ConnId {
            index: u32::from_be_bytes(*index),
            generation: u32::from_be_bytes(generation.try_into().ok()?),
        },
    })
}
