//! What a batch costs in entries, completions and system calls, where the test gives the batch: all of its
//! inputs are there before the shard looks. So nothing here depends on how fast anything runs. What an idle
//! shard does meanwhile is counted by its parks, and allowed for.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

use common::{Act, PATIENCE, Seen, Shards, config, eventually};
use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{EngineStats, SendOutcome};

/// Far more than the handful of system calls that a batch may take.
const CONNS: usize = 40;
/// System calls of one batch and of the controls around it. It takes two to five.
const ENTERS_MAX: u64 = 12;

/// What the engine did between two looks.
#[derive(Debug)]
struct Cost {
    enters: u64,
    sqes: u64,
    cqes: u64,
    wakes: u64,
}

/// Counters as of the end of the shard's last batch.
fn stats(node: &Shards, shard: u16) -> EngineStats {
    node.on(shard, |io| *io.stats())
}

/// The difference, without what the shard did for going to sleep: a system call at the end of each of two
/// turns and one before it parks; a timer and its removal; their completions.
fn cost(before: &EngineStats, after: &EngineStats) -> Cost {
    let parks = after.parks - before.parks;
    Cost {
        enters: (after.enters - before.enters).saturating_sub(3 * parks),
        sqes: (after.sqes - before.sqes).saturating_sub(2 * parks),
        cqes: (after.cqes - before.cqes).saturating_sub(2 * parks),
        wakes: after.wakes_out - before.wakes_out,
    }
}

/// `shards` shards, with connections on the first.
fn with_peers(shards: u16) -> (Shards, Vec<TcpStream>, Vec<ConnId>) {
    let node = Shards::new(config(shards));
    let connect = |_| TcpStream::connect(node.addr()).expect("it listens");
    let peers: Vec<TcpStream> = (0..CONNS).map(connect).collect();
    let conns = (0..CONNS).map(|_| node.next_accepted()).collect();
    // Each connection's poll is counted at the end of the batch that accepted it: before that, a look would miss it.
    eventually("a poll of every connection is counted", || {
        stats(&node, 0).polls >= CONNS as u64 && stats(&node, 0).sqes > CONNS as u64
    });
    (node, peers, conns)
}

/// Keeps the shard from looking until the sender is used or dropped.
fn hold(node: &Shards, shard: u16) -> Sender<()> {
    let (go, held) = channel();
    let act: Act = Box::new(move |_| {
        let _ = held.recv(); // a dropped sender lets it go as well
    });
    let deadline = Instant::now() + PATIENCE;
    let sent = node
        .runtime
        .control(ShardIndex(shard))
        .send_by(act, deadline);
    assert!(sent.is_ok(), "the shard is stuck");
    go
}

/// Has the other side's kernel acknowledged everything that was written?
fn has_arrived(stream: &TcpStream) -> bool {
    let mut unacknowledged: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to the address, which lives on this stack.
    let result =
        unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut unacknowledged) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    unacknowledged == 0
}

#[test]
fn sends_of_one_batch_take_an_entry_each_and_leave_together() {
    let (node, mut peers, conns) = with_peers(1);
    let before = stats(&node, 0);
    node.on(0, move |io| {
        for conn in conns {
            let outcome = io.send(conn, SendBuf::Owned(b"hello".to_vec()));
            assert!(matches!(outcome, SendOutcome::Sent));
        }
    });
    for _ in 0..CONNS {
        assert!(matches!(node.next(0), Seen::Sent(_, 5)));
    }
    let cost = cost(&before, &stats(&node, 0));
    for peer in &mut peers {
        peer.read_exact(&mut [0; 5]).expect("five bytes");
    }
    assert!(cost.sqes <= CONNS as u64, "{cost:?}");
    assert!(cost.cqes < 2 * CONNS as u64, "{cost:?}");
    assert!(cost.enters <= ENTERS_MAX, "{cost:?}");
    node.stop();
}

#[test]
fn arrivals_of_one_batch_take_an_entry_each_and_are_read_together() {
    let (node, mut peers, _) = with_peers(1);
    let before = stats(&node, 0);
    let go = hold(&node, 0);
    for peer in &mut peers {
        peer.write_all(b"hello").expect("a live socket");
    }
    eventually("all of it is with the other side", || {
        peers.iter().all(has_arrived)
    });
    drop(go);
    for _ in 0..CONNS {
        assert!(matches!(node.next(0), Seen::Received(_, bytes) if bytes == b"hello"));
    }
    let cost = cost(&before, &stats(&node, 0));
    assert!(cost.sqes <= CONNS as u64, "{cost:?}");
    assert!(cost.cqes < 3 * CONNS as u64, "{cost:?}");
    assert!(cost.enters <= ENTERS_MAX, "{cost:?}");
    node.stop();
}

#[test]
fn mail_of_one_batch_wakes_its_receiver_once() {
    let node = Shards::new(config(2));
    let before = stats(&node, 0);
    node.on(0, |io| {
        for number in 0..CONNS as u64 {
            assert_eq!(io.mail(ShardIndex(1), number), Ok(()));
        }
    });
    for number in 0..CONNS as u64 {
        assert_eq!(node.next(1), Seen::Mail(ShardIndex(0), number));
    }
    let after = stats(&node, 0);
    assert_eq!(after.mail_out - before.mail_out, CONNS as u64);
    let cost = cost(&before, &after);
    assert!(cost.wakes <= 1, "{cost:?}");
    assert!(cost.enters <= ENTERS_MAX, "{cost:?}");
    node.stop();
}
