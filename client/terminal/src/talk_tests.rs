//! The client over real sockets, against a small node of one box that can be made to misbehave.

use std::sync::{Arc, Mutex};

use newim_proto::schema::ChatStatus;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

use super::*;
use newim_client_core::wire;

#[derive(Default)]
struct Node {
    log: Vec<ChatMessage>,
    joined: bool,
    connections: usize,
    /// Store the next CHAT, and cut the connection instead of acknowledging it.
    cut_at_next_chat: bool,
}

type Shared = Arc<Mutex<Node>>;

/// Listens on a free port; the tasks end with the test's runtime.
async fn node(node: Node) -> (String, Shared) {
    let shared = Arc::new(Mutex::new(node));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let served = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&served)));
        }
    });
    (url, shared)
}

async fn serve(stream: TcpStream, node: Shared) {
    #[allow(clippy::result_large_err)] // the library's own shape
    let choose = |request: &Request, mut response: Response| {
        assert_eq!(request.headers()["cookie"], "sid=alice");
        let protocol = request.headers()["sec-websocket-protocol"].clone();
        response
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, choose).await.unwrap();
    node.lock().unwrap().connections += 1;
    while let Some(Ok(message)) = socket.next().await {
        let Message::Binary(bytes) = message else {
            continue;
        };
        let request = ChatMessage::decode(bytes).unwrap();
        let Some(answers) = answer(&mut node.lock().unwrap(), request) else {
            return;
        };
        for answer in answers {
            // The client may leave at any moment; its next connection is another task.
            let _ = socket
                .send(Message::Binary(answer.encode_to_vec().into()))
                .await;
        }
    }
}

/// None: cut the connection.
fn answer(node: &mut Node, request: ChatMessage) -> Option<Vec<ChatMessage>> {
    if request.op() != ChatOp::Ack {
        return append(node, request);
    }
    let head = node.log.len() as u64;
    if request.boxid.is_empty() {
        let status = ChatStatus {
            sender: "alice".into(),
            boxid: Some("lobby".into()),
            epoch: Some(1),
            head_seq: Some(head),
            joined: Some(true),
            ..Default::default()
        };
        let status = if node.joined { vec![status] } else { vec![] };
        return Some(vec![ChatMessage {
            status,
            done: Some(true),
            ..wire::list()
        }]);
    }
    let mark = request.ack_seq() as usize;
    let mut answers: Vec<_> = node.log.iter().skip(mark).cloned().collect();
    let end = wire::pull("lobby", Some(1), head);
    answers.push(ChatMessage {
        done: Some(true),
        head_seq: Some(head),
        ..end
    });
    Some(answers)
}

fn append(node: &mut Node, request: ChatMessage) -> Option<Vec<ChatMessage>> {
    let known = node
        .log
        .iter()
        .find(|stored| stored.client_id == request.client_id)
        .cloned();
    let stored = known.unwrap_or_else(|| {
        let stored = ChatMessage {
            uuid: Some("u".into()),
            sender: Some("alice".into()),
            epoch: Some(1),
            seq: Some(node.log.len() as u64 + 1),
            ts_ms: Some(0),
            ..request.clone()
        };
        node.log.push(stored.clone());
        stored
    });
    node.joined = true;
    if request.op() == ChatOp::Chat && std::mem::take(&mut node.cut_at_next_chat) {
        return None;
    }
    let ack = ChatMessage {
        op: ChatOp::Ack.into(),
        mtype: MessageType::SmallText.into(),
        body: None,
        ..stored.clone()
    };
    Some(vec![ack, stored])
}

/// Runs a client that types `lines` and then ends its input; what it was shown, and how it ended.
async fn talk(url: &str, lines: &[&str], until: Until) -> (Vec<String>, Result<(), ClientError>) {
    let (screen, typed, typist, shown) = Screen::kept("alice");
    for line in lines {
        typist.send((*line).to_owned()).await.unwrap();
    }
    drop(typist);
    let target = Target::new(url, "alice").unwrap();
    let socket = target.connect().await.unwrap();
    let console = Console::new("alice", "run", Some("lobby".into()), 20);
    let talk = Talk::new(console, screen, typed, target, socket, until);
    let ended = timeout(Duration::from_secs(20), talk.run())
        .await
        .expect("it ends");
    let shown = shown.lock().unwrap().clone();
    (shown, ended)
}

