//! The server's side of the opening handshake (RFC 6455, 4.2): an HTTP request in, an agreement or a
//! refusal out. Called by a gateway session while its first bytes come in, and once for each set of
//! them: a cut request is read again from its start, which 8 KiB keep cheap.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use httparse::Header;
use sha1::{Digest, Sha1};

use crate::limits;
use crate::ws::refusal::{Refusal, Status};

/// The subprotocol of v2 clients.
pub const PROTOCOL_V2: &str = "newim.v2";

/// What the bytes of a connection so far amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade<'a> {
    /// Not the whole request yet: come again with more bytes behind the same ones.
    Partial,
    /// `consumed` bytes are the request; what follows are frames.
    Ready {
        request: UpgradeRequest<'a>,
        consumed: usize,
    },
    Refused(Refusal),
}

/// A valid request to speak WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpgradeRequest<'a> {
    /// Without the query.
    pub path: &'a str,
    pub host: &'a str,
    /// Of a browser: the site whose page opens the connection.
    pub origin: Option<&'a str>,
    /// The `sid` cookie, decoded; no uid yet ([`crate::ids::Uid::parse`]).
    pub sid: Option<Cow<'a, str>>,
    /// Offers `newim.v2`.
    pub v2: bool,
    /// For [`write_accept`].
    pub key: &'a str,
}

/// Reads an upgrade request from the first bytes of a connection.
pub fn parse_upgrade(bytes: &[u8]) -> Upgrade<'_> {
    let mut headers = [httparse::EMPTY_HEADER; limits::UPGRADE_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(limits::UPGRADE_BYTES_MAX)];
    let refusal = match request.parse(head) {
        Ok(httparse::Status::Complete(consumed)) => match check(&request) {
            Ok(request) => return Upgrade::Ready { request, consumed },
            Err(refusal) => refusal,
        },
        Ok(httparse::Status::Partial) if head.len() < limits::UPGRADE_BYTES_MAX => {
            return Upgrade::Partial;
        }
        Ok(httparse::Status::Partial) => Refusal::new(
            Status::HeadersTooLarge,
            format!(
                "the request line and headers are longer than {} bytes",
                limits::UPGRADE_BYTES_MAX
            ),
        ),
        Err(httparse::Error::TooManyHeaders) => Refusal::new(
            Status::HeadersTooLarge,
            format!("more than {} header fields", limits::UPGRADE_HEADERS_MAX),
        ),
        Err(httparse::Error::Version) => version_refusal(),
        Err(error) => Refusal::new(
            Status::BadRequest,
            format!("this is no HTTP request: {error}"),
        ),
    };
    Upgrade::Refused(refusal)
}

