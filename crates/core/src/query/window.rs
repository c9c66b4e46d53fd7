//! Order and pages of a top-level form.
//!
//! Two ways lead to a page. *Walking* follows an index that is already in order and stops early.
//! *Gathering* judges all candidates and sorts what the page needs. Both give the same.

use std::ops::Bound;

use super::budget::{Budget, Exhausted};
use super::condition::Reader;
use super::cut::{Beyond, Foremost, Placed, cut, skips};
use super::form::{Cursor, Edge, Page, Sense};
use super::live::{Entry, Key};
use super::options::Window;
use super::plan::{Body, Order, OrderKey};
use super::visibility::Visibility;
use crate::id::EntityId;
use crate::index::{Handle, Members, Ordered, SortKey};
use crate::value::Value;

/// The rows of a page in order, and whether more matches lie around them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) handles: Vec<Handle>,
    pub(super) has_next: bool,
    pub(super) has_previous: bool,
}

/// How matches were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fetch {
    /// Along the index of the order.
    Walk,
    /// Among the few that an index names.
    Seed,
    /// Among all.
    Scan,
}

/// One end of a stretch of an order.
pub(super) type Limit = Bound<(Key, EntityId)>;

/// Some of the matches of a form, the first ones of an order.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) entries: Vec<Entry>,
    pub(super) more: bool,
    pub(super) by: Fetch,
}

/// So few candidates are looked for first, whatever is asked.
const FEW: usize = 32;
/// So few candidates are gathered at once where everything is asked.
const UNLIMITED_FEW: usize = 1_024;

/// How many candidates are better gathered than looked for along the order: if matches are spread evenly a
/// walk to so many of them passes more rows.
fn worth_gathering(wanted: usize, all: u64) -> usize {
    let spread = (wanted as u64).saturating_mul(all).isqrt().min(all / 4);
    usize::try_from(spread).unwrap_or(usize::MAX).max(wanted.saturating_mul(2))
}

