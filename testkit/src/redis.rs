//! A real Redis server for one test.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::folder::TempFolder;
use crate::limits::{REDIS_START_LIMIT as START_LIMIT, START_TRIES_MAX};
use crate::ports::free_port;
use crate::process::Process;

/// One redis-server. It writes its append-only file before it answers, so everything that it acknowledged is
/// there again after `kill` and `restart`.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    extra: Vec<String>,
    process: Option<Process>,
    folder: TempFolder,
}

impl Redis {
    /// Starts a server; ready when this returns.
    pub fn start() -> Redis {
        Redis::start_with(&[])
    }

    /// Starts a server with further redis-server arguments, as `["--maxmemory", "1mb"]`.
    pub fn start_with(extra: &[&str]) -> Redis {
        let extra: Vec<String> = extra
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        let mut why = String::new();
        for _ in 0..START_TRIES_MAX {
            let mut redis = Redis {
                port: free_port(),
                extra: extra.clone(),
                process: None,
                folder: TempFolder::new("redis"),
            };
            match redis.launch() {
                Ok(()) => return redis,
                Err(error) => why = error,
            }
        }
        panic!("redis-server does not start: {why}");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process; panics after `kill` or `stop`.
    pub fn process(&self) -> &Process {
        self.process
            .as_ref()
            .expect("this Redis was stopped by the test")
    }

    /// Sends SIGKILL. The port stays this server's, for `restart`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Sends SIGTERM: the server saves and ends.
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
        if let Err(why) = self.launch() {
            panic!("redis-server does not restart: {why}");
        }
    }

    /// Removes all data of a stopped server: the next `restart` comes up empty.
    pub fn wipe(&mut self) {
        assert!(self.process.is_none(), "stop or kill it first");
        for entry in std::fs::read_dir(self.folder.path())
            .expect("our folder")
            .flatten()
        {
            let path = entry.path();
            let removed = if path.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let folder = self.folder.path().display().to_string();
        let port = self.port.to_string();
        let mut arguments: Vec<String> = [
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--dir",
            &folder,
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--daemonize",
            "no",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(self.extra.iter().cloned());
        let mut process =
            Process::start("redis-server", &arguments, &self.folder.path().join("log"));
        let deadline = Instant::now() + START_LIMIT;
        while !answers_ping(self.port) {
            if process.exit_status().is_some() {
                return Err(format!(
                    "it ended (is the package redis-server installed?):\n{}",
                    process.log_tail()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "no answer within {START_LIMIT:?}:\n{}",
                    process.log_tail()
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.process = Some(process);
        Ok(())
    }
}

/// While Redis loads its file it answers PING with -LOADING.
fn answers_ping(port: u16) -> bool {
    ask(port, b"PING\r\n").is_some_and(|answer| answer.starts_with(b"+PONG"))
}

fn ask(port: u16, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledged_writes_survive_a_kill_and_a_restart() {
        let mut redis = Redis::start();
        assert_eq!(
            ask(redis.port(), b"SET key value\r\n").as_deref(),
            Some(&b"+OK\r\n"[..])
        );
        redis.kill();
        assert_eq!(ask(redis.port(), b"PING\r\n"), None);
        redis.restart();
        assert_eq!(
            ask(redis.port(), b"GET key\r\n").as_deref(),
            Some(&b"$5\r\nvalue\r\n"[..])
        );
        redis.kill();
        redis.wipe();
        redis.restart();
        assert_eq!(
            ask(redis.port(), b"GET key\r\n").as_deref(),
            Some(&b"$-1\r\n"[..])
        );
    }

    #[test]
    fn a_paused_server_answers_again_when_resumed() {
        let redis = Redis::start();
        redis.pause();
        assert!(!answers_ping(redis.port()));
        redis.resume();
        assert!(answers_ping(redis.port()));
    }
}
