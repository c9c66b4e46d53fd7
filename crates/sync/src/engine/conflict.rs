//! Noticing that somebody else wrote the same value at the same time.
//!
//! The server's order decides who wins; nobody is asked. But whose write was overtaken, or overtook
//! another, may want to know: that takes both values, and they are only at hand while the write is pending.

use std::sync::Arc;

use rustc_hash::FxHashSet;
use tricedb_core::attr::Cardinality;
use tricedb_core::id::{AttrId, EntityId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Commit, TxStep};
use tricedb_core::value::Value;
use tricedb_protocol::native::Replaced;

use super::SyncEngine;
use super::pending::Pending;
use super::report::{Conflict, SyncEvent, Winner};

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
    for fact in commit.into_iter().flat_map(Commit::facts) {
        let attr = index.catalog().get(fact.attr);
        let is_single = attr.is_some_and(|a| a.cardinality == Cardinality::One && !a.is_id());
        if !is_single || merged.contains(&fact.attr) {
            continue;
        }
        let value = |side: &Option<tricedb_core::tx::Stamped>| side.as_ref().map(|s| s.0.clone());
        let (base, own) = (value(&fact.old), value(&fact.new));
        match writes.iter_mut().find(|w| w.entity == fact.entity && w.attr == fact.attr) {
            Some(earlier) => earlier.own = own,
            None => {
                let (entity, attr) = (fact.entity, fact.attr);
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
    /// A new transaction's writes replace those of earlier ones: only the last is anybody's last word.
    pub(super) fn supersede_writes(&mut self, by: &[Write]) {
        if by.is_empty() {
            return;
        }
        let written: FxHashSet<_> = by.iter().map(|write| (write.entity, write.attr)).collect();
        for pending in self.outbox.iter_mut() {
            pending.writes.retain(|write| !written.contains(&(write.entity, write.attr)));
        }
    }

    /// Compares what pending transactions write with what the server says now. Needs a local view with
    /// nothing laid over it.
    pub(super) fn notice_conflicts(&mut self, changed: &FxHashSet<EntityId>, position: TxId) {
        let index = self.local.view.base();
        let mut overtaken = Vec::new();
        for pending in self.outbox.iter_mut() {
            let tx = pending.tx();
            pending.writes.retain_mut(|write| {
                if !changed.contains(&write.entity) {
                    return true;
                }
                let there = current(index, write.entity, write.attr);
                if there == write.own || there == write.base {
                    return true;
                }
                write.base.clone_from(&there);
                if tx.is_some_and(|tx| tx <= position) {
                    overtaken.push((write.clone(), there));
                    return false;
                }
                write.met = Some((there, position));
                true
            });
        }
        for (write, there) in overtaken {
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

fn current(index: &TripleIndex, entity: EntityId, attr: AttrId) -> Option<Value> {
    let is_link = index.catalog().get(attr).is_some_and(|attr| attr.is_ref());
    if is_link {
        return index.links(entity, attr).first().map(|link| Value::Ref(link.target));
    }
    index.value(entity, attr).cloned()
}

impl Pending {
    /// Takes over what it writes from what it changed at its making.
    pub(crate) fn note_writes(&mut self, commit: Option<&Commit>, index: &TripleIndex) {
        self.writes = writes_of(&self.steps, commit, index);
    }
}

/// Entities of changed rows.
pub(super) fn entities(keys: &super::local::RowKeys) -> FxHashSet<EntityId> {
    keys.iter().map(|(entity, _): &(EntityId, Arc<str>)| *entity).collect()
}
