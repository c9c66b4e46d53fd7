//! What queries cost, in rows, links and index entries looked at; and which changes they feel.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, Inference, QueryResult};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Commit;
use tricedb_core::value::Value;
use uuid::Uuid;

const TODOS: u32 = 20_000;
const USERS: u32 = 50;

fn uuid(kind: u128, number: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(number))
}

fn attr_id(number: u32) -> AttrId {
    AttrId(uuid(10, number))
}

const USER_ID: u32 = 0;
const USER_NAME: u32 = 1;
const TODO_ID: u32 = 2;
const TODO_RANK: u32 = 3;
const TODO_DONE: u32 = 4;
const TODO_OWNER: u32 = 5;

fn data(number: u32, etype: &str, label: &str) -> Attr {
    Attr::blob(attr_id(number), IdentId(uuid(11, number)), etype, label)
}

fn index() -> TripleIndex {
    let mut index = TripleIndex::new();
    let mut name = data(USER_NAME, "users", "name");
    (name.unique, name.indexed) = (true, true);
    let mut rank = data(TODO_RANK, "todos", "rank");
    (rank.indexed, rank.checked_data_type) = (true, Some(CheckedType::Number));
    let identity = |number, etype: &str, label: &str| Identity {
        id: IdentId(uuid(12, number)),
        etype: etype.into(),
        label: label.into(),
    };
    let (forward, reverse) = (identity(0, "todos", "owner"), identity(1, "users", "todos"));
    let mut owner = Attr::link(attr_id(TODO_OWNER), forward, reverse);
    owner.cardinality = Cardinality::One;
    let done = data(TODO_DONE, "todos", "done");
    let (user_id, todo_id) = (data(USER_ID, "users", "id"), data(TODO_ID, "todos", "id"));
    for attr in [user_id, name, todo_id, rank, done, owner] {
        index.put_attr(Arc::new(attr));
    }
    index
}

fn user(number: u32) -> EntityId {
    EntityId(uuid(1, number))
}

fn todo(number: u32) -> EntityId {
    EntityId(uuid(2, number))
}

fn filled() -> TripleIndex {
    let mut index = index();
    let mut add = |entity, attr, value, created_at| {
        index.insert(&Triple { entity, attr: attr_id(attr), value, created_at });
    };
    for number in 0..USERS {
        add(user(number), USER_ID, Value::Ref(user(number)), 0);
        add(user(number), USER_NAME, Value::string(format!("user {number}")), 0);
    }
    for number in 0..TODOS {
        let (entity, at) = (todo(number), i64::from(number));
        add(entity, TODO_ID, Value::Ref(entity), at);
        add(entity, TODO_RANK, Value::Int(i64::from(number.wrapping_mul(7919) % TODOS)), at);
        add(entity, TODO_DONE, Value::Bool(number % 2 == 0), at);
        add(entity, TODO_OWNER, Value::Ref(user(number % USERS)), at);
    }
    index
}

fn run(index: &TripleIndex, query: Json) -> QueryResult {
    query::evaluate(index, &query::parse(&query).unwrap(), &EvalOptions::client()).unwrap()
}

#[track_caller]
fn check(index: &TripleIndex, query: Json, etype: &str, rows: usize, touched_max: u64) {
    let result = run(index, query);
    assert_eq!(result.rows(etype).len(), rows);
    assert!(result.touched() <= touched_max, "looked at {} things", result.touched());
}

#[test]
fn the_work_follows_the_answer_and_not_the_data() {
    let index = filled();
    let all = u64::from(TODOS);
    let by_id = json!({"todos": {"$": {"where": {"id": todo(7)}}}});
    check(&index, by_id, "todos", 1, 5);
    check(&index, json!({"users": {"$": {"where": {"name": "user 3"}}}}), "users", 1, 5);
    check(
        &index,
        json!({"todos": {"$": {"where": {"rank": {"$gte": 10, "$lt": 20}}}}}),
        "todos",
        10,
        2_100,
    );
    check(&index, json!({"todos": {"$": {"where": {"rank": {"$lt": 20}}}}}), "todos", 20, 200);
    check(
        &index,
        json!({"todos": {"$": {"order": {"rank": "desc"}, "limit": 50}}}),
        "todos",
        50,
        200,
    );
    // Half of the todos are done: a walk in order finds a page after about twice as many rows.
    let page = json!({"where": {"done": false}, "order": {"rank": "asc"}, "limit": 50});
    check(&index, json!({"todos": {"$": page}}), "todos", 50, 600);
    let newest =
        json!({"where": {"done": true}, "order": {"serverCreatedAt": "desc"}, "limit": 10});
    check(&index, json!({"todos": {"$": newest}}), "todos", 10, 200);
    // Paths are entered at the end that knows fewer.
    let mine = json!({"where": {"owner.name": "user 3"}});
    check(&index, json!({"todos": {"$": mine}}), "todos", 400, 4_000);
    check(&index, json!({"todos": {"$": {"where": {"owner": user(3)}}}}), "todos", 400, 4_000);
    let owners = json!({"users": {"$": {"where": {"todos.rank": 5}}}});
    check(&index, owners, "users", 1, 500);
    // A page in the middle is reached by its cursor.
    let at = 19_000_i64;
    let after = json!([todo(19_000), attr_id(TODO_ID), todo(19_000), at]);
    check(&index, json!({"todos": {"$": {"after": after, "limit": 10}}}), "todos", 10, 50);
    // So is one by its number, where nothing is filtered.
    let offset = json!({"order": {"rank": "desc"}, "offset": 15_000, "limit": 10});
    check(&index, json!({"todos": {"$": offset}}), "todos", 10, 50);
    // Few candidates of an index are better than a long walk in order; many are not.
    let recent = json!({"order": {"serverCreatedAt": "desc"}, "limit": 50});
    let mut few = recent.clone();
    few["where"] = json!({"rank": {"$lt": 500}});
    check(&index, json!({"todos": {"$": few}}), "todos", 50, 3_000);
    let mut many = recent;
    many["where"] = json!({"rank": {"$lt": 4_000}});
    check(&index, json!({"todos": {"$": many}}), "todos", 50, 1_500);
    // A walk in vain is given up early.
    let vain = json!({"where": {"done": "no"}, "order": {"serverCreatedAt": "asc"}, "limit": 50});
    check(&index, json!({"todos": {"$": vain}}), "todos", 0, all * 2 + all / 5);
    // What no index serves looks at everything once or twice, not more.
    let none = json!({"where": {"done": "no"}, "order": {"rank": "asc"}, "limit": 5});
    check(&index, json!({"todos": {"$": none}}), "todos", 0, 3 * all);
    let nested = json!({"users": {"todos": {}}});
    check(&index, nested, "users", USERS as usize, 3 * all);
}

