//! Facts with pending transactions laid over them.
//!
//! Each transaction that is laid over notes what it may depend on and what it changed ([`Key`]s). When
//! something below it changes, or one before it goes, only those are lifted off and laid again that use
//! the same things, and those that depend on these: the length of the queue does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashSet;
use tricedb_core::attr::Attr;
use tricedb_core::id::{EntityId, IdSource, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::query::ReadSet;
use tricedb_core::triple::Triple;
use tricedb_core::tx::{
    Actor, AttrChange, Commit, ExecuteContext, FactChange, Stamped, TxError, execute,
};

use super::facts::{drop_fact, fact_of, put_fact, triple_of};
use super::keys::{Key, Users, add_keys_of_commit, add_keys_of_fact, entities_of, keys_of_steps};
use super::pending::{Outbox, Pending};

/// Confirmed facts, and over them pending transactions, as if they had run in their order.
#[derive(Debug, Default)]
pub(crate) struct View {
    index: TripleIndex,
    layers: BTreeMap<u64, Layer>,
    users: Users,
    /// Those that made or changed attributes.
    makers: BTreeSet<u64>,
    /// Lifted off, or new: to be laid.
    waiting: BTreeSet<u64>,
    /// How far it followed the queue's changes, and at which position of the server.
    followed: Option<(u64, TxId)>,
    /// How many of those laid over may have changed what is read.
    felt: usize,
    /// Something that is read of it may have changed.
    is_felt: bool,
    /// How often a transaction was run.
    #[cfg(test)]
    runs: usize,
}

#[derive(Debug)]
struct Layer {
    /// Of the pending transaction's steps.
    revision: u32,
    /// What it changed; `None` if it does not apply here and shows nothing.
    commit: Option<Commit>,
    /// Facts from elsewhere that it needed.
    borrowed: Vec<Triple>,
    keys: Box<[Key]>,
    /// Whether it may have changed what is read of the view.
    is_felt: bool,
}

impl Layer {
    fn makes_attrs(&self) -> bool {
        self.commit.as_ref().is_some_and(Commit::changes_attrs)
    }
}

/// Knows confirmed facts of entities that a view does not hold.
pub(crate) trait Lender {
    /// Trustworthy facts of an entity.
    fn lend(&self, entity: EntityId) -> Vec<Triple>;

    /// The index whose entities lookups may find.
    fn index(&self) -> &TripleIndex;
}

/// What is read of a view, and who lends to it; nothing for a view of everything.
#[derive(Clone, Copy, Default)]
pub(crate) struct Reader<'a> {
    pub(crate) reads: Option<&'a ReadSet>,
    pub(crate) lender: Option<&'a dyn Lender>,
}

impl View {
    pub(crate) fn new(index: TripleIndex) -> Self {
        Self { index, ..Self::default() }
    }

    /// Everything, pending transactions included.
    pub(crate) const fn index(&self) -> &TripleIndex {
        &self.index
    }

    /// The confirmed facts, after lifting everything off. For changes of attributes: those of facts cost
    /// less with [`Self::change`].
    pub(crate) fn base(&mut self) -> &mut TripleIndex {
        while let Some((seq, layer)) = self.layers.pop_last() {
            self.is_felt |= layer.is_felt;
            if let Some(commit) = &layer.commit {
                self.index.undo_between(commit);
            }
            give_back(&mut self.index, &layer.borrowed);
            self.waiting.insert(seq);
        }
        self.users.clear();
        self.makers.clear();
        self.felt = 0;
        &mut self.index
    }

    /// Takes the server's definition of an attribute.
    pub(crate) fn put_attr(&mut self, attr: &Arc<Attr>) {
        let known = self.index.catalog().get(attr.id);
        let is_alike = known.is_some_and(|known| {
            let change = AttrChange { old: Some(known.clone()), new: Some(attr.clone()) };
            !change.is_material()
        });
        let is_same = known == Some(attr);
        let is_made = |seq: &u64| {
            let commit = self.layers.get(seq).and_then(|layer| layer.commit.as_ref());
            commit.is_some_and(|commit| commit.attrs().any(|change| change.id() == Some(attr.id)))
        };
        if self.makers.iter().any(is_made) || !is_alike {
            self.base().put_attr(attr.clone());
        } else if !is_same {
            // Only the types seen in values are new: what is laid over may stay.
            self.index.put_attr(attr.clone());
        }
    }

