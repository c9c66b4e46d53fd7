//! What one update costs a live query, in rows, links and index entries looked at, for each class of
//! query: a small number that does not grow with the data.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::{Arc, LazyLock};

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::{Counters, LiveQuery};
use tricedb_core::query::{self, EvalOptions};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Commit;
use tricedb_core::value::Value;
use uuid::Uuid;

const SMALL: u32 = 1_000;
const LARGE: u32 = 8_000;

fn id(kind: u128, number: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(number))
}

fn attr(number: u32) -> AttrId {
    AttrId(id(10, number))
}

fn user(number: u32) -> EntityId {
    EntityId(id(1, number))
}

fn todo(number: u32) -> EntityId {
    EntityId(id(2, number))
}

const USER_ID: u32 = 0;
const USER_NAME: u32 = 1;
const TODO_ID: u32 = 2;
const TODO_RANK: u32 = 3;
const TODO_DONE: u32 = 4;
const TODO_OWNER: u32 = 5;
const TODO_TITLE: u32 = 6;

/// Users with twenty todos each; every fourth todo is done, and ranks go up.
fn filled(todos: u32) -> TripleIndex {
    let mut index = TripleIndex::new();
    let data = |number, etype: &str, label: &str| {
        Attr::blob(attr(number), IdentId(id(11, number)), etype, label)
    };
    let mut name = data(USER_NAME, "users", "name");
    (name.unique, name.indexed) = (true, true);
    let mut rank = data(TODO_RANK, "todos", "rank");
    (rank.indexed, rank.checked_data_type) = (true, Some(CheckedType::Number));
    let mut done = data(TODO_DONE, "todos", "done");
    (done.indexed, done.checked_data_type) = (true, Some(CheckedType::Boolean));
    let end = |number, etype: &str, label: &str| Identity {
        id: IdentId(id(12, number)),
        etype: etype.into(),
        label: label.into(),
    };
    let ends = (end(0, "todos", "owner"), end(1, "users", "todos"));
    let mut owner = Attr::link(attr(TODO_OWNER), ends.0, ends.1);
    owner.cardinality = Cardinality::One;
    let (user_id, todo_id) = (data(USER_ID, "users", "id"), data(TODO_ID, "todos", "id"));
    let title = data(TODO_TITLE, "todos", "title");
    for attr in [user_id, name, todo_id, rank, done, owner, title] {
        index.put_attr(Arc::new(attr));
    }
    let mut add = |entity, number, value, created_at| {
        index.insert(&Triple { entity, attr: attr(number), value, created_at });
    };
    for number in 0..todos / 20 {
        add(user(number), USER_ID, Value::Ref(user(number)), 0);
        add(user(number), USER_NAME, Value::string(format!("user {number}")), 0);
    }
    for number in 0..todos {
        let (entity, at) = (todo(number), i64::from(number));
        add(entity, TODO_ID, Value::Ref(entity), at);
        add(entity, TODO_RANK, Value::Int(at), at);
        add(entity, TODO_DONE, Value::Bool(number % 4 == 0), at);
        add(entity, TODO_OWNER, Value::Ref(user(number / 20)), at);
        add(entity, TODO_TITLE, Value::string(format!("todo {number}")), at);
    }
    index
}

/// A changed fact, as a commit writes it.
fn fact(number: u32, of: u32, old: Json, new: Json) -> Json {
    json!([todo(number), attr(of), [old, number], [new, number]])
}

/// The counters of one commit, for a database of some size. The result is that of an evaluation from
/// scratch.
fn cost(todos: u32, query: &Json, changes: &[Json]) -> Counters {
    static SMALL_INDEX: LazyLock<TripleIndex> = LazyLock::new(|| filled(SMALL));
    static LARGE_INDEX: LazyLock<TripleIndex> = LazyLock::new(|| filled(LARGE));
    let mut index = if todos == SMALL { SMALL_INDEX.clone() } else { LARGE_INDEX.clone() };
    let query = query::parse(query).unwrap();
    let mut live = LiveQuery::new(&index, &query, &EvalOptions::native()).unwrap();
    let before = live.counters();
    let commit: Commit = serde_json::from_value(json!(changes)).unwrap();
    index.apply(&commit);
    live.apply(&index, &commit).unwrap();
    let after = live.counters();
    let sent = |result: query::QueryResult| {
        let mut wire = Vec::new();
        result.write_wire(&index, &mut wire);
        wire
    };
    let scratch = query::evaluate(&index, &query, &EvalOptions::native()).unwrap();
    assert_eq!(sent(live.result(&index).unwrap()), sent(scratch));
    Counters { probes: after.probes - before.probes, ..after }
}

/// One commit costs at most so much, and as much in a large database as in a small one.
#[track_caller]
fn check(query: Json, changes: &[Json], probes_max: u64) {
    let (small, large) = (cost(SMALL, &query, changes), cost(LARGE, &query, changes));
    assert!(large.probes <= probes_max, "{} probes", large.probes);
    assert!(large.probes <= small.probes + 2, "grows from {} to {}", small.probes, large.probes);
    assert_eq!((large.scans, large.fallbacks, large.replans), (0, 0, 0), "{large:?}");
}

fn todos(options: Json) -> Json {
    json!({"todos": {"$": options}})
}

fn moved(number: u32, to: i64) -> Json {
    fact(number, TODO_RANK, json!(number), json!(to))
}

