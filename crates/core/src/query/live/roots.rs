//! The rows of a top-level form: an ordered window over all matches.

use std::cmp::Ordering;
use std::ops::Bound;

use crate::id::EntityId;
use crate::index::SortKey;
use crate::query::condition::Reader;
use crate::query::form::{Edge, Sense};
use crate::query::plan::{Body, OrderKey};
use crate::query::result::PageInfo;
use crate::query::visibility::Visibility;
use crate::query::window::Fetched;

use super::change::{Change, LevelId, Pane, RowChange, RowChangeKind, Shifts};
use super::live_query::Context;
use super::ordered::{Entry, Key, OrderedList};
use super::reach::{Reached, Watch, membership};

/// The rows of a top-level form. They are the first ones of all matches within the cursors, in the order
/// in which the page is counted: the page itself, what it skips, and some spare rows behind it.
#[derive(Clone, Debug)]
pub(super) struct Roots {
    pub(super) level: LevelId,
    pub(super) pane: Pane,
    pub(super) list: OrderedList,
    watches: Box<[Watch]>,
    /// Matches may lie between the last row and the far cursor.
    more: bool,
    /// Rows to hold; all of them if there is no limit.
    keep: usize,
    start: Option<Box<Cut>>,
    end: Option<Box<Cut>>,
    /// Whether matches lie outside the cursors, where page info asks.
    ahead: Witness,
    beyond: Witness,
    /// The fingerprint of the page info, if it is wanted.
    page: Option<u64>,
}

/// A cursor as a place in the order.
#[derive(Clone, Debug)]
struct Cut {
    key: Key,
    entity: EntityId,
    inclusive: bool,
}

impl Cut {
    fn new(edge: &Edge, by: OrderKey) -> Self {
        let key = match by {
            OrderKey::Created => Key::Created(edge.cursor.created_at),
            OrderKey::Attr(_, checked) => Key::Value(SortKey::of(&edge.cursor.value, checked)),
        };
        Self { key, entity: edge.cursor.entity, inclusive: edge.inclusive }
    }

    fn inner(&self) -> Bound<(Key, EntityId)> {
        let place = (self.key.clone(), self.entity);
        if self.inclusive { Bound::Included(place) } else { Bound::Excluded(place) }
    }

    fn outer(&self) -> Bound<(Key, EntityId)> {
        let place = (self.key.clone(), self.entity);
        if self.inclusive { Bound::Excluded(place) } else { Bound::Included(place) }
    }
}

/// Somebody who proves that matches lie outside a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Witness {
    /// Nobody asks.
    Unasked,
    /// There is none.
    Nobody,
    Somebody(EntityId),
    /// The last one is gone; whether there is another is to be found out.
    Lost,
}

impl Witness {
    fn meet(&mut self, entity: EntityId, is_there: bool) {
        match (*self, is_there) {
            (Self::Nobody | Self::Lost, true) => *self = Self::Somebody(entity),
            (Self::Somebody(known), false) if known == entity => *self = Self::Lost,
            _ => {}
        }
    }

    const fn is_there(self) -> bool {
        matches!(self, Self::Somebody(_))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Ahead,
    Inside,
    Beyond,
}

/// Tells one page info from another; two different ones are alike once in 2^64 times.
fn fingerprint(page: &PageInfo) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    page.hash(&mut hasher);
    hasher.finish()
}

const SPARE_MIN: usize = 2;
const SPARE_MAX: usize = 32;

/// The rows kept behind a page, so that one that leaves does not ask for a search.
fn spare(limit: usize) -> usize {
    (limit / 4).clamp(SPARE_MIN, SPARE_MAX)
}

