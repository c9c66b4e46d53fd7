//! Building the value indexes of a column: all at once, or bit by bit beside other work.

use super::TripleIndex;
use super::change::is_own;
use crate::attr::{Attr, CheckedType};
use crate::id::EntityId;
use crate::index::column::Coverage;
use crate::index::row::{AttrSlot, Cell, Handle};
use crate::index::run::Run;
use crate::index::sort_key::SortKey;
use crate::value::Value;

impl TripleIndex {
    /// Makes a column's value indexes those of a definition: what serves it already stays, what a job will
    /// gather begins empty, and the rest is built from the rows.
    pub(super) fn rebuild_column(&mut self, slot: AttrSlot, before: Option<&Attr>, attr: &Attr) {
        let checked = attr.settled_type();
        let data = !attr.is_ref() && !attr.is_deleted();
        let column = &mut self.columns[slot.0 as usize];
        let same_rows = before.is_some_and(|b| b.value_type == attr.value_type);
        // Of the types only dates have an order of their own.
        let by_instant = |checked| checked == Some(CheckedType::Date);
        let same_keys = before.is_some_and(|b| by_instant(b.settled_type()) == by_instant(checked))
            && same_rows;
        let members = data && attr.is_id() && !(same_rows && column.members.is_some());
        if !data || !attr.is_id() {
            column.members = None;
        } else if members {
            column.members = Some(Run::default());
        }
        let ordered = begin(
            &mut column.ordered,
            &mut column.ordered_coverage,
            wanted(data && attr.indexed, attr.indexing),
            same_keys,
        );
        let unique = begin(
            &mut column.unique,
            &mut column.unique_coverage,
            wanted(data && attr.unique, attr.setting_unique),
            same_rows,
        );
        if !members && ordered == Build::Nothing && unique == Build::Nothing {
            return;
        }
        let (mut places, mut keys) = (Vec::new(), Vec::new());
        for handle in column.holders.iter().map(Handle) {
            let Some(row) = self.slots.row(handle) else { continue };
            if let Some(Cell::Data { value, created_at }) = row.cell(slot) {
                if members {
                    places.push((created_at, handle));
                }
                if ordered == Build::All {
                    keys.push((SortKey::of(value, checked), handle));
                }
                let is_own = attr.is_id() && is_own(value, row.id());
                if let (Some(map), Build::All, false) =
                    (&mut column.unique, unique, is_own || value.is_null())
                {
                    map.insert(value, handle, |handle| self.slots.value(handle, slot));
                }
            }
        }
        let id = |handle: Handle| self.slots.id(handle);
        if members {
            places.sort_unstable_by_key(|(created_at, handle)| (*created_at, id(*handle)));
            column.members = Some(Run::of(&places));
        }
        if ordered == Build::All {
            keys.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| id(a.1).cmp(&id(b.1))));
            column.ordered = Some(Run::of(&keys));
        }
    }

    /// Puts the next `limit` values of an attribute into those of its value indexes that a job gathers.
    /// `Ok(true)` when all are in.
    ///
    /// # Errors
    /// Two entities that hold one value of an attribute that is to be unique; the indexes are as before
    /// as far as these two are concerned.
    pub(crate) fn gather(
        &mut self,
        slot: AttrSlot,
        limit: usize,
    ) -> Result<bool, (Value, EntityId, EntityId)> {
        let attr = self.catalog.get(self.attr_id(slot));
        let checked = attr.and_then(|attr| attr.settled_type());
        let is_id = attr.is_some_and(|attr| attr.is_id());
        let column = &mut self.columns[slot.0 as usize];
        let from = [column.ordered_coverage, column.unique_coverage]
            .into_iter()
            .filter_map(|coverage| match coverage {
                Coverage::Whole => None,
                Coverage::Below(from) => Some(from),
            })
            .min();
        let Some(from) = from else { return Ok(true) };
        let batch: Vec<u32> = column.holders.range(from..).take(limit.max(1)).collect();
        let id = |handle: Handle| self.slots.id(handle);
        let held = |handle: Handle| self.slots.value(handle, slot);
        for &handle in &batch {
            let handle = Handle(handle);
            let Some(row) = self.slots.row(handle) else { continue };
            let (entity, Some(value)) = (row.id(), row.value(slot)) else { continue };
            if let (Some(set), Coverage::Below(_)) = (&mut column.ordered, column.ordered_coverage)
            {
                // What was written since the building began is in.
                let key = SortKey::of(value, checked);
                set.remove(&key, handle, id);
                set.insert(key, handle, id);
            }
            if let (Some(map), Coverage::Below(_), false) = (
                &mut column.unique,
                column.unique_coverage,
                value.is_null() || is_id && is_own(value, entity),
            ) {
                match map.find(value, held) {
                    Some(holder) if holder != handle => {
                        return Err((value.clone(), id(holder), entity));
                    }
                    Some(_) => {}
                    None => map.insert(value, handle, held),
                }
            }
        }
        let next = match batch.last() {
            Some(last) if batch.len() == limit.max(1) => Coverage::Below(last + 1),
            _ => Coverage::Whole,
        };
        for coverage in [&mut column.ordered_coverage, &mut column.unique_coverage] {
            if *coverage != Coverage::Whole {
                *coverage = next;
            }
        }
        Ok(next == Coverage::Whole)
    }
}

/// Whether two definitions of an attribute need the same indexes.
pub(super) fn indexes_alike(a: &Attr, b: &Attr) -> bool {
    a.value_type == b.value_type
        && a.unique == b.unique
        && a.indexed == b.indexed
        && a.settled_type() == b.settled_type()
        && a.is_deleted() == b.is_deleted()
        && a.is_id() == b.is_id()
        && a.indexing == b.indexing
        && a.setting_unique == b.setting_unique
}

/// What a definition asks of a value index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Whole,
    /// A job gathers it.
    Gathered,
}

const fn wanted(is_wanted: bool, is_gathered: bool) -> Wanted {
    match (is_wanted, is_gathered) {
        (false, _) => Wanted::Nothing,
        (true, false) => Wanted::Whole,
        (true, true) => Wanted::Gathered,
    }
}

/// What is to be put into a value index now.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    Nothing,
    All,
}

/// Prepares a value index; `is_same` if what it holds is still right.
fn begin<T: Default>(
    index: &mut Option<T>,
    coverage: &mut Coverage,
    wanted: Wanted,
    is_same: bool,
) -> Build {
    let has_all = is_same && index.is_some() && *coverage == Coverage::Whole;
    match wanted {
        Wanted::Nothing => {
            *index = None;
            *coverage = Coverage::Whole;
            Build::Nothing
        }
        _ if has_all => Build::Nothing,
        Wanted::Gathered if is_same && index.is_some() => Build::Nothing,
        Wanted::Gathered => {
            *index = Some(T::default());
            *coverage = Coverage::Below(0);
            Build::Nothing
        }
        Wanted::Whole => {
            *index = Some(T::default());
            *coverage = Coverage::Whole;
            Build::All
        }
    }
}
