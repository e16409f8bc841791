//! A hand-written HTTP GET for the admin port, so that the tests share no HTTP library with the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::node::SOON;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// GETs a path. Panics without an answer in time, because the admin port of a living node always answers.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, path)
        .unwrap_or_else(|error| panic!("no answer to GET {path} from {address}: {error}"))
}

/// GETs a path of a node that may end meanwhile; None without an answer.
pub fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    ask(address, path).ok()
}

fn ask(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 ") {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(parse(&String::from_utf8_lossy(&answer)))
}

fn parse(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole HTTP answer");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let is_chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Answer {
        status: status.expect("a status line"),
        body: if is_chunked {
            unchunk(body)
        } else {
            body.to_owned()
        },
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        if size == 0 {
            break;
        }
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

#[test]
fn chunks_are_put_together() {
    let answer = parse(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!((answer.status, answer.body.as_str()), (200, "abcde"));
}
