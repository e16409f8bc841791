//! The server's side of the opening handshake (RFC 6455, 4.2): reads an HTTP request, and writes the agreement.
//! (`request` holds what the request says, `refusal` the answers that refuse it.) A gateway shard calls it on
//! its core each time that a connection's first bytes come in. A cut request is read again from its start,
//! which its bound of 8 KiB keeps cheap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use httparse::Header;
use sha1::{Digest, Sha1};

use crate::limits;
use crate::ws::refusal::{Refusal, Status};
use crate::ws::request::{self, HeaderFields, Once, UpgradeRequest};

pub use crate::ws::request::PROTOCOL_V2;

/// What the first bytes of a connection are, as far as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "lives on the stack for one call; a box would be an allocation for each connection"
)]
pub enum Upgrade<'a> {
    /// The request is not whole yet: call again with more bytes behind the same ones.
    Partial,
    /// A valid request. What follows it in the bytes are frames.
    Ready {
        /// What it says.
        request: UpgradeRequest<'a>,
        /// Its bytes.
        consumed: usize,
    },
    /// The bytes are no request to speak WebSocket, or a wrong one. Send the refusal and close.
    Refused(Refusal),
}

/// Reads an upgrade request from the first bytes of a connection. It does not look at whose connection it is.
pub fn parse_upgrade(bytes: &[u8]) -> Upgrade<'_> {
    let mut headers = [httparse::EMPTY_HEADER; limits::UPGRADE_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(limits::UPGRADE_BYTES_MAX)];
    let refusal = match request.parse(head) {
        Ok(httparse::Status::Complete(consumed)) => match check(&request) {
            Ok((host, origin, key)) => {
                let (path, query) = path_and_query(request.path.unwrap_or("/"));
                let request = UpgradeRequest {
                    path,
                    query,
                    host,
                    origin,
                    key,
                    fields: HeaderFields::new(&head[..consumed], request.headers),
                };
                return Upgrade::Ready { request, consumed };
            }
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
        Err(error) => no_http(head, error),
    };
    Upgrade::Refused(refusal)
}

/// Appends the server's agreement. `protocol` is the one chosen among those that the client offered; None if it
/// offered none that is spoken here.
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

/// `Sec-WebSocket-Accept` for a key: base64 of the SHA-1 of the key and the GUID of RFC 6455, 1.3.
pub(crate) fn accept_of(key: &str) -> [u8; 28] {
    let mut hasher = Sha1::new();
    hasher.update(key.as_bytes());
    hasher.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let mut accept = [0; 28];
    BASE64
        .encode_slice(hasher.finalize(), &mut accept)
        .expect("20 bytes are 28 in base64");
    accept
}

/// Checks what RFC 6455, 4.2.1 asks for, and returns host, origin and key.
fn check<'a>(
    request: &httparse::Request<'_, 'a>,
) -> Result<(&'a str, Option<&'a str>, &'a str), Refusal> {
    if request.method != Some("GET") {
        return Err(Refusal::new(
            Status::MethodNotAllowed,
            "a WebSocket is opened by GET (RFC 6455, 4.1)",
        ));
    }
    if request.version != Some(1) {
        return Err(version_refusal());
    }
    let needed = Needed::among(request.headers);
    if needed.has_body {
        return Err(Refusal::bad_request("an upgrade request has no body")); // it would be taken for frames
    }
    let host = needed
        .host
        .read("Host")?
        .ok_or_else(|| Refusal::bad_request("there is no Host header"))?;
    check_upgrade(&needed)?;
    Ok((host, needed.origin.read("Origin")?, checked_key(&needed)?))
}

/// The header fields that the handshake itself needs, found in one walk over all of them.
#[derive(Default)]
struct Needed<'a> {
    host: Once<'a>,
    origin: Once<'a>,
    version: Once<'a>,
    key: Once<'a>,
    upgrades_to_websocket: bool,
    connection_names_upgrade: bool,
    has_body: bool,
}

