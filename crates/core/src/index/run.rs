//! Runs: entities in the order of a key, ties by id.
//!
//! A run keeps keys and handles in chunks of bounded size, in two arrays each: no padding, no ids (which
//! the index knows by handle), and full chunks where entries come in ascending order. Searches compare the
//! first keys of chunks, which lie together.

use std::ops::Bound;
use std::slice;

use super::row::Handle;
use crate::id::EntityId;

/// Entities in the order of a key, ties by id. What asks for a place passes a way to the id of a handle.
#[derive(Clone, Debug)]
pub(super) struct Run<K> {
    chunks: Vec<Chunk<K>>,
}

/// Never empty.
#[derive(Clone, Debug)]
struct Chunk<K> {
    /// The first of `keys`.
    head: K,
    keys: Vec<K>,
    handles: Vec<Handle>,
}

const CHUNK_MAX: usize = 256;
/// A chunk with fewer entries joins its neighbour, if both together are at most half full.
const CHUNK_MIN: usize = CHUNK_MAX / 4;

/// A place: before the entry with this number in this chunk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Spot {
    chunk: usize,
    at: usize,
}

impl<K> Default for Run<K> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<K: Ord + Clone> Run<K> {
    /// A run of entries that are in order.
    pub(super) fn of(entries: &[(K, Handle)]) -> Self {
        let chunk = |entries: &[(K, Handle)]| Chunk {
            head: entries[0].0.clone(),
            keys: entries.iter().map(|(key, _)| key.clone()).collect(),
            handles: entries.iter().map(|(_, handle)| *handle).collect(),
        };
        Self { chunks: entries.chunks(CHUNK_MAX).map(chunk).collect() }
    }

    /// The place before the first entry that is not less, or greater if `behind`, than a key and id.
    fn spot(
        &self,
        key: &K,
        entity: EntityId,
        behind: bool,
        id: impl Fn(Handle) -> EntityId,
    ) -> Spot {
        let is_before = |other: &K, handles: &[Handle], at: usize| {
            let order = other.cmp(key).then_with(|| id(handles[at]).cmp(&entity));
            order.is_lt() || (behind && order.is_eq())
        };
        let chunk = self.chunks.partition_point(|chunk| is_before(&chunk.head, &chunk.handles, 0));
        let Some(chunk) = chunk.checked_sub(1) else { return Spot { chunk: 0, at: 0 } };
        let Chunk { keys, handles, .. } = &self.chunks[chunk];
        let (mut low, mut high) = (1, keys.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(&keys[middle], handles, middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Spot { chunk, at: low }
    }

    /// Adds an entry that is not there.
    pub(super) fn insert(&mut self, key: K, handle: Handle, id: impl Fn(Handle) -> EntityId) {
        let Spot { chunk, mut at } = self.spot(&key, id(handle), false, id);
        let mut place = chunk;
        let is_last = chunk + 1 >= self.chunks.len();
        match self.chunks.get_mut(chunk) {
            Some(full) if full.keys.len() >= CHUNK_MAX && !(is_last && at == full.keys.len()) => {
                let middle = full.keys.len() / 2;
                let (keys, handles) = (full.keys.split_off(middle), full.handles.split_off(middle));
                self.chunks.insert(chunk + 1, Chunk { head: keys[0].clone(), keys, handles });
                if at > middle {
                    (place, at) = (chunk + 1, at - middle);
                }
            }
            Some(chunk) if chunk.keys.len() < CHUNK_MAX => {}
            // What comes in ascending order leaves full chunks behind.
            _ => {
                let (head, keys, handles) = (key.clone(), vec![key], vec![handle]);
                self.chunks.push(Chunk { head, keys, handles });
                return;
            }
        }
        let chunk = &mut self.chunks[place];
        if at == 0 {
            chunk.head = key.clone();
        }
        chunk.keys.insert(at, key);
        chunk.handles.insert(at, handle);
    }

    /// Removes an entry if it is there.
    pub(super) fn remove(&mut self, key: &K, handle: Handle, id: impl Fn(Handle) -> EntityId) {
        let Spot { mut chunk, mut at } = self.spot(key, id(handle), false, id);
        if self.chunks.get(chunk).is_some_and(|found| at == found.keys.len()) {
            (chunk, at) = (chunk + 1, 0);
        }
        let Some(found) = self.chunks.get_mut(chunk) else { return };
        if found.handles[at] != handle || found.keys[at] != *key {
            return;
        }
        found.keys.remove(at);
        found.handles.remove(at);
        if found.keys.is_empty() {
            self.chunks.remove(chunk);
            if self.chunks.is_empty() {
                self.chunks = Vec::new();
            }
            return;
        }
        if at == 0 {
            found.head = found.keys[0].clone();
        }
        if found.keys.len() < CHUNK_MIN {
            let len = |chunk: usize| self.chunks.get(chunk).map_or(CHUNK_MAX, |c| c.keys.len());
            let small = len(chunk);
            if small + len(chunk + 1) <= CHUNK_MAX / 2 {
                self.join(chunk);
            } else if chunk > 0 && small + len(chunk - 1) <= CHUNK_MAX / 2 {
                self.join(chunk - 1);
            }
        }
    }

    /// Joins a chunk with the next.
    fn join(&mut self, chunk: usize) {
        let next = self.chunks.remove(chunk + 1);
        let joined = &mut self.chunks[chunk];
        joined.keys.extend(next.keys);
        joined.handles.extend(next.handles);
        joined.keys.shrink_to(CHUNK_MAX);
        joined.handles.shrink_to(CHUNK_MAX);
    }

    /// All entries.
    pub(super) fn all(&self) -> Walk<'_, K> {
        let end = Spot { chunk: self.chunks.len(), at: 0 };
        self.walk(Spot { chunk: 0, at: 0 }, end)
    }

    /// The entries between two places; none if the first is behind the second.
    pub(super) fn between(
        &self,
        lower: Bound<(&K, EntityId)>,
        upper: Bound<(&K, EntityId)>,
        id: impl Fn(Handle) -> EntityId,
    ) -> Walk<'_, K> {
        let from = match lower {
            Bound::Included((key, entity)) => self.spot(key, entity, false, &id),
            Bound::Excluded((key, entity)) => self.spot(key, entity, true, &id),
            Bound::Unbounded => Spot { chunk: 0, at: 0 },
        };
        let to = match upper {
            Bound::Included((key, entity)) => self.spot(key, entity, true, &id),
            Bound::Excluded((key, entity)) => self.spot(key, entity, false, &id),
            Bound::Unbounded => Spot { chunk: self.chunks.len(), at: 0 },
        };
        self.walk(from, to)
    }

