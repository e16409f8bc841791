//! Assembles whole messages from a stream of frames. Each session has one [`Messages`], on its shard's core. A
//! message that lies whole in the receive buffer is delivered from there. Only a frame or message that a
//! buffer's end cuts is copied, into memory that grows by what really came and is freed once the message was
//! delivered.

use crate::limits;
use crate::ws::CloseCode;
use crate::ws::frame::{
    FrameError, FrameHeader, LONGEST_HEADER_BYTES, Opcode, Side, apply_mask, parse_header,
};

/// What the owner of a connection allows its peer.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Which end reads.
    pub side: Side,
    /// Bytes of one message, all fragments together. A longer one is [`FrameError::TooBig`] as soon as a
    /// header says so.
    pub message_bytes_max: usize,
}

/// A message or control frame of the peer, borrowed from the receive buffer or from [`Messages`]. Events come in
/// the order in which their last bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WsEvent<'e> {
    /// A whole text message.
    Text(&'e str),
    /// A whole binary message.
    Binary(&'e [u8]),
    /// A Ping, to be answered by a Pong with the same payload.
    Ping(&'e [u8]),
    /// A Pong, with the payload of the Ping that it answers, if any.
    Pong(&'e [u8]),
    /// The peer's last word, with its code and reason. Answer by a Close, then close the connection.
    Close(Option<(CloseCode, &'e str)>),
}

/// The state of one connection's stream: a null pointer while nothing is cut.
#[derive(Debug, Default)]
pub struct Messages {
    pending: Option<Box<Pending>>,
}

impl Messages {
    /// The start of a stream. Allocates nothing before a frame or message is cut.
    pub fn new() -> Self {
        Messages::default()
    }

    /// Takes bytes off the front of `bytes` up to the end of the next event and returns the event. None: all
    /// bytes were taken in and more are needed. Bytes behind an event stay in `bytes` for the next call, so
    /// call until None. Unmasks in place. After an error or a Close, feed nothing more.
    #[inline]
    pub fn next<'e, 'a: 'e>(
        &'e mut self,
        limits: MessageLimits,
        bytes: &mut &'a mut [u8],
    ) -> Result<Option<WsEvent<'e>>, FrameError> {
        self.forget_delivered();
        loop {
            match self.step(limits, bytes)? {
                Step::FragmentTaken => {}
                Step::InPlace(opcode, payload) => return event(opcode, payload).map(Some),
                Step::Assembled => return self.assembled().map(Some),
                Step::AssembledControl(opcode, payload_bytes) => {
                    let pending = self.pending.as_ref().expect("the step assembled it there");
                    return event(opcode, &pending.control[..payload_bytes]).map(Some);
                }
                Step::NeedsBytes => {
                    self.release_idle();
                    return Ok(None);
                }
            }
        }
    }

    /// Whether nothing is cut, so that there is no memory behind it.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.pending.is_none()
    }

    /// Bytes on the heap that this connection holds for a cut frame or message; 0 if there is none.
    pub fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| {
            size_of::<Pending>() + pending.assembly.capacity()
        })
    }

    #[inline]
    fn step<'a>(
        &mut self,
        limits: MessageLimits,
        bytes: &mut &'a mut [u8],
    ) -> Result<Step<'a>, FrameError> {
        if bytes.is_empty() {
            return Ok(Step::NeedsBytes);
        }
        let frame_is_cut = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.header_taken > 0);
        if !frame_is_cut && let Some((header, header_bytes)) = parse_header(bytes, limits.side)? {
            let assembly = self
                .pending
                .as_ref()
                .and_then(|pending| pending.assembling());
            check_in_sequence(&header, assembly, limits)?;
            if header.payload_bytes <= (bytes.len() - header_bytes) as u64 {
                let (head, rest) = std::mem::take(bytes).split_at_mut(header_bytes);
                debug_assert_eq!(head.len(), header_bytes);
                let (payload, rest) = rest.split_at_mut(header.payload_bytes as usize);
                *bytes = rest;
                apply_mask(payload, header.mask, 0);
                if header.opcode.is_control() || header.fin && assembly.is_none() {
                    return Ok(Step::InPlace(header.opcode, payload));
                }
                return self
                    .pending
                    .get_or_insert_default()
                    .take_fragment(&header, payload);
            }
        }
        self.pending.get_or_insert_default().take_cut(limits, bytes)
    }

    fn assembled(&mut self) -> Result<WsEvent<'_>, FrameError> {
        let pending = self.pending.as_mut().expect("the step assembled it there");
        pending.delivered = true;
        let is_text = pending.message == Some(MessageKind::Text);
        event(
            if is_text {
                Opcode::Text
            } else {
                Opcode::Binary
            },
            &pending.assembly,
        )
    }

    #[inline]
    fn forget_delivered(&mut self) {
        if let Some(pending) = &mut self.pending
            && pending.delivered
        {
            pending.delivered = false;
            pending.message = None;
            pending.assembly.clear();
            pending.text_checked = 0;
        }
    }

    #[inline]
    fn release_idle(&mut self) {
        if self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.is_idle())
        {
            self.pending = None;
        }
    }
}

