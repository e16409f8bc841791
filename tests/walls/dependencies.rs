//! Which crate may depend on which, as `cargo metadata` tells it.

use std::collections::BTreeSet;

use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

use crate::assert_none;

/// A crate of the workspace and the crates of ours that it may import. Layers look down only.
struct Place {
    name: &'static str,
    may_import: &'static [&'static str],
    /// Those of them that it may import only behind a cargo feature, so that its pure part builds without.
    only_by_feature: &'static [&'static str],
    why: &'static str,
}

const HOUSE: &[Place] = &[
    Place {
        name: "newim-proto",
        may_import: &[],
        only_by_feature: &[],
        why: "it is the contract that all others stand on, so it stands on none of ours",
    },
    Place {
        name: "newim-runtime",
        may_import: &["newim-proto"],
        only_by_feature: &[],
        why: "the engine moves bytes for anybody and knows neither node",
    },
    Place {
        name: "newim-cluster",
        may_import: &["newim-proto"],
        only_by_feature: &[],
        why: "membership becomes a RouteTable; nobody below needs to know who reads it",
    },
    Place {
        name: "newim-store",
        may_import: &["newim-proto"],
        only_by_feature: &[],
        why: "commands in, replies out: whose sockets carry them is the driver's business",
    },
    Place {
        name: "newim-gateway-core",
        may_import: &["newim-proto", "newim-runtime", "newim-store"],
        only_by_feature: &["newim-runtime", "newim-store"],
        why: "the pure shard imports the contract alone, and neither node imports the other",
    },
    Place {
        name: "newim-chat-core",
        may_import: &["newim-proto", "newim-runtime"],
        only_by_feature: &["newim-runtime"],
        why: "the pure shard imports the contract alone, and neither node imports the other",
    },
    Place {
        name: "newim-client-core",
        may_import: &["newim-proto"],
        only_by_feature: &[],
        why: "the client rules are what SDKs are ported from: they know the wire, and nothing of a node",
    },
    Place {
        name: "newim-client",
        may_import: &["newim-proto", "newim-client-core"],
        only_by_feature: &[],
        why: "it is a client like any other: what a node is made of is none of its business",
    },
    Place {
        name: "newim-charts",
        may_import: &[],
        only_by_feature: &[],
        why: "it draws what anybody measured, and knows nothing of ours",
    },
    Place {
        name: "newim-loadgen",
        may_import: &["newim-charts", "newim-proto", "newim-runtime"],
        only_by_feature: &[],
        why: "it shares only the contract and the engine, so it can't inherit a server's bug, nor a client's",
    },
    Place {
        name: "newim-sim",
        may_import: &[
            "newim-proto",
            "newim-gateway-core",
            "newim-chat-core",
            "newim-client-core",
            "newim-store",
        ],
        only_by_feature: &[],
        why: "it runs the pure shards in one thread; a runtime or a cluster in it would break the seed",
    },
    Place {
        name: "newim-benches",
        may_import: &[
            "newim-proto",
            "newim-runtime",
            "newim-charts",
            "newim-loadgen",
            "newim-testkit",
        ],
        only_by_feature: &[],
        why: "it loads the nodes from outside, as processes, and shares nothing of theirs but the contract",
    },
    Place {
        name: "newim-gate",
        may_import: &[
            "newim-proto",
            "newim-runtime",
            "newim-gateway-core",
            "newim-chat-core",
        ],
        only_by_feature: &[],
        why: "it counts the pure parts one by one; a store or a cluster in it would be counted, too",
    },
    Place {
        name: "newim-testkit",
        may_import: &[],
        only_by_feature: &[],
        why: "it starts other people's servers and must not vouch for our code by our code",
    },
    Place {
        name: "newim",
        may_import: &[
            "newim-proto",
            "newim-runtime",
            "newim-cluster",
            "newim-store",
            "newim-gateway-core",
            "newim-chat-core",
            "newim-client",
        ],
        only_by_feature: &[],
        why: "it composes the nodes; simulation, load generator and tests stand beside it",
    },
];

/// Third-party crates that only some of ours may name.
struct Foreign {
    names: &'static [&'static str],
    only: &'static [&'static str],
    why: &'static str,
}

