//! From the checked configuration to the settings of each crate below, in one place. Called on the control thread
//! at start, and on each shard's thread for the shard's own.

use std::net::SocketAddr;

use newim_cluster::ClusterConfig;
use newim_proto::ids::{BootId, ShardIndex};
use newim_store::embedded::EmbeddedConfig;
use newim_store::redis::RedisConfig;
use newim_store::{RetentionPolicy, StoreSettings};

use super::error::RunError;
use crate::config::{Config, RedisUrl, Zookeeper};

/// `listeners`: what every shard listens on.
pub fn runtime(config: &Config, listeners: Vec<SocketAddr>) -> newim_runtime::Config {
    newim_runtime::Config {
        shards: config.shards,
        listeners: listeners.into_iter().map(Into::into).collect(),
        conns_per_shard_max: config.limits.connections_per_shard_max,
        ..newim_runtime::Config::default()
    }
}

pub fn gateway(config: &Config, node: BootId, shard: ShardIndex) -> newim_gateway_core::Settings {
    let limits = &config.limits;
    newim_gateway_core::Settings {
        message_bytes_max: limits.message_bytes_max,
        echo_message_bytes_max: config.echo.then_some(limits.echo_message_bytes_max),
        outbox_bytes_max: limits.outbox_bytes_max,
        send_bytes_max: limits.send_bytes_max,
        upgrade_ms_max: limits.upgrade_ms_max,
        idle_ping_ms: limits.idle_ping_ms,
        pong_ms_max: limits.pong_ms_max,
        session_commands_max: limits.session_commands_max,
        commands_max: limits.commands_max,
        drain_spread_ms: config.drain.spread_ms,
        ..newim_gateway_core::Settings::new(node, shard, config.shards)
    }
}

pub fn chat(config: &Config, node: BootId, shard: ShardIndex) -> newim_chat_core::Settings {
    newim_chat_core::Settings::new(node, shard, config.shards)
}

fn store(config: &Config) -> StoreSettings {
    StoreSettings {
        retention: RetentionPolicy {
            messages_max: config.retention.messages_max,
            age_ms_max: config.retention.age_ms_max,
        },
        dedupe_window_ms: config.retention.dedupe_window_ms,
        ..StoreSettings::default()
    }
}

/// For the store on disk of a standalone node.
pub fn embedded(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        settings: store(config),
        ..EmbeddedConfig::default()
    }
}

/// For the gateways' store. Errors: the URL says nothing that a Redis can be reached by.
pub fn redis(config: &Config, url: &RedisUrl) -> Result<RedisConfig, RunError> {
    let mut redis =
        RedisConfig::parse(url.expose()).map_err(|error| RunError::RedisUrl(error.to_string()))?;
    redis.settings = store(config);
    Ok(redis)
}

pub fn cluster(zookeeper: &Zookeeper) -> ClusterConfig {
    ClusterConfig {
        session_timeout_ms: zookeeper.session_ms,
        ..ClusterConfig::new(zookeeper.servers.as_str())
    }
}