/// What one look at the front of the buffer found.
enum Step<'a> {
    /// All bytes were taken in, and more are needed.
    NeedsBytes,
    /// A fragment that is not the last one: go on with the next frame.
    FragmentTaken,
    /// An unfragmented message or a control frame, which lies whole in the receive buffer.
    InPlace(Opcode, &'a mut [u8]),
    /// A message, which is whole in `Pending::assembly`.
    Assembled,
    /// A control frame, and the number of its bytes in `Pending::control`.
    AssembledControl(Opcode, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageKind {
    Text,
    Binary,
}

/// A message whose end has not come, a frame that the buffer's end cut, or both.
#[derive(Debug)]
struct Pending {
    /// The kind of the message in `assembly`: set from its first fragment (or the cut frame's header) until it
    /// was delivered.
    message: Option<MessageKind>,
    /// The unmasked payload of that message so far. Grows by bytes received, never by bytes announced.
    assembly: Vec<u8>,
    /// If it is a text: the bytes at the start of `assembly` that are known to be whole, valid characters.
    text_checked: usize,
    /// Whether `assembly` was lent out as an event.
    delivered: bool,

    /// The cut frame's header as far as it came; the whole of it once `header` is set.
    header_bytes: [u8; LONGEST_HEADER_BYTES],
    header_taken: u8,
    header: Option<FrameHeader>,
    payload_taken: u64,
    /// The cut frame's payload if it is a control frame, which may stand between fragments.
    control: [u8; limits::CONTROL_BYTES_MAX],
}

impl Default for Pending {
    fn default() -> Self {
        Pending {
            message: None,
            assembly: Vec::new(),
            text_checked: 0,
            delivered: false,
            header_bytes: [0; LONGEST_HEADER_BYTES],
            header_taken: 0,
            header: None,
            payload_taken: 0,
            control: [0; limits::CONTROL_BYTES_MAX],
        }
    }
}

impl Pending {
    fn is_idle(&self) -> bool {
        self.message.is_none() && self.header_taken == 0
    }

    /// The bytes so far of the message that is being assembled, if there is one.
    fn assembling(&self) -> Option<usize> {
        self.message.map(|_| self.assembly.len())
    }

    /// Takes in a fragment that lies whole and unmasked in the receive buffer.
    fn take_fragment<'a>(
        &mut self,
        header: &FrameHeader,
        payload: &[u8],
    ) -> Result<Step<'a>, FrameError> {
        self.begin(header);
        self.append(payload)?;
        self.end(header)
    }

    /// Takes in what came of a frame that does not lie whole in one buffer.
    #[cold]
    fn take_cut<'a>(
        &mut self,
        limits: MessageLimits,
        bytes: &mut &mut [u8],
    ) -> Result<Step<'a>, FrameError> {
        let header = match self.header {
            Some(header) => header,
            None => {
                let Some(header) = self.take_header(limits.side, bytes)? else {
                    return Ok(Step::NeedsBytes);
                };
                check_in_sequence(&header, self.assembling(), limits)?;
                self.begin(&header);
                self.header = Some(header);
                header
            }
        };
        self.take_payload(&header, bytes)?;
        if self.payload_taken < header.payload_bytes {
            return Ok(Step::NeedsBytes);
        }
        self.header = None;
        self.header_taken = 0;
        self.payload_taken = 0;
        self.end(&header)
    }

    /// Takes in the header byte by byte, so that no byte of the payload is taken with it.
    fn take_header(
        &mut self,
        side: Side,
        bytes: &mut &mut [u8],
    ) -> Result<Option<FrameHeader>, FrameError> {
        while let Some((byte, rest)) = std::mem::take(bytes).split_first_mut() {
            *bytes = rest;
            self.header_bytes[usize::from(self.header_taken)] = *byte;
            self.header_taken += 1;
            let so_far = &self.header_bytes[..usize::from(self.header_taken)];
            if let Some((header, header_bytes)) = parse_header(so_far, side)? {
                assert_eq!(
                    header_bytes,
                    so_far.len(),
                    "whole with its last byte, not before"
                );
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn take_payload(
        &mut self,
        header: &FrameHeader,
        bytes: &mut &mut [u8],
    ) -> Result<(), FrameError> {
        let missing = header.payload_bytes - self.payload_taken;
        let taken = missing.min(bytes.len() as u64) as usize;
        let (payload, rest) = std::mem::take(bytes).split_at_mut(taken);
        *bytes = rest;
        apply_mask(payload, header.mask, self.payload_taken);
        let start = self.payload_taken as usize;
        self.payload_taken += taken as u64;
        if header.opcode.is_control() {
            self.control[start..start + taken].copy_from_slice(payload);
            return Ok(());
        }
        self.append(payload)
    }

    fn begin(&mut self, header: &FrameHeader) {
        match header.opcode {
            Opcode::Text => self.message = Some(MessageKind::Text),
            Opcode::Binary => self.message = Some(MessageKind::Binary),
            _ => {}
        }
    }

    fn append(&mut self, payload: &[u8]) -> Result<(), FrameError> {
        self.assembly.extend_from_slice(payload);
        if self.message == Some(MessageKind::Text) {
            self.check_text()?;
        }
        Ok(())
    }

    /// Checks what is new of a text. Its end may cut a character, but a wrong byte is known at once (RFC 6455,
    /// 8.1).
    fn check_text(&mut self) -> Result<(), FrameError> {
        match simdutf8::compat::from_utf8(&self.assembly[self.text_checked..]) {
            Ok(_) => self.text_checked = self.assembly.len(),
            Err(error) if error.error_len().is_none() => self.text_checked += error.valid_up_to(),
            Err(_) => return Err(FrameError::TextNotUtf8),
        }
        Ok(())
    }

    fn end<'a>(&mut self, header: &FrameHeader) -> Result<Step<'a>, FrameError> {
        if header.opcode.is_control() {
            return Ok(Step::AssembledControl(
                header.opcode,
                header.payload_bytes as usize,
            ));
        }
        Ok(if header.fin {
            Step::Assembled
        } else {
            Step::FragmentTaken
        })
    }
}

/// Checks the order of fragments (RFC 6455, 5.4), and the bound on a message, which a header alone can exceed.
#[inline]
fn check_in_sequence(
    header: &FrameHeader,
    assembling: Option<usize>,
    limits: MessageLimits,
) -> Result<(), FrameError> {
    match header.opcode {
        Opcode::Continuation if assembling.is_none() => return Err(FrameError::NothingToContinue),
        Opcode::Text | Opcode::Binary if assembling.is_some() => {
            return Err(FrameError::MessageInterrupted);
        }
        Opcode::Close | Opcode::Ping | Opcode::Pong => return Ok(()),
        _ => {}
    }
    let bytes = assembling.unwrap_or(0) as u64 + header.payload_bytes;
    let bytes_max = limits.message_bytes_max as u64;
    if bytes > bytes_max {
        return Err(FrameError::TooBig { bytes, bytes_max });
    }
    Ok(())
}

#[inline]
fn event(opcode: Opcode, payload: &[u8]) -> Result<WsEvent<'_>, FrameError> {
    Ok(match opcode {
        Opcode::Text => {
            WsEvent::Text(simdutf8::basic::from_utf8(payload).map_err(|_| FrameError::TextNotUtf8)?)
        }
        Opcode::Ping => WsEvent::Ping(payload),
        Opcode::Pong => WsEvent::Pong(payload),
        Opcode::Close => WsEvent::Close(close_body(payload)?),
        Opcode::Binary | Opcode::Continuation => WsEvent::Binary(payload),
    })
}

/// Reads the body of a close frame (RFC 6455, 5.5.1): nothing, or a code that may be sent and a reason in UTF-8.
fn close_body(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::CloseCutShort)
        };
    };
    let code = u16::from_be_bytes(*code);
    let code = CloseCode::parse(code).ok_or(FrameError::CloseCodeInvalid(code))?;
    let reason = std::str::from_utf8(reason).map_err(|_| FrameError::CloseReasonNotUtf8)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::frame::masked_frame_into;

    const LIMITS: MessageLimits = MessageLimits {
        side: Side::Server,
        message_bytes_max: 20,
    };

    fn frame(opcode: Opcode, fin: bool, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        masked_frame_into(&mut out, opcode, fin, [9, 8, 7, 6], payload);
        out
    }

    /// The events of a stream that arrives in chunks of that size, in words. The last one may be an error.
    fn fed(stream: &[u8], chunk_bytes: usize) -> Vec<String> {
        let mut messages = Messages::new();
        let mut said = Vec::new();
        for chunk in stream.chunks(chunk_bytes) {
            let mut buffer = chunk.to_vec();
            let mut rest = &mut buffer[..];
            loop {
                match messages.next(LIMITS, &mut rest) {
                    Ok(Some(event)) => said.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(error) => {
                        said.push(format!("{error:?}"));
                        return said;
                    }
                }
            }
        }
        said
    }

    /// Asserts what a stream says, in chunks of every size.
    fn assert_says(stream: &[u8], expected: &[&str]) {
        for chunk_bytes in [1, 2, 3, 5, 8, 1000] {
            assert_eq!(
                fed(stream, chunk_bytes),
                expected,
                "in chunks of {chunk_bytes}"
            );
        }
    }

    #[test]
    fn messages_come_out_in_order_with_control_frames_between_their_fragments() {
        let stream = [
            frame(Opcode::Binary, true, b"one"),
            frame(Opcode::Text, false, "gr\u{fc}".as_bytes().split_at(3).0),
            frame(Opcode::Ping, true, b"p"),
            frame(Opcode::Continuation, false, b""),
            frame(
                Opcode::Continuation,
                false,
                "gr\u{fc}".as_bytes().split_at(3).1,
            ),
            frame(Opcode::Pong, true, b""),
            frame(Opcode::Continuation, true, b"n"),
            frame(Opcode::Text, true, b""),
            frame(Opcode::Binary, true, &[7; 20]),
            frame(Opcode::Close, true, b"\x03\xe8bye"),
        ];
        let twenty = format!("Binary({:?})", [7; 20]);
        let expected = [
            "Binary([111, 110, 101])",
            "Ping([112])",
            "Pong([])",
            "Text(\"gr\u{fc}n\")",
            "Text(\"\")",
            &twenty,
            "Close(Some((CloseCode(1000), \"bye\")))",
        ];
        assert_says(&stream.concat(), &expected);
    }

    #[test]
    fn a_fragment_out_of_place_is_a_protocol_error() {
        let stream = frame(Opcode::Continuation, true, b"x");
        assert_says(&stream, &["NothingToContinue"]);
        let after_whole = [frame(Opcode::Binary, true, b""), stream].concat();
        assert_says(&after_whole, &["Binary([])", "NothingToContinue"]);
        let stream = [
            frame(Opcode::Text, false, b"x"),
            frame(Opcode::Text, true, b"y"),
        ]
        .concat();
        assert_says(&stream, &["MessageInterrupted"]);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_its_header_alone() {
        let too_big = "TooBig { bytes: 21, bytes_max: 20 }";
        assert_says(&frame(Opcode::Binary, true, &[0; 21])[..6], &[too_big]);
        let fragments = [
            frame(Opcode::Binary, false, &[0; 20]),
            frame(Opcode::Continuation, true, b"x"),
        ]
        .concat();
        assert_says(&fragments[..fragments.len() - 1], &[too_big]);
        // Control frames do not count toward the limit.
        let stream = [
            frame(Opcode::Binary, false, &[0; 20]),
            frame(Opcode::Ping, true, &[0; 125]),
            frame(Opcode::Continuation, true, b""),
        ];
        assert_eq!(fed(&stream.concat(), 1).len(), 2);
    }

    #[test]
    fn bad_utf8_is_refused_at_its_byte_and_not_at_the_messages_end() {
        // RFC 6455, 8.1; the sequences of Autobahn's cases 6.3 and 6.4.
        let bad = b"\xce\xba\xf4\x90";
        let cut_frame = &frame(Opcode::Text, true, b"\xce\xba\xf4\x90\x80\x80")[..6 + bad.len()];
        assert_says(cut_frame, &["TextNotUtf8"]);
        let fragments = [
            frame(Opcode::Text, false, b"\xf4"),
            frame(Opcode::Continuation, false, b"\x90"),
        ];
        assert_says(&fragments.concat(), &["TextNotUtf8"]);
        let cut_at_the_end = frame(Opcode::Text, true, b"\xce");
        assert_says(&cut_at_the_end, &["TextNotUtf8"]);
        let cut_at_the_end = [
            frame(Opcode::Text, false, b"\xf0\x9f"),
            frame(Opcode::Continuation, true, b""),
        ];
        assert_says(&cut_at_the_end.concat(), &["TextNotUtf8"]);
        assert_eq!(
            FrameError::TextNotUtf8.close_code(),
            CloseCode::INVALID_PAYLOAD
        );
        let binary = frame(Opcode::Binary, true, b"\xce");
        assert_says(&binary, &["Binary([206])"]);
    }

    #[test]
    fn a_text_that_dribbles_in_is_read_once_even_if_each_part_ends_inside_a_character() {
        let limits = MessageLimits {
            message_bytes_max: 1000,
            ..LIMITS
        };
        let mut messages = Messages::new();
        let mut stream = frame(Opcode::Text, true, "ä".repeat(300).as_bytes());
        let (first, rest) = stream[..8 + 499].split_at_mut(8 + 1);
        assert_eq!(messages.next(limits, &mut &mut *first), Ok(None));
        for mut part in rest.chunks_mut(2) {
            assert_eq!(messages.next(limits, &mut part), Ok(None));
        }
        // Everything except the half character is checked and not looked at again.
        assert_eq!(messages.pending.unwrap().text_checked, 498);
    }

    #[test]
    fn a_close_may_be_empty_and_must_not_be_malformed() {
        assert_says(&frame(Opcode::Close, true, b""), &["Close(None)"]);
        assert_says(&frame(Opcode::Close, true, b"\x03"), &["CloseCutShort"]);
        assert_says(
            &frame(Opcode::Close, true, b"\x03\xed"),
            &["CloseCodeInvalid(1005)"],
        );
        assert_says(
            &frame(Opcode::Close, true, b"\x03\xe8\xff"),
            &["CloseReasonNotUtf8"],
        );
    }

    #[test]
    fn bytes_behind_an_event_stay_with_the_caller() {
        let mut stream = [
            frame(Opcode::Binary, true, b"1"),
            frame(Opcode::Binary, true, b"2"),
        ]
        .concat();
        let mut rest = &mut stream[..];
        let mut messages = Messages::new();
        assert_eq!(
            messages.next(LIMITS, &mut rest),
            Ok(Some(WsEvent::Binary(b"1")))
        );
        assert_eq!(rest.len(), 7);
    }

    #[test]
    fn an_idle_connection_holds_a_pointer_and_a_cut_frame_what_it_received() {
        assert_eq!(size_of::<Messages>(), 8);
        let limits = MessageLimits {
            message_bytes_max: 1 << 30,
            ..LIMITS
        };
        let mut messages = Messages::new();
        // Announces a gigabyte and sends one byte of it.
        let mut header = *b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00....x";
        assert_eq!(messages.next(limits, &mut &mut header[..]), Ok(None));
        assert!(
            (1..512).contains(&messages.pending_bytes()),
            "{}",
            messages.pending_bytes()
        );

        let mut messages = Messages::new();
        let mut stream = frame(Opcode::Binary, true, b"whole");
        let (first, last) = stream.split_at_mut(8);
        assert_eq!(messages.next(LIMITS, &mut &mut *first), Ok(None));
        let mut last = last;
        assert_eq!(
            messages.next(LIMITS, &mut last),
            Ok(Some(WsEvent::Binary(b"whole")))
        );
        assert_eq!(messages.next(LIMITS, &mut last), Ok(None));
        assert_eq!(messages.pending_bytes(), 0);
    }
}
