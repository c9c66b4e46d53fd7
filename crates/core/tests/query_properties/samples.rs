//! Random data and random queries.
//!
//! Data: users and posts with typed values, some null and some missing, joined by links of every kind,
//! among them links from users to users.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use uuid::Uuid;

pub(crate) const ENTITIES: u128 = 6;

/// Whether the data attributes have value indexes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Indexes {
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

pub(crate) fn attrs(indexes: Indexes) -> Vec<Attr> {
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

pub(crate) fn empty_index(indexes: Indexes) -> TripleIndex {
    let mut index = TripleIndex::new();
    for attr in attrs(indexes) {
        index.put_attr(Arc::new(attr));
    }
    index
}

pub(crate) fn entity(etype: &str, number: u128) -> EntityId {
    EntityId(uuid(if etype == "users" { 1 } else { 2 }, number))
}

/// One random fact, by the place of its attribute.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) attr: usize,
    pub(crate) entity: u128,
    pub(crate) value: Json,
    pub(crate) target: u128,
    pub(crate) created_at: i64,
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

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
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

pub(crate) fn load(index: &mut TripleIndex, drafts: &[Draft]) {
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
    (path(etype, 2), scalar(), scalar(), 0..15_u8, 0..ENTITIES)
        .prop_map(|((key, last), a, b, operator, number)| {
            let (a, b) = match last {
                "users" | "posts" => {
                    (json!(entity(last, number)), json!(entity(last, (number + 1) % ENTITIES)))
                }
                _ => (a, b),
            };
            // Links have no order and no text.
            let operators = if matches!(last, "users" | "posts") { 8 } else { 15 };
            let condition = match operator % operators {
                0 => a,
                1 => json!({"$in": [a, b]}),
                2 => json!({"$ne": a}),
                3 => json!({"$isNull": true}),
                4 => json!({"$isNull": false}),
                5 => json!({"$nin": [a, b]}),
                6 => json!({"$nin": [a, null]}),
                7 => json!({"$exists": number % 2 == 0}),
                8 => json!({"$gt": a}),
                9 => json!({"$lte": a}),
                10 => json!({"$like": "%b"}),
                11 => json!({"$contains": a}),
                12 => json!({"$size": number % 3}),
                13 => json!({"$size": {"$gte": 1, "$lt": 2}, "$ne": a}),
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

pub(crate) fn any_query() -> impl Strategy<Value = Json> {
    (form("users", 2), prop::option::of(form("posts", 1))).prop_map(|(users, posts)| {
        let mut query = Map::from_iter([("users".to_owned(), users)]);
        query.extend(posts.map(|posts| ("posts".to_owned(), posts)));
        query.into()
    })
}
