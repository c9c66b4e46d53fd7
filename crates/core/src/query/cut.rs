//! Cutting a page out of matches in any order, without keeping more of them than the page needs.

use std::cmp::Ordering;

use super::form::{Cursor, Edge, Page, Sense};
use super::window::Rows;
use crate::id::EntityId;
use crate::index::Handle;

/// A row with its place in the order.
pub(super) type Placed<K> = (K, EntityId, Handle);

/// The first ones of many, in any order.
pub(super) struct Foremost<T, F> {
    keep: usize,
    items: Vec<T>,
    compare: F,
    /// Whether some were left out. Then the last one worth keeping stands at `keep - 1`.
    pub(super) more: bool,
}

/// Items held beyond those to keep before these are chosen again.
const SLACK: usize = 64;

impl<T, F: Fn(&T, &T) -> Ordering> Foremost<T, F> {
    pub(super) const fn new(keep: usize, compare: F) -> Self {
        Self { keep, items: Vec::new(), compare, more: false }
    }

    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if self.keep == 0 {
            self.more = true;
            return;
        }
        if self.more && (self.compare)(&item, &self.items[self.keep - 1]).is_gt() {
            return;
        }
        self.items.push(item);
        if self.items.len() >= self.keep.saturating_mul(2).saturating_add(SLACK) {
            self.choose();
        }
    }

    fn choose(&mut self) {
        if self.keep > 0 && self.items.len() > self.keep {
            self.items.select_nth_unstable_by(self.keep - 1, &self.compare);
            self.items.truncate(self.keep);
            self.more = true;
        }
    }

    /// Those kept, in no particular order, and whether there were more.
    pub(super) fn finish(mut self) -> (Vec<T>, bool) {
        self.choose();
        (self.items, self.more)
    }
}

/// Cuts a page out of all matches.
pub(super) fn cut<K: Ord + Clone>(
    rows: impl Iterator<Item = Placed<K>>,
    page: &Page,
    sense: Sense,
    key: impl Fn(&Cursor) -> K,
) -> Rows {
    let cmp = |a: (&K, EntityId), b: (&K, EntityId)| match sense {
        Sense::Ascending => a.cmp(&b),
        Sense::Descending => b.cmp(&a),
    };
    let compare = |a: &Placed<K>, b: &Placed<K>| cmp((&a.0, a.1), (&b.0, b.1));
    let edge = |edge: &Option<Box<Edge>>| {
        edge.as_ref().map(|edge| (key(&edge.cursor), edge.cursor.entity, edge.inclusive))
    };
    let (after, before) = (edge(&page.after), edge(&page.before));
    let inside = |row: &Placed<K>| {
        after.as_ref().is_none_or(|(key, entity, inclusive)| {
            match cmp((&row.0, row.1), (key, *entity)) {
                Ordering::Equal => *inclusive,
                order => order.is_gt(),
            }
        }) && before.as_ref().is_none_or(|(key, entity, inclusive)| {
            match cmp((&row.0, row.1), (key, *entity)) {
                Ordering::Equal => *inclusive,
                order => order.is_lt(),
            }
        })
    };
    let toward = |a: &Placed<K>, b: &Placed<K>| {
        let order = compare(a, b);
        if page.last { order.reverse() } else { order }
    };
    let looks = [Beyond::next(page), Beyond::previous(page, false)].contains(&Beyond::Look);
    let offset = page.offset.unwrap_or(0);
    let mut foremost =
        Foremost::new(offset.saturating_add(page.limit.unwrap_or(usize::MAX)), toward);
    // The first and the last of all matches, whether the cursors admit them or not.
    let mut ends: Option<(Placed<K>, Placed<K>)> = None;
    for row in rows {
        if looks {
            match &mut ends {
                None => ends = Some((row.clone(), row.clone())),
                Some((first, last)) => {
                    if compare(&row, first).is_lt() {
                        *first = row.clone();
                    } else if compare(&row, last).is_gt() {
                        *last = row.clone();
                    }
                }
            }
        }
        if inside(&row) {
            foremost.push(row);
        }
    }
    let (mut chosen, more) = foremost.finish();
    chosen.sort_unstable_by(toward);
    chosen.drain(..offset.min(chosen.len()));
    if page.last {
        chosen.reverse();
    }
    let has_next = match Beyond::next(page) {
        Beyond::Nothing => false,
        Beyond::Cut => more,
        Beyond::Look => match (chosen.last(), &ends) {
            (Some(at), Some((_, last))) => compare(last, at).is_gt(),
            _ => false,
        },
    };
    let has_previous = match Beyond::previous(page, chosen.is_empty()) {
        Beyond::Nothing => chosen.is_empty() && skips(page),
        Beyond::Cut => more,
        Beyond::Look => match (chosen.first(), &ends) {
            (Some(at), Some((first, _))) => compare(first, at).is_lt(),
            _ => false,
        },
    };
    Rows { handles: chosen.into_iter().map(|row| row.2).collect(), has_next, has_previous }
}

/// How to tell whether matches lie beyond an end of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beyond {
    /// None do.
    Nothing,
    /// They do if the limit cut some off.
    Cut,
    /// Any match will do, also one outside the cursors.
    Look,
}

impl Beyond {
    pub(super) const fn next(page: &Page) -> Self {
        match (&page.limit, &page.before, page.last) {
            (None, None, _) => Self::Nothing,
            (Some(_), None, false) => Self::Cut,
            _ => Self::Look,
        }
    }

    pub(super) fn previous(page: &Page, empty: bool) -> Self {
        if empty && skips(page) {
            return Self::Nothing;
        }
        match (&page.after, page.offset.unwrap_or(0), page.last) {
            (None, 0, false) => Self::Nothing,
            (None, _, true) => Self::Cut,
            _ => Self::Look,
        }
    }
}

/// Whether rows are skipped, which an empty page takes for rows before it.
pub(super) fn skips(page: &Page) -> bool {
    page.offset.is_some_and(|offset| offset > 0) || page.after.is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_foremost_are_the_head_of_the_sorted(
            items in prop::collection::vec(0_u16..500, 0..600), keep in 0_usize..90,
        ) {
            let mut foremost = Foremost::new(keep, Ord::cmp);
            items.iter().for_each(|item| foremost.push(*item));
            let (mut kept, more) = foremost.finish();
            kept.sort_unstable();
            let mut sorted = items.clone();
            sorted.sort_unstable();
            sorted.truncate(keep);
            prop_assert_eq!(kept, sorted);
            prop_assert_eq!(more, items.len() > keep);
        }
    }
}
