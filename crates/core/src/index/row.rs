//! Rows: all facts of one entity.

use crate::id::EntityId;
use crate::value::Value;

/// An entity, interned in one index. Only meaningful there, and only while the entity has facts or is
/// linked to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub(crate) u32);

/// An attribute, interned in one index. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttrSlot(pub(crate) u32);

/// The far end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The target, which need not exist as an entity.
    pub target: EntityId,
    /// The target's handle.
    pub handle: Handle,
    /// When the link was made, in milliseconds since 1970.
    pub created_at: i64,
}

/// What an entity holds under one attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    /// Data.
    Data {
        /// The value.
        value: Value,
        /// When a value was first written, in milliseconds since 1970.
        created_at: i64,
    },
    /// Links, sorted by the target's handle. Never empty.
    Links(Vec<Link>),
}

/// All facts of one entity, over all its namespaces. Shared and immutable from outside.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub(super) id: EntityId,
    /// Sorted by slot.
    pub(super) cells: Vec<(AttrSlot, Cell)>,
}

impl Row {
    pub(super) const fn new(id: EntityId) -> Self {
        Self { id, cells: Vec::new() }
    }

    /// The entity.
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// What the entity holds under an attribute.
    pub fn cell(&self, slot: AttrSlot) -> Option<&Cell> {
        self.position(slot).ok().map(|at| &self.cells[at].1)
    }

    /// The data value under an attribute; `None` for links and for missing values.
    pub fn value(&self, slot: AttrSlot) -> Option<&Value> {
        match self.cell(slot)? {
            Cell::Data { value, .. } => Some(value),
            Cell::Links(_) => None,
        }
    }

    /// The links under an attribute.
    pub fn links(&self, slot: AttrSlot) -> &[Link] {
        match self.cell(slot) {
            Some(Cell::Links(links)) => links,
            _ => &[],
        }
    }

    /// When the data under an attribute was first written; for the `id` attribute this is the entity's
    /// creation time.
    pub fn created_at(&self, slot: AttrSlot) -> Option<i64> {
        match self.cell(slot)? {
            Cell::Data { created_at, .. } => Some(*created_at),
            Cell::Links(links) => links.first().map(|l| l.created_at),
        }
    }

    /// Everything the entity holds, by slot.
    pub fn cells(&self) -> impl Iterator<Item = (AttrSlot, &Cell)> {
        self.cells.iter().map(|(slot, cell)| (*slot, cell))
    }

    pub(super) fn position(&self, slot: AttrSlot) -> Result<usize, usize> {
        self.cells.binary_search_by_key(&slot, |(s, _)| *s)
    }
}
