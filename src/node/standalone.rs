//! `newim standalone`: everything in one process. Each core's thread holds a gateway shard and the chat
//! shard of the same index; the link between them is a queue. The log is on disk.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use newim_chat_core::{ChatShard, LinkId};
use newim_cluster::Cluster;
use newim_gateway_core::LinkInput;
use newim_gateway_core::Mail;
use newim_gateway_core::driver::{
    GatewayControl, GatewayDriver, LocalLink, Resolver, SharedSnapshot, StorePort,
};
use newim_proto::ids::{self, BootId, ShardIndex};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{Hello, LINK_VERSION, LinkMessage};
use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::Role;
use newim_runtime::{Driver, Event, Io};
use newim_store::embedded::{EmbeddedConfig, EmbeddedQueue};
use newim_store::{RetentionPolicy, StoreSettings};

use super::counts::ChatCell;
use super::error::RunError;
use super::gateway::{gateway_settings, runtime_config, serve};
use super::lifecycle::{Shards, Teller, bind_admin, hold_exchange, say_kernel, until_drain};
use super::memory::FixedMemory;
use super::view::{View, ViewParts};
use super::{identity, member, view};
use crate::admin;
use crate::config::Config;
use crate::signals::DrainSignal;

/// A shard whose control queue stays full for so long is stuck: its replies are given up, and said.
const REPLY_MS_MAX: u64 = 10_000;

pub async fn run(config: &Config, listen: SocketAddr, data_dir: &Path) -> Result<(), RunError> {
    let mut signal = DrainSignal::install().map_err(RunError::Signals)?;
    let boot_id = identity::boot_id();
    let (admin_listener, admin_addr) = bind_admin(config.admin)?;
    let exchange = hold_exchange(config.exchange).await?;
    let store = EmbeddedQueue::new(embedded_config(config));

    let cells: Vec<ShardCells> = (0..config.shards).map(|_| ShardCells::default()).collect();
    let runtime = {
        let (handle, cells, shard_config) = (store.handle(), cells.clone(), config.clone());
        let make = move |shard: ShardIndex| {
            let cells = &cells[usize::from(shard.0)];
            let mut settings = gateway_settings(&shard_config, boot_id, shard);
            settings.local_chat = true;
            let port = StorePort::embedded(handle.clone(), shard);
            let (name, resolver) = (Arc::default(), Resolver::none());
            let cell = cells.gateway.clone();
            let gateway = GatewayDriver::new(settings, port, name, resolver, cell);
            StandaloneShard::new(
                gateway,
                boot_id,
                shard,
                shard_config.shards,
                cells.chat.clone(),
            )
        };
        newim_runtime::start(runtime_config(config, vec![listen]), make)
            .map_err(RunError::Shards)?
    };
    say_kernel(&runtime);
    let ws = runtime.addrs[0];
    let fixed = FixedMemory::of(&runtime_config(config, Vec::new()), &runtime.kernel);
    let teller = Teller::new(&runtime);
    let mut shards = Shards::watch(runtime).map_err(RunError::ControlThread)?;
    let name = identity::exchange_name(config, exchange, None).await?;
    // After all else that can refuse the start, which then leaves no files behind.
    let store = store.open(data_dir).map_err(RunError::Store)?;
    let thread = store
        .on_quiet(newim_runtime::give_back_all_memory)
        .start(replier(teller.clone()))
        .map_err(RunError::StoreThread)?;

    let gateway = identity::describe(
        config,
        boot_id,
        Role::Gateway,
        Some(ws),
        name.clone(),
        admin_addr,
    );
    let chat = identity::describe(config, boot_id, Role::Chat, None, name, admin_addr);
    let cluster = Cluster::embedded(vec![gateway.clone(), chat]);
    let view = Arc::new(View::new(ViewParts {
        boot_id,
        cluster: view::Membership::Embedded,
        routes: cluster.routes.clone(),
        gateways: cells.iter().map(|c| c.gateway.clone()).collect(),
        chats: cells.iter().map(|c| c.chat.clone()).collect(),
        fixed: fixed.with_store_cache(embedded_config(config).page_cache_bytes as u64),
    }));
    tokio::spawn(admin::serve(admin_listener, view.clone()));

    let snapshots: Vec<SharedSnapshot> = cells.iter().map(|cell| cell.gateway.clone()).collect();
    let follow = member::follow(
        &cluster,
        &*view,
        async |routes| teller.tell(|| GatewayControl::Routes(routes.clone())).await,
        async || {
            serve(&teller, &snapshots).await;
            identity::say_ready(&gateway, Some(ws), exchange);
        },
    );
    until_drain(&mut shards, &mut signal, follow).await?;

    view.set_draining();
    teller.tell(|| GatewayControl::Drain).await;
    let is_drained = || cells.iter().all(|cell| cell.gateway.read().drained);
    let drained = shards
        .drained(config.drain.ms_max, is_drained, &teller, || {
            GatewayControl::Stop
        })
        .await;
    drop(thread); // answers what was submitted, and closes the file
    drained
}

/// Where one thread puts what it shows of itself.
#[derive(Clone, Default)]
struct ShardCells {
    gateway: SharedSnapshot,
    chat: ChatCell,
}

fn embedded_config(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        settings: store_settings(config),
        ..EmbeddedConfig::default()
    }
}

