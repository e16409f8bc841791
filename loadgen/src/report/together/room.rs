//! The znodes of a run: entering, seeing the others, writing, reading, tidying up. Holds the ZooKeeper
//! session. Main thread; used by `Together`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zookeeper_client::{
    Acls, Client, CreateMode, CreateOptions, Error, OneshotWatcher, StateWatcher,
};

use super::{Config, TogetherError};
use crate::limits::{ENTER_TRIES_MAX, GOODBYE_MAX};

const PERSISTENT: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
const NUMBERED: CreateOptions<'static> =
    CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
const RUNS: &str = "/newim/loadgen";
/// Folders and single znodes of a run, which are removed with it.
const FOLDERS: [&str; 4] = ["members", "ready", "reports", "done"];
const SINGLES: [&str; 4] = ["roster", "start", "merged", "collector"];
/// Interval at which deadlines are checked; changes are told by watches.
const RECHECK: Duration = Duration::from_millis(500);

/// A process of the roster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member {
    pub name: String,
    pub label: String,
}

/// The children of a folder at one moment, and the watch that tells of the next change.
pub(super) struct Watched {
    pub names: Vec<String>,
    pub watcher: OneshotWatcher,
}

pub(super) struct Room {
    client: Client,
    address: String,
    session_timeout: Duration,
    root: String,
    label: String,
    me: String,
}

impl Room {
    pub async fn enter(config: &Config) -> Result<Room, TogetherError> {
        let session_timeout = Duration::from_millis(config.session_timeout_ms);
        let client = connect(&config.zookeeper, session_timeout).await?;
        let mut room = Room {
            client,
            address: config.zookeeper.clone(),
            session_timeout,
            root: format!("{RUNS}/{}", config.run),
            label: config.label.clone(),
            me: String::new(),
        };
        room.remove_dead_run().await?;
        room.register().await?;
        Ok(room)
    }

    /// Name of this process's znode among the members.
    pub fn me(&self) -> &str {
        &self.me
    }

    fn path(&self, below: &str) -> String {
        format!("{}/{below}", self.root)
    }

    /// Removes what a run of the same name left behind when all its processes died.
    async fn remove_dead_run(&self) -> Result<(), TogetherError> {
        let is_alive = match self.client.list_children(&self.path("members")).await {
            Ok(members) => !members.is_empty(),
            Err(Error::NoNode) => false,
            Err(error) => return Err(failed("members")(error)),
        };
        if is_alive || self.read("roster").await?.is_none() {
            return Ok(());
        }
        self.remove_all_but_members().await
    }

    async fn register(&mut self) -> Result<(), TogetherError> {
        let path = self.path("members/m-");
        for _ in 0..ENTER_TRIES_MAX {
            for folder in FOLDERS {
                match self.client.mkdir(&self.path(folder), &PERSISTENT).await {
                    Ok(()) | Err(Error::NoNode) => {}
                    Err(error) => return Err(failed(folder)(error)),
                }
            }
            match self
                .client
                .create(&path, self.label.as_bytes(), &NUMBERED)
                .await
            {
                Ok((_, sequence)) => {
                    self.me = format!("m-{sequence}");
                    return Ok(());
                }
                Err(Error::NoNode) => {} // removed in between
                Err(error) => return Err(failed(&path)(error)),
            }
        }
        Err(failed(&path)(Error::NoNode))
    }

