//! What InstaQL does not have: further operators, and aggregates.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::LiveQuery;
use tricedb_core::query::{self, EvalOptions, Inference, QueryError, QueryResult};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Commit;
use tricedb_core::value::Value;
use uuid::Uuid;

fn id(kind: u128, number: u32) -> Uuid {
    Uuid::from_u128(kind << 64 | u128::from(number))
}

fn order(number: u32) -> EntityId {
    EntityId(id(1, number))
}

const PRICE: u32 = 1;
const LABELS: [&str; 5] = ["id", "price", "country", "tags", "day"];

/// Orders with a price, a country, tags, a day, and a customer.
fn orders(rows: &[Json]) -> TripleIndex {
    let mut index = TripleIndex::new();
    for (number, label) in (0..).zip(LABELS) {
        let mut attr = Attr::blob(AttrId(id(10, number)), IdentId(id(11, number)), "orders", label);
        if label == "day" {
            (attr.indexed, attr.checked_data_type) = (true, Some(CheckedType::Date));
        }
        index.put_attr(Arc::new(attr));
    }
    let end = |number, etype: &str, label: &str| Identity {
        id: IdentId(id(12, number)),
        etype: etype.into(),
        label: label.into(),
    };
    let mut customer =
        Attr::link(AttrId(id(10, 5)), end(0, "orders", "customer"), end(1, "people", "orders"));
    customer.cardinality = Cardinality::One;
    index.put_attr(Arc::new(customer));
    index.put_attr(Arc::new(Attr::blob(AttrId(id(10, 6)), IdentId(id(11, 6)), "people", "id")));
    for (number, row) in (0..).zip(rows) {
        let entity = order(number);
        let mut add = |attr, value| {
            let attr = AttrId(id(10, attr));
            index.insert(&Triple { entity, attr, value, created_at: 1 });
        };
        add(0, Value::Ref(entity));
        for (attr, label) in (0..).zip(LABELS) {
            if let Some(value) = row.get(label) {
                add(attr, Value::from_json(value.clone()));
            }
        }
        if let Some(customer) = row["customer"].as_u64() {
            add(5, Value::Ref(EntityId(id(2, u32::try_from(customer).unwrap()))));
        }
    }
    index
}

fn run(index: &TripleIndex, options: Json, how: &EvalOptions) -> Result<QueryResult, QueryError> {
    let query = query::parse(&json!({"orders": {"$": options}}))?;
    query::evaluate(index, &query, how)
}

#[track_caller]
fn found(index: &TripleIndex, conditions: Json) -> Vec<u32> {
    let result = run(index, json!({"where": conditions}), &EvalOptions::native()).unwrap();
    let object = result.to_object(index, Inference::Arrays);
    let rows = object["orders"].as_array().unwrap();
    let number = |row: &Json| (0..9).find(|number| row["id"] == json!(order(*number)));
    rows.iter().map(|row| number(row).unwrap()).collect()
}

#[track_caller]
fn aggregate(index: &TripleIndex, asked: Json) -> Json {
    let options = json!({"aggregate": asked});
    let result = run(index, options, &EvalOptions::native()).unwrap();
    assert_eq!(result.to_object(index, Inference::Arrays), json!({}));
    result.aggregate_json().unwrap()["orders"].clone()
}

#[test]
fn operators_hold_for_what_the_docs_say() {
    let index = orders(&[
        json!({"country": "CH", "tags": ["a", "b"], "price": 1, "customer": 1}),
        json!({"country": "Chad", "tags": [], "price": 2, "customer": 2}),
        json!({"country": null, "tags": "ab", "day": "2025-03-01"}),
        json!({"tags": {"a": 1}, "day": 1_740_787_200_000_i64}),
    ]);
    assert_eq!(found(&index, json!({"country": {"$nin": ["CH"]}})), [1, 2, 3]);
    assert_eq!(found(&index, json!({"country": {"$nin": ["CH", null]}})), [1]);
    assert_eq!(found(&index, json!({"country": {"$nin": []}})), [0, 1, 2, 3]);
    assert_eq!(found(&index, json!({"customer": {"$nin": [id(2, 1)]}})), [1, 2, 3]);
    assert_eq!(found(&index, json!({"customer": {"$nin": [id(2, 1), null]}})), [1]);
    // The two spellings are one instant.
    assert_eq!(found(&index, json!({"day": {"$nin": ["2025-03-01"]}})), [0, 1]);
    assert_eq!(found(&index, json!({"day": {"$nin": ["2025-03-02", null]}})), [2, 3]);
    assert_eq!(found(&index, json!({"country": {"$exists": true}})), [0, 1]);
    assert_eq!(found(&index, json!({"country": {"$exists": false}})), [2, 3]);
    assert_eq!(found(&index, json!({"customer": {"$exists": false}})), [2, 3]);
    assert_eq!(found(&index, json!({"country": {"$contains": "h"}})), [1]);
    assert_eq!(found(&index, json!({"tags": {"$contains": "b"}})), [0, 2]);
    assert_eq!(found(&index, json!({"tags": {"$size": 2}})), [0, 2]);
    assert_eq!(found(&index, json!({"tags": {"$size": 0}})), [1]);
    assert_eq!(found(&index, json!({"tags": {"$size": {"$gte": 1, "$lt": 3}}})), [0, 2]);
    assert_eq!(found(&index, json!({"country": {"$size": 4, "$contains": "a"}})), [1]);
    // Beside the original's operators they all apply.
    assert_eq!(found(&index, json!({"price": {"$nin": [1], "$exists": true}})), [1]);
}