    /// The confirmed triple of a fact, whatever is laid over it.
    pub(crate) fn confirmed(&self, fact: &HeldFact) -> Option<Triple> {
        for seq in self.users.of(Key::entity(fact.entity)) {
            let Some(layer) = self.layers.get(seq) else { continue };
            if layer.borrowed.iter().any(|lent| fact_of(&self.index, lent).as_ref() == Some(fact)) {
                return None;
            }
            for change in layer.commit.iter().flat_map(Commit::facts) {
                if let Some(before) = before(change, fact) {
                    let Stamped(value, created_at) = before?;
                    let HeldFact { entity, attr, .. } = *fact;
                    return Some(Triple {
                        entity,
                        attr,
                        value: value.clone(),
                        created_at: *created_at,
                    });
                }
            }
        }
        triple_of(&self.index, fact)
    }

    /// The facts of an entity that are there, or were before pending transactions.
    pub(crate) fn facts_of_entity(&self, entity: EntityId) -> BTreeSet<HeldFact> {
        let mut facts = BTreeSet::new();
        if let Some(row) = self.index.row(entity) {
            facts.extend(self.index.triples_of(row).filter_map(|t| fact_of(&self.index, &t)));
        }
        for seq in self.users.of(Key::entity(entity)) {
            let commit = self.layers.get(seq).and_then(|layer| layer.commit.as_ref());
            for change in commit.into_iter().flat_map(Commit::facts).filter(|c| c.entity == entity)
            {
                let old = change.old.as_ref().map(|Stamped(value, created_at)| Triple {
                    entity,
                    attr: change.attr,
                    value: value.clone(),
                    created_at: *created_at,
                });
                facts.extend(old.and_then(|old| fact_of(&self.index, &old)));
            }
        }
        facts
    }

