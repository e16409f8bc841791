//! The parts of a valid upgrade request: path, query, headers, cookies and subprotocols, borrowed from the
//! bytes of the connection. The handshake makes it on a gateway shard's core, where the code that decides whose
//! connection it is reads it. Nothing here allocates, except for a cookie or a query parameter that is
//! percent-encoded.

use std::borrow::Cow;
use std::fmt;

use httparse::Header;

use crate::limits;
use crate::ws::refusal::Refusal;

/// The subprotocol of v2 clients.
pub const PROTOCOL_V2: &str = "newim.v2";

/// A request to speak WebSocket that [`parse_upgrade`](super::parse_upgrade) found valid: what RFC 6455,
/// 4.2.1 asks for is there. What says who asks (cookies, `Authorization`, query parameters) is decoded when a
/// method here is called for it, not before.
#[derive(Clone, PartialEq, Eq)]
pub struct UpgradeRequest<'a> {
    /// The path of the request target, without the query. Percent-encoding is not decoded.
    pub path: &'a str,
    /// The query of the request target, without its `?`.
    pub query: Option<&'a str>,
    /// The value of `Host`.
    pub host: &'a str,
    /// The value of `Origin`, by which a browser names the site whose page opens the connection.
    pub origin: Option<&'a str>,
    /// The value of `Sec-WebSocket-Key`, for [`write_accept`](super::write_accept).
    pub key: &'a str,
    pub(super) fields: HeaderFields<'a>,
}

/// The header field in which a client offers subprotocols.
const PROTOCOLS: &str = "Sec-WebSocket-Protocol";

impl<'a> UpgradeRequest<'a> {
    /// The values of all header fields of that name, in the order in which they were sent. Names are
    /// compared without case; a value has no whitespace around it, and may be any bytes.
    pub fn headers<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.values(name)
    }

    /// The value of a header field that may stand once only (RFC 9110, 5.3).
    ///
    /// The error answers 400: the field stands twice, or its value is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let mut once = Once::default();
        self.headers(name).for_each(|value| once.add(value));
        once.read(name)
    }

    /// The first cookie of that name; a browser sends the one with the most specific path first
    /// (RFC 6265, 5.4). Names are compared with case. The value may be in double quotes, and
    /// percent-encoded; it is returned decoded.
    ///
    /// The error answers 400: the value has a `%` that is not followed by two hex digits, or is not UTF-8.
    pub fn cookie(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut pairs = self
            .headers("Cookie")
            .flat_map(|value| value.split(|byte| *byte == b';'));
        let value = pairs.find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
            value.strip_prefix(b"=")
        });
        let Some(value) = value else {
            return Ok(None);
        };
        let value = value
            .strip_prefix(b"\"")
            .and_then(|v| v.strip_suffix(b"\""))
            .unwrap_or(value);
        decode(value, Plus::IsPlus, format_args!("the {name} cookie")).map(Some)
    }

    /// The user that the client names by its `sid` cookie. It is no uid yet: [`crate::ids::Uid::parse`]
    /// checks it. The error is that of [`cookie`](Self::cookie).
    pub fn sid(&self) -> Result<Option<Cow<'a, str>>, Refusal> {
        self.cookie("sid")
    }

    /// The value of a query parameter, decoded (`%` and two hex digits; `+` is a space, as browsers'
    /// `URLSearchParams` write it). A parameter without `=` has an empty value. Names are compared as they
    /// were sent.
    ///
    /// The error answers 400: the parameter stands twice, or its value can't be decoded.
    pub fn query_param(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        let mut found = self.query.unwrap_or("").split('&').filter_map(|pair| {
            let (its_name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (its_name == name).then_some(value)
        });
        let Some(value) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err(Refusal::bad_request(format!(
                "there is more than one {name} in the query"
            )));
        }
        let what = format_args!("{name} in the query");
        decode(value.as_bytes(), Plus::IsSpace, what).map(Some)
    }

    /// The subprotocols that the client offers, in its order of preference (RFC 6455, 4.1). They are
    /// compared with case.
    pub fn subprotocols(&self) -> impl Iterator<Item = &'a str> {
        self.headers(PROTOCOLS)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .filter_map(|item| std::str::from_utf8(item.trim_ascii()).ok())
            .filter(|protocol| !protocol.is_empty())
    }

    /// Whether the client offers that subprotocol.
    pub fn offers(&self, protocol: &str) -> bool {
        self.headers(PROTOCOLS)
            .any(|value| lists(value, |item| item == protocol.as_bytes()))
    }

    /// Whether the client offers [`PROTOCOL_V2`].
    pub fn offers_v2(&self) -> bool {
        self.offers(PROTOCOL_V2)
    }
}

/// Shows only what is safe in a log: queries, cookies and tokens are secrets.
impl fmt::Debug for UpgradeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradeRequest")
            .field("path", &self.path)
            .field("host", &self.host)
            .field("origin", &self.origin)
            .field("header_fields", &self.fields.count)
            .finish_non_exhaustive()
    }
}

