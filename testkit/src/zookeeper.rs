//! Real ZooKeeper servers for one test: one alone, or an ensemble.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::folder::TempFolder;
use crate::limits::{START_TRIES_MAX, ZOOKEEPER_START_LIMIT as START_LIMIT};
use crate::ports::free_port;
use crate::process::Process;

/// ZooKeeper's unit of time: sessions last at least two of it and expire in steps of it, so a small
/// one lets a test see an expiry soon.
const TICK_MS: u32 = 200;
const JAR: &str = "/usr/share/java/zookeeper.jar";
/// ZooKeeper's manifest names no logger; this one writes to stderr.
const LOGGER_JAR: &str = "/usr/share/java/slf4j-simple.jar";

/// One ZooKeeper server (QuorumPeerMain in a JVM). Session timeouts from 400 ms to 60 s are granted.
#[derive(Debug)]
pub struct ZooKeeper {
    port: u16,
    process: Option<Process>,
    folder: TempFolder,
}

impl ZooKeeper {
    /// Starts a single server; ready when this returns.
    pub fn start() -> ZooKeeper {
        let mut why = String::new();
        for _ in 0..START_TRIES_MAX {
            let mut server = ZooKeeper::new(free_port(), 1, "");
            server.launch();
            match server.await_ready() {
                Ok(()) => return server,
                Err(error) => why = error,
            }
        }
        panic!("ZooKeeper does not start: {why}");
    }

    /// Reserves a port and starts nothing yet: for tests in which ZooKeeper comes late, by `restart`.
    pub fn absent() -> ZooKeeper {
        ZooKeeper::new(free_port(), 1, "")
    }

    fn new(port: u16, id: usize, ensemble: &str) -> ZooKeeper {
        let folder = TempFolder::new("zookeeper");
        let data = folder.path().join("data");
        let config = format!(
            "tickTime={TICK_MS}\nminSessionTimeout={}\nmaxSessionTimeout=60000\ninitLimit=100\nsyncLimit=10\n\
             dataDir={}\nclientPort={port}\nclientPortAddress=127.0.0.1\nmaxClientCnxns=0\n\
             admin.enableServer=false\n4lw.commands.whitelist=*\n{ensemble}",
            2 * TICK_MS,
            data.display(),
        );
        std::fs::create_dir(&data).expect("our own folder");
        std::fs::write(data.join("myid"), format!("{id}\n")).expect("our own folder");
        std::fs::write(folder.path().join("zoo.cfg"), config).expect("our own folder");
        ZooKeeper {
            port,
            process: None,
            folder,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The process; panics after `kill` or `stop`.
    pub fn process(&self) -> &Process {
        self.process
            .as_ref()
            .expect("this ZooKeeper was stopped by the test")
    }

    /// Sends SIGKILL. The port stays this server's, for `restart`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(START_LIMIT);
        }
    }

    pub fn pause(&self) {
        self.process().pause();
    }

    pub fn resume(&self) {
        self.process().resume();
    }