impl Roots {
    /// Evaluates a form. `paged` tells whether page info is wanted.
    pub(super) fn new<V: Visibility>(
        cx: &mut Context<'_, V>,
        level: LevelId,
        body: &Body,
        paged: bool,
    ) -> Self {
        let page = &body.page;
        let reversed = page.last;
        let (limit, skip) = (page.limit.unwrap_or(usize::MAX), page.offset.unwrap_or(0));
        let cut = |edge: &Option<Box<Edge>>| {
            edge.as_ref().map(|edge| Box::new(Cut::new(edge, body.order.by)))
        };
        let (after, before) = (cut(&page.after), cut(&page.before));
        let (start, end) = if reversed { (before, after) } else { (after, before) };
        let asked = |cut: &Option<Box<Cut>>| match cut {
            Some(_) if paged => Witness::Lost,
            _ => Witness::Unasked,
        };
        let pane = Pane { skip, limit, reversed };
        let is_whole = page.limit.is_none();
        let keep = if is_whole { usize::MAX } else { pane.end().saturating_add(spare(limit)) };
        let mut roots = Self {
            level,
            pane,
            list: OrderedList::new(Pane::kept(body.order.sense, reversed)),
            watches: membership(body).into(),
            more: true,
            keep,
            ahead: asked(&start),
            beyond: asked(&end),
            start,
            end,
            page: None,
        };
        let fetched = roots.fetch(cx, body, roots.inner_start(), keep);
        roots.more = fetched.more;
        roots.list = OrderedList::of(Pane::kept(body.order.sense, reversed), fetched.entries);
        roots.find_witnesses(cx, body);
        if paged {
            roots.page = Some(fingerprint(&roots.page_info(&cx.reader, body)));
        }
        roots
    }

    fn inner_start(&self) -> Bound<(Key, EntityId)> {
        self.start.as_deref().map_or(Bound::Unbounded, Cut::inner)
    }

    fn fetch<V: Visibility>(
        &self,
        cx: &Context<'_, V>,
        body: &Body,
        from: Bound<(Key, EntityId)>,
        count: usize,
    ) -> Fetched {
        let to = self.end.as_deref().map_or(Bound::Unbounded, Cut::inner);
        cx.reader.fetch(body, self.pane.reversed, from, to, count)
    }

    /// Whether an entity shows now.
    pub(super) fn shows<V: Visibility>(
        &self,
        reader: &Reader<'_, V>,
        body: &Body,
        entity: EntityId,
    ) -> bool {
        let handle = reader.index.handle(entity);
        let Some(handle) = handle.filter(|at| reader.member(*at, body.space).is_some()) else {
            return false;
        };
        let rank = self.list.rank(&reader.entry(body, handle).key, entity);
        rank.is_some_and(|rank| self.pane.shows(rank))
    }

    /// Which rows show now.
    pub(super) fn shown(&self) -> Vec<&Entry> {
        self.pane.rows(&self.list)
    }

    fn side(&self, body: &Body, entry: &Entry) -> Side {
        let sense = Pane::kept(body.order.sense, self.pane.reversed);
        let against = |cut: &Cut| {
            let order = (&entry.key, entry.entity).cmp(&(&cut.key, cut.entity));
            match sense {
                Sense::Ascending => order,
                Sense::Descending => order.reverse(),
            }
        };
        let beyond = |cut: &Cut, wrong: Ordering| {
            let order = against(cut);
            order == wrong || (order.is_eq() && !cut.inclusive)
        };
        if self.start.as_ref().is_some_and(|cut| beyond(cut, Ordering::Less)) {
            Side::Ahead
        } else if self.end.as_ref().is_some_and(|cut| beyond(cut, Ordering::Greater)) {
            Side::Beyond
        } else {
            Side::Inside
        }
    }

    /// Judges everything again that a delta reaches; gives who came into view and who went out of it.
    pub(super) fn apply<V: Visibility>(
        &mut self,
        cx: &mut Context<'_, V>,
        body: &Body,
        change: &mut Change,
    ) -> (Vec<EntityId>, Vec<EntityId>) {
        let reached = cx.reader.reached(cx.delta, &self.watches);
        let mut shifts = Shifts::default();
        for reached in &reached {
            self.judge(cx, body, *reached, &mut shifts);
        }
        if self.more && self.list.len() <= self.pane.end() {
            self.refill(cx, body, &mut shifts);
        }
        let most = self.keep.saturating_add(spare(self.pane.limit));
        if self.list.len() > most {
            self.list.truncate(self.keep);
            self.more = true;
        }
        self.find_witnesses(cx, body);
        change.evidence |= cx.delta.touches(&self.watches);
        let settled = shifts.settle(&self.list, self.pane);
        settled.report(self.level, None, change);
        let entered: Vec<EntityId> = settled.entered.iter().map(|(who, _)| *who).collect();
        for entity in cx.changed_columns(body) {
            let Some(entry) = cx.entry_of(body, entity) else { continue };
            let rank = self.list.rank(&entry.key, entity);
            if rank.is_some_and(|rank| self.pane.shows(rank)) && !entered.contains(&entity) {
                let kind = RowChangeKind::Changed;
                change.rows.push(RowChange { level: self.level, parent: None, entity, kind });
            }
        }
        if self.page.is_some() && !reached.is_empty() {
            let page = fingerprint(&self.page_info(&cx.reader, body));
            if self.page != Some(page) {
                self.page = Some(page);
                change.pages.push(self.level);
            }
        }
        (entered, settled.left)
    }

