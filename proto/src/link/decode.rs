//! Reads link messages out of a stream of bytes. A driver has one [`LinkDecoder`] per link, on the core that
//! owns the link. A frame that lies whole in the receive buffer is read from there; a copy is kept only of a
//! frame that the buffer's end cuts.

use std::fmt;

use crate::ids::{BootId, ConnId, Origin, ShardIndex, Topic};
use crate::limits;
use crate::link::{
    Carries, Delivery, Hello, LENGTH_BYTES, LinkMessage, ORIGIN_BYTES, Publish, Welcome, field,
    kind,
};
use crate::payload::PayloadPool;
use crate::protobuf::{Fields, Value, WireError};

/// The state of one link's stream: the beginning of a cut frame, or nothing.
#[derive(Debug, Default)]
pub struct LinkDecoder {
    cut: Vec<u8>,
}

impl LinkDecoder {
    /// A decoder at the start of a stream. Allocates nothing before a frame is cut.
    pub fn new() -> Self {
        LinkDecoder::default()
    }

    /// Takes bytes off the front of `bytes` up to the end of the next message and returns that message, with
    /// its payload in a block of the pool. None: all bytes were taken in and more are needed; so call until
    /// None. After an error the stream can't be read on: close the link.
    pub fn next(
        &mut self,
        bytes: &mut &[u8],
        payloads: &mut PayloadPool,
    ) -> Result<Option<LinkMessage>, LinkError> {
        if self.cut.is_empty() {
            if let Some(frame_bytes) = frame_bytes(bytes)?
                && let Some((frame, rest)) = bytes.split_at_checked(frame_bytes)
            {
                *bytes = rest;
                return parse(&frame[LENGTH_BYTES..], payloads).map(Some);
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
        let message = parse(&self.cut[LENGTH_BYTES..], payloads)?;
        self.cut.clear();
        self.cut.shrink_to(limits::LINK_CUT_SPARE_BYTES_MAX);
        Ok(Some(message))
    }

    /// Bytes kept of a frame whose end has not come.
    pub fn pending_bytes(&self) -> usize {
        self.cut.len()
    }

    /// Moves bytes into `cut` until it holds `wanted` of them or `bytes` is empty. So `cut` grows by what came,
    /// not by what a length announced.
    fn take_up_to(&mut self, wanted: usize, bytes: &mut &[u8]) {
        let missing = wanted.saturating_sub(self.cut.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.cut.extend_from_slice(taken);
        *bytes = rest;
    }
}

/// Why a peer's bytes are no link message: no gateway or chat node sent them, or one of another version. The
/// link is closed, and repaired by SYNC when it is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// A frame announces more than [`limits::LINK_FRAME_BYTES_MAX`].
    FrameTooLong {
        /// The length that it announces: its first four bytes.
        bytes: u32,
    },
    /// The frame is no protobuf message.
    Wire(WireError),
    /// A field has another type or length than the schema says, or a value out of its range.
    BadField {
        /// Its number in ExchangeMessage.
        field: u32,
    },
    /// A field that this kind of message needs is not there.
    Missing {
        /// `ExchangeMessage.kind`.
        kind: u64,
        /// Its number in ExchangeMessage.
        field: u32,
    },
    /// A kind of message that this version does not know. Hello should have kept its sender away.
    UnknownKind {
        /// `ExchangeMessage.kind`.
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

/// Bytes of the first frame, its length included; None while the length itself is not whole.
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

fn parse(frame: &[u8], payloads: &mut PayloadPool) -> Result<LinkMessage, LinkError> {
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
            delivery: parts.delivery(payloads)?,
        }),
        kind::ACCEPTED => LinkMessage::Accepted {
            number: parts.need(parts.number, field::NUMBER)?,
        },
        kind::REFUSED => LinkMessage::Refused {
            number: parts.need(parts.number, field::NUMBER)?,
            routes_epoch: parts.need(parts.routes_epoch, field::ROUTES_EPOCH)?,
        },
        kind::DELIVER => LinkMessage::Deliver(parts.delivery(payloads)?),
        kind::DRAINING => LinkMessage::Draining,
        _ => return Err(LinkError::UnknownKind { kind }),
    })
}

