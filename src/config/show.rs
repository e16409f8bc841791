//! The effective configuration as TOML: what `check-config` prints, and what could be written into a
//! file to get the same node again (but for the Redis password, which is not shown).

use std::fmt::{self, Write};

use super::{Config, Node};

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show_node(f)?;
        writeln!(f, "\n[limits]")?;
        writeln!(f, "message_bytes_max = {}", self.limits.message_bytes_max)?;
        writeln!(
            f,
            "echo_message_bytes_max = {}",
            self.limits.echo_message_bytes_max
        )?;
        writeln!(f, "outbox_bytes_max = {}", self.limits.outbox_bytes_max)?;
        writeln!(f, "send_bytes_max = {}", self.limits.send_bytes_max)?;
        writeln!(
            f,
            "connections_per_shard_max = {}",
            self.limits.connections_per_shard_max
        )?;
        writeln!(f, "upgrade_ms_max = {}", self.limits.upgrade_ms_max)?;
        writeln!(f, "idle_ping_ms = {}", self.limits.idle_ping_ms)?;
        writeln!(f, "pong_ms_max = {}", self.limits.pong_ms_max)?;
        writeln!(
            f,
            "session_commands_max = {}",
            self.limits.session_commands_max
        )?;
        writeln!(f, "commands_max = {}", self.limits.commands_max)?;
        writeln!(f, "\n[retention]")?;
        writeln!(f, "messages_max = {}", self.retention.messages_max)?;
        writeln!(f, "age_ms_max = {}", self.retention.age_ms_max)?;
        writeln!(f, "dedupe_window_ms = {}", self.retention.dedupe_window_ms)?;
        writeln!(f, "\n[drain]")?;
        writeln!(f, "ms_max = {}", self.drain.ms_max)?;
        writeln!(f, "spread_ms = {}", self.drain.spread_ms)
    }
}

impl Config {
    fn show_node(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(listen) = self.node.listen() {
            writeln!(f, "listen = \"{listen}\"")?;
        }
        writeln!(f, "exchange = \"{}\"", self.exchange)?;
        if let Some(advertise) = &self.advertise {
            writeln!(f, "advertise = \"{advertise}\"")?;
        }
        writeln!(f, "admin = \"{}\"", self.admin)?;
        match &self.node {
            Node::Standalone { data_dir, .. } => {
                writeln!(f, "data_dir = {}", quoted(&data_dir.to_string_lossy()))?;
            }
            Node::Gateway { zookeeper, .. } | Node::Chat { zookeeper } => {
                writeln!(f, "zookeeper = \"{}\"", zookeeper.servers)?;
                writeln!(f, "zookeeper_session_ms = {}", zookeeper.session_ms)?;
            }
        }
        if let Node::Gateway { redis, .. } = &self.node {
            writeln!(f, "redis = {}", quoted(&redis.to_string()))?;
        }
        writeln!(f, "shards = {}", self.shards)?;
        writeln!(f, "echo = {}", self.echo)?;
        writeln!(f, "log = {}", quoted(&self.log))
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", c as u32).expect("a String takes everything")
            }
            c => out.push(c),
        }
    }
    out + "\""
}
