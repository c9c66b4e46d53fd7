//! Changing facts and attributes, in the rows and in every index at once.

use std::sync::Arc;

use super::gather::indexes_alike;
use super::{Slot, TripleIndex, hash};
use crate::attr::Attr;
use crate::id::{AttrId, EntityId};
use crate::index::column::{Column, TABLE_MIN};
use crate::index::row::{AttrSlot, Handle, Link, Row};
use crate::index::shape::Shapes;
use crate::index::sort_key::SortKey;
use crate::tx::Stamped;
use crate::value::Value;

impl TripleIndex {
    pub(super) fn change_attr(&mut self, old: Option<&Arc<Attr>>, new: Option<&Arc<Attr>>) {
        match (old, new) {
            (_, Some(attr)) => {
                let before = self.catalog.get(attr.id).cloned();
                self.catalog.put(attr.clone());
                let slot = self.intern_attr(attr.id);
                let before = before.as_deref();
                if !before.is_some_and(|before| indexes_alike(before, attr)) {
                    self.rebuild_column(slot, before, attr);
                }
            }
            (Some(attr), None) => {
                // Facts go before their attribute, in commits and in their undoing alike.
                self.catalog.remove(attr.id);
                if let Some(slot) = self.slot(attr.id) {
                    let column = &mut self.columns[slot.0 as usize];
                    column.members = None;
                    column.ordered = None;
                    column.unique = None;
                }
            }
            (None, None) => {}
        }
    }

    fn intern_attr(&mut self, attr: AttrId) -> AttrSlot {
        *self.attr_slots.entry(attr).or_insert_with(|| {
            let slot = AttrSlot(u32::try_from(self.attr_ids.len()).unwrap_or(u32::MAX));
            self.attr_ids.push(attr);
            self.columns.push(Column::default());
            slot
        })
    }

    fn intern(&mut self, entity: EntityId) -> Handle {
        if let Some(handle) = self.handle(entity) {
            return handle;
        }
        let slot = Slot { id: entity, row: None, incoming: 0 };
        let slots = &mut self.slots.0;
        let handle = match self.free.pop() {
            Some(handle) => {
                slots[handle.0 as usize] = slot;
                handle
            }
            None => {
                // In steps of an eighth: most entities are there for long, and room for none costs memory.
                if slots.len() == slots.capacity() {
                    slots.reserve_exact((slots.len() / 8).max(16));
                }
                let handle = Handle(u32::try_from(slots.len()).unwrap_or(u32::MAX));
                slots.push(slot);
                handle
            }
        };
        let Self { handles, slots, .. } = self;
        handles.insert_unique(hash(entity), handle, |handle| hash(slots.id(*handle)));
        handle
    }

    /// Forgets a handle that stands for nothing any more.
    fn release(&mut self, handle: Handle) {
        let Self { handles, slots, free, .. } = self;
        let Some(slot) = slots.0.get(handle.0 as usize) else { return };
        if slot.row.is_some() || slot.incoming > 0 {
            return;
        }
        let Ok(found) = handles.find_entry(hash(slot.id), |known| *known == handle) else { return };
        found.remove();
        free.push(handle);
        if handles.is_empty() {
            *handles = hashbrown::HashTable::new();
            slots.0 = Vec::new();
            *free = Vec::new();
        } else if handles.capacity() > TABLE_MIN.max(8 * handles.len()) {
            handles.shrink_to(2 * handles.len(), |handle| hash(slots.id(*handle)));
        }
    }

    /// Replaces one fact by another (either may be absent).
    pub(super) fn change(
        &mut self,
        entity: EntityId,
        attr: AttrId,
        old: Option<&Stamped>,
        new: Option<&Stamped>,
    ) {
        let Some(definition) = self.catalog.get(attr).cloned() else { return };
        let slot = self.intern_attr(attr);
        let handle = self.intern(entity);
        if definition.is_ref() {
            if let Some(target) = old.and_then(|o| o.0.as_entity()) {
                self.unlink(handle, slot, target);
            }
            if let Some((target, created_at)) = new.and_then(|n| Some((n.0.as_entity()?, n.1))) {
                self.link(handle, slot, target, created_at);
            }
        } else if let (true, Some(Stamped(value, created_at))) = (definition.is_id(), new) {
            // A commit that was read back holds ids as text.
            let new = Stamped(definition.coerce(value.clone()), *created_at);
            self.set(handle, slot, &definition, Some(&new));
        } else {
            self.set(handle, slot, &definition, new);
        }
        self.release(handle);
    }