/// Appends the server's agreement. `protocol`: the one chosen among those offered.
pub fn write_accept(out: &mut Vec<u8>, key: &str, protocol: Option<&str>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(&accept_of(key));
    if let Some(protocol) = protocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(protocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Base64 of the SHA-1 of the key and the GUID of RFC 6455, 1.3.
pub fn accept_of(key: &str) -> [u8; 28] {
    let mut hasher = Sha1::new();
    hasher.update(key.as_bytes());
    hasher.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = [0; 28];
    BASE64
        .encode_slice(hasher.finalize(), &mut accept)
        .expect("20 bytes are 28 in base64");
    accept
}

fn check<'a>(request: &httparse::Request<'_, 'a>) -> Result<UpgradeRequest<'a>, Refusal> {
    let headers = &*request.headers;
    if request.method != Some("GET") {
        return Err(Refusal::new(
            Status::MethodNotAllowed,
            "a WebSocket is opened by GET (RFC 6455, 4.1)",
        ));
    }
    if request.version != Some(1) {
        return Err(version_refusal());
    }
    check_no_body(headers)?;
    let host = one(headers, "Host")?.ok_or_else(|| bad("there is no Host header"))?;
    check_upgrade(headers)?;
    Ok(UpgradeRequest {
        path: path_of(request.path.unwrap_or("/")),
        host,
        origin: one(headers, "Origin")?,
        sid: sid(headers)?,
        v2: has_token(headers, "Sec-WebSocket-Protocol", PROTOCOL_V2, str::eq),
        key: key(headers)?,
    })
}

fn version_refusal() -> Refusal {
    Refusal::new(
        Status::VersionNotSupported,
        "a WebSocket is opened by HTTP/1.1",
    )
}

fn bad(text: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Status::BadRequest, text)
}

/// A body would be taken for frames.
fn check_no_body(headers: &[Header<'_>]) -> Result<(), Refusal> {
    let has_body = values(headers, "Content-Length").any(|value| value.trim_ascii() != b"0")
        || values(headers, "Transfer-Encoding").next().is_some();
    if has_body {
        Err(bad("an upgrade request has no body"))
    } else {
        Ok(())
    }
}

fn check_upgrade(headers: &[Header<'_>]) -> Result<(), Refusal> {
    if !has_token(headers, "Upgrade", "websocket", str::eq_ignore_ascii_case) {
        return Err(Refusal::new(
            Status::UpgradeRequired,
            "this port speaks WebSocket: send Upgrade: websocket, Connection: Upgrade, \
             Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key",
        ));
    }
    if !has_token(headers, "Connection", "upgrade", str::eq_ignore_ascii_case) {
        return Err(bad(
            "the Connection header does not name Upgrade (a proxy may have taken it out)",
        ));
    }
    match one(headers, "Sec-WebSocket-Version")? {
        Some("13") => Ok(()),
        Some(_) => Err(Refusal::new(
            Status::UpgradeRequired,
            "only version 13 of the WebSocket protocol is spoken here",
        )),
        None => Err(bad(
            "there is no Sec-WebSocket-Version header; 13 is spoken here",
        )),
    }
}

fn key<'a>(headers: &[Header<'a>]) -> Result<&'a str, Refusal> {
    let key = one(headers, "Sec-WebSocket-Key")?
        .ok_or_else(|| bad("there is no Sec-WebSocket-Key header"))?;
    let mut nonce = [0; 18];
    match BASE64.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(key),
        _ => Err(bad("the Sec-WebSocket-Key is not 16 bytes in base64")),
    }
}

/// Of an absolute target (a proxy's form) only its path; the query goes.
fn path_of(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').map_or("/", |slash| &rest[slash..])
        }
        _ => target,
    };
    target.split(['?', '#']).next().unwrap_or(target)
}

/// The first `sid` among the cookies; a browser sends the one with the most specific path first
/// (RFC 6265, 5.4). May be in double quotes, and percent-encoded.
fn sid<'a>(headers: &[Header<'a>]) -> Result<Option<Cow<'a, str>>, Refusal> {
    let not_utf8 = || bad("the sid cookie is not UTF-8");
    let mut pairs = values(headers, "Cookie").flat_map(|value| value.split(|byte| *byte == b';'));
    let Some(value) = pairs.find_map(|pair| pair.trim_ascii().strip_prefix(b"sid=")) else {
        return Ok(None);
    };
    let value = value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value);
    if !value.contains(&b'%') {
        return std::str::from_utf8(value)
            .map(|sid| Some(sid.into()))
            .map_err(|_| not_utf8());
    }
    let decoded = percent_decode(value)
        .ok_or_else(|| bad("the sid cookie has a % that is not followed by two hex digits"))?;
    String::from_utf8(decoded)
        .map(|sid| Some(sid.into()))
        .map_err(|_| not_utf8())
}

fn percent_decode(value: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'%' {
            decoded.push(byte);
            rest = tail;
            continue;
        }
        let (digits, tail) = tail.split_first_chunk::<2>()?;
        let digit = |at: usize| (digits[at] as char).to_digit(16);
        decoded.push((digit(0)? * 16 + digit(1)?) as u8);
        rest = tail;
    }
    Some(decoded)
}

fn values<'a>(headers: &[Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value)
}

/// A field that may stand once only: two of them are how requests are smuggled past a proxy.
fn one<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = values(headers, name);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(bad(format!("there is more than one {name} header")));
    }
    match std::str::from_utf8(value) {
        Ok(value) => Ok(Some(value.trim_ascii())),
        Err(_) => Err(bad(format!("the {name} header is not UTF-8"))),
    }
}

