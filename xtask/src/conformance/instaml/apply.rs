//! Transactions on a known state: what the server stores or answers, and that an optimistic client which
//! holds all the data sees the same.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, TxError, execute, parse_steps};
use uuid::Uuid;

use super::super::Outcome;
use super::fixtures::{Fixtures, insert};
use super::forms::Names;
use super::{expect_error, failed};

/// Where we differ from the recording on purpose, or only in the wording of an internal print-out.
const OURS: [(&str, &str, &str); 5] = [
    (
        "system: delete a user (guests and tokens go with it)",
        "serverAdmin",
        "tokens of users are not made of triples here",
    ),
    (
        "system: delete a refresh token",
        "serverAdmin",
        "tokens of users are not made of triples here",
    ),
    (
        "lookup: id attr with an existing uuid",
        "serverAdmin",
        "strict updates by id work for admins, too",
    ),
    (
        "lookup: id attr with an object value",
        "server",
        "a message prints a value as JSON, not in the original's language",
    ),
    (
        "lookup: delete then reuse in one tx",
        "serverAdmin",
        "lookups of admins see the state before the transaction, as those of clients do",
    ),
];

/// Runs a case for a client's session, an admin, and a client's own trial.
pub(super) fn run(case: &Json, fixtures: &Fixtures) -> Vec<(&'static str, Outcome)> {
    let mut outcomes = Vec::new();
    for (column, actor) in [("server", Actor::Client), ("serverAdmin", Actor::Admin)] {
        let Some(expected) = case.get(column) else { continue };
        let ours = OURS.iter().find(|(name, c, _)| case["name"] == *name && column == *c);
        outcomes.push((
            column,
            match ours {
                Some((_, _, why)) => Outcome::Skipped(why),
                None => judge(case, fixtures, expected, actor).unwrap_or_else(|outcome| outcome),
            },
        ));
    }
    if let Some(expected) = case.get("server") {
        let outcome = optimistic(case, fixtures, expected).unwrap_or_else(|outcome| outcome);
        outcomes.push(("optimistic", outcome));
    }
    outcomes
}

/// The state before a case: a fixture, with triples taken away and added.
fn load(case: &Json, fixtures: &Fixtures) -> Result<TripleIndex, Outcome> {
    let before = &case["before"];
    let system = case["systemAttrs"] == true || case["txSteps"].to_string().contains("\"$users\"");
    let none = json!("empty");
    let name = if before.is_string() { before } else { before.get("fixture").unwrap_or(&none) };
    let attrs = case.get("attrs").filter(|attrs| attrs.is_array()).unwrap_or(name);
    let mut index = fixtures.index(attrs, system)?;
    let minus = before["minus"].as_array().map_or(&[][..], Vec::as_slice);
    let triples = fixtures.named("triples", name).as_array().into_iter().flatten();
    let plus = before["plus"].as_array().into_iter().flatten();
    for triple in triples.filter(|triple| !minus.contains(triple)).chain(plus) {
        insert(&mut index, triple)?;
    }
    Ok(index)
}

/// Facts and attributes in a form that compares; attributes without the types seen in their values.
#[derive(PartialEq)]
struct Image {
    facts: Vec<Json>,
    attrs: BTreeMap<String, Json>,
}

impl Image {
    fn of(index: &TripleIndex) -> Self {
        let mut facts: Vec<Json> =
            index.triples().map(|t| json!([t.entity, t.attr, t.value])).collect();
        facts.sort_by_cached_key(Json::to_string);
        let attrs = index.catalog().all().map(|attr| {
            let mut shown = Attr::clone(attr);
            shown.inferred_types = None;
            (attr.id.to_string(), json!(shown))
        });
        Self { facts, attrs: attrs.collect() }
    }

    /// The facts that `self` has beyond `other`.
    fn beyond(&self, other: &Self) -> Vec<Json> {
        self.facts.iter().filter(|fact| !other.facts.contains(fact)).cloned().collect()
    }
}

fn transact(index: &mut TripleIndex, case: &Json, actor: Actor) -> Result<Commit, TxError> {
    let mut n = 0_u128;
    let mut ids = || {
        n += 1;
        Uuid::from_u128(0xffff_0000_0000_4000_8000_0000_0000_0000 + n)
    };
    let steps = parse_steps(&case["txSteps"])?;
    execute(index, &steps, &mut ExecuteContext { now: 2, ids: &mut ids, actor })
}

