//! The measured servers: child processes on free ports of 127.0.0.1 with their data in temporary folders.
//! They end with their values, and with this process however it ends. Main thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use newim_testkit::{Process, Redis, TempFolder, ZooKeeper};

use crate::failure::Failure;
use crate::options::Options;
use crate::process::Watched;

/// Time for anything that takes a moment on a machine that works.
const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// One process that has printed its ready line.
pub struct Server {
    process: Process,
    name: String,
    ready: String,
    /// Folder of its log, and of its data if it keeps any.
    folder: TempFolder,
}

impl Server {
    /// The echo peer: tokio with fastwebsockets.
    pub fn echo_peer(options: &Options) -> Result<Server, Failure> {
        let folder = TempFolder::new("bench-peer");
        Server::start("tokio + fastwebsockets", &options.echo_peer()?, &[], folder)
    }

    pub fn standalone(options: &Options) -> Result<Server, Failure> {
        Server::standalone_in(options, TempFolder::new("bench-newim"))
    }

    /// Ends a standalone node in good order and starts another on the same data.
    pub fn restarted(mut self, options: &Options) -> Result<Server, Failure> {
        self.stop()?;
        Server::standalone_in(options, self.folder)
    }

    fn stop(&mut self) -> Result<(), Failure> {
        let status = self.process.terminate(SOON);
        if !status.success() {
            return Err(self.fault(&format!("ended with {status} when it was stopped")));
        }
        Ok(())
    }

    fn standalone_in(options: &Options, folder: TempFolder) -> Result<Server, Failure> {
        let data = folder.path().join("data").display().to_string();
        let arguments = ["standalone", "--listen", FREE, "--data-dir", &data];
        Server::newim("newim", options, &arguments, folder)
    }

    fn newim(
        name: &str,
        options: &Options,
        arguments: &[&str],
        folder: TempFolder,
    ) -> Result<Server, Failure> {
        let shards = options.shards.to_string();
        let common = [
            "--exchange",
            FREE,
            "--admin",
            FREE,
            "--shards",
            &shards,
            "--log",
            "warn",
        ];
        let mut arguments = [arguments, &common].concat();
        let config = folder.path().join("newim.toml").display().to_string();
        if options.single_frames {
            std::fs::write(&config, "[limits]\nsend_bytes_max = 1\n")
                .map_err(|error| Failure::Setup(format!("{config}: {error}")))?;
            arguments.extend(["--config", &config]);
        }
        let newim = options.newim()?;
        if !options.small_pages {
            return Server::start(name, &newim, &arguments, folder);
        }
        // `env` becomes newim and keeps its pid.
        let newim = newim.display().to_string();
        let arguments = [&[NO_HUGE_PAGES, &newim][..], &arguments].concat();
        Server::start(name, Path::new("env"), &arguments, folder)
    }

    fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        folder: TempFolder,
    ) -> Result<Server, Failure> {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let log = folder.path().join("log");
        // A log for each start, so that the ready line is this one's.
        let _ = std::fs::remove_file(&log);
        let program = program.display().to_string();
        let mut server = Server {
            process: Process::start(&program, &arguments, &log),
            name: name.to_owned(),
            ready: String::new(),
            folder,
        };
        server.await_ready(&log)?;
        Ok(server)
    }

    fn await_ready(&mut self, log: &Path) -> Result<(), Failure> {
        let deadline = Instant::now() + SOON;
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let whole_lines = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
            if let Some(line) = whole_lines.lines().find(|line| line.starts_with("ready ")) {
                self.ready = line.to_owned();
                return Ok(());
            }
            if self.process.exit_status().is_some() {
                return Err(self.fault("ended"));
            }
            if Instant::now() >= deadline {
                return Err(self.fault("is not ready"));
            }
            std::thread::sleep(POLL);
        }
    }

    pub fn ws(&self) -> Result<SocketAddr, Failure> {
        self.address("ws")
    }

    pub fn watched(&self) -> Watched {
        Watched {
            admin: self.address("admin").ok(),
            ..Watched::new(&self.name, self.process.pid())
        }
    }

    /// The address after `name=` in the ready line.
    fn address(&self, name: &str) -> Result<SocketAddr, Failure> {
        let mut words = self.ready.split_whitespace();
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value
            .and_then(|value| value.parse().ok())
            .ok_or_else(|| self.fault(&format!("has no {name} in its ready line")))
    }

    fn fault(&self, what: &str) -> Failure {
        Failure::Setup(format!(
            "{} {what}; its log:\n{}",
            self.name,
            self.process.log_tail()
        ))
    }

    fn await_answer(&self, path: &str, wanted: impl Fn(&str) -> bool) -> Result<(), Failure> {
        let admin = self.address("admin")?;
        let deadline = Instant::now() + SOON;
        let mut answer = String::new();
        while Instant::now() < deadline {
            answer = get(admin, path).unwrap_or_else(|error| error.to_string());
            if wanted(&answer) {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Err(self.fault(&format!(
            "is not in the expected state: {path} says {answer}"
        )))
    }
}

const FREE: &str = "127.0.0.1:0";
/// An option of mimalloc.
const NO_HUGE_PAGES: &str = "MIMALLOC_ALLOW_THP=0";

/// The answer of an admin port, head and body.
pub fn get(admin: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(SOON))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Two gateways and two chat nodes on a ZooKeeper and a Redis. Fields are dropped in this order: nodes
/// first, while what they need still answers.
pub struct Cluster {
    gateways: Vec<Server>,
    chats: Vec<Server>,
    redis: Redis,
    zookeeper: ZooKeeper,
}

impl Cluster {
    /// Starts the cluster. Every node is ready and knows every other when this returns.
    pub fn start(options: &Options) -> Result<Cluster, Failure> {
        let mut cluster = Cluster {
            gateways: Vec::new(),
            chats: Vec::new(),
            redis: Redis::start(),
            zookeeper: ZooKeeper::start(),
        };
        let zookeeper = cluster.zookeeper.address();
        for number in 1..=2 {
            let arguments = ["chat", "--zookeeper", &zookeeper];
            let (name, folder) = (format!("chat {number}"), TempFolder::new("bench-chat"));
            let chat = Server::newim(&name, options, &arguments, folder)?;
            cluster.chats.push(chat);
        }
        cluster.start_gateways(options)?;
        cluster.await_whole()?;
        Ok(cluster)
    }

    /// Starts new nodes, which have served nobody yet, on the same Redis.
    pub fn restart_gateways(&mut self, options: &Options) -> Result<(), Failure> {
        self.gateways.iter_mut().try_for_each(Server::stop)?;
        self.gateways.clear();
        self.start_gateways(options)?;
        self.await_whole()
    }

    fn start_gateways(&mut self, options: &Options) -> Result<(), Failure> {
        let (zookeeper, redis) = (self.zookeeper.address(), self.redis.url());
        for number in 1..=2 {
            let arguments = [
                "gateway",
                "--listen",
                FREE,
                "--zookeeper",
                &zookeeper,
                "--redis",
                &redis,
            ];
            let (name, folder) = (
                format!("gateway {number}"),
                TempFolder::new("bench-gateway"),
            );
            let gateway = Server::newim(&name, options, &arguments, folder)?;
            self.gateways.push(gateway);
        }
        Ok(())
    }

    pub fn ws(&self) -> Result<Vec<SocketAddr>, Failure> {
        self.gateways.iter().map(Server::ws).collect()
    }

    /// The processes: gateways, chat nodes, Redis and ZooKeeper, in this order.
    pub fn watched(&self) -> Vec<Watched> {
        let nodes = self.gateways.iter().chain(&self.chats).map(Server::watched);
        let redis = Watched::new("redis", self.redis.process().pid());
        let zookeeper = Watched::new("zookeeper", self.zookeeper.process().pid());
        nodes.chain([redis, zookeeper]).collect()
    }

    fn await_whole(&self) -> Result<(), Failure> {
        let nodes = || self.gateways.iter().chain(&self.chats);
        for node in nodes() {
            node.await_answer("/readyz", |answer| answer.starts_with("HTTP/1.1 200"))?;
            for other in nodes() {
                let other = other.address("exchange")?.to_string();
                node.await_answer("/api/nodes", |answer| answer.contains(&other))?;
            }
        }
        Ok(())
    }
}