    /// Changes confirmed facts: some hold now, others no more. Returns those that were otherwise before;
    /// they come in no order.
    pub(crate) fn change<'a>(
        &mut self,
        put: impl IntoIterator<Item = &'a Triple>,
        dropped: impl IntoIterator<Item = &'a HeldFact>,
    ) -> Vec<HeldFact> {
        if self.layers.is_empty() {
            let mut changed: Vec<HeldFact> = dropped.into_iter().copied().collect();
            changed.retain(|fact| drop_fact(&mut self.index, fact));
            let put = put.into_iter().filter(|triple| put_fact(&mut self.index, triple));
            let put: Vec<&Triple> = put.collect();
            changed.extend(put.into_iter().filter_map(|triple| fact_of(&self.index, triple)));
            return changed;
        }
        let mut keys = Vec::new();
        let mut news: Vec<(HeldFact, &Triple)> = Vec::new();
        for triple in put {
            let Some(fact) = fact_of(&self.index, triple) else { continue };
            let before = self.confirmed(&fact);
            let Some(attr) = self.index.catalog().get(triple.attr) else { continue };
            let is_same = before.as_ref().is_some_and(|before| {
                before.created_at == triple.created_at
                    && before.value == attr.coerce(triple.value.clone())
            });
            if is_same {
                continue;
            }
            let value = attr.coerce(triple.value.clone());
            add_keys_of_fact(&self.index, fact.entity, fact.attr, &value, &mut keys);
            before.iter().for_each(|before| self.add_keys(before, &mut keys));
            news.push((fact, triple));
        }
        let mut gone: Vec<HeldFact> = Vec::new();
        for fact in dropped {
            if let Some(before) = self.confirmed(fact) {
                self.add_keys(&before, &mut keys);
                gone.push(*fact);
            }
        }
        self.lift(keys, None);
        // First what goes: a unique value may move.
        gone.retain(|fact| drop_fact(&mut self.index, fact));
        for (fact, triple) in news {
            if put_fact(&mut self.index, triple) {
                gone.push(fact);
            }
        }
        gone
    }

    fn add_keys(&self, triple: &Triple, keys: &mut Vec<Key>) {
        add_keys_of_fact(&self.index, triple.entity, triple.attr, &triple.value, keys);
    }

    /// Lifts off those layers behind a number (or all) that use any of these things, and those behind them
    /// that depend on these. They wait to be laid again.
    fn lift(&mut self, mut keys: Vec<Key>, behind: Option<u64>) {
        if self.layers.is_empty() {
            return;
        }
        keys.sort_unstable();
        keys.dedup();
        let (mut open, mut lifted) = (BTreeSet::new(), Vec::new());
        let mut spread = FxHashSet::default();
        for key in keys {
            let users = match behind {
                Some(seq) => self.users.behind(key, seq),
                None => self.users.of(key),
            };
            open.extend(users.iter().copied());
        }
        while let Some(seq) = open.pop_first() {
            let Some(layer) = self.layers.get(&seq) else { continue };
            lifted.push(seq);
            if self.makers.contains(&seq) {
                // Any of those behind may need them.
                self.lift_behind(seq);
                break;
            }
            for key in &layer.keys {
                // Whoever uses it behind an earlier layer is in already.
                if spread.insert(*key) {
                    open.extend(self.users.behind(*key, seq).iter().copied());
                }
            }
        }
        for seq in lifted.into_iter().rev() {
            self.take_off(seq);
            self.waiting.insert(seq);
        }
    }

    fn lift_behind(&mut self, seq: u64) {
        while let Some(last) = self.layers.last_key_value().map(|(last, _)| *last) {
            if last <= seq {
                return;
            }
            self.take_off(last);
            self.waiting.insert(last);
        }
    }

    /// Takes a layer off that no other depends on.
    fn take_off(&mut self, seq: u64) {
        let Some(layer) = self.layers.remove(&seq) else { return };
        self.is_felt |= layer.is_felt;
        self.felt -= usize::from(layer.is_felt);
        self.makers.remove(&seq);
        for key in &layer.keys {
            self.users.remove(*key, seq);
        }
        if let Some(commit) = &layer.commit {
            self.index.undo_between(commit);
        }
        give_back(&mut self.index, &layer.borrowed);
    }

    /// Takes a transaction out, and lets those that depend on it be laid again.
    pub(crate) fn remove(&mut self, seq: u64) {
        self.waiting.remove(&seq);
        let Some(layer) = self.layers.get(&seq) else { return };
        if self.makers.contains(&seq) {
            self.lift_behind(seq);
        } else {
            let keys = layer.keys.to_vec();
            self.lift(keys, Some(seq));
        }
        self.take_off(seq);
    }

    /// Follows the queue: lays exactly the transactions over that a result at `position` does not contain
    /// for sure; all without one. Returns whether what is read may have changed since the last time.
    pub(crate) fn align(
        &mut self,
        outbox: &Outbox,
        position: Option<TxId>,
        reader: Reader<'_>,
        ids: &mut dyn IdSource,
    ) -> bool {
        let at = position.unwrap_or_default();
        let news = self.followed.filter(|(_, before)| *before <= at).and_then(|(seen, before)| {
            let mut news: Vec<u64> = outbox.changed_since(seen)?.to_vec();
            if position.is_some() && at > before {
                news.extend(outbox.acked_between(before, at));
            }
            Some(news)
        });
        let news = news.unwrap_or_else(|| {
            let all = outbox.iter().map(|pending| pending.seq);
            all.chain(self.layers.keys().copied()).chain(self.waiting.iter().copied()).collect()
        });
        for seq in news {
            let is_wanted = |pending: &&Pending| position.is_none_or(|at| pending.is_beyond(at));
            let wanted = outbox.get(seq).filter(is_wanted).map(|pending| pending.revision);
            let laid = self.layers.get(&seq).map(|layer| layer.revision);
            if laid.is_some() && laid != wanted {
                self.remove(seq);
            }
            match wanted {
                Some(_) if laid != wanted => drop(self.waiting.insert(seq)),
                Some(_) => {}
                None => drop(self.waiting.remove(&seq)),
            }
        }
        self.followed = Some((outbox.changes(), at));
        while let Some(seq) = self.waiting.pop_first() {
            if let Some(pending) = outbox.get(seq) {
                // One that does not apply here shows nothing; whether it stands, the server says.
                let _ = self.lay(pending, reader, ids);
            }
        }
        std::mem::take(&mut self.is_felt)
    }

    /// Whether a transaction is laid over and may have changed what is read of the view.
    pub(crate) fn shows(&self, seq: u64) -> bool {
        self.layers.get(&seq).is_some_and(|layer| layer.is_felt)
    }

    /// Whether any transaction that is laid over may have changed what is read of the view.
    pub(crate) const fn shows_any(&self) -> bool {
        self.felt > 0
    }

    /// Lays a transaction over what is there, below those with higher numbers.
    ///
    /// # Errors
    /// Why it does not apply; it shows nothing then.
    pub(crate) fn lay(
        &mut self,
        pending: &Pending,
        reader: Reader<'_>,
        ids: &mut dyn IdSource,
    ) -> Result<(), TxError> {
        let seq = pending.seq;
        self.lift(keys_of_steps(&self.index, &pending.steps), Some(seq));
        loop {
            let (layer, result) = self.run(pending, reader, ids);
            let is_hit = layer.keys.iter().any(|key| !self.users.behind(*key, seq).is_empty());
            let is_last = self.layers.range(seq + 1..).next().is_none();
            if is_last || !(is_hit || layer.makes_attrs()) {
                self.is_felt |= layer.is_felt;
                self.felt += usize::from(layer.is_felt);
                for key in &layer.keys {
                    self.users.add(*key, seq);
                }
                if layer.makes_attrs() {
                    self.makers.insert(seq);
                }
                self.layers.insert(seq, layer);
                return result;
            }
            // It touches more than its text says, and some behind it does so too: that one comes after it.
            if let Some(commit) = &layer.commit {
                self.index.undo_between(commit);
            }
            give_back(&mut self.index, &layer.borrowed);
            if layer.makes_attrs() {
                self.lift_behind(seq);
            } else {
                self.lift(layer.keys.to_vec(), Some(seq));
            }
        }
    }

    fn run(
        &mut self,
        pending: &Pending,
        reader: Reader<'_>,
        ids: &mut dyn IdSource,
    ) -> (Layer, Result<(), TxError>) {
        #[cfg(test)]
        {
            self.runs += 1;
        }
        let mut keys = Vec::new();
        let borrowed = reader.lender.map(|lender| self.borrow(pending, lender, &mut keys));
        let borrowed = borrowed.unwrap_or_default();
        // Later than anything that a server wrote: own new rows come last until the server places them.
        let now = pending.created_at.saturating_mul(10);
        let mut context = ExecuteContext { now, ids, actor: Actor::Optimistic };
        keys.extend(keys_of_steps(&self.index, &pending.steps));
        let (commit, result) = match execute(&mut self.index, &pending.steps, &mut context) {
            Ok(commit) => (Some(commit), Ok(())),
            Err(error) => (None, Err(error)),
        };
        match &commit {
            Some(commit) => add_keys_of_commit(&self.index, commit, &mut keys),
            None => {
                keys.sort_unstable();
                keys.dedup();
            }
        }
        let catalog = self.index.catalog();
        let touches =
            |commit: &Commit| reader.reads.is_none_or(|reads| reads.touches(commit, catalog));
        let is_felt = !borrowed.is_empty() || commit.as_ref().is_some_and(touches);
        let revision = pending.revision;
        (Layer { revision, commit, borrowed, keys: keys.into_boxed_slice(), is_felt }, result)
    }

    /// How often a transaction was run so far.
    #[cfg(test)]
    pub(crate) const fn laid(&self) -> usize {
        self.runs
    }

    /// What a transaction changed, if it applies.
    pub(crate) fn commit_of(&self, seq: u64) -> Option<&Commit> {
        self.layers.get(&seq)?.commit.as_ref()
    }

    fn borrow(
        &mut self,
        pending: &Pending,
        lender: &dyn Lender,
        keys: &mut Vec<Key>,
    ) -> Vec<Triple> {
        let mut borrowed = Vec::new();
        for entity in entities_of(lender.index(), &pending.steps) {
            // By a lookup that finds nothing here, until its entity is lent.
            keys.push(Key::entity(entity));
            for triple in lender.lend(entity) {
                let Some(fact) = fact_of(&self.index, &triple) else { continue };
                let is_missing = triple_of(&self.index, &fact).is_none() && !self.is_taken(&fact);
                if is_missing && put_fact(&mut self.index, &triple) {
                    self.add_keys(&triple, keys);
                    borrowed.push(triple);
                }
            }
        }
        borrowed
    }

    /// Whether something that is laid over took the fact away: it must not be lent back.
    fn is_taken(&self, fact: &HeldFact) -> bool {
        let users = self.users.of(Key::entity(fact.entity)).iter();
        let commits = users.filter_map(|seq| self.layers.get(seq)?.commit.as_ref());
        commits.flat_map(Commit::facts).any(|change| before(change, fact).is_some())
    }
}

fn give_back(index: &mut TripleIndex, borrowed: &[Triple]) {
    for triple in borrowed.iter().rev() {
        if let Some(fact) = fact_of(index, triple) {
            drop_fact(index, &fact);
        }
    }
}

/// What a change replaced, if it is one of this fact.
fn before<'a>(change: &'a FactChange, fact: &HeldFact) -> Option<Option<&'a Stamped>> {
    if change.entity != fact.entity || change.attr != fact.attr {
        return None;
    }
    let Some(target) = fact.target else { return Some(change.old.as_ref()) };
    let is = |side: &&Stamped| side.0.as_entity() == Some(target);
    match change.old.as_ref().filter(is) {
        Some(old) => Some(Some(old)),
        None => change.new.as_ref().filter(is).map(|_| None),
    }
}
