//! Keeping rows and columns in step.

mod gather;

use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use self::gather::indexes_alike;
use super::column::{Column, Members, Ordered};
use super::row::{AttrSlot, Cell, Handle, Link, Row};
use super::sort_key::SortKey;
use crate::attr::Attr;
use crate::catalog::AttrCatalog;
use crate::id::{AttrId, EntityId};
use crate::triple::Triple;
use crate::tx::{AttrChange, Commit, FactChange, Stamped};
use crate::value::Value;

/// An interned entity.
#[derive(Clone, Debug)]
struct Slot {
    id: EntityId,
    row: Option<Arc<Row>>,
    /// Links that point here.
    incoming: u32,
}

/// The facts of an app (or the part of them that a client holds), indexed.
///
/// Reading never copies facts. Writing goes through [`crate::tx::execute`] or [`Self::apply`].
#[derive(Clone, Default, Debug)]
pub struct TripleIndex {
    catalog: AttrCatalog,
    handles: HashMap<EntityId, Handle, FxBuildHasher>,
    slots: Vec<Slot>,
    free: Vec<Handle>,
    attr_slots: HashMap<AttrId, AttrSlot, FxBuildHasher>,
    attr_ids: Vec<AttrId>,
    columns: Vec<Column>,
    triples: usize,
    entities: usize,
}

impl TripleIndex {
    /// An index without attributes and facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// The attributes.
    pub fn catalog(&self) -> &AttrCatalog {
        &self.catalog
    }

    /// Number of facts, those of soft-deleted attributes included.
    pub fn triple_count(&self) -> usize {
        self.triples
    }

    /// Number of entities that hold facts.
    pub fn entity_count(&self) -> usize {
        self.entities
    }

    /// The interned form of an attribute id.
    pub fn slot(&self, attr: AttrId) -> Option<AttrSlot> {
        self.attr_slots.get(&attr).copied()
    }

    /// The attribute id of a slot of this index.
    pub fn attr_id(&self, slot: AttrSlot) -> AttrId {
        self.attr_ids[slot.0 as usize]
    }

    /// The interned form of an entity id; `None` if it holds no facts and nothing links to it.
    pub fn handle(&self, entity: EntityId) -> Option<Handle> {
        self.handles.get(&entity).copied()
    }

    /// The entity id of a handle of this index.
    pub fn entity(&self, handle: Handle) -> EntityId {
        self.slots[handle.0 as usize].id
    }

    /// All facts of an entity.
    pub fn row(&self, entity: EntityId) -> Option<&Arc<Row>> {
        self.row_at(self.handle(entity)?)
    }

    /// All facts of an entity.
    pub fn row_at(&self, handle: Handle) -> Option<&Arc<Row>> {
        self.slots.get(handle.0 as usize)?.row.as_ref()
    }

