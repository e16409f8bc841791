//! The census of the living nodes, as far as it was read. Pure: told of events and replies, it says what to read
//! next, and when its knowledge is one consistent moment of ZooKeeper. The session owns it, on the control
//! thread.
//!
//! Each read is one multi-read, atomic on the server: both folders' children, the routers' pzxid,
//! and the data of only those nodes whose data isn't known. So a burst of n joins costs n reads of
//! data, however often the folders are listed meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use newim_proto::routes::{NodeInfo, Role};

use crate::limits::READS_MAX;

/// A node's place: its folder and its znode's name.
pub(crate) type Place = (Role, String);

/// The node that a path names; None for the folders and for anything deeper.
pub(crate) fn place_of(path: &str) -> Option<Place> {
    let (folder, name) = path.rsplit_once('/')?;
    let role = [Role::Gateway, Role::Chat]
        .into_iter()
        .find(|role| role.parent_path() == folder)?;
    Some((role, name.to_owned()))
}

pub(crate) fn path_of((role, name): &Place) -> String {
    format!("{}/{name}", role.parent_path())
}

/// The result of one multi-read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Transaction in which a chat node last came or went: pzxid of the routers' folder.
    pub routers_pzxid: i64,
    pub chats: Vec<String>,
    pub gateways: Vec<String>,
    pub nodes: Vec<(Place, NodeReading)>,
}

/// The data of one node. A node that was gone is not in a reading.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeReading {
    /// Error: why the data is no NodeInfo. Such a node is left out of every table.
    pub info: Result<Arc<NodeInfo>, String>,
    pub mzxid: i64,
    /// The session that holds the znode.
    pub owner: i64,
}

/// One consistent moment of the cluster.
#[derive(Debug)]
pub(crate) struct View {
    /// The last transaction that changed the set of chat nodes or the data of one.
    pub epoch: u64,
    nodes: HashMap<Place, NodeReading>,
}

#[derive(Debug, Default)]
pub(crate) struct Census {
    known: HashMap<Place, NodeReading>,
    /// Nodes that were created or changed: read together with the next list of the folders, to save a round
    /// trip.
    wanted: HashSet<Place>,
    /// Nodes in the folders, as of the last reading.
    present: HashSet<Place>,
    routers_pzxid: i64,
    /// An event came since the last reading was begun.
    stale: bool,
}

impl Census {
    pub fn new() -> Census {
        Census {
            stale: true,
            ..Census::default()
        }
    }

    /// Events may have been missed: everything is to be read again.
    pub fn forget(&mut self) {
        *self = Census::new();
    }

    /// The node at `place` was created or its data changed.
    pub fn changed(&mut self, place: Place) {
        self.stale = true;
        self.known.remove(&place);
        self.wanted.insert(place);
    }

    pub fn deleted(&mut self, place: &Place) {
        self.stale = true;
        self.known.remove(place);
        self.wanted.remove(place);
    }

    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// Begins a reading, and returns the nodes whose data to ask for. Events from now on make the census stale
    /// again.
    pub fn begin(&mut self) -> Vec<Place> {
        self.stale = false;
        self.wanted.iter().take(READS_MAX).cloned().collect()
    }

    /// Ends a reading. To be followed by the events that came before the reply, and then by `view`.
    pub fn take(&mut self, asked: &[Place], reading: Reading) {
        for place in asked {
            self.wanted.remove(place);
        }
        self.routers_pzxid = reading.routers_pzxid;
        let chats = reading.chats.into_iter().map(|name| (Role::Chat, name));
        let gateways = reading
            .gateways
            .into_iter()
            .map(|name| (Role::Gateway, name));
        self.present = chats.chain(gateways).collect();
        self.known.extend(reading.nodes);
        self.known.retain(|place, _| self.present.contains(place));
        self.wanted.retain(|place| self.present.contains(place));
    }

    /// The moment of the last reading. None when data is missing for it, or has changed since it was read,
    /// perhaps before that moment: then read again.
    pub fn view(&mut self) -> Option<View> {
        let unknown = self
            .present
            .iter()
            .filter(|place| !self.known.contains_key(*place));
        self.wanted.extend(unknown.cloned());
        if self.present.iter().any(|place| self.wanted.contains(place)) {
            self.stale = true;
            return None;
        }
        let chats = self
            .known
            .iter()
            .filter(|((role, _), _)| *role == Role::Chat);
        let zxid = chats
            .map(|(_, node)| node.mzxid)
            .fold(self.routers_pzxid, i64::max);
        let epoch = u64::try_from(zxid).unwrap_or(0);
        Some(View {
            epoch,
            nodes: self.known.clone(),
        })
    }
}

