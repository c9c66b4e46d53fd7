//! What transactions have in common: who reads or writes a thing depends on everybody else who does.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Commit, EntityRef, Stamped, TxStep, value_lookup};
use tricedb_core::value::Value;

/// An entity (with the links to and from it), or a value of a unique attribute. Two things may share one,
/// rarely: that costs work and changes no outcome.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key(u64);

impl Key {
    pub(crate) fn entity(entity: EntityId) -> Self {
        let mut hasher = FxHasher::default();
        entity.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(crate) fn unique(attr: AttrId, value: &Value) -> Self {
        let mut hasher = FxHasher::default();
        (1_u8, attr, value).hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The entities that steps name, directly or by a lookup that has a match, each once.
pub(crate) fn entities_of(index: &TripleIndex, steps: &[TxStep]) -> Vec<EntityId> {
    let mut entities = Vec::new();
    for step in steps {
        let Some(entity) = step.entity() else { continue };
        entities.extend(match entity {
            EntityRef::Id(entity) => Some(*entity),
            EntityRef::Lookup(attr, value) => found(index, *attr, value),
        });
        if let Some((attr, value)) = written(step)
            && index.catalog().get(attr).is_some_and(|attr| attr.is_ref())
        {
            entities.extend(match value_lookup(value) {
                Some((by, wanted)) => found(index, by, &wanted),
                None => value.as_entity(),
            });
        }
    }
    entities.sort_unstable();
    entities.dedup();
    entities
}

fn found(index: &TripleIndex, attr: AttrId, value: &Value) -> Option<EntityId> {
    index.find_unique(attr, value).map(|handle| index.entity(handle))
}

/// What the outcome of steps may depend on, and what they may change, by their text: all that can be told
/// before they ran.
pub(crate) fn keys_of_steps(index: &TripleIndex, steps: &[TxStep]) -> Vec<Key> {
    let mut keys: Vec<Key> = entities_of(index, steps).into_iter().map(Key::entity).collect();
    for step in steps {
        if let Some(EntityRef::Lookup(attr, value)) = step.entity() {
            keys.push(Key::unique(*attr, value));
        }
        let Some((attr, value)) = written(step) else { continue };
        let Some(attr) = index.catalog().get(attr) else { continue };
        if attr.is_ref() {
            keys.extend(value_lookup(value).map(|(by, wanted)| Key::unique(by, &wanted)));
        } else if attr.unique {
            keys.push(Key::unique(attr.id, &attr.coerce(value.clone())));
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Adds what a commit touched.
pub(crate) fn add_keys_of_commit(index: &TripleIndex, commit: &Commit, keys: &mut Vec<Key>) {
    for fact in commit.facts() {
        for Stamped(value, _) in fact.old.iter().chain(&fact.new) {
            add_keys_of_fact(index, fact.entity, fact.attr, value, keys);
        }
    }
    keys.sort_unstable();
    keys.dedup();
}

/// Adds what a fact touches that holds or ceases to hold.
pub(crate) fn add_keys_of_fact(
    index: &TripleIndex,
    entity: EntityId,
    attr: AttrId,
    value: &Value,
    keys: &mut Vec<Key>,
) {
    keys.push(Key::entity(entity));
    let Some(attr) = index.catalog().get(attr) else { return };
    if attr.is_ref() {
        keys.extend(value.as_entity().map(Key::entity));
    } else if attr.unique {
        keys.push(Key::unique(attr.id, value));
    }
}

fn written(step: &TxStep) -> Option<(AttrId, &Value)> {
    match step {
        TxStep::AddTriple { attr, value, .. }
        | TxStep::ExpectTriple { attr, value, .. }
        | TxStep::RetractTriple { attr, value, .. } => Some((*attr, value)),
        _ => None,
    }
}

/// Who uses what: numbers of transactions by key, in order.
#[derive(Debug, Default)]
pub(crate) struct Users(FxHashMap<Key, Numbers>);

/// Most things are used by one.
#[derive(Debug)]
enum Numbers {
    One(u64),
    Many(Vec<u64>),
}

impl Users {
    pub(crate) fn add(&mut self, key: Key, seq: u64) {
        let numbers = self.0.entry(key).or_insert(Numbers::One(seq));
        match numbers {
            Numbers::One(one) if *one == seq => {}
            Numbers::One(one) => *numbers = Numbers::Many(vec![seq.min(*one), seq.max(*one)]),
            Numbers::Many(many) => {
                if let Err(place) = many.binary_search(&seq) {
                    many.insert(place, seq);
                }
            }
        }
    }

    pub(crate) fn remove(&mut self, key: Key, seq: u64) {
        let is_last = match self.0.get_mut(&key) {
            Some(Numbers::One(one)) => *one == seq,
            Some(Numbers::Many(many)) => {
                if let Ok(place) = many.binary_search(&seq) {
                    many.remove(place);
                }
                many.is_empty()
            }
            None => false,
        };
        if is_last {
            self.0.remove(&key);
        }
    }

    /// Those that use a thing, in order.
    pub(crate) fn of(&self, key: Key) -> &[u64] {
        match self.0.get(&key) {
            Some(Numbers::One(one)) => std::slice::from_ref(one),
            Some(Numbers::Many(many)) => many,
            None => &[],
        }
    }

    /// Those behind a number that use a thing, in order.
    pub(crate) fn behind(&self, key: Key, seq: u64) -> &[u64] {
        let all = self.of(key);
        &all[all.partition_point(|user| *user <= seq)..]
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
