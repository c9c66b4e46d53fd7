//! One query of native sessions: the facts that it needs, and what changed of them lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde_json::Value as Json;
use tricedb_core::attr::Cardinality;
use tricedb_core::id::AttrId;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::query::{AllVisible, Plan, Query, QueryResult, ReadSet};
use tricedb_core::triple::Triple;
use tricedb_protocol::ErrorBody;
use tricedb_protocol::native::{Digest, Encoding, Fragment, PartBody, PartKind, fact_digest};

use super::super::live::Rights;
use super::super::refusal::query_refused;
use super::super::sessions::SessionKey;

/// Deltas kept for readers that fall behind.
const DELTAS_MAX: usize = 256;

/// A query's result as facts.
#[derive(Debug)]
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
        let triples = result.triples(index);
        let mut keys = FactKeys::new(index);
        let mut digest = 0_u64;
        let facts = triples.iter().map(|triple| {
            let Digest(fact) = fact_digest(triple);
            digest = digest.wrapping_add(fact);
            (keys.of(triple), fact)
        });
        let facts = facts.collect();
        Self { facts, digest, page: result.page_info_json(), aggregate: result.aggregate_json() }
    }

    pub(super) const fn digest(&self) -> Digest {
        Digest(self.digest)
    }

    /// Makes this the set that `plan` gives now, and says what changed.
    fn renew(&mut self, plan: &Arc<Plan>, index: &TripleIndex) -> PartBody {
        let result = QueryResult::run(plan, index, &AllVisible);
        let mut keys = FactKeys::new(index);
        let mut body = PartBody::default();
        let mut facts = FxHashMap::with_capacity_and_hasher(self.facts.len(), Default::default());
        let mut digest = 0_u64;
        for triple in result.triples(index) {
            let key = keys.of(&triple);
            let Digest(fact) = fact_digest(&triple);
            digest = digest.wrapping_add(fact);
            facts.insert(key, fact);
            if self.facts.remove(&key) != Some(fact) {
                body.put.push(triple);
            }
        }
        for key in std::mem::replace(&mut self.facts, facts).into_keys() {
            if is_true(index, &key) { body.forget.push(key) } else { body.gone.push(key) }
        }
        self.digest = digest;
        let changed = |kept: &mut Option<Json>, now: Option<Json>| {
            let news = (*kept != now).then(|| now.clone().unwrap_or(Json::Null));
            *kept = now;
            news
        };
        body.page = changed(&mut self.page, result.page_info_json());
        body.aggregate = changed(&mut self.aggregate, result.aggregate_json());
        body
    }

    /// What leads from this set to a later one of the same query.
    pub(super) fn until(&self, later: &Self, plan: &Arc<Plan>, index: &TripleIndex) -> PartBody {
        let mut body = PartBody::default();
        let mut keys = FactKeys::new(index);
        for triple in QueryResult::run(plan, index, &AllVisible).triples(index) {
            let key = keys.of(&triple);
            if self.facts.get(&key) != later.facts.get(&key) {
                body.put.push(triple);
            }
        }
        for key in self.facts.keys().filter(|key| !later.facts.contains_key(*key)) {
            if is_true(index, key) { body.forget.push(*key) } else { body.gone.push(*key) }
        }
        let news = |before: &Option<Json>, now: &Option<Json>| {
            (before != now).then(|| now.clone().unwrap_or(Json::Null))
        };
        body.page = news(&self.page, &later.page);
        body.aggregate = news(&self.aggregate, &later.aggregate);
        body
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

/// A change of a query's facts, from the version before to this one.
#[derive(Debug)]
struct FactDelta {
    body: PartBody,
    encoded: BTreeMap<u8, Arc<Fragment>>,
}

impl FactDelta {
    fn encode(&mut self, encoding: Encoding) -> Arc<Fragment> {
        let body = &self.body;
        self.encoded
            .entry(encoding_key(encoding))
            .or_insert_with(|| Arc::new(body.encode(encoding)))
            .clone()
    }

    fn size(&self) -> usize {
        self.body.put.len() + self.body.gone.len() + self.body.forget.len() + 1
    }
}

const fn encoding_key(encoding: Encoding) -> u8 {
    use tricedb_protocol::native::Compression;
    match encoding {
        Encoding::Json => 0,
        Encoding::Binary(Compression::None) => 1,
        Encoding::Binary(Compression::Zstd) => 2,
    }
}

/// A query that native sessions hold.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) query: Query,
    pub(super) rights: Rights,
    pub(super) reads: ReadSet,
    plan: Result<Arc<Plan>, ErrorBody>,
    facts: Option<FactSet>,
    pub(super) is_stale: bool,
    /// Grows with every change; 0 before the first evaluation.
    pub(super) version: u64,
    /// The last one leads to `version`.
    deltas: VecDeque<FactDelta>,
    deltas_size: usize,
    /// The whole set at `version`, while readers ask for it.
    whole: BTreeMap<u8, Arc<Fragment>>,
    /// Who holds it, and how often.
    pub(super) readers: BTreeMap<SessionKey, u32>,
}