impl View {
    pub fn node(&self, place: &Place) -> Option<&NodeReading> {
        self.nodes.get(place)
    }

    /// The chat nodes, sorted by name.
    pub fn infos_of_chats(&self) -> Vec<Arc<NodeInfo>> {
        self.infos_of(Role::Chat)
    }

    /// The gateways, sorted by name.
    pub fn infos_of_gateways(&self) -> Vec<Arc<NodeInfo>> {
        self.infos_of(Role::Gateway)
    }

    fn infos_of(&self, role: Role) -> Vec<Arc<NodeInfo>> {
        let of_role = self.nodes.iter().filter(|((of, _), _)| *of == role);
        let mut infos: Vec<_> = of_role
            .filter_map(|(_, node)| node.info.clone().ok())
            .collect();
        infos.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        infos
    }
}

#[cfg(test)]
mod tests {
    use newim_proto::ids::BootId;

    use super::*;

    /// A ZooKeeper in memory, read as the session reads the real one.
    #[derive(Default)]
    struct Server {
        zxid: i64,
        routers_pzxid: i64,
        nodes: HashMap<Place, NodeReading>,
        data_reads: usize,
    }

    fn place(role: Role, name: &str) -> Place {
        (role, name.to_owned())
    }

    fn info(role: Role, name: &str, draining: bool) -> Arc<NodeInfo> {
        Arc::new(NodeInfo {
            name: name.to_owned(),
            role,
            boot_id: BootId(1),
            ws: None,
            exchange: name.to_owned(),
            admin: name.to_owned(),
            shards: 1,
            version: String::new(),
            draining,
        })
    }

    impl Server {
        fn put(&mut self, role: Role, name: &str, draining: bool) -> Place {
            self.zxid += 1;
            let node = NodeReading {
                info: Ok(info(role, name, draining)),
                mzxid: self.zxid,
                owner: 1,
            };
            let created = self.nodes.insert(place(role, name), node).is_none();
            if created && role == Role::Chat {
                self.routers_pzxid = self.zxid;
            }
            place(role, name)
        }

        fn remove(&mut self, gone: &Place) {
            self.zxid += 1;
            self.nodes.remove(gone).expect("it is there");
            if gone.0 == Role::Chat {
                self.routers_pzxid = self.zxid;
            }
        }

        fn read(&mut self, asked: &[Place]) -> Reading {
            self.data_reads += asked.len();
            let names = |of| {
                let of_role = self.nodes.keys().filter(move |(role, _)| *role == of);
                of_role.map(|(_, name)| name.clone()).collect()
            };
            let nodes = asked
                .iter()
                .filter_map(|at| Some((at.clone(), self.nodes.get(at)?.clone())));
            Reading {
                routers_pzxid: self.routers_pzxid,
                chats: names(Role::Chat),
                gateways: names(Role::Gateway),
                nodes: nodes.collect(),
            }
        }
    }

    fn read_once(census: &mut Census, server: &mut Server) -> Option<View> {
        let asked = census.begin();
        let reading = server.read(&asked);
        census.take(&asked, reading);
        census.view()
    }

    #[test]
    fn a_node_is_found_again_by_its_path_and_other_paths_name_none() {
        for role in [Role::Gateway, Role::Chat] {
            let place = place(role, "10.0.0.1:8181");
            assert_eq!(place_of(&path_of(&place)), Some(place));
            assert_eq!(place_of(role.parent_path()), None);
        }
        for other in [
            "",
            "/newim",
            "/newim/slots",
            "/newim/servers/routers/a:1/x",
            "/servers/routers/a:1",
        ] {
            assert_eq!(place_of(other), None, "{other}");
        }
    }

    #[test]
    fn nodes_that_were_there_before_are_listed_first_and_read_next() {
        let (mut census, mut server) = (Census::new(), Server::default());
        server.put(Role::Chat, "a:1", false);
        server.put(Role::Gateway, "b:1", false);
        assert!(read_once(&mut census, &mut server).is_none());
        assert!(census.is_stale());
        let view = read_once(&mut census, &mut server).expect("all is known");
        assert!(!census.is_stale());
        assert_eq!(view.epoch, 1);
        assert_eq!(view.infos_of_chats(), [info(Role::Chat, "a:1", false)]);
        assert_eq!(
            view.infos_of_gateways(),
            [info(Role::Gateway, "b:1", false)]
        );
    }

