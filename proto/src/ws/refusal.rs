//! Refusals of an upgrade: HTTP answers with a text that the developer of a client understands. The handshake
//! makes them, and gateway shards do (a bad uid, a shard that drains).

use std::borrow::Cow;

use crate::limits;

/// An HTTP answer that refuses an upgrade. The connection is closed after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: Status,
    /// The body: one line for a person.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with that status and text.
    pub fn new(status: Status, text: impl Into<Cow<'static, str>>) -> Self {
        Refusal {
            status,
            text: text.into(),
        }
    }

    /// A refusal with status 400.
    pub fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Status::BadRequest, text)
    }
}

/// The HTTP statuses that a gateway refuses an upgrade with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// 400: the request is malformed, or the name of the user in it is.
    BadRequest,
    /// 401: the request does not name a user, or proves nothing.
    Unauthorized,
    /// 403: the user may not connect, or not from that site.
    Forbidden,
    /// 404: the path is none of this gateway's.
    NotFound,
    /// 405: another method than GET.
    MethodNotAllowed,
    /// 408: the request took too long to come.
    RequestTimeout,
    /// 426: an HTTP request that asks for no WebSocket, or for another version of it.
    UpgradeRequired,
    /// 431: the request line and headers are over their bounds.
    HeadersTooLarge,
    /// 503: this gateway takes no connections at present.
    ServiceUnavailable,
    /// 505: another version than HTTP/1.1.
    VersionNotSupported,
}

impl Status {
    /// The number on the wire.
    pub fn code(self) -> u16 {
        match self {
            Status::BadRequest => 400,
            Status::Unauthorized => 401,
            Status::Forbidden => 403,
            Status::NotFound => 404,
            Status::MethodNotAllowed => 405,
            Status::RequestTimeout => 408,
            Status::UpgradeRequired => 426,
            Status::HeadersTooLarge => 431,
            Status::ServiceUnavailable => 503,
            Status::VersionNotSupported => 505,
        }
    }

    /// The reason phrase (RFC 9110, 15).
    pub fn reason(self) -> &'static str {
        match self {
            Status::BadRequest => "Bad Request",
            Status::Unauthorized => "Unauthorized",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::RequestTimeout => "Request Timeout",
            Status::UpgradeRequired => "Upgrade Required",
            Status::HeadersTooLarge => "Request Header Fields Too Large",
            Status::ServiceUnavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }

    /// The header lines that go with the status (RFC 9110, 15.5.6 and 15.5.22; RFC 6455, 4.4).
    fn header_lines(self) -> Cow<'static, str> {
        let lines = match self {
            Status::UpgradeRequired => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close\r\n"
            }
            Status::MethodNotAllowed => "Allow: GET\r\nConnection: close\r\n",
            Status::ServiceUnavailable => {
                let s = limits::REFUSED_RETRY_S;
                return format!("Retry-After: {s}\r\nConnection: close\r\n").into();
            }
            _ => "Connection: close\r\n",
        };
        lines.into()
    }
}

/// Appends the whole answer: status line, headers and text.
pub fn write_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    let (status, text) = (refusal.status, &refusal.text);
    let head = format!(
        "HTTP/1.1 {} {}\r\n{}Content-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
        status.code(),
        status.reason(),
        status.header_lines(),
        text.len() + 1,
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_http_answer_that_closes() {
        let mut out = Vec::new();
        write_refusal(&mut out, &Refusal::new(Status::BadRequest, "no key"));
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 7\r\n\r\nno key\n"
        );
    }

    #[test]
    fn a_gateway_that_leaves_says_when_to_come_again() {
        let mut out = Vec::new();
        write_refusal(&mut out, &Refusal::new(Status::ServiceUnavailable, "x"));
        let text = String::from_utf8(out).unwrap();
        let lines = "\r\nRetry-After: 5\r\nConnection: close\r\n";
        assert!(text.contains(lines), "{text}");
    }

    #[test]
    fn upgrade_required_names_the_version_we_speak() {
        let mut out = Vec::new();
        write_refusal(&mut out, &Refusal::new(Status::UpgradeRequired, "x"));
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            "{text}"
        );
        assert!(
            text.contains("\r\nConnection: Upgrade, close\r\n"),
            "{text}"
        );
    }
}
