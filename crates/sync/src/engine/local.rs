//! Everything the client holds, of all queries together.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::{EntityRow, HeldFact};
use tricedb_core::triple::Triple;
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
    holders: FxHashMap<HeldFact, Holders>,
}

/// How many queries hold a fact.
#[derive(Clone, Copy, Debug, Default)]
struct Holders {
    all: u32,
    /// Those of them that the server keeps up to date, or will.
    active: u32,
}

/// Whether a query's facts are kept up to date.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hold {
    Active,
    Kept,
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

    /// Counts one more holder of these facts, which does not watch them.
    pub(crate) fn hold(&mut self, facts: &FactSet) {
        for fact in facts {
            self.holders.entry(*fact).or_default().all += 1;
        }
    }

    /// A query that holds these facts is watched from now on, or no more.
    pub(crate) fn activate(&mut self, facts: &FactSet, hold: Hold) {
        for fact in facts {
            let Some(holders) = self.holders.get_mut(fact) else { continue };
            holders.active = match hold {
                Hold::Active => holders.active + 1,
                Hold::Kept => holders.active.saturating_sub(1),
            };
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

    fn take(&mut self, fact: HeldFact) {
        let holders = self.holders.entry(fact).or_default();
        holders.all += 1;
        holders.active += 1;
    }

    /// One query lets go. Returns whether it was the last.
    fn let_go(&mut self, fact: &HeldFact, hold: Hold) -> bool {
        match self.holders.get_mut(fact) {
            Some(holders) if holders.all > 1 => {
                holders.all -= 1;
                if hold == Hold::Active {
                    holders.active = holders.active.saturating_sub(1);
                }
                false
            }
            _ => {
                self.holders.remove(fact);
                true
            }
        }
    }

    /// Changes confirmed facts and returns the rows that changed.
    fn change_facts<'a>(
        &mut self,
        put: impl IntoIterator<Item = &'a Triple>,
        dropped: &'a [HeldFact],
    ) -> RowKeys {
        let changed = self.view.change(put, dropped);
        let index = self.view.index();
        changed.iter().filter_map(|fact| row_key(index, fact)).collect()
    }

    /// Takes a watched query's new result in the place of its old one. `newer` tells of facts on which another
    /// query's word is newer. Returns the rows that changed.
    pub(crate) fn replace(
        &mut self,
        old: &FactSet,
        new: &FactSet,
        triples: &[Triple],
        newer: &dyn Fn(&HeldFact) -> bool,
    ) -> RowKeys {
        for fact in new.difference(old) {
            self.take(*fact);
        }
        let index = self.view.index();
        let put = triples.iter().filter(|triple| {
            fact_of(index, triple).is_some_and(|fact| {
                let alone = self.holders.get(&fact).is_none_or(|holders| holders.all < 2);
                alone || !newer(&fact)
            })
        });
        let put: Vec<&Triple> = put.collect();
        let mut gone: Vec<HeldFact> = old.difference(new).copied().collect();
        gone.retain(|fact| self.let_go(fact, Hold::Active));
        self.change_facts(put, &gone)
    }

    /// A kept query is forgotten. Returns the rows that changed.
    pub(crate) fn release(&mut self, held: &FactSet) -> RowKeys {
        let mut gone: Vec<HeldFact> = held.iter().copied().collect();
        gone.retain(|fact| self.let_go(fact, Hold::Kept));
        self.change_facts(None, &gone)
    }

    /// Takes a change of a watched query's facts, `held` before. `is_same` becomes false if the query comes to
    /// hold other facts. Returns the rows that changed.
    pub(crate) fn change(
        &mut self,
        held: &mut FactSet,
        change: &PartBody,
        is_same: &mut bool,
    ) -> RowKeys {
        for triple in &change.put {
            let Some(fact) = fact_of(self.view.index(), triple) else { continue };
            if held.insert(fact) {
                *is_same = false;
                self.take(fact);
            }
        }
        let mut dropped = Vec::new();
        let gone = change.gone.iter().map(|fact| (fact, true));
        for (fact, is_false) in gone.chain(change.forget.iter().map(|fact| (fact, false))) {
            // What is false is so for everybody, kept queries included.
            if held.remove(fact) && (self.let_go(fact, Hold::Active) || is_false) {
                dropped.push(*fact);
            }
        }
        self.change_facts(&change.put, &dropped)
    }

    /// The confirmed facts of an entity, whatever is laid over them.
    pub(crate) fn confirmed(&self, entity: EntityId) -> Vec<Triple> {
        self.confirmed_if(entity, |_| true)
    }

    /// The confirmed facts of an entity that watched queries hold.
    pub(crate) fn watched(&self, entity: EntityId) -> Vec<Triple> {
        self.confirmed_if(entity, |holders| holders.active > 0)
    }

    fn confirmed_if(&self, entity: EntityId, is_wanted: fn(&Holders) -> bool) -> Vec<Triple> {
        let facts = self.view.facts_of_entity(entity).into_iter();
        let wanted = facts.filter(|fact| self.holders.get(fact).is_some_and(is_wanted));
        wanted.filter_map(|fact| self.view.confirmed(&fact)).collect()
    }

    /// The confirmed facts of a row.
    pub(crate) fn row(&self, entity: EntityId, etype: &str) -> Vec<Triple> {
        let catalog = self.view.index().catalog();
        let mut triples = self.confirmed(entity);
        triples.retain(|triple| catalog.get(triple.attr).is_some_and(|a| a.etype() == etype));
        triples
    }

    /// An index of these facts alone, as they are confirmed.
    pub(crate) fn extract(&self, facts: &FactSet, blank: &TripleIndex) -> TripleIndex {
        let mut index = blank.clone();
        for triple in facts.iter().filter_map(|fact| self.view.confirmed(fact)) {
            put_fact(&mut index, &triple);
        }
        index
    }
}

/// Where a fact is stored.
fn row_key(index: &TripleIndex, fact: &HeldFact) -> Option<(EntityId, Arc<str>)> {
    let attr = index.catalog().get(fact.attr)?;
    Some((fact.entity, attr.forward_identity.etype.clone()))
}