/// The header fields of a request, as places in its bytes. Places take a quarter of the memory of httparse's
/// slices, so the list can be passed on by value.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HeaderFields<'a> {
    bytes: &'a [u8],
    count: usize,
    fields: [Field; limits::UPGRADE_HEADERS_MAX],
}

/// Where the name and the value of one field begin, and how long they are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Field {
    name_at: u16,
    name_bytes: u16,
    value_at: u16,
    value_bytes: u16,
}

const _: () = assert!(limits::UPGRADE_BYTES_MAX <= u16::MAX as usize);

impl<'a> HeaderFields<'a> {
    /// `headers` are the fields that httparse found in `bytes`, which are the whole request.
    pub(super) fn new(bytes: &'a [u8], headers: &[Header<'a>]) -> Self {
        let mut fields = [Field::default(); limits::UPGRADE_HEADERS_MAX];
        let start = bytes.as_ptr().addr();
        let place = |part: &[u8]| ((part.as_ptr().addr() - start) as u16, part.len() as u16);
        for (field, header) in fields.iter_mut().zip(headers) {
            (field.name_at, field.name_bytes) = place(header.name.as_bytes());
            // An empty value need not be a slice of the request.
            if !header.value.is_empty() {
                (field.value_at, field.value_bytes) = place(header.value);
            }
        }
        HeaderFields {
            bytes,
            count: headers.len(),
            fields,
        }
    }

    /// The values of all fields of that name.
    #[inline]
    pub(super) fn values<'s>(&'s self, name: &'s str) -> Values<'s, 'a> {
        Values {
            bytes: self.bytes,
            name: name.as_bytes(),
            rest: self.fields[..self.count].iter(),
        }
    }
}

/// Whether a list (RFC 9110, 5.6.1) has such an item. A list may be spread over several fields; this is one.
#[inline]
pub(super) fn lists(value: &[u8], is_it: impl Fn(&[u8]) -> bool) -> bool {
    value
        .split(|byte| *byte == b',')
        .any(|item| is_it(item.trim_ascii()))
}

/// A header field that may stand once only (RFC 9110, 5.3): two of them are how requests are smuggled past a
/// proxy.
#[derive(Clone, Copy, Default)]
pub(super) struct Once<'a> {
    value: Option<&'a [u8]>,
    stands_twice: bool,
}

impl<'a> Once<'a> {
    /// Takes in one more field of the name.
    #[inline]
    pub(super) fn add(&mut self, value: &'a [u8]) {
        self.stands_twice = self.value.is_some();
        self.value = self.value.or(Some(value));
    }

    /// The value of the field `name`, if it stands in the request.
    pub(super) fn read(self, name: &str) -> Result<Option<&'a str>, Refusal> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        if self.stands_twice {
            let text = format!("there is more than one {name} header");
            return Err(Refusal::bad_request(text));
        }
        match std::str::from_utf8(value) {
            Ok(value) => Ok(Some(value.trim_ascii())),
            Err(_) => Err(Refusal::bad_request(format!(
                "the {name} header is not UTF-8"
            ))),
        }
    }
}

/// The values of the fields of one name.
pub(super) struct Values<'s, 'a> {
    bytes: &'a [u8],
    name: &'s [u8],
    rest: std::slice::Iter<'s, Field>,
}

impl<'a> Iterator for Values<'_, 'a> {
    type Item = &'a [u8];

    /// Lengths first: they tell nearly all names apart.
    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let field = self.rest.next()?;
            if usize::from(field.name_bytes) == self.name.len() {
                let name = part(self.bytes, field.name_at, field.name_bytes);
                if name.eq_ignore_ascii_case(self.name) {
                    return Some(part(self.bytes, field.value_at, field.value_bytes));
                }
            }
        }
    }
}

fn part(bytes: &[u8], at: u16, count: u16) -> &[u8] {
    &bytes[usize::from(at)..][..usize::from(count)]
}

/// What a `+` stands for in an encoded value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    IsPlus,
    IsSpace,
}

/// Decodes a value. `what` names it in the refusal.
fn decode<'a>(
    value: &'a [u8],
    plus: Plus,
    what: fmt::Arguments<'_>,
) -> Result<Cow<'a, str>, Refusal> {
    let not_utf8 = || Refusal::bad_request(format!("{what} is not UTF-8"));
    let is_encoded = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus == Plus::IsSpace);
    if !value.iter().any(is_encoded) {
        return std::str::from_utf8(value)
            .map(Cow::from)
            .map_err(|_| not_utf8());
    }
    let decoded = percent_decode(value, plus).ok_or_else(|| {
        Refusal::bad_request(format!(
            "{what} has a % that is not followed by two hex digits"
        ))
    })?;
    String::from_utf8(decoded)
        .map(Cow::from)
        .map_err(|_| not_utf8())
}