impl<V: Visibility> Reader<'_, V> {
    /// The page of a form.
    pub(super) fn page(&self, body: &Body, paged: bool) -> Rows {
        let all = self.index.holder_count(body.space);
        let quarter = usize::try_from(all / 4).unwrap_or(usize::MAX);
        let Some(filter) = &body.filter else {
            let walked = self.walk_page(body, paged, Budget::unlimited());
            return walked.unwrap_or_else(|| self.gather_members(body));
        };
        let wanted =
            body.page.limit.map(|limit| limit.saturating_add(body.page.offset.unwrap_or(0)));
        for cap in [FEW, wanted.map_or(UNLIMITED_FEW, |wanted| worth_gathering(wanted, all))] {
            if let Some(found) = self.candidates(filter, cap) {
                return self.gather(body, &found);
            }
        }
        if let Some(wanted) = wanted
            && let Some(rows) = self.walk_page(body, paged, Budget::new(all, wanted))
        {
            return rows;
        }
        match self.candidates(filter, quarter) {
            Some(found) => self.gather(body, &found),
            None if wanted.is_some() => self.gather_members(body),
            None => {
                let walked = self.walk_page(body, paged, Budget::unlimited());
                walked.unwrap_or_else(|| self.gather_members(body))
            }
        }
    }

    /// Every match in no particular order.
    pub(super) fn matches(&self, body: &Body) -> Vec<Handle> {
        let all = usize::try_from(self.index.holder_count(body.space)).unwrap_or(usize::MAX);
        let found = body.filter.as_ref().and_then(|filter| self.candidates(filter, all / 4));
        self.found_by(if found.is_some() { Fetch::Seed } else { Fetch::Scan });
        match found {
            Some(found) => found.into_iter().filter(|found| self.admits(body, *found)).collect(),
            None => {
                self.index.holders(body.space).filter(|found| self.admits(body, *found)).collect()
            }
        }
    }

    /// The first `count` matches between two places, given in the order of the page: that of the form,
    /// or if `reversed` the other way round.
    pub(super) fn fetch(
        &self,
        body: &Body,
        reversed: bool,
        from: Bound<(Key, EntityId)>,
        to: Bound<(Key, EntityId)>,
        count: usize,
    ) -> Fetched {
        let all = self.index.holder_count(body.space);
        let quarter = usize::try_from(all / 4).unwrap_or(usize::MAX);
        let walk = |budget| self.fetch_walking(body, reversed, (&from, &to), count, budget);
        let among = |found: &[Handle]| {
            let found = found.iter().copied();
            self.fetch_among(body, reversed, (&from, &to), count, found, Fetch::Seed)
        };
        let scan = || {
            let members = self.index.holders(body.space);
            self.fetch_among(body, reversed, (&from, &to), count, members, Fetch::Scan)
        };
        let Some(filter) = &body.filter else {
            return walk(Budget::unlimited()).unwrap_or_else(scan);
        };
        let is_limited = count < usize::MAX;
        let few = if is_limited { worth_gathering(count, all) } else { UNLIMITED_FEW };
        for cap in [FEW, few] {
            if let Some(found) = self.candidates(filter, cap) {
                return among(&found);
            }
        }
        let walked = is_limited.then(|| walk(Budget::new(all, count))).flatten();
        walked.unwrap_or_else(|| match self.candidates(filter, quarter) {
            Some(found) => among(&found),
            None => scan(),
        })
    }

    fn fetch_walking(
        &self,
        body: &Body,
        reversed: bool,
        (from, to): (&Limit, &Limit),
        count: usize,
        mut budget: Budget,
    ) -> Option<Fetched> {
        let walker = Walker::new(self, body)?;
        let place = |bound: &Bound<(Key, EntityId)>| {
            bound.clone().map(|(key, entity)| match key {
                Key::Created(created_at) => Place { created_at, key: SortKey::Null, entity },
                Key::Value(key) => Place { created_at: 0, key, entity },
            })
        };
        let sense = body.order.sense;
        let toward = if reversed { sense.flipped() } else { sense };
        let (low, high) = if reversed { (to, from) } else { (from, to) };
        let mut walk = walker.walk(place(low), place(high), toward)?;
        let mut entries = Vec::with_capacity(count.min(256));
        while entries.len() < count {
            match walker.next(&mut walk, &mut budget).ok()? {
                Some(found) => entries.push(self.entry(body, found)),
                None => return Some(Fetched { entries, more: false, by: Fetch::Walk }),
            }
        }
        // Whether more follows shows when it is needed; that it may is enough to know.
        Some(Fetched { entries, more: true, by: Fetch::Walk })
    }

    fn fetch_among(
        &self,
        body: &Body,
        reversed: bool,
        (from, to): (&Limit, &Limit),
        count: usize,
        candidates: impl Iterator<Item = Handle>,
        by: Fetch,
    ) -> Fetched {
        let sense = if reversed { body.order.sense.flipped() } else { body.order.sense };
        let order = |a: (&Key, EntityId), b: (&Key, EntityId)| match sense {
            Sense::Ascending => a.cmp(&b),
            Sense::Descending => b.cmp(&a),
        };
        let within = |entry: &Entry| {
            let against =
                |(key, entity): &(Key, EntityId)| order((&entry.key, entry.entity), (key, *entity));
            let starts = match from {
                Bound::Included(place) => against(place).is_ge(),
                Bound::Excluded(place) => against(place).is_gt(),
                Bound::Unbounded => true,
            };
            starts
                && match to {
                    Bound::Included(place) => against(place).is_le(),
                    Bound::Excluded(place) => against(place).is_lt(),
                    Bound::Unbounded => true,
                }
        };
        let by_place = |a: &Entry, b: &Entry| order((&a.key, a.entity), (&b.key, b.entity));
        let mut foremost = Foremost::new(count, by_place);
        for found in candidates.filter(|found| self.admits(body, *found)) {
            let entry = self.entry(body, found);
            if within(&entry) {
                foremost.push(entry);
            }
        }
        let (entries, more) = foremost.finish();
        Fetched { entries, more, by }
    }

    /// A match with its place in the order.
    pub(super) fn entry(&self, body: &Body, handle: Handle) -> Entry {
        match body.order.by {
            OrderKey::Created => {
                let (created_at, entity, handle) = self.by_creation(body, handle);
                Entry { key: Key::Created(created_at), entity, handle }
            }
            by @ OrderKey::Attr(..) => {
                let (key, entity, handle) = self.by_value(by, handle);
                Entry { key: Key::Value(key), entity, handle }
            }
        }
    }

    /// The rows between two rows that a server named; none before their first is known.
    pub(super) fn window(&self, body: &Body, window: Option<&Window>) -> Rows {
        let Some(Window { start: Some(start), end }) = window else { return Rows::default() };
        let by = match self.index.slot(start.attr) {
            Some(slot) if slot != body.space => {
                let attr = self.index.catalog().get(start.attr);
                OrderKey::Attr(slot, attr.and_then(|attr| attr.settled_type()))
            }
            _ => OrderKey::Created,
        };
        let edge = |cursor: &Cursor| Box::new(Edge { cursor: cursor.clone(), inclusive: true });
        let page = Page {
            limit: body.page.limit,
            after: Some(edge(start)),
            before: end.as_ref().map(edge),
            ..Page::default()
        };
        let order = Order { by, sense: body.order.sense };
        let found = self.matches(body);
        Rows {
            has_next: false,
            has_previous: false,
            ..self.gather_by(body, order, &page, found.into_iter())
        }
    }

    /// Whether an entity belongs to a form, as far as it can tell by itself.
    pub(super) fn admits(&self, body: &Body, entity: Handle) -> bool {
        self.member(entity, body.space).is_some()
            && body.filter.as_ref().is_none_or(|filter| self.holds(filter, entity))
    }

    fn gather_members(&self, body: &Body) -> Rows {
        self.found_by(Fetch::Scan);
        self.gather_by(body, body.order, &body.page, self.index.holders(body.space))
    }

    fn gather(&self, body: &Body, candidates: &[Handle]) -> Rows {
        self.found_by(Fetch::Seed);
        self.gather_by(body, body.order, &body.page, candidates.iter().copied())
    }

    fn gather_by(
        &self,
        body: &Body,
        order: Order,
        page: &Page,
        candidates: impl Iterator<Item = Handle>,
    ) -> Rows {
        let found = candidates.filter(|found| self.admits(body, *found));
        match order.by {
            OrderKey::Created => {
                let rows = found.map(|found| self.by_creation(body, found));
                cut(rows, page, order.sense, |cursor| cursor.created_at)
            }
            OrderKey::Attr(_, checked) => {
                let rows = found.map(|found| self.by_value(order.by, found));
                cut(rows, page, order.sense, |cursor| SortKey::of(&cursor.value, checked))
            }
        }
    }

    pub(super) fn by_creation(&self, body: &Body, entity: Handle) -> Placed<i64> {
        let created_at = self.index.row_at(entity).and_then(|row| row.created_at(body.space));
        (created_at.unwrap_or(0), self.index.entity(entity), entity)
    }

    pub(super) fn by_value(&self, by: OrderKey, entity: Handle) -> Placed<SortKey> {
        let key = match by {
            OrderKey::Created => SortKey::Null,
            OrderKey::Attr(slot, checked) => {
                SortKey::of(self.ordering_value(slot, entity), checked)
            }
        };
        (key, self.index.entity(entity), entity)
    }

    /// The value that orders an entity; what is missing or hidden counts as null.
    fn ordering_value(&self, slot: crate::index::AttrSlot, entity: Handle) -> &Value {
        self.count(1);
        let row = self.index.row_at(entity);
        let row = row.filter(|row| V::ALL || self.visibility.sees_value(self.index, row, slot));
        row.and_then(|row| row.value(slot)).unwrap_or(&Value::Null)
    }

    /// Walks an index in order. `None` if there is none, or if the walk would cost more than `budget`.
    fn walk_page(&self, body: &Body, paged: bool, budget: Budget) -> Option<Rows> {
        let walker = Walker::new(self, body)?;
        let mut budget = budget;
        let rows = walker.page(paged, &mut budget).ok()?;
        self.found_by(Fetch::Walk);
        Some(rows)
    }
}

