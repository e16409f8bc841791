//! A peer that breaks the rules: it writes any bytes that a test wants, at any pace, and reads the server's
//! answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::node::SOON;

/// The example of RFC 6455, section 1.3.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub struct RawPeer {
    pub stream: TcpStream,
}

/// How the server ended the connection.
#[derive(Debug, PartialEq)]
pub enum End {
    /// A close frame with code and reason, then the end of the stream.
    Close(u16, String),
    /// The stream ended without a close frame.
    NoCloseFrame,
}

impl RawPeer {
    pub fn connect(ws: SocketAddr) -> RawPeer {
        let stream = TcpStream::connect(ws).expect("the node listens");
        stream.set_read_timeout(Some(SOON)).expect("a live socket");
        stream.set_nodelay(true).expect("a live socket");
        RawPeer { stream }
    }

    /// Connects and upgrades as this user.
    pub fn upgraded(ws: SocketAddr, path: &str, uid: &str) -> RawPeer {
        let mut peer = RawPeer::connect(ws);
        peer.write(upgrade_request(path, uid).as_bytes());
        let head = peer.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        peer
    }

    /// Writes. A test sees by reading that the server closed meanwhile, so a failed write fails nothing.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Writes a frame with any first byte (FIN, RSV, opcode), masked as a client must.
    pub fn frame(&mut self, first: u8, payload: &[u8]) {
        self.write(&masked_frame(first, payload));
    }

    /// Writes a frame without a mask, which only a server may send.
    pub fn unmasked_frame(&mut self, first: u8, payload: &[u8]) {
        let mut bytes = header(first, payload.len(), false);
        bytes.extend(payload);
        self.write(&bytes);
    }

    /// Writes only a header that announces so many bytes.
    pub fn announce(&mut self, first: u8, payload_bytes: usize) {
        let mut bytes = header(first, payload_bytes, true);
        bytes.extend(MASK);
        self.write(&bytes);
    }

    /// Reads the server's HTTP head, up to the empty line.
    pub fn read_head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            let count = self.stream.read(&mut byte).expect("an answer in time");
            assert!(count == 1, "ended within its head: {:?}", text_of(&head));
            head.push(byte[0]);
        }
        text_of(&head)
    }

    /// Reads status and whole text of a refused upgrade, after which the server closes.
    pub fn read_refusal(&mut self) -> (u16, String) {
        let answer = text_of(&self.read_to_end());
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"));
        (status, answer)
    }

    /// Reads frames until the server's close frame and the end of the stream after it.
    pub fn read_end(&mut self) -> End {
        let bytes = self.read_to_end();
        let mut rest = &bytes[..];
        while let Some((first, payload, after)) = split_frame(rest) {
            if first == 0x88 {
                assert!(after.is_empty(), "bytes after a close frame: {after:?}");
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                return End::Close(code, text_of(&payload[2..]));
            }
            rest = after;
        }
        End::NoCloseFrame
    }

    /// Reads up to the close code; panics when there is none.
    pub fn read_close_code(&mut self) -> u16 {
        match self.read_end() {
            End::Close(code, reason) => {
                assert!(!reason.is_empty(), "a developer wants to know why {code}");
                code
            }
            End::NoCloseFrame => panic!("closed without a close frame"),
        }
    }

    /// Reads the next whole frame: its first byte and payload.
    pub fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        loop {
            if let Some((first, payload, _)) = split_frame(&bytes) {
                return (first, payload.to_vec());
            }
            let mut byte = [0];
            let count = self.stream.read(&mut byte).expect("a frame in time");
            assert!(count == 1, "ended within a frame: {bytes:?}");
            bytes.push(byte[0]);
        }
    }

    /// Counts the bytes that come until the server ends the connection.
    pub fn read_rest(&mut self) -> usize {
        self.read_to_end().len()
    }

    /// Sends FIN, and could still read.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("live");
    }

    fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => bytes,
            // A reset ends a stream as well, and what came before it counts.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => bytes,
            Err(error) => panic!("the server doesn't end it: {error}; so far {bytes:?}"),
        }
    }
}

pub fn upgrade_request(path: &str, uid: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nCookie: sid={uid}\r\n\r\n"
    )
}

pub fn upgrade_request_without_user(path: &str) -> String {
    let request = upgrade_request(path, "");
    request.replace("Cookie: sid=\r\n", "")
}

pub fn masked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len(), true);
    bytes.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// First bytes of frames: FIN and opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;
pub const CLOSE: u8 = 0x88;

fn header(first: u8, payload_bytes: usize, masked: bool) -> Vec<u8> {
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload_bytes {
        0..=125 => bytes.push(mask_bit | payload_bytes as u8),
        126..=0xffff => {
            bytes.push(mask_bit | 126);
            bytes.extend((payload_bytes as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    bytes
}

/// Splits an unmasked frame off: its first byte, its payload, and the rest. None when it isn't whole.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    assert!(length < 128, "a server must not mask");
    let (length, rest) = match length {
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u64::from_be_bytes(*length) as usize, rest)
        }
        length => (usize::from(length), rest),
    };
    let (payload, rest) = rest.split_at_checked(length)?;
    Some((first, payload, rest))
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
