//! Servers by others that do a part of what ours does: nginx with nchan, and nats-server, as Debian
//! packages them. Each is a process of its own with its files in a temporary folder; no service of the
//! machine is touched.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use newim_proto::ws::Opcode;
use newim_proto::ws::client::{ClientRequest, write_request};
use newim_proto::ws::frame::{frame_into, masked_frame_into};
use newim_testkit::{Process, TempFolder, free_port};

use crate::failure::Failure;
use crate::load::audience::Dialect;
use crate::process::Watched;

const SOON: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

const NGINX: &str = "/usr/sbin/nginx";
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
const NATS: &str = "/usr/sbin/nats-server";

/// A running peer and its protocol.
pub struct Peer {
    pub name: &'static str,
    pub version: String,
    pub address: SocketAddr,
    pub dialect: Dialect,
    process: Process,
    /// Folder of its configuration and its log.
    _folder: TempFolder,
}

fn is_installed(files: &[&str]) -> bool {
    files.iter().all(|file| Path::new(file).exists())
}

impl Peer {
    /// nginx with one worker and no master, which would outlive a bench that is killed. Messages are kept
    /// in memory, as nchan does by default. None: it is not installed.
    pub fn nginx() -> Result<Option<Peer>, Failure> {
        if !is_installed(&[NGINX, NCHAN]) {
            return Ok(None);
        }
        let folder = TempFolder::new("bench-nginx");
        let address = free_address();
        let at = folder.path().display();
        let config = format!(
            "load_module {NCHAN};
            daemon off; master_process off; worker_processes 1;
            pid {at}/pid; error_log {at}/error.log;
            events {{ worker_connections 18000; }}
            http {{
                access_log off;
                client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
                fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
                server {{
                    listen {address} backlog=4096;
                    location = /subscribe {{
                        nchan_subscriber websocket; nchan_channel_id topic;
                        nchan_subscriber_first_message newest;
                    }}
                    location = /publish {{ nchan_publisher websocket; nchan_channel_id topic; }}
                }}
            }}"
        );
        let dialect = Dialect {
            subscribe: upgrade("/subscribe"),
            introduce: upgrade("/publish"),
            welcome_end: "\r\n\r\n",
            publication: |body| {
                let mut frame = Vec::new();
                masked_frame_into(
                    &mut frame,
                    Opcode::Text,
                    true,
                    [1, 2, 3, 4],
                    body.as_bytes(),
                );
                frame
            },
            delivery: |body| {
                let mut frame = Vec::new();
                frame_into(&mut frame, Opcode::Text, body.as_bytes());
                frame
            },
            heartbeat: None,
        };
        Peer::start("nginx + nchan", NGINX, &config, address, dialect, folder).map(Some)
    }

    /// nats-server with subscribers by its own protocol over TCP, which costs it less than WebSockets
    /// would. None: it is not installed.
    pub fn nats() -> Result<Option<Peer>, Failure> {
        if !is_installed(&[NATS]) {
            return Ok(None);
        }
        let folder = TempFolder::new("bench-nats");
        let address = free_address();
        let config = format!("listen: \"{address}\"\nping_interval: \"1h\"\n");
        let connect = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
        let dialect = Dialect {
            subscribe: format!("{connect}SUB topic 1\r\nPING\r\n"),
            introduce: format!("{connect}PING\r\n"),
            welcome_end: "PONG\r\n",
            publication: |body| format!("PUB topic {}\r\n{body}\r\n", body.len()).into_bytes(),
            delivery: |body| format!("MSG topic 1 {}\r\n{body}\r\n", body.len()).into_bytes(),
            heartbeat: Some(("PING\r\n", "PONG\r\n")),
        };
        Peer::start("nats-server", NATS, &config, address, dialect, folder).map(Some)
    }

    fn start(
        name: &'static str,
        program: &str,
        config: &str,
        address: SocketAddr,
        dialect: Dialect,
        folder: TempFolder,
    ) -> Result<Peer, Failure> {
        let setup = |error: std::io::Error| Failure::Setup(format!("{name}: {error}"));
        let file = folder.path().join("config");
        fs::write(&file, config).map_err(setup)?;
        let arguments = ["-c".to_owned(), file.display().to_string()];
        let mut process = Process::start(program, &arguments, &folder.path().join("log"));
        let deadline = Instant::now() + SOON;
        while let Err(error) = TcpStream::connect(address) {
            if process.exit_status().is_some() || Instant::now() >= deadline {
                let log = process.log_tail();
                return Err(Failure::Setup(format!(
                    "{name} does not answer on {address}: {error}; its log:\n{log}"
                )));
            }
            std::thread::sleep(POLL);
        }
        Ok(Peer {
            name,
            version: version(program).map_err(setup)?,
            address,
            dialect,
            process,
            _folder: folder,
        })
    }

    pub fn watched(&self) -> Watched {
        Watched::new(self.name, self.process.pid())
    }
}

/// The version. Both print it on one line, as the last word.
fn version(program: &str) -> std::io::Result<String> {
    let output = Command::new(program).arg("-v").output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.split_whitespace().last().unwrap_or("?").to_owned())
}

fn free_address() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

fn upgrade(path: &str) -> String {
    let mut request = Vec::new();
    write_request(
        &mut request,
        &ClientRequest {
            host: "localhost",
            path,
            key: "dGhlIHNhbXBsZSBub25jZQ==", // the example of RFC 6455, 1.3
            sid: None,
            v2: false,
        },
    );
    String::from_utf8(request).expect("all of it is text")
}
