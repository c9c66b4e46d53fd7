//! Keeping rows and columns in step.

mod change;
mod gather;

use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};
use rustc_hash::FxBuildHasher;

use super::column::{Column, Members, Ordered};
use super::row::{AttrSlot, Cell, Handle, Links, Row};
use super::run::Run;
use super::shape::Shapes;
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

/// The interned entities, by handle.
#[derive(Clone, Default, Debug)]
struct Slots(Vec<Slot>);

impl Slots {
    #[inline]
    fn id(&self, handle: Handle) -> EntityId {
        // A handle from before the last entity went stands for nothing.
        self.0.get(handle.0 as usize).map_or(EntityId(uuid::Uuid::nil()), |slot| slot.id)
    }

    #[inline]
    fn row(&self, handle: Handle) -> Option<&Arc<Row>> {
        self.0.get(handle.0 as usize)?.row.as_ref()
    }

    /// What an entity holds under a data attribute.
    fn value(&self, handle: Handle, slot: AttrSlot) -> Option<&Value> {
        self.row(handle)?.value(slot)
    }
}

fn hash(entity: EntityId) -> u64 {
    FxBuildHasher.hash_one(entity)
}

/// The facts of an app (or the part of them that a client holds), indexed.
///
/// Reading never copies facts. Writing goes through [`crate::tx::execute`] or [`Self::apply`].
#[derive(Clone, Default, Debug)]
pub struct TripleIndex {
    catalog: AttrCatalog,
    /// By the hash of the entity's id, which its slot knows.
    handles: HashTable<Handle>,
    slots: Slots,
    free: Vec<Handle>,
    shapes: Shapes,
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
        self.handles.find(hash(entity), |handle| self.slots.id(*handle) == entity).copied()
    }

    /// The entity id of a handle of this index.
    pub fn entity(&self, handle: Handle) -> EntityId {
        self.slots.id(handle)
    }

    /// All facts of an entity.
    pub fn row(&self, entity: EntityId) -> Option<&Arc<Row>> {
        self.row_at(self.handle(entity)?)
    }

    /// All facts of an entity.
    pub fn row_at(&self, handle: Handle) -> Option<&Arc<Row>> {
        self.slots.row(handle)
    }

    /// Every row, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.slots.0.iter().filter_map(|slot| slot.row.as_ref())
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
                    Some(Triple { entity, attr, value: value.clone(), created_at }),
                    Links::default(),
                ),
                Cell::Links(links) => (None, links),
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
            (Some(row), Some(slot)) => row.holds(slot),
            _ => false,
        }
    }

    /// The data value of an entity under an attribute.
    pub fn value(&self, entity: EntityId, attr: AttrId) -> Option<&Value> {
        self.row(entity)?.value(self.slot(attr)?)
    }

    /// The links of an entity under an attribute.
    pub fn links(&self, entity: EntityId, attr: AttrId) -> Links<'_> {
        match (self.row(entity), self.slot(attr)) {
            (Some(row), Some(slot)) => row.links(slot),
            _ => Links::default(),
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
        self.columns[slot.0 as usize].members.as_ref().map(Run::all)
    }

    /// The part of [`Self::members`] between two places of the default order.
    pub fn members_between(
        &self,
        slot: AttrSlot,
        lower: Bound<(i64, EntityId)>,
        upper: Bound<(i64, EntityId)>,
    ) -> Option<Members<'_>> {
        let run = self.columns[slot.0 as usize].members.as_ref()?;
        Some(run.between(place(&lower), place(&upper), |handle| self.slots.id(handle)))
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
        self.columns[slot.0 as usize].range(lower, upper, |handle| self.slots.id(handle))
    }

    /// The part of [`Self::range`] between two places of the order.
    pub fn range_between(
        &self,
        slot: AttrSlot,
        lower: Bound<(SortKey, EntityId)>,
        upper: Bound<(SortKey, EntityId)>,
    ) -> Option<Ordered<'_>> {
        let run = self.columns[slot.0 as usize].whole_order()?;
        Some(run.between(place(&lower), place(&upper), |handle| self.slots.id(handle)))
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
        let slot = self.slot(attr)?;
        let unique = self.columns[slot.0 as usize].unique.as_ref()?;
        // An entity's own id is not in the index of values: handles are found by it anyway.
        if let Value::Ref(entity) = value
            && let Some(own) = self.handle(*entity)
            && self.is_own_id(slot, own)
        {
            return Some(own);
        }
        unique.find(value, |handle| self.slots.value(handle, slot))
    }

    /// Whether an entity holds its own id under an attribute.
    fn is_own_id(&self, slot: AttrSlot, handle: Handle) -> bool {
        let row = self.slots.row(handle);
        row.is_some_and(|row| row.value(slot) == Some(&Value::Ref(row.id())))
    }

    /// The sources of a link attribute that point at a target, by handle.
    pub fn sources(&self, slot: AttrSlot, target: Handle) -> &[Handle] {
        self.columns[slot.0 as usize].sources(target)
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

    /// Takes the changes of a commit back though others were applied since, none of which touched the same
    /// facts or needs an attribute that this one made. The types seen in values stay noted.
    pub fn undo_between(&mut self, commit: &Commit) {
        for change in commit.changes.iter().rev() {
            if !matches!(change, crate::tx::Change::Attr(attr) if !attr.is_material()) {
                self.undo_change(change);
            }
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
}

fn place<K>(bound: &Bound<(K, EntityId)>) -> Bound<(&K, EntityId)> {
    bound.as_ref().map(|(key, entity)| (key, *entity))
}