    fn walk(&self, from: Spot, to: Spot) -> Walk<'_, K> {
        if from >= to {
            return Walk::default();
        }
        let handles = |chunk: usize| self.chunks.get(chunk).map_or(&[][..], |c| &c.handles);
        if from.chunk == to.chunk {
            return Walk { front: handles(from.chunk)[from.at..to.at].iter(), ..Walk::default() };
        }
        Walk {
            front: handles(from.chunk)[from.at..].iter(),
            middle: self.chunks[from.chunk + 1..to.chunk].iter(),
            back: handles(to.chunk)[..to.at].iter(),
        }
    }
}

/// A stretch of an order, from either end.
#[derive(Clone, Debug)]
pub struct Walk<'a, K> {
    front: slice::Iter<'a, Handle>,
    middle: slice::Iter<'a, Chunk<K>>,
    back: slice::Iter<'a, Handle>,
}

impl<K> Default for Walk<'_, K> {
    fn default() -> Self {
        Self { front: [].iter(), middle: [].iter(), back: [].iter() }
    }
}

impl<K> Walk<'_, K> {
    /// How many entities are left. Looks at no entry, only at their chunks.
    pub fn left(&self) -> usize {
        let middle: usize = self.middle.clone().map(|chunk| chunk.handles.len()).sum();
        self.front.len() + middle + self.back.len()
    }
}

