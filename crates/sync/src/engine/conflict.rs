//! Noticing that somebody else wrote the same value at the same time.
//!
//! The server's order decides who wins; nobody is asked. But whose write was overtaken, or overtook
//! another, may want to know: that takes both values, and they are only at hand while the write is pending.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use tricedb_core::attr::Cardinality;
use tricedb_core::id::{AttrId, EntityId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::port::HeldFact;
use tricedb_core::tx::{Commit, TxStep};
use tricedb_core::value::Value;
use tricedb_protocol::native::Replaced;

use super::SyncEngine;
use super::report::{Conflict, SyncEvent, Winner};
use super::view::View;

/// A value that a pending transaction writes.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Write {
    entity: EntityId,
    attr: AttrId,
    /// What was there when it was made, or what it is known to have met since.
    base: Option<Value>,
    own: Option<Value>,
    /// What somebody else wrote meanwhile, and the position at which it was seen.
    met: Option<(Option<Value>, TxId)>,
}

/// The single values that a transaction replaces as a whole. Merges and operators are left out: they take
/// nothing away from what others wrote.
pub(crate) fn writes_of(
    steps: &[TxStep],
    commit: Option<&Commit>,
    index: &TripleIndex,
) -> Vec<Write> {
    let merged: FxHashSet<AttrId> = steps
        .iter()
        .filter_map(|step| match step {
            TxStep::DeepMergeTriple { attr, .. } | TxStep::UpdateTriple { attr, .. } => Some(*attr),
            _ => None,
        })
        .collect();
    let mut writes: Vec<Write> = Vec::new();
    let mut places: FxHashMap<(EntityId, AttrId), usize> = FxHashMap::default();
    for fact in commit.into_iter().flat_map(Commit::facts) {
        let attr = index.catalog().get(fact.attr);
        let is_single = attr.is_some_and(|a| a.cardinality == Cardinality::One && !a.is_id());
        if !is_single || merged.contains(&fact.attr) {
            continue;
        }
        let value = |side: &Option<tricedb_core::tx::Stamped>| side.as_ref().map(|s| s.0.clone());
        let (base, own) = (value(&fact.old), value(&fact.new));
        let (entity, attr) = (fact.entity, fact.attr);
        match places.get(&(entity, attr)) {
            Some(place) => writes[*place].own = own,
            None => {
                places.insert((entity, attr), writes.len());
                writes.push(Write { entity, attr, base, own, met: None });
            }
        }
    }
    writes
}

/// The server says that others had changed a value before this client's write replaced it.
pub(super) fn met(writes: &mut [Write], replaced: Replaced, tx: TxId) {
    let Replaced { entity, attr, value } = replaced;
    let write = writes.iter_mut().find(|write| write.entity == entity && write.attr == attr);
    if let Some(write) = write.filter(|write| write.met.is_none() && write.own != value) {
        write.met = Some((value, TxId(tx.0.saturating_sub(1))));
    }
}

impl SyncEngine {
    /// Compares what pending transactions write with what the server says now of some entities.
    pub(super) fn notice_conflicts(&mut self, changed: &FxHashSet<EntityId>, position: TxId) {
        let mut overtaken = Vec::new();
        for entity in changed {
            for seq in self.outbox.writers_of(*entity) {
                let Some((tx, writes)) = self.outbox.writes_mut(seq) else { continue };
                let mut settled = Vec::new();
                writes.retain_mut(|write| {
                    if write.entity != *entity {
                        return true;
                    }
                    let there = current(&self.local.view, write.entity, write.attr);
                    if there == write.own || there == write.base {
                        return true;
                    }
                    write.base.clone_from(&there);
                    if tx.is_some_and(|tx| tx <= position) {
                        settled.push((write.clone(), there));
                        return false;
                    }
                    write.met = Some((there, position));
                    true
                });
                overtaken.extend(settled.into_iter().map(|settled| (seq, settled)));
            }
        }
        for (seq, (write, there)) in overtaken {
            self.outbox.forget_write(seq, &write);
            self.tell_conflict(&write, there, Winner::Remote);
        }
    }

    /// The server committed a transaction at a position: what it met was before or after it.
    pub(super) fn settle_conflicts(&mut self, writes: &mut [Write], tx: TxId) {
        for write in writes {
            if let Some((there, seen_at)) = write.met.take() {
                let winner = if tx > seen_at { Winner::Local } else { Winner::Remote };
                self.tell_conflict(write, there, winner);
            }
        }
    }

    fn tell_conflict(&mut self, write: &Write, there: Option<Value>, winner: Winner) {
        let Some(attr) = self.names.blank().catalog().get(write.attr) else { return };
        let json = |value: Option<Value>| value.map(|value| value.to_json());
        let conflict = Conflict {
            entity: write.entity,
            etype: attr.forward_identity.etype.clone(),
            label: attr.forward_identity.label.clone(),
            local: json(write.own.clone()),
            remote: json(there),
            winner,
        };
        self.event(SyncEvent::ConflictResolved(conflict));
    }
}

fn current(view: &View, entity: EntityId, attr: AttrId) -> Option<Value> {
    view.confirmed(&HeldFact { entity, attr, target: None }).map(|triple| triple.value)
}

/// Who writes what last, by entity.
#[derive(Debug, Default)]
pub(crate) struct Writers(FxHashMap<EntityId, Vec<(AttrId, u64)>>);

impl Writers {
    /// Puts a transaction in the place of those that wrote the same before; returns these.
    pub(crate) fn take_over(
        &mut self,
        seq: u64,
        writes: &[Write],
    ) -> Vec<(u64, (EntityId, AttrId))> {
        let mut before = Vec::new();
        for write in writes {
            let writers = self.0.entry(write.entity).or_default();
            match writers.iter_mut().find(|(attr, _)| *attr == write.attr) {
                Some((_, writer)) => before.push((std::mem::replace(writer, seq), write.place())),
                None => writers.push((write.attr, seq)),
            }
        }
        before
    }

    pub(crate) fn forget(&mut self, seq: u64, writes: &[Write]) {
        for write in writes {
            let Some(writers) = self.0.get_mut(&write.entity) else { continue };
            writers.retain(|writer| *writer != (write.attr, seq));
            if writers.is_empty() {
                self.0.remove(&write.entity);
            }
        }
    }

    pub(crate) fn of(&self, entity: EntityId) -> Vec<u64> {
        let writers = self.0.get(&entity).into_iter().flatten();
        let mut numbers: Vec<u64> = writers.map(|(_, seq)| *seq).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }
}

impl Write {
    pub(crate) const fn place(&self) -> (EntityId, AttrId) {
        (self.entity, self.attr)
    }
}

/// Entities of changed rows.
pub(super) fn entities(keys: &super::local::RowKeys) -> FxHashSet<EntityId> {
    keys.iter().map(|(entity, _): &(EntityId, Arc<str>)| *entity).collect()
}
