//! All queries of native sessions, and which of them a commit touches.

use std::collections::HashMap;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::Query;
use tricedb_core::query::live::{Delta, LiveId, Router};
use tricedb_core::tx::Commit;

use super::super::live::Rights;
use super::super::sessions::SessionKey;
use super::source::Source;

/// A place in [`Sources`]; taken again by another query once the last reader is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct SourceId(u32);

/// What makes two subscriptions share one source.
type SourceKey = (Arc<str>, Rights);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::app) struct Sources {
    by_key: HashMap<SourceKey, SourceId, FxBuildHasher>,
    slots: Vec<Option<Source>>,
    free: Vec<SourceId>,
    /// Which sources a commit can touch.
    router: Router,
    /// By its id there, the source.
    routed: Vec<SourceId>,
    stale: Vec<SourceId>,
    last_serial: u64,
}

impl Sources {
    pub(super) fn get_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Whether nothing remains of queries that came and went, but places to be taken again.
    #[cfg(test)]
    pub(in crate::app) fn holds_nothing(&self) -> bool {
        self.by_key.is_empty()
            && self.router.is_empty()
            && self.slots.iter().all(Option::is_none)
            && self.free.len() == self.slots.len()
    }

    /// Enters a reader; the query becomes a source if it is none.
    pub(super) fn enter(
        &mut self,
        index: &TripleIndex,
        query: Query,
        rights: Rights,
        reader: SessionKey,
    ) -> SourceId {
        let key = (query.canonical(), rights);
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => {
                self.last_serial += 1;
                let source = Some(Source::new(index, query, rights, self.last_serial));
                let id = match self.free.pop() {
                    Some(id) => {
                        self.slots[id.0 as usize] = source;
                        id
                    }
                    None => {
                        self.slots.push(source);
                        SourceId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
                    }
                };
                self.by_key.insert(key, id);
                self.enter_routes(id, index);
                id
            }
        };
        if let Some(source) = self.get_mut(id) {
            *source.readers.entry(reader).or_default() += 1;
        }
        id
    }

    /// Removes a reader; the source goes with its last one.
    pub(super) fn leave(&mut self, id: SourceId, reader: SessionKey) {
        let Some(source) = self.get_mut(id) else { return };
        if let Some(count) = source.readers.get_mut(&reader) {
            *count -= 1;
            if *count == 0 {
                source.readers.remove(&reader);
            }
        }
        if source.readers.is_empty() {
            self.leave_routes(id);
            if let Some(source) = self.slots[id.0 as usize].take() {
                self.by_key.remove(&(source.query.canonical(), source.rights));
                // Lists may still name the id; what they mean for a later query there is harmless.
                self.free.push(id);
            }
        }
    }

    fn enter_routes(&mut self, id: SourceId, index: &TripleIndex) {
        let Some(Some(source)) = self.slots.get_mut(id.0 as usize) else { return };
        source.route = source.plan().map(|plan| self.router.insert(index, plan));
        if let Some(LiveId(route)) = source.route {
            let route = route as usize;
            self.routed.resize(self.routed.len().max(route + 1), id);
            self.routed[route] = id;
        }
    }

    fn leave_routes(&mut self, id: SourceId) {
        let Some(Some(source)) = self.slots.get_mut(id.0 as usize) else { return };
        if let Some(route) = source.route.take() {
            self.router.remove(route);
        }
    }

    /// Marks what a commit touches. The index is the one after the commit.
    pub(in crate::app) fn feel(&mut self, commit: &Commit, index: &TripleIndex) {
        if commit.attrs().next().is_some() {
            let touches = |source: &Source| source.reads.touches(commit, index.catalog());
            let touched: Vec<SourceId> = self.ids(touches).collect();
            touched.into_iter().for_each(|id| self.replan(id, index, Source::replan));
            return;
        }
        if self.router.is_empty() {
            return;
        }
        for route in self.router.touched(index, &Delta::new(index, commit)) {
            let Some(id) = self.routed.get(route.0 as usize) else { continue };
            let Some(Some(source)) = self.slots.get_mut(id.0 as usize) else { continue };
            let facts =
                commit.facts().filter(|fact| source.reads.reads(fact.attr, index.catalog()));
            let mut entities: Vec<EntityId> = facts.map(|fact| fact.entity).collect();
            entities.dedup();
            let mut was_fresh = false;
            entities.into_iter().for_each(|entity| was_fresh |= source.touch(entity));
            if was_fresh {
                self.stale.push(*id);
            }
        }
    }

    /// Plans and evaluates everything anew, when next asked for: after changes were taken back.
    pub(in crate::app) fn feel_everything(&mut self, index: &TripleIndex) {
        let all: Vec<SourceId> = self.ids(|_| true).collect();
        all.into_iter().for_each(|id| self.replan(id, index, Source::lose));
    }

    fn ids(&self, wanted: impl Fn(&Source) -> bool) -> impl Iterator<Item = SourceId> {
        let slots = (0..).zip(&self.slots);
        slots.filter(move |(_, slot)| slot.as_ref().is_some_and(&wanted)).map(|(n, _)| SourceId(n))
    }

    fn replan(
        &mut self,
        id: SourceId,
        index: &TripleIndex,
        replan: impl FnOnce(&mut Source, &TripleIndex),
    ) {
        self.leave_routes(id);
        if let Some(source) = self.get_mut(id) {
            replan(source, index);
            self.stale.push(id);
        }
        self.enter_routes(id, index);
    }

    /// What was touched since the last call.
    pub(super) fn take_stale(&mut self) -> Vec<SourceId> {
        let mut stale = std::mem::take(&mut self.stale);
        stale.sort_unstable();
        stale.dedup();
        stale
    }

    /// Gives up large encodings.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        self.slots.iter_mut().flatten().for_each(|source| source.evict(bytes_max));
    }
}
