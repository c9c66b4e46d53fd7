//! Input that nobody who means well would send: whatever it is, it is refused or obeyed, nothing panics,
//! and what was refused or undone leaves nothing behind.
//!
//! The same checks are what `fuzz/` feeds with the fuzzer's own input.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod app;
mod queries;
mod steps;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn leaf() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        Just(json!(u64::MAX)),
        Just(json!(-0.0)),
        Just(json!(5e-324)),
        ".{0,3}".prop_map(Json::from),
        Just(json!("\u{0}")),
        Just(json!("2024-02-30T25:61:00Z")),
        name().prop_map(Json::from),
    ]
}

/// Names that mean something, among them those of the app's entities and attributes.
fn name() -> impl Strategy<Value = &'static str> {
    let names: Vec<&'static str> = [
        "e0",
        "e1",
        "e2",
        "e3",
        "a1",
        "a2",
        "a3",
        "a4",
        "a5",
        "a6",
        "a7",
        "a8",
        "a9",
        "i1",
        "books",
        "authors",
        "$users",
        "id",
        "title",
        "isbn",
        "meta",
        "pages",
        "author",
        "written",
        "at",
        "mode",
        "create",
        "update",
        "upsert",
        "lookup__isbn__\"x\"",
        "lookup__isbn__",
        "author.id",
        "blob",
        "ref",
        "one",
        "many",
        "cascade",
        "string",
        "number",
        "date",
        "forward-identity",
        "reverse-identity",
        "value-type",
        "cardinality",
        "unique?",
        "index?",
        "required?",
        "checked-data-type",
        "on-delete",
        "on-delete-reverse",
        "$increment",
        "$multiply",
        "$min",
        "$max",
        "$push",
        "$addToSet",
        "$pull",
        "$setOnce",
        "$serverTime",
        "$literal",
        "$",
        "where",
        "order",
        "limit",
        "offset",
        "first",
        "last",
        "before",
        "after",
        "fields",
        "serverCreatedAt",
        "$in",
        "$not",
        "$gt",
        "$lt",
        "$like",
        "$ilike",
        "$isNull",
        "and",
        "or",
        "author.title",
        "asc",
        "desc",
    ]
    .to_vec();
    prop::sample::select(names)
}

fn wild() -> impl Strategy<Value = Json> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((name(), inner), 0..4).prop_map(|members| Json::Object(
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            )),
        ]
    })
}

/// A step or an operation of the right shape; whether it may be done is another matter.
fn fitting() -> impl Strategy<Value = Json> {
    let one_of = |names: &[&'static str]| prop::sample::select(names.to_vec());
    let book = || prop_oneof![4 => one_of(&["e0", "e2"]).prop_map(Json::from), 1 => Just(json!(["a3", "x"]))];
    let data = || prop_oneof![one_of(&["a2", "a4"]), one_of(&["a2", "a3", "a4", "a5"])];
    let value = || prop_oneof![wild(), leaf(), any::<i16>().prop_map(Json::from)];
    let operator = one_of(&[
        "$increment",
        "$multiply",
        "$min",
        "$max",
        "$push",
        "$addToSet",
        "$pull",
        "$setOnce",
    ]);
    let link = || (book(), one_of(&["a8", "a0"]), one_of(&["e1", "e3"]));
    prop_oneof![
        2 => (book(), data(), value()).prop_map(|(e, a, v)| json!(["add-triple", e, a, v])),
        2 => (book(), data(), value()).prop_map(|(e, a, v)| json!(["deep-merge-triple", e, a, v])),
        1 => (book(), data(), value()).prop_map(|(e, a, v)| json!(["retract-triple", e, a, v])),
        3 => (book(), data(), operator, value())
            .prop_map(|(e, a, operator, v)| json!(["update-triple", e, a, { operator: v }])),
        2 => link().prop_map(|(e, a, v)| json!(["add-triple", e, a, v])),
        1 => link().prop_map(|(e, a, v)| json!(["retract-triple", e, a, v])),
        1 => one_of(&["e0", "e1", "e2"]).prop_map(|e| json!(["delete-entity", e])),
        1 => (one_of(&["a2", "a3", "a4", "a5", "a8"]), one_of(&["delete-attr", "restore-attr"]))
            .prop_map(|(a, op)| json!([op, a])),
        1 => (one_of(&["a2", "a3", "a4", "a8"]), any::<(bool, bool, bool)>()).prop_map(
            |(a, (unique, index, required))| json!(["update-attr", {
                "id": a, "unique?": unique, "index?": index, "required?": required,
            }])
        ),
    ]
}

/// A list that begins as a step or an operation does, with anything or what fits behind it.
fn step() -> impl Strategy<Value = Json> {
    let op = prop::sample::select(vec![
        "add-triple",
        "deep-merge-triple",
        "retract-triple",
        "update-triple",
        "expect-triple",
        "delete-entity",
        "rule-params",
        "add-attr",
        "update-attr",
        "delete-attr",
        "restore-attr",
        "create",
        "update",
        "merge",
        "link",
        "unlink",
        "delete",
        "ruleParams",
        "expect",
        "fly",
    ]);
    let entity = || {
        prop_oneof![
            prop::sample::select(vec!["e0", "e1", "e2", "e3"]).prop_map(Json::from),
            leaf().prop_map(|value| json!(["a3", value])),
        ]
    };
    let attr = prop::sample::select(vec!["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9"]);
    let mode = prop::sample::select(vec![
        json!(null),
        json!({"mode": "create"}),
        json!({"mode": "update"}),
    ]);
    let made =
        (prop::sample::select(vec!["title", "new", "author"]), any::<(bool, bool, bool)>(), wild())
            .prop_map(|(label, (unique, index, required), checked)| {
                let mut attr = json!({
                    "id": "a9", "forward-identity": ["i1", "books", label], "value-type": "blob",
                    "cardinality": "one", "unique?": unique, "index?": index, "required?": required,
                });
                if checked.is_string() {
                    attr["checked-data-type"] = checked;
                }
                json!(["add-attr", attr])
            });
    prop_oneof![
        4 => (op.clone(), entity(), attr, wild(), mode)
            .prop_map(|(op, entity, attr, value, mode)| json!([op, entity, attr, value, mode])),
        2 => (op.clone(), name(), entity(), wild()).prop_map(|(op, etype, e, v)| json!([op, etype, e, v])),
        2 => (op, prop::collection::vec(wild(), 0..5)).prop_map(|(op, mut rest)| {
            rest.insert(0, op.into());
            Json::from(rest)
        }),
        1 => made,
    ]
}

#[test]
fn what_is_well_formed_runs() {
    // For three kinds of callers, and in both forms of values.
    let steps = json!([["add-triple", "e2", "a2", "two"], ["add-triple", "e2", "a1", "e2"]]);
    assert_eq!(steps::check(&steps), 6);
    let operations = json!([["update", "books", "e0", {"meta": {"$push": 1}}]]);
    assert_eq!(steps::check(&operations), 6);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn steps_and_operations_are_obeyed_or_refused(steps in prop::collection::vec(prop_oneof![4 => fitting(), 1 => step()], 1..5)) {
         steps::check(&Json::from(steps));
    }

    #[test]
    fn what_is_no_list_of_steps_is_refused(json in wild()) {
        steps::check(&json);
    }

    #[test]
    fn queries_are_answered_or_refused(
        namespace in prop::sample::select(vec!["books", "authors", "$users", "nothing"]),
        options in wild(),
        inner in wild(),
    ) {
        queries::check(&json!({ namespace: { "$": options, "author": inner } }));
        queries::check(&inner);
    }
}
