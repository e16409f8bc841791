//! Cases of the WebSocket codec: frames in and out, masks, fragments.

use newim_proto::ws::frame::{apply_mask, frame_into, masked_frame_into};
use newim_proto::ws::{MessageLimits, Messages, Opcode, Side, WsEvent};

use crate::case::{Body, Case};

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const LIMITS: MessageLimits = MessageLimits {
    side: Side::Server,
    message_bytes_max: 1 << 20,
};

pub fn cases() -> Vec<Case> {
    vec![
        decode("frame/decode/16", || decoding(&[16])),
        decode("frame/decode/125", || decoding(&[125])),
        decode("frame/decode/126", || decoding(&[126])),
        decode("frame/decode/64K-1", || decoding(&[65_535])),
        decode("frame/decode/64K", || decoding(&[65_536])),
        Case {
            name: "frame/decode/fragmented",
            turn: "a message of 4 frames of 1 KiB is put together",
            turns: 200,
            prepare: || decoding(&[1024; 4]),
        },
        Case {
            name: "frame/decode/batch",
            turn: "16 frames of 64 bytes from one receive buffer",
            turns: 200,
            prepare: decoding_batch,
        },
        encode("frame/encode/16", || encoding(16)),
        encode("frame/encode/125", || encoding(125)),
        encode("frame/encode/126", || encoding(126)),
        encode("frame/encode/64K", || encoding(65_536)),
        unmask("frame/unmask/16", || unmasking(16)),
        unmask("frame/unmask/1K", || unmasking(1024)),
        unmask("frame/unmask/64K", || unmasking(65_536)),
    ]
}

fn decode(name: &'static str, prepare: fn() -> Body) -> Case {
    let turn = "one masked frame becomes a message, in place";
    Case {
        name,
        turn,
        turns: 200,
        prepare,
    }
}

fn encode(name: &'static str, prepare: fn() -> Body) -> Case {
    let turn = "one payload becomes a server's frame";
    Case {
        name,
        turn,
        turns: 200,
        prepare,
    }
}

fn unmask(name: &'static str, prepare: fn() -> Body) -> Case {
    let turn = "one payload is unmasked";
    Case {
        name,
        turn,
        turns: 200,
        prepare,
    }
}

/// One message in frames of these sizes. Unmasking twice gives the same bytes again, so one buffer serves
/// all turns and the measurement copies nothing.
fn decoding(frames: &[usize]) -> Body {
    let mut bytes = Vec::new();
    for (number, size) in frames.iter().enumerate() {
        let opcode = match number {
            0 => Opcode::Binary,
            _ => Opcode::Continuation,
        };
        let fin = number + 1 == frames.len();
        masked_frame_into(&mut bytes, opcode, fin, MASK, &vec![b'x'; *size]);
    }
    let mut messages = Messages::default();
    Box::new(move || read_all(&mut messages, &mut bytes))
}

fn decoding_batch() -> Body {
    let mut bytes = Vec::new();
    for _ in 0..16 {
        masked_frame_into(&mut bytes, Opcode::Binary, true, MASK, &[b'x'; 64]);
    }
    let mut messages = Messages::default();
    Box::new(move || read_all(&mut messages, &mut bytes))
}

/// Bytes of the messages.
fn read_all(messages: &mut Messages, bytes: &mut [u8]) -> u64 {
    let mut rest = bytes;
    let mut read = 0;
    while let Some(event) = messages.next(LIMITS, &mut rest).expect("well-formed") {
        match event {
            WsEvent::Binary(payload) => read += payload.len() as u64,
            other => unreachable!("only binary messages were written: {other:?}"),
        }
    }
    read
}

fn encoding(payload_bytes: usize) -> Body {
    let payload = vec![b'x'; payload_bytes];
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        frame_into(&mut out, Opcode::Binary, &payload);
        out.len() as u64
    })
}

fn unmasking(payload_bytes: usize) -> Body {
    let mut payload = vec![b'x'; payload_bytes];
    Box::new(move || {
        apply_mask(&mut payload, MASK, 0);
        payload.len() as u64
    })
}
