//! One ZooKeeper session: prepares the folders, keeps this node registered, watches the other nodes, and
//! publishes a table for every change. The member's task runs it on the control thread.
//!
//! A table is read after its watch is armed, and the events that precede a reply arrive before it
//! (one TCP stream), so no change is missed: either a reading shows it, or its event makes the next.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use newim_proto::backoff::Backoff;
use newim_proto::ids::BootId;
use newim_proto::routes::NodeInfo;
use newim_proto::znode::{
    CHATS_PATH, GATEWAYS_PATH, ROOT_PATH, SERVERS_PATH, SLOTS_PATH, SlotsInfo,
};
use tokio::time::Instant;
use zookeeper_client::{
    Acls, AddWatchMode, Client, CreateMode, CreateOptions, Error, EventType, MultiReadResult,
    MultiWriteError, PersistentWatcher, WatchedEvent,
};

use crate::census::{Census, NodeReading, Place, Reading, View, path_of, place_of};
use crate::limits::{PREDECESSOR_MARGIN, PREDECESSOR_SESSIONS};
use crate::member::{End, Member, Wish, Wishes, pause};
use crate::state::ClusterError;

pub(crate) const PERSISTENT: CreateOptions<'static> =
    CreateMode::Persistent.with_acls(Acls::anyone_all());
const EPHEMERAL: CreateOptions<'static> = CreateMode::Ephemeral.with_acls(Acls::anyone_all());

pub(crate) struct Session<'a> {
    member: &'a Member,
    client: Client,
    place: Place,
    wishes: Wishes,
    census: Census,
    watcher: Option<PersistentWatcher>,
    /// The watcher has seen every change since the census was last forgotten.
    armed: bool,
    /// The folders are there and the slots agree.
    prepared: bool,
    /// Instant since which another node's znode has stood where ours belongs.
    held_since: Option<Instant>,
}

/// Why a step was not finished.
enum Trouble {
    /// The connection is lost, which the state says already. Try again: the next step waits for the next
    /// connection.
    Lost,
    /// The step failed for this reason. Try again after a pause.
    Again(String),
    End(End),
}

/// The state of our own znode.
enum Registration {
    /// It says what it should.
    InForce,
    /// It was just written, or differs from what was read: read again.
    Touched,
    /// Another node's znode has its name.
    Held,
}

