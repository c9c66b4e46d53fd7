//! A commit, seen from an index that has it applied.

use crate::id::EntityId;
use crate::index::{AttrSlot, TripleIndex};
use crate::tx::{Commit, FactChange, Stamped};

use super::reach::Watch;

/// The facts that a commit changed, by entity. Made once for all live queries.
#[derive(Debug)]
pub struct Delta<'a> {
    /// Sorted by entity and attribute; changes of one fact stay in their order.
    facts: Vec<Touched<'a>>,
}

/// One changed fact.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touched<'a> {
    pub(super) entity: EntityId,
    pub(super) slot: AttrSlot,
    pub(super) change: &'a FactChange,
}

impl<'a> Delta<'a> {
    /// Reads a commit; the index is the one after it.
    pub fn new(index: &TripleIndex, commit: &'a Commit) -> Self {
        let touched = commit.facts().filter_map(|change| {
            let slot = index.slot(change.attr)?;
            Some(Touched { entity: change.entity, slot, change })
        });
        let mut facts: Vec<Touched<'a>> = touched.collect();
        facts.sort_by_key(|fact| (fact.entity, fact.slot));
        Self { facts }
    }

    /// Whether no fact changed.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    pub(super) fn facts(&self) -> &[Touched<'a>] {
        &self.facts
    }

    /// Whether a fact changed that somebody watches.
    pub(super) fn touches(&self, watches: &[Watch]) -> bool {
        self.facts.iter().any(|fact| watches.iter().any(|watch| watch.slot == fact.slot))
    }

    /// The changes of what an entity holds under an attribute.
    pub(super) fn of(&self, entity: EntityId, slot: AttrSlot) -> &[Touched<'a>] {
        let place = (entity, slot);
        let start = self.facts.partition_point(|fact| (fact.entity, fact.slot) < place);
        let changes = &self.facts[start..];
        let len = changes.iter().take_while(|fact| (fact.entity, fact.slot) == place).count();
        &changes[..len]
    }

    /// What an entity held under a data attribute before, if that changed.
    pub(super) fn before(&self, entity: EntityId, slot: AttrSlot) -> Option<Option<&'a Stamped>> {
        self.of(entity, slot).first().map(|fact| fact.change.old.as_ref())
    }

    /// The changed facts, entity by entity.
    pub(super) fn entities(&self) -> impl Iterator<Item = &[Touched<'a>]> {
        self.facts.chunk_by(|a, b| a.entity == b.entity)
    }

    /// Whether one fact differs in the end from what it was.
    pub(super) fn differs(changes: &[Touched<'_>]) -> bool {
        let (first, last) = (changes.first(), changes.last());
        let old = first.and_then(|fact| fact.change.old.as_ref());
        let new = last.and_then(|fact| fact.change.new.as_ref());
        changes.len() > 2 || old != new
    }
}