impl<'a> Needed<'a> {
    fn among(headers: &[Header<'a>]) -> Needed<'a> {
        let mut needed = Needed::default();
        for Header { name, value } in headers {
            let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
            let lists = |token: &str| {
                request::lists(value, |item| item.eq_ignore_ascii_case(token.as_bytes()))
            };
            if is("Host") {
                needed.host.add(value);
            } else if is("Origin") {
                needed.origin.add(value);
            } else if is("Sec-WebSocket-Version") {
                needed.version.add(value);
            } else if is("Sec-WebSocket-Key") {
                needed.key.add(value);
            } else if is("Upgrade") {
                needed.upgrades_to_websocket |= lists("websocket");
            } else if is("Connection") {
                needed.connection_names_upgrade |= lists("upgrade");
            } else if is("Content-Length") {
                needed.has_body |= value.trim_ascii() != b"0";
            } else if is("Transfer-Encoding") {
                needed.has_body = true;
            }
        }
        needed
    }
}

fn version_refusal() -> Refusal {
    Refusal::new(
        Status::VersionNotSupported,
        "a WebSocket is opened by HTTP/1.1",
    )
}

/// The first bytes of a PROXY header of version 1 (the PROXY protocol, 2.1).
const PROXY_V1: &[u8] = b"PROXY ";
/// The first bytes of a PROXY header of version 2 (2.2): as many as no HTTP request begins with.
const PROXY_V2: &[u8] = b"\r\n\r\n\0";

/// The refusal for bytes that httparse does not take, in words that help to mend it. `head` is what came so far.
fn no_http(head: &[u8], error: httparse::Error) -> Refusal {
    if head.starts_with(PROXY_V1) || head.starts_with(PROXY_V2) {
        return Refusal::bad_request(
            "this port does not speak the PROXY protocol: let the proxy send the request alone",
        );
    }
    if error != httparse::Error::Version {
        return Refusal::bad_request(format!("this is no HTTP request: {error}"));
    }
    if has_space_in_target(head) {
        return Refusal::bad_request(
            "the request line is not `GET <target> HTTP/1.1`: a space in the request target is sent as \
             %20 (RFC 9112, 3.2)",
        );
    }
    version_refusal()
}

/// Whether what follows the target on the request line is not even the beginning of an HTTP version.
fn has_space_in_target(head: &[u8]) -> bool {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let line = head.split(is_end).find(|line| !line.is_empty());
    let behind_target = line.and_then(|line| line.splitn(3, |byte| *byte == b' ').nth(2));
    behind_target.is_some_and(|found| !found.starts_with(b"HTTP/") && !b"HTTP/".starts_with(found))
}

fn check_upgrade(needed: &Needed<'_>) -> Result<(), Refusal> {
    if !needed.upgrades_to_websocket {
        return Err(Refusal::new(
            Status::UpgradeRequired,
            "this port speaks WebSocket: send Upgrade: websocket, Connection: Upgrade, \
             Sec-WebSocket-Version: 13 and a Sec-WebSocket-Key",
        ));
    }
    if !needed.connection_names_upgrade {
        return Err(Refusal::bad_request(
            "the Connection header does not name Upgrade (a proxy may have taken it out)",
        ));
    }
    match needed.version.read("Sec-WebSocket-Version")? {
        Some("13") => Ok(()),
        Some(_) => Err(Refusal::new(
            Status::UpgradeRequired,
            "only version 13 of the WebSocket protocol is spoken here",
        )),
        None => Err(Refusal::bad_request(
            "there is no Sec-WebSocket-Version header; 13 is spoken here",
        )),
    }
}

fn checked_key<'a>(needed: &Needed<'a>) -> Result<&'a str, Refusal> {
    let key = needed
        .key
        .read("Sec-WebSocket-Key")?
        .ok_or_else(|| Refusal::bad_request("there is no Sec-WebSocket-Key header"))?;
    let mut nonce = [0; 18];
    match BASE64.decode_slice(key, &mut nonce) {
        Ok(16) => Ok(key),
        _ => Err(Refusal::bad_request(
            "the Sec-WebSocket-Key is not 16 bytes in base64",
        )),
    }
}

/// Splits a request target into path and query. Of a target in absolute form, as a proxy may send it (RFC 9112,
/// 3.2.2), only what follows the host is taken; a fragment is dropped.
fn path_and_query(target: &str) -> (&str, Option<&str>) {
    let target = match target.starts_with('/') {
        true => target,
        false => behind_authority(target),
    };
    let end = |of: &str, is_end: fn(u8) -> bool| of.bytes().position(is_end).unwrap_or(of.len());
    let (path, rest) = target.split_at(end(target, |byte| matches!(byte, b'?' | b'#')));
    let query = rest.strip_prefix('?');
    let query = query.map(|query| &query[..end(query, |byte| byte == b'#')]);
    (if path.is_empty() { "/" } else { path }, query)
}

