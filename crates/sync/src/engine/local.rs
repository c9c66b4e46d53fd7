//! Everything the client holds, of all queries together.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::{EntityRow, HeldFact};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Stamped;
use tricedb_protocol::native::PartBody;

use super::facts::{FactSet, drop_fact, fact_of, put_fact};
use super::view::View;

/// The rows that changed: their keys in storage.
pub(crate) type RowKeys = FxHashSet<(EntityId, Arc<str>)>;

/// One copy of every confirmed fact that some query holds, with the number of those, and over them the
/// pending transactions. What no query holds any more is forgotten.
///
/// Queries reflect different positions; where two hold one fact, the newer statement is kept here. That is
/// why results are evaluated on facts of their own, see [`super::subscription::Subscription`].
#[derive(Debug, Default)]
pub(crate) struct LocalFacts {
    pub(crate) view: View,
    holders: FxHashMap<HeldFact, u32>,
}

impl LocalFacts {
    pub(crate) fn new(index: TripleIndex) -> Self {
        Self { view: View::new(index), holders: FxHashMap::default() }
    }

    /// Takes rows as they were stored. Facts of unknown attributes are left out.
    pub(crate) fn load(&mut self, rows: Vec<EntityRow>) {
        let base = self.view.base();
        for triple in rows.iter().flat_map(|row| &row.triples) {
            put_fact(base, triple);
        }
    }

    /// Counts one more holder of these facts.
    pub(crate) fn hold(&mut self, facts: &FactSet) {
        for fact in facts {
            *self.holders.entry(*fact).or_default() += 1;
        }
    }

    /// Forgets what nobody holds.
    pub(crate) fn drop_unheld(&mut self) {
        let Self { view, holders } = self;
        let base = view.base();
        let all: Vec<HeldFact> =
            base.triples().filter_map(|triple| fact_of(base, &triple)).collect();
        for fact in all.iter().filter(|fact| !holders.contains_key(*fact)) {
            drop_fact(base, fact);
        }
    }

    /// Takes a query's new result in the place of its old one. `newer` tells of facts on which another
    /// query's word is newer. Returns the rows that changed.
    pub(crate) fn replace(
        &mut self,
        old: &FactSet,
        new: &FactSet,
        triples: &[Triple],
        newer: &dyn Fn(&HeldFact) -> bool,
    ) -> RowKeys {
        let mut changed = RowKeys::default();
        let Self { view, holders } = self;
        let base = view.base();
        for fact in new.difference(old) {
            *holders.entry(*fact).or_default() += 1;
        }
        for triple in triples {
            let Some(fact) = fact_of(base, triple) else { continue };
            let alone = holders.get(&fact).is_none_or(|count| *count < 2);
            if (alone || !newer(&fact)) && put_fact(base, triple) {
                changed.extend(row_key(base, &fact));
            }
        }
        for fact in old.difference(new) {
            match holders.get_mut(fact) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    holders.remove(fact);
                    if drop_fact(base, fact) {
                        changed.extend(row_key(base, fact));
                    }
                }
            }
        }
        changed
    }

    /// Takes a change of a query's facts, `held` before. `is_same` becomes false if the query comes to hold
    /// other facts. Returns the rows that changed.
    pub(crate) fn change(
        &mut self,
        held: &mut FactSet,
        change: &PartBody,
        is_same: &mut bool,
    ) -> RowKeys {
        let mut changed = RowKeys::default();
        let Self { view, holders } = self;
        let base = view.base();
        for triple in &change.put {
            let Some(fact) = fact_of(base, triple) else { continue };
            if held.insert(fact) {
                *is_same = false;
                *holders.entry(fact).or_default() += 1;
            }
            if put_fact(base, triple) {
                changed.extend(row_key(base, &fact));
            }
        }
        let gone = change.gone.iter().map(|fact| (fact, true));
        for (fact, is_false) in gone.chain(change.forget.iter().map(|fact| (fact, false))) {
            if !held.remove(fact) {
                continue;
            }
            let is_last = match holders.get_mut(fact) {
                Some(count) if *count > 1 => {
                    *count -= 1;
                    false
                }
                _ => {
                    holders.remove(fact);
                    true
                }
            };
            // What is false is so for everybody, kept queries included.
            if (is_last || is_false) && drop_fact(base, fact) {
                changed.extend(row_key(base, fact));
            }
        }
        changed
    }

    /// The confirmed facts of an entity, whatever is laid over them.
    pub(crate) fn confirmed(&self, entity: EntityId) -> Vec<Triple> {
        let index = self.view.index();
        let mut facts: BTreeMap<HeldFact, Triple> = BTreeMap::new();
        if let Some(row) = index.row(entity) {
            for triple in index.triples_of(row) {
                facts.extend(fact_of(index, &triple).map(|fact| (fact, triple)));
            }
        }
        for commit in self.view.commits().rev() {
            let changes: Vec<_> = commit.facts().filter(|fact| fact.entity == entity).collect();
            for change in changes.into_iter().rev() {
                let triple = |Stamped(value, created_at): &Stamped| Triple {
                    entity,
                    attr: change.attr,
                    value: value.clone(),
                    created_at: *created_at,
                };
                let new = change.new.as_ref().and_then(|new| fact_of(index, &triple(new)));
                if let Some(fact) = new {
                    facts.remove(&fact);
                }
                let old = change.old.as_ref().map(triple);
                facts.extend(old.and_then(|old| Some((fact_of(index, &old)?, old))));
            }
        }
        facts.retain(|fact, _| self.holders.contains_key(fact));
        facts.into_values().collect()
    }

    /// The confirmed facts of a row.
    pub(crate) fn row(&self, entity: EntityId, etype: &str) -> Vec<Triple> {
        let catalog = self.view.index().catalog();
        let mut triples = self.confirmed(entity);
        triples.retain(|triple| catalog.get(triple.attr).is_some_and(|a| a.etype() == etype));
        triples
    }

    /// An index of these facts alone, as they are confirmed.
    pub(crate) fn extract(&mut self, facts: &FactSet, blank: &TripleIndex) -> TripleIndex {
        let base = self.view.base();
        let mut index = blank.clone();
        for triple in facts.iter().filter_map(|fact| super::facts::triple_of(base, fact)) {
            put_fact(&mut index, &triple);
        }
        index
    }

    /// Whether anything confirmed is held of an entity.
    pub(crate) fn holds(&self, entity: EntityId) -> bool {
        let index = self.view.index();
        index.row(entity).is_some_and(|row| {
            index
                .triples_of(row)
                .any(|t| fact_of(index, &t).is_some_and(|fact| self.holders.contains_key(&fact)))
        })
    }
}

/// Where a fact is stored.
fn row_key(index: &TripleIndex, fact: &HeldFact) -> Option<(EntityId, Arc<str>)> {
    let attr = index.catalog().get(fact.attr)?;
    Some((fact.entity, attr.forward_identity.etype.clone()))
}
