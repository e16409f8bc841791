//! The Redis client as a subject, over a plain socket to a server of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_store::redis::{RedisClient, RedisConfig, RedisFault};
use newim_store::settings::StoreSettings;
use newim_testkit::Redis;

use crate::subject::Subject;

const ANSWER_LIMIT: Duration = Duration::from_secs(60);

pub struct Connection {
    pub client: RedisClient,
    stream: TcpStream,
    began: Instant,
    /// Received bytes that are fed to the client at once.
    piece_bytes: usize,
}

impl Connection {
    pub fn open(redis: &Redis, config: RedisConfig) -> Connection {
        Connection::with_client(redis, RedisClient::new(config))
    }

    fn with_client(redis: &Redis, mut client: RedisClient) -> Connection {
        let stream = TcpStream::connect(redis.address()).expect("connected");
        stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("set");
        stream.set_nodelay(true).expect("set");
        client.connected(0);
        Connection {
            client,
            stream,
            began: Instant::now(),
            piece_bytes: usize::MAX,
        }
    }

    /// The same client on another connection.
    pub fn reopen(self, redis: &Redis) -> Connection {
        Connection::with_client(redis, self.client)
    }

    pub fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    pub fn push(&mut self, token: u64, command: Command) {
        self.client
            .push(self.now_us(), StoreToken(token), command)
            .expect("room for these");
    }

    pub fn send(&mut self) {
        while let Some(output) = self.client.take_output() {
            self.stream.write_all(&output).expect("sent");
            self.client.sent(output);
        }
    }

    /// Receives once. Ok(false): the server closed the connection.
    pub fn receive(
        &mut self,
        replies: &mut Vec<(StoreToken, StoreResult)>,
    ) -> Result<bool, RedisFault> {
        let mut buffer = vec![0; 64 * 1024];
        let length = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(false),
            Err(error) => panic!("no answer from Redis: {error}"),
        };
        for piece in buffer[..length].chunks(self.piece_bytes.min(length)) {
            self.client.feed(piece, replies)?;
        }
        Ok(true)
    }

    /// Exchanges bytes until the server has let us in.
    pub fn handshake(&mut self) -> Result<(), RedisFault> {
        let mut replies = Vec::new();
        while !self.client.is_ready() {
            self.send();
            assert!(self.receive(&mut replies)?, "Redis closed the connection");
        }
        assert!(replies.is_empty());
        Ok(())
    }
}

impl Subject for Connection {
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult> {
        let count = commands.len();
        for (at, command) in commands.into_iter().enumerate() {
            self.push(at as u64, command);
        }
        let mut replies = Vec::new();
        while replies.len() < count {
            self.send();
            if replies.len() < count {
                assert!(
                    self.receive(&mut replies).expect("the protocol holds"),
                    "Redis closed the connection"
                );
            }
        }
        assert_eq!(self.client.in_flight(), 0, "each command is answered once");
        replies.sort_by_key(|(token, _)| *token);
        let tokens: Vec<u64> = replies.iter().map(|(token, _)| token.0).collect();
        assert_eq!(tokens, (0..count as u64).collect::<Vec<_>>());
        replies.into_iter().map(|(_, result)| result).collect()
    }
}

pub fn config(redis: &Redis, settings: StoreSettings) -> RedisConfig {
    RedisConfig {
        settings,
        ..RedisConfig::parse(&redis.url()).expect("a URL")
    }
}

/// A connection and the server behind it.
pub struct InRedis {
    pub connection: Connection,
    _redis: Redis,
}

impl InRedis {
    pub fn new(settings: StoreSettings) -> InRedis {
        let redis = Redis::start();
        let connection = Connection::open(&redis, config(&redis, settings));
        InRedis {
            connection,
            _redis: redis,
        }
    }

    /// A subject on a Redis Cluster of one node.
    pub fn in_cluster(settings: StoreSettings) -> InRedis {
        let redis = Redis::start_with(&["--cluster-enabled", "yes"]);
        let mut stream = TcpStream::connect(redis.address()).expect("connected");
        let mut ask = |command: &str| {
            stream.write_all(command.as_bytes()).expect("sent");
            let mut answer = [0; 1024];
            let length = stream.read(&mut answer).expect("answered");
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        assert_eq!(ask("CLUSTER ADDSLOTSRANGE 0 16383\r\n"), "+OK\r\n");
        newim_testkit::wait_until("the cluster is up", ANSWER_LIMIT, || {
            ask("CLUSTER INFO\r\n").contains("cluster_state:ok")
        });
        let connection = Connection::open(&redis, config(&redis, settings));
        InRedis {
            connection,
            _redis: redis,
        }
    }

    /// A subject whose answers arrive byte by byte.
    pub fn in_bytes(settings: StoreSettings) -> InRedis {
        let mut subject = InRedis::new(settings);
        subject.connection.piece_bytes = 1;
        subject
    }
}

impl Subject for InRedis {
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult> {
        self.connection.run(commands)
    }
}

/// A subject on a database of a server that is already there, emptied first: for tests that need many.
pub struct Emptied<'a> {
    connection: Connection,
    _redis: &'a Redis,
}

impl Emptied<'_> {
    pub fn new(redis: &Redis, settings: StoreSettings) -> Emptied<'_> {
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).expect("connected");
        stream.write_all(b"FLUSHALL\r\n").expect("sent");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("answered");
        assert_eq!(&answer, b"+OK\r\n");
        Emptied {
            connection: Connection::open(redis, config(redis, settings)),
            _redis: redis,
        }
    }
}

impl Subject for Emptied<'_> {
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult> {
        self.connection.run(commands)
    }
}
