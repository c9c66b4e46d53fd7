//! What is hidden shows nowhere: not in results, not by its effects, not on the wire.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::{AttrSlot, Row, TripleIndex};
use tricedb_core::query::{self, EvalOptions, Inference, QueryResult, Visibility};
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use uuid::Uuid;

const fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

const USER_ID: AttrId = AttrId(id(101));
const USER_NAME: AttrId = AttrId(id(102));
const USER_AGE: AttrId = AttrId(id(103));
const POST_ID: AttrId = AttrId(id(104));
const POST_AUTHOR: AttrId = AttrId(id(105));

const ANN: EntityId = EntityId(id(1));
const BOB: EntityId = EntityId(id(2));
const BY_ANN: EntityId = EntityId(id(11));
const BY_BOB: EntityId = EntityId(id(12));

/// Hides one entity, and one attribute of another.
struct Rules {
    entity: EntityId,
    value: (EntityId, AttrId),
}

impl Visibility for Rules {
    fn sees_entity(&self, _: &TripleIndex, _: AttrSlot, row: &Row) -> bool {
        row.id() != self.entity
    }

    fn sees_value(&self, index: &TripleIndex, row: &Row, attr: AttrSlot) -> bool {
        (row.id(), index.attr_id(attr)) != self.value
    }
}

const RULES: Rules = Rules { entity: BOB, value: (ANN, USER_AGE) };

fn index() -> TripleIndex {
    let mut index = TripleIndex::new();
    let mut number = 200;
    let mut ident = || {
        number += 1;
        IdentId(id(number))
    };
    let user_id = Attr::blob(USER_ID, ident(), "users", "id");
    let mut name = Attr::blob(USER_NAME, ident(), "users", "name");
    let mut age = Attr::blob(USER_AGE, ident(), "users", "age");
    (name.indexed, name.unique) = (true, true);
    (age.indexed, age.checked_data_type) = (true, Some(CheckedType::Number));
    let post_id = Attr::blob(POST_ID, ident(), "posts", "id");
    let forward = Identity { id: ident(), etype: "posts".into(), label: "author".into() };
    let reverse = Identity { id: ident(), etype: "users".into(), label: "posts".into() };
    let mut author = Attr::link(POST_AUTHOR, forward, reverse);
    author.cardinality = Cardinality::One;
    for attr in [user_id, name, age, post_id, author] {
        index.put_attr(Arc::new(attr));
    }
    for (entity, name, age, post) in [(ANN, "ann", 30, BY_ANN), (BOB, "bob", 40, BY_BOB)] {
        let facts = [
            (entity, USER_ID, Value::Ref(entity)),
            (entity, USER_NAME, Value::from(name)),
            (entity, USER_AGE, Value::Int(age)),
            (post, POST_ID, Value::Ref(post)),
            (post, POST_AUTHOR, Value::Ref(entity)),
        ];
        for (entity, attr, value) in facts {
            index.insert(&Triple { entity, attr, value, created_at: 1 });
        }
    }
    index
}

fn run(index: &TripleIndex, query: Json) -> QueryResult {
    let query = query::parse(&query).unwrap();
    let options = EvalOptions { admin: true, ..EvalOptions::socket() };
    query::evaluate_as(index, &query, &options, &RULES).unwrap()
}

/// The entities found, by the last digits of their ids.
fn found(query: Json) -> Vec<String> {
    let index = index();
    let object = run(&index, query).to_object(&index, Inference::Arrays);
    let rows = object.as_object().unwrap().values().next().unwrap().as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap()[34..].to_owned()).collect()
}

#[test]
fn hidden_entities_and_values_are_left_out_of_objects() {
    let index = index();
    let query = json!({"posts": {"author": {}}, "users": {"posts": {}}});
    let object = run(&index, query).to_object(&index, Inference::Arrays);
    let ann = json!({"id": ANN, "name": "ann"});
    assert_eq!(
        object["posts"],
        json!([{"id": BY_ANN, "author": [ann]}, {"id": BY_BOB, "author": []}])
    );
    assert_eq!(object["users"], json!([{"id": ANN, "name": "ann", "posts": [{"id": BY_ANN}]}]));
    let count = run(&index, json!({"users": {"$": {"aggregate": "count"}}}));
    assert_eq!(count.aggregate_json(), Some(json!({"users": {"count": 1}})));
}

#[test]
fn conditions_do_not_tell_of_what_is_hidden() {
    let posts = |condition: Json| found(json!({"posts": {"$": {"where": condition}}}));
    let users = |condition: Json| found(json!({"users": {"$": {"where": condition}}}));
    assert_eq!(users(json!({"name": "bob"})), [""; 0]);
    assert_eq!(users(json!({"id": BOB})), [""; 0]);
    assert_eq!(users(json!({"age": 30})), [""; 0]);
    assert_eq!(users(json!({"age": {"$gt": 1}})), [""; 0]);
    assert_eq!(users(json!({"age": {"$isNull": true}})), ["01"]);
    assert_eq!(users(json!({"posts": BY_BOB})), [""; 0]);
    assert_eq!(posts(json!({"author.name": "ann"})), ["0b"]);
    assert_eq!(posts(json!({"author.name": "bob"})), [""; 0]);
    assert_eq!(posts(json!({"author": BOB})), [""; 0]);
    assert_eq!(posts(json!({"author": {"$isNull": false}})), ["0b"]);
    assert_eq!(posts(json!({"author": {"$isNull": true}})), ["0c"]);
    assert_eq!(posts(json!({"author.name": {"$ne": "ann"}})), ["0c"]);
}

#[test]
fn the_wire_carries_nothing_hidden() {
    let index = index();
    let queries = [
        json!({"posts": {"author": {}}, "users": {"posts": {"author": {}}}}),
        json!({"users": {"$": {"where": {"age": {"$isNull": true}}, "order": {"age": "asc"}}}}),
        json!({"users": {"$": {"order": {"age": "desc"}, "fields": []}}}),
        json!({"posts": {"$": {"where": {"or": [
            {"author.age": {"$ne": 1}}, {"author": {"$ne": ANN}}, {"author": {"$isNull": true}},
        ]}, "fields": []}}, "users": {"$": {"where": {"posts": {"$ne": BY_BOB}}}}}),
    ];
    for query in queries {
        let result = run(&index, query.clone());
        for triple in result.triples(&index) {
            let tells = triple.entity == BOB || triple.value == Value::Ref(BOB);
            assert!(!tells, "{query} sends {triple:?}");
            assert_ne!((triple.entity, triple.attr), RULES.value, "{query} sends {triple:?}");
        }
        let pages = result.page_info_json().unwrap_or_default().to_string();
        assert!(!pages.contains("30") && !pages.contains(&BOB.to_string()), "{pages}");
    }
}
