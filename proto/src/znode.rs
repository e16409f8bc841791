//! The znodes of a cluster: their paths, and their payloads in JSON, so that an operator can read them in
//! zkCli. The cluster crate calls it on the control thread. Unknown fields are ignored, so that nodes of two
//! versions can live in one cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::BootId;
use crate::limits;
use crate::routes::{NodeInfo, Role};

/// The parent of everything; persistent.
pub const ROOT_PATH: &str = "/newim";
/// The parent of the two lists of nodes; persistent.
pub const SERVERS_PATH: &str = "/newim/servers";
/// The parent of one ephemeral znode per gateway, named by its exchange `host:port`.
pub const GATEWAYS_PATH: &str = "/newim/servers/exchange";
/// The parent of one ephemeral znode per chat node, named by its exchange `host:port`.
pub const CHATS_PATH: &str = "/newim/servers/routers";
/// The znode that holds [`SlotsInfo`]; persistent.
pub const SLOTS_PATH: &str = "/newim/slots";

/// The version of the mapping from topics to slots and from slots to shards. A cluster never mixes two.
const SLOTS_LAYOUT: u32 = 1;

impl Role {
    /// The parent of the znodes of nodes with that role.
    pub fn parent_path(self) -> &'static str {
        match self {
            Role::Gateway => GATEWAYS_PATH,
            Role::Chat => CHATS_PATH,
        }
    }
}

impl NodeInfo {
    /// The payload of its znode. Name and role stand in the path.
    pub fn to_json(&self) -> Vec<u8> {
        let payload = NodePayload {
            ws: self.ws.clone(),
            exchange: self.exchange.clone(),
            admin: self.admin.clone(),
            shards: self.shards,
            boot_id: self.boot_id.to_string(),
            version: self.version.clone(),
            draining: self.draining,
        };
        serde_json::to_vec(&payload).expect("strings and numbers only")
    }

    /// Reads the payload of the znode `name` under the role's parent.
    pub fn from_json(role: Role, name: &str, payload: &[u8]) -> Result<NodeInfo, ZnodeError> {
        let payload: NodePayload = parse(payload)?;
        if !(1..=limits::SHARDS_MAX).contains(&payload.shards) {
            return Err(ZnodeError::Shards(payload.shards));
        }
        let boot_id = parse_boot_id(&payload.boot_id)
            .ok_or_else(|| ZnodeError::BootId(payload.boot_id.clone()))?;
        Ok(NodeInfo {
            name: name.to_owned(),
            role,
            boot_id,
            ws: payload.ws,
            exchange: payload.exchange,
            admin: payload.admin,
            shards: payload.shards,
            version: payload.version,
            draining: payload.draining,
        })
    }
}

/// How the cluster partitions topics. The node that joins first writes it; all others check it and refuse to
/// join if it is not theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsInfo {
    /// The number of slots.
    pub slots: u16,
    /// The version of the mapping.
    pub layout: u32,
}

impl SlotsInfo {
    /// What this build uses.
    pub const OURS: SlotsInfo = SlotsInfo {
        slots: limits::SLOT_COUNT,
        layout: SLOTS_LAYOUT,
    };

    /// The payload of its znode.
    pub fn to_json(self) -> Vec<u8> {
        serde_json::to_vec(&self).expect("numbers only")
    }

    /// Reads the payload of the znode.
    pub fn from_json(payload: &[u8]) -> Result<SlotsInfo, ZnodeError> {
        parse(payload)
    }
}

/// Why a znode's payload can't be used. A node's znode is left out of the routes; the slots' znode keeps this
/// node from joining.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZnodeError {
    /// The payload is no JSON, or a field is missing or has another type; the text is serde_json's.
    Json(String),
    /// boot_id is not 16 hex digits.
    BootId(String),
    /// shards is not in 1 to [`limits::SHARDS_MAX`].
    Shards(u16),
}

