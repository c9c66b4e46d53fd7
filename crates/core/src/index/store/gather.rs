//! Building the value indexes of a column: all at once, or bit by bit beside other work.

use std::collections::BTreeSet;

use super::super::column::Coverage;
use super::super::row::{AttrSlot, Cell, Handle};
use super::super::sort_key::SortKey;
use super::TripleIndex;
use crate::attr::{Attr, CheckedType};
use crate::id::EntityId;
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
            column.members = Some(BTreeSet::new());
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
        for handle in column.holders.iter().map(Handle) {
            let Some(row) = self.slots[handle.0 as usize].row.as_ref() else { continue };
            if let Some(Cell::Data { value, created_at }) = row.cell(slot) {
                let entity = row.id();
                if let (Some(set), true) = (&mut column.members, members) {
                    set.insert((*created_at, entity, handle));
                }
                if let (Some(set), Build::All) = (&mut column.ordered, ordered) {
                    set.insert((SortKey::of(value, checked), entity, handle));
                }
                if let (Some(map), Build::All, false) =
                    (&mut column.unique, unique, value.is_null())
                {
                    map.insert(value.clone(), handle);
                }
            }
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
        let checked = self.catalog.get(self.attr_id(slot)).and_then(|attr| attr.settled_type());
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
        for &handle in &batch {
            let Some(row) = self.slots[handle as usize].row.as_ref() else { continue };
            let Some(Cell::Data { value, .. }) = row.cell(slot) else { continue };
            let (entity, handle) = (row.id(), Handle(handle));
            if let (Some(set), Coverage::Below(_)) = (&mut column.ordered, column.ordered_coverage)
            {
                set.insert((SortKey::of(value, checked), entity, handle));
            }
            if let (Some(map), Coverage::Below(_), false) =
                (&mut column.unique, column.unique_coverage, value.is_null())
            {
                match map.get(value) {
                    Some(holder) if *holder != handle => {
                        let other = self.slots[holder.0 as usize].id;
                        return Err((value.clone(), other, entity));
                    }
                    Some(_) => {}
                    None => {
                        map.insert(value.clone(), handle);
                    }
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