const NO_WAIT: Until = Until {
    shown: None,
    wait_ms: None,
};

fn bodies(node: &Shared) -> Vec<String> {
    let node = node.lock().unwrap();
    node.log
        .iter()
        .filter_map(|message| message.body.clone())
        .collect()
}

#[tokio::test]
async fn piped_lines_are_stored_in_order_before_it_ends() {
    let (url, node) = node(Node::default()).await;
    let (shown, ended) = talk(&url, &["one", "two", "three"], NO_WAIT).await;
    ended.unwrap();
    assert_eq!(bodies(&node), ["one", "two", "three"]);
    let said: Vec<_> = shown
        .iter()
        .filter(|line| line.contains("alice: "))
        .collect();
    assert_eq!(said.len(), 3, "{shown:?}");
}

#[tokio::test]
async fn a_line_whose_answer_was_lost_is_stored_once() {
    let (url, node) = node(Node {
        cut_at_next_chat: true,
        ..Node::default()
    })
    .await;
    let (shown, ended) = talk(&url, &["one", "two"], NO_WAIT).await;
    ended.unwrap();
    assert_eq!(bodies(&node), ["one", "two"]);
    assert_eq!(node.lock().unwrap().connections, 2);
    let said: Vec<_> = shown
        .iter()
        .filter(|line| line.contains("alice: "))
        .collect();
    assert_eq!(said.len(), 2, "{shown:?}");
}

#[tokio::test]
async fn until_ends_it_when_enough_was_shown_and_the_wait_when_not() {
    let (url, _) = node(Node::default()).await;
    let (_, ended) = talk(
        &url,
        &["one"],
        Until {
            shown: Some(1),
            wait_ms: Some(60_000),
        },
    )
    .await;
    ended.unwrap();
    // The input ends when the history is on the screen: how long that takes is not what is tested.
    let (screen, typed, typist, shown) = Screen::kept("alice");
    let target = Target::new(&url, "alice").unwrap();
    let socket = target.connect().await.unwrap();
    let console = Console::new("alice", "again", Some("lobby".into()), 20);
    let until = Until {
        shown: Some(2),
        wait_ms: Some(50),
    };
    let talk = Talk::new(console, screen, typed, target, socket, until);
    let type_nothing = async {
        let is_shown = || {
            shown
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains("one"))
        };
        while !is_shown() {
            tokio::task::yield_now().await;
        }
        drop(typist);
    };
    let both = async { tokio::join!(talk.run(), type_nothing) };
    let (ended, ()) = timeout(Duration::from_secs(20), both)
        .await
        .expect("it ends");
    assert!(
        matches!(ended, Err(ClientError::NotShown { shown: 1 })),
        "{ended:?}"
    );
}

#[tokio::test]
async fn exit_ends_it_while_the_input_is_open() {
    let (url, node) = node(Node::default()).await;
    let (screen, typed, typist, _) = Screen::kept("alice");
    typist.send("one".into()).await.unwrap();
    typist.send("/exit".into()).await.unwrap();
    let target = Target::new(&url, "alice").unwrap();
    let socket = target.connect().await.unwrap();
    let console = Console::new("alice", "run", Some("lobby".into()), 20);
    let talk = Talk::new(console, screen, typed, target, socket, NO_WAIT);
    timeout(Duration::from_secs(20), talk.run())
        .await
        .expect("it ends")
        .unwrap();
    assert_eq!(bodies(&node), ["one"]);
}

#[tokio::test]
async fn without_a_node_the_first_connection_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Target::new(&url, "alice")
        .unwrap()
        .connect()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_script_whose_lines_are_refused_fails() {
    let (url, node) = node(Node::default()).await;
    let (_, ended) = talk(&url, &["one", "/nonsense"], NO_WAIT).await;
    assert!(
        matches!(ended, Err(ClientError::Refused { count: 1 })),
        "{ended:?}"
    );
    assert_eq!(bodies(&node), ["one"]);
}
