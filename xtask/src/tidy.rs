//! Rules of the house that a machine can check.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::process;

/// Which crates each crate may use, directly. What those may use, it may use too.
const ARROWS: &[(&str, &[&str])] = &[
    ("tricedb-core", &[]),
    ("tricedb-protocol", &["tricedb-core"]),
    ("tricedb-store", &["tricedb-core"]),
    ("tricedb-sync", &["tricedb-core", "tricedb-protocol"]),
    ("tricedb-derive", &[]),
    ("tricedb", &["tricedb-core", "tricedb-store", "tricedb-sync", "tricedb-derive"]),
    ("tricedb-server", &["tricedb-core", "tricedb-protocol"]),
    ("tricedb-cli", &["tricedb-server", "tricedb"]),
];

/// Crates of others that bring I/O, a clock or randomness, which `core` does without.
const NOT_IN_CORE: &[&str] =
    &["chrono", "fastrand", "getrandom", "mio", "rand", "reqwest", "sqlx", "time", "tokio"];

#[test]
fn crates_use_only_what_lies_below_them() {
    for package in packages() {
        let Some(below) = below(&package.name) else { continue };
        let above: Vec<_> = package
            .dependencies
            .iter()
            .filter(|name| is_ours(name) && !below.contains(name.as_str()))
            .collect();
        assert!(above.is_empty(), "{} may not use {above:?}", package.name);
    }
}

#[test]
fn core_has_no_clock_no_randomness_and_no_io() {
    let packages = packages();
    let core = packages.iter().find(|package| package.name == "tricedb-core").unwrap();
    let wrong: Vec<_> =
        core.dependencies.iter().filter(|name| NOT_IN_CORE.contains(&name.as_str())).collect();
    assert!(wrong.is_empty(), "tricedb-core may not use {wrong:?}");
}

#[test]
fn the_rule_refuses_a_wrong_arrow() {
    assert!(!below("tricedb-server").unwrap().contains("tricedb-sync"));
    assert!(!below("tricedb-store").unwrap().contains("tricedb-sync"));
    assert!(below("tricedb-cli").unwrap().contains("tricedb-core"));
}

struct Package {
    name: String,
    /// What it is built with; what only its tests use is not here.
    dependencies: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let mut command = process::cargo();
    command.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let metadata: Value = serde_json::from_str(&process::output(&mut command).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| Package {
            name: text(&package["name"]),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| text(&dependency["name"]))
                .collect(),
        })
        .collect()
}

fn is_ours(name: &str) -> bool {
    name == "tricedb" || name.starts_with("tricedb-")
}

/// Everything that a crate may use, or none for a crate outside the rule.
fn below(name: &str) -> Option<BTreeSet<&'static str>> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut open: Vec<&'static str> = arrows.get(name)?.to_vec();
    let mut below = BTreeSet::new();
    while let Some(next) = open.pop() {
        if below.insert(next) {
            open.extend(arrows.get(next).into_iter().flat_map(|direct| direct.iter().copied()));
        }
    }
    Some(below)
}
