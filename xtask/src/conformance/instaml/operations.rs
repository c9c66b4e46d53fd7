//! Kinds about operations and the tx-steps they become.

use serde_json::{Value as Json, json};
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema;
use tricedb_core::tx::{
    Actor, Dialect, EntityKey, ExecuteContext, ExpandOptions, MissingAttrs, Operation, TxError,
    execute, expand_with, parse_operations, parse_steps, steps_to_json, validate,
};
use uuid::Uuid;

use super::super::Outcome;
use super::fixtures::Fixtures;
use super::forms::{Names, beyond_json, chains, plain, same_spelling};
use super::{expect_error, expect_json};

fn fresh_ids() -> impl FnMut() -> Uuid {
    let mut n = 0_u128;
    move || {
        n += 1;
        Uuid::from_u128(0xffff_0000_0000_4000_8000_0000_0000_0000 + n)
    }
}

/// Fluent calls give these operations.
pub(super) fn builder(case: &Json) -> Outcome {
    if case.get("error").is_some() {
        return Outcome::Skipped("texts of lookups that the JavaScript client cannot read back");
    }
    let chains = match chains(case) {
        Ok(chains) => chains,
        Err(outcome) => return outcome,
    };
    let spell = |chain: &Json| chain.as_array().into_iter().flatten().map(same_spelling).collect();
    let expected: Json =
        case["ops"].as_array().into_iter().flatten().map(spell).collect::<Vec<Json>>().into();
    let mut got = Vec::new();
    for chain in chains {
        let operations = chain.into_operations();
        let json = json!(operations);
        // What is queued must come back as it was; what is about no entity is never queued.
        let no_entity = |op: &Operation| matches!(op.key, EntityKey::Invalid(_));
        if !operations.iter().any(no_entity) {
            match serde_json::from_value::<Vec<Operation>>(json.clone()) {
                Ok(back) if back == operations => {}
                other => return Outcome::Failed(format!("{json} does not come back: {other:?}")),
            }
        }
        got.push(spell(&json));
    }
    expect_json(&expected, &got.into())
}

/// Operations become these steps.
pub(super) fn transform(case: &Json, fixtures: &Fixtures) -> Outcome {
    if case["useDateObjects"] == true {
        return Outcome::Skipped("date objects are JavaScript's");
    }
    if case["attrs"] == "empty" && case["chunks"].to_string().contains("{\"$undefined\":true}") {
        return Outcome::Skipped("values that JSON cannot hold");
    }
    if case["attrs"].to_string().contains("\"isUnsynced\":true") {
        return Outcome::Skipped("attributes that wait for the server are kept by the sync engine");
    }
    let run = || -> Result<Result<Json, TxError>, Outcome> {
        let mut store = fixtures.index(&case["attrs"], false)?;
        fixtures.insert(&mut store, &case["store"])?;
        let schema = match case.get("schema") {
            None | Some(Json::Null) => None,
            Some(name) => match schema::parse(fixtures.named("schema", name)) {
                Ok(schema) => Some(schema),
                Err(error) => return Err(Outcome::Failed(error.to_string())),
            },
        };
        let operations: Vec<Operation> = chains(case)?.into_iter().flatten().collect();
        let known = |etype: &str, key: &EntityKey| is_known(&store, etype, key);
        let options = ExpandOptions {
            missing: MissingAttrs::Create,
            dialect: Dialect::Client,
            schema: schema.as_ref(),
        };
        let steps = expand_with(&operations, store.catalog(), &known, &options, &mut fresh_ids());
        Ok(steps.map(|steps| as_client_writes(steps_to_json(&steps))))
    };
    match (case.get("error"), run()) {
        (_, Err(outcome)) => outcome,
        (None, Ok(Ok(steps))) => same_steps(case, &without_unsynced(&case["txSteps"]), &steps),
        (None, Ok(Err(error))) => Outcome::Failed(format!("refused: {error}")),
        (Some(error), Ok(Ok(steps))) => {
            Outcome::Failed(format!("should fail with {}, got {steps}", error["message"]))
        }
        // The client's messages lack the lead that a server's have.
        (Some(error), Ok(Err(got))) => {
            let bare = &got.hint()["errors"][0]["message"];
            expect_json(&error["message"], bare)
        }
    }
}

