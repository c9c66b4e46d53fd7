//! Properties of query evaluation over random data and random queries.
//!
//! Data: users and posts with typed values, some null and some missing, joined by links of every kind,
//! among them links from users to users.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, Inference, Query, Windows};
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use uuid::Uuid;

const ENTITIES: u128 = 6;

/// Whether the data attributes have value indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Indexes {
    Present,
    Absent,
}

fn uuid(kind: u128, number: u128) -> Uuid {
    Uuid::from_u128(kind << 64 | number)
}

struct Names {
    attrs: Vec<Attr>,
}

impl Names {
    fn attr_id(&self) -> (AttrId, IdentId, IdentId) {
        let number = self.attrs.len() as u128;
        (AttrId(uuid(10, number)), IdentId(uuid(11, number)), IdentId(uuid(12, number)))
    }

    fn data(&mut self, etype: &str, label: &str, checked: Option<CheckedType>, indexes: Indexes) {
        let (id, ident, _) = self.attr_id();
        let mut attr = Attr::blob(id, ident, etype, label);
        attr.checked_data_type = checked;
        attr.indexed = checked.is_some() && indexes == Indexes::Present;
        self.attrs.push(attr);
    }

    fn link(
        &mut self,
        forward: (&str, &str),
        reverse: (&str, &str),
        one: Cardinality,
        unique: bool,
    ) {
        let (id, ident, back) = self.attr_id();
        let name = |id, (etype, label): (&str, &str)| Identity {
            id,
            etype: etype.into(),
            label: label.into(),
        };
        let mut attr = Attr::link(id, name(ident, forward), name(back, reverse));
        attr.cardinality = one;
        attr.unique = unique;
        self.attrs.push(attr);
    }
}

fn attrs(indexes: Indexes) -> Vec<Attr> {
    use CheckedType::{Number, String};
    let mut names = Names { attrs: Vec::new() };
    for etype in ["users", "posts"] {
        names.data(etype, "id", None, indexes);
        names.data(etype, "name", Some(String), indexes);
        names.data(etype, "age", Some(Number), indexes);
        names.data(etype, "note", None, indexes);
    }
    names.link(("posts", "author"), ("users", "posts"), Cardinality::One, false);
    names.link(("posts", "editor"), ("users", "edited"), Cardinality::One, false);
    names.link(("users", "friends"), ("users", "friendOf"), Cardinality::Many, false);
    names.link(("users", "boss"), ("users", "deputy"), Cardinality::One, true);
    names.link(("posts", "answers"), ("posts", "question"), Cardinality::Many, true);
    names.attrs
}

fn empty_index(indexes: Indexes) -> TripleIndex {
    let mut index = TripleIndex::new();
    for attr in attrs(indexes) {
        index.put_attr(Arc::new(attr));
    }
    index
}

fn entity(etype: &str, number: u128) -> EntityId {
    EntityId(uuid(if etype == "users" { 1 } else { 2 }, number))
}

/// One random fact, by the place of its attribute.
#[derive(Clone, Debug)]
struct Draft {
    attr: usize,
    entity: u128,
    value: Json,
    target: u128,
    created_at: i64,
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(json!("a")),
        Just(json!("b")),
        Just(json!("B")),
        Just(json!("ab")),
        (0..4_i32).prop_map(Json::from),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let value = prop_oneof![4 => scalar(), 1 => Just(Json::Null)];
    (0..13_usize, 0..ENTITIES, value, 0..ENTITIES, 0..4_i64).prop_map(
        |(attr, entity, value, target, created_at)| Draft {
            attr,
            entity,
            value,
            target,
            created_at,
        },
    )
}

fn load(index: &mut TripleIndex, drafts: &[Draft]) {
    let attrs = attrs(Indexes::Present);
    for Draft { attr, entity: number, value, target, created_at } in drafts {
        let attr = &attrs[*attr];
        let subject = entity(attr.etype(), *number);
        let value = match (attr.target_etype(), attr.label(), attr.checked_data_type) {
            (Some(target_etype), ..) => Value::Ref(entity(target_etype, *target)),
            (_, "id", _) => Value::Ref(subject),
            (_, _, Some(CheckedType::String)) if value.is_number() => Value::Null,
            (_, _, Some(CheckedType::Number)) if value.is_string() => Value::Null,
            _ => Value::from_json(value.clone()),
        };
        let replaced = attr.is_ref() && attr.cardinality == Cardinality::One;
        if replaced && !index.links(subject, attr.id).is_empty() {
            continue;
        }
        index.insert(&Triple { entity: subject, attr: attr.id, value, created_at: *created_at });
    }
    // Most entities exist, so that there is something to find.
    for etype in ["users", "posts"] {
        for number in 0..ENTITIES - 1 {
            let subject = entity(etype, number);
            let id = index.catalog().id_attr(etype).unwrap().id;
            if !index.holds(subject, id) {
                let created_at = i64::try_from(number % 3).unwrap();
                index.insert(&Triple {
                    entity: subject,
                    attr: id,
                    value: Value::Ref(subject),
                    created_at,
                });
            }
        }
    }
}

