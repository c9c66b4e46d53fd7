//! Columns: one attribute over all entities.

use std::hash::BuildHasher;
use std::ops::Bound;

use hashbrown::{HashMap, HashTable};
use roaring::RoaringBitmap;
use rustc_hash::FxBuildHasher;

use super::row::Handle;
use super::run::{Run, Walk};
use super::sort_key::SortKey;
use crate::id::EntityId;
use crate::value::Value;

/// The entities of a namespace in their default order: by creation time, then id. Walks both ways.
pub type Members<'a> = Walk<'a, i64>;

/// The entities that hold an attribute, by value, then id. Walks both ways.
pub type Ordered<'a> = Walk<'a, SortKey>;

/// The indexes of one attribute.
#[derive(Clone, Default, Debug)]
pub(super) struct Column {
    /// Which entities hold the attribute.
    pub(super) holders: RoaringBitmap,
    /// For `id` attributes: entities in default order.
    pub(super) members: Option<Run<i64>>,
    /// For indexed data: values in order.
    pub(super) ordered: Option<Run<SortKey>>,
    /// How much of the values is in `ordered`.
    pub(super) ordered_coverage: Coverage,
    /// For unique data: who holds a value.
    pub(super) unique: Option<Unique>,
    /// How much of the values is in `unique`.
    pub(super) unique_coverage: Coverage,
    /// For links: from target to sources, sorted.
    sources: HashMap<Handle, Sources, FxBuildHasher>,
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
        id: impl Fn(Handle) -> EntityId,
    ) -> Option<Ordered<'_>> {
        let lower = match &lower {
            Bound::Included(key) => Bound::Included((key, FIRST)),
            Bound::Excluded(key) => Bound::Excluded((key, LAST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let upper = match &upper {
            Bound::Included(key) => Bound::Included((key, LAST)),
            Bound::Excluded(key) => Bound::Excluded((key, FIRST)),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.whole_order().map(|run| run.between(lower, upper, id))
    }

    /// The values in order, unless they are still being gathered.
    pub(super) fn whole_order(&self) -> Option<&Run<SortKey>> {
        self.ordered.as_ref().filter(|_| self.ordered_coverage == Coverage::Whole)
    }

    /// Notes whether an entity holds the attribute.
    pub(super) fn set_holder(&mut self, handle: Handle, holds: bool) {
        if holds {
            self.holders.insert(handle.0);
        } else if self.holders.remove(handle.0) && self.holders.is_empty() {
            self.holders = RoaringBitmap::new();
        }
    }

    /// The sources that point at a target.
    pub(super) fn sources(&self, target: Handle) -> &[Handle] {
        match self.sources.get(&target) {
            None => &[],
            Some(Sources::One(source)) => std::slice::from_ref(source),
            Some(Sources::Many(sources)) => sources,
        }
    }

    /// Adds a source to a target.
    pub(super) fn add_source(&mut self, target: Handle, source: Handle) {
        match self.sources.get_mut(&target) {
            None => drop(self.sources.insert(target, Sources::One(source))),
            Some(Sources::One(known)) if *known == source => {}
            Some(one @ Sources::One(_)) => {
                if let Sources::One(known) = *one {
                    let pair = [known.min(source), known.max(source)];
                    *one = Sources::Many(pair.into());
                }
            }
            Some(Sources::Many(sources)) => {
                if let Err(at) = sources.binary_search(&source) {
                    sources.insert(at, source);
                }
            }
        }
    }

    /// Removes a source from a target.
    pub(super) fn remove_source(&mut self, target: Handle, source: Handle) {
        let is_last = match self.sources.get_mut(&target) {
            None => false,
            Some(Sources::One(known)) => *known == source,
            Some(many @ Sources::Many(_)) => {
                if let Sources::Many(sources) = many {
                    if let Ok(at) = sources.binary_search(&source) {
                        sources.remove(at);
                    }
                    if sources.capacity() > 4 * sources.len() {
                        sources.shrink_to(2 * sources.len());
                    }
                    if let [last] = sources[..] {
                        *many = Sources::One(last);
                    }
                }
                false
            }
        };
        if is_last {
            self.sources.remove(&target);
            if self.sources.capacity() > TABLE_MIN.max(8 * self.sources.len()) {
                self.sources.shrink_to(2 * self.sources.len());
            }
        }
    }
}

/// A hash table larger than this is made smaller when it is nearly empty.
pub(super) const TABLE_MIN: usize = 64;

/// Where links to one target come from.
#[derive(Clone, Debug)]
enum Sources {
    One(Handle),
    /// More than one, sorted.
    Many(Vec<Handle>),
}

/// Who holds which value; nulls are not counted. Values stand in the rows only: what compares or moves them
/// passes a way to the value of a handle.
#[derive(Clone, Default, Debug)]
pub(super) struct Unique(HashTable<Handle>);

impl Unique {
    /// Who holds a value.
    pub(super) fn find<'a>(
        &self,
        value: &Value,
        held: impl Fn(Handle) -> Option<&'a Value>,
    ) -> Option<Handle> {
        self.0.find(hash(value), |handle| held(*handle) == Some(value)).copied()
    }

    /// Notes who holds a value, which its row says already. The last word counts.
    pub(super) fn insert<'a>(
        &mut self,
        value: &Value,
        handle: Handle,
        held: impl Fn(Handle) -> Option<&'a Value>,
    ) {
        let hashed = hash(value);
        match self.0.find_mut(hashed, |known| held(*known) == Some(value)) {
            Some(known) => *known = handle,
            None => {
                let again = |handle: &Handle| held(*handle).map_or(0, hash);
                self.0.insert_unique(hashed, handle, again);
            }
        }
    }

    /// Forgets that an entity holds a value.
    pub(super) fn remove<'a>(
        &mut self,
        value: &Value,
        handle: Handle,
        held: impl Fn(Handle) -> Option<&'a Value>,
    ) {
        if let Ok(found) = self.0.find_entry(hash(value), |known| *known == handle) {
            found.remove();
            if self.0.capacity() > TABLE_MIN.max(8 * self.0.len()) {
                self.0.shrink_to(2 * self.0.len(), |handle| held(*handle).map_or(0, hash));
            }
        }
    }
}

fn hash(value: &Value) -> u64 {
    FxBuildHasher.hash_one(value)
}
