//! The groups that write and retract triples.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::super::commit::{FactChange, Stamped};
use super::super::error::TxError;
use super::super::merge::deep_merge;
use super::super::step::{EntityRef, TxStep};
use super::{Actor, Run, value_lookup};
use crate::attr::{Attr, Cardinality, Catalog, InferredType};
use crate::id::{AttrId, EntityId};
use crate::index::Cell;
use crate::value::Value;

/// Most bytes of a value that an index holds, as in the original (there: of its binary JSON).
const MAX_INDEXED_BYTES: usize = 1024;

/// What the group of plain writes comes to. `None` as a value takes away what is there.
struct Writes {
    list: Vec<(EntityId, Arc<Attr>, Option<Value>)>,
    /// Where in the list the write of an (entity, attribute) of cardinality one is.
    place: HashMap<(EntityId, AttrId), usize, FxBuildHasher>,
}

impl Writes {
    fn with_capacity(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), place: HashMap::default() }
    }

    fn pending(&self, entity: EntityId, attr: AttrId) -> Option<&Option<Value>> {
        self.place.get(&(entity, attr)).map(|at| &self.list[*at].2)
    }

    /// Of several values for one (entity, attribute) of cardinality one, the last counts.
    fn put(&mut self, entity: EntityId, attr: Arc<Attr>, value: Option<Value>) {
        if attr.cardinality == Cardinality::One {
            match self.place.entry((entity, attr.id)) {
                hashbrown::hash_map::Entry::Occupied(at) => {
                    self.list[*at.get()].2 = value;
                    return;
                }
                hashbrown::hash_map::Entry::Vacant(at) => {
                    at.insert(self.list.len());
                }
            }
        }
        self.list.push((entity, attr, value));
    }
}

