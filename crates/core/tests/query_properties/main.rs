//! Properties of query evaluation over random data and random queries.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod naive;
mod samples;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, Inference, Query, Windows};
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

use samples::{ENTITIES, Indexes, any_query, attrs, draft, empty_index, entity, load};

fn objects(index: &TripleIndex, query: &Query, options: &EvalOptions) -> Json {
    query::evaluate(index, query, options).unwrap().to_object(index, Inference::Arrays)
}

fn sent(index: &TripleIndex, query: &Query, options: &EvalOptions) -> (TripleIndex, Windows, Json) {
    let options = EvalOptions { evidence: true, check: false, ..options.clone() };
    let result = query::evaluate(index, query, &options).unwrap();
    let mut store = empty_index(Indexes::Present);
    let triples = result.triples(index);
    for triple in &triples {
        assert!(index.holds(triple.entity, triple.attr), "{triple:?} is no fact");
        store.insert(triple);
    }
    assert_eq!(store.triple_count(), triples.len(), "a triple was sent twice");
    let windows = Windows::from_wire(&result.page_info_json().unwrap_or_default());
    (store, windows, result.to_object(index, Inference::Arrays))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client that holds just the triples sent for a query gives the same answer.
    #[test]
    fn the_triples_sent_suffice(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        nested_limits in any::<bool>(),
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let query = query::parse(&query).unwrap();
        let options = EvalOptions { nested_limits, ..EvalOptions::client() };
        let (store, _, expected) = sent(&index, &query, &options);
        prop_assert_eq!(objects(&store, &query, &options), expected);
    }

    /// The same for a page in the middle, of which the client is told where it begins and ends.
    #[test]
    fn the_triples_sent_suffice_within_a_window(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        offset in 0..3_usize,
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let mut query = query;
        query["users"]["$"]["offset"] = offset.into();
        let query = query::parse(&query).unwrap();
        let (store, windows, expected) = sent(&index, &query, &EvalOptions::client());
        let options = EvalOptions::client().with_windows(windows);
        prop_assert_eq!(objects(&store, &query, &options), expected);
    }

    /// Value indexes change how a result is found and nothing else.
    #[test]
    fn indexes_do_not_change_the_result(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        offset in prop::option::of(0..3_usize),
    ) {
        let mut query = query;
        if let Some(offset) = offset {
            query["users"]["$"]["offset"] = offset.into();
        }
        let query = query::parse(&query).unwrap();
        let answer = |indexes| {
            let mut index = empty_index(indexes);
            load(&mut index, &drafts);
            let result = query::evaluate(&index, &query, &EvalOptions::client()).unwrap();
            (result.to_object(&index, Inference::Arrays), result.page_info_json())
        };
        prop_assert_eq!(answer(Indexes::Present), answer(Indexes::Absent));
    }

    /// The engine gives what the rules say when taken at their word.
    #[test]
    fn the_result_is_what_a_naive_reading_gives(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        offset in prop::option::of(0..3_usize),
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let mut query = query;
        if let Some(offset) = offset.filter(|_| query["users"]["$"].get("last").is_none()) {
            query["users"]["$"]["offset"] = offset.into();
        }
        let data = naive::Data { index: &index, triples: index.triples().collect() };
        let mut expected = Map::new();
        for (etype, form) in query.as_object().unwrap() {
            let etype = if etype == "users" { "users" } else { "posts" };
            let all = (0..ENTITIES).map(|number| entity(etype, number)).collect();
            expected.insert(etype.into(), data.form(etype, form, all));
        }
        let parsed = query::parse(&query).unwrap();
        prop_assert_eq!(objects(&index, &parsed, &EvalOptions::client()), Json::Object(expected));
    }

    /// An aggregate is what one gets by going over the rows.
    #[test]
    fn an_aggregate_is_about_the_rows_that_match(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        grouped in any::<bool>(),
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let conditions = query["users"]["$"].get("where").cloned().unwrap_or_else(|| json!({}));
        let rows = query::parse(&json!({"users": {"$": {"where": conditions}}})).unwrap();
        let rows = objects(&index, &rows, &EvalOptions::client());
        let mut groups: Vec<(Json, Vec<&Json>)> = Vec::new();
        for row in rows["users"].as_array().unwrap() {
            let key = if grouped { row["name"].clone() } else { Json::Null };
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, rows)) => rows.push(&row["age"]),
                None => groups.push((key, vec![&row["age"]])),
            }
        }
        if groups.is_empty() && !grouped {
            groups.push((Json::Null, Vec::new()));
        }
        let mut asked =
            json!({"count": "*", "sum": "age", "avg": "age", "min": "age", "max": ["age"]});
        if grouped {
            asked["groupBy"] = "name".into();
        }
        let query = json!({"users": {"$": {"where": conditions, "aggregate": asked}}});
        let query = query::parse(&query).unwrap();
        let result = query::evaluate(&index, &query, &EvalOptions::client()).unwrap();
        let got = result.aggregate_json().unwrap()["users"].clone();
        let got = got["groups"].as_array().cloned().unwrap_or_else(|| vec![got]);
        prop_assert_eq!(got.len(), groups.len());
        for (key, ages) in groups {
            let ages: Vec<f64> = ages.into_iter().filter_map(Json::as_f64).collect();
            let (count, sum) = (ages.len(), ages.iter().sum::<f64>());
            let one = got.iter().find(|one| !grouped || one["key"]["name"] == key).unwrap();
            prop_assert_eq!(one["sum"]["age"].as_f64(), Some(sum));
            let mean = (count > 0).then(|| sum / count as f64);
            prop_assert_eq!(one["avg"]["age"].as_f64(), mean);
            prop_assert_eq!(one["min"]["age"].as_f64(), ages.iter().copied().reduce(f64::min));
            prop_assert_eq!(one["max"]["age"].as_f64(), ages.iter().copied().reduce(f64::max));
        }
    }

    /// A change that a query does not feel changes nothing that would be sent.
    #[test]
    fn a_query_feels_every_change_of_its_result(
        drafts in prop::collection::vec(draft(), 0..60),
        query in any_query(),
        change in draft(),
        removed in any::<prop::sample::Index>(),
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let query = query::parse(&query).unwrap();
        let options = EvalOptions { check: false, ..EvalOptions::socket() };
        let answer = |index: &TripleIndex| {
            let result = query::evaluate(index, &query, &options).unwrap();
            let mut wire = Vec::new();
            result.write_wire(index, &mut wire);
            wire
        };
        let reads = query.reads(index.catalog());
        let feels = |index: &TripleIndex, triple: &Triple| {
            let change = json!([[triple.entity, triple.attr, null, [triple.value, 0]]]);
            reads.touches(&serde_json::from_value(change).unwrap(), index.catalog())
        };

        let before = answer(&index);
        let mut all: Vec<Triple> = index.triples().collect();
        all.sort_by_key(|triple| (triple.entity, triple.attr));
        let removed = all[removed.index(all.len())].clone();
        let mut after = index.clone();
        after.remove(removed.entity, removed.attr, &removed.value);
        prop_assert!(feels(&index, &removed) || answer(&after) == before, "{removed:?}");

        let mut after = index.clone();
        load(&mut after, std::slice::from_ref(&change));
        let added = &attrs(Indexes::Present)[change.attr];
        let added = Triple {
            entity: entity(added.etype(), change.entity),
            attr: added.id,
            value: Value::Null,
            created_at: 0,
        };
        prop_assert!(feels(&index, &added) || answer(&after) == before, "{added:?}");
    }

    /// The wire form holds exactly the triples.
    #[test]
    fn the_wire_form_holds_the_triples(
        drafts in prop::collection::vec(draft(), 0..40),
        query in any_query(),
    ) {
        let mut index = empty_index(Indexes::Present);
        load(&mut index, &drafts);
        let query = query::parse(&query).unwrap();
        let options = EvalOptions { check: false, ..EvalOptions::socket() };
        let result = query::evaluate(&index, &query, &options).unwrap();
        let mut wire = Vec::new();
        result.write_wire(&index, &mut wire);
        let wire: Json = serde_json::from_slice(&wire).unwrap();
        prop_assert_eq!(&wire[0]["child-nodes"], &json!([]));
        let rows = &wire[0]["data"]["datalog-result"]["join-rows"];
        prop_assert_eq!(rows, &json!([result.triples(&index)]));
        let page_info = result.page_info_json();
        prop_assert_eq!(wire[0]["data"].get("page-info"), page_info.as_ref());
    }
}
