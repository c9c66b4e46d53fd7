//! The recorded `apply` vectors: what the original's server stores for a transaction on a known state.
//!
//! Reads `../shared/conformance/instaml` beside the repository; skips aloud without it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};
use uuid::Uuid;

fn vectors(file: &str) -> Option<Json> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/instaml");
    let text = std::fs::read_to_string(dir.join(file)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Whether a case speaks of the system's namespaces.
fn uses_system(case: &Json) -> bool {
    case["systemAttrs"] == true || case["txSteps"].to_string().contains("\"$users\"")
}

/// The state before a case: a fixture, with triples taken away and added.
fn load(fixtures: &Json, case: &Json) -> TripleIndex {
    let (before, system) = (&case["before"], uses_system(case));
    let mut index = TripleIndex::new();
    if system {
        for attr in tricedb_core::schema::system_attrs() {
            index.put_attr(attr);
        }
    }
    let name = before.as_str().or_else(|| before["fixture"].as_str()).unwrap_or("empty");
    let own = case["attrs"].as_array().or_else(|| fixtures["attrs"][name].as_array());
    for attr in own.into_iter().flatten() {
        let attr: Attr = serde_json::from_value(attr.clone()).expect("a fixture attribute");
        index.put_attr(Arc::new(attr));
    }
    let minus: Vec<Json> = before["minus"].as_array().cloned().unwrap_or_default();
    let triples = fixtures["triples"][name].as_array().into_iter().flatten();
    let plus = before["plus"].as_array().into_iter().flatten();
    for triple in triples.filter(|t| !minus.contains(t)).chain(plus) {
        let triple: Triple =
            serde_json::from_value(json!([triple[0], triple[1], triple[2], 1])).expect("a triple");
        // Triples of attributes that the case has taken away are as good as absent.
        index.insert(&triple);
    }
    index
}

fn facts(index: &TripleIndex) -> BTreeSet<String> {
    index.triples().map(|t| json!([t.entity, t.attr, t.value]).to_string()).collect()
}

/// Renames fresh UUIDs (those that the fixtures do not know) in order of appearance, on both sides.
fn rename(lines: &mut [String], known: &str) {
    let mut names: Vec<String> = Vec::new();
    for line in lines.iter_mut() {
        let mut out = String::new();
        for part in line.split('"') {
            if !out.is_empty() || line.starts_with('"') {
                out.push('"');
            }
            if part.starts_with("$new:") || (Uuid::parse_str(part).is_ok() && !known.contains(part))
            {
                let at = names.iter().position(|n| n == part).unwrap_or_else(|| {
                    names.push(part.to_owned());
                    names.len() - 1
                });
                out.push_str(&format!("new-{at}"));
            } else {
                out.push_str(part);
            }
        }
        *line = out;
    }
}

/// Where we differ from the recording on purpose, or only in the wording of an internal print-out.
const DIFFERENCES: [(&str, &str, &str); 5] = [
    // Sign-in data is not made of triples here.
    ("system: delete a user (guests and tokens go with it)", "serverAdmin", "no token triples"),
    ("system: delete a refresh token", "serverAdmin", "no token triples"),
    // The original compares a UUID with its text here and so finds nothing, for admins alone.
    (
        "lookup: id attr with an existing uuid",
        "serverAdmin",
        "strict updates by id work for admins too",
    ),
    // The original prints the value in its own language's syntax.
    ("lookup: id attr with an object value", "server", "the value is printed as JSON"),
    // The original resolves an admin's lookups late, between the delete and the write.
    (
        "lookup: delete then reuse in one tx",
        "serverAdmin",
        "lookups see the state before the transaction",
    ),
];

#[test]
fn transactions_end_as_the_original_server_ends_them() {
    let (Some(suite), Some(fixtures)) = (vectors("apply.json"), vectors("fixtures.json")) else {
        eprintln!("SKIPPED: no ../shared/conformance/instaml beside the repository");
        return;
    };
    let mut failures = Vec::new();
    let mut passed = 0;
    for case in suite["cases"].as_array().expect("cases") {
        for (column, actor) in [("server", Actor::Client), ("serverAdmin", Actor::Admin)] {
            let expected = &case[column];
            if expected.is_null() {
                continue;
            }
            let differs =
                DIFFERENCES.iter().any(|(name, c, _)| case["name"] == *name && column == *c);
            if differs {
                continue;
            }
            match run(&fixtures, case, expected, actor) {
                Ok(()) => passed += 1,
                Err(why) => failures.push(format!("{} [{column}]: {why}", case["name"])),
            }
        }
    }
    let total = passed + failures.len();
    assert!(failures.is_empty(), "{passed} of {total} passed\n{}", failures.join("\n"));
}

fn run(fixtures: &Json, case: &Json, expected: &Json, actor: Actor) -> Result<(), String> {
    let mut index = load(fixtures, case);
    let before = facts(&index);
    let attrs_before = index.catalog().live_sorted();
    let mut n = 0_u128;
    let mut ids = || {
        n += 1;
        Uuid::from_u128(0xffff_0000_0000_4000_8000_0000_0000_0000 + n)
    };
    let mut context = ExecuteContext { now: 2, ids: &mut ids, actor };
    let outcome =
        parse_steps(&case["txSteps"]).and_then(|steps| execute(&mut index, &steps, &mut context));
    if let Some(error) = expected.get("error") {
        return match outcome {
            Ok(_) => Err(format!("should fail with {}", error["message"])),
            Err(_) if error["type"] == "internal" => Ok(()),
            Err(got) => {
                let sentences = |s: &str| {
                    let mut parts: Vec<String> = s.split(". ").map(str::to_owned).collect();
                    parts.sort();
                    parts
                };
                let wanted = error["message"].as_str().unwrap_or_default();
                if got.kind().type_name() != error["type"]
                    || sentences(got.message()) != sentences(wanted)
                {
                    return Err(format!(
                        "error\n   want {} {wanted}\n   got  {} {got}",
                        error["type"],
                        got.kind().type_name()
                    ));
                }
                if facts(&index) != before || index.catalog().live_sorted() != attrs_before {
                    return Err("a refused transaction left something behind".to_owned());
                }
                Ok(())
            }
        };
    }
    let commit = outcome.map_err(|e| format!("refused: {e}"))?;
    let after = facts(&index);
    let known = fixtures.to_string() + &case.to_string();
    let mut got_removed: Vec<String> = before.difference(&after).cloned().collect();
    let mut got_added: Vec<String> = after.difference(&before).cloned().collect();
    let lines = |key: &str| -> Vec<String> {
        expected[key]
            .as_array()
            .into_iter()
            .flatten()
            .map(|t| json!([t[0], t[1], t[2]]).to_string())
            .collect()
    };
    let (mut want_removed, mut want_added) = (lines("removed"), lines("added"));
    for side in [&mut got_removed, &mut got_added, &mut want_removed, &mut want_added] {
        rename(side, &known);
        side.sort();
        side.dedup();
    }
    if got_removed != want_removed || got_added != want_added {
        return Err(format!(
            "\n   want -{want_removed:?}\n   got  -{got_removed:?}\n   want +{want_added:?}\n   got  +{got_added:?}"
        ));
    }
    index.undo(&commit);
    if facts(&index) != before || index.catalog().live_sorted() != attrs_before {
        return Err("undo does not restore the state".to_owned());
    }
    index.apply(&commit);
    if facts(&index) != after {
        return Err("apply does not repeat the state".to_owned());
    }
    Ok(())
}
