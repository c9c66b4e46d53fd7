//! What is refused, in which words, and where the fault is said to be.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, QueryError};
use uuid::Uuid;

fn index() -> TripleIndex {
    let mut index = TripleIndex::new();
    let mut number = 0;
    let mut next = || {
        number += 1;
        Uuid::from_u128(number)
    };
    let mut add = |label: &str, checked, edit: fn(&mut Attr)| {
        let mut attr = Attr::blob(AttrId(next()), IdentId(next()), "users", label);
        attr.checked_data_type = checked;
        attr.indexed = true;
        edit(&mut attr);
        index.put_attr(Arc::new(attr));
    };
    add("id", None, |_| {});
    add("name", Some(CheckedType::String), |_| {});
    add("age", Some(CheckedType::Number), |_| {});
    add("born", Some(CheckedType::Date), |_| {});
    add("plain", Some(CheckedType::Number), |attr| attr.indexed = false);
    add("loose", None, |_| {});
    add("slow", Some(CheckedType::Number), |attr| attr.indexing = true);
    add("unsure", Some(CheckedType::Number), |attr| attr.checking_data_type = true);
    add("many", Some(CheckedType::Number), |attr| attr.cardinality = Cardinality::Many);
    let name = |id, etype: &str, label: &str| Identity {
        id: IdentId(id),
        etype: etype.into(),
        label: label.into(),
    };
    let (forward, reverse) = (name(next(), "users", "posts"), name(next(), "posts", "author"));
    index.put_attr(Arc::new(Attr::link(AttrId(next()), forward, reverse)));
    index
}

fn refusal(query: &Json) -> Option<QueryError> {
    let parsed = match query::parse(query) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error),
    };
    query::evaluate(&index(), &parsed, &EvalOptions::socket()).err()
}

/// Asserts what a query about `users` with these options is refused for, and at which place.
#[track_caller]
fn check(options: Json, place: Json, text: &str) {
    let query = json!({"users": {"$": options}});
    let error = refusal(&query).unwrap();
    assert_eq!(error.kind(), "validation-failed");
    assert_eq!(error.message(), format!("Validation failed for query: {text}"));
    assert_eq!(error.hint()["data-type"], "query");
    assert_eq!(error.hint()["input"], query);
    assert_eq!(error.hint()["errors"][0]["message"], text);
    let full: Vec<Json> = [json!("users"), json!("$")]
        .into_iter()
        .chain(place.as_array().unwrap().iter().cloned())
        .collect();
    assert_eq!(error.hint()["errors"][0]["in"], Json::Array(full));
}

#[test]
fn options_of_the_wrong_shape() {
    let unknown =
        "We only support `where`, `order`, `limit`, `offset`, `before`, and `after` clauses.";
    check(json!({"skip": 1}), json!([]), unknown);
    check(
        json!({"order": {"age": "asc", "name": "asc"}}),
        json!(["order"]),
        "We only support a single key in the `order` clause. Got age,name.",
    );
    check(
        json!({"order": {"age": 1}}),
        json!(["order", "age"]),
        "We only support \"asc\" or \"desc\" in the `order` clause. Got 1.",
    );
    check(
        json!({"limit": 0}),
        json!(["limit"]),
        "The limit field must be a positive integer. Got 0.",
    );
    check(
        json!({"limit": 1.5}),
        json!(["limit"]),
        "The limit field must be a positive integer. Got 1.5.",
    );
    check(
        json!({"offset": -1}),
        json!(["offset"]),
        "The offset field must be a non-negative integer. Got -1.",
    );
    let three = "Only provide one of `limit` or `first` or `last`.";
    check(json!({"limit": 1, "first": 1, "last": 1}), json!([]), three);
    check(json!({"after": 3}), json!(["after"]), "Expected a join row for the cursor, got 3.");
    let id = "00000000-0000-4000-8000-000000000000";
    check(
        json!({"before": [id, id, 1, "x"]}),
        json!(["before"]),
        "Expected a join row with an integer created_at in the last position, got \"x\".",
    );
    check(
        json!({"after": [id, id, 1, 1]}),
        json!(["after"]),
        "Invalid after cursor. The query orders by `serverCreatedAt`, but the query that returned the \
         cursor orders by a missing attribute.",
    );
    check(
        json!({"aggregate": "count"}),
        json!(["aggregate"]),
        "Aggregates are currently only available for admin queries.",
    );
    check(
        json!({"where": {"and": []}}),
        json!(["and"]),
        "The list of `and` conditions can't be empty.",
    );
    let combined = json!({"users": {"$": {"aggregate": "count"}, "posts": {}}});
    let text = "You can not combine aggregates with child queries at this time.";
    assert!(refusal(&combined).unwrap().message().ends_with(text));
}

#[test]
fn orders_that_no_index_serves() {
    let cases = [
        ("plain", "is not indexed. Only indexed and typed attributes can be used to order by."),
        ("loose", "is not typed. Only typed and indexed attributes can be used to order by."),
        (
            "slow",
            "is still in the process of indexing. It must finish before ordering by the attribute.",
        ),
        (
            "unsure",
            "is still in the process of validating its type. It must finish before ordering by the \
             attribute.",
        ),
        (
            "many",
            "has cardinality `many`. Only attributes with cardinality `one` can be used to order by.",
        ),
    ];
    for (label, why) in cases {
        let text = format!("The `users.{label}` attribute {why}");
        check(json!({"order": {label: "asc"}}), json!(["order"]), &text);
    }
    let none = "There is no `nope` attribute for users.";
    check(json!({"order": {"nope": "desc"}}), json!(["order"]), none);
}