#[test]
fn an_aggregate_counts_adds_and_compares() {
    let index = orders(&[
        json!({"price": 0.1, "country": "CH", "day": "2025-03-02", "customer": 1}),
        json!({"price": 0.2, "country": "CH", "day": "2025-03-10"}),
        json!({"price": "free", "country": "AT", "day": 0, "customer": 1}),
        json!({"price": 3}),
    ]);
    assert_eq!(aggregate(&index, json!("count")), json!({"count": 4}));
    let all = json!({"count": "*", "sum": "price", "avg": "price", "min": ["day"], "max": "day"});
    let expected = json!({
        "count": 4, "sum": {"price": 3.3}, "avg": {"price": 1.0999999999999999},
        "min": {"day": 0}, "max": {"day": "2025-03-10"},
    });
    // One rounding: 0.1 + 0.2 + 3 in turn is 3.3000000000000003.
    assert_eq!(aggregate(&index, all), expected);
    let grouped = aggregate(&index, json!({"sum": "price", "avg": "price", "groupBy": "country"}));
    let expected = json!({"groups": [
        {"key": {"country": null}, "sum": {"price": 3}, "avg": {"price": 3}},
        {"key": {"country": "AT"}, "sum": {"price": 0}, "avg": {"price": null}},
        {"key": {"country": "CH"}, "sum": {"price": 0.30000000000000004}, "avg": {"price": 0.15000000000000002}},
    ]});
    assert_eq!(grouped, expected);
    let by_link = aggregate(&index, json!({"count": true, "groupBy": ["customer"]}));
    let groups = by_link["groups"].as_array().unwrap();
    assert_eq!(groups[0], json!({"key": {"customer": null}, "count": 2}));
    assert_eq!(groups[1], json!({"key": {"customer": id(2, 1)}, "count": 2}));
    // Names that mean nothing yet are null.
    let unknown = aggregate(&index, json!({"sum": "tax", "max": "tax", "groupBy": "shop"}));
    let group = json!({"key": {"shop": null}, "sum": {"tax": 0}, "max": {"tax": null}});
    assert_eq!(unknown, json!({"groups": [group]}));
}

#[test]
fn a_plain_session_gets_the_originals_error() {
    let index = orders(&[]);
    let plain = EvalOptions::socket();
    let admin = EvalOptions::admin_http();
    for conditions in [
        json!({"price": {"$nin": [1]}}),
        json!({"price": {"$exists": true}}),
        json!({"tags": {"$contains": "a"}}),
        json!({"or": [{"price": 1}, {"tags": {"$size": 1}}]}),
    ] {
        for options in [&plain, &admin] {
            let error = run(&index, json!({"where": conditions}), options).unwrap_err();
            assert_eq!(error.message(), "Validation failed for coerced-query");
            let expected = &error.hint()["errors"][0]["expected"];
            assert_eq!(expected, "instant.db.instaql/where-value-valid-keys?");
        }
        let on = EvalOptions { extensions: true, ..EvalOptions::socket() };
        assert!(run(&index, json!({"where": conditions}), &on).is_ok());
    }
    let asked = json!({"aggregate": {"sum": "price"}});
    let error = run(&index, asked.clone(), &admin).unwrap_err();
    let text = r#"The aggregate field only accepts "count", got {"sum":"price"}."#;
    assert!(error.message().ends_with(text), "{error}");
    assert!(run(&index, asked, &EvalOptions { extensions: true, ..plain.clone() }).is_ok());
    let error = run(&index, json!({"aggregate": "count"}), &plain).unwrap_err();
    assert!(error.message().ends_with("only available for admin queries."), "{error}");
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let index = orders(&[]);
    let message = |options: Json| {
        let error = run(&index, options, &EvalOptions::native()).unwrap_err();
        error.message().to_owned()
    };
    for (aggregate, part) in [
        (json!({}), "must ask for"),
        (json!({"median": "price"}), "no `median`"),
        (json!({"count": "price"}), "`count`"),
        (json!({"sum": 1}), "`sum`"),
        (json!({"sum": vec!["price"; 65]}), "more than 64"),
        (json!({"sum": "customer"}), "`orders.customer` is a link"),
        (json!({"sum": "customer.age"}), "of the namespace itself"),
        (json!("sum"), "only accepts"),
    ] {
        let message = message(json!({"aggregate": aggregate}));
        assert!(message.contains(part), "{message}");
    }
    let paged = json!({"aggregate": {"count": true}, "limit": 3});
    assert!(message(paged).contains("`limit` cannot be used beside it"));
    assert!(message(json!({"where": {"customer": {"$size": 1}}})).contains("is a link"));
    assert!(message(json!({"where": {"tags": {"$size": -1}}})).contains("coerced-query"));
    let nested = query::parse(&json!({"people": {"orders": {"$": {"aggregate": "count"}}}}));
    assert!(nested.unwrap_err().message().contains("top-level"));
    let grouped = query::parse(
        &json!({"people": {"$": {"aggregate": {"count": true, "groupBy": "orders"}}}}),
    );
    let error = query::evaluate(&index, &grouped.unwrap(), &EvalOptions::native()).unwrap_err();
    assert!(error.message().contains("one target"), "{error}");
}

