//! Shapes: which attributes a row holds, kept once for all rows that hold the same.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::row::AttrSlot;

/// The attributes of a row, sorted.
#[derive(PartialEq, Debug)]
pub(super) struct Shape {
    pub(super) slots: Box<[AttrSlot]>,
}

impl Shape {
    /// Where an attribute's cell stands in rows of this shape, or where it would.
    #[inline]
    pub(super) fn position(&self, slot: AttrSlot) -> Result<usize, usize> {
        self.slots.binary_search(&slot)
    }
}

/// The shapes in use.
#[derive(Clone, Debug)]
pub(super) struct Shapes {
    empty: Arc<Shape>,
    known: HashTable<Arc<Shape>>,
    /// When so many are known, those that only copies of rows used are looked for.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 64;

impl Default for Shapes {
    fn default() -> Self {
        let empty = Arc::new(Shape { slots: Box::default() });
        Self { empty, known: HashTable::new(), sweep_at: SWEEP_MIN }
    }
}

impl Shapes {
    /// The shape of a row that holds nothing.
    pub(super) fn empty(&self) -> Arc<Shape> {
        self.empty.clone()
    }

    /// Takes a row from its shape to the one with another attribute, at a place that the shape named.
    pub(super) fn grow(&mut self, shape: &mut Arc<Shape>, at: usize, slot: AttrSlot) {
        let (before, after) = shape.slots.split_at(at);
        let slots = before.iter().chain([&slot]).chain(after);
        let grown = self.intern(slots.copied());
        self.leave(std::mem::replace(shape, grown));
    }

    /// Takes a row from its shape to the one without the attribute at a place.
    pub(super) fn shrink(&mut self, shape: &mut Arc<Shape>, at: usize) {
        let (before, after) = shape.slots.split_at(at);
        let slots = before.iter().chain(after.iter().skip(1));
        let shrunk =
            if shape.slots.len() <= 1 { self.empty() } else { self.intern(slots.copied()) };
        self.leave(std::mem::replace(shape, shrunk));
    }

    /// Forgets a shape that a row had, if it was the last.
    pub(super) fn leave(&mut self, shape: Arc<Shape>) {
        // One reference here, one in the table.
        if Arc::strong_count(&shape) == 2
            && let Ok(found) =
                self.known.find_entry(hash(shape.slots.iter()), |known| Arc::ptr_eq(known, &shape))
        {
            found.remove();
            if self.known.is_empty() {
                self.known = HashTable::new();
            }
        }
    }

    /// How many are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    fn intern(&mut self, slots: impl Iterator<Item = AttrSlot> + Clone) -> Arc<Shape> {
        let hashed = hash(slots.clone());
        let same = |known: &Arc<Shape>| known.slots.iter().copied().eq(slots.clone());
        if let Some(known) = self.known.find(hashed, same) {
            return known.clone();
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|shape| Arc::strong_count(shape) > 1);
            self.sweep_at = SWEEP_MIN.max(self.known.len() * 2);
        }
        let made = Arc::new(Shape { slots: slots.collect() });
        self.known.insert_unique(hashed, made.clone(), |shape| hash(shape.slots.iter()));
        made
    }
}

fn hash<T: Hash>(slots: impl Iterator<Item = T>) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    slots.for_each(|slot| slot.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_kept_as_long_as_a_row_has_it() {
        let mut shapes = Shapes::default();
        let (mut one, mut other) = (shapes.empty(), shapes.empty());
        for (at, slot) in [AttrSlot(3), AttrSlot(5)].into_iter().enumerate() {
            shapes.grow(&mut one, at, slot);
        }
        shapes.grow(&mut other, 0, AttrSlot(5));
        shapes.grow(&mut other, 0, AttrSlot(3));
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(&*one.slots, [AttrSlot(3), AttrSlot(5)]);
        assert_eq!(shapes.len(), 1);
        shapes.shrink(&mut one, 0);
        assert_eq!(&*one.slots, [AttrSlot(5)]);
        assert_eq!(shapes.len(), 2);
        shapes.shrink(&mut one, 0);
        shapes.leave(other);
        assert_eq!(shapes.len(), 0);
    }

    #[test]
    fn shapes_of_copies_that_are_gone_are_swept() {
        let mut shapes = Shapes::default();
        for slot in 0..10_000 {
            let mut shape = shapes.empty();
            shapes.grow(&mut shape, 0, AttrSlot(slot));
            let copy = shape.clone();
            shapes.leave(shape);
            drop(copy);
        }
        assert!(shapes.len() <= 2 * SWEEP_MIN, "{}", shapes.len());
    }
}