    /// Ends the server, if it runs, and starts it on the same port and data; ready when this returns.
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
        if let Err(why) = self.await_ready() {
            panic!("ZooKeeper does not restart: {why}");
        }
    }

    /// Removes all data of a stopped server: the next `restart` comes up as a new, empty ensemble.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "stop or kill it first");
        std::fs::remove_dir_all(self.folder.path().join("data/version-2")).expect("it has run");
    }

    fn launch(&mut self) {
        let config = self.folder.path().join("zoo.cfg").display().to_string();
        let class_path = class_path();
        // Small and quick to start; no fsync, as only processes die in tests, never the machine.
        let arguments = [
            "-Xmx96m",
            "-Xss256k",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:-UsePerfData",
            "-Djava.net.preferIPv4Stack=true",
            "-Dzookeeper.forceSync=no",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
            &class_path,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            &config,
        ];
        let log = self.folder.path().join("log");
        self.process = Some(Process::start("java", &arguments.map(str::to_owned), &log));
    }

    /// Waits until a client gets a session, which takes a committed write of the whole ensemble.
    fn await_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        while open_and_close_session(self.port).is_none() {
            let process = self.process.as_mut().expect("launched by the caller");
            if process.exit_status().is_some() {
                return Err(format!("it ended:\n{}", process.log_tail()));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "no session within {START_LIMIT:?}:\n{}",
                    process.log_tail()
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// `leader`, `follower` or `standalone`, by the command `srvr`; None while it serves nobody.
    pub fn mode(&self) -> Option<String> {
        let mut stream = connect(self.port)?;
        stream.write_all(b"srvr").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let mode = answer
            .lines()
            .find_map(|line| line.strip_prefix("Mode: "))?;
        Some(mode.trim().to_owned())
    }
}

/// Several servers that elect a leader.
#[derive(Debug)]
pub struct ZooKeeperEnsemble {
    pub servers: Vec<ZooKeeper>,
}

impl ZooKeeperEnsemble {
    /// Starts `count` servers; each of them serves when this returns.
    pub fn start(count: usize) -> ZooKeeperEnsemble {
        assert!(count >= 3, "fewer than three servers survive no loss");
        let mut why = String::new();
        for _ in 0..START_TRIES_MAX {
            match ZooKeeperEnsemble::try_start(count) {
                Ok(ensemble) => return ensemble,
                Err(error) => why = error,
            }
        }
        panic!("the ZooKeeper ensemble does not start: {why}");
    }

    fn try_start(count: usize) -> Result<ZooKeeperEnsemble, String> {
        let members: String = (1..=count)
            .map(|id| format!("server.{id}=127.0.0.1:{}:{}\n", free_port(), free_port()))
            .collect();
        let mut servers: Vec<ZooKeeper> = (1..=count)
            .map(|id| ZooKeeper::new(free_port(), id, &members))
            .collect();
        servers.iter_mut().for_each(ZooKeeper::launch);
        for server in &mut servers {
            server.await_ready()?;
        }
        Ok(ZooKeeperEnsemble { servers })
    }

    /// `127.0.0.1:port,…` of all members.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(ZooKeeper::address).collect();
        addresses.join(",")
    }

    /// Index of the running member that leads; waits for an election to end.
    pub fn leader(&self) -> usize {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let running = self
                .servers
                .iter()
                .enumerate()
                .filter(|(_, server)| server.is_running());
            let mut leaders =
                running.filter(|(_, server)| server.mode().as_deref() == Some("leader"));
            if let Some((index, _)) = leaders.next() {
                return index;
            }
            assert!(
                Instant::now() < deadline,
                "no leader within {START_LIMIT:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills the leader with SIGKILL; returns its index.
    pub fn kill_leader(&mut self) -> usize {
        let leader = self.leader();
        self.servers[leader].kill();
        leader
    }
}

/// The class path of NEWIM_ZOOKEEPER_CLASSPATH, or else that of Debian's package.
fn class_path() -> String {
    if let Ok(class_path) = std::env::var("NEWIM_ZOOKEEPER_CLASSPATH") {
        return class_path;
    }
    assert!(
        PathBuf::from(JAR).exists(),
        "ZooKeeper is not installed ({JAR} is missing): apt-get install zookeeper, \
         or set NEWIM_ZOOKEEPER_CLASSPATH"
    );
    format!("{JAR}:{LOGGER_JAR}")
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    Some(stream)
}

/// ZooKeeper's handshake by hand (ConnectRequest, ConnectResponse, closeSession; zookeeper.jute), so
/// that no client under test vouches for the server.
fn open_and_close_session(port: u16) -> Option<()> {
    let mut stream = connect(port)?;
    let mut request = Vec::new();
    request.extend(45_u32.to_be_bytes()); // length of what follows
    request.extend(0_i32.to_be_bytes()); // protocolVersion
    request.extend(0_i64.to_be_bytes()); // lastZxidSeen
    request.extend(5000_i32.to_be_bytes()); // timeOut
    request.extend(0_i64.to_be_bytes()); // sessionId: a new one
    request.extend(16_u32.to_be_bytes()); // passwd
    request.extend([0; 16]);
    request.push(0); // readOnly
    stream.write_all(&request).ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut response = vec![0; u32::from_be_bytes(length).min(1024) as usize];
    stream.read_exact(&mut response).ok()?;
    let session = i64::from_be_bytes(response.get(8..16)?.try_into().ok()?);
    let close = [8_i32, 1, -11].map(i32::to_be_bytes).concat(); // length, xid, type
    stream.write_all(&close).ok()?;
    // The server ends the connection when the session's end is committed.
    let _ = stream.read_to_end(&mut response);
    (session != 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_pauses_dies_and_restarts_on_its_port() {
        let mut server = ZooKeeper::start();
        assert_eq!(server.mode().as_deref(), Some("standalone"));
        server.pause();
        assert_eq!(open_and_close_session(server.port()), None);
        server.resume();
        assert_eq!(open_and_close_session(server.port()), Some(()));
        server.kill();
        assert_eq!(open_and_close_session(server.port()), None);
        server.restart();
        assert_eq!(server.mode().as_deref(), Some("standalone"));
    }

    #[test]
    fn an_ensemble_elects_another_leader_when_its_leader_dies() {
        let mut ensemble = ZooKeeperEnsemble::start(3);
        let first = ensemble.kill_leader();
        let second = ensemble.leader();
        assert_ne!(first, second);
        ensemble.servers[first].restart();
        assert_eq!(ensemble.servers[first].mode().as_deref(), Some("follower"));
    }
}