/// The fields of an ExchangeMessage, borrowed. Unknown fields, and those of v1, are skipped.
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

    /// None: the value has another type than the field, or is out of the field's range.
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

    fn delivery(&self, payloads: &mut PayloadPool) -> Result<Delivery, LinkError> {
        Ok(Delivery {
            topic: self.need(self.topic, field::TOPIC)?,
            box_topic: self.need(self.box_topic, field::BOX_TOPIC)?,
            epoch: self.need(self.epoch, field::EPOCH)?,
            seq: self.need(self.seq, field::SEQ)?,
            skip: self.origin,
            carries: self.need(self.carries, field::CARRIES)?,
            payload: payloads.payload(self.need(self.payload, field::PAYLOAD)?),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::encode;
    use crate::schema::ExchangeMessage;
    use proptest::prelude::*;
    use prost::Message;

    fn message() -> impl Strategy<Value = LinkMessage> {
        let topics = || prop::collection::vec(topic(), 0..5);
        prop_oneof![
            (any::<[u64; 2]>(), ".*", any::<[u16; 2]>(), any::<u32>()).prop_map(
                |([boot_id, chat_boot_id], node, [shard, slot_count], version)| {
                    LinkMessage::Hello(Hello {
                        version,
                        node,
                        boot_id: BootId(boot_id),
                        chat_boot_id: BootId(chat_boot_id),
                        chat_shard: ShardIndex(shard),
                        slot_count,
                    })
                }
            ),
            any::<(u32, u64, u16, u64)>().prop_map(|(version, boot_id, shard, routes_epoch)| {
                LinkMessage::Welcome(Welcome {
                    version,
                    boot_id: BootId(boot_id),
                    chat_shard: ShardIndex(shard),
                    routes_epoch,
                })
            }),
            (topics(), any::<u64>())
                .prop_map(|(topics, barrier)| LinkMessage::Interest { topics, barrier }),
            topics().prop_map(|topics| LinkMessage::Withdraw { topics }),
            any::<u64>().prop_map(|barrier| LinkMessage::Settled { barrier }),
            (any::<[u64; 2]>(), delivery()).prop_map(|([number, routes_epoch], delivery)| {
                LinkMessage::Publish(Publish {
                    number,
                    routes_epoch,
                    delivery,
                })
            }),
            any::<u64>().prop_map(|number| LinkMessage::Accepted { number }),
            any::<[u64; 2]>().prop_map(|[number, routes_epoch]| LinkMessage::Refused {
                number,
                routes_epoch
            }),
            delivery().prop_map(LinkMessage::Deliver),
            Just(LinkMessage::Draining),
        ]
    }

    fn topic() -> impl Strategy<Value = Topic> {
        any::<[u8; 16]>().prop_map(Topic)
    }

    fn delivery() -> impl Strategy<Value = Delivery> {
        let skip = any::<Option<(u64, u16, u32, u32)>>().prop_map(|skip| {
            skip.map(|(node, shard, index, generation)| Origin {
                node: BootId(node),
                shard: ShardIndex(shard),
                conn: ConnId { index, generation },
            })
        });
        let carries = prop_oneof![
            Just(Carries::Message),
            Just(Carries::Gap),
            Just(Carries::Nudge)
        ];
        let payload = prop::collection::vec(any::<u8>(), 0..300);
        (topic(), topic(), any::<[u64; 2]>(), skip, carries, payload).prop_map(
            |(topic, box_topic, [epoch, seq], skip, carries, payload)| Delivery {
                topic,
                box_topic,
                epoch,
                seq,
                skip,
                carries,
                payload: payload.into(),
            },
        )
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32).to_be_bytes()[..], body].concat()
    }

    fn pool() -> PayloadPool {
        PayloadPool::default()
    }

    fn error(bytes: &[u8]) -> LinkError {
        LinkDecoder::new()
            .next(&mut &bytes[..], &mut pool())
            .unwrap_err()
    }

    proptest! {
        #[test]
        fn messages_survive_the_stream_however_it_is_cut(
            sent in prop::collection::vec(message(), 0..6),
            chunk_bytes in 1usize..400,
        ) {
            let mut stream = Vec::new();
            sent.iter().for_each(|message| encode(message, &mut stream));
            let (mut decoder, mut payloads) = (LinkDecoder::new(), pool());
            let mut received = Vec::new();
            for mut chunk in stream.chunks(chunk_bytes) {
                while let Some(message) = decoder.next(&mut chunk, &mut payloads).unwrap() {
                    received.push(message);
                }
                prop_assert!(chunk.is_empty());
            }
            prop_assert_eq!(received, sent);
            prop_assert_eq!(decoder.pending_bytes(), 0);
        }

        #[test]
        fn a_frame_is_an_exchange_message_of_the_schema(delivery in delivery()) {
            let mut out = Vec::new();
            encode(&LinkMessage::Deliver(delivery.clone()), &mut out);
            let message = ExchangeMessage::decode(&out[4..]).unwrap();
            prop_assert_eq!(message.kind, Some(9));
            prop_assert_eq!(message.topic.as_deref(), Some(&delivery.topic.0[..]));
            prop_assert_eq!(message.box_topic.as_deref(), Some(&delivery.box_topic.0[..]));
            prop_assert_eq!((message.epoch, message.seq), (Some(delivery.epoch), Some(delivery.seq)));
            prop_assert_eq!(message.origin.is_some(), delivery.skip.is_some());
            prop_assert_eq!(message.payload.as_deref(), Some(&delivery.payload[..]));
        }
    }

    #[test]
    fn a_hello_is_an_exchange_message_of_the_schema() {
        let hello = Hello {
            version: 2,
            node: "h:1".into(),
            boot_id: BootId(7),
            chat_boot_id: BootId(8),
            chat_shard: ShardIndex(3),
            slot_count: 4096,
        };
        let mut out = Vec::new();
        encode(&LinkMessage::Hello(hello), &mut out);
        let expected = ExchangeMessage {
            kind: Some(1),
            link_version: Some(2),
            node: Some("h:1".into()),
            boot_id: Some(7),
            chat_boot_id: Some(8),
            shard: Some(3),
            slot_count: Some(4096),
            ..Default::default()
        };
        assert_eq!(ExchangeMessage::decode(&out[4..]), Ok(expected));
    }

    #[test]
    fn a_delivery_is_encoded_without_growing_the_buffer_twice() {
        let delivery = Delivery {
            topic: Topic([255; 16]),
            box_topic: Topic([255; 16]),
            epoch: u64::MAX,
            seq: u64::MAX,
            skip: Some(Origin {
                node: BootId(u64::MAX),
                shard: ShardIndex(u16::MAX),
                conn: ConnId {
                    index: u32::MAX,
                    generation: u32::MAX,
                },
            }),
            carries: Carries::Message,
            payload: vec![0; limits::LINK_PAYLOAD_BYTES_MAX].into(),
        };
        let publish = Publish {
            number: u64::MAX,
            routes_epoch: u64::MAX,
            delivery,
        };
        let mut out = Vec::new();
        encode(&LinkMessage::Publish(publish), &mut out);
        assert!(out.len() <= limits::LINK_PAYLOAD_BYTES_MAX + 160 + 4);
        assert!(
            LinkDecoder::new()
                .next(&mut &out[..], &mut pool())
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_frame_over_the_bound_is_refused_by_its_length_and_an_announced_one_takes_no_memory() {
        let over = (limits::LINK_FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
        let bytes = limits::LINK_FRAME_BYTES_MAX as u32 + 1;
        assert_eq!(error(&over), LinkError::FrameTooLong { bytes });
        let mut decoder = LinkDecoder::new();
        let promised = [
            &(limits::LINK_FRAME_BYTES_MAX as u32).to_be_bytes()[..],
            b"x",
        ]
        .concat();
        assert_eq!(decoder.next(&mut &promised[..], &mut pool()), Ok(None));
        assert!(decoder.cut.capacity() < 64);
    }

    #[test]
    fn each_malformed_message_is_told_apart() {
        assert_eq!(error(&frame(b"")), LinkError::UnknownKind { kind: 0 });
        assert_eq!(
            error(&frame(b"\x48\x0b")),
            LinkError::UnknownKind { kind: 11 }
        );
        let missing = LinkError::Missing {
            kind: 5,
            field: field::BARRIER,
        };
        assert_eq!(error(&frame(b"\x48\x05")), missing);
        assert!(matches!(error(&frame(b"\x48")), LinkError::Wire(_)));
        // A topic of 15 bytes, topics of 17, a shard of 65536, a kind that is a string.
        let topic = [b"\x48\x09\x9a\x01\x0f".to_vec(), vec![0; 15]].concat();
        assert_eq!(
            error(&frame(&topic)),
            LinkError::BadField {
                field: field::TOPIC
            }
        );
        let topics = [b"\x48\x04\x82\x01\x11".to_vec(), vec![0; 17]].concat();
        assert_eq!(
            error(&frame(&topics)),
            LinkError::BadField {
                field: field::TOPICS
            }
        );
        let shard = LinkError::BadField {
            field: field::SHARD,
        };
        assert_eq!(error(&frame(b"\x48\x0a\x68\x80\x80\x04")), shard);
        assert_eq!(
            error(&frame(b"\x4a\x00")),
            LinkError::BadField { field: field::KIND }
        );
    }

    #[test]
    fn more_topics_than_a_list_may_have_are_refused() {
        let list = |count: usize| {
            let mut body = b"\x48\x04".to_vec();
            crate::protobuf::put_bytes(&mut body, field::TOPICS, &vec![0; count * 16]);
            LinkDecoder::new().next(&mut &frame(&body)[..], &mut pool())
        };
        assert!(list(limits::LINK_TOPICS_MAX).is_ok());
        let refused = Err(LinkError::BadField {
            field: field::TOPICS,
        });
        assert_eq!(list(limits::LINK_TOPICS_MAX + 1), refused);
    }
}