#[test]
fn operands_that_an_attribute_does_not_admit() {
    let indexed = "The `users.plain` attribute must be indexed to use comparison operators.";
    check(json!({"where": {"plain": {"$lt": 1}}}), json!(["where", "plain"]), indexed);
    let typed =
        "The `users.loose` attribute must have an enforced type to use comparison operators.";
    check(json!({"where": {"loose": {"$lt": 1}}}), json!(["where", "loose"]), typed);
    check(
        json!({"where": {"slow": {"$lt": 1}}}),
        json!(["where", "slow"]),
        "The `users.slow` attribute is still in the process of indexing. It must finish before using \
         comparison operators.",
    );
    check(
        json!({"where": {"unsure": {"$lt": 1}}}),
        json!(["where", "unsure"]),
        "The `users.unsure` attribute is still in the process of checking its data type. It must finish \
         before using comparison operators.",
    );
    check(
        json!({"where": {"age": {"$gt": "x"}}}),
        json!(["where", "age", "$gt"]),
        "The data type of `users.age` is `number`, but the query got the value `\"x\"` of type `string`.",
    );
    check(
        json!({"where": {"or": [{"name": "x"}, {"age": true}]}}),
        json!(["where", "or", 1, "age"]),
        "The data type of `users.age` is `number`, but the query got the value `true` of type `boolean`.",
    );
    check(
        json!({"where": {"born": "yesterday"}}),
        json!(["where", "born"]),
        "The data type of `users.born` is `date`, but the query got value `\"yesterday\"` of type `string`.",
    );
    check(
        json!({"where": {"name": {"$ilike": 3}}}),
        json!(["where", "name", "$ilike"]),
        "The $ilike value for `users.name` must be a string, but the query got the value `3` of type \
         `number`.",
    );
    check(
        json!({"where": {"plain": {"$in": [1, null]}}}),
        json!(["where", "plain"]),
        "Only indexed attrs can check for `nil` in `$in`. users.plain is not indexed.",
    );
    check(
        json!({"where": {"posts": 3}}),
        json!(["where", "posts"]),
        "Expected posts to be a uuid, got 3",
    );
    check(
        json!({"where": {"posts": {"$in": ["x"]}}}),
        json!(["where", "posts"]),
        "Expected posts to match on a uuid, found \"x\" in [\"x\"]",
    );
}

#[test]
fn conditions_of_the_wrong_shape_name_the_coerced_form() {
    let conditions = [
        json!(null),
        json!([1]),
        json!({}),
        json!({"$eq": 1}),
        json!({"$in": 1}),
        json!({"$in": [[]]}),
        json!({"$ne": null}),
        json!({"$isNull": 1}),
        json!({"$gt": []}),
    ];
    for condition in conditions {
        let error = refusal(&json!({"users": {"$": {"where": {"name": condition}}}})).unwrap();
        assert_eq!(error.message(), "Validation failed for coerced-query", "{condition}");
        let place = error.hint()["errors"][0]["in"].to_string();
        assert!(place.starts_with(r#"[0,"option-map","where-conds",0,1"#), "{place}");
    }
}

#[test]
fn links_and_data_are_not_mixed_up() {
    let queries =
        [json!({"users": {"name": {}}}), json!({"users": {"$": {"where": {"name.first": "x"}}}})];
    for query in queries {
        let error = refusal(&query).unwrap();
        assert_eq!(error.message(), "Validation failed for attr: users.name needs to be a link");
        assert_eq!(error.hint()["data-type"], "attr");
    }
}

#[test]
fn names_that_do_not_exist_are_no_fault_and_deep_nesting_is() {
    let fine = [
        json!({"nope": {"$": {"where": {"a.b.c": {"$ne": 1}}}, "child": {"$": {"limit": 1}}}}),
        json!({"users": {"nope": {"deeper": {}}, "$": {"fields": ["nope"]}}}),
        json!({"users": {"$": {"where": {"or": [{"name": "x"}, {"nope.nope": 1}]}}}}),
        json!({"$$ruleParams": {"a": 1}, "users": {"$": null}}),
    ];
    for query in fine {
        assert_eq!(refusal(&query), None, "{query}");
    }
    let mut deep = json!({});
    let mut condition = json!({"name": "x"});
    for _ in 0..150 {
        deep = json!({"posts": deep});
        condition = json!({"or": [condition, {"name": "y"}]});
    }
    assert!(refusal(&json!({"users": deep})).unwrap().message().contains("nested too deeply"));
    let query = json!({"users": {"$": {"where": condition}}});
    assert!(refusal(&query).unwrap().message().contains("nested too deeply"));
}

#[test]
fn options_that_are_no_object_are_refused_by_whoever_checks() {
    for odd in [json!(5), json!("x"), json!([]), json!(true)] {
        for query in [json!({"users": {"$": odd}}), json!({"nope": {"nope": {"$": odd}}})] {
            let error = refusal(&query).unwrap();
            assert_eq!(error.message(), "Validation failed for query");
            assert_eq!(error.hint()["errors"][0]["expected"], "map?");
            let parsed = query::parse(&query).unwrap();
            assert!(query::evaluate(&index(), &parsed, &EvalOptions::client()).is_ok());
        }
    }
}

#[test]
fn without_checks_the_same_queries_find_what_they_can() {
    let query = json!({"users": {"$": {
        "where": {"age": "x", "posts": {"$ne": 3}, "loose": {"$gt": 1}, "plain": {"$in": [null]}},
        "order": {"nope": "desc"},
    }}});
    let parsed = query::parse(&query).unwrap();
    let result = query::evaluate(&index(), &parsed, &EvalOptions::client()).unwrap();
    assert!(result.rows("users").is_empty());
}
