//! Rows in the order of a form, found by binary search and counted by rank.

use std::cmp::Ordering;

use crate::id::EntityId;
use crate::index::{Handle, SortKey};
use crate::query::form::Sense;

/// What sorts a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::query) enum Key {
    /// The creation time of the entity.
    Created(i64),
    /// The value of the order attribute.
    Value(SortKey),
}

/// A row with its place in the order: by key, ties by id.
#[derive(Clone, Debug)]
pub(in crate::query) struct Entry {
    pub(in crate::query) key: Key,
    pub(in crate::query) entity: EntityId,
    pub(in crate::query) handle: Handle,
}

/// Entries in order. Chunks of bounded size keep insertion cheap and ranks at hand in long lists; a short
/// list is one chunk.
#[derive(Clone, Debug)]
pub(super) struct OrderedList {
    sense: Sense,
    len: usize,
    chunks: Vec<Vec<Entry>>,
}

const CHUNK_MAX: usize = 512;

/// A place in the list.
#[derive(Clone, Copy, Debug)]
struct Spot {
    chunk: usize,
    at: usize,
}

impl OrderedList {
    pub(super) const fn new(sense: Sense) -> Self {
        Self { sense, len: 0, chunks: Vec::new() }
    }

    /// A list of entries in any order.
    pub(super) fn of(sense: Sense, mut entries: Vec<Entry>) -> Self {
        let mut list = Self::new(sense);
        entries.sort_unstable_by(|a, b| list.compare((&a.key, a.entity), (&b.key, b.entity)));
        list.len = entries.len();
        if entries.len() <= CHUNK_MAX {
            entries.shrink_to_fit();
            list.chunks = if entries.is_empty() { Vec::new() } else { vec![entries] };
        } else {
            list.chunks = entries.chunks(CHUNK_MAX / 2).map(<[Entry]>::to_vec).collect();
        }
        list
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn compare(&self, a: (&Key, EntityId), b: (&Key, EntityId)) -> Ordering {
        match self.sense {
            Sense::Ascending => a.cmp(&b),
            Sense::Descending => b.cmp(&a),
        }
    }

    fn find(&self, key: &Key, entity: EntityId) -> Result<Spot, Spot> {
        let place = (key, entity);
        let order = |entry: &Entry| self.compare((&entry.key, entry.entity), place);
        let after =
            self.chunks.partition_point(|chunk| chunk.last().is_some_and(|e| order(e).is_lt()));
        let Some(chunk) = self.chunks.get(after) else {
            // Behind everything: the end of the last chunk.
            let chunk = self.chunks.len().saturating_sub(1);
            return Err(Spot { chunk, at: self.chunks.get(chunk).map_or(0, Vec::len) });
        };
        match chunk.binary_search_by(order) {
            Ok(at) => Ok(Spot { chunk: after, at }),
            Err(at) => Err(Spot { chunk: after, at }),
        }
    }

    fn rank_of(&self, spot: Spot) -> usize {
        self.chunks[..spot.chunk].iter().map(Vec::len).sum::<usize>() + spot.at
    }

    /// The rank of an entry.
    pub(super) fn rank(&self, key: &Key, entity: EntityId) -> Option<usize> {
        self.find(key, entity).ok().map(|spot| self.rank_of(spot))
    }

    /// Sets the handle of an entry; whether there is one.
    pub(super) fn renew(&mut self, key: &Key, entity: EntityId, handle: Handle) -> bool {
        let Ok(spot) = self.find(key, entity) else { return false };
        self.chunks[spot.chunk][spot.at].handle = handle;
        true
    }

    /// Adds an entry, which must not be there, and says at which rank.
    pub(super) fn insert(&mut self, entry: Entry) -> usize {
        let (Ok(spot) | Err(spot)) = self.find(&entry.key, entry.entity);
        let rank = if self.chunks.is_empty() { 0 } else { self.rank_of(spot) };
        match self.chunks.get_mut(spot.chunk) {
            None => self.chunks.push(vec![entry]),
            Some(chunk) => {
                chunk.insert(spot.at, entry);
                if chunk.len() > CHUNK_MAX {
                    let rest = chunk.split_off(CHUNK_MAX / 2);
                    self.chunks.insert(spot.chunk + 1, rest);
                }
            }
        }
        self.len += 1;
        rank
    }

    /// Takes an entry out, and says from which rank.
    pub(super) fn remove(&mut self, key: &Key, entity: EntityId) -> Option<(usize, Entry)> {
        let spot = self.find(key, entity).ok()?;
        let rank = self.rank_of(spot);
        let entry = self.chunks[spot.chunk].remove(spot.at);
        if self.chunks[spot.chunk].is_empty() {
            self.chunks.remove(spot.chunk);
        }
        self.len -= 1;
        Some((rank, entry))
    }

    /// The entry at a rank.
    pub(super) fn get(&self, mut rank: usize) -> Option<&Entry> {
        for chunk in &self.chunks {
            match rank.checked_sub(chunk.len()) {
                None => return chunk.get(rank),
                Some(rest) => rank = rest,
            }
        }
        None
    }

    pub(super) fn last(&self) -> Option<&Entry> {
        self.chunks.last()?.last()
    }

    /// The entries from one rank up to another.
    pub(super) fn range(&self, from: usize, to: usize) -> impl DoubleEndedIterator<Item = &Entry> {
        let to = to.min(self.len);
        let from = from.min(to);
        let mut before = 0;
        self.chunks
            .iter()
            .flat_map(move |chunk| {
                let (start, end) = (before, before + chunk.len());
                before = end;
                let (low, high) = (from.clamp(start, end) - start, to.clamp(start, end) - start);
                chunk[low..high].iter()
            })
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Forgets the entries behind a rank.
    pub(super) fn truncate(&mut self, len: usize) {
        while self.len > len {
            let over = self.len - len;
            let Some(chunk) = self.chunks.last_mut() else { break };
            let cut = over.min(chunk.len());
            chunk.truncate(chunk.len() - cut);
            if chunk.is_empty() {
                self.chunks.pop();
            }
            self.len -= cut;
        }
    }

    /// Whether a place lies behind the last entry.
    pub(super) fn is_behind(&self, key: &Key, entity: EntityId) -> bool {
        self.last().is_none_or(|last| self.compare((&last.key, last.entity), (key, entity)).is_lt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: i64) -> Entry {
        let entity = EntityId(uuid::Uuid::from_u128(key.unsigned_abs().into()));
        Entry { key: Key::Created(key), entity, handle: Handle(0) }
    }

    #[test]
    fn a_long_list_keeps_its_order_and_ranks() {
        for sense in [Sense::Ascending, Sense::Descending] {
            let mut list = OrderedList::new(sense);
            let keys = (0..4_000_i64).map(|at| at * 1_237 % 4_001);
            for key in keys.clone() {
                list.insert(entry(key));
            }
            let mut sorted: Vec<i64> = keys.collect();
            sorted.sort_unstable();
            if sense == Sense::Descending {
                sorted.reverse();
            }
            let whole =
                OrderedList::of(sense, sorted.iter().rev().map(|key| entry(*key)).collect());
            for (rank, key) in sorted.iter().enumerate() {
                let entity = entry(*key).entity;
                assert_eq!(list.get(rank).unwrap().entity, entity);
                assert_eq!(whole.get(rank).unwrap().entity, entity);
                assert_eq!(list.rank(&Key::Created(*key), entity), Some(rank));
            }
            let middle: Vec<EntityId> = list.range(1_000, 1_010).map(|e| e.entity).collect();
            let expected: Vec<_> = sorted[1_000..1_010].iter().map(|k| entry(*k).entity).collect();
            assert_eq!(middle, expected);
            for key in &sorted[2_000..] {
                assert!(list.remove(&Key::Created(*key), entry(*key).entity).is_some());
            }
            assert_eq!(list.len(), 2_000);
            list.truncate(3);
            assert_eq!((list.len(), list.get(3).is_none()), (3, true));
            assert!(list.is_behind(&Key::Created(sorted[3]), entry(sorted[3]).entity));
        }
    }
}