    #[test]
    fn a_burst_of_joins_costs_one_read_of_data_for_each() {
        let (mut census, mut server) = (Census::new(), Server::default());
        for number in 0..200 {
            census.changed(server.put(Role::Chat, &format!("a:{number}"), false));
            let view = read_once(&mut census, &mut server).expect("read with the list");
            assert_eq!(view.infos_of_chats().len(), number + 1);
        }
        assert_eq!(server.data_reads, 200);
    }

    #[test]
    fn the_epoch_grows_when_a_chat_node_comes_drains_or_goes_and_not_for_a_gateway() {
        let (mut census, mut server) = (Census::new(), Server::default());
        let mut epochs = Vec::new();
        let mut note = |census: &mut Census, server: &mut Server| {
            epochs.push(read_once(census, server).expect("all is known").epoch);
        };
        let chat = server.put(Role::Chat, "a:1", false);
        census.changed(chat.clone());
        note(&mut census, &mut server);
        census.changed(server.put(Role::Chat, "a:1", true));
        note(&mut census, &mut server);
        census.changed(server.put(Role::Gateway, "b:1", false));
        note(&mut census, &mut server);
        server.remove(&chat);
        census.deleted(&chat);
        note(&mut census, &mut server);
        assert_eq!(epochs, [1, 2, 2, 4]);
    }

    #[test]
    fn a_change_whose_event_comes_after_the_reply_may_be_older_than_it_and_is_read_again() {
        let (mut census, mut server) = (Census::new(), Server::default());
        census.changed(server.put(Role::Chat, "a:1", false));
        read_once(&mut census, &mut server).expect("all is known");

        // On the server: a:1 drains, then the folders are listed. Here: the reply, then the event.
        let changed = server.put(Role::Chat, "a:1", true);
        let asked = census.begin();
        let reading = server.read(&asked);
        census.take(&asked, reading);
        census.changed(changed);
        assert!(
            census.view().is_none(),
            "the list is newer than the data known of a:1"
        );

        let view = read_once(&mut census, &mut server).expect("all is known");
        assert_eq!(view.infos_of_chats(), [info(Role::Chat, "a:1", true)]);
    }

    #[test]
    fn a_node_created_after_the_reading_does_not_hold_up_its_view() {
        let (mut census, mut server) = (Census::new(), Server::default());
        census.changed(server.put(Role::Chat, "a:1", false));
        let asked = census.begin();
        let reading = server.read(&asked);
        census.take(&asked, reading);
        census.changed(server.put(Role::Chat, "a:2", false));
        assert_eq!(
            census
                .view()
                .expect("a:1 is all there was")
                .infos_of_chats()
                .len(),
            1
        );
        assert!(census.is_stale());
        let view = read_once(&mut census, &mut server).expect("read with the list");
        assert_eq!(view.infos_of_chats().len(), 2);
    }

    #[test]
    fn a_node_that_is_gone_before_its_data_is_read_is_no_trouble() {
        let (mut census, mut server) = (Census::new(), Server::default());
        let gone = server.put(Role::Chat, "a:1", false);
        census.changed(gone.clone());
        server.remove(&gone);
        let view = read_once(&mut census, &mut server).expect("nobody is there");
        assert_eq!((view.epoch, view.infos_of_chats().len()), (2, 0));
    }

    #[test]
    fn unreadable_data_leaves_its_node_out_and_still_counts_for_the_epoch() {
        let (mut census, mut server) = (Census::new(), Server::default());
        let broken = server.put(Role::Chat, "a:1", false);
        let node = server.nodes.get_mut(&broken).expect("just put");
        node.info = Err("no JSON".to_owned());
        node.mzxid = 77;
        census.changed(broken);
        let view = read_once(&mut census, &mut server).expect("all is known");
        assert_eq!((view.epoch, view.infos_of_chats().len()), (77, 0));
    }

    #[test]
    fn more_nodes_than_one_request_holds_are_read_in_several() {
        let (mut census, mut server) = (Census::new(), Server::default());
        for number in 0..READS_MAX + 1 {
            server.put(Role::Gateway, &format!("b:{number}"), false);
        }
        assert!(read_once(&mut census, &mut server).is_none(), "listed");
        assert!(
            read_once(&mut census, &mut server).is_none(),
            "all but one are read"
        );
        let view = read_once(&mut census, &mut server).expect("all is known");
        assert_eq!(view.infos_of_gateways().len(), READS_MAX + 1);
        assert_eq!(server.data_reads, READS_MAX + 1);
    }
}
