//! What users are told about how a query is answered.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::LiveQuery;
use tricedb_core::query::{
    self, Access, EvalOptions, Explanation, LivePath, OrderSource, Plan, SeedKind, Windows,
};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Commit;
use tricedb_core::value::Value;
use uuid::Uuid;

const TODOS: u32 = 4_000;

fn id(kind: u128, number: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(number))
}

fn filled() -> TripleIndex {
    let mut index = TripleIndex::new();
    let data = |number, etype: &str, label: &str| {
        Attr::blob(AttrId(id(10, number)), IdentId(id(11, number)), etype, label)
    };
    let mut name = data(1, "users", "name");
    (name.unique, name.indexed) = (true, true);
    let mut rank = data(3, "todos", "rank");
    (rank.indexed, rank.checked_data_type) = (true, Some(CheckedType::Number));
    let end = |number, etype: &str, label: &str| Identity {
        id: IdentId(id(12, number)),
        etype: etype.into(),
        label: label.into(),
    };
    let ends = (end(0, "todos", "owner"), end(1, "users", "todos"));
    let mut owner = Attr::link(AttrId(id(10, 5)), ends.0, ends.1);
    owner.cardinality = Cardinality::One;
    let (user_id, todo_id) = (data(0, "users", "id"), data(2, "todos", "id"));
    for attr in [user_id, name, todo_id, rank, data(4, "todos", "done"), owner] {
        index.put_attr(Arc::new(attr));
    }
    let mut add = |entity, attr, value| {
        let attr = AttrId(id(10, attr));
        index.insert(&Triple { entity, attr, value, created_at: 1 });
    };
    for number in 0..40 {
        let entity = EntityId(id(1, number));
        add(entity, 0, Value::Ref(entity));
        add(entity, 1, Value::string(format!("user {number}")));
    }
    for number in 0..TODOS {
        let entity = EntityId(id(2, number));
        add(entity, 2, Value::Ref(entity));
        add(entity, 3, Value::Int(i64::from(number)));
        add(entity, 4, Value::Bool(number % 2 == 0));
        add(entity, 5, Value::Ref(EntityId(id(1, number % 40))));
    }
    index
}

fn explain(index: &TripleIndex, query: Json) -> Explanation {
    let query = query::parse(&query).unwrap();
    Arc::new(Plan::new(index, &query, &EvalOptions::client()).unwrap()).explain(index)
}

#[track_caller]
fn access(index: &TripleIndex, query: Json) -> Access {
    explain(index, query).forms.remove(0).access
}

#[test]
fn rows_are_found_as_told() {
    let index = filled();
    let by = |index: &str| Access::Index { index: index.into() };
    let walk = |index: &str| Access::Walk { index: index.into() };
    let of = |options: Json| json!({"todos": {"$": options}});
    let todo = id(2, 7);
    assert_eq!(access(&index, of(json!({"where": {"id": todo}}))), by("todos.id"));
    assert_eq!(access(&index, of(json!({"where": {"rank": 5}}))), by("todos.rank"));
    assert_eq!(access(&index, of(json!({"where": {"owner.name": "user 3"}}))), by("users.name"));
    let ordered = json!({"order": {"rank": "desc"}, "limit": 5});
    assert_eq!(access(&index, of(ordered)), walk("todos.rank"));
    assert_eq!(access(&index, of(json!({}))), walk("todos.id by creation time"));
    // One half is done: the order finds a page soon.
    let half = json!({"where": {"done": true}, "order": {"rank": "asc"}, "limit": 5});
    assert_eq!(access(&index, of(half)), walk("todos.rank"));
    // Nobody is.
    let none = json!({"where": {"done": 1}, "order": {"rank": "asc"}, "limit": 5});
    assert_eq!(access(&index, of(none)), Access::Scan { of: u64::from(TODOS) });
    assert_eq!(access(&index, of(json!({"where": {"colour": "red"}}))), Access::Nothing);
    let children = explain(&index, json!({"users": {"todos": {}}})).forms.remove(0).children;
    let link = Access::Link { link: "todos.owner".into(), reverse: true };
    assert_eq!((&children[0].access, children[0].rows), (&link, TODOS as usize));
}

#[test]
fn everything_is_told_once_as_data_and_once_in_words() {
    let index = filled();
    let explained = explain(
        &index,
        json!({"todos": {
            "$": {"where": {"rank": {"$lte": 99}, "done": true}, "order": {"rank": "desc"}, "limit": 3},
            "owner": {},
        }}),
    );
    let form = &explained.forms[0];
    assert_eq!((form.rows, form.order.as_str()), (3, "todos.rank desc"));
    assert_eq!(form.seeds[0].kind, SeedKind::Value);
    assert_eq!(form.seeds[0].candidates, Some(100));
    assert_eq!(form.unindexed, ["todos.done"]);
    assert_eq!(explained.live, LivePath::Incremental);
    let query = json!({"todos": {"$": {"order": {"rank": "asc"}, "limit": 2}}});
    assert_eq!(explain(&index, query).forms[0].order_from, OrderSource::Index);

    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["live"], json!({"path": "incremental"}));
    assert_eq!(serde_json::from_value::<Explanation>(json).unwrap(), explained);
    let text = explained.to_string();
    for part in [
        "todos: 3 rows",
        "index todos.rank (values in order): 100 candidates",
        "tested row by row, no index serves: todos.done",
        "order: todos.rank desc",
        "through the link todos.owner",
        "live: row by row",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn a_live_query_tells_what_it_has_done_and_why_it_cannot_go_row_by_row() {
    let mut index = filled();
    let query = query::parse(&json!({"todos": {"$": {"where": {"rank": {"$lt": 9}}}}})).unwrap();
    let mut live = LiveQuery::new(&index, &query, &EvalOptions::client()).unwrap();
    let change = json!([[EntityId(id(2, 3)), AttrId(id(10, 3)), [3, 1], [99_999, 1]]]);
    let commit: Commit = serde_json::from_value(change).unwrap();
    index.apply(&commit);
    live.apply(&index, &commit).unwrap();
    let counters = live.explain(&index).counters.unwrap();
    assert_eq!((counters.applied, counters.fallbacks), (1, 0));
    assert!(live.explain(&index).to_string().contains("1 commits followed"));

    let page = query::parse(&json!({"todos": {"$": {"offset": 1, "limit": 2}}})).unwrap();
    let options = EvalOptions::client().with_windows(Windows::default());
    let live = LiveQuery::new(&index, &page, &options).unwrap();
    assert!(!live.is_incremental());
    assert!(matches!(live.explain(&index).live, LivePath::Whole { .. }));
}