/// Compares steps in order; but where the arguments have several members, whose order says nothing, as
/// lists of which only the attributes have to come first.
fn same_steps(case: &Json, expected: &Json, got: &Json) -> Outcome {
    let calls = case["chunks"].as_array().into_iter().flatten();
    let mut args = calls.flat_map(|chunk| chunk["calls"].as_array().into_iter().flatten());
    if !args.any(|call| call[1].as_object().is_some_and(|args| args.len() > 1)) {
        return expect_json(expected, got);
    }
    let parts = |steps: &Json| {
        let steps = steps.as_array().cloned().unwrap_or_default();
        let end = steps.iter().position(|step| step[0] != "add-attr").unwrap_or(steps.len());
        (steps[..end].to_vec(), steps[end..].to_vec())
    };
    let ((new, rest), (got_new, got_rest)) = (parts(expected), parts(got));
    let mut names = Names::default();
    if names.same_items(&new, &got_new) && names.same_items(&rest, &got_rest) {
        return Outcome::Passed;
    }
    Outcome::Failed(format!("in any order\nexpected {expected}\ngot      {got}"))
}

/// Whether a store holds an entity.
fn is_known(store: &TripleIndex, etype: &str, key: &EntityKey) -> bool {
    match key {
        EntityKey::Id(id) => store.exists_in(*id, etype),
        EntityKey::Lookup { label, value } => match label.strip_suffix(".id") {
            Some(link) => store
                .catalog()
                .find(etype, link)
                .zip(value.as_entity())
                .is_some_and(|(named, target)| linked(store, named, target)),
            None => store.catalog().forward(etype, label).is_some_and(|attr| {
                store.find_unique(attr.id, &attr.coerce(value.clone())).is_some()
            }),
        },
        EntityKey::Invalid(_) => false,
    }
}

fn linked(store: &TripleIndex, named: tricedb_core::catalog::Named<'_>, target: EntityId) -> bool {
    let slot_and_handle = store.slot(named.attr.id).zip(store.handle(target));
    slot_and_handle.is_some_and(|(slot, handle)| !store.sources(slot, handle).is_empty())
}

/// Attributes as the client writes them: without what is off, empty or only a server's business.
fn as_client_writes(mut steps: Json) -> Json {
    for step in steps.as_array_mut().into_iter().flatten() {
        if step[0] == "add-attr"
            && let Some(Json::Object(attr)) = step.get_mut(1)
        {
            attr.retain(|key, value| match key.as_str() {
                "catalog" | "inferred-types" => false,
                "required?" => *value == true,
                _ => true,
            });
        }
    }
    steps
}

fn without_unsynced(steps: &Json) -> Json {
    let mut steps = plain(steps);
    for step in steps.as_array_mut().into_iter().flatten() {
        if step[0] == "add-attr"
            && let Some(Json::Object(attr)) = step.get_mut(1)
        {
            attr.remove("isUnsynced");
            // Cascades that are off are written as null.
            attr.retain(|_, value| !value.is_null());
        }
    }
    steps
}

/// Operations of the admin call become these steps.
pub(super) fn admin_steps(case: &Json, fixtures: &Fixtures) -> Outcome {
    let run = || -> Result<Result<Json, TxError>, Outcome> {
        let index = fixtures.index(&case["attrs"], false)?;
        let missing = match case["throwOnMissingAttrs"] == true {
            true => MissingAttrs::Refuse,
            false => MissingAttrs::Create,
        };
        Ok(admin_expand(&case["steps"], &index, missing))
    };
    match (case.get("error"), run()) {
        (_, Err(outcome)) => outcome,
        (None, Ok(Ok(steps))) => expect_json(&without_unsynced(&case["txSteps"]), &steps),
        (None, Ok(Err(error))) => Outcome::Failed(format!("refused: {error}")),
        (Some(error), Ok(Ok(steps))) => {
            Outcome::Failed(format!("should fail with {}, got {steps}", error["message"]))
        }
        (Some(error), Ok(Err(got))) => expect_error(error, &got),
    }
}

