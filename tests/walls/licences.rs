//! What dependencies may bring along: their licences, where they come from, and which ones NewIM does
//! without. The rules stand in deny.toml, which cargo-deny reads too; this file holds them on machines
//! without cargo-deny. It looks at the crates that a build for this machine takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use cargo_metadata::{Metadata, MetadataCommand, Package};
use spdx::{Expression, Licensee, ParseMode};

use crate::assert_none;

/// cargo-deny itself refuses a misspelt key; here a missing one panics.
fn rules() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml");
    let text = fs::read_to_string(path).expect("deny.toml stands beside Cargo.toml");
    text.parse().expect("deny.toml is TOML")
}

fn list(value: &toml::Value) -> &[toml::Value] {
    value.as_array().expect("deny.toml has a list here")
}

fn text(value: &toml::Value) -> &str {
    value.as_str().expect("deny.toml has a text here")
}

/// Every crate of a build for this machine, ours among them. `--filter-platform` keeps cargo from
/// downloading crates for other systems.
fn built() -> Metadata {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = MetadataCommand::new();
    command.manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    command.other_options(["--locked", "--filter-platform", &platform].map(str::to_owned));
    command.exec().expect("cargo describes the build")
}

fn foreign(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let packages = metadata.packages.iter();
    packages.filter(|package| !metadata.workspace_members.contains(&package.id))
}

fn licensees(names: &toml::Value) -> impl Iterator<Item = Licensee> {
    let names = list(names).iter().map(text);
    names.map(|name| Licensee::parse(name).expect("deny.toml names licences by their SPDX ids"))
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let rules = rules();
    let rules = &rules["licenses"];
    let for_all: Vec<Licensee> = licensees(&rules["allow"]).collect();
    let metadata = built();
    let mut violations = Vec::new();
    let mut count = 0;
    for package in foreign(&metadata) {
        count += 1;
        let name = package.name.as_str();
        let Some(licence) = &package.license else {
            violations.push(format!("{name} names no licence"));
            continue;
        };
        let exceptions = list(&rules["exceptions"]).iter();
        let exceptions = exceptions.filter(|exception| text(&exception["crate"]) == name);
        let mut allowed = for_all.clone();
        allowed.extend(exceptions.flat_map(|exception| licensees(&exception["allow"])));
        let is_allowed = Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)))
        });
        if !is_allowed {
            violations.push(format!(
                "{name} {} is under {licence}: allow it in deny.toml and say why, or do without it",
                package.version
            ));
        }
    }
    assert!(count > 100, "cargo describes another build: {count} crates");
    assert_none(violations);
}

#[test]
fn dependencies_come_from_registries_that_deny_toml_allows() {
    let rules = rules();
    let mut allowed = list(&rules["sources"]["allow-registry"]).iter().map(text);
    let metadata = built();
    let mut violations = Vec::new();
    for package in foreign(&metadata) {
        let source = package.source.as_ref().map(|source| source.repr.as_str());
        let registry = source.and_then(|source| source.strip_prefix("registry+"));
        if !registry.is_some_and(|registry| allowed.clone().any(|one| one == registry)) {
            violations.push(format!(
                "{} comes from {}: nobody checks that it stays what it is",
                package.name,
                source.unwrap_or("a folder outside the workspace")
            ));
        }
    }
    assert!(allowed.next().is_some(), "deny.toml allows some registry");
    assert_none(violations);
}

#[test]
fn crates_that_deny_toml_bans_are_not_built() {
    let rules = rules();
    let bans = list(&rules["bans"]["deny"]);
    assert!(!bans.is_empty(), "deny.toml lists its bans elsewhere");
    let metadata = built();
    let banned = foreign(&metadata).filter_map(|package| {
        let mut bans = bans.iter();
        let ban = bans.find(|ban| text(&ban["crate"]) == package.name.as_str())?;
        let reason = text(&ban["reason"]);
        Some(format!("{} is banned: {reason}", package.name))
    });
    assert_none(banned.collect());
}

/// Two versions of a crate that we name ourselves would be two types with one name. Those that only
/// others name (glommio's old ones) can't be changed here.
#[test]
fn members_of_the_workspace_name_one_version_of_each_crate() {
    let metadata = built();
    let resolved = metadata
        .resolve
        .as_ref()
        .expect("asked for with dependencies");
    let members = resolved.nodes.iter();
    let members = members.filter(|node| metadata.workspace_members.contains(&node.id));
    let mut versions = BTreeMap::<&str, BTreeSet<String>>::new();
    for dependency in members.flat_map(|node| &node.dependencies) {
        let package = &metadata[dependency];
        let named = versions.entry(package.name.as_str()).or_default();
        named.insert(package.version.to_string());
    }
    let differing = versions.iter().filter(|(_, versions)| versions.len() > 1);
    let told =
        differing.map(|(name, versions)| format!("{name} is used as {versions:?}: agree on one"));
    assert_none(told.collect());
}