fn judge(
    case: &Json,
    fixtures: &Fixtures,
    expected: &Json,
    actor: Actor,
) -> Result<Outcome, Outcome> {
    let mut index = load(case, fixtures)?;
    let before = Image::of(&index);
    let outcome = transact(&mut index, case, actor);
    let after = Image::of(&index);
    let commit = match (expected.get("error"), outcome) {
        (Some(error), Ok(_)) => {
            return failed(format!("should fail with {}", error["message"]));
        }
        (Some(error), Err(got)) => {
            if after != before {
                return failed("a refused transaction left something behind");
            }
            return Ok(expect_error(error, &got));
        }
        (None, Err(error)) => return failed(format!("refused: {error}")),
        (None, Ok(commit)) => commit,
    };
    same_facts(expected, &before, &after)?;
    index.undo(&commit);
    if Image::of(&index) != before {
        return failed("undo does not restore the state");
    }
    index.apply(&commit);
    if Image::of(&index) != after {
        return failed("apply does not repeat the state");
    }
    Ok(Outcome::Passed)
}

/// Compares what changed with `removed` and `added`.
fn same_facts(expected: &Json, before: &Image, after: &Image) -> Result<(), Outcome> {
    let list = |key: &str| -> Vec<Json> {
        let triples = expected[key].as_array().into_iter().flatten();
        let mut triples: Vec<Json> = triples.map(|t| json!([t[0], t[1], t[2]])).collect();
        triples.sort_by_cached_key(Json::to_string);
        triples.dedup();
        triples
    };
    let (removed, added) = (before.beyond(after), after.beyond(before));
    let mut names = Names::default();
    if names.same_items(&list("removed"), &removed) && names.same_items(&list("added"), &added) {
        return Ok(());
    }
    let show = |items: &[Json]| Json::from(items.to_vec()).to_string();
    failed(format!(
        "expected -{}\ngot      -{}\nexpected +{}\ngot      +{}",
        show(&list("removed")),
        show(&removed),
        show(&list("added")),
        show(&added)
    ))
}

/// A client's own trial over all data must end as the server ends it. Where it leaves a step to the server,
/// because a client that holds less could not know, its view must not contradict the server's.
fn optimistic(case: &Json, fixtures: &Fixtures, expected: &Json) -> Result<Outcome, Outcome> {
    let mut index = load(case, fixtures)?;
    let before = Image::of(&index);
    let outcome = transact(&mut index, case, Actor::Optimistic);
    let after = Image::of(&index);
    const LEFT: Outcome = Outcome::Skipped(
        "left to the server by a client that cannot know whether it holds all data",
    );
    match (expected.get("error"), outcome) {
        (Some(_), Err(_)) if after == before => Ok(Outcome::Passed),
        (Some(_), Err(_)) => failed("a refused transaction left something behind"),
        (Some(error), Ok(_)) if takes_all_data(case, error) => Ok(LEFT),
        (Some(error), Ok(_)) => {
            failed(format!("the client lets pass what the server refuses: {}", error["message"]))
        }
        (None, Err(error)) => failed(format!("the client refuses what the server takes: {error}")),
        (None, Ok(_)) => match same_facts(expected, &before, &after) {
            Ok(()) => Ok(Outcome::Passed),
            // It may do less, but nothing else.
            Err(_) if is_part(expected, &before, &after) => Ok(LEFT),
            Err(outcome) => Err(outcome),
        },
    }
}

/// Whether only somebody with all the data can refuse a transaction for this reason: that an entity or a
/// value is nowhere.
fn takes_all_data(case: &Json, error: &Json) -> bool {
    let message = error["message"].as_str().unwrap_or_default();
    let by_lookup = || {
        let mut steps = case["txSteps"].as_array().into_iter().flatten();
        steps.any(|step| step[1].is_array() || step[3].is_array())
    };
    message.contains("Updating entities that don't exist")
        || message.starts_with("Missing required")
        || message.contains("The entity for the lookup does not exist")
        || message.contains("Updates with lookups can only update")
        || (error["type"] == "record-not-unique" && by_lookup())
}

/// Whether all that changed is among what was to change.
fn is_part(expected: &Json, before: &Image, after: &Image) -> bool {
    let within = |key: &str, facts: &[Json]| {
        let expected = expected[key].as_array().map_or(&[][..], Vec::as_slice);
        facts.iter().all(|fact| {
            let same =
                |t: &Json| Names::default().difference(&json!([t[0], t[1], t[2]]), fact).is_none();
            // Null back-fill that went and came back is no change to the server.
            expected.iter().any(same) || (key == "removed" && fact[2].is_null())
        })
    };
    within("removed", &before.beyond(after)) && within("added", &after.beyond(before))
}
