//! Names to addresses, on the control thread: a shard never waits for a resolver. A shard that wants to connect
//! asks through a [`Resolver`]; a task looks the name up and tells all shards that asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use newim_gateway_core::driver::{GatewayControl, Resolved, Resolver};
use newim_proto::ids::ShardIndex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::controls::Teller;
use super::error::RunError;
use crate::limits::{LOOKUP_MS_MAX, LOOKUPS_WAITING_MAX};

/// The first address of `host:port`. Errors: the name doesn't resolve, or has no address.
pub async fn resolve(host: &str) -> Result<SocketAddr, RunError> {
    let failed = |error| RunError::Resolve {
        host: host.to_owned(),
        error,
    };
    let mut addrs = tokio::net::lookup_host(host).await.map_err(failed)?;
    addrs
        .next()
        .ok_or_else(|| failed(std::io::Error::other("it has no address")))
}

/// The questions of the shards, in the order they were asked.
pub struct Questions(mpsc::Receiver<(ShardIndex, Arc<str>)>);

/// The two ends of the road from the shards to the control thread. A shard has one question about a name at a
/// time, so their number is bounded by links and Redis connections.
pub fn resolver() -> (Resolver, Questions) {
    let (ask, questions) = mpsc::channel(LOOKUPS_WAITING_MAX);
    let resolver = Resolver::new(move |shard, name| {
        // Refused: too many wait, and the shard asks again after a pause; or the process is ending.
        let _ = ask.try_send((shard, name));
    });
    (resolver, Questions(questions))
}

impl Questions {
    /// Answers for as long as shards ask. Each name is looked up by a task of its own, so that a slow one holds
    /// up no other, and once for all shards that ask about it meanwhile.
    pub async fn answer(mut self, teller: Teller<GatewayControl>) {
        let mut askers: BTreeMap<Arc<str>, BTreeSet<ShardIndex>> = BTreeMap::new();
        let mut lookups = JoinSet::new();
        loop {
            tokio::select! {
                question = self.0.recv() => {
                    let Some((shard, name)) = question else { return };
                    let of_name = askers.entry(name.clone()).or_default();
                    if of_name.is_empty() {
                        lookups.spawn(look_up(name));
                    }
                    of_name.insert(shard);
                }
                Some(Ok(resolved)) = lookups.join_next() => {
                    for shard in askers.remove(&resolved.name).unwrap_or_default() {
                        let answer = GatewayControl::Resolved(resolved.clone());
                        if teller.to(shard).try_send(answer).is_err() {
                            // It asks again when nothing has come for a while.
                            tracing::warn!(shard = shard.0, "a shard takes no addresses");
                        }
                    }
                }
            }
        }
    }
}

async fn look_up(name: Arc<str>) -> Resolved {
    let limit = Duration::from_millis(LOOKUP_MS_MAX);
    let lookup = tokio::time::timeout(limit, tokio::net::lookup_host(&*name));
    let addrs = match lookup.await {
        Err(_) => Err(format!("no answer within {LOOKUP_MS_MAX} ms")),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(addrs)) => match addrs.collect::<Vec<_>>() {
            none if none.is_empty() => Err("it has no address".to_owned()),
            addrs => Ok(addrs),
        },
    };
    Resolved { name, addrs }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_answered_with_all_its_addresses_or_with_the_reason() {
        let resolved = look_up("localhost:6379".into()).await;
        let addrs = resolved.addrs.expect("every machine knows it");
        assert!(addrs.contains(&"127.0.0.1:6379".parse().expect("an address")));
        let resolved = look_up("newim.invalid:6379".into()).await;
        assert_eq!(&*resolved.name, "newim.invalid:6379");
        assert!(
            !resolved
                .addrs
                .expect_err("RFC 6761: it never has one")
                .is_empty()
        );
    }
}
