//! Update operators and preconditions: composition in list order, exactness, refusal, and the forms in
//! which they travel.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{
    Actor, Commit, ExecuteContext, MissingAttrs, Operation, TxError, TxErrorKind, TxStep,
    ValueForm, execute, expand, literal, lookup, parse_operations, parse_operations_as,
    parse_steps, parse_steps_as, steps_to_json, tx,
};
use uuid::Uuid;

const POST: Uuid = Uuid::from_u128(0x9000_0000_0000_4000_8000_0000_0000_0001);
const USER: Uuid = Uuid::from_u128(0x9000_0000_0000_4000_8000_0000_0000_0002);

/// An app in which everything is committed by the same clock.
struct App {
    index: TripleIndex,
    next_id: u128,
    now: i64,
}

impl App {
    fn new() -> Self {
        Self { index: TripleIndex::new(), next_id: 0, now: 1000 }
    }

    fn with_post(fields: Json) -> Self {
        let mut app = Self::new();
        app.transact(tx("posts", POST).create(fields)).unwrap();
        app
    }

    fn steps(
        &mut self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<Vec<TxStep>, TxError> {
        let operations: Vec<Operation> = operations.into_iter().collect();
        // As they come out of a queue.
        let text = serde_json::to_string(&operations).unwrap();
        let queued: Vec<Operation> = serde_json::from_str(&text).unwrap();
        assert_eq!(queued, operations);
        let mut ids = || {
            self.next_id += 1;
            Uuid::from_u128(0x7000_0000_0000_4000_8000_0000_0000_0000 + self.next_id)
        };
        let known = |_: &str, _: &_| false;
        let catalog = self.index.catalog();
        let steps = expand(&queued, catalog, &known, MissingAttrs::Create, &mut ids)?;
        // As they come off the wire.
        let wire = steps_to_json(&steps);
        let arrived = parse_steps(&wire)?;
        assert_eq!(steps_to_json(&arrived), wire);
        Ok(arrived)
    }

    fn transact(
        &mut self,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<Commit, TxError> {
        let steps = self.steps(operations)?;
        self.execute(&steps, Actor::Client)
    }

    fn execute(&mut self, steps: &[TxStep], actor: Actor) -> Result<Commit, TxError> {
        self.now += 1;
        let mut ids = || {
            self.next_id += 1;
            Uuid::from_u128(0x7000_0000_0000_4000_8000_0000_0000_0000 + self.next_id)
        };
        let mut context = ExecuteContext { now: self.now, ids: &mut ids, actor };
        execute(&mut self.index, steps, &mut context)
    }

    fn attr(&self, label: &str) -> AttrId {
        self.index.catalog().forward("posts", label).unwrap().id
    }

    fn get(&self, label: &str) -> Option<Json> {
        let attr = self.index.catalog().forward("posts", label)?;
        self.index.value(EntityId(POST), attr.id).map(|value| value.to_json())
    }
}

fn post() -> tricedb_core::tx::TxBuilder {
    tx("posts", POST)
}

#[test]
fn operators_change_what_is_there_and_begin_from_nothing() {
    let mut app = App::with_post(json!({"likes": 2, "tags": ["a"]}));
    let chain = post()
        .increment("likes", 3)
        .decrement("dislikes", 1)
        .multiply("factor", 4)
        .min("low", 2)
        .max("high", "x")
        .push("log", json!({"at": 1}))
        .add_to_set("tags", "a")
        .pull("tags", "a")
        .set_once("slug", "s")
        .server_time("seen");
    app.transact(chain).unwrap();
    for (label, wanted) in [
        ("likes", json!(5)),
        ("dislikes", json!(-1)),
        ("factor", json!(4)),
        ("low", json!(2)),
        ("high", json!("x")),
        ("log", json!([{"at": 1}])),
        ("tags", json!([])),
        ("slug", json!("s")),
        ("seen", json!(app.now)),
    ] {
        assert_eq!(app.get(label), Some(wanted), "{label}");
    }
    app.transact(post().set_once("slug", "t")).unwrap();
    assert_eq!(app.get("slug"), Some(json!("s")));
}

#[test]
fn json_says_operators_where_it_may_and_data_where_it_may_not() {
    let update = json!([["update", "posts", POST, {"likes": {"$increment": 1}}]]);
    let mut app = App::with_post(json!({"likes": 1}));
    let operations = parse_operations_as(&update, ValueForm::Operators).unwrap().operations;
    app.transact(operations).unwrap();
    assert_eq!(app.get("likes"), Some(json!(2)));
    // Official clients mean the object itself.
    app.transact(parse_operations(&update).unwrap().operations).unwrap();
    assert_eq!(app.get("likes"), Some(json!({"$increment": 1})));
    let data = json!({"$literal": {"$push": 1}});
    app.transact(post().update(json!({"likes": literal(data.clone())}))).unwrap();
    assert_eq!(app.get("likes"), Some(data));
    app.transact(post().update(json!({"likes": {"$increment": 1, "more": 2}}))).unwrap();
    assert_eq!(app.get("likes"), Some(json!({"$increment": 1, "more": 2})));
}

#[test]
fn an_app_may_let_official_clients_use_the_json_form() {
    let mut app = App::with_post(json!({"likes": 1}));
    let steps = json!([["add-triple", POST, app.attr("likes"), {"$increment": 1}]]);
    let plain = parse_steps(&steps).unwrap();
    assert!(matches!(plain[0], TxStep::AddTriple { .. }));
    let extended = parse_steps_as(&steps, ValueForm::Operators).unwrap();
    assert!(extended[0].is_extension() && !plain[0].is_extension());
    app.execute(&extended, Actor::Client).unwrap();
    assert_eq!(app.get("likes"), Some(json!(2)));
}

#[test]
fn operators_and_plain_writes_of_one_value_compose_in_list_order() {
    let mut app = App::with_post(json!({"likes": 10, "meta": {"a": 1}}));
    app.transact(
        post()
            .increment("likes", 1)
            .update(json!({"likes": 5}))
            .increment("likes", 2)
            .multiply("likes", 3),
    )
    .unwrap();
    assert_eq!(app.get("likes"), Some(json!(21)));
    // A merge in between takes part, though merges of other values run in a group of their own.
    app.transact(
        post()
            .merge(json!({"meta": {"b": 2}}))
            .set_once("meta", json!({"c": 3}))
            .update(json!({"meta": {"d": 4}}))
            .merge(json!({"meta": {"e": 5}})),
    )
    .unwrap();
    assert_eq!(app.get("meta"), Some(json!({"d": 4, "e": 5})));
    // And so does a retraction.
    let likes = app.attr("likes");
    let steps = json!([
        ["update-triple", POST, likes, {"$increment": 1}],
        ["retract-triple", POST, likes, 22],
        ["update-triple", POST, likes, {"$increment": 1}],
    ]);
    app.execute(&parse_steps(&steps).unwrap(), Actor::Client).unwrap();
    assert_eq!(app.get("likes"), Some(json!(1)));
    let steps = json!([
        ["update-triple", POST, likes, {"$increment": 1}],
        ["retract-triple", POST, likes, 2],
    ]);
    let commit = app.execute(&parse_steps(&steps).unwrap(), Actor::Client).unwrap();
    assert_eq!(app.get("likes"), None);
    app.index.undo(&commit);
    assert_eq!(app.get("likes"), Some(json!(1)));
}

#[test]
fn one_entity_by_id_and_by_lookup_is_one() {
    let mut app = App::with_post(json!({"n": 1}));
    app.transact(tx("posts", lookup("slug", "s")).update(json!({"n": 5}))).unwrap();
    let by_slug = || tx("posts", lookup("slug", "s"));
    app.transact(by_slug().increment("n", 1).increment("n", 1)).unwrap();
    let slug = app.attr("slug");
    let found = app.index.find_unique(slug, &"s".into()).map(|h| app.index.entity(h)).unwrap();
    let n = app.attr("n");
    let both =
        by_slug().increment("n", 1).into_iter().chain(tx("posts", found).update(json!({"n": 1})));
    app.transact(both.chain(by_slug().increment("n", 10))).unwrap();
    assert_eq!(app.index.value(found, n).map(|v| v.to_json()), Some(json!(11)));
    // A lookup without a match makes one entity, and operators begin from nothing there.
    let fresh = || tx("posts", lookup("slug", "new"));
    app.transact(fresh().increment("n", 1).increment("n", 1)).unwrap();
    let made = app.index.find_unique(slug, &"new".into()).map(|h| app.index.entity(h)).unwrap();
    assert_eq!(app.index.value(made, n).map(|v| v.to_json()), Some(json!(2)));
}

#[test]
fn a_value_of_the_wrong_type_refuses_the_whole_transaction() {
    let mut app = App::with_post(json!({"likes": "many", "n": 1}));
    let error = app.transact(post().increment("n", 1).increment("likes", 1)).unwrap_err();
    assert_eq!(error.kind(), TxErrorKind::ValidationFailed);
    assert!(error.message().contains("Cannot apply $increment to `posts.likes`"), "{error}");
    assert!(error.message().contains("string"), "{error}");
    assert_eq!(app.get("n"), Some(json!(1)));
    let error = app.transact(post().update(json!({"n": {"$increment": "x"}}))).unwrap_err();
    assert!(error.message().contains("`$increment` takes a number"), "{error}");
    app.transact(post().link("author", USER)).unwrap();
    let author = app.attr("author");
    let steps = json!([["update-triple", POST, author, {"$setOnce": USER}]]);
    let error = app.execute(&parse_steps(&steps).unwrap(), Actor::Admin).unwrap_err();
    assert!(error.message().contains("not on links"), "{error}");
}

#[test]
fn strict_operators_refuse_what_is_gone() {
    let mut app = App::with_post(json!({"n": 1}));
    let strict = json!([["update", "posts", USER, {"n": {"$increment": 1}}, {"upsert": false}]]);
    let operations = parse_operations_as(&strict, ValueForm::Operators).unwrap().operations;
    let error = app.transact(operations).unwrap_err();
    assert!(error.message().contains("Updating entities that don't exist"), "{error}");
}

#[test]
fn malformed_steps_name_the_place() {
    for bad in [
        json!(["update-triple", POST, POST, 1]),
        json!(["update-triple", POST, POST, {"$fly": 1}]),
        json!(["update-triple", POST, POST, {"$increment": "1"}]),
        json!(["update-triple", POST, POST, {"$increment": 1}, {"mode": "x"}]),
        json!(["update-triple", "x", POST, {"$increment": 1}]),
        json!(["expect-triple", POST, POST]),
        json!(["expect-triple", POST, POST, 1, {}]),
    ] {
        let error = parse_steps(&json!([bad])).unwrap_err();
        assert_eq!(error.hint()["errors"][0]["in"][0], 0, "{bad}");
    }
}

#[test]
fn preconditions_compare_and_set() {
    let mut app = App::with_post(json!({"version": 1}));
    let save = |from: i64| post().expect("version", from).update(json!({"version": from + 1}));
    app.transact(save(1)).unwrap();
    let error = app.transact(save(1)).unwrap_err();
    assert_eq!(error.kind(), TxErrorKind::ValidationFailed);
    assert!(error.message().contains("Expected `posts.version`"), "{error}");
    assert_eq!(app.get("version"), Some(json!(2)));
    // Null stands for no value, and what is expected is the state before the transaction.
    let claim = || post().update(json!({"owner": "me"})).expect("owner", Json::Null);
    app.transact(claim()).unwrap();
    assert!(app.transact(claim()).is_err());
    app.transact(post().expect("author", Json::Null).link("author", USER)).unwrap();
    assert!(app.transact(post().expect("author", Json::Null)).is_err());
    app.transact(post().expect("author", USER.to_string()).increment("version", 1)).unwrap();
    assert!(app.transact(post().expect("author", POST.to_string())).is_err());
    assert!(app.transact(tx("posts", lookup("slug", "none")).expect("version", 1)).is_err());
}

#[test]
fn a_client_leaves_to_the_server_what_it_cannot_know() {
    let mut app = App::with_post(json!({"version": 1}));
    let elsewhere = tx("posts", USER).expect("version", 3);
    let steps = app.steps(elsewhere).unwrap();
    app.execute(&steps, Actor::Optimistic).unwrap();
    assert!(app.execute(&steps, Actor::Client).is_err());
    let steps = app.steps(post().expect("version", 3)).unwrap();
    assert!(app.execute(&steps, Actor::Optimistic).is_err());
}

#[test]
fn what_is_created_outright_must_be_whole_for_a_client_too() {
    let mut app = App::with_post(json!({"title": "a"}));
    let title = app.attr("title");
    let required = json!([["update-attr", {"id": title, "required?": true}]]);
    app.execute(&parse_steps(&required).unwrap(), Actor::Admin).unwrap();
    let created = app.steps(tx("posts", USER).create(json!({"n": 1}))).unwrap();
    let error = app.execute(&created, Actor::Optimistic).unwrap_err();
    assert!(error.message().starts_with("Missing required attribute"), "{error}");
    let updated = app.steps(tx("posts", USER).update(json!({"n": 1}))).unwrap();
    app.execute(&updated, Actor::Optimistic).unwrap();
}

/// A change of one number or set, with its meaning spelt out.
#[derive(Clone, Debug)]
enum Change {
    Set(i64),
    Increment(i64),
    Decrement(i64),
    Multiply(i64),
    Min(i64),
    Max(i64),
    SetOnce(i64),
    Remove,
}

impl Change {
    fn step(&self, attr: AttrId, stored: Option<i64>) -> Json {
        let update = |operator: Json| json!(["update-triple", POST, attr, operator]);
        match self {
            Self::Set(n) => json!(["add-triple", POST, attr, n]),
            Self::Increment(n) => update(json!({"$increment": n})),
            Self::Decrement(n) => update(json!({"$decrement": n})),
            Self::Multiply(n) => update(json!({"$multiply": n})),
            Self::Min(n) => update(json!({"$min": n})),
            Self::Max(n) => update(json!({"$max": n})),
            Self::SetOnce(n) => update(json!({"$setOnce": n})),
            Self::Remove => json!(["retract-triple", POST, attr, stored]),
        }
    }

    fn model(&self, value: Option<i64>) -> Option<i64> {
        match self {
            Self::Set(n) => Some(*n),
            Self::Increment(n) => Some(value.unwrap_or(0) + n),
            Self::Decrement(n) => Some(value.unwrap_or(0) - n),
            Self::Multiply(n) => Some(value.unwrap_or(1) * n),
            Self::Min(n) => Some(value.map_or(*n, |v| v.min(*n))),
            Self::Max(n) => Some(value.map_or(*n, |v| v.max(*n))),
            Self::SetOnce(n) => value.or(Some(*n)),
            Self::Remove => None,
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let n = -3_i64..4;
    prop_oneof![
        n.clone().prop_map(Change::Set),
        n.clone().prop_map(Change::Increment),
        n.clone().prop_map(Change::Decrement),
        n.clone().prop_map(Change::Multiply),
        n.clone().prop_map(Change::Min),
        n.clone().prop_map(Change::Max),
        n.prop_map(Change::SetOnce),
        Just(Change::Remove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_equals_its_changes_one_by_one(
        start in prop::option::of(-3_i64..4),
        changes in prop::collection::vec(change(), 1..10),
    ) {
        let mut app = App::with_post(json!({"n": 0}));
        let n = app.attr("n");
        let begin = start.map_or_else(
            || json!([["retract-triple", POST, n, 0]]),
            |start| json!([["add-triple", POST, n, start]]),
        );
        app.execute(&parse_steps(&begin).unwrap(), Actor::Client).unwrap();
        // One operator in the list makes all of it take effect in order.
        let mut value = start;
        let mut steps = vec![Change::SetOnce(9).step(n, value)];
        value = Change::SetOnce(9).model(value);
        for change in &changes {
            steps.push(change.step(n, value));
            value = change.model(value);
        }
        let commit = app.execute(&parse_steps(&steps.into()).unwrap(), Actor::Client).unwrap();
        prop_assert_eq!(app.get("n"), value.map(Json::from));
        app.index.undo(&commit);
        prop_assert_eq!(app.get("n"), start.map(Json::from));
        app.index.apply(&commit);
        prop_assert_eq!(app.get("n"), value.map(Json::from));
    }

    #[test]
    fn operators_of_one_family_commute(
        family in 0_usize..4,
        operands in prop::collection::vec(-4_i64..5, 2..7),
        order in any::<prop::sample::Index>(),
        start in prop::option::of(-4_i64..5),
    ) {
        let operators = |operands: &[i64]| -> Vec<Json> {
            operands.iter().enumerate().map(|(at, n)| match (family, at % 2) {
                (0, 0) => json!({"$increment": n}),
                (0, _) => json!({"$decrement": n}),
                (1, _) => json!({"$min": n}),
                (2, _) => json!({"$max": n}),
                (_, _) => json!({"$multiply": n}),
            }).collect()
        };
        let run = |operators: &[Json]| {
            let fields = start.map_or_else(|| json!({}), |start| json!({"n": start}));
            let mut app = App::with_post(fields);
            for operator in operators {
                app.transact(post().update(json!({"n": operator}))).unwrap();
            }
            app.get("n")
        };
        let one = operators(&operands);
        let mut other = one.clone();
        let turn = order.index(other.len());
        other.rotate_left(turn);
        other.swap(0, turn);
        prop_assert_eq!(run(&one), run(&other));
    }

    #[test]
    fn sets_hold_the_same_whoever_came_first(
        adds in prop::collection::vec(0_u8..5, 1..8),
        start in prop::collection::vec(0_u8..5, 0..4),
    ) {
        let run = |adds: &mut dyn Iterator<Item = u8>| {
            let mut app = App::with_post(json!({"set": start}));
            for item in adds {
                app.transact(post().add_to_set("set", item)).unwrap();
            }
            let Some(Json::Array(mut items)) = app.get("set") else { panic!("no array") };
            items.sort_by_key(|item| item.as_u64());
            items
        };
        prop_assert_eq!(run(&mut adds.iter().copied()), run(&mut adds.iter().rev().copied()));
    }
}

/// Arrays within arrays.
fn nested(levels: usize) -> Json {
    (0..levels).fold(json!(1), |inner, _| Json::Array(vec![inner]))
}

#[test]
fn values_that_readers_of_json_would_give_up_on_are_refused() {
    let mut app = App::with_post(json!({"meta": nested(64)}));
    let object = (0..65).fold(json!(1), |inner, _| json!({"a": inner}));
    let deep = nested(65);
    for chain in [
        post().update(json!({"meta": deep})),
        post().merge(json!({"meta": object})),
        post().push("other", deep.clone()),
        post().set_once("other", deep.clone()),
        post().expect("meta", deep.clone()),
    ] {
        let refused = app.transact(chain).unwrap_err();
        assert_eq!(refused.kind(), TxErrorKind::ValidationFailed);
        assert!(refused.message().contains("more than 64 levels"), "{refused}");
    }
    assert_eq!(app.get("meta"), Some(nested(64)));
    app.transact(post().push("other", nested(64))).unwrap();
    // Far deeper than a stack has room for is refused without being walked through.
    let mut steps = app.steps(post().update(json!({"meta": 1}))).unwrap();
    let Some(TxStep::AddTriple { value, .. }) = steps.last_mut() else { panic!("{steps:?}") };
    *value = tricedb_core::value::Value::from_json(nested(1_000));
    app.execute(&steps, Actor::Client).unwrap_err();
}

#[test]
fn arrays_do_not_grow_without_end() {
    let mut app = App::with_post(json!({"log": ["x".repeat((1 << 20) - 100)]}));
    app.transact(post().push("log", "short")).unwrap();
    for chain in [post().push("log", "y".repeat(100)), post().add_to_set("log", "y".repeat(100))] {
        let refused = app.transact(chain).unwrap_err();
        assert!(refused.message().contains("make its items entities"), "{refused}");
    }
    // Plain writes know no such limit, and what is too large already can shrink.
    app.transact(post().update(json!({"log": ["x".repeat(2 << 20), 1]}))).unwrap();
    app.transact(post().pull("log", 1)).unwrap();
    assert_eq!(app.get("log").unwrap().as_array().unwrap().len(), 1);
}