impl fmt::Display for ZnodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ZnodeError::Json(why) => write!(f, "the znode's payload is not understood: {why}"),
            ZnodeError::BootId(found) => write!(f, "boot_id {found:?} is not 16 hex digits"),
            ZnodeError::Shards(found) => {
                write!(f, "shards is {found}, not 1 to {}", limits::SHARDS_MAX)
            }
        }
    }
}

impl std::error::Error for ZnodeError {}

#[derive(Serialize, Deserialize)]
struct NodePayload {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ws: Option<String>,
    exchange: String,
    admin: String,
    shards: u16,
    boot_id: String,
    version: String,
    /// May be absent, as in a payload that an operator wrote by hand: the node is not leaving.
    #[serde(default)]
    draining: bool,
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, ZnodeError> {
    serde_json::from_slice(payload).map_err(|error| ZnodeError::Json(error.to_string()))
}

/// Reads 16 hex digits; `from_str_radix` alone would take a sign.
fn parse_boot_id(text: &str) -> Option<BootId> {
    let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten();
    value.map(BootId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GATEWAY: &str = r#"{"ws":"10.0.0.1:8180","exchange":"10.0.0.1:8181","admin":"10.0.0.1:8182","shards":4,"boot_id":"00000000000000ff","version":"0.1.0","draining":false}"#;

    fn gateway() -> NodeInfo {
        NodeInfo {
            name: "10.0.0.1:8181".into(),
            role: Role::Gateway,
            boot_id: BootId(255),
            ws: Some("10.0.0.1:8180".into()),
            exchange: "10.0.0.1:8181".into(),
            admin: "10.0.0.1:8182".into(),
            shards: 4,
            version: "0.1.0".into(),
            draining: false,
        }
    }

    fn read(payload: &str) -> Result<NodeInfo, ZnodeError> {
        NodeInfo::from_json(Role::Gateway, "10.0.0.1:8181", payload.as_bytes())
    }

    #[test]
    fn a_node_is_written_and_read_as_it_stands_in_zookeeper() {
        assert_eq!(String::from_utf8(gateway().to_json()).unwrap(), GATEWAY);
        assert_eq!(read(GATEWAY), Ok(gateway()));
    }

    #[test]
    fn a_newer_nodes_fields_are_ignored_and_draining_may_be_absent() {
        let newer = GATEWAY.replace(r#""draining":false"#, r#""zone":{"name":"b"}"#);
        assert_eq!(read(&newer), Ok(gateway()));
    }

    #[test]
    fn what_routing_could_not_use_is_refused() {
        for shards in [0, 1025] {
            let payload = GATEWAY.replace(r#""shards":4"#, &format!(r#""shards":{shards}"#));
            assert_eq!(read(&payload), Err(ZnodeError::Shards(shards)));
        }
        for boot_id in [
            "",
            "ff",
            "+0000000000000ff",
            "00000000000000fg",
            "000000000000000ff",
        ] {
            let payload = GATEWAY.replace("00000000000000ff", boot_id);
            assert_eq!(read(&payload), Err(ZnodeError::BootId(boot_id.into())));
        }
        let payload = GATEWAY.replace(r#""exchange":"10.0.0.1:8181","#, "");
        assert!(
            read(&payload)
                .unwrap_err()
                .to_string()
                .contains("missing field `exchange`")
        );
        assert!(matches!(read(""), Err(ZnodeError::Json(_))));
    }

    #[test]
    fn the_slots_are_written_and_read() {
        assert_eq!(SlotsInfo::OURS.to_json(), br#"{"slots":4096,"layout":1}"#);
        assert_eq!(
            SlotsInfo::from_json(&SlotsInfo::OURS.to_json()),
            Ok(SlotsInfo::OURS)
        );
        assert!(SlotsInfo::from_json(b"{}").is_err());
    }

    proptest! {
        #[test]
        fn every_boot_id_and_string_survives(boot_id: u64, text: String, draining: bool) {
            let mut node = gateway();
            node.boot_id = BootId(boot_id);
            node.version = text;
            node.draining = draining;
            prop_assert_eq!(NodeInfo::from_json(node.role, &node.name, &node.to_json()), Ok(node));
        }
    }
}