const FOREIGN: &[Foreign] = &[
    Foreign {
        names: &[
            "glommio",
            "glommio-ng",
            "io-uring",
            "tokio-uring",
            "rustix-uring",
        ],
        only: &["newim-runtime"],
        why: "the connection engine can be replaced as long as only `runtime` names it",
    },
    Foreign {
        names: &["zookeeper-client", "zookeeper", "zookeeper-async"],
        only: &["newim-cluster", "newim-loadgen"],
        why: "everyone else sees RouteTable snapshots, whether from ZooKeeper or embedded; load generators meet there",
    },
    Foreign {
        names: &[
            "redis", "fred", "redb", "sled", "fjall", "rocksdb", "rusqlite",
        ],
        only: &["newim-store"],
        why: "everyone else speaks commands and replies, so that both engines stay one contract",
    },
    Foreign {
        names: &["tokio", "async-std", "smol"],
        only: &[
            "newim",
            "newim-client",
            "newim-cluster",
            "newim-benches",
            "newim-loadgen",
        ],
        why: "tokio runs the control thread alone and never touches a client's socket; the terminal client is a client; benches measure it as a peer; the load generator's ZooKeeper stands on it",
    },
];

/// Crates that decide, without I/O, clock or randomness. None of [`IMPURE`] may be a dependency of theirs.
const PURE: &[&str] = &[
    "newim-proto",
    "newim-gateway-core",
    "newim-chat-core",
    "newim-client-core",
    "newim-sim",
];
const IMPURE: &[&str] = &[
    "getrandom",
    "rand",
    "fastrand",
    "mio",
    "socket2",
    "libc",
    "rustix",
    "nix",
    "chrono",
    "jiff",
    "time",
    "crossbeam-channel",
    "rayon",
];

fn workspace() -> Metadata {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps();
    command.exec().expect("cargo describes the workspace")
}

fn place_of(package: &Package) -> Option<&'static Place> {
    HOUSE
        .iter()
        .find(|place| place.name == package.name.as_str())
}

/// Dependencies of what ships and of what builds it; tests may use more.
fn shipped(package: &Package) -> impl Iterator<Item = &Dependency> {
    let dependencies = package.dependencies.iter();
    dependencies.filter(|dependency| dependency.kind != DependencyKind::Development)
}

#[test]
fn every_crate_has_its_place_and_imports_only_what_lies_below() {
    let metadata = workspace();
    let ours: BTreeSet<&str> = metadata.packages.iter().map(|p| p.name.as_str()).collect();
    assert!(
        ours.contains("newim-proto"),
        "cargo describes another workspace: {ours:?}"
    );
    let mut violations = Vec::new();
    for package in &metadata.packages {
        let name = &package.name;
        let Some(place) = place_of(package) else {
            violations.push(format!(
                "{name} has no place in tests/walls: say whom it may import, and why"
            ));
            continue;
        };
        let imports = shipped(package).filter(|dependency| ours.contains(dependency.name.as_str()));
        for dependency in imports {
            let imported = dependency.name.as_str();
            if !place.may_import.contains(&imported) {
                violations.push(format!("{name} must not import {imported}: {}", place.why));
            } else if place.only_by_feature.contains(&imported) && !dependency.optional {
                violations.push(format!(
                    "{name} may import {imported} only behind a cargo feature: {}",
                    place.why
                ));
            }
        }
    }
    assert_none(violations);
}

#[test]
fn foreign_engines_are_named_by_one_crate_each() {
    let mut violations = Vec::new();
    for package in &workspace().packages {
        for dependency in shipped(package) {
            let name = dependency.name.as_str();
            let Some(foreign) = FOREIGN.iter().find(|f| f.names.contains(&name)) else {
                continue;
            };
            if !foreign.only.contains(&package.name.as_str()) {
                violations.push(format!(
                    "only {} may name {name}, and {} does: {}",
                    foreign.only.join(" and "),
                    package.name,
                    foreign.why
                ));
            }
        }
    }
    assert_none(violations);
}

#[test]
fn pure_crates_bring_in_neither_io_nor_clock_nor_randomness() {
    let metadata = workspace();
    let pure = metadata
        .packages
        .iter()
        .filter(|package| PURE.contains(&package.name.as_str()));
    let mut violations = Vec::new();
    for package in pure {
        let impure = shipped(package).filter(|dependency| {
            !dependency.optional && IMPURE.contains(&dependency.name.as_str())
        });
        for dependency in impure {
            violations.push(format!(
                "{} must not depend on {}: its decisions are replayed from its inputs alone",
                package.name, dependency.name
            ));
        }
    }
    assert_none(violations);
}

#[test]
fn default_features_of_the_nodes_are_what_their_pure_parts_leave_out() {
    let mut violations = Vec::new();
    for package in &workspace().packages {
        let Some(place) = place_of(package) else {
            continue;
        };
        for wanted in place.only_by_feature {
            let is_imported = shipped(package).any(|dependency| dependency.name == *wanted);
            let gate = format!("dep:{wanted}");
            let is_gated = package.features.values().any(|list| list.contains(&gate));
            if is_imported && !is_gated {
                violations.push(format!(
                    "{} imports {wanted} by no feature of its own: without one, nobody can build the pure part",
                    package.name
                ));
            }
        }
    }
    assert_none(violations);
}