    /// Every row, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.slots.iter().filter_map(|slot| slot.row.as_ref())
    }

    /// Every fact, in no particular order; soft-deleted attributes included.
    pub fn triples(&self) -> impl Iterator<Item = Triple> {
        self.rows().flat_map(|row| self.triples_of(row))
    }

    /// The facts of a row of this index.
    pub fn triples_of<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = Triple> + 'a {
        row.cells().flat_map(move |(slot, cell)| {
            let (entity, attr) = (row.id(), self.attr_id(slot));
            let (data, links) = match cell {
                Cell::Data { value, created_at } => (
                    Some(Triple { entity, attr, value: value.clone(), created_at: *created_at }),
                    &[][..],
                ),
                Cell::Links(links) => (None, &links[..]),
            };
            data.into_iter().chain(links.iter().map(move |link| Triple {
                entity,
                attr,
                value: Value::Ref(link.target),
                created_at: link.created_at,
            }))
        })
    }

    /// Whether an entity holds an attribute.
    pub fn holds(&self, entity: EntityId, attr: AttrId) -> bool {
        match (self.row(entity), self.slot(attr)) {
            (Some(row), Some(slot)) => row.cell(slot).is_some(),
            _ => false,
        }
    }

    /// The data value of an entity under an attribute.
    pub fn value(&self, entity: EntityId, attr: AttrId) -> Option<&Value> {
        self.row(entity)?.value(self.slot(attr)?)
    }

    /// The links of an entity under an attribute.
    pub fn links(&self, entity: EntityId, attr: AttrId) -> &[Link] {
        match (self.row(entity), self.slot(attr)) {
            (Some(row), Some(slot)) => row.links(slot),
            _ => &[],
        }
    }

    /// Whether an entity exists in a namespace: it holds the namespace's `id` attribute.
    pub fn exists_in(&self, entity: EntityId, etype: &str) -> bool {
        self.catalog.id_attr(etype).is_some_and(|id| self.holds(entity, id.id))
    }

    /// The entities that hold an attribute, by handle.
    pub fn holders(&self, slot: AttrSlot) -> impl Iterator<Item = Handle> + '_ {
        self.columns[slot.0 as usize].holders.iter().map(Handle)
    }

    /// The entities that hold an attribute, from this handle on, by handle.
    pub fn holders_from(&self, slot: AttrSlot, from: Handle) -> impl Iterator<Item = Handle> + '_ {
        self.columns[slot.0 as usize].holders.range(from.0..).map(Handle)
    }

    /// How many entities hold an attribute.
    pub fn holder_count(&self, slot: AttrSlot) -> u64 {
        self.columns[slot.0 as usize].holders.len()
    }

    /// Whether the entity with this handle holds an attribute, without looking at its row.
    pub fn is_holder(&self, slot: AttrSlot, handle: Handle) -> bool {
        self.columns[slot.0 as usize].holders.contains(handle.0)
    }

    /// The entities of the namespace whose `id` attribute this is, in default order: by creation time,
    /// then id. `None` if it is no `id` attribute.
    pub fn members(&self, slot: AttrSlot) -> Option<Members<'_>> {
        self.columns[slot.0 as usize].members.as_ref().map(|set| set.range(..))
    }

    /// The part of [`Self::members`] between two places of the default order.
    pub fn members_between(
        &self,
        slot: AttrSlot,
        lower: Bound<(i64, EntityId)>,
        upper: Bound<(i64, EntityId)>,
    ) -> Option<Members<'_>> {
        let set = self.columns[slot.0 as usize].members.as_ref()?;
        let low = |(at, id): (i64, EntityId)| (at, id, Handle(0));
        let high = |(at, id): (i64, EntityId)| (at, id, Handle(u32::MAX));
        let lower = match lower {
            Bound::Included(place) => Bound::Included(low(place)),
            Bound::Excluded(place) => Bound::Excluded(high(place)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match upper {
            Bound::Included(place) => Bound::Included(high(place)),
            Bound::Excluded(place) => Bound::Excluded(low(place)),
            Bound::Unbounded => Bound::Unbounded,
        };
        if let (
            Bound::Included(lo) | Bound::Excluded(lo),
            Bound::Included(hi) | Bound::Excluded(hi),
        ) = (&lower, &upper)
        {
            // A range that ends before it begins would panic; give an empty one.
            if lo >= hi {
                return Some(set.range((Bound::Included(*lo), Bound::Excluded(*lo))));
            }
        }
        Some(set.range((lower, upper)))
    }

    /// Whether a value index serves the attribute.
    pub fn is_ordered(&self, slot: AttrSlot) -> bool {
        self.columns[slot.0 as usize].whole_order().is_some()
    }

    /// The entities whose value of an indexed attribute has a key within the bounds, by value, then id.
    /// `None` if the attribute is not indexed. Make keys with [`Self::sort_key`].
    pub fn range(
        &self,
        slot: AttrSlot,
        lower: Bound<SortKey>,
        upper: Bound<SortKey>,
    ) -> Option<Ordered<'_>> {
        self.columns[slot.0 as usize].range(lower, upper)
    }

    /// The part of [`Self::range`] between two places of the order.
    pub fn range_between(
        &self,
        slot: AttrSlot,
        lower: Bound<(SortKey, EntityId)>,
        upper: Bound<(SortKey, EntityId)>,
    ) -> Option<Ordered<'_>> {
        self.columns[slot.0 as usize].between(lower, upper)
    }

    /// How many entities hold one attribute but not another.
    pub fn lacking_count(&self, holding: AttrSlot, lacking: AttrSlot) -> u64 {
        let (holding, lacking) =
            (&self.columns[holding.0 as usize], &self.columns[lacking.0 as usize]);
        holding.holders.difference_len(&lacking.holders)
    }

    /// A value's place in an attribute's order.
    pub fn sort_key(&self, slot: AttrSlot, value: &Value) -> SortKey {
        let checked = self.catalog.get(self.attr_id(slot)).and_then(|a| a.settled_type());
        SortKey::of(value, checked)
    }

    /// The one entity that holds this value of a unique attribute. `None` also if the attribute is not
    /// unique; ask the catalog. Null is never found.
    pub fn find_unique(&self, attr: AttrId, value: &Value) -> Option<Handle> {
        self.columns[self.slot(attr)?.0 as usize].unique.as_ref()?.get(value).copied()
    }

    /// The sources of a link attribute that point at a target, by handle.
    pub fn sources(&self, slot: AttrSlot, target: Handle) -> &[Handle] {
        self.columns[slot.0 as usize]
            .sources
            .as_ref()
            .and_then(|map| map.get(&target))
            .map_or(&[], Vec::as_slice)
    }

    /// Applies the changes of a commit, in order. Meant for commits that were prepared against an equal
    /// state; on any other state the facts end as the commit says all the same.
    pub fn apply(&mut self, commit: &Commit) {
        for change in &commit.changes {
            match change {
                crate::tx::Change::Fact(fact) => self.apply_fact(fact),
                crate::tx::Change::Attr(attr) => self.apply_attr(attr),
            }
        }
    }

    /// Takes the changes of a commit back, last first. The commit must be the latest applied.
    pub fn undo(&mut self, commit: &Commit) {
        for change in commit.changes.iter().rev() {
            self.undo_change(change);
        }
    }

    pub(crate) fn undo_change(&mut self, change: &crate::tx::Change) {
        match change {
            crate::tx::Change::Fact(fact) => {
                let FactChange { entity, attr, old, new } = fact;
                self.change(*entity, *attr, new.as_ref(), old.as_ref());
            }
            crate::tx::Change::Attr(AttrChange { old, new }) => {
                self.change_attr(new.as_ref(), old.as_ref());
            }
        }
    }

    pub(crate) fn apply_fact(&mut self, fact: &FactChange) {
        self.change(fact.entity, fact.attr, fact.old.as_ref(), fact.new.as_ref());
    }

    pub(crate) fn apply_attr(&mut self, change: &AttrChange) {
        self.change_attr(change.old.as_ref(), change.new.as_ref());
    }

    /// Adds an attribute or replaces the one with its id; indexes follow its flags.
    pub fn put_attr(&mut self, attr: Arc<Attr>) {
        self.change_attr(None, Some(&attr));
    }

    /// Adds a fact as it is, without any check; for loading. A data value replaces the one before. Facts
    /// of unknown attributes are refused.
    ///
    /// Returns whether the attribute was known.
    pub fn insert(&mut self, triple: &Triple) -> bool {
        let Some(attr) = self.catalog.get(triple.attr) else { return false };
        let value = attr.coerce(triple.value.clone());
        self.change(triple.entity, triple.attr, None, Some(&Stamped(value, triple.created_at)));
        true
    }

    /// Removes a fact as it is, without any check.
    pub fn remove(&mut self, entity: EntityId, attr: AttrId, value: &Value) {
        if let Some(known) = self.catalog.get(attr) {
            let value = known.coerce(value.clone());
            self.change(entity, attr, Some(&Stamped(value, 0)), None);
        }
    }

    fn change_attr(&mut self, old: Option<&Arc<Attr>>, new: Option<&Arc<Attr>>) {
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
        if let Some(handle) = self.handles.get(&entity) {
            return *handle;
        }
        let slot = Slot { id: entity, row: None, incoming: 0 };
        let handle = match self.free.pop() {
            Some(handle) => {
                self.slots[handle.0 as usize] = slot;
                handle
            }
            None => {
                let handle = Handle(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
                self.slots.push(slot);
                handle
            }
        };
        self.handles.insert(entity, handle);
        handle
    }

    /// Forgets a handle that stands for nothing any more.
    fn release(&mut self, handle: Handle) {
        let slot = &self.slots[handle.0 as usize];
        if slot.row.is_none() && slot.incoming == 0 {
            self.handles.remove(&slot.id);
            self.free.push(handle);
        }
    }

    /// Replaces one fact by another (either may be absent).
    fn change(
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
    fn edit_row(&mut self, handle: Handle, edit: impl FnOnce(&mut Row)) {
        let slot = &mut self.slots[handle.0 as usize];
        let existed = slot.row.is_some();
        let row = slot.row.get_or_insert_with(|| Arc::new(Row::new(slot.id)));
        edit(Arc::make_mut(row));
        let empty = row.cells.is_empty();
        if empty {
            slot.row = None;
        }
        match (existed, empty) {
            (false, false) => self.entities += 1,
            (true, true) => self.entities -= 1,
            _ => {}
        }
    }

    fn set(&mut self, handle: Handle, slot: AttrSlot, attr: &Attr, new: Option<&Stamped>) {
        let mut old = None;
        self.edit_row(handle, |row| match (row.position(slot), new) {
            (Ok(at), Some(Stamped(value, created_at))) => {
                let cell = Cell::Data { value: value.clone(), created_at: *created_at };
                old = Some(std::mem::replace(&mut row.cells[at].1, cell));
            }
            (Ok(at), None) => old = Some(row.cells.remove(at).1),
            (Err(at), Some(Stamped(value, created_at))) => {
                let cell = Cell::Data { value: value.clone(), created_at: *created_at };
                row.cells.insert(at, (slot, cell));
            }
            (Err(_), None) => {}
        });
        let entity = self.slots[handle.0 as usize].id;
        let checked = attr.settled_type();
        let column = &mut self.columns[slot.0 as usize];
        if let Some(Cell::Data { value, created_at }) = &old {
            if let Some(members) = &mut column.members {
                members.remove(&(*created_at, entity, handle));
            }
            if let Some(ordered) = &mut column.ordered {
                ordered.remove(&(SortKey::of(value, checked), entity, handle));
            }
            if let Some(unique) = &mut column.unique
                && unique.get(value) == Some(&handle)
            {
                unique.remove(value);
            }
        }
        match (old.is_some(), new.is_some()) {
            (false, true) => self.triples += 1,
            (true, false) => self.triples -= 1,
            _ => {}
        }
        let Some(Stamped(value, created_at)) = new else {
            column.holders.remove(handle.0);
            return;
        };
        column.holders.insert(handle.0);
        if let Some(members) = &mut column.members {
            members.insert((*created_at, entity, handle));
        }
        if let Some(ordered) = &mut column.ordered {
            ordered.insert((SortKey::of(value, checked), entity, handle));
        }
        if let (Some(unique), false) = (&mut column.unique, value.is_null()) {
            unique.insert(value.clone(), handle);
        }
    }

    fn link(&mut self, source: Handle, slot: AttrSlot, target: EntityId, created_at: i64) {
        let handle = self.intern(target);
        let mut added = false;
        self.edit_row(source, |row| {
            let link = Link { target, handle, created_at };
            match row.position(slot) {
                Ok(at) => {
                    if let Cell::Links(links) = &mut row.cells[at].1
                        && let Err(place) = links.binary_search_by_key(&handle, |l| l.handle)
                    {
                        links.insert(place, link);
                        added = true;
                    }
                }
                Err(at) => {
                    row.cells.insert(at, (slot, Cell::Links(vec![link])));
                    added = true;
                }
            }
        });
        if added {
            self.triples += 1;
            self.slots[handle.0 as usize].incoming += 1;
            let column = &mut self.columns[slot.0 as usize];
            column.holders.insert(source.0);
            column.add_source(handle, source);
        }
    }

    fn unlink(&mut self, source: Handle, slot: AttrSlot, target: EntityId) {
        let Some(handle) = self.handle(target) else { return };
        let (mut removed, mut none_left) = (false, false);
        self.edit_row(source, |row| {
            if let Ok(at) = row.position(slot) {
                if let Cell::Links(links) = &mut row.cells[at].1 {
                    if let Ok(place) = links.binary_search_by_key(&handle, |l| l.handle) {
                        links.remove(place);
                        removed = true;
                    }
                    none_left = links.is_empty();
                }
                if none_left {
                    row.cells.remove(at);
                }
            }
        });
        if removed {
            self.triples -= 1;
            self.slots[handle.0 as usize].incoming -= 1;
            let column = &mut self.columns[slot.0 as usize];
            column.remove_source(handle, source);
            if none_left {
                column.holders.remove(source.0);
            }
            if source != handle {
                self.release(handle);
            }
        }
    }
}