pub fn store_settings(config: &Config) -> StoreSettings {
    StoreSettings {
        retention: RetentionPolicy {
            messages_max: config.retention.messages_max,
            age_ms_max: config.retention.age_ms_max,
        },
        dedupe_window_ms: config.retention.dedupe_window_ms,
        ..StoreSettings::default()
    }
}

/// Brings the store's replies to their shards, from the store's thread.
fn replier(
    teller: Teller<GatewayControl>,
) -> impl Fn(ShardIndex, Vec<(StoreToken, StoreResult)>) + Send {
    move |shard, replies| {
        let deadline = Instant::now() + Duration::from_millis(REPLY_MS_MAX);
        if teller
            .to(shard)
            .send_by(GatewayControl::Stored(replies), deadline)
            .is_err()
        {
            tracing::error!(shard = shard.0, "a shard takes no replies of the store");
        }
    }
}

/// One thread: a gateway shard, a chat shard, and the queue between them.
struct StandaloneShard {
    gateway: GatewayDriver,
    chat: ChatShard,
    /// The chat shard's, to the gateway.
    me: ids::ChatShard,
    link: LinkId,
    cell: ChatCell,
    /// Empty between calls; kept for its memory.
    said: Vec<LocalLink>,
    chat_table_bytes: u64,
    /// The gateway's, when the chat shard was measured with it.
    measured_us: u64,
}

impl StandaloneShard {
    fn new(
        gateway: GatewayDriver,
        node: BootId,
        shard: ShardIndex,
        shards: u16,
        cell: ChatCell,
    ) -> StandaloneShard {
        StandaloneShard {
            gateway,
            chat: ChatShard::new(newim_chat_core::Settings::new(node, shard, shards)),
            me: ids::ChatShard { node, shard },
            link: LinkId {
                index: 0,
                generation: 0,
            },
            cell,
            said: Vec::new(),
            chat_table_bytes: 0,
            measured_us: 0,
        }
    }

    /// What the gateway says to the chat shard, as if it came over a wire.
    fn chat_hears(&mut self, io: &Io<'_, Mail>, said: LocalLink) {
        let (now, link) = (io.now(), self.link);
        match said {
            LocalLink::Send(message) => self
                .chat
                .handle_input(now, newim_chat_core::Input::LinkMessage { link, message }),
            LocalLink::Open(chat) => {
                self.chat
                    .handle_input(now, newim_chat_core::Input::LinkOpened { link });
                let hello = Hello {
                    version: LINK_VERSION,
                    node: "local".to_owned(),
                    boot_id: chat.node,
                    chat_boot_id: chat.node,
                    chat_shard: chat.shard,
                    slot_count: SLOT_COUNT,
                };
                let message = LinkMessage::Hello(hello);
                self.chat
                    .handle_input(now, newim_chat_core::Input::LinkMessage { link, message });
            }
        }
    }

    /// And back. True if anything was said.
    fn gateway_hears(&mut self, io: &mut Io<'_, Mail>) -> bool {
        let mut said = false;
        while let Some(output) = self.chat.poll_output() {
            said = true;
            let input = match output {
                newim_chat_core::Output::Send {
                    message: LinkMessage::Welcome(_),
                    ..
                } => LinkInput::Up,
                newim_chat_core::Output::Send { message, .. } => LinkInput::Message(message),
                newim_chat_core::Output::Close { why, .. } => {
                    tracing::error!(%why, shard = self.me.shard.0, "the chat shard refused its own gateway");
                    LinkInput::Down
                }
                newim_chat_core::Output::HandOver { .. } => {
                    unreachable!("the Hello named this very shard")
                }
            };
            self.gateway.local_link(io, self.me, input);
        }
        said
    }
}

impl Driver for StandaloneShard {
    type Mail = Mail;
    type Control = GatewayControl;

    fn started(&mut self, _io: &mut Io<'_, Mail>) {}

    fn event(&mut self, io: &mut Io<'_, Mail>, event: Event<'_, Mail, GatewayControl>) {
        if let Event::Control(GatewayControl::Routes(routes)) = &event {
            let input = newim_chat_core::Input::Routes(routes.clone());
            self.chat.handle_input(io.now(), input);
        }
        self.gateway.event(io, event);
    }

    fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.gateway.begin(io);
        if self
            .chat
            .poll_timeout()
            .is_some_and(|due| due <= io.now().mono_us)
        {
            self.chat.handle_timeout(io.now());
        }
        loop {
            self.gateway.work(io);
            let mut said = std::mem::take(&mut self.said);
            self.gateway.take_local(&mut said);
            for said in said.drain(..) {
                self.chat_hears(io, said);
            }
            self.said = said;
            if !self.gateway_hears(io) {
                break;
            }
        }
        self.gateway.finish(io);
        if self.measured_us != self.gateway.measured_us() {
            self.measured_us = self.gateway.measured_us();
            self.chat_table_bytes = self.chat.table_bytes();
        }
        self.cell
            .publish(|| (self.chat.counters(), self.chat_table_bytes));
    }

    fn next_deadline(&self) -> Option<u64> {
        let deadlines = [self.gateway.next_deadline(), self.chat.poll_timeout()];
        deadlines.into_iter().flatten().min()
    }
}
