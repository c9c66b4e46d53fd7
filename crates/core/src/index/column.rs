//! Columns: one attribute over all entities.

use std::collections::BTreeSet;
use std::collections::btree_set;
use std::ops::Bound;

use hashbrown::HashMap;
use roaring::RoaringBitmap;
use rustc_hash::FxBuildHasher;

use super::row::Handle;
use super::sort_key::SortKey;
use crate::id::EntityId;
use crate::value::Value;

/// The entities of a namespace in their default order: by creation time, then id. Walks both ways.
pub type Members<'a> = btree_set::Range<'a, (i64, EntityId, Handle)>;

/// The entities that hold an attribute, by value, then id. Walks both ways.
pub type Ordered<'a> = btree_set::Range<'a, (SortKey, EntityId, Handle)>;

/// The indexes of one attribute.
#[derive(Clone, Default, Debug)]
pub(super) struct Column {
    /// Which entities hold the attribute.
    pub(super) holders: RoaringBitmap,
    /// For `id` attributes: entities in default order.
    pub(super) members: Option<BTreeSet<(i64, EntityId, Handle)>>,
    /// For indexed data: values in order.
    pub(super) ordered: Option<BTreeSet<(SortKey, EntityId, Handle)>>,
    /// How much of the values is in `ordered`.
    pub(super) ordered_coverage: Coverage,
    /// For unique data: who holds a value; nulls are not counted.
    pub(super) unique: Option<HashMap<Value, Handle, FxBuildHasher>>,
    /// How much of the values is in `unique`.
    pub(super) unique_coverage: Coverage,
    /// For links: from target to sources, sorted.
    pub(super) sources: Option<HashMap<Handle, Vec<Handle>, FxBuildHasher>>,
}

/// How much of an attribute a value index holds. What is written while one is built goes into it at once.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Coverage {
    /// Every value.
    #[default]
    Whole,
    /// The values of entities below this handle, and what was written since the building began.
    Below(u32),
}

/// The smallest id, below every entity of the same key.
const FIRST: EntityId = EntityId(uuid::Uuid::nil());
/// The largest id.
const LAST: EntityId = EntityId(uuid::Uuid::max());

impl Column {
    /// Entities whose value has a key within the bounds.
    pub(super) fn range(
        &self,
        lower: Bound<SortKey>,
        upper: Bound<SortKey>,
    ) -> Option<Ordered<'_>> {
        let first = |key| (key, FIRST, Handle(0));
        let last = |key| (key, LAST, Handle(u32::MAX));
        let lower = match lower {
            Bound::Included(key) => Bound::Included(first(key)),
            Bound::Excluded(key) => Bound::Excluded(last(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match upper {
            Bound::Included(key) => Bound::Included(last(key)),
            Bound::Excluded(key) => Bound::Excluded(first(key)),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.whole_order().map(|set| range_of(set, lower, upper))
    }

    /// Entities between two places of the order.
    pub(super) fn between(
        &self,
        lower: Bound<(SortKey, EntityId)>,
        upper: Bound<(SortKey, EntityId)>,
    ) -> Option<Ordered<'_>> {
        let lower = match lower {
            Bound::Included((key, id)) => Bound::Included((key, id, Handle(0))),
            Bound::Excluded((key, id)) => Bound::Excluded((key, id, Handle(u32::MAX))),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match upper {
            Bound::Included((key, id)) => Bound::Included((key, id, Handle(u32::MAX))),
            Bound::Excluded((key, id)) => Bound::Excluded((key, id, Handle(0))),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.whole_order().map(|set| range_of(set, lower, upper))
    }

    /// The values in order, unless they are still being gathered.
    pub(super) fn whole_order(&self) -> Option<&Places> {
        self.ordered.as_ref().filter(|_| self.ordered_coverage == Coverage::Whole)
    }

    /// Adds a source to a target.
    pub(super) fn add_source(&mut self, target: Handle, source: Handle) {
        let sources = self.sources.get_or_insert_default().entry(target).or_default();
        if let Err(at) = sources.binary_search(&source) {
            sources.insert(at, source);
        }
    }

    /// Removes a source from a target.
    pub(super) fn remove_source(&mut self, target: Handle, source: Handle) {
        let Some(map) = &mut self.sources else { return };
        let Some(sources) = map.get_mut(&target) else { return };
        if let Ok(at) = sources.binary_search(&source) {
            sources.remove(at);
        }
        if sources.is_empty() {
            map.remove(&target);
        }
    }
}

type Places = BTreeSet<(SortKey, EntityId, Handle)>;

/// A range of a set that is empty, rather than a panic, if it ends before it begins.
fn range_of(
    set: &Places,
    lower: Bound<(SortKey, EntityId, Handle)>,
    upper: Bound<(SortKey, EntityId, Handle)>,
) -> Ordered<'_> {
    let empty = match (&lower, &upper) {
        (Bound::Included(lo), Bound::Included(hi)) => lo > hi,
        (Bound::Included(lo) | Bound::Excluded(lo), Bound::Included(hi) | Bound::Excluded(hi)) => {
            lo >= hi
        }
        _ => false,
    };
    match (empty, lower) {
        (true, Bound::Included(lo) | Bound::Excluded(lo)) => set.range(lo.clone()..lo),
        (_, lower) => set.range((lower, upper)),
    }
}
