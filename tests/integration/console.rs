//! The built-in client, driven through pipes as a script drives it.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use newim_testkit::wait_until;

use crate::client::Client;
use crate::node::{Node, SOON};

struct Console {
    child: Option<Child>,
}

impl Console {
    fn start(node: &Node, arguments: &[&str]) -> Console {
        let child = Command::new(env!("CARGO_BIN_EXE_newim"))
            .arg("client")
            .arg(format!("ws://{}", node.ws()))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        Console {
            child: Some(child.expect("newim was built")),
        }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("not ended")
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.child().stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").expect("it reads");
    }

    /// Closes its input and waits for its end.
    fn finish(mut self) -> Output {
        drop(self.child().stdin.take());
        wait_until("the client ends", SOON, || {
            self.child().try_wait().expect("our child").is_some()
        });
        let child = self.child.take().expect("not ended");
        child.wait_with_output().expect("our child")
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn piped_lines_are_said_and_acknowledged_before_it_ends() {
    let node = Node::standalone(&[]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    let mut alice = Console::start(&node, &["--uid", "alice", "--box", "lobby"]);
    alice.type_line("hello from a pipe");
    alice.type_line("/to bob psst");
    let ended = alice.finish();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(
        bob.expect_body("hello from a pipe").sender.as_deref(),
        Some("alice")
    );
    let direct = bob.expect_body("psst");
    assert_eq!(direct.receiver.as_deref(), Some("bob"));
}

#[test]
fn history_is_shown_on_join_and_messages_as_they_come() {
    let node = Node::standalone(&[]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    bob.chat("lobby", "long ago");
    let alice = Console::start(
        &node,
        &[
            "--uid",
            "alice",
            "--box",
            "lobby",
            "--until",
            "2",
            "--wait-ms",
            "20000",
        ],
    );
    bob.expect("alice's JOIN", |chat| {
        chat.sender.as_deref() == Some("alice")
    });
    bob.chat("lobby", "right now");
    let ended = alice.finish();
    assert!(ended.status.success(), "{ended:?}");
    let shown = stdout_of(&ended);
    let (past, present) = (shown.find("long ago"), shown.find("right now"));
    assert!(past.is_some() && past < present, "{shown}");
    assert!(shown.contains("bob"), "with their sender: {shown}");
    assert!(!shown.contains('\x1b'), "no colours into a pipe");
}

#[test]
fn without_a_node_it_says_so_and_ends_with_1() {
    let port = newim_testkit::free_port();
    let url = format!("ws://127.0.0.1:{port}");
    let ended = crate::node::run_to_end(&["client", &url, "--uid", "alice", "--box", "lobby"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains(&port.to_string()), "{}", ended.stderr);
}

#[test]
fn it_survives_a_restart_of_the_node() {
    let listen = format!("127.0.0.1:{}", newim_testkit::free_port());
    let mut node = Node::standalone(&["--listen", &listen]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    let mut alice = Console::start(&node, &["--uid", "alice", "--box", "lobby"]);
    alice.type_line("before");
    bob.expect_body("before");
    node.kill();
    node.restart();
    alice.type_line("after");
    let ended = alice.finish();
    assert!(ended.status.success(), "{ended:?}");
    let mut bob = Client::v2(node.ws(), "bob");
    assert_eq!(bob.pull("lobby", 0, None).bodies(), ["before", "after"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let node = Node::standalone(&[]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    let mut alice = Console::start(&node, &["--uid", "alice", "--box", "lobby"]);
    bob.expect("alice's JOIN", |chat| {
        chat.sender.as_deref() == Some("alice")
    });
    drop(alice.child().stdout.take());
    bob.chat("lobby", "to nobody");
    wait_until("the client ends", SOON, || {
        alice.child().try_wait().expect("our child").is_some()
    });
    let ended = alice.finish();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!String::from_utf8_lossy(&ended.stderr).contains("error"));
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_one_is_said() {
    let node = Node::standalone(&[]);
    let mut alice = Console::start(&node, &["--uid", "alice", "--box", "lobby"]);
    alice.type_line(&"x".repeat(100_000));
    alice.type_line("short");
    let ended = alice.finish();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let mut alice = Client::v2(node.ws(), "alice");
    assert_eq!(alice.pull("lobby", 0, None).bodies(), ["short"]);
}