#[test]
fn a_live_sum_does_not_drift() {
    let mut index = orders(&[json!({"price": 1e16}), json!({"price": 0.1})]);
    let asked =
        json!({"orders": {"$": {"aggregate": {"sum": "price", "avg": "price", "max": "price"}}}});
    let query = query::parse(&asked).unwrap();
    let mut live = LiveQuery::new(&index, &query, &EvalOptions::native()).unwrap();
    let price = AttrId(id(10, PRICE));
    let mut told = 0;
    let mut old = json!(1e16);
    for round in 0..1_000 {
        let new = if round == 999 { json!(0.2) } else { json!(f64::from(round) * 1e13 + 0.7) };
        let change = json!([[order(0), price, [old, 1], [new, 1]]]);
        old = new;
        let commit: Commit = serde_json::from_value(change).unwrap();
        index.apply(&commit);
        told += live.apply(&index, &commit).unwrap().counts.len();
    }
    assert_eq!(told, 1_000);
    let shown = live.result(&index).unwrap().aggregate_json().unwrap();
    assert_eq!(shown["orders"]["sum"]["price"], json!(0.30000000000000004));
    assert_eq!(shown["orders"]["max"]["price"], json!(0.2));
    let scratch = query::evaluate(&index, &query, &EvalOptions::native()).unwrap();
    assert_eq!(Some(shown), scratch.aggregate_json());
    assert_eq!(live.counters().fallbacks, 0);
}

/// The original keeps one operator of an object; here all of them hold, for one value.
#[test]
fn several_operators_in_one_object_all_apply() {
    let index = orders(&[
        json!({"country": "CH", "price": 1, "customer": 1}),
        json!({"country": "AT", "price": 2, "customer": 1}),
        json!({"price": 3, "customer": 2}),
        json!({"country": null, "price": 4}),
    ]);
    assert_eq!(found(&index, json!({"country": {"$ne": "CH", "$isNull": false}})), [1]);
    assert_eq!(found(&index, json!({"country": {"$ne": "CH", "$not": "AT"}})), [2, 3]);
    assert_eq!(found(&index, json!({"country": {"$ne": "CH", "$nin": ["AT"]}})), [2, 3]);
    assert_eq!(found(&index, json!({"country": {"$in": ["CH", "AT"], "$ne": "CH"}})), [1]);
    assert_eq!(found(&index, json!({"country": {"$isNull": true, "$ne": "CH"}})), [2, 3]);
    assert_eq!(found(&index, json!({"country": {"$isNull": true, "$in": ["CH"]}})), [] as [u32; 0]);
    let both = id(2, 1);
    assert_eq!(found(&index, json!({"customer": {"$in": [both], "$isNull": false}})), [0, 1]);
    assert_eq!(found(&index, json!({"customer": {"$ne": both, "$isNull": false}})), [2]);

    // One linked entity must pass them all: nobody has an order that is neither of the two.
    let people = |conditions: Json| {
        let query = query::parse(&json!({"people": {"$": {"where": conditions}}})).unwrap();
        let mut index = index.clone();
        for number in [1, 2] {
            let entity = EntityId(id(2, number));
            let (attr, value) = (AttrId(id(10, 6)), Value::Ref(entity));
            index.insert(&Triple { entity, attr, value, created_at: 1 });
        }
        let result = query::evaluate(&index, &query, &EvalOptions::native()).unwrap();
        result.rows("people").len()
    };
    assert_eq!(people(json!({"orders.country": {"$ne": "CH", "$not": "AT"}})), 1);
    assert_eq!(people(json!({"orders.country": {"$ne": "CH"}})), 2);
    assert_eq!(people(json!({"orders.country": {"$nin": ["CH", "AT", null]}})), 0);
}