    /// The first `of` members by sequence. Whoever sees them first writes the roster for all.
    pub async fn agree_on_roster(
        &self,
        mut names: Vec<String>,
        of: u32,
    ) -> Result<Vec<Member>, TogetherError> {
        names.sort();
        names.truncate(of as usize);
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let label = self
                .read(&format!("members/{name}"))
                .await?
                .unwrap_or_default();
            members.push(Member {
                label: String::from_utf8_lossy(&label).into_owned(),
                name,
            });
        }
        let ours = serde_json::to_vec(&members).expect("strings serialize");
        self.write_once("roster", &ours).await?;
        let agreed = self.read("roster").await?.unwrap_or(ours);
        serde_json::from_slice(&agreed).map_err(|error| TogetherError::Strange {
            path: self.path("roster"),
            why: error.to_string(),
        })
    }

    pub async fn watch(&self, folder: &str) -> Result<Watched, TogetherError> {
        let path = self.path(folder);
        let (names, watcher) = self
            .client
            .list_and_watch_children(&path)
            .await
            .map_err(failed(&path))?;
        Ok(Watched { names, watcher })
    }

    /// Data of a znode. None: it doesn't exist.
    pub async fn read(&self, below: &str) -> Result<Option<Vec<u8>>, TogetherError> {
        match self.client.get_data(&self.path(below)).await {
            Ok((data, _)) => Ok(Some(data)),
            Err(Error::NoNode) => Ok(None),
            Err(error) => Err(failed(&self.path(below))(error)),
        }
    }

    /// Writes a znode unless it exists, and returns its data: the first writer wins.
    pub async fn write_once(&self, below: &str, data: &[u8]) -> Result<(), TogetherError> {
        self.create(below, data, &PERSISTENT).await.map(drop)
    }

    /// Writes `<folder>/<index>`. Written again after a lost connection, it is the same.
    pub async fn put(&self, folder: &str, index: u32, data: &[u8]) -> Result<(), TogetherError> {
        self.write_once(&format!("{folder}/{index}"), data).await
    }

    /// Tries to become the collector. True: this process is it, until its session ends.
    pub async fn claim_collection(&self) -> Result<bool, TogetherError> {
        if self
            .create("collector", self.me.as_bytes(), &EPHEMERAL)
            .await?
        {
            return Ok(true);
        }
        Ok(self.read("collector").await?.as_deref() == Some(self.me.as_bytes()))
    }

    async fn create(
        &self,
        below: &str,
        data: &[u8],
        options: &CreateOptions<'_>,
    ) -> Result<bool, TogetherError> {
        let path = self.path(below);
        match self.client.create(&path, data, options).await {
            Ok(_) => Ok(true),
            Err(Error::NodeExists) => Ok(false),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Recovers from a connection error: waits for the connection, or opens another session and becomes a
    /// member again. The old session's znode would vanish later, so it is removed now.
    pub async fn recover(&mut self) -> Result<(), TogetherError> {
        if !self.client.state().is_terminated() {
            let mut states = self.client.state_watcher();
            let _ = tokio::time::timeout(self.session_timeout, until_connected(&mut states)).await;
        }
        if !self.client.state().is_terminated() {
            return Ok(());
        }
        self.client = connect(&self.address, self.session_timeout).await?;
        let path = self.path(&format!("members/{}", self.me));
        match self.client.delete(&path, None).await {
            Ok(()) | Err(Error::NoNode) => {}
            Err(error) => return Err(failed(&path)(error)),
        }
        let member = self
            .client
            .create(&path, self.label.as_bytes(), &EPHEMERAL)
            .await;
        match member {
            Ok(_) | Err(Error::NodeExists | Error::NoNode) => Ok(()), // without a folder the run is merged
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Leaves before the start. The last one to leave removes the folders.
    pub async fn leave_unstarted(self) {
        let _ = self
            .client
            .delete(&self.path(&format!("members/{}", self.me)), None)
            .await;
        if let Ok(members) = self.client.list_children(&self.path("members")).await
            && members.is_empty()
        {
            let _ = self.remove_all().await;
        }
        self.leave().await;
    }

    /// Ends the session and with it the membership. The server knows when this returns.
    pub async fn leave(self) {
        let mut states = self.client.state_watcher();
        drop(self.client);
        let terminated = async { while !states.changed().await.is_terminated() {} };
        let _ = tokio::time::timeout(GOODBYE_MAX, terminated).await; // else it expires by itself
    }

    /// Removes the whole run, and the folder of runs if it was the last. A process that enters meanwhile
    /// makes the folders again.
    pub async fn remove_all(&self) -> Result<(), TogetherError> {
        self.remove_all_but_members().await?;
        self.remove_children("members").await?;
        for folder in FOLDERS {
            self.remove(&self.path(folder)).await?;
        }
        self.remove(&self.root).await?;
        self.remove(RUNS).await
    }

    async fn remove_all_but_members(&self) -> Result<(), TogetherError> {
        for index in self.children("reports").await? {
            self.remove_children(&format!("reports/{index}")).await?;
        }
        for folder in ["reports", "ready", "done"] {
            self.remove_children(folder).await?;
        }
        for single in SINGLES {
            self.remove(&self.path(single)).await?;
        }
        Ok(())
    }

    async fn children(&self, folder: &str) -> Result<Vec<String>, TogetherError> {
        match self.client.list_children(&self.path(folder)).await {
            Ok(names) => Ok(names),
            Err(Error::NoNode) => Ok(Vec::new()),
            Err(error) => Err(failed(&self.path(folder))(error)),
        }
    }

    async fn remove_children(&self, folder: &str) -> Result<(), TogetherError> {
        for name in self.children(folder).await? {
            self.remove(&self.path(&format!("{folder}/{name}"))).await?;
        }
        Ok(())
    }

    /// It is gone already, or has somebody else's children: both are fine.
    async fn remove(&self, path: &str) -> Result<(), TogetherError> {
        match self.client.delete(path, None).await {
            Ok(()) | Err(Error::NoNode | Error::NotEmpty) => Ok(()),
            Err(error) => Err(failed(path)(error)),
        }
    }
}

async fn until_connected(states: &mut StateWatcher) {
    use zookeeper_client::SessionState::SyncConnected;
    let mut state = states.state();
    while state != SyncConnected && !state.is_terminated() {
        state = states.changed().await;
    }
}

async fn connect(address: &str, session_timeout: Duration) -> Result<Client, TogetherError> {
    let (hosts, chroot) = address.split_at(address.find('/').unwrap_or(address.len()));
    let chroot = chroot.trim_end_matches('/');
    let unreachable = |error: Error| match error {
        Error::BadArguments(why) => TogetherError::BadAddress(format!("{address:?}: {why}")),
        error => TogetherError::Unreachable {
            address: hosts.to_owned(),
            why: error.to_string(),
        },
    };
    if hosts.trim().is_empty() {
        return Err(TogetherError::BadAddress(format!(
            "{address:?} does not name a server; write HOST:PORT"
        )));
    }
    let connector = Client::connector()
        .with_session_timeout(session_timeout)
        .with_fail_eagerly();
    let client = connector.connect(hosts).await.map_err(unreachable)?;
    if chroot.is_empty() {
        return Ok(client);
    }
    client
        .mkdir(chroot, &PERSISTENT)
        .await
        .map_err(unreachable)?;
    let moved = client.chroot(chroot.to_owned());
    moved.map_err(|_| {
        TogetherError::BadAddress(format!("{chroot:?} is not a chroot; it begins with /"))
    })
}

fn failed(path: &str) -> impl Fn(Error) -> TogetherError {
    move |source| TogetherError::ZooKeeper {
        path: path.to_owned(),
        source,
    }
}

/// Waits until either folder changes, or deadlines are to be checked.
pub(super) async fn change(first: OneshotWatcher, second: OneshotWatcher, deadline: Instant) {
    let limit = deadline.min(Instant::now() + RECHECK);
    tokio::select! {
        _ = first.changed() => {}
        _ = second.changed() => {}
        () = tokio::time::sleep_until(limit) => {}
    }
}

pub(super) async fn change_of(watcher: OneshotWatcher, deadline: Instant) {
    let limit = deadline.min(Instant::now() + RECHECK);
    let _ = tokio::time::timeout_at(limit, watcher.changed()).await;
}