/// What follows scheme and authority of a target in absolute form; any other target is returned whole.
fn behind_authority(target: &str) -> &str {
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find(['/', '?', '#']).map_or("", |at| &rest[at..])
        }
        _ => target,
    }
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
        let Upgrade::Ready { request, consumed } = parse_upgrade(&with_frames) else {
            panic!("a good request with frames behind it");
        };
        assert_eq!(consumed, GOOD.len());
        assert_eq!(
            (request.path, request.query),
            ("/websocket", Some("token=1"))
        );
        assert_eq!((request.host, request.origin), ("chat.example.com", None));
        assert_eq!(request.key, KEY);
        assert_eq!(request.sid().unwrap().as_deref(), Some("alice"));
        assert!(!request.offers_v2());
    }

    #[test]
    fn names_and_tokens_are_matched_as_http_has_it() {
        let request = GOOD
            .replace("Upgrade: websocket", "uPGRADE: h2c, WebSocket")
            .replace("Connection: Upgrade", "connection: keep-alive\r\nCONNECTION: foo,\tupgrade")
            .replace("Cookie:", "Origin: https://a.example\r\nSec-WebSocket-Protocol: x\r\nsec-websocket-protocol: y , newim.v2\r\nCookie:")
            .replace("GET /websocket?token=1", "GET http://h/a/b?c");
        let request = ready(&request);
        assert!(request.offers_v2());
        assert_eq!(
            (request.path, request.origin),
            ("/a/b", Some("https://a.example"))
        );
        // RFC 6455, 4.1: the values of the subprotocol are compared as they stand.
        let other_case = GOOD.replace("Cookie:", "Sec-WebSocket-Protocol: NewIM.v2\r\nCookie:");
        assert!(!ready(&other_case).offers_v2());
    }

    #[test]
    fn a_target_is_split_into_path_and_query() {
        let cases = [
            ("/a/b?c=d", ("/a/b", Some("c=d"))),
            ("/a?b?c#d", ("/a", Some("b?c"))),
            ("/a?", ("/a", Some(""))),
            ("/a#b?c", ("/a", None)),
            ("http://h:80/a?b", ("/a", Some("b"))),
            ("http://h", ("/", None)),
            ("http://h?to=/a", ("/", Some("to=/a"))),
            ("/a?to=http://h/b", ("/a", Some("to=http://h/b"))),
        ];
        for (target, expected) in cases {
            let request = GOOD.replace("/websocket?token=1", target);
            let request = ready(&request);
            assert_eq!((request.path, request.query), expected, "{target}");
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
    fn a_proxy_header_and_a_space_in_the_target_are_named() {
        let space = "a space in the request target";
        let proxy = "PROXY protocol";
        let cases = [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\nGET / HTTP/1.1\r\n\r\n",
                400,
                proxy,
            ),
            ("PROXY UNKNOWN\r\n", 400, proxy),
            ("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", 400, proxy),
            ("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, space),
            ("GET /a  HTTP/1.1\r\n\r\n", 400, space),
            ("GET /a Hello HTTP/1.1\r\n\r\n", 400, space),
            ("PROXY / HTTP/1.1\r\n\r\n", 405, "GET"),
            ("GET /a \r\n\r\n", 505, "HTTP/1.1"),
            ("GET /a HTTP/3\r\n\r\n", 505, "HTTP/1.1"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/1.1"),
        ];
        for (request, status, words) in cases {
            let (found, text) = refused(request);
            assert_eq!(found, status, "{text}\n{request}");
            assert!(text.contains(words), "{text}\n{request}");
            // The answer is the same if the bytes come one by one.
            let first = (0..=request.len())
                .map(|end| &request[..end])
                .find(|bytes| parse_upgrade(bytes.as_bytes()) != Upgrade::Partial)
                .unwrap();
            assert_eq!(refused(first), (found, text), "{first}");
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
        assert_eq!(read.sid().unwrap().as_deref(), Some("bob"));
        assert!(read.offers_v2());

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