/// Whether a list (RFC 9110, 5.6.1), which may be spread over several fields, names the token.
fn has_token(
    headers: &[Header<'_>],
    name: &str,
    token: &str,
    equal: fn(&str, &str) -> bool,
) -> bool {
    values(headers, name)
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|item| std::str::from_utf8(item).ok())
        .any(|item| equal(item.trim_ascii(), token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::client::{Answer, ClientRequest, parse_answer, write_request};

    /// The key and answer of RFC 6455, 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    const GOOD: &str = "GET /websocket?token=1 HTTP/1.1\r\n\
        Host: chat.example.com\r\n\
        Upgrade: websocket\r\n\
        Connection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\
        Cookie: sid=alice\r\n\r\n";

    fn ready(request: &str) -> UpgradeRequest<'_> {
        match parse_upgrade(request.as_bytes()) {
            Upgrade::Ready { request, .. } => request,
            other => panic!("{other:?} of {request}"),
        }
    }

    fn refused(request: &str) -> (u16, String) {
        match parse_upgrade(request.as_bytes()) {
            Upgrade::Refused(refusal) => (refusal.status.code(), refusal.text.into_owned()),
            other => panic!("{other:?} of {request}"),
        }
    }

    fn sid_of(cookie: &str) -> Option<String> {
        ready(&GOOD.replace("sid=alice", cookie))
            .sid
            .map(Cow::into_owned)
    }

    #[test]
    fn a_v1_clients_request_is_ready_with_its_last_byte() {
        for end in 0..GOOD.len() {
            assert_eq!(
                parse_upgrade(&GOOD.as_bytes()[..end]),
                Upgrade::Partial,
                "{end}"
            );
        }
        let with_frames = [GOOD.as_bytes(), b"\x81\x80abcd"].concat();
        let request = UpgradeRequest {
            path: "/websocket",
            host: "chat.example.com",
            origin: None,
            sid: Some("alice".into()),
            v2: false,
            key: KEY,
        };
        let ready = Upgrade::Ready {
            request,
            consumed: GOOD.len(),
        };
        assert_eq!(parse_upgrade(&with_frames), ready);
    }

    #[test]
    fn names_and_tokens_are_matched_as_http_has_it() {
        let request = GOOD
            .replace("Upgrade: websocket", "uPGRADE: h2c, WebSocket")
            .replace("Connection: Upgrade", "connection: keep-alive\r\nCONNECTION: foo,\tupgrade")
            .replace("Cookie:", "Origin: https://a.example\r\nSec-WebSocket-Protocol: x\r\nsec-websocket-protocol: y , newim.v2\r\nCookie:")
            .replace("GET /websocket?token=1", "GET http://h/a/b?c");
        let request = ready(&request);
        assert!(request.v2);
        assert_eq!(
            (request.path, request.origin),
            ("/a/b", Some("https://a.example"))
        );
        // RFC 6455, 4.1: the values of the subprotocol are compared as they stand.
        let other_case = GOOD.replace("Cookie:", "Sec-WebSocket-Protocol: NewIM.v2\r\nCookie:");
        assert!(!ready(&other_case).v2);
    }

    #[test]
    fn the_sid_is_found_among_cookies_and_decoded() {
        assert_eq!(sid_of("a=b;sid=bob; sid=late"), Some("bob".into()));
        assert_eq!(sid_of("xsid=no; sid=\"quo ted\""), Some("quo ted".into()));
        assert_eq!(sid_of("sid=%C3%BC%20x%25"), Some("ü x%".into()));
        assert_eq!(sid_of("sid=jürgen"), Some("jürgen".into()));
        assert_eq!(
            sid_of("a=b\r\nCookie: sid=second-header"),
            Some("second-header".into())
        );
        assert_eq!(sid_of("sid="), Some("".into()));
        assert_eq!(sid_of("SID=x"), None);
        for bad in ["sid=%", "sid=%1", "sid=%zz", "sid=%ff"] {
            assert_eq!(refused(&GOOD.replace("sid=alice", bad)).0, 400, "{bad}");
        }
    }

    #[test]
    fn each_thing_that_is_missing_or_wrong_has_its_status_and_its_words() {
        let without = |line: &str| {
            let start = GOOD.find(line).unwrap();
            let end = start + GOOD[start..].find("\r\n").unwrap() + 2;
            format!("{}{}", &GOOD[..start], &GOOD[end..])
        };
        let cases = [
            (without("Host"), 400, "Host"),
            (without("Upgrade: "), 426, "speaks WebSocket"),
            (without("Connection"), 400, "Connection"),
            (without("Sec-WebSocket-Key"), 400, "Sec-WebSocket-Key"),
            (without("Sec-WebSocket-Version"), 400, "13"),
            (GOOD.replace("Version: 13", "Version: 8"), 426, "version 13"),
            (GOOD.replace(KEY, "c2hvcnQ="), 400, "16 bytes"),
            (
                GOOD.replace(KEY, "dGhlIHNhbXBsZSBub25jZXM="),
                400,
                "16 bytes",
            ),
            (GOOD.replace(KEY, "!"), 400, "16 bytes"),
            (GOOD.replace("GET", "POST"), 405, "GET"),
            (GOOD.replace("HTTP/1.1", "HTTP/1.0"), 505, "HTTP/1.1"),
            (GOOD.replace("HTTP/1.1", "HTTP/2.0"), 505, "HTTP/1.1"),
            (
                GOOD.replace("Cookie:", "Content-Length: 5\r\nCookie:"),
                400,
                "no body",
            ),
            (
                GOOD.replace("Cookie:", "Transfer-Encoding: chunked\r\nCookie:"),
                400,
                "no body",
            ),
            (
                GOOD.replace("Cookie:", "Host: other\r\nCookie:"),
                400,
                "more than one Host",
            ),
            (GOOD.replace("Cookie", "Coo kie"), 400, "no HTTP request"),
            ("\x16\x03\x01\x02\x00\x01".into(), 400, "no HTTP request"),
        ];
        for (request, status, words) in cases {
            let (found, text) = refused(&request);
            assert_eq!(found, status, "{text}\n{request}");
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn headers_over_8_kib_or_64_fields_are_refused_and_not_a_byte_sooner() {
        let padded = |bytes: usize| {
            let padding = "x".repeat(bytes - GOOD.len() - "Pad: \r\n".len());
            GOOD.replace("Cookie:", &format!("Pad: {padding}\r\nCookie:"))
        };
        assert_eq!(ready(&padded(limits::UPGRADE_BYTES_MAX)).path, "/websocket");
        let over = padded(limits::UPGRADE_BYTES_MAX + 1);
        assert_eq!(
            parse_upgrade(&over.as_bytes()[..limits::UPGRADE_BYTES_MAX - 1]),
            Upgrade::Partial
        );
        assert_eq!(refused(&over).0, 431);
        assert_eq!(refused(&over[..limits::UPGRADE_BYTES_MAX]).0, 431);
        let fields =
            |count: usize| GOOD.replace("Cookie:", &format!("{}Cookie:", "a: b\r\n".repeat(count)));
        assert_eq!(
            ready(&fields(limits::UPGRADE_HEADERS_MAX - 6)).path,
            "/websocket"
        );
        assert_eq!(refused(&fields(limits::UPGRADE_HEADERS_MAX - 5)).0, 431);
    }

    #[test]
    fn the_accept_is_the_rfcs_and_a_client_takes_it() {
        let mut out = Vec::new();
        write_accept(&mut out, KEY, None);
        let expected = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn our_client_and_our_server_agree() {
        let mut request = Vec::new();
        let asked = ClientRequest {
            host: "h:1",
            path: "/p",
            key: KEY,
            sid: Some("bob"),
            v2: true,
        };
        write_request(&mut request, &asked);
        let request = String::from_utf8(request).unwrap();
        let read = ready(&request);
        assert_eq!((read.host, read.path, read.key), ("h:1", "/p", KEY));
        assert_eq!((read.sid.as_deref(), read.v2), (Some("bob"), true));

        let mut answer = Vec::new();
        write_accept(&mut answer, read.key, Some(PROTOCOL_V2));
        let consumed = answer.len();
        assert_eq!(parse_answer(&answer[..consumed - 1], KEY), Answer::Partial);
        assert_eq!(
            parse_answer(&answer, KEY),
            Answer::Accepted { v2: true, consumed }
        );
        let other_key = "AAAAAAAAAAAAAAAAAAAAAA==";
        assert!(matches!(
            parse_answer(&answer, other_key),
            Answer::Malformed(_)
        ));
    }
}
