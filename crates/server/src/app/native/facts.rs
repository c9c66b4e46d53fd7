//! Sets of facts, and what leads from one to another.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use tricedb_core::attr::Cardinality;
use tricedb_core::id::AttrId;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::query::{AllVisible, Plan, QueryResult};
use tricedb_core::triple::Triple;
use tricedb_protocol::native::{Digest, PartBody, fact_digest};

/// A query's result as facts.
#[derive(Debug, Default)]
pub(super) struct FactSet {
    /// Each fact's digest.
    facts: FxHashMap<HeldFact, u64>,
    digest: u64,
    page: Option<Json>,
    aggregate: Option<Json>,
}

impl FactSet {
    /// Evaluates a plan.
    pub(super) fn evaluate(plan: &Arc<Plan>, index: &TripleIndex) -> Self {
        let result = QueryResult::run(plan, index, &AllVisible);
        Self::of(&result.triples(index), &result, index)
    }

    /// The set of a result whose triples are known.
    pub(super) fn of(triples: &[Triple], result: &QueryResult, index: &TripleIndex) -> Self {
        let mut set = Self {
            page: result.page_info_json(),
            aggregate: result.aggregate_json(),
            ..Self::default()
        };
        let mut keys = FactKeys::new(index);
        set.facts.reserve(triples.len());
        for triple in triples {
            let Digest(fact) = fact_digest(triple);
            set.digest = set.digest.wrapping_add(fact);
            set.facts.insert(keys.of(triple), fact);
        }
        set
    }

    pub(super) const fn digest(&self) -> Digest {
        Digest(self.digest)
    }

    pub(super) fn len(&self) -> usize {
        self.facts.len()
    }

    pub(super) const fn page(&self) -> &Option<Json> {
        &self.page
    }

    pub(super) const fn aggregate(&self) -> &Option<Json> {
        &self.aggregate
    }

    /// Makes this the set that a plan gives now, and says what changed.
    pub(super) fn renew(&mut self, plan: &Arc<Plan>, index: &TripleIndex) -> PartBody {
        let result = QueryResult::run(plan, index, &AllVisible);
        let triples = result.triples(index);
        let now = Self::of(&triples, &result, index);
        let body = self.until(&now, triples, index);
        *self = now;
        body
    }

    /// What leads from this set to a later one of the same query, whose triples these are.
    pub(super) fn until(
        &self,
        later: &Self,
        triples: Vec<Triple>,
        index: &TripleIndex,
    ) -> PartBody {
        let mut body = PartBody::default();
        let mut keys = FactKeys::new(index);
        for triple in triples {
            let key = keys.of(&triple);
            if self.facts.get(&key) != later.facts.get(&key) {
                body.put.push(triple);
            }
        }
        for key in self.facts.keys().filter(|key| !later.facts.contains_key(*key)) {
            drop_from(&mut body, *key, index);
        }
        let news = |before: &Option<Json>, now: &Option<Json>| {
            (before != now).then(|| now.clone().unwrap_or(Json::Null))
        };
        body.page = news(&self.page, &later.page);
        body.aggregate = news(&self.aggregate, &later.aggregate);
        body
    }
}

/// What leads from some facts to others of the same entities, and what it adds to the digest.
pub(super) fn difference(
    before: &[Triple],
    now: Vec<Triple>,
    index: &TripleIndex,
) -> (PartBody, u64) {
    let mut keys = FactKeys::new(index);
    let mut body = PartBody::default();
    let mut digest = 0_u64;
    let mut left: FxHashMap<HeldFact, &Triple> =
        before.iter().map(|triple| (keys.of(triple), triple)).collect();
    for triple in now {
        match left.remove(&keys.of(&triple)) {
            Some(same) if *same == triple => continue,
            Some(other) => digest = digest.wrapping_sub(fact_digest(other).0),
            None => {}
        }
        digest = digest.wrapping_add(fact_digest(&triple).0);
        body.put.push(triple);
    }
    for (key, triple) in left {
        digest = digest.wrapping_sub(fact_digest(triple).0);
        drop_from(&mut body, key, index);
    }
    (body, digest)
}

fn drop_from(body: &mut PartBody, key: HeldFact, index: &TripleIndex) {
    if is_true(index, &key) {
        body.forget.push(key);
    } else {
        body.gone.push(key);
    }
}

/// Tells which fact a triple states.
struct FactKeys<'a> {
    index: &'a TripleIndex,
    sets: FxHashMap<AttrId, bool>,
}

impl<'a> FactKeys<'a> {
    fn new(index: &'a TripleIndex) -> Self {
        Self { index, sets: FxHashMap::default() }
    }

    fn of(&mut self, triple: &Triple) -> HeldFact {
        let is_set = *self.sets.entry(triple.attr).or_insert_with(|| {
            let attr = self.index.catalog().get(triple.attr);
            attr.is_some_and(|attr| attr.is_ref() && attr.cardinality == Cardinality::Many)
        });
        let target = if is_set { triple.value.as_entity() } else { None };
        HeldFact { entity: triple.entity, attr: triple.attr, target }
    }
}

fn is_true(index: &TripleIndex, fact: &HeldFact) -> bool {
    match fact.target {
        Some(target) => {
            index.links(fact.entity, fact.attr).iter().any(|link| link.target == target)
        }
        None => index.holds(fact.entity, fact.attr),
    }
}