impl<'a> Session<'a> {
    pub fn new(client: Client, member: &'a Member) -> Session<'a> {
        Session {
            member,
            client,
            place: (member.me.role, member.me.name.clone()),
            wishes: member.wishes.clone(),
            census: Census::new(),
            watcher: None,
            armed: false,
            prepared: false,
            held_since: None,
        }
    }

    /// Runs until the session's end. While the connection is lost, requests wait for the next one; the caller
    /// makes sure that leaving doesn't.
    pub async fn run(&mut self) -> End {
        let config = &self.member.config;
        let mut backoff = Backoff::new(config.retry_ms_min, config.retry_ms_max);
        loop {
            let step = match self.wishes.take() {
                Wish::Leave => self.unregister().await,
                wish => self.step(wish).await,
            };
            match step {
                Ok(()) => {
                    backoff.succeeded();
                    self.wait().await;
                }
                Err(Trouble::End(end)) => return end,
                Err(again) => {
                    self.armed = false;
                    if let Trouble::Again(why) = again {
                        self.member.reporter.trouble(why);
                    }
                    pause(&mut backoff).await;
                }
            }
        }
    }

    /// Brings everything up to date: folders, table, our own znode.
    async fn step(&mut self, wish: Wish) -> Result<(), Trouble> {
        if !self.prepared {
            self.prepare().await?;
            self.prepared = true;
        }
        loop {
            let view = self.read().await?;
            self.member.tables.publish(&view);
            match self.register(&view, wish).await? {
                Registration::Touched => self.census.changed(self.place.clone()),
                Registration::Held => return Ok(()),
                Registration::InForce => {
                    self.member.reporter.registered();
                    self.member.fulfil.send_replace(wish);
                    return Ok(());
                }
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        if !self.census.is_stale() && self.armed {
            let held_until = self
                .held_since
                .map(|since| since + self.predecessor_limit());
            let watcher = self.watcher.as_mut().expect("armed");
            let event = tokio::select! {
                event = watcher.changed() => event,
                () = self.wishes.changed() => return,
                () = at(held_until) => return,
            };
            self.note(event);
        }
        // Nodes come and go in bursts: changes within a moment of each other become one table.
        tokio::time::sleep(Duration::from_millis(self.member.config.coalesce_ms)).await;
        self.note_waiting_events();
    }

    /// Makes the folders and the slots' node, where they are missing, and checks the slots.
    async fn prepare(&mut self) -> Result<(), Trouble> {
        for folder in [GATEWAYS_PATH, CHATS_PATH] {
            self.client
                .mkdir(folder, &PERSISTENT)
                .await
                .map_err(|error| trouble(error, folder))?;
        }
        self.agree_on_slots().await?;
        // A new session may be with a server that lags behind what the last one showed us.
        self.client
            .sync(ROOT_PATH)
            .await
            .map_err(|error| trouble(error, ROOT_PATH))
    }

    async fn agree_on_slots(&mut self) -> Result<(), Trouble> {
        let ours = SlotsInfo::OURS.to_json();
        let failed = |error| trouble(error, SLOTS_PATH);
        match self.client.create(SLOTS_PATH, &ours, &PERSISTENT).await {
            Ok(_) => return Ok(()),
            Err(Error::NodeExists) => {}
            Err(error) => return Err(failed(error)),
        }
        let (found, _) = self.client.get_data(SLOTS_PATH).await.map_err(failed)?;
        if SlotsInfo::from_json(&found) == Ok(SlotsInfo::OURS) {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mismatch = ClusterError::SlotsMismatch {
            found: text(&found),
            ours: text(&ours),
        };
        Err(Trouble::End(End::Refused(mismatch)))
    }

    /// Reads one consistent moment of the cluster, not older than this call.
    async fn read(&mut self) -> Result<View, Trouble> {
        loop {
            if !self.armed {
                self.arm().await?;
            }
            let asked = self.census.begin();
            let reading = self.read_once(&asked).await?;
            self.census.take(&asked, reading);
            self.note_waiting_events();
            if self.armed
                && let Some(view) = self.census.view()
            {
                return Ok(view);
            }
        }
    }

    /// Sets the watch anew and forgets what was read. Needed after each reconnect: changes meanwhile bring no
    /// events (ZOOKEEPER-4698), and zookeeper-client 0.11.2 doesn't re-arm persistent watches by itself
    /// (`resend_watches` sends SetWatches, which has no room for them, not SetWatches2).
    async fn arm(&mut self) -> Result<(), Trouble> {
        let watcher = self
            .client
            .watch(SERVERS_PATH, AddWatchMode::PersistentRecursive)
            .await;
        // The old one goes after the new one is there, or its removal would take both off the server.
        self.watcher = Some(watcher.map_err(|error| trouble(error, SERVERS_PATH))?);
        self.census.forget();
        self.armed = true;
        Ok(())
    }

    async fn read_once(&mut self, asked: &[Place]) -> Result<Reading, Trouble> {
        let failed = |error| trouble(error, CHATS_PATH);
        let results = {
            let mut reader = self.client.new_multi_reader();
            let mut add = || {
                reader.add_get_data(CHATS_PATH)?;
                reader.add_get_children(CHATS_PATH)?;
                reader.add_get_children(GATEWAYS_PATH)?;
                asked
                    .iter()
                    .try_for_each(|place| reader.add_get_data(&path_of(place)))
            };
            add().map_err(failed)?;
            reader.commit().await.map_err(failed)?
        };
        let mut results = results.into_iter();
        let folders = (results.next(), results.next(), results.next());
        let (
            Some(MultiReadResult::Data { stat, .. }),
            Some(MultiReadResult::Children { children: chats }),
            Some(MultiReadResult::Children { children: gateways }),
        ) = folders
        else {
            self.prepared = false; // somebody removed a folder: make it again
            return Err(Trouble::Again(format!(
                "{CHATS_PATH} or {GATEWAYS_PATH} can't be read"
            )));
        };
        let nodes = asked.iter().zip(results);
        let nodes =
            nodes.filter_map(|(place, result)| Some((place.clone(), node_reading(place, result)?)));
        Ok(Reading {
            routers_pzxid: stat.pzxid,
            chats,
            gateways,
            nodes: nodes.collect(),
        })
    }

    /// Brings our znode to what it should be.
    async fn register(&mut self, view: &View, wish: Wish) -> Result<Registration, Trouble> {
        let me = NodeInfo {
            draining: wish >= Wish::Drain,
            ..self.member.me.clone()
        };
        let path = path_of(&self.place);
        let data = me.to_json();
        let Some(found) = view.node(&self.place) else {
            self.held_since = None;
            return match self.client.create(&path, &data, &EPHEMERAL).await {
                Ok(_) | Err(Error::NodeExists) => Ok(Registration::Touched),
                Err(error) => Err(trouble(error, &path)),
            };
        };
        let boot_id = found.info.as_ref().ok().map(|info| info.boot_id);
        if found.owner == self.client.session_id().0 {
            if found.info.as_deref() == Ok(&me) {
                return Ok(Registration::InForce);
            }
            return match self.client.set_data(&path, &data, None).await {
                Ok(_) | Err(Error::NoNode) => Ok(Registration::Touched),
                Err(error) => Err(trouble(error, &path)),
            };
        }
        if boot_id == Some(me.boot_id) {
            return self.replace(&path, &data).await;
        }
        self.held(path, boot_id)
    }

    /// Replaces our own znode of a session that we lost and that the server has not expired yet: it would take
    /// the znode away with it later.
    async fn replace(&mut self, path: &str, data: &[u8]) -> Result<Registration, Trouble> {
        let mut writer = self.client.new_multi_writer();
        let added = writer
            .add_delete(path, None)
            .and_then(|()| writer.add_create(path, data, &EPHEMERAL));
        added.map_err(|error| trouble(error, path))?;
        match writer.commit().await {
            Ok(_) => Ok(Registration::Touched),
            // It vanished, or changed hands, in between.
            Err(MultiWriteError::OperationFailed {
                source: Error::NoNode | Error::NodeExists,
                ..
            }) => Ok(Registration::Touched),
            Err(MultiWriteError::OperationFailed { source, .. }) => Err(trouble(source, path)),
            Err(MultiWriteError::RequestFailed { source }) => Err(trouble(source, path)),
        }
    }

    /// Waits for the holder of our name to go. It is either a predecessor that died, whose znode goes with its
    /// session, or a second node that claims our address: only time tells.
    fn held(&mut self, path: String, boot_id: Option<BootId>) -> Result<Registration, Trouble> {
        let since = *self.held_since.get_or_insert_with(Instant::now);
        let limit = self.predecessor_limit();
        if since.elapsed() >= limit {
            let duplicate = ClusterError::DuplicateName { path, boot_id };
            return Err(Trouble::End(End::Refused(duplicate)));
        }
        let holder = boot_id.map_or("an unknown node".to_owned(), |id| format!("boot id {id}"));
        self.member.reporter.unregistered(format!(
            "{path} still belongs to {holder}; waiting at most {} ms for its session to end",
            limit.as_millis()
        ));
        Ok(Registration::Held)
    }

    fn predecessor_limit(&self) -> Duration {
        self.client.session_timeout() * PREDECESSOR_SESSIONS + PREDECESSOR_MARGIN
    }

    async fn unregister(&mut self) -> Result<(), Trouble> {
        let path = path_of(&self.place);
        match self.client.check_stat(&path).await {
            Ok(Some(stat)) if stat.ephemeral_owner == self.client.session_id().0 => {}
            Ok(_) => return Err(Trouble::End(End::Left)),
            Err(error) => return Err(trouble(error, &path)),
        }
        match self.client.delete(&path, None).await {
            Ok(()) | Err(Error::NoNode) => Err(Trouble::End(End::Left)),
            Err(error) => Err(trouble(error, &path)),
        }
    }

    fn note(&mut self, event: WatchedEvent) {
        match (event.event_type, place_of(&event.path)) {
            (EventType::Session, _) => {
                self.armed = false;
                // A paused ZooKeeper expires nobody: a predecessor's time starts again.
                self.held_since = None;
            }
            (EventType::NodeDeleted, Some(place)) => self.census.deleted(&place),
            (_, Some(place)) => self.census.changed(place),
            (_, None) => {} // the folders themselves: missing ones show in the next reading
        }
    }

    fn note_waiting_events(&mut self) {
        // Stops at a session event: after the last one of a session, the watcher panics.
        while self.armed
            && let Some(event) = self.watcher.as_mut().and_then(waiting)
        {
            self.note(event);
        }
    }
}

/// The next event, if it has arrived.
fn waiting(watcher: &mut PersistentWatcher) -> Option<WatchedEvent> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(watcher.changed()).poll(&mut context) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

/// Waits for the deadline; for ever, if there is none.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn node_reading(place: &Place, result: MultiReadResult) -> Option<NodeReading> {
    match result {
        MultiReadResult::Data { data, stat } => {
            let info = NodeInfo::from_json(place.0, &place.1, &data);
            let info = info.map(Arc::new).map_err(|error| error.to_string());
            if let Err(why) = &info {
                tracing::warn!("cluster: {} is left out: {why}", path_of(place));
            }
            Some(NodeReading {
                info,
                mzxid: stat.mzxid,
                owner: stat.ephemeral_owner,
            })
        }
        // It was created and went again before anybody listed it.
        MultiReadResult::Error { err: Error::NoNode } => None,
        MultiReadResult::Error { err } => {
            tracing::warn!("cluster: {} is left out: {err}", path_of(place));
            Some(NodeReading {
                info: Err(err.to_string()),
                mzxid: 0,
                owner: 0,
            })
        }
        other => Some(NodeReading {
            info: Err(format!("unexpected {other:?}")),
            mzxid: 0,
            owner: 0,
        }),
    }
}

fn trouble(error: Error, path: &str) -> Trouble {
    match error {
        Error::SessionExpired | Error::SessionMoved | Error::ClientClosed => {
            Trouble::End(End::Expired(error.to_string()))
        }
        Error::AuthFailed => Trouble::End(End::Refused(ClusterError::AuthFailed)),
        Error::Unimplemented => Trouble::End(End::Refused(ClusterError::TooOld)),
        Error::NoAuth => {
            let denied = ClusterError::NoPermission {
                path: path.to_owned(),
            };
            Trouble::End(End::Refused(denied))
        }
        Error::ConnectionLoss => Trouble::Lost,
        error => Trouble::Again(format!("{path}: {error}")),
    }
}
