//! What a runtime is started with. Checked and cut to what the machine allows by `start`, on the starting
//! thread, before any other runs.

use std::net::SocketAddr;

use newim_proto::limits::SHARDS_MAX;

use super::error::StartError;
use super::token::INDEX_MAX;
use super::transport::Transport;
use crate::limits::{
    BUFFER_BYTES_MAX, BUFFER_COUNT_MAX, BUFFERS_MAX, BUFFERS_PER_SHARD_MIN, COMPLETIONS_MAX,
    MAIL_PER_PAIR_MIN, MAIL_PER_SHARD_MAX,
};

/// An address that shards accept connections on.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Port 0 takes a free one, the same on every shard.
    pub addr: SocketAddr,
    /// How the bytes of its connections travel.
    pub transport: Transport,
}

impl From<SocketAddr> for Listener {
    /// A listener whose connections are plain.
    fn from(addr: SocketAddr) -> Listener {
        Listener {
            addr,
            transport: Transport::Plain,
        }
    }
}

/// What a runtime is started with. `start` refuses values that can't be, with `StartError::Config`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Shards from 1 to `SHARDS_MAX`: one executor, one thread and one socket ring each. There may be more
    /// than cores.
    pub shards: u16,
    /// Addresses, bound for every shard (SO_REUSEPORT); a shard listens once its driver calls `Io::accept`.
    pub listeners: Vec<Listener>,
    /// Pin shards round-robin to the cores that the process may use. Where that is refused the shards run
    /// unpinned, and `KernelReport::pinning_refused` says so.
    pub pin: bool,
    /// Cores that the shards run on. More shards than that take turns, and need less memory each.
    pub cores: u16,
    /// Places of one shard's table of connections. Cut to RLIMIT_NOFILE (raised to its hard limit first),
    /// which caps a ring's table of direct descriptors; `KernelReport::conns_per_shard` says what became of
    /// it.
    pub conns_per_shard_max: u32,
    /// Places among these that accepting leaves to `connect` and `hand_over`, so that a shard full of
    /// clients still reaches its own servers. At most half of them.
    pub conns_reserved: u32,
    /// Entries of the socket ring's submission queue; more than fit are submitted in several calls.
    pub sq_entries: u32,
    /// Entries of its completion queue; what doesn't fit waits in the kernel. Many shards get fewer each: see
    /// `cq_entries_of`.
    pub cq_entries: u32,
    /// Run the ring's task work only when the shard asks for it (Linux 6.1). Off: as on older kernels.
    pub defer_taskrun: bool,
    /// Receive buffers of a shard: a power of two up to 32,768. When all are in use, reading waits for the
    /// next batch. With many shards, and where they share cores, it is less, so that all buffers together
    /// stay small: see `buffer_count_of`.
    pub buffer_count: u16,
    /// Bytes that one read takes, from 1 to 1 MiB. 2 KB made pipelined echo cost 1.7 times as much
    /// (16 messages of 128 bytes no longer fit into one read), 512 B twice.
    pub buffer_bytes: u32,
    /// Messages that wait between each two shards; `Io::mail` refuses the next. With many shards it is
    /// less, so that all queues together stay small: see `mesh_capacity_of`.
    pub mesh_capacity: u32,
    /// Milliseconds after which a queue of the mesh without mail gives its memory back, until the next mail.
    pub mesh_unused_ms: u64,
    /// Messages that wait from other threads for one shard; `ControlSender` refuses or blocks at the next.
    pub control_capacity: u32,
    /// Milliseconds for which a closing connection may make no headway: its last send doesn't move, or its
    /// peer doesn't end the connection. Then it is cut off. 0: cut off at once.
    pub linger_ms: u64,
    /// Connections that the kernel queues per listener and shard until they are accepted; net.core.somaxconn
    /// caps it.
    pub backlog: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            shards: 1,
            listeners: Vec::new(),
            pin: true,
            cores: std::thread::available_parallelism()
                .map_or(1, |cores| cores.get().min(SHARDS_MAX.into()) as u16),
            conns_per_shard_max: 100_000,
            conns_reserved: 64,
            sq_entries: 1024,
            cq_entries: 16_384,
            defer_taskrun: true,
            buffer_count: 256,
            buffer_bytes: 4096,
            mesh_capacity: 1024,
            mesh_unused_ms: 5000,
            control_capacity: 1024,
            linger_ms: 2000,
            backlog: 4096,
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let wrong = |what: &str| Err(StartError::Config(what.to_owned()));
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return wrong(&format!("shards must be from 1 to {SHARDS_MAX}"));
        }
        if self.conns_per_shard_max == 0 || self.conns_per_shard_max > INDEX_MAX / 2 {
            return wrong(&format!(
                "conns_per_shard_max must be from 1 to {}",
                INDEX_MAX / 2
            ));
        }
        if !self.buffer_count.is_power_of_two() || self.buffer_count > BUFFER_COUNT_MAX {
            return wrong("buffer_count must be a power of two up to 32,768");
        }
        if self.buffer_bytes == 0 || self.buffer_bytes > BUFFER_BYTES_MAX {
            return wrong("buffer_bytes must be from 1 to 1 MiB");
        }
        if self.mesh_capacity == 0 || self.control_capacity == 0 {
            return wrong("mesh_capacity and control_capacity must be at least 1");
        }
        if self.sq_entries == 0 || self.cq_entries < self.sq_entries {
            return wrong("cq_entries must be at least sq_entries, and both at least 1");
        }
        if self.backlog == 0 || self.backlog > i32::MAX as u32 {
            return wrong("backlog must be from 1 to 2^31 - 1");
        }
        Ok(())
    }

    /// Kernel memory of one shard's socket ring by io_uring_setup(2): entries of 64 bytes and their indices
    /// of 4, completions of 16. Both queues are powers of two.
    pub fn ring_bytes(&self) -> u64 {
        let submissions = u64::from(self.sq_entries.next_power_of_two());
        let completions = u64::from(self.cq_entries_of().next_power_of_two());
        submissions * (64 + 4) + completions * 16
    }

    /// Memory of one shard's receive buffers once each was used, with the ring that lends them.
    pub fn receive_buffers_bytes(&self) -> u64 {
        const ENTRY_BYTES: u64 = 16; // struct io_uring_buf
        u64::from(self.buffer_count_of()) * (u64::from(self.buffer_bytes) + ENTRY_BYTES)
    }

    /// Entries of one shard's completion queue.
    pub fn cq_entries_of(&self) -> u32 {
        let share = COMPLETIONS_MAX / u32::from(self.shards.max(1));
        let power_of_two = 1 << share.max(self.sq_entries * 2).ilog2();
        self.cq_entries.min(power_of_two)
    }

    /// Receive buffers of one shard.
    pub fn buffer_count_of(&self) -> u16 {
        let shards = self.shards.max(1);
        let of_a_core = u32::from(self.buffer_count) * u32::from(self.cores);
        let of_a_core = (of_a_core / u32::from(shards)).max(BUFFERS_PER_SHARD_MIN.into());
        let share = of_a_core.min(u32::from((BUFFERS_MAX / shards).max(BUFFERS_PER_SHARD_MIN)));
        let power_of_two = 1 << share.ilog2();
        self.buffer_count.min(power_of_two)
    }

    /// Messages that may wait from one shard to another.
    pub fn mesh_capacity_of(&self) -> u32 {
        let share = (MAIL_PER_SHARD_MAX / u32::from(self.shards)).max(MAIL_PER_PAIR_MIN);
        self.mesh_capacity.min(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert!(Config::default().check().is_ok());
    }

    #[test]
    fn each_bound_is_checked() {
        let broken: [fn(&mut Config); 7] = [
            |config| config.shards = 0,
            |config| config.shards = SHARDS_MAX + 1,
            |config| config.conns_per_shard_max = 0,
            |config| config.buffer_count = 3,
            |config| config.buffer_bytes = 0,
            |config| config.mesh_capacity = 0,
            |config| config.cq_entries = config.sq_entries - 1,
        ];
        for break_it in broken {
            let mut config = Config::default();
            break_it(&mut config);
            assert!(
                matches!(config.check(), Err(StartError::Config(_))),
                "{config:?}"
            );
        }
    }

    #[test]
    fn the_memory_of_a_shards_ring_and_buffers_is_known() {
        let config = Config {
            sq_entries: 1000,
            cq_entries: 4096,
            buffer_count: 4,
            buffer_bytes: 100,
            ..Config::default()
        };
        assert_eq!(config.ring_bytes(), 1024 * 68 + 4096 * 16);
        assert_eq!(config.receive_buffers_bytes(), 464);
    }

    /// Shards that have a core each.
    fn of_shards(shards: u16) -> Config {
        Config {
            shards,
            cores: shards,
            ..Config::default()
        }
    }

    #[test]
    fn many_shards_share_the_completions() {
        let each = |shards| of_shards(shards).cq_entries_of();
        assert_eq!((each(1), each(16), each(17)), (16_384, 16_384, 8192));
        assert_eq!((each(53), each(1024)), (4096, 2048));
    }

    #[test]
    fn many_shards_share_the_receive_buffers() {
        let each = |shards| of_shards(shards).buffer_count_of();
        assert_eq!((each(1), each(16), each(17)), (256, 256, 128));
        assert_eq!((each(53), each(1024)), (64, 32));
        let on_two = |shards| {
            let config = Config {
                cores: 2,
                ..of_shards(shards)
            };
            config.buffer_count_of()
        };
        assert_eq!((on_two(1), on_two(2), on_two(4)), (256, 256, 128));
        assert_eq!(on_two(53), 32, "shards that take turns");
        let few = Config {
            buffer_count: 4,
            ..Config::default()
        };
        assert_eq!(few.buffer_count_of(), 4, "never more than asked for");
    }

    #[test]
    fn many_shards_share_the_mesh() {
        let pair = |shards| of_shards(shards).mesh_capacity_of();
        assert_eq!(pair(2), 1024);
        assert_eq!(pair(16), 256);
        assert_eq!(pair(53), 77);
        assert_eq!(pair(1024), 64);
    }
}
