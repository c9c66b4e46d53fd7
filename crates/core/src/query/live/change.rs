//! What a commit did to the result of a live query.

use crate::id::EntityId;
use crate::query::form::Sense;

use super::ordered::{Entry, Key, OrderedList};

/// A form of a query: its place when forms are counted outer before inner, in the order of the query.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LevelId(pub u32);

/// What a commit changed in a result. Empty if nothing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Change {
    /// The whole result was made anew: nothing else is said. After attributes changed, or by a fallback.
    pub renewed: bool,
    /// Rows in lists, list by list: first those that left, then the others by their new place.
    ///
    /// To follow: take away what left or moved, then put in what entered or moved in the order given. The
    /// lists below an entity that is in no list of its level any more are to be forgotten; those below
    /// one that comes to be in one are given whole.
    pub rows: Vec<RowChange>,
    /// Top-level forms whose page info changed.
    pub pages: Vec<LevelId>,
    /// Top-level forms whose aggregate changed.
    pub counts: Vec<LevelId>,
    /// Facts changed that a condition or an order looks at for entities of the result: what a client
    /// needs to judge by itself may differ although the result is the same.
    pub evidence: bool,
}

/// One row of one list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowChange {
    /// The form.
    pub level: LevelId,
    /// The entity below which the list stands; `None` at the top.
    pub parent: Option<EntityId>,
    /// The row.
    pub entity: EntityId,
    /// What happened to it.
    pub kind: RowChangeKind,
}

/// What happened to a row of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowChangeKind {
    /// It is no longer in the list.
    Left,
    /// It is new in the list, at this place.
    Entered(usize),
    /// It has another place in the order; this is where it stands now.
    Moved(usize),
    /// It stayed, but returned values differ.
    Changed,
}

impl Change {
    /// Whether the result is as before, what [`Self::evidence`] is about aside.
    pub const fn is_empty(&self) -> bool {
        !self.renewed && self.rows.is_empty() && self.pages.is_empty() && self.counts.is_empty()
    }
}

/// The part of an ordered list that shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pane {
    pub(super) skip: usize,
    pub(super) limit: usize,
    /// The list is shown from its end.
    pub(super) reversed: bool,
}

impl Pane {
    pub(super) const fn end(self) -> usize {
        self.skip.saturating_add(self.limit)
    }

    /// How many rows of a list of some length show.
    pub(super) fn shown(self, len: usize) -> usize {
        self.end().min(len).saturating_sub(self.skip)
    }

    pub(super) fn shows(self, rank: usize) -> bool {
        rank >= self.skip && rank < self.end()
    }

    /// Where a row of the list stands among those shown.
    fn place(self, rank: usize, len: usize) -> usize {
        let at = rank - self.skip;
        if self.reversed { self.shown(len) - 1 - at } else { at }
    }

    /// The rows shown, in order.
    pub(super) fn rows(self, list: &OrderedList) -> Vec<&Entry> {
        let rows = list.range(self.skip, self.end());
        if self.reversed { rows.rev().collect() } else { rows.collect() }
    }

    /// The sense in which the list is kept.
    pub(super) const fn kept(sense: Sense, reversed: bool) -> Sense {
        if reversed { sense.flipped() } else { sense }
    }
}

/// What came into view and what went out of it while a list changed.
#[derive(Default, Debug)]
pub(super) struct Shifts {
    events: Vec<(EntityId, Key, bool)>,
}

impl Shifts {
    fn entered(&mut self, entry: &Entry) {
        self.events.push((entry.entity, entry.key.clone(), true));
    }

    fn left(&mut self, entry: &Entry) {
        self.events.push((entry.entity, entry.key.clone(), false));
    }

    /// Takes a row out of a list; whether it was there.
    pub(super) fn remove(
        &mut self,
        list: &mut OrderedList,
        pane: Pane,
        key: &Key,
        entity: EntityId,
    ) -> bool {
        let Some((rank, removed)) = list.remove(key, entity) else { return false };
        if pane.limit == 0 || rank >= pane.end() {
            return true;
        }
        if rank >= pane.skip {
            self.left(&removed);
        } else if let Some(slid) = list.get(pane.skip - 1) {
            self.left(slid);
        }
        if let Some(slid) = list.get(pane.end() - 1) {
            self.entered(slid);
        }
        true
    }

    /// Puts a row into a list.
    pub(super) fn insert(&mut self, list: &mut OrderedList, pane: Pane, entry: Entry) {
        let added = entry.clone();
        let rank = list.insert(entry);
        if pane.limit == 0 || rank >= pane.end() {
            return;
        }
        if let Some(slid) = list.get(pane.end()) {
            self.left(slid);
        }
        if rank >= pane.skip {
            self.entered(&added);
        } else if let Some(slid) = list.get(pane.skip) {
            self.entered(slid);
        }
    }

    /// The net effect on what shows: who left, and who entered or moved where.
    pub(super) fn settle(mut self, list: &OrderedList, pane: Pane) -> Settled {
        self.events.sort_by_key(|(entity, ..)| *entity);
        let mut settled = Settled::default();
        for events in self.events.chunk_by(|a, b| a.0 == b.0) {
            let [(entity, first, came), ..] = events else { continue };
            let [.., (_, last, stays)] = events else { continue };
            let place = || list.rank(last, *entity).map(|rank| pane.place(rank, list.len()));
            match (!came, *stays) {
                (true, true) if first == last => {}
                (true, true) => settled.moved.extend(place().map(|at| (*entity, at))),
                (true, false) => settled.left.push(*entity),
                (false, true) => settled.entered.extend(place().map(|at| (*entity, at))),
                (false, false) => {}
            }
        }
        settled
    }
}

/// Net changes of what a list shows.
#[derive(Default, Debug)]
pub(super) struct Settled {
    pub(super) left: Vec<EntityId>,
    pub(super) entered: Vec<(EntityId, usize)>,
    pub(super) moved: Vec<(EntityId, usize)>,
}

impl Settled {
    /// Tells the changes of a list.
    pub(super) fn report(&self, level: LevelId, parent: Option<EntityId>, change: &mut Change) {
        let row = |entity, kind| RowChange { level, parent, entity, kind };
        change.rows.extend(self.left.iter().map(|left| row(*left, RowChangeKind::Left)));
        let entered =
            self.entered.iter().map(|(who, at)| (*at, row(*who, RowChangeKind::Entered(*at))));
        let moved = self.moved.iter().map(|(who, at)| (*at, row(*who, RowChangeKind::Moved(*at))));
        let mut placed: Vec<(usize, RowChange)> = entered.chain(moved).collect();
        placed.sort_unstable_by_key(|(at, _)| *at);
        change.rows.extend(placed.into_iter().map(|(_, row)| row));
    }
}