    fn judge<V: Visibility>(
        &mut self,
        cx: &Context<'_, V>,
        body: &Body,
        reached: Reached,
        shifts: &mut Shifts,
    ) {
        let Reached { entity, handle } = reached;
        let old = cx.old_key(body, reached);
        let admitted = handle.filter(|handle| cx.reader.admits(body, *handle));
        let new = admitted.map(|handle| cx.reader.entry(body, handle));
        if let Some(old) = &old {
            let stays = new.as_ref().filter(|new| new.key == *old);
            if stays.is_some_and(|new| self.list.renew(old, entity, new.handle)) {
                return;
            }
            shifts.remove(&mut self.list, self.pane, old, entity);
        }
        let side = new.as_ref().map(|new| self.side(body, new));
        self.ahead.meet(entity, side == Some(Side::Ahead));
        self.beyond.meet(entity, side == Some(Side::Beyond));
        if let (Some(new), Some(Side::Inside)) = (new, side) {
            // What lies behind the last known row is found when it is needed.
            if !self.more || !self.list.is_behind(&new.key, entity) {
                shifts.insert(&mut self.list, self.pane, new);
            }
        }
    }

    fn refill<V: Visibility>(&mut self, cx: &mut Context<'_, V>, body: &Body, shifts: &mut Shifts) {
        let from = match self.list.last() {
            Some(last) => Bound::Excluded((last.key.clone(), last.entity)),
            None => self.inner_start(),
        };
        let fetched = self.fetch(cx, body, from, self.keep - self.list.len());
        cx.count_fetch(fetched.by);
        self.more = fetched.more;
        for entry in fetched.entries {
            shifts.insert(&mut self.list, self.pane, entry);
        }
    }

    fn find_witnesses<V: Visibility>(&mut self, cx: &mut Context<'_, V>, body: &Body) {
        let reversed = self.pane.reversed;
        if let (Witness::Lost, Some(cut)) = (self.ahead, &self.start) {
            let found = cx.reader.fetch(body, reversed, Bound::Unbounded, cut.outer(), 1);
            self.ahead = cx.witness(&found).map_or(Witness::Nobody, Witness::Somebody);
        }
        if let (Witness::Lost, Some(cut)) = (self.beyond, &self.end) {
            let found = cx.reader.fetch(body, reversed, cut.outer(), Bound::Unbounded, 1);
            self.beyond = cx.witness(&found).map_or(Witness::Nobody, Witness::Somebody);
        }
    }

    /// Page info, if it is wanted.
    pub(super) fn page<V: Visibility>(
        &self,
        reader: &Reader<'_, V>,
        body: &Body,
    ) -> Option<PageInfo> {
        self.page.map(|_| self.page_info(reader, body))
    }

    fn page_info<V: Visibility>(&self, reader: &Reader<'_, V>, body: &Body) -> PageInfo {
        let shown = self.pane.shown(self.list.len());
        let at = |rank: usize| {
            let entry = self.list.get(rank).filter(|_| shown > 0)?;
            reader.cursor(body, entry.handle)
        };
        let (near, far) = (at(self.pane.skip), at((self.pane.skip + shown).saturating_sub(1)));
        let page = &body.page;
        let empty = shown == 0;
        let skips = page.offset.is_some_and(|offset| offset > 0);
        // In the direction in which the page is counted.
        let skipped = !empty && (self.pane.skip > 0 || self.ahead.is_there());
        let rest = self.list.len() > self.pane.end();
        let follows = !empty && (rest || self.beyond.is_there());
        let (start, end) = if self.pane.reversed { (far, near) } else { (near, far) };
        let has_next = match (page.limit.is_some(), page.before.is_some(), page.last) {
            (false, false, _) => false,
            (true, false, false) => rest,
            (_, _, false) => follows,
            (_, _, true) => skipped,
        };
        let has_previous = match (page.after.is_some(), page.last) {
            (after, _) if empty && (skips || after) => true,
            (false, false) if !skips => false,
            (false, true) => rest,
            (_, false) => skipped,
            (_, true) => follows,
        };
        PageInfo { start, end, has_next, has_previous }
    }
}
