//! What connections cost in memory, by part: `/api/memory`, and the same as gauges. docs/memory.md explains the
//! parts. On the control thread, for each request: the node's own count comes from its shards' snapshots, the rest
//! from the allocator and the kernel.

use serde_json::{Map, Value, json};

use super::kernel::{self, Status};
use super::metrics::MetricSink;

/// Memory that a node's shards hold, summed over them, in bytes (but for the two counts).
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeMemory {
    /// Client connections that are open.
    pub connections: u64,
    pub shards: u64,
    pub tables: Tables,
    /// Frames queued for clients and links, and messages held back for the ones before them.
    pub outboxes: u64,
    pub receive_buffers: u64,
    /// The most that the embedded store keeps of its file; 0 without such a store.
    pub store_cache_max: u64,
    pub rings: u64,
    pub descriptor_tables: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tables {
    pub engine: u64,
    pub sessions: u64,
    pub subscriptions: u64,
    pub interest: u64,
    pub timers: u64,
    pub commands: u64,
    pub chat_topics: u64,
}

impl Tables {
    fn by_name(&self) -> [(&'static str, u64); 7] {
        [
            ("tables_engine", self.engine),
            ("tables_sessions", self.sessions),
            ("tables_subscriptions", self.subscriptions),
            ("tables_interest", self.interest),
            ("tables_timers", self.timers),
            ("tables_commands", self.commands),
            ("tables_chat_topics", self.chat_topics),
        ]
    }
}

/// Whose memory a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Parts that add up to the process's anonymous memory: what it counts itself, and the slack beside it.
    User,
    /// Sums and bounds of the process, which must not be added to the `User` parts again.
    Process,
    /// Memory of the kernel for this process.
    Kernel,
    /// Memory of the kernel for everything on this machine: both ends of a connection, where clients run here too.
    Machine,
}

impl Scope {
    const ALL: [Scope; 4] = [Scope::User, Scope::Process, Scope::Kernel, Scope::Machine];

    fn name(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Process => "process",
            Scope::Kernel => "kernel",
            Scope::Machine => "machine",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    scope: Scope,
    name: String,
    bytes: u64,
    connections: u64,
}

impl Part {
    fn per_connection(&self) -> Option<f64> {
        (self.connections > 0).then(|| self.bytes as f64 / self.connections as f64)
    }
}

/// All parts that can be known, as of now.
pub fn parts(node: &NodeMemory) -> Vec<Part> {
    let mut parts = Parts::new(node);
    parts.process();
    parts.kernel();
    parts.all
}

struct Parts<'a> {
    node: &'a NodeMemory,
    status: Option<Status>,
    all: Vec<Part>,
}

impl<'a> Parts<'a> {
    fn new(node: &'a NodeMemory) -> Parts<'a> {
        Parts {
            node,
            status: Status::read(),
            all: Vec::new(),
        }
    }

    fn add(&mut self, scope: Scope, name: &str, bytes: u64) {
        self.all.push(Part {
            scope,
            name: name.to_owned(),
            bytes,
            connections: self.node.connections,
        });
    }

    fn process(&mut self) {
        for (name, bytes) in self.node.tables.by_name() {
            self.add(Scope::User, name, bytes);
        }
        self.add(Scope::User, "outboxes", self.node.outboxes);
        self.add(Scope::User, "receive_buffers", self.node.receive_buffers);
        let counted = self.all.iter().map(|part| part.bytes).sum();
        if let Some(status) = self.status {
            // Memory that was counted and never touched is not resident; then there may be no slack at all.
            let slack = status.rss_anonymous.saturating_sub(counted);
            self.add(Scope::User, "slack", slack);
            self.add(Scope::Process, "rss_anonymous", status.rss_anonymous);
            self.add(Scope::Process, "rss_file", status.rss_file);
        }
        if let Some(committed) = allocator_committed() {
            self.add(Scope::Process, "allocator_committed", committed);
        }
        self.add(Scope::Process, "store_cache_max", self.node.store_cache_max);
    }

    fn kernel(&mut self) {
        self.add(Scope::Kernel, "rings", self.node.rings);
        self.add(
            Scope::Kernel,
            "descriptor_tables",
            self.node.descriptor_tables,
        );
        if let Some(status) = self.status {
            self.add(Scope::Kernel, "page_tables", status.page_tables);
        }
        if let Some(bytes) = kernel::tcp_buffer_bytes() {
            self.add(Scope::Machine, "tcp_buffers", bytes);
        }
        for (cache, bytes) in kernel::slab_caches() {
            self.add(Scope::Machine, &format!("slab_{cache}"), bytes);
        }
    }
}

/// Bytes that the allocator has taken from the kernel. It could count the blocks in use too, but that costs
/// something on every allocation.
fn allocator_committed() -> Option<u64> {
    let text = mimalloc::MiMalloc::stats_json().ok()?;
    let stats: Value = serde_json::from_slice(text.to_bytes()).ok()?;
    stats["committed"]["current"].as_u64()
}

/// The parts as JSON, by scope and name: bytes, and bytes for each connection (null when there is no connection).
pub fn describe(node: &NodeMemory, parts: &[Part]) -> Value {
    let mut described = json!({ "connections": node.connections, "shards": node.shards });
    for scope in Scope::ALL {
        let own = parts.iter().filter(|part| part.scope == scope);
        let own = own.map(|part| {
            let shown =
                json!({ "bytes": part.bytes, "bytes_per_connection": part.per_connection() });
            (part.name.clone(), shown)
        });
        described[scope.name()] = Value::Object(own.collect::<Map<_, _>>());
    }
    described
}

pub fn collect(sink: &mut MetricSink, parts: &[Part]) {
    for part in parts {
        let labels = [("scope", part.scope.name()), ("part", part.name.as_str())];
        let help = "Memory by part, in bytes: what connections cost and where it lies; docs/memory.md explains each part.";
        sink.gauge("newim_memory_bytes", help, &labels, part.bytes);
        if let Some(bytes) = part.per_connection() {
            let help = "newim_memory_bytes divided by the open client connections, in whole bytes; absent without any.";
            sink.gauge(
                "newim_bytes_per_connection",
                help,
                &labels,
                bytes.round() as u64,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeMemory {
        NodeMemory {
            connections: 4,
            tables: Tables {
                sessions: 402,
                ..Tables::default()
            },
            ..NodeMemory::default()
        }
    }

    #[test]
    fn each_part_is_shown_per_connection_and_null_without_any() {
        let shown = describe(&node(), &parts(&node()));
        assert_eq!(shown["user"]["tables_sessions"]["bytes"], 402);
        assert_eq!(
            shown["user"]["tables_sessions"]["bytes_per_connection"],
            100.5
        );
        let nobody = NodeMemory::default();
        let shown = describe(&nobody, &parts(&nobody));
        assert!(shown["user"]["slack"]["bytes_per_connection"].is_null());
        assert!(shown["process"]["rss_anonymous"]["bytes"].as_u64() > Some(0));
    }

    #[test]
    fn the_parts_of_the_user_scope_add_up_to_the_anonymous_memory() {
        let parts = parts(&node());
        let user = parts.iter().filter(|part| part.scope == Scope::User);
        let user: u64 = user.map(|part| part.bytes).sum();
        let rss = parts.iter().find(|part| part.name == "rss_anonymous");
        assert_eq!(user, rss.expect("Linux shows it").bytes);
    }

    #[test]
    fn the_allocator_says_what_it_took_from_the_kernel() {
        let held = vec![1_u8; 32 << 20];
        let committed = allocator_committed().expect("mimalloc has statistics");
        assert!(committed >= held.len() as u64, "{committed}");
    }
}
