//! Deletes: which entities go, and what of them.

use std::sync::Arc;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::super::commit::{FactChange, Stamped};
use super::super::step::TxStep;
use super::Run;
use crate::attr::Attr;
use crate::id::EntityId;
use crate::index::Cell;
use crate::value::Value;

/// One entity to delete in one namespace.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Doomed {
    pub(super) entity: EntityId,
    pub(super) etype: Arc<str>,
    /// The delete named no namespace, so facts of soft-deleted attributes go too.
    everything: bool,
}

impl Run<'_> {
    /// All deletes of a transaction with their cascades, by the state before it.
    pub(super) fn expand_deletes(&self, steps: &[TxStep]) -> Vec<Doomed> {
        let mut doomed: Vec<Doomed> = Vec::new();
        let mut seen: HashSet<(EntityId, Arc<str>), FxBuildHasher> = HashSet::default();
        for step in steps {
            let TxStep::DeleteEntity { entity, etype } = step else { continue };
            // A lookup without a match deletes nothing.
            let Some(entity) = self.known_entity(entity) else { continue };
            let (etypes, everything) = match etype {
                Some(etype) => (vec![etype.clone()], false),
                None => (self.etypes_of(entity), true),
            };
            for etype in etypes {
                if seen.insert((entity, etype.clone())) {
                    doomed.push(Doomed { entity, etype, everything });
                }
            }
        }
        let mut at = 0;
        while at < doomed.len() {
            let Doomed { entity, etype, .. } = doomed[at].clone();
            for (entity, etype) in self.cascade(entity, &etype) {
                if seen.insert((entity, etype.clone())) {
                    doomed.push(Doomed { entity, etype, everything: false });
                }
            }
            at += 1;
        }
        doomed
    }

    /// The namespaces in which an entity has facts.
    fn etypes_of(&self, entity: EntityId) -> Vec<Arc<str>> {
        let mut etypes: Vec<Arc<str>> = Vec::new();
        for (slot, _) in self.index.row(entity).into_iter().flat_map(|row| row.cells()) {
            if let Some(attr) = self.index.catalog().live(self.index.attr_id(slot))
                && !etypes.contains(&attr.forward_identity.etype)
            {
                etypes.push(attr.forward_identity.etype.clone());
            }
        }
        etypes
    }

    /// What the delete of one entity pulls along directly.
    fn cascade(&self, entity: EntityId, etype: &str) -> Vec<(EntityId, Arc<str>)> {
        let mut found = Vec::new();
        let Some(handle) = self.index.handle(entity) else { return found };
        let catalog = self.index.catalog();
        // Entities that point here through a link that goes with its target.
        for attr in catalog.into_etype(etype).filter(|a| a.on_delete.is_some()) {
            let Some(slot) = self.index.slot(attr.id) else { continue };
            for source in self.index.sources(slot, handle) {
                found.push((self.index.entity(*source), attr.forward_identity.etype.clone()));
            }
        }
        // Targets of links that take them along.
        for attr in catalog.of_etype(etype).filter(|a| a.on_delete_reverse.is_some()) {
            let Some(reverse) = &attr.reverse_identity else { continue };
            for link in self.index.links(entity, attr.id) {
                found.push((link.target, reverse.etype.clone()));
            }
        }
        found
    }

    pub(super) fn delete_entities(&mut self, doomed: &[Doomed]) {
        for Doomed { entity, etype, everything } in doomed {
            self.delete_entity(*entity, etype, *everything);
        }
    }

    fn delete_entity(&mut self, entity: EntityId, etype: &str, everything: bool) {
        let mut gone: Vec<(Arc<Attr>, FactChange)> = Vec::new();
        let mut retract = |attr: &Arc<Attr>, source: EntityId, value: Value, created_at: i64| {
            let old = Some(Stamped(value, created_at));
            gone.push((attr.clone(), FactChange { entity: source, attr: attr.id, old, new: None }));
        };
        if let Some(row) = self.index.row(entity) {
            for (slot, cell) in row.cells() {
                let Some(attr) = self.index.catalog().get(self.index.attr_id(slot)) else {
                    continue;
                };
                if attr.etype() != etype && !(everything && attr.is_deleted()) {
                    continue;
                }
                match cell {
                    Cell::Data { value, created_at } => {
                        retract(attr, entity, value.clone(), created_at);
                    }
                    Cell::Links(links) => {
                        for link in links {
                            retract(attr, entity, Value::Ref(link.target), link.created_at);
                        }
                    }
                }
            }
        }
        if let Some(handle) = self.index.handle(entity) {
            for attr in self.index.catalog().into_etype(etype) {
                let Some(slot) = self.index.slot(attr.id) else { continue };
                for source in self.index.sources(slot, handle) {
                    let source = self.index.entity(*source);
                    // A link from the entity to itself went with its own facts above.
                    if source == entity && attr.etype() == etype {
                        continue;
                    }
                    let link =
                        self.index.links(source, attr.id).iter().find(|l| l.target == entity);
                    if let Some(link) = link {
                        retract(attr, source, Value::Ref(entity), link.created_at);
                    }
                }
            }
        }
        for (attr, fact) in gone {
            self.change_fact(&attr, fact);
        }
    }
}
