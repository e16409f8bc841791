//! Cases of the opening handshake: an HTTP request is read and answered.

use newim_proto::ws::handshake::PROTOCOL_V2;
use newim_proto::ws::{Upgrade, parse_upgrade, write_accept};

use crate::case::{Body, Case};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "upgrade/app",
            turn: "a phone's request is read and answered",
            turns: 100,
            prepare: || upgrading(request("uid-4711")),
        },
        Case {
            name: "upgrade/browser",
            turn: "a browser's request with its many headers is read and answered",
            turns: 100,
            prepare: || upgrading(browser_request("uid-4711")),
        },
    ]
}

/// A request as an app sends it.
pub fn request(uid: &str) -> String {
    format!(
        "GET /websocket HTTP/1.1\r\nHost: im.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: newim.v2\r\nCookie: sid={uid}\r\n\r\n"
    )
}

fn browser_request(uid: &str) -> String {
    format!(
        "GET /websocket HTTP/1.1\r\nHost: im.example.com\r\nConnection: Upgrade\r\nPragma: no-cache\r\n\
         Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 \
         (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\n\
         Origin: https://im.example.com\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br, \
         zstd\r\nAccept-Language: en-GB,en;q=0.9,de;q=0.8\r\nCookie: theme=dark; session=8f14e45fceea167a5a3\
         6dedd4bea2543; sid={uid}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
         Sec-WebSocket-Protocol: newim.v2\r\n\r\n"
    )
}

fn upgrading(request: String) -> Body {
    let mut out = Vec::new();
    Box::new(move || {
        out.clear();
        match parse_upgrade(request.as_bytes()) {
            Upgrade::Ready { request, consumed } => {
                let protocol = request.offers_v2().then_some(PROTOCOL_V2);
                write_accept(&mut out, request.key, protocol);
                let sid = request.sid().expect("a good cookie");
                let sid_bytes = sid.map_or(0, |sid| sid.len());
                (out.len() + consumed + sid_bytes) as u64
            }
            other => unreachable!("a good request: {other:?}"),
        }
    })
}