fn ticked(number: u32, now: bool) -> Json {
    fact(number, TODO_DONE, json!(!now), json!(now))
}

#[test]
fn filters() {
    check(todos(json!({"where": {"id": todo(5)}})), &[moved(5, -1)], 12);
    check(todos(json!({"where": {"rank": 7}})), &[moved(7, -1)], 12);
    check(todos(json!({"where": {"rank": 7}})), &[moved(9, 7)], 12);
    let range = todos(json!({"where": {"rank": {"$gte": 10, "$lt": 20}}}));
    check(range.clone(), &[moved(12, 900)], 12);
    check(range, &[moved(900, 15)], 12);
    let either = todos(json!({"where": {"or": [{"rank": {"$lt": 5}}, {"title": "todo 9"}]}}));
    check(either, &[moved(3, 60)], 16);
    check(todos(json!({"where": {"done": {"$ne": false}}})), &[ticked(2, true)], 12);
    check(todos(json!({"where": {"title": {"$isNull": true}}})), &[moved(3, 60)], 16);
    check(todos(json!({"where": {"rank": {"$nin": [1, 2]}}})), &[moved(1, 60)], 12);
    let text = todos(json!({"where": {"title": {"$contains": "9"}, "rank": {"$lt": 30}}}));
    check(text, &[moved(19, 60)], 16);
    // What is not asked for costs next to nothing.
    check(todos(json!({"where": {"rank": 7}, "fields": ["rank"]})), &[ticked(7, true)], 4);
}

#[test]
fn pages() {
    let first = todos(json!({"order": {"rank": "asc"}, "limit": 10}));
    check(first.clone(), &[moved(3, 900)], 16);
    check(first.clone(), &[moved(900, -1)], 16);
    check(first, &[moved(900, 901)], 16);
    let newest =
        todos(json!({"where": {"done": true}, "order": {"serverCreatedAt": "desc"}, "limit": 5}));
    check(newest, &[ticked(996, false)], 32);
    let last = todos(json!({"order": {"rank": "asc"}, "last": 5}));
    check(last, &[moved(2, 99_999)], 16);
    let skipping = todos(json!({"order": {"rank": "asc"}, "offset": 30, "limit": 10}));
    check(skipping.clone(), &[moved(3, 900)], 16);
    check(skipping, &[moved(35, 900)], 16);
    let after = json!([todo(50), attr(TODO_RANK), 50, 50]);
    let behind = todos(json!({"order": {"rank": "asc"}, "after": after, "limit": 10}));
    check(behind.clone(), &[moved(55, 900)], 24);
    check(behind, &[moved(3, 51)], 24);
}

#[test]
fn a_page_that_runs_out_is_filled_through_an_index() {
    // More rows leave at once than are spare.
    let page = todos(json!({"order": {"rank": "asc"}, "limit": 10}));
    let leaving: Vec<Json> = (0..8).map(|number| moved(number, 900 + i64::from(number))).collect();
    check(page.clone(), &leaving, 128);
    assert_eq!(cost(LARGE, &page, &leaving).refills, 1);
    let filtered = todos(json!({"where": {"done": false}, "order": {"rank": "asc"}, "limit": 10}));
    let leaving: Vec<Json> = (0..16).filter(|n| n % 4 != 0).map(|n| ticked(n, true)).collect();
    check(filtered.clone(), &leaving, 256);
    assert_eq!(cost(LARGE, &filtered, &leaving).refills, 1);
}

#[test]
fn links() {
    // Forward: the owner's name decides; reverse: what somebody owns does.
    let mine = todos(json!({"where": {"owner.name": "user 3"}}));
    check(mine.clone(), &[moved(61, 900)], 16);
    let renamed = json!([user(7), attr(USER_NAME), ["user 7", 0], ["user seven", 0]]);
    check(mine, &[renamed], 128);
    let given = fact(61, TODO_OWNER, json!(user(3)), json!(user(4)));
    check(todos(json!({"where": {"owner": user(3)}})), std::slice::from_ref(&given), 16);
    let owners = json!({"users": {"$": {"where": {"todos.rank": {"$lt": 3}}}}});
    check(owners.clone(), &[moved(1, 900)], 64);
    check(owners, &[moved(900, 1)], 64);
    let none = json!({"users": {"$": {"where": {"todos": {"$isNull": true}}}}});
    check(none, std::slice::from_ref(&given), 64);
    // Nested: one list of children changes.
    let nested = json!({"users": {
        "$": {"where": {"name": {"$in": ["user 3", "user 4"]}}},
        "todos": {"$": {"order": {"rank": "desc"}, "limit": 5}},
    }});
    check(nested.clone(), &[moved(61, 900)], 48);
    check(nested, &[given], 64);
}

#[test]
fn aggregates() {
    let all = json!({"aggregate": {"count": true, "sum": "rank", "avg": "rank", "min": "rank", "max": "rank"}});
    check(todos(all), &[moved(61, 900)], 12);
    check(todos(json!({"aggregate": "count", "where": {"done": true}})), &[ticked(3, true)], 12);
    let groups = json!({"aggregate": {"sum": "rank", "groupBy": "owner"}});
    check(todos(groups.clone()), &[moved(61, 900)], 12);
    let given = fact(61, TODO_OWNER, json!(user(3)), json!(user(4)));
    check(todos(groups), &[given], 12);
}