fn percent_decode(value: &[u8], plus: Plus) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (digits, tail) = tail.split_first_chunk::<2>()?;
                let digit = |at: usize| (digits[at] as char).to_digit(16);
                decoded.push((digit(0)? * 16 + digit(1)?) as u8);
                rest = tail;
            }
            b'+' if plus == Plus::IsSpace => decoded.push(b' '),
            _ => decoded.push(byte),
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ws::{Upgrade, parse_upgrade};

    /// Makes a request with that target and these header lines beside the necessary ones, and reads it.
    fn reads<T>(target: &str, lines: &str, read: impl FnOnce(&UpgradeRequest<'_>) -> T) -> T {
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
        );
        match parse_upgrade(request.as_bytes()) {
            Upgrade::Ready { request, .. } => read(&request),
            other => panic!("{other:?} of {request}"),
        }
    }

    fn sid_of(cookie: &str) -> Result<Option<String>, Refusal> {
        let line = format!("Cookie: {cookie}\r\n");
        reads("/", &line, |request| {
            request.sid().map(|sid| sid.map(Cow::into_owned))
        })
    }

    fn token_of(query: &str) -> Result<Option<String>, Refusal> {
        reads(&format!("/?{query}"), "", |request| {
            let token = request.query_param("access_token");
            token.map(|token| token.map(Cow::into_owned))
        })
    }

    #[test]
    fn the_sid_is_found_among_cookies_and_decoded() {
        let found = |cookie: &str| sid_of(cookie).unwrap();
        assert_eq!(found("a=b;sid=bob; sid=late"), Some("bob".into()));
        assert_eq!(found("xsid=no; sid=\"quo ted\""), Some("quo ted".into()));
        assert_eq!(found("sid=%C3%BC%20x%25+"), Some("ü x%+".into()));
        assert_eq!(found("sid=jürgen"), Some("jürgen".into()));
        assert_eq!(
            found("a=b\r\nCookie: sid=second-header"),
            Some("second-header".into())
        );
        assert_eq!(found("sid="), Some("".into()));
        assert_eq!(found("SID=x; sid"), None);
        assert!(reads("/", "", |request| request.sid().unwrap().is_none()));
        let not_hex = "the sid cookie has a % that is not followed by two hex digits";
        let cases = [
            ("sid=%", not_hex),
            ("sid=%1", not_hex),
            ("sid=%zz", not_hex),
            ("sid=%ff", "the sid cookie is not UTF-8"),
        ];
        for (cookie, text) in cases {
            assert_eq!(sid_of(cookie), Err(Refusal::bad_request(text)), "{cookie}");
        }
    }

    #[test]
    fn a_query_parameter_is_found_once_and_decoded() {
        let found = |query: &str| token_of(query).unwrap();
        assert_eq!(found("a=b&access_token=x.y-z"), Some("x.y-z".into()));
        assert_eq!(found("access_token=a%3Db+c=d"), Some("a=b c=d".into()));
        assert_eq!(found("access_token"), Some("".into()));
        assert_eq!(found("xaccess_token=a&ACCESS_TOKEN=b"), None);
        assert_eq!(found(""), None);
        for bad in [
            "access_token=%",
            "access_token=%ff",
            "access_token=a&b&access_token=a",
        ] {
            let refusal = token_of(bad).unwrap_err();
            assert_eq!(refusal.status.code(), 400, "{bad}");
            assert!(refusal.text.contains("access_token in the query"), "{bad}");
        }
    }

    #[test]
    fn a_header_that_may_stand_once_is_refused_twice() {
        let lines = "AUTHORIZATION:  Bearer x \r\nEmpty:\r\nTwo: 1\r\ntwo: 2\r\n";
        reads("/", lines, |request| {
            assert_eq!(request.header("Authorization"), Ok(Some("Bearer x")));
            assert_eq!(request.header("Empty"), Ok(Some("")));
            assert_eq!(request.header("Missing"), Ok(None));
            let both: Vec<_> = request.headers("Two").collect();
            assert_eq!(both, [b"1", b"2"]);
            let refusal = request.header("Two").unwrap_err();
            assert_eq!(refusal.text, "there is more than one Two header");
        });
    }

    #[test]
    fn subprotocols_come_in_the_clients_order() {
        let lines = "Sec-WebSocket-Protocol: newim.v2, ,bearer.x\r\nsec-websocket-protocol: y\r\n";
        reads("/", lines, |request| {
            let offered: Vec<_> = request.subprotocols().collect();
            assert_eq!(offered, ["newim.v2", "bearer.x", "y"]);
            assert!(request.offers("y") && request.offers_v2());
            assert!(!request.offers("Y") && !request.offers("bearer"));
        });
    }

    #[test]
    fn a_request_shown_in_a_log_keeps_its_secrets() {
        let lines = "Cookie: sid=hidden\r\nAuthorization: Bearer hidden\r\n";
        let shown = reads("/p?access_token=hidden", lines, |request| {
            format!("{request:?}")
        });
        assert!(shown.contains("/p") && !shown.contains("hidden"), "{shown}");
    }
}
