//! Order and pages of a top-level form.
//!
//! Two ways lead to a page. *Walking* follows an index that is already in order and stops early.
//! *Gathering* judges all candidates and sorts what the page needs. Both give the same.

use std::cmp::Ordering;
use std::ops::Bound;

use super::condition::Reader;
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

/// Rows walked without finding enough before gathering is tried instead, as a part of all.
const BUDGET_PART: u64 = 16;
const BUDGET_MIN: u64 = 256;

/// A walk looked at more rows than it may.
struct Exhausted;

/// A row with its place in the order.
type Placed<K> = (K, EntityId, Handle);

impl<V: Visibility> Reader<'_, V> {
    /// The page of a form.
    pub(super) fn page(&self, body: &Body, paged: bool) -> Rows {
        let all = self.index.holder_count(body.space);
        let budget = BUDGET_MIN.max(all / BUDGET_PART);
        let quarter = usize::try_from(all / 4).unwrap_or(usize::MAX);
        let Some(filter) = &body.filter else {
            let walked = self.walk_page(body, paged, u64::MAX);
            return walked.unwrap_or_else(|| self.gather_members(body));
        };
        let wanted =
            body.page.limit.map(|limit| limit.saturating_add(body.page.offset.unwrap_or(0)));
        let few = wanted.map_or(1024, |wanted| wanted.saturating_mul(2));
        for cap in [32, few] {
            if let Some(found) = self.candidates(filter, cap) {
                return self.gather(body, &found);
            }
        }
        if wanted.is_some()
            && let Some(rows) = self.walk_page(body, paged, budget)
        {
            return rows;
        }
        match self.candidates(filter, quarter) {
            Some(found) => self.gather(body, &found),
            None if wanted.is_some() => self.gather_members(body),
            None => {
                let walked = self.walk_page(body, paged, u64::MAX);
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
        let among =
            |found: &[Handle], by| self.fetch_among(body, reversed, (&from, &to), count, found, by);
        let scan = || {
            let members: Vec<Handle> = self.index.holders(body.space).collect();
            among(&members, Fetch::Scan)
        };
        let Some(filter) = &body.filter else {
            return walk(u64::MAX).unwrap_or_else(scan);
        };
        let is_limited = count < usize::MAX;
        for cap in [32, if is_limited { count.saturating_mul(2) } else { 1024 }] {
            if let Some(found) = self.candidates(filter, cap) {
                return among(&found, Fetch::Seed);
            }
        }
        let walked = is_limited.then(|| walk(BUDGET_MIN.max(all / BUDGET_PART))).flatten();
        walked.unwrap_or_else(|| match self.candidates(filter, quarter) {
            Some(found) => among(&found, Fetch::Seed),
            None => scan(),
        })
    }

    fn fetch_walking(
        &self,
        body: &Body,
        reversed: bool,
        (from, to): (&Limit, &Limit),
        count: usize,
        mut budget: u64,
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
        candidates: &[Handle],
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
        let admitted = candidates.iter().filter(|found| self.admits(body, **found));
        let mut entries: Vec<Entry> =
            admitted.map(|found| self.entry(body, *found)).filter(within).collect();
        let more = entries.len() > count;
        if more {
            let by_place = |a: &Entry, b: &Entry| order((&a.key, a.entity), (&b.key, b.entity));
            entries.select_nth_unstable_by(count, by_place);
            entries.truncate(count);
        }
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
        let edge = |cursor: &Cursor| Edge { cursor: cursor.clone(), inclusive: true };
        let page = Page {
            limit: body.page.limit,
            after: Some(edge(start)),
            before: end.as_ref().map(edge),
            ..Page::default()
        };
        let order = Order { by, sense: body.order.sense };
        let found = self.matches(body);
        Rows { has_next: false, has_previous: false, ..self.gather_by(body, order, &page, &found) }
    }

    /// Whether an entity belongs to a form, as far as it can tell by itself.
    pub(super) fn admits(&self, body: &Body, entity: Handle) -> bool {
        self.member(entity, body.space).is_some()
            && body.filter.as_ref().is_none_or(|filter| self.holds(filter, entity))
    }

    fn gather_members(&self, body: &Body) -> Rows {
        let members: Vec<Handle> = self.index.holders(body.space).collect();
        let rows = self.gather(body, &members);
        self.found_by(Fetch::Scan);
        rows
    }

    fn gather(&self, body: &Body, candidates: &[Handle]) -> Rows {
        self.found_by(Fetch::Seed);
        self.gather_by(body, body.order, &body.page, candidates)
    }

    fn gather_by(&self, body: &Body, order: Order, page: &Page, candidates: &[Handle]) -> Rows {
        let found = candidates.iter().filter(|found| self.admits(body, **found));
        match order.by {
            OrderKey::Created => {
                let rows = found.map(|found| self.by_creation(body, *found)).collect();
                cut(rows, page, order.sense, |cursor| cursor.created_at)
            }
            OrderKey::Attr(_, checked) => {
                let rows = found.map(|found| self.by_value(order.by, *found)).collect();
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
    fn walk_page(&self, body: &Body, paged: bool, budget: u64) -> Option<Rows> {
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

    fn next(&self, walk: &mut Walk<'a>, budget: &mut u64) -> Result<Option<Handle>, Exhausted> {
        for found in walk {
            *budget = budget.checked_sub(1).ok_or(Exhausted)?;
            if self.reader.admits(self.body, found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn page(&self, paged: bool, budget: &mut u64) -> Result<Rows, Exhausted> {
        let (page, sense) = (&self.body.page, self.body.order.sense);
        let toward = if page.last { sense.flipped() } else { sense };
        let bounds = (self.bound(page.after.as_ref()), self.bound(page.before.as_ref()));
        let mut walk = self.walk(bounds.0, bounds.1, toward).ok_or(Exhausted)?;
        for _ in 0..page.offset.unwrap_or(0) {
            if self.next(&mut walk, budget)?.is_none() {
                break;
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

/// How to tell whether matches lie beyond an end of a page.
enum Beyond {
    /// None do.
    Nothing,
    /// They do if the limit cut some off.
    Cut,
    /// Any match will do, also one outside the cursors.
    Look,
}

impl Beyond {
    const fn next(page: &Page) -> Self {
        match (&page.limit, &page.before, page.last) {
            (None, None, _) => Self::Nothing,
            (Some(_), None, false) => Self::Cut,
            _ => Self::Look,
        }
    }

    fn previous(page: &Page, empty: bool) -> Self {
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
fn skips(page: &Page) -> bool {
    page.offset.is_some_and(|offset| offset > 0) || page.after.is_some()
}

/// Cuts a page out of all matches.
fn cut<K: Ord + Clone>(
    rows: Vec<Placed<K>>,
    page: &Page,
    sense: Sense,
    key: impl Fn(&Cursor) -> K,
) -> Rows {
    let cmp = |a: (&K, EntityId), b: (&K, EntityId)| match sense {
        Sense::Ascending => a.cmp(&b),
        Sense::Descending => b.cmp(&a),
    };
    let against = |row: &Placed<K>, edge: &Edge| {
        let place = key(&edge.cursor);
        cmp((&row.0, row.1), (&place, edge.cursor.entity))
    };
    let (mut inside, outside): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| {
        let starts = page.after.as_ref().is_none_or(|edge| match against(row, edge) {
            Ordering::Equal => edge.inclusive,
            order => order.is_gt(),
        });
        starts
            && page.before.as_ref().is_none_or(|edge| match against(row, edge) {
                Ordering::Equal => edge.inclusive,
                order => order.is_lt(),
            })
    });
    let toward = |a: &Placed<K>, b: &Placed<K>| {
        let order = cmp((&a.0, a.1), (&b.0, b.1));
        if page.last { order.reverse() } else { order }
    };
    let offset = page.offset.unwrap_or(0);
    let until = offset.saturating_add(page.limit.unwrap_or(usize::MAX));
    let more = inside.len() > until;
    if more {
        inside.select_nth_unstable_by(until, toward);
    }
    let head = until.min(inside.len());
    inside[..head].sort_unstable_by(toward);
    let mut chosen: Vec<Placed<K>> = inside[offset.min(head)..head].to_vec();
    if page.last {
        chosen.reverse();
    }
    let any = |wanted: Ordering, at: Option<&Placed<K>>| {
        at.is_some_and(|at| {
            let mut all = inside.iter().chain(&outside);
            all.any(|row| cmp((&row.0, row.1), (&at.0, at.1)) == wanted)
        })
    };
    let has_next = match Beyond::next(page) {
        Beyond::Nothing => false,
        Beyond::Cut => more,
        Beyond::Look => any(Ordering::Greater, chosen.last()),
    };
    let has_previous = match Beyond::previous(page, chosen.is_empty()) {
        Beyond::Nothing => chosen.is_empty() && skips(page),
        Beyond::Cut => more,
        Beyond::Look => any(Ordering::Less, chosen.first()),
    };
    Rows { handles: chosen.into_iter().map(|row| row.2).collect(), has_next, has_previous }
}