/// Follows the index that serves a form's order.
struct Walker<'a, V> {
    reader: &'a Reader<'a, V>,
    body: &'a Body,
}

/// A place in the order of a form.
#[derive(Clone)]
struct Place {
    created_at: i64,
    key: SortKey,
    entity: EntityId,
}

enum Walk<'a> {
    Created(Members<'a>, Sense),
    Value(Ordered<'a>, Sense),
}

impl Iterator for Walk<'_> {
    type Item = Handle;

    fn next(&mut self) -> Option<Handle> {
        match self {
            Self::Created(walk, Sense::Ascending) => walk.next(),
            Self::Created(walk, Sense::Descending) => walk.next_back(),
            Self::Value(walk, Sense::Ascending) => walk.next(),
            Self::Value(walk, Sense::Descending) => walk.next_back(),
        }
    }

    fn nth(&mut self, skip: usize) -> Option<Handle> {
        match self {
            Self::Created(walk, Sense::Ascending) => walk.nth(skip),
            Self::Created(walk, Sense::Descending) => walk.nth_back(skip),
            Self::Value(walk, Sense::Ascending) => walk.nth(skip),
            Self::Value(walk, Sense::Descending) => walk.nth_back(skip),
        }
    }
}

impl<'a, V: Visibility> Walker<'a, V> {
    fn new(reader: &'a Reader<'a, V>, body: &'a Body) -> Option<Self> {
        let index = reader.index;
        let serves = match body.order.by {
            OrderKey::Created => true,
            // Entities without a value are not in the index of values, and hidden values would be.
            OrderKey::Attr(slot, _) => {
                V::ALL && index.is_ordered(slot) && index.lacking_count(body.space, slot) == 0
            }
        };
        serves.then_some(Self { reader, body })
    }

