//! The index against a naive model: whatever transactions do, every lookup answers as a scan of all facts
//! would, a refused transaction leaves nothing, and undo and apply are exact.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, Cardinality, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, execute, parse_steps};
use tricedb_core::value::Value;
use uuid::Uuid;

const fn uuid(kind: u128, n: u128) -> Uuid {
    Uuid::from_u128((kind << 96) | 0x4000_8000_0000_0000_0000 | n)
}

fn attr(n: u128, etype: &str, label: &str, edit: impl FnOnce(&mut Attr)) -> Arc<Attr> {
    let mut attr = Attr::blob(AttrId(uuid(1, n)), IdentId(uuid(2, n)), etype, label);
    edit(&mut attr);
    Arc::new(attr)
}

fn link(n: u128, names: [&str; 4], cardinality: Cardinality, unique: bool) -> Arc<Attr> {
    let name = |kind, etype: &str, label: &str| Identity {
        id: IdentId(uuid(kind, n)),
        etype: etype.into(),
        label: label.into(),
    };
    let mut attr =
        Attr::link(AttrId(uuid(1, n)), name(2, names[0], names[1]), name(3, names[2], names[3]));
    attr.cardinality = cardinality;
    attr.unique = unique;
    Arc::new(attr)
}

fn schema() -> Vec<Arc<Attr>> {
    let mut cascade = Attr::clone(&link(8, ["b", "owner", "a", "owned"], Cardinality::One, false));
    cascade.on_delete = Some(tricedb_core::attr::OnDelete::Cascade);
    vec![
        attr(1, "a", "id", |_| {}),
        attr(2, "a", "name", |a| a.indexed = true),
        attr(3, "a", "code", |a| {
            a.unique = true;
            a.indexed = true;
        }),
        attr(4, "a", "note", |_| {}),
        attr(5, "b", "id", |_| {}),
        attr(6, "b", "name", |a| a.required = true),
        link(7, ["a", "many", "b", "back"], Cardinality::Many, false),
        Arc::new(cascade),
        link(9, ["a", "only", "b", "holder"], Cardinality::One, true),
        attr(10, "a", "count", |a| a.checked_data_type = Some(CheckedType::Number)),
    ]
}

fn entity() -> impl Strategy<Value = Json> {
    (0_u128..6).prop_map(|n| json!(uuid(9, n)))
}

fn value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        (-2_i64..3).prop_map(Json::from),
        Just(json!(1.5)),
        "[abAé]{0,2}".prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
        Just(json!({"x": {"y": 1}})),
        Just(json!({"x": null})),
    ]
}

fn operator() -> impl Strategy<Value = Json> {
    let number = || prop_oneof![(-2_i64..3).prop_map(Json::from), Just(json!(0.5))];
    prop_oneof![
        number().prop_map(|n| json!({"$increment": n})),
        number().prop_map(|n| json!({"$decrement": n})),
        number().prop_map(|n| json!({"$multiply": n})),
        number().prop_map(|n| json!({"$min": n})),
        "[ab]{1}".prop_map(|s| json!({"$max": s})),
        value().prop_map(|v| json!({"$push": v})),
        value().prop_map(|v| json!({"$addToSet": v})),
        value().prop_map(|v| json!({"$pull": v})),
        value().prop_map(|v| json!({"$setOnce": v})),
        Just(json!({"$serverTime": true})),
    ]
}

