//! Bytes in, the same bytes out, over sockets of the standard library.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use common::{PATIENCE, config, pattern, start_echo, stop_echo};
use newim_runtime::Config;

fn client(addr: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    stream
}

fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).expect("an echo");
    assert!(back == bytes, "the echo differs");
}

#[test]
fn a_thousand_connections_on_three_shards_each_get_their_own_bytes() {
    let runtime = start_echo(config(3));
    let mut streams: Vec<_> = (0..1000).map(|_| client(runtime.addrs[0])).collect();
    for round in 0..3 {
        for (number, stream) in streams.iter_mut().enumerate() {
            write!(stream, "message {round} of connection {number}").expect("sent");
        }
        for (number, stream) in streams.iter_mut().enumerate() {
            expect(
                stream,
                format!("message {round} of connection {number}").as_bytes(),
            );
        }
    }
    drop(streams);
    stop_echo(runtime);
}

#[test]
fn bytes_written_one_by_one_come_back_in_order() {
    let runtime = start_echo(config(1));
    let mut stream = client(runtime.addrs[0]);
    let bytes = pattern(300);
    for byte in &bytes {
        stream.write_all(&[*byte]).expect("sent");
    }
    expect(&mut stream, &bytes);
    stop_echo(runtime);
}

#[test]
fn a_long_stream_comes_back_whole_through_few_and_small_buffers() {
    let starved = Config {
        buffer_count: 2,
        buffer_bytes: 64,
        sq_entries: 4,
        cq_entries: 8,
        ..config(1)
    };
    let runtime = start_echo(starved);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = client(runtime.addrs[0]);
            std::thread::spawn(move || {
                let bytes = pattern(200_000);
                let mut writer = stream.try_clone().expect("a descriptor");
                let sent = bytes.clone();
                let writing = std::thread::spawn(move || writer.write_all(&sent).expect("sent"));
                expect(&mut stream, &bytes);
                writing.join().expect("written");
            })
        })
        .collect();
    for writer in writers {
        writer.join().expect("an echo of all");
    }
    stop_echo(runtime);
}

#[test]
fn more_readable_connections_than_buffers_take_turns() {
    let runtime = start_echo(Config {
        buffer_count: 4,
        ..config(1)
    });
    let mut streams: Vec<_> = (0..300).map(|_| client(runtime.addrs[0])).collect();
    for round in 0..5 {
        for stream in &mut streams {
            write!(stream, "round {round}").expect("sent");
        }
        for stream in &mut streams {
            expect(stream, format!("round {round}").as_bytes());
        }
    }
    stop_echo(runtime);
}

#[test]
fn an_older_kernels_task_work_serves_as_well() {
    let runtime = start_echo(Config {
        defer_taskrun: false,
        ..config(2)
    });
    assert!(
        !runtime.kernel.used.contains(&"SINGLE_ISSUER|DEFER_TASKRUN"),
        "{:?}",
        runtime.kernel
    );
    let mut streams: Vec<_> = (0..50).map(|_| client(runtime.addrs[0])).collect();
    // The second round finds the shards asleep in glommio.
    for round in 0..2 {
        for stream in &mut streams {
            write!(stream, "round {round}").expect("sent");
        }
        for stream in &mut streams {
            expect(stream, format!("round {round}").as_bytes());
        }
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    stop_echo(runtime);
}

#[test]
fn more_shards_than_cores_all_serve() {
    let shards = 2 * std::thread::available_parallelism().map_or(4, usize::from) as u16 + 3;
    let runtime = start_echo(config(shards));
    for number in 0..200 {
        let mut stream = client(runtime.addrs[0]);
        write!(stream, "{number}").expect("sent");
        expect(&mut stream, number.to_string().as_bytes());
    }
    stop_echo(runtime);
}