fn links_of(etype: &str) -> &'static [(&'static str, &'static str)] {
    match etype {
        "users" => &[
            ("posts", "posts"),
            ("edited", "posts"),
            ("friends", "users"),
            ("friendOf", "users"),
            ("boss", "users"),
            ("deputy", "users"),
        ],
        _ => {
            &[("author", "users"), ("editor", "users"), ("answers", "posts"), ("question", "posts")]
        }
    }
}

fn path(etype: &'static str, depth: u32) -> BoxedStrategy<(String, &'static str)> {
    let own = prop::sample::select(vec!["name", "age", "note"])
        .prop_map(move |label| (label.to_owned(), label));
    if depth == 0 {
        return own.boxed();
    }
    let linked = prop::sample::select(links_of(etype)).prop_flat_map(move |(label, target)| {
        path(target, depth - 1).prop_map(move |(rest, last)| (format!("{label}.{rest}"), last))
    });
    let link = prop::sample::select(links_of(etype))
        .prop_map(|(label, target)| (label.to_owned(), target));
    prop_oneof![3 => own, 3 => linked, 1 => link].boxed()
}

fn condition(etype: &'static str) -> BoxedStrategy<(String, Json)> {
    (path(etype, 2), scalar(), scalar(), 0..9_u8, 0..ENTITIES)
        .prop_map(|((key, last), a, b, operator, number)| {
            let (a, b) = match last {
                "users" | "posts" => {
                    (json!(entity(last, number)), json!(entity(last, (number + 1) % ENTITIES)))
                }
                _ => (a, b),
            };
            let condition = match operator {
                0 => a,
                1 => json!({"$in": [a, b]}),
                2 => json!({"$ne": a}),
                3 => json!({"$isNull": true}),
                4 => json!({"$isNull": false}),
                5 => json!({"$gt": a}),
                6 => json!({"$lte": a}),
                7 => json!({"$like": "%b"}),
                _ => json!({"$gte": a, "$ne": b}),
            };
            (key, condition)
        })
        .boxed()
}

fn conditions(etype: &'static str, depth: u32) -> BoxedStrategy<Json> {
    let plain = prop::collection::vec(condition(etype), 0..3)
        .prop_map(|all| Json::Object(all.into_iter().collect()));
    if depth == 0 {
        return plain.boxed();
    }
    let group = (
        plain.clone(),
        prop::sample::select(vec!["or", "and"]),
        prop::collection::vec(conditions(etype, depth - 1), 1..3),
    )
        .prop_map(|(plain, name, items)| {
            let Json::Object(mut all) = plain else { unreachable!() };
            all.insert(name.into(), Json::Array(items));
            Json::Object(all)
        });
    prop_oneof![plain, group].boxed()
}

fn options(etype: &'static str) -> impl Strategy<Value = Map<String, Json>> {
    let order = prop::option::of((
        prop::sample::select(vec!["name", "age", "serverCreatedAt"]),
        prop::sample::select(vec!["asc", "desc"]),
    ));
    let fields = prop::option::weighted(
        0.4,
        prop::collection::vec(prop::sample::select(vec!["name", "age", "note"]), 0..2),
    );
    let limit = prop::option::of((prop::sample::select(vec!["limit", "last"]), 1..4_u8));
    (prop::option::of(conditions(etype, 2)), order, fields, limit).prop_map(
        |(conditions, order, fields, limit)| {
            let mut options = Map::new();
            options.extend(conditions.map(|all| ("where".to_owned(), all)));
            options.extend(order.map(|(label, sense)| ("order".to_owned(), json!({label: sense}))));
            options.extend(fields.map(|fields| ("fields".to_owned(), json!(fields))));
            options.extend(limit.map(|(name, count)| (name.to_owned(), json!(count))));
            options
        },
    )
}

fn form(etype: &'static str, depth: u32) -> BoxedStrategy<Json> {
    let children = if depth == 0 {
        Just(Map::new()).boxed()
    } else {
        let child = prop::sample::select(links_of(etype)).prop_flat_map(move |(label, target)| {
            form(target, depth - 1).prop_map(move |form| (label.to_owned(), form))
        });
        prop::collection::vec(child, 0..3).prop_map(|all| all.into_iter().collect()).boxed()
    };
    (options(etype), children)
        .prop_map(|(options, children)| {
            let mut form: Map<String, Json> = children;
            if !options.is_empty() {
                form.insert("$".into(), options.into());
            }
            form.into()
        })
        .boxed()
}

fn any_query() -> impl Strategy<Value = Json> {
    (form("users", 2), prop::option::of(form("posts", 1))).prop_map(|(users, posts)| {
        let mut query = Map::from_iter([("users".to_owned(), users)]);
        query.extend(posts.map(|posts| ("posts".to_owned(), posts)));
        query.into()
    })
}

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
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

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