fn step() -> impl Strategy<Value = Json> {
    let data = prop_oneof![Just(2_u128), Just(3), Just(4), Just(6), Just(10)];
    let links = prop_oneof![Just(7_u128), Just(8), Just(9)];
    let mode = prop_oneof![
        4 => Just(json!({})),
        1 => Just(json!({"mode": "create"})),
        1 => Just(json!({"mode": "update"}))
    ];
    let who = prop_oneof![
        6 => entity(),
        1 => (-2_i64..3).prop_map(|n| json!([uuid(1, 3), n]))
    ];
    prop_oneof![
        4 => (entity(), prop_oneof![Just(1_u128), Just(5)], mode)
            .prop_map(|(e, a, mode)| json!(["add-triple", e, uuid(1, a), e, mode])),
        6 => (who.clone(), data.clone(), value())
            .prop_map(|(e, a, v)| json!(["add-triple", e, uuid(1, a), v])),
        4 => (entity(), links.clone(), entity())
            .prop_map(|(e, a, v)| json!(["add-triple", e, uuid(1, a), v])),
        2 => (entity(), links, entity())
            .prop_map(|(e, a, v)| json!(["retract-triple", e, uuid(1, a), v])),
        2 => (entity(), data.clone(), value())
            .prop_map(|(e, a, v)| json!(["retract-triple", e, uuid(1, a), v])),
        2 => (who.clone(), data.clone(), value())
            .prop_map(|(e, a, v)| json!(["deep-merge-triple", e, uuid(1, a), v])),
        4 => (who.clone(), data.clone(), operator())
            .prop_map(|(e, a, v)| json!(["update-triple", e, uuid(1, a), v])),
        1 => (who, data, value())
            .prop_map(|(e, a, v)| json!(["expect-triple", e, uuid(1, a), v])),
        2 => (entity(), prop_oneof![Just("a"), Just("b")])
            .prop_map(|(e, ns)| json!(["delete-entity", e, ns])),
        1 => entity().prop_map(|e| json!(["delete-entity", e])),
        1 => (1_u128..11).prop_map(|n| json!(["delete-attr", uuid(1, n)])),
        1 => (1_u128..11).prop_map(|n| json!(["restore-attr", uuid(1, n)])),
        1 => (1_u128..10, any::<bool>(), any::<bool>())
            .prop_map(|(n, unique, index)| json!(["update-attr", {"id": uuid(1, n), "unique?": unique, "index?": index}])),
    ]
}

/// Every fact and attribute, in a form that compares.
fn image(index: &TripleIndex) -> (BTreeSet<String>, String) {
    let facts = index.triples().map(|t| serde_json::to_string(&t).unwrap()).collect();
    let mut attrs: Vec<_> = index.catalog().all().cloned().collect();
    attrs.sort_by_key(|a| a.id);
    (facts, serde_json::to_string(&attrs).unwrap())
}

/// What no sequence of transactions may leave behind: values of another type than their attribute's, and
/// entities without what is required of them.
fn check_constraints(index: &TripleIndex) {
    let facts: Vec<_> = index.triples().filter(|fact| !fact.value.is_null()).collect();
    for attr in index.catalog().all().filter(|attr| !attr.is_deleted()) {
        if attr.checked_data_type == Some(CheckedType::Number) {
            let is_number = |fact: &&Triple| matches!(fact.value, Value::Int(_) | Value::Float(_));
            assert!(facts.iter().filter(|fact| fact.attr == attr.id).all(|fact| is_number(&fact)));
        }
        if attr.required {
            let held = |attr: AttrId| -> BTreeSet<EntityId> {
                facts.iter().filter(|fact| fact.attr == attr).map(|fact| fact.entity).collect()
            };
            for other in index.catalog().of_etype(attr.etype()) {
                let (has, lacks) = (held(other.id), held(attr.id));
                assert!(has.is_subset(&lacks), "{} without {}", other.label(), attr.label());
            }
        }
    }
}

