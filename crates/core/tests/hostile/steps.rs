//! Steps and operations: parsed, executed, undone.

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{
    Actor, ExecuteContext, MissingAttrs, TxStep, ValueForm, execute, expand, parse_operations_as,
    parse_steps, parse_steps_as, steps_to_json,
};

use super::app::{app, ids, with_ids};

/// Runs JSON as steps and as operations, for everybody who may send them. Gives how often that came to a
/// commit.
pub(crate) fn check(json: &Json) -> usize {
    let json = with_ids(json);
    let mut commits = 0;
    for form in [ValueForm::Data, ValueForm::Operators] {
        if let Ok(steps) = parse_steps_as(&json, form) {
            travels(&steps);
            commits += run(&steps);
        }
        if let Ok(parsed) = parse_operations_as(&json, form) {
            let known = |_: &str, _: &_| true;
            let index = app();
            let mut ids = ids();
            let expanded =
                expand(&parsed.operations, index.catalog(), &known, MissingAttrs::Create, &mut ids);
            if let Ok(steps) = expanded {
                travels(&steps);
                let mut all = parsed.attr_steps;
                all.extend(steps);
                commits += run(&all);
            }
        }
    }
    commits
}

/// What is sent is what arrives.
fn travels(steps: &[TxStep]) {
    let sent = steps_to_json(steps);
    let arrived = parse_steps(&sent).unwrap_or_else(|error| panic!("{error} in {sent}"));
    assert_eq!(steps_to_json(&arrived), sent);
}

fn run(steps: &[TxStep]) -> usize {
    let mut commits = 0;
    for actor in [Actor::Client, Actor::Admin, Actor::Optimistic] {
        let mut index = app();
        let before = image(&index);
        let mut ids = ids();
        let mut context = ExecuteContext { now: 5, ids: &mut ids, actor };
        let Ok(commit) = execute(&mut index, steps, &mut context) else {
            assert_eq!(image(&index), before, "a refusal leaves nothing behind");
            continue;
        };
        let after = image(&index);
        index.undo(&commit);
        assert_eq!(image(&index), before, "undone");
        let text = serde_json::to_string(&commit).unwrap();
        index.apply(&serde_json::from_str(&text).unwrap());
        assert_eq!(image(&index), after, "repeated");
        delete_everything(&mut index);
        commits += 1;
    }
    commits
}

/// Deleted one by one, all entities are gone from every index.
fn delete_everything(index: &mut TripleIndex) {
    let steps: Vec<Json> =
        index.triples().map(|fact| serde_json::json!(["delete-entity", fact.entity])).collect();
    let steps = parse_steps(&Json::Array(steps)).unwrap();
    let mut ids = ids();
    let mut context = ExecuteContext { now: 6, ids: &mut ids, actor: Actor::Admin };
    execute(index, &steps, &mut context).unwrap();
    // What soft-deleted attributes hold waits for their return.
    let is_kept = |attr| index.catalog().get(attr).is_some_and(|attr| attr.is_deleted());
    assert!(index.triples().all(|fact| is_kept(fact.attr)), "{:?}", image(index));
    if !index.catalog().all().any(|attr| attr.is_deleted()) {
        assert_eq!((index.triple_count(), index.entity_count()), (0, 0));
    }
}

/// Every fact and attribute, in a form that compares.
fn image(index: &TripleIndex) -> (BTreeSet<String>, Vec<String>) {
    let facts = index.triples().map(|fact| serde_json::to_string(&fact).unwrap()).collect();
    let mut attrs: Vec<_> = index.catalog().all().cloned().collect();
    attrs.sort_by_key(|attr| attr.id);
    (facts, attrs.iter().map(|attr| serde_json::to_string(&**attr).unwrap()).collect())
}
