//! This node's membership over its whole life: opens session after session, with pauses that grow, until the
//! node leaves or is refused. A task on the control thread, started by `Cluster::start`.

use std::time::Duration;

use newim_proto::backoff::Backoff;
use newim_proto::routes::NodeInfo;
use tokio::sync::watch;
use zookeeper_client::{Client, Error, SessionState, StateWatcher};

use crate::config::{ClusterConfig, Places};
use crate::session::{PERSISTENT, Session};
use crate::state::{ClusterError, ClusterState, Reporter};
use crate::tables::Tables;

/// What the process wants of its membership. A wish only ever goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Serve,
    Drain,
    Leave,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The session is gone on the server, or is to be given up; another one may serve.
    Expired(String),
    /// No session will do.
    Refused(ClusterError),
    /// This node left as wished, and its znode is gone.
    Left,
    /// This node left as wished, but ZooKeeper did not answer: the znode goes when the session expires there.
    Abandoned,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub config: ClusterConfig,
    pub me: NodeInfo,
    pub tables: Tables,
    pub reporter: Reporter,
    pub wishes: Wishes,
    pub fulfil: watch::Sender<Wish>,
}

impl Member {
    pub fn new(
        config: ClusterConfig,
        me: NodeInfo,
        tables: Tables,
        reporter: Reporter,
        wishes: watch::Receiver<Wish>,
        fulfil: watch::Sender<Wish>,
    ) -> Member {
        Member {
            config,
            me,
            tables,
            reporter,
            wishes: Wishes(wishes),
            fulfil,
        }
    }

    pub async fn run(self) {
        let end = self.live().await;
        let left = matches!(end, End::Left);
        self.reporter.ended(match end {
            End::Refused(error) => ClusterState::Refused(error),
            End::Left | End::Abandoned | End::Expired(_) => ClusterState::Left,
        });
        if left {
            // Last, so that a caller who waited for it finds the state to match.
            self.fulfil.send_replace(Wish::Leave);
        }
    }

    async fn live(&self) -> End {
        let places = match self.check() {
            Ok(places) => places,
            Err(error) => return End::Refused(error),
        };
        let mut backoff = Backoff::new(self.config.retry_ms_min, self.config.retry_ms_max);
        loop {
            let client = tokio::select! {
                connected = self.connect(&places) => connected,
                () = self.wishes.clone().until_leave() => return End::Left,
            };
            let why = match client {
                Ok(client) => {
                    backoff.succeeded();
                    match self.serve(client).await {
                        End::Expired(why) => why,
                        end => return end,
                    }
                }
                Err(Error::BadArguments(what)) => {
                    return End::Refused(ClusterError::BadAddress((*what).to_owned()));
                }
                Err(Error::AuthFailed) => return End::Refused(ClusterError::AuthFailed),
                Err(Error::NoHosts | Error::Timeout) => format!("no answer from {}", places.hosts),
                Err(error) => format!("{}: {error}", places.hosts),
            };
            self.reporter.without_session(why);
            tokio::select! {
                () = pause(&mut backoff) => {}
                () = self.wishes.clone().until_leave() => return End::Left,
            }
        }
    }

    fn check(&self) -> Result<Places, ClusterError> {
        let name = &self.me.name;
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_control) {
            return Err(ClusterError::BadName { name: name.clone() });
        }
        self.config.places()
    }

    /// Tries each server once. The pauses between tries, and the end of trying, are this file's business.
    async fn connect(&self, places: &Places) -> Result<Client, Error> {
        let client = Client::connector()
            .with_session_timeout(Duration::from_millis(self.config.session_timeout_ms))
            .with_fail_eagerly()
            .connect(&places.hosts)
            .await?;
        let Some(chroot) = &places.chroot else {
            return Ok(client);
        };
        client.mkdir(chroot, &PERSISTENT).await?;
        client
            .chroot(chroot.as_str())
            .map_err(|_| Error::BadArguments(&"the chroot is no path"))
    }

    async fn serve(&self, client: Client) -> End {
        let mut states = client.state_watcher();
        match client.state() {
            SessionState::SyncConnected => self.reporter.link_up(),
            _ => self.reporter.link_lost(),
        }
        let mut session = Session::new(client, self);
        let limit = Duration::from_millis(self.config.command_ms_max);
        let end = tokio::select! {
            end = session.run() => end,
            end = follow(&mut states, &self.reporter) => end,
            () = self.wishes.clone().until_leave_overdue(limit) => End::Abandoned,
        };
        drop(session); // with its client, which closes the ZooKeeper session
        if matches!(end, End::Left) {
            // The process may end right after us: let the goodbye reach the server first.
            let _ = tokio::time::timeout(limit, until_terminated(states)).await;
        }
        end
    }
}

/// The pause before the next attempt. Each node draws its own, so that a fleet that lost its ZooKeeper doesn't
/// come back in one instant.
pub(crate) async fn pause(backoff: &mut Backoff) {
    let pause_ms = backoff.failed(fastrand::u64(..));
    tokio::time::sleep(Duration::from_millis(pause_ms)).await;
}

/// Reports when the connection is lost and when it is back; returns when the session is over.
async fn follow(states: &mut StateWatcher, reporter: &Reporter) -> End {
    loop {
        match states.changed().await {
            SessionState::SyncConnected => reporter.link_up(),
            SessionState::Disconnected | SessionState::ConnectedReadOnly => reporter.link_lost(),
            SessionState::AuthFailed => return End::Refused(ClusterError::AuthFailed),
            SessionState::Expired => return End::Expired("the session expired".to_owned()),
            SessionState::Closed => return End::Expired("the session was closed".to_owned()),
        }
    }
}

async fn until_terminated(mut states: StateWatcher) {
    while !states.changed().await.is_terminated() {}
}

/// The process' wishes as they come. A dropped `Cluster` wishes to leave.
#[derive(Clone, Debug)]
pub(crate) struct Wishes(watch::Receiver<Wish>);

impl Wishes {
    pub fn take(&mut self) -> Wish {
        let wish = *self.0.borrow_and_update();
        if self.0.has_changed().is_err() {
            Wish::Leave
        } else {
            wish
        }
    }

    /// Waits for a wish that `take` has not returned yet.
    pub async fn changed(&mut self) {
        // An error says that the `Cluster` was dropped, which `take` turns into a wish.
        let _ = self.0.changed().await;
    }

    async fn until_leave(mut self) {
        let _ = self.0.wait_for(|wish| *wish == Wish::Leave).await;
    }

    async fn until_leave_overdue(self, limit: Duration) {
        self.until_leave().await;
        tokio::time::sleep(limit).await;
    }
}