impl Source {
    pub(super) fn new(index: &TripleIndex, query: Query, rights: Rights) -> Self {
        Self {
            reads: query.reads(index.catalog()),
            plan: plan(index, &query, rights),
            query,
            rights,
            facts: None,
            is_stale: true,
            version: 0,
            deltas: VecDeque::new(),
            deltas_size: 0,
            whole: BTreeMap::new(),
            readers: BTreeMap::new(),
        }
    }

    /// Plans anew after attributes changed.
    pub(super) fn replan(&mut self, index: &TripleIndex) {
        self.reads = self.query.reads(index.catalog());
        self.plan = plan(index, &self.query, self.rights);
        self.is_stale = true;
    }

    /// The facts now.
    ///
    /// # Errors
    /// The query cannot be run on the present attributes.
    pub(super) fn fresh(&mut self, index: &TripleIndex) -> Result<&FactSet, ErrorBody> {
        let plan = &self.plan.clone()?;
        if let Some(facts) = self.facts.as_mut().filter(|_| self.is_stale) {
            let body = facts.renew(plan, index);
            if !body.is_empty() {
                self.version += 1;
                self.whole.clear();
                let delta = FactDelta { body, encoded: BTreeMap::new() };
                self.deltas_size += delta.size();
                self.deltas.push_back(delta);
                self.trim();
            }
        }
        self.is_stale = false;
        Ok(self.facts.get_or_insert_with(|| {
            self.version += 1;
            FactSet::evaluate(plan, index)
        }))
    }

    /// Keeps deltas only as long as they are shorter than the whole.
    fn trim(&mut self) {
        let whole = self.facts.as_ref().map_or(0, |facts| facts.facts.len());
        while self.deltas.len() > DELTAS_MAX || self.deltas_size > whole.max(64) {
            let Some(oldest) = self.deltas.pop_front() else { return };
            self.deltas_size -= oldest.size();
        }
    }

    /// What brings a reader from a version to the present one: deltas in order, or the whole. `sent` is 0
    /// for a reader that holds nothing. The source must be fresh.
    pub(super) fn owed(
        &mut self,
        sent: u64,
        encoding: Encoding,
        index: &TripleIndex,
    ) -> Vec<Arc<Fragment>> {
        let behind = usize::try_from(self.version.saturating_sub(sent)).unwrap_or(usize::MAX);
        if sent > 0 && behind <= self.deltas.len() {
            let start = self.deltas.len() - behind;
            return self.deltas.range_mut(start..).map(|delta| delta.encode(encoding)).collect();
        }
        let (Ok(plan), Some(facts)) = (&self.plan, &self.facts) else { return Vec::new() };
        let whole = self.whole.entry(encoding_key(encoding)).or_insert_with(|| {
            let body = PartBody {
                kind: PartKind::Reset,
                put: QueryResult::run(plan, index, &AllVisible).triples(index),
                page: facts.page.clone(),
                aggregate: facts.aggregate.clone(),
                ..PartBody::default()
            };
            Arc::new(body.encode(encoding))
        });
        vec![whole.clone()]
    }

    /// Gives up the encoded whole if it is large: once everybody who asked has it.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        self.whole.retain(|_, whole| whole.len() <= bytes_max);
    }

    /// What leads from an earlier set of this query to the present one. The source must be fresh.
    pub(super) fn since(&self, before: &FactSet, index: &TripleIndex) -> Option<PartBody> {
        let (Ok(plan), Some(facts)) = (&self.plan, &self.facts) else { return None };
        Some(before.until(facts, plan, index))
    }
}

/// Plans a query for native sessions.
pub(super) fn plan(
    index: &TripleIndex,
    query: &Query,
    rights: Rights,
) -> Result<Arc<Plan>, ErrorBody> {
    let mut options = tricedb_core::query::EvalOptions::native();
    options.admin = rights == Rights::Admin;
    Plan::new(index, query, &options).map(Arc::new).map_err(|error| query_refused(&error))
}