    /// Changes a row in place if nobody else holds it, else a copy of it.
    fn edit_row<T>(&mut self, handle: Handle, edit: impl FnOnce(&mut Row, &mut Shapes) -> T) -> T {
        let Self { slots, shapes, entities, .. } = self;
        let slot = &mut slots.0[handle.0 as usize];
        let existed = slot.row.is_some();
        let row = slot.row.get_or_insert_with(|| Arc::new(Row::new(slot.id, shapes)));
        let outcome = edit(Arc::make_mut(row), shapes);
        let empty = row.is_empty();
        if empty {
            slot.row = None;
        }
        match (existed, empty) {
            (false, false) => *entities += 1,
            (true, true) => *entities -= 1,
            _ => {}
        }
        outcome
    }

    fn set(&mut self, handle: Handle, slot: AttrSlot, attr: &Attr, new: Option<&Stamped>) {
        let old = self.edit_row(handle, |row, shapes| match new {
            Some(Stamped(value, created_at)) => row.set(slot, value.clone(), *created_at, shapes),
            None => row.unset(slot, shapes),
        });
        match (old.is_some(), new.is_some()) {
            (false, true) => self.triples += 1,
            (true, false) => self.triples -= 1,
            _ => {}
        }
        let checked = attr.settled_type();
        let Self { slots, columns, .. } = self;
        let (entity, id) = (slots.id(handle), |handle| slots.id(handle));
        let held = |handle| slots.value(handle, slot);
        let is_unique = |value: &Value| !(value.is_null() || attr.is_id() && is_own(value, entity));
        let column = &mut columns[slot.0 as usize];
        if let Some((value, created_at)) = &old {
            if let Some(members) = &mut column.members {
                members.remove(created_at, handle, id);
            }
            if let Some(ordered) = &mut column.ordered {
                ordered.remove(&SortKey::of(value, checked), handle, id);
            }
            if let (Some(unique), true) = (&mut column.unique, is_unique(value)) {
                unique.remove(value, handle, held);
            }
        }
        if old.is_some() != new.is_some() {
            column.set_holder(handle, new.is_some());
        }
        let Some(Stamped(value, created_at)) = new else { return };
        if let Some(members) = &mut column.members {
            members.insert(*created_at, handle, id);
        }
        if let Some(ordered) = &mut column.ordered {
            ordered.insert(SortKey::of(value, checked), handle, id);
        }
        if let (Some(unique), true) = (&mut column.unique, is_unique(value)) {
            unique.insert(value, handle, held);
        }
    }

    fn link(&mut self, source: Handle, slot: AttrSlot, target: EntityId, created_at: i64) {
        let handle = self.intern(target);
        let link = Link { target, handle, created_at };
        if self.edit_row(source, |row, shapes| row.link(slot, link, shapes)) {
            self.triples += 1;
            self.slots.0[handle.0 as usize].incoming += 1;
            let column = &mut self.columns[slot.0 as usize];
            column.set_holder(source, true);
            column.add_source(handle, source);
        } else if source != handle {
            self.release(handle);
        }
    }

    fn unlink(&mut self, source: Handle, slot: AttrSlot, target: EntityId) {
        let Some(handle) = self.handle(target) else { return };
        let (removed, none_left) =
            self.edit_row(source, |row, shapes| row.unlink(slot, handle, shapes));
        if removed {
            self.triples -= 1;
            self.slots.0[handle.0 as usize].incoming -= 1;
            let column = &mut self.columns[slot.0 as usize];
            column.remove_source(handle, source);
            if none_left {
                column.set_holder(source, false);
            }
            if source != handle {
                self.release(handle);
            }
        }
    }
}

/// Whether a value is the id of the entity that holds it.
pub(super) fn is_own(value: &Value, entity: EntityId) -> bool {
    matches!(value, Value::Ref(own) if *own == entity)
}
