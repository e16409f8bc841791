//! Servers that lie: an echo server, and a proxy in front of a real node. Each tells one kind of lie, after
//! enough of the truth.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use newim_proto::chat::ChatView;
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::ws::frame::{frame_into, parse_header};
use newim_proto::ws::{
    MessageLimits, Messages, Opcode, Side, Upgrade, WsEvent, parse_upgrade, write_accept,
};

/// Messages that are passed on unchanged before the lie.
const TRUTHS: usize = 30;
const READ_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    Nothing,
    /// One message is kept back.
    Drop,
    /// This message and all later ones on this connection are kept back.
    DropRest,
    Duplicate,
    Corrupt,
    /// A message changes places with the next.
    Swap,
}

/// State that all connections of a liar share: only one of them lies.
struct Liar {
    lie: Lie,
    heard: AtomicUsize,
}

/// State of one connection.
#[derive(Default)]
struct Mouth {
    kept: Option<Vec<u8>>,
    is_silent: bool,
}

impl Liar {
    /// Passes on one whole message, or lies about it.
    fn tell(&self, mouth: &mut Mouth, mut message: Vec<u8>, out: &mut Vec<Vec<u8>>) {
        let is_time = self.heard.fetch_add(1, Ordering::Relaxed) == TRUTHS;
        match self.lie {
            Lie::Drop if is_time => return,
            Lie::DropRest if is_time || mouth.is_silent => {
                mouth.is_silent = true;
                return;
            }
            Lie::Duplicate if is_time => out.push(message.clone()),
            Lie::Corrupt if is_time => {
                // In the middle of the filler, which may hold any text.
                let at = message.len() / 2;
                message[at] ^= 1;
            }
            Lie::Swap if is_time => {
                mouth.kept = Some(message);
                return;
            }
            _ => {}
        }
        out.push(message);
        out.extend(mouth.kept.take());
    }
}

/// Starts a WebSocket echo server that lies.
pub fn echo(lie: Lie) -> SocketAddr {
    serve(lie, |liar, client| {
        let _ = echo_one(&liar, client);
    })
}

/// Starts a proxy in front of a node: it passes on what goes to the node, and lies about what comes from
/// it.
pub fn proxy(lie: Lie, node: &str) -> SocketAddr {
    let node: SocketAddr = node.parse().expect("an address");
    serve(lie, move |liar, client| {
        let _ = proxy_one(&liar, client, node);
    })
}

/// Serves each connection on a thread; all of them end with the test's process.
fn serve(lie: Lie, each: impl Fn(Arc<Liar>, TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let liar = Arc::new(Liar {
        lie,
        heard: AtomicUsize::new(0),
    });
    let each = Arc::new(each);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (liar, each) = (Arc::clone(&liar), Arc::clone(&each));
            std::thread::spawn(move || each(liar, client));
        }
    });
    address
}

fn echo_one(liar: &Liar, mut client: TcpStream) -> std::io::Result<()> {
    let mut rest = upgrade(&mut client)?;
    let limits = MessageLimits {
        side: Side::Server,
        message_bytes_max: 1 << 20,
    };
    let (mut messages, mut mouth) = (Messages::new(), Mouth::default());
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let mut told = Vec::new();
        let mut unread = &mut rest[..];
        while let Ok(Some(event)) = messages.next(limits, &mut unread) {
            if let WsEvent::Binary(payload) = event {
                liar.tell(&mut mouth, payload.to_vec(), &mut told);
            }
        }
        let mut out = Vec::new();
        told.iter()
            .for_each(|message| frame_into(&mut out, Opcode::Binary, message));
        client.write_all(&out)?;
        let count = client.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        rest = bytes[..count].to_vec();
    }
}

/// Reads a request. Returns the bytes behind it.
fn upgrade(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        let count = client.read(&mut bytes)?;
        request.extend_from_slice(&bytes[..count]);
        if let Upgrade::Ready {
            request: asked,
            consumed,
        } = parse_upgrade(&request)
        {
            let mut answer = Vec::new();
            write_accept(&mut answer, asked.key, None);
            client.write_all(&answer)?;
            return Ok(request.split_off(consumed));
        }
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn proxy_one(liar: &Liar, client: TcpStream, node: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(node)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    let ended = lie_downstream(liar, server, &client);
    let _ = client.shutdown(Shutdown::Both);
    ended
}

fn lie_downstream(
    liar: &Liar,
    mut server: TcpStream,
    mut client: &TcpStream,
) -> std::io::Result<()> {
    let (mut unread, mut bytes) = (Vec::new(), vec![0; READ_BYTES]);
    let mut is_upgraded = false;
    let mut mouth = Mouth::default();
    loop {
        let count = server.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        unread.extend_from_slice(&bytes[..count]);
        if !is_upgraded {
            let Some(at) = unread.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            client.write_all(&unread[..at + 4])?;
            unread.drain(..at + 4);
            is_upgraded = true;
        }
        while let Some(frame) = take_frame(&mut unread) {
            for frame in tell_of_frame(liar, &mut mouth, frame) {
                client.write_all(&frame)?;
            }
        }
    }
}

/// The first whole frame.
fn take_frame(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (header, header_bytes) = parse_header(unread, Side::Client).ok()??;
    let whole = header_bytes + header.payload_bytes as usize;
    (unread.len() >= whole).then(|| unread.drain(..whole).collect())
}

/// Whether it is a message of a person: ACKs and lists pass unchanged.
fn tell_of_frame(liar: &Liar, mouth: &mut Mouth, frame: Vec<u8>) -> Vec<Vec<u8>> {
    let header_bytes = match parse_header(&frame, Side::Client) {
        Ok(Some((header, bytes))) if header.opcode == Opcode::Binary => bytes,
        _ => return vec![frame],
    };
    let is_chat = ChatView::parse(&frame[header_bytes..]).is_ok_and(|view| view.op == ChatOp::Chat);
    if !is_chat {
        return vec![frame];
    }
    let mut told = Vec::new();
    liar.tell(mouth, frame, &mut told);
    told
}