    fn walk(&self, from: Bound<Place>, to: Bound<Place>, sense: Sense) -> Option<Walk<'a>> {
        // Bounds come in the form's own sense.
        let (lower, upper) = match self.body.order.sense {
            Sense::Ascending => (from, to),
            Sense::Descending => (to, from),
        };
        let index = self.reader.index;
        match self.body.order.by {
            OrderKey::Created => {
                let place = |place: Place| (place.created_at, place.entity);
                let walk =
                    index.members_between(self.body.space, lower.map(place), upper.map(place))?;
                Some(Walk::Created(walk, sense))
            }
            OrderKey::Attr(slot, _) => {
                let place = |place: Place| (place.key, place.entity);
                let walk = index.range_between(slot, lower.map(place), upper.map(place))?;
                Some(Walk::Value(walk, sense))
            }
        }
    }

    fn next(&self, walk: &mut Walk<'a>, budget: &mut Budget) -> Result<Option<Handle>, Exhausted> {
        for found in walk {
            budget.pass(found)?;
            if self.reader.admits(self.body, found) {
                budget.found();
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether everything in the index of the order belongs to the form, so that rows need no look to be
    /// skipped.
    fn admits_all(&self) -> bool {
        let lone = match self.body.order.by {
            OrderKey::Created => 0,
            OrderKey::Attr(slot, _) => self.reader.index.lacking_count(slot, self.body.space),
        };
        V::ALL && self.body.filter.is_none() && lone == 0
    }

    fn page(&self, paged: bool, budget: &mut Budget) -> Result<Rows, Exhausted> {
        let (page, sense) = (&self.body.page, self.body.order.sense);
        let toward = if page.last { sense.flipped() } else { sense };
        let bounds = (self.bound(page.after.as_deref()), self.bound(page.before.as_deref()));
        let mut walk = self.walk(bounds.0, bounds.1, toward).ok_or(Exhausted)?;
        let offset = page.offset.unwrap_or(0);
        if offset > 0 && self.admits_all() {
            self.reader.count(1);
            walk.nth(offset - 1);
        } else {
            for _ in 0..offset {
                if self.next(&mut walk, budget)?.is_none() {
                    break;
                }
            }
        }
        let limit = page.limit.unwrap_or(usize::MAX);
        let mut handles = Vec::with_capacity(limit.min(1024));
        while handles.len() < limit {
            let Some(found) = self.next(&mut walk, budget)? else { break };
            handles.push(found);
        }
        let is_full = page.limit.is_some() && handles.len() == limit;
        let more = paged && is_full && self.next(&mut walk, budget)?.is_some();
        if page.last {
            handles.reverse();
        }
        if !paged {
            return Ok(Rows { handles, ..Rows::default() });
        }
        let mut around = |at: Option<&Handle>, side: Side| match at {
            None => Ok(false),
            Some(at) => {
                let place = Bound::Excluded(self.place_of(*at));
                let walk = match side {
                    Side::After => self.walk(place, Bound::Unbounded, sense),
                    Side::Before => self.walk(Bound::Unbounded, place, sense.flipped()),
                };
                let mut walk = walk.ok_or(Exhausted)?;
                self.next(&mut walk, budget).map(|found| found.is_some())
            }
        };
        let has_next = match Beyond::next(page) {
            Beyond::Nothing => false,
            Beyond::Cut => more,
            Beyond::Look => around(handles.last(), Side::After)?,
        };
        let has_previous = match Beyond::previous(page, handles.is_empty()) {
            Beyond::Nothing => handles.is_empty() && skips(page),
            Beyond::Cut => more,
            Beyond::Look => around(handles.first(), Side::Before)?,
        };
        Ok(Rows { handles, has_next, has_previous })
    }

    fn bound(&self, edge: Option<&Edge>) -> Bound<Place> {
        let Some(Edge { cursor, inclusive }) = edge else { return Bound::Unbounded };
        let key = match self.body.order.by {
            OrderKey::Created => SortKey::Null,
            OrderKey::Attr(_, checked) => SortKey::of(&cursor.value, checked),
        };
        let place = Place { created_at: cursor.created_at, key, entity: cursor.entity };
        if *inclusive { Bound::Included(place) } else { Bound::Excluded(place) }
    }

    fn place_of(&self, entity: Handle) -> Place {
        let (created_at, id, _) = self.reader.by_creation(self.body, entity);
        let (key, ..) = self.reader.by_value(self.body.order.by, entity);
        Place { created_at, key, entity: id }
    }
}

enum Side {
    After,
    Before,
}