impl<K> Iterator for Walk<'_, K> {
    type Item = Handle;

    #[inline]
    fn next(&mut self) -> Option<Handle> {
        loop {
            if let Some(handle) = self.front.next() {
                return Some(*handle);
            }
            match self.middle.next() {
                Some(chunk) => self.front = chunk.handles.iter(),
                None => return self.back.next().copied(),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.left();
        (left, Some(left))
    }

    fn count(self) -> usize {
        self.left()
    }

    fn nth(&mut self, mut skip: usize) -> Option<Handle> {
        loop {
            if skip < self.front.len() {
                return self.front.nth(skip).copied();
            }
            skip -= self.front.len();
            match self.middle.next() {
                Some(chunk) => self.front = chunk.handles.iter(),
                None => {
                    self.front = [].iter();
                    return self.back.nth(skip).copied();
                }
            }
        }
    }
}

impl<K> DoubleEndedIterator for Walk<'_, K> {
    #[inline]
    fn next_back(&mut self) -> Option<Handle> {
        loop {
            if let Some(handle) = self.back.next_back() {
                return Some(*handle);
            }
            match self.middle.next_back() {
                Some(chunk) => self.back = chunk.handles.iter(),
                None => return self.front.next_back().copied(),
            }
        }
    }

    fn nth_back(&mut self, mut skip: usize) -> Option<Handle> {
        loop {
            if skip < self.back.len() {
                return self.back.nth_back(skip).copied();
            }
            skip -= self.back.len();
            match self.middle.next_back() {
                Some(chunk) => self.back = chunk.handles.iter(),
                None => {
                    self.back = [].iter();
                    return self.front.nth_back(skip).copied();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// Ids descend with handles, so that ties are not in the order of handles.
    fn id(handle: Handle) -> EntityId {
        EntityId(Uuid::from_u128(u128::from(u32::MAX - handle.0)))
    }

    fn bounds(run: &Run<i64>, low: (i64, u32), high: (i64, u32), how: [bool; 2]) -> Vec<u32> {
        let bound = |key, handle, included| match included {
            true => Bound::Included((key, id(Handle(handle)))),
            false => Bound::Excluded((key, id(Handle(handle)))),
        };
        let walk = run.between(bound(&low.0, low.1, how[0]), bound(&high.0, high.1, how[1]), id);
        let mut backwards: Vec<u32> = walk.clone().rev().map(|handle| handle.0).collect();
        backwards.reverse();
        let forwards: Vec<u32> = walk.clone().map(|handle| handle.0).collect();
        assert_eq!(forwards, backwards);
        assert_eq!(walk.left(), forwards.len());
        for skip in [0, 1, 300, forwards.len() / 2, forwards.len()] {
            let (nth, nth_back) = (walk.clone().nth(skip), walk.clone().nth_back(skip));
            assert_eq!(nth.map(|handle| handle.0), forwards.get(skip).copied());
            let mirrored = forwards.len().checked_sub(skip + 1).map(|at| forwards[at]);
            assert_eq!(nth_back.map(|handle| handle.0), mirrored);
        }
        forwards
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_run_is_a_sorted_set(
            ascending in 0_u32..900,
            changes in prop::collection::vec((any::<bool>(), 0_u32..900, 0_i64..40), 0..1_500),
            (low, high) in ((0_i64..40, 0_u32..900), (0_i64..40, 0_u32..900)),
            how in any::<[bool; 2]>(),
        ) {
            let (mut run, mut model) = (Run::default(), BTreeSet::new());
            for handle in 0..ascending {
                run.insert(i64::from(handle / 30), Handle(handle), id);
                model.insert((i64::from(handle / 30), id(Handle(handle)), handle));
            }
            for (adds, handle, key) in changes {
                let place = (key, id(Handle(handle)), handle);
                if !adds {
                    run.remove(&key, Handle(handle), id);
                    model.remove(&place);
                } else if model.insert(place) {
                    run.insert(key, Handle(handle), id);
                }
            }
            let all: Vec<u32> = run.all().map(|handle| handle.0).collect();
            let wanted: Vec<u32> = model.iter().map(|place| place.2).collect();
            prop_assert_eq!(&all, &wanted);
            let within = |place: &&(i64, EntityId, u32)| {
                let (low, high) = ((low.0, id(Handle(low.1))), (high.0, id(Handle(high.1))));
                let at = (place.0, place.1);
                (at > low || how[0] && at == low) && (at < high || how[1] && at == high)
            };
            let wanted: Vec<u32> = model.iter().filter(within).map(|place| place.2).collect();
            prop_assert_eq!(bounds(&run, low, high, how), wanted);
            let entries: Vec<(i64, Handle)> = model.iter().map(|place| (place.0, Handle(place.2))).collect();
            let bulk: Vec<u32> = Run::of(&entries).all().map(|handle| handle.0).collect();
            prop_assert_eq!(bulk, all);
            for (key, _, handle) in &model {
                run.remove(key, Handle(*handle), id);
            }
            prop_assert_eq!(run.chunks.capacity(), 0);
        }
    }

    #[test]
    fn what_ascends_fills_chunks_and_deletes_do_not_leave_thin_ones() {
        let mut run = Run::default();
        for handle in 0..100_000 {
            run.insert(i64::from(handle), Handle(handle), id);
        }
        assert_eq!(run.chunks.len(), 100_000_usize.div_ceil(CHUNK_MAX));
        for handle in (0..100_000).filter(|handle| handle % 50 != 0) {
            run.remove(&i64::from(handle), Handle(handle), id);
        }
        assert_eq!(run.all().left(), 2_000);
        assert!(run.chunks.len() <= 2_000 / (CHUNK_MIN / 2), "{}", run.chunks.len());
    }
}