fn admin_expand(steps: &Json, index: &TripleIndex, missing: MissingAttrs) -> Result<Json, TxError> {
    let parsed = parse_operations(steps)?;
    let options = ExpandOptions { missing, dialect: Dialect::Admin, schema: None };
    let known = |_: &str, _: &EntityKey| false;
    let catalog = index.catalog();
    let expanded = expand_with(&parsed.operations, catalog, &known, &options, &mut fresh_ids())?;
    let all: Vec<_> = parsed.attr_steps.into_iter().chain(expanded).collect();
    Ok(as_client_writes(steps_to_json(&all)))
}

/// Steps as they arrive are taken, or refused with this error.
pub(super) fn step_validation(case: &Json, fixtures: &Fixtures) -> Outcome {
    match (case.get("error"), parse_steps(&case["txSteps"])) {
        (None, Ok(steps)) => match parse_steps(&steps_to_json(&steps)) {
            Ok(back) if back == steps => Outcome::Passed,
            other => Outcome::Failed(format!("written and read again: {other:?}")),
        },
        (None, Err(error)) => Outcome::Failed(format!("refused: {error}")),
        // Whether a lookup by `id` holds an id takes the attributes to tell.
        (Some(error), Ok(steps)) => match fixtures.index(&case["attrs"], false) {
            Err(outcome) => outcome,
            Ok(mut index) => {
                let mut ids = fresh_ids();
                let mut context = ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Client };
                match execute(&mut index, &steps, &mut context) {
                    Ok(_) => Outcome::Failed(format!("should fail with {}", error["message"])),
                    Err(got) => expect_error(error, &got),
                }
            }
        },
        (Some(error), Err(got)) => expect_error(error, &got),
    }
}

/// What a client checks against a schema before it queues a transaction.
pub(super) fn validation(case: &Json, fixtures: &Fixtures) -> Outcome {
    if beyond_json(case) {
        return Outcome::Skipped("values that JSON cannot hold");
    }
    let schema = match &case["schema"] {
        Json::Null => None,
        name => match schema::parse(fixtures.named("schema", name)) {
            Ok(schema) => Some(schema),
            Err(error) => return Outcome::Failed(error.to_string()),
        },
    };
    let operations: Vec<Operation> = match case.get("raw") {
        Some(raw) => {
            let Some(operations) = raw_operations(raw) else {
                return Outcome::Skipped("shapes of JavaScript objects that no Rust value has");
            };
            operations
        }
        None => match chains(case) {
            Ok(chains) => chains.into_iter().flatten().collect(),
            Err(outcome) => return outcome,
        },
    };
    let outcome = schema.map_or(Ok(()), |schema| validate(&operations, &schema));
    match (case.get("error"), outcome) {
        (None, Ok(())) => Outcome::Passed,
        (None, Err(error)) => Outcome::Failed(format!("refused: {error}")),
        (Some(_), Ok(())) if case.to_string().contains("{\"$date\"") => {
            Outcome::Skipped("date objects are JavaScript's")
        }
        (Some(error), Ok(())) => Outcome::Failed(format!("should fail with {}", error["message"])),
        (Some(_), Err(_)) if case.to_string().contains("{\"$date\"") => {
            Outcome::Skipped("date objects are JavaScript's")
        }
        (Some(error), Err(got)) => {
            let wanted = error["message"].as_str().unwrap_or_default();
            expect_json(&words_sorted(wanted), &words_sorted(got.message()))
        }
    }
}

/// A message whose list of names, if it has one, is in alphabetical order: the order of keys says nothing.
fn words_sorted(message: &str) -> Json {
    match message.split_once(". Available ").and_then(|(_, rest)| rest.split_once(": ")) {
        Some((_, names)) => {
            let mut sorted: Vec<&str> = names.split(", ").collect();
            sorted.sort_unstable();
            json!([message.trim_end_matches(names), sorted])
        }
        None => json!(message),
    }
}

/// The operations of a raw chunk, if it has the shape of one.
fn raw_operations(raw: &Json) -> Option<Vec<Operation>> {
    let operations = raw.get("__ops")?.as_array()?.iter();
    operations.map(|op| serde_json::from_value(same_spelling(op)).ok()).collect()
}