/// Asks the index everything and compares with a scan.
fn check(index: &TripleIndex) {
    let triples: Vec<_> = index.triples().collect();
    assert_eq!(index.triple_count(), triples.len());
    let entities: BTreeSet<EntityId> = triples.iter().map(|t| t.entity).collect();
    assert_eq!(index.entity_count(), entities.len());
    for attr in index.catalog().all() {
        let Some(slot) = index.slot(attr.id) else { continue };
        let facts: Vec<_> = triples.iter().filter(|t| t.attr == attr.id).collect();
        let holders: BTreeSet<EntityId> = facts.iter().map(|t| t.entity).collect();
        let found: BTreeSet<EntityId> = index.holders(slot).map(|h| index.entity(h)).collect();
        assert_eq!(found, holders, "holders of {}", attr.label());
        if attr.is_ref() {
            for target in &entities {
                let Some(handle) = index.handle(*target) else { continue };
                let found: BTreeSet<EntityId> =
                    index.sources(slot, handle).iter().map(|h| index.entity(*h)).collect();
                let wanted: BTreeSet<EntityId> = facts
                    .iter()
                    .filter(|t| t.value == Value::Ref(*target))
                    .map(|t| t.entity)
                    .collect();
                assert_eq!(found, wanted, "sources of {}", attr.label());
            }
            if attr.cardinality == Cardinality::One && !attr.is_deleted() {
                assert_eq!(holders.len(), facts.len(), "one link each");
            }
            continue;
        }
        assert_eq!(holders.len(), facts.len(), "one value each");
        if attr.is_deleted() {
            continue;
        }
        if attr.unique {
            for fact in facts.iter().filter(|t| !t.value.is_null()) {
                let holder = index.find_unique(attr.id, &fact.value).map(|h| index.entity(h));
                assert_eq!(holder, Some(fact.entity), "unique {}", attr.label());
            }
        }
        if attr.indexed {
            let found: Vec<EntityId> = index
                .range(slot, Bound::Unbounded, Bound::Unbounded)
                .expect("an index")
                .map(|h| index.entity(h))
                .collect();
            let mut wanted: Vec<_> =
                facts.iter().map(|t| (index.sort_key(slot, &t.value), t.entity)).collect();
            wanted.sort();
            assert_eq!(found, wanted.into_iter().map(|(_, e)| e).collect::<Vec<_>>());
            for fact in &facts {
                let key = index.sort_key(slot, &fact.value);
                let equal: Vec<EntityId> = index
                    .range(slot, Bound::Included(key.clone()), Bound::Included(key))
                    .expect("an index")
                    .map(|h| index.entity(h))
                    .collect();
                assert!(equal.contains(&fact.entity));
            }
        }
        if attr.is_id() {
            let found: Vec<EntityId> =
                index.members(slot).expect("members").map(|h| index.entity(h)).collect();
            let mut wanted: Vec<_> = facts.iter().map(|t| (t.created_at, t.entity)).collect();
            wanted.sort();
            let wanted: Vec<EntityId> = wanted.into_iter().map(|(_, e)| e).collect();
            assert_eq!(found, wanted, "members of {}", attr.etype());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_lookup_answers_as_a_scan_would(
        transactions in prop::collection::vec(prop::collection::vec(step(), 1..6), 1..12),
    ) {
        let mut index = TripleIndex::new();
        for attr in schema() {
            index.put_attr(attr);
        }
        let empty = image(&index);
        let mut history: Vec<(Commit, (BTreeSet<String>, String))> = Vec::new();
        let mut fresh = 0;
        for (at, steps) in transactions.iter().enumerate() {
            let before = image(&index);
            let mut ids = || { fresh += 1; uuid(7, fresh) };
            let now = i64::try_from(at).unwrap() / 2;
            let mut context = ExecuteContext { now, ids: &mut ids, actor: Actor::Admin };
            let steps = parse_steps(&Json::Array(steps.clone())).unwrap();
            match execute(&mut index, &steps, &mut context) {
                Ok(commit) => history.push((commit, before)),
                Err(_) => prop_assert_eq!(image(&index), before, "a refusal leaves nothing"),
            }
            check(&index);
            check_constraints(&index);
        }
        let last = image(&index);
        for (commit, before) in history.iter().rev() {
            index.undo(commit);
            prop_assert_eq!(&image(&index), before);
            check(&index);
        }
        prop_assert_eq!(&image(&index), &empty);
        prop_assert_eq!(index.triple_count(), 0);
        // Commits survive the log's encoding.
        for (commit, _) in &history {
            let text = serde_json::to_string(commit).unwrap();
            index.apply(&serde_json::from_str(&text).unwrap());
        }
        prop_assert_eq!(image(&index), last);
        check(&index);

        // Retracted one by one, nothing is left but what soft-deleted attributes keep; required values go
        // last, which one transaction does not mind.
        let facts = index.triples().filter(|fact| index.catalog().live(fact.attr).is_some());
        let steps: Vec<Json> =
            facts.map(|fact| json!(["retract-triple", fact.entity, fact.attr, fact.value])).collect();
        let steps = parse_steps(&Json::Array(steps)).unwrap();
        let mut ids = || uuid(7, 0);
        let mut context = ExecuteContext { now: 99, ids: &mut ids, actor: Actor::Admin };
        execute(&mut index, &steps, &mut context).unwrap();
        check(&index);
        let catalog = index.catalog();
        prop_assert!(index.triples().all(|fact| catalog.live(fact.attr).is_none()));
        if catalog.all().all(|attr| !attr.is_deleted()) {
            prop_assert_eq!((index.triple_count(), index.entity_count()), (0, 0));
        }
    }
}