impl Run<'_> {
    pub(super) fn add_triples<'s>(
        &mut self,
        group: impl Iterator<Item = &'s TxStep>,
    ) -> Result<(), TxError> {
        let steps: Vec<&TxStep> = group.collect();
        let mut entities = Vec::with_capacity(steps.len());
        for step in &steps {
            entities.push(match step {
                // Whatever is not there needs no retracting.
                TxStep::RetractTriple { entity, .. } => self.present_entity(entity),
                TxStep::AddTriple { entity, .. }
                | TxStep::UpdateTriple { entity, .. }
                | TxStep::DeepMergeTriple { entity, .. } => self.entity_or_new(entity)?,
                _ => None,
            });
        }

        let mut writes = Writes::with_capacity(steps.len());
        for (step, entity) in steps.iter().zip(entities) {
            let (Some(entity), Some(triple)) = (entity, step.triple()) else { continue };
            let attr = self.attr(triple.attr)?;
            self.check_lookup_rewrite(triple.entity, &attr)?;
            if let TxStep::AddTriple { value, .. } = step {
                let Some(value) = self.resolve_value(&attr, entity, value)? else { continue };
                writes.put(entity, attr, Some(value));
            } else {
                let base = match writes.pending(entity, attr.id) {
                    Some(pending) => pending.clone(),
                    None => self.index.value(entity, attr.id).cloned(),
                };
                if let Some(changed) = self.compose(step, entity, &attr, base)? {
                    writes.put(entity, attr, changed);
                }
            }
        }
        let mut writes = writes.list;
        // Uniqueness is checked row by row; single values go in before links, by entity and attribute.
        if writes.iter().any(|(_, attr, _)| attr.unique && !attr.is_id()) {
            writes.sort_by_key(|(entity, attr, _)| {
                (attr.cardinality == Cardinality::Many, *entity, attr.id)
            });
        }
        let mut identified: Vec<(EntityId, Arc<Attr>)> = Vec::new();
        for (entity, attr, value) in writes {
            if attr.is_id() {
                identified.push((entity, attr.clone()));
            }
            match value {
                Some(value) => self.write(entity, &attr, value)?,
                None => self.retract_value(entity, &attr),
            }
        }
        for (entity, attr) in identified {
            // A client that tries its own write cannot tell what else an entity has, unless it creates it.
            let created = (entity, attr.forward_identity.etype.clone());
            if self.actor != Actor::Optimistic || self.created.contains(&created) {
                self.back_fill(entity, &attr);
            }
        }
        Ok(())
    }

    /// The entity of a step that makes none.
    fn present_entity(&self, entity: &EntityRef) -> Option<EntityId> {
        self.known_entity(entity).or_else(|| match entity {
            EntityRef::Id(id) => Some(*id),
            EntityRef::Lookup(attr, value) => {
                self.created_by_lookup.get(&(*attr, value.clone())).copied()
            }
        })
    }

    /// The entity of a step, made now if a lookup has no match. `None`: the step does nothing.
    fn entity_or_new(&mut self, entity: &EntityRef) -> Result<Option<EntityId>, TxError> {
        let (attr_id, value) = match entity {
            EntityRef::Id(id) => return Ok(Some(*id)),
            EntityRef::Lookup(attr, value) => (*attr, value),
        };
        if let Some(known) = self.known_entity(entity) {
            return Ok(Some(known));
        }
        let key = (attr_id, value.clone());
        if let Some(made) = self.created_by_lookup.get(&key) {
            return Ok(Some(*made));
        }
        let attr = self.attr(attr_id)?;
        if !attr.unique {
            return Err(TxError::unknown_attr(attr.id));
        }
        if self.actor == Actor::Optimistic {
            return Ok(None);
        }
        let made = match value.as_entity() {
            Some(id) if attr.is_id() => id,
            _ => EntityId(self.ids.next_uuid()),
        };
        self.created_by_lookup.insert(key, made);
        let value = attr.coerce(value.clone());
        self.write(made, &attr, value)?;
        Ok(Some(made))
    }

    /// Refuses to set the very attribute by which an entity was made in this transaction.
    fn check_lookup_rewrite(&self, entity: &EntityRef, attr: &Attr) -> Result<(), TxError> {
        let EntityRef::Lookup(by, value) = entity else { return Ok(()) };
        if *by == attr.id
            && !attr.is_id()
            && self.created_by_lookup.contains_key(&(*by, value.clone()))
        {
            return Err(TxError::validation(
                "lookup",
                "Updates with lookups can only update the lookup attribute if an entity with the unique \
                 attribute value already exists.",
                None,
            ));
        }
        Ok(())
    }

    /// The value to store. `None`: the step does nothing.
    fn resolve_value(
        &mut self,
        attr: &Attr,
        entity: EntityId,
        value: &Value,
    ) -> Result<Option<Value>, TxError> {
        if !attr.is_ref() && !attr.is_id() {
            return Ok(Some(value.clone()));
        }
        if let Some((by, wanted)) = value_lookup(value) {
            if let Some(made) = self.created_by_lookup.get(&(by, wanted.clone())) {
                return Ok(Some(Value::Ref(*made)));
            }
            let by = self.attr(by)?;
            let found = self.find(&by, &wanted);
            return match found {
                Some(found) => Ok(Some(Value::Ref(found))),
                None if self.actor == Actor::Optimistic => Ok(None),
                None => Err(TxError::validation(
                    "lookup",
                    "The entity for the lookup does not exist.",
                    None,
                )),
            };
        }
        match value.as_entity() {
            Some(target) => Ok(Some(Value::Ref(target))),
            // The `id` triple of an entity says the entity, whatever was sent.
            None if attr.is_id() => Ok(Some(Value::Ref(entity))),
            None => Err(TxError::new(
                super::super::error::TxErrorKind::ValidationFailed,
                "Linked value must be a valid uuid.",
                serde_json::json!({
                    "namespace": attr.etype(), "attribute": attr.label(), "value": value,
                    "attr-id": attr.id, "entity-id": entity,
                }),
            )),
        }
    }

    /// Sets (cardinality one) or adds (cardinality many) one value, checking type, size and uniqueness.
    pub(super) fn write(
        &mut self,
        entity: EntityId,
        attr: &Arc<Attr>,
        value: Value,
    ) -> Result<(), TxError> {
        let old = self.present(entity, attr, &value);
        if old.as_ref().is_some_and(|old| old.0 == value) {
            return Ok(());
        }
        if let Some(checked) = attr.checked_data_type
            && !checked.accepts(&value)
        {
            return Err(TxError::wrong_type(attr, checked.name(), entity, &value));
        }
        if (attr.indexed || attr.unique) && !attr.is_ref() && too_large(&value) {
            return Err(TxError::too_large(attr, entity, &value));
        }
        if attr.unique && self.is_taken(entity, attr, &value) {
            return Err(TxError::value_taken(attr, &value));
        }
        self.infer(attr, &value);
        // Overwriting keeps the time of the first write.
        let created_at = old.as_ref().map_or(self.now, |old| old.1);
        let new = Some(Stamped(value, created_at));
        self.change_fact(attr, FactChange { entity, attr: attr.id, old, new });
        Ok(())
    }

    /// What a write of this value would replace.
    pub(super) fn present(&self, entity: EntityId, attr: &Attr, value: &Value) -> Option<Stamped> {
        let cell = self.index.row(entity)?.cell(self.index.slot(attr.id)?)?;
        match cell {
            Cell::Data { value, created_at } => Some(Stamped(value.clone(), created_at)),
            Cell::Links(links) if attr.cardinality == Cardinality::One => {
                links.first().map(|l| Stamped(Value::Ref(l.target), l.created_at))
            }
            Cell::Links(links) => {
                let target = value.as_entity()?;
                links
                    .iter()
                    .find(|l| l.target == target)
                    .map(|l| Stamped(Value::Ref(l.target), l.created_at))
            }
        }
    }

    /// Whether another entity holds the value of a unique attribute.
    fn is_taken(&self, entity: EntityId, attr: &Attr, value: &Value) -> bool {
        if attr.is_ref() {
            let (Some(slot), Some(target)) =
                (self.index.slot(attr.id), value.as_entity().and_then(|e| self.index.handle(e)))
            else {
                return false;
            };
            return self
                .index
                .sources(slot, target)
                .iter()
                .any(|h| self.index.entity(*h) != entity);
        }
        self.index.find_unique(attr.id, value).is_some_and(|h| self.index.entity(h) != entity)
    }

    /// Notes the type of a value in its attribute.
    fn infer(&mut self, attr: &Arc<Attr>, value: &Value) {
        if attr.catalog == Catalog::System || self.actor == Actor::Optimistic {
            return;
        }
        let Some(seen) = InferredType::of(value) else { return };
        // The definition at hand may be older than what this transaction noted already.
        let Some(current) = self.index.catalog().get(attr.id).cloned() else { return };
        let mut types = current.inferred_types.clone().unwrap_or_default();
        if let Err(at) = types.binary_search(&seen) {
            types.insert(at, seen);
            let mut grown = Attr::clone(&current);
            grown.inferred_types = Some(types);
            self.change_attr(Some(current), Some(Arc::new(grown)));
        }
    }

    /// Gives an entity an explicit null for every indexed data attribute of the namespace that it lacks;
    /// the system's own attributes get none.
    pub(super) fn back_fill(&mut self, entity: EntityId, id_attr: &Attr) {
        let lacking: Vec<Arc<Attr>> = self
            .index
            .catalog()
            .of_etype(id_attr.etype())
            .filter(|a| a.indexed && !a.is_ref() && !a.is_id() && a.catalog == Catalog::User)
            .filter(|a| !self.index.holds(entity, a.id))
            .cloned()
            .collect();
        for attr in lacking {
            self.add(&attr, entity, Value::Null);
        }
    }

    pub(super) fn merge_triples<'s>(
        &mut self,
        group: impl Iterator<Item = &'s TxStep>,
    ) -> Result<(), TxError> {
        let mut order: Vec<(EntityId, Arc<Attr>)> = Vec::new();
        let mut merged: HashMap<(EntityId, AttrId), Value, FxBuildHasher> = HashMap::default();
        let mut rewrites: Vec<(&EntityRef, Arc<Attr>)> = Vec::new();
        for step in group {
            let TxStep::DeepMergeTriple { entity: entity_ref, attr, value: patch, .. } = step
            else {
                continue;
            };
            let Some(entity) = self.entity_or_new(entity_ref)? else { continue };
            let attr = self.attr(*attr)?;
            if attr.is_ref() {
                return Err(TxError::raised("merge operation is not supported for links"));
            }
            let key = (entity, attr.id);
            let base = match merged.get(&key) {
                Some(value) => value.to_json(),
                None => {
                    order.push((entity, attr.clone()));
                    rewrites.push((entity_ref, attr.clone()));
                    self.index
                        .value(entity, attr.id)
                        .map_or(serde_json::Value::Null, Value::to_json)
                }
            };
            merged.insert(key, Value::from_json(deep_merge(base, &patch.to_json())));
        }
        for (entity, attr) in order {
            if let Some(value) = merged.remove(&(entity, attr.id)) {
                self.write(entity, &attr, value)?;
            }
        }
        for (entity, attr) in rewrites {
            self.check_lookup_rewrite(entity, &attr)?;
        }
        Ok(())
    }

    pub(super) fn retract_triples<'s>(
        &mut self,
        group: impl Iterator<Item = &'s TxStep>,
    ) -> Result<(), TxError> {
        let mut seen: HashSet<(EntityId, AttrId, Value), FxBuildHasher> = HashSet::default();
        for step in group {
            let TxStep::RetractTriple { entity, attr, value } = step else { continue };
            // Nothing is held under an attribute that nobody made.
            let Some(attr) = self.index.catalog().live(*attr).cloned() else { continue };
            let Some(entity) = self.known_entity(entity) else { continue };
            let value = match value_lookup(value) {
                Some((by, wanted)) if attr.is_ref() => {
                    let by = self.attr(by)?;
                    match self.find(&by, &wanted) {
                        Some(found) => Value::Ref(found),
                        None => continue,
                    }
                }
                _ => attr.coerce(value.clone()),
            };
            if !seen.insert((entity, attr.id, value.clone())) {
                continue;
            }
            if let Some(old) = self.present(entity, &attr, &value).filter(|old| old.0 == value) {
                let fact = FactChange { entity, attr: attr.id, old: Some(old), new: None };
                self.change_fact(&attr, fact);
            }
        }
        Ok(())
    }
}

/// Whether a value is too large for an index.
pub(crate) fn too_large(value: &Value) -> bool {
    match value {
        // Text plus the few bytes that binary JSON adds.
        Value::String(s) => s.len() + 12 > MAX_INDEXED_BYTES,
        Value::Json(json) => json.to_string().len() > MAX_INDEXED_BYTES,
        _ => false,
    }
}
