//! The client's side of the opening handshake (RFC 6455, 4.1). The load generator calls it on its cores, and
//! tests do.

use crate::limits;
use crate::ws::handshake::{PROTOCOL_V2, accept_of};

/// What a client asks for. Every text stands in the request as it is, so it must be valid there.
#[derive(Clone, Copy, Debug)]
pub struct ClientRequest<'a> {
    /// The value of `Host`.
    pub host: &'a str,
    /// The request target: path and query.
    pub path: &'a str,
    /// 16 random bytes in base64.
    pub key: &'a str,
    /// The value of the `sid` cookie, which names the user; None: no cookie.
    pub sid: Option<&'a str>,
    /// Whether to offer [`PROTOCOL_V2`].
    pub v2: bool,
}

/// Appends the upgrade request.
pub fn write_request(out: &mut Vec<u8>, request: &ClientRequest<'_>) {
    let mut put = |parts: &[&str]| {
        parts
            .iter()
            .for_each(|part| out.extend_from_slice(part.as_bytes()))
    };
    put(&["GET ", request.path, " HTTP/1.1\r\nHost: ", request.host]);
    put(&["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13"]);
    put(&["\r\nSec-WebSocket-Key: ", request.key]);
    if let Some(sid) = request.sid {
        put(&["\r\nCookie: sid=", sid]);
    }
    if request.v2 {
        put(&["\r\nSec-WebSocket-Protocol: ", PROTOCOL_V2]);
    }
    put(&["\r\n\r\n"]);
}

/// The server's answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The answer is not whole yet: call again with more bytes behind the same ones.
    Partial,
    /// The server agrees; frames follow.
    Accepted {
        /// Whether the server chose [`PROTOCOL_V2`].
        v2: bool,
        /// Bytes of the answer.
        consumed: usize,
    },
    /// An HTTP answer with another status than 101.
    Refused {
        /// The status.
        status: u16,
    },
    /// The bytes are no HTTP answer, or agree to something that was not asked for; the text says which.
    Malformed(&'static str),
}

/// Reads the answer to the request that carried `key`.
pub fn parse_answer(bytes: &[u8], key: &str) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; limits::UPGRADE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let consumed = match response.parse(bytes) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) => return Answer::Partial,
        Err(_) => return Answer::Malformed("the answer is no HTTP"),
    };
    match response.code {
        Some(101) => {}
        Some(status) => return Answer::Refused { status },
        None => return Answer::Malformed("the answer has no status"),
    }
    let value = |name: &str| {
        let header = response
            .headers
            .iter()
            .find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| header.value.trim_ascii())
    };
    if value("Sec-WebSocket-Accept") != Some(&accept_of(key)[..]) {
        return Answer::Malformed("Sec-WebSocket-Accept does not answer the key");
    }
    let v2 = value("Sec-WebSocket-Protocol") == Some(PROTOCOL_V2.as_bytes());
    Answer::Accepted { v2, consumed }
}
