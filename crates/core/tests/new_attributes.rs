//! Transactions that make the attributes that they write.

use serde_json::{Value as Json, json};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{
    Actor, Commit, ExecuteContext, MissingAttrs, TxError, execute, expand, parse_operations,
};
use uuid::Uuid;

fn transact(index: &mut TripleIndex, operations: &Json) -> Result<Commit, TxError> {
    let operations = parse_operations(operations)?.operations;
    let known = |_: &str, _: &_| false;
    let mut ids = Uuid::new_v4;
    let steps = expand(&operations, index.catalog(), &known, MissingAttrs::Create, &mut ids)?;
    execute(index, &steps, &mut ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Client })
}

#[test]
fn strict_writes_of_a_new_attribute_see_that_the_entity_exists() {
    let mut index = TripleIndex::new();
    let (there, nowhere) = (Uuid::new_v4(), Uuid::new_v4());
    transact(&mut index, &json!([["create", "todos", there, { "title": "a" }]])).unwrap();
    let strict = json!({ "upsert": false });
    let update = |id: Uuid| json!([["update", "todos", id, { "weight": 1 }, strict]]);
    transact(&mut index, &update(there)).unwrap();
    let weight = index.catalog().forward("todos", "weight").unwrap().id;
    assert_eq!(index.value(there.into(), weight), Some(&1.into()));
    let error = transact(&mut index, &update(nowhere)).unwrap_err();
    assert!(error.message().contains("don't exist"), "{error}");
    let other = json!([["update", "notes", there, { "text": "x" }, strict]]);
    let error = transact(&mut index, &other).unwrap_err();
    assert!(error.message().contains("don't exist"), "{error}");
    let again = json!([["create", "todos", there, { "colour": "red" }]]);
    let error = transact(&mut index, &again).unwrap_err();
    assert!(error.message().contains("entities that exist"), "{error}");
}