#[test]
fn children_come_in_order_below_each_parent() {
    let index = filled();
    let query = json!({"users": {
        "$": {"where": {"name": {"$in": ["user 1", "user 2"]}}},
        "todos": {"$": {"order": {"rank": "desc"}, "limit": 3, "fields": ["rank"]}},
    }});
    let objects = run(&index, query).to_object(&index, Inference::Arrays);
    for (place, number) in [1, 2].into_iter().enumerate() {
        let mut ranks: Vec<u32> = (0..TODOS)
            .filter(|todo| todo % USERS == number)
            .map(|todo| todo.wrapping_mul(7919) % TODOS)
            .collect();
        ranks.sort_unstable_by(|a, b| b.cmp(a));
        let todos = objects["users"][place]["todos"].as_array().unwrap();
        let got: Vec<u64> = todos.iter().map(|todo| todo["rank"].as_u64().unwrap()).collect();
        assert_eq!(got, ranks[..3].iter().map(|rank| u64::from(*rank)).collect::<Vec<_>>());
    }
}

fn commit(changes: Json) -> Commit {
    serde_json::from_value(changes).unwrap()
}

#[test]
fn a_query_feels_changes_of_what_it_reads_and_no_others() {
    let mut index = index();
    let touches = |index: &TripleIndex, query: Json, change: &Commit| {
        let reads = query::parse(&query).unwrap().reads(index.catalog());
        reads.touches(change, index.catalog())
    };
    let change = |attr: u32| commit(json!([[todo(1), attr_id(attr), null, ["x", 1]]]));
    let rank = change(TODO_RANK);
    assert!(touches(&index, json!({"todos": {}}), &rank));
    assert!(touches(&index, json!({"users": {"todos": {}}}), &rank));
    assert!(touches(&index, json!({"users": {"$": {"where": {"todos.rank": 1}}}}), &rank));
    assert!(touches(
        &index,
        json!({"todos": {"$": {"order": {"rank": "asc"}, "fields": []}}}),
        &rank
    ));
    assert!(!touches(&index, json!({"todos": {"$": {"fields": ["done"]}}}), &rank));
    assert!(!touches(&index, json!({"users": {}}), &rank));
    assert!(!touches(&index, json!({"users": {"todos": {"$": {"fields": ["done"]}}}}), &rank));
    assert!(touches(
        &index,
        json!({"users": {"todos": {"$": {"fields": []}}}}),
        &change(TODO_OWNER)
    ));
    assert!(touches(
        &index,
        json!({"users": {"$": {"where": {"todos.rank": {"$ne": 1}}}}}),
        &change(TODO_ID)
    ));

    // A name that means nothing yet is waited for.
    let attr = data(20, "todos", "colour");
    let made = commit(json!([{"new": attr}]));
    let queries = [
        json!({"todos": {"$": {"where": {"colour": "red"}, "fields": []}}}),
        json!({"users": {"$": {"where": {"todos.colour": "red"}, "fields": []}}}),
        json!({"todos": {"$": {"fields": ["colour"]}}}),
        json!({"todos": {}}),
    ];
    for query in &queries {
        assert!(touches(&index, query.clone(), &made), "{query}");
    }
    assert!(!touches(&index, json!({"users": {}}), &made));
    // Reads that were taken before the attribute was made still feel its facts where all are returned.
    let before = query::parse(&json!({"todos": {}})).unwrap().reads(index.catalog());
    index.apply(&made);
    assert!(before.touches(&change(20), index.catalog()));
}
