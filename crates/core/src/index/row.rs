//! Rows: all facts of one entity.

use std::sync::Arc;

use super::shape::{Shape, Shapes};
use crate::id::EntityId;
use crate::value::Value;

/// An entity, interned in one index. Only meaningful there, and only while the entity has facts or is
/// linked to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub(crate) u32);

/// An attribute, interned in one index. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AttrSlot(pub(crate) u32);

/// The far end of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// The target, which need not exist as an entity.
    pub target: EntityId,
    /// The target's handle.
    pub handle: Handle,
    /// When the link was made, in milliseconds since 1970.
    pub created_at: i64,
}

/// What an entity holds under one attribute.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cell<'a> {
    /// Data.
    Data {
        /// The value.
        value: &'a Value,
        /// When a value was first written, in milliseconds since 1970.
        created_at: i64,
    },
    /// Links. Never empty.
    Links(Links<'a>),
}

/// Links of one entity under one attribute, sorted by the target's handle.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Links<'a> {
    one: Option<Link>,
    many: &'a [Link],
}

impl<'a> Links<'a> {
    /// How many there are.
    pub const fn len(self) -> usize {
        if self.one.is_some() { 1 } else { self.many.len() }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The one with the smallest handle.
    pub fn first(self) -> Option<Link> {
        self.one.or_else(|| self.many.first().copied())
    }

    /// The link to a target.
    #[inline]
    pub fn find(self, target: Handle) -> Option<Link> {
        match self.one {
            Some(link) => (link.handle == target).then_some(link),
            None => {
                let at = self.many.binary_search_by_key(&target, |link| link.handle).ok()?;
                Some(self.many[at])
            }
        }
    }

    /// Each link.
    #[inline]
    pub fn iter(self) -> impl ExactSizeIterator<Item = Link> + 'a {
        self.into_iter()
    }
}

impl<'a> IntoIterator for Links<'a> {
    type Item = Link;
    type IntoIter = LinksIter<'a>;

    #[inline]
    fn into_iter(self) -> LinksIter<'a> {
        LinksIter { one: self.one, many: self.many.iter() }
    }
}

/// Iterates over [`Links`].
#[derive(Clone, Debug)]
pub struct LinksIter<'a> {
    one: Option<Link>,
    many: std::slice::Iter<'a, Link>,
}

impl Iterator for LinksIter<'_> {
    type Item = Link;

    #[inline]
    fn next(&mut self) -> Option<Link> {
        self.one.take().or_else(|| self.many.next().copied())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = usize::from(self.one.is_some()) + self.many.len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for LinksIter<'_> {}

/// All facts of one entity, over all its namespaces. Shared and immutable from outside.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    id: EntityId,
    /// When every cell was first written that `times` does not speak of.
    created_at: i64,
    shape: Arc<Shape>,
    /// As the shape says.
    cells: Box<[Held]>,
    times: Times,
}

/// The times of a row's cells where they are not all the same, cell by cell. Boxed twice: seldom there.
type Times = Option<Box<Box<[i64]>>>;

/// The content of a cell.
#[derive(Clone, PartialEq, Debug)]
enum Held {
    Data(Value),
    /// The one target, as most links have.
    One(EntityId, Handle),
    /// More than one, sorted by handle. There may be very many, so that room to grow pays; boxed because
    /// few cells need it.
    #[allow(clippy::box_collection, reason = "a list in place would make every cell larger")]
    Many(Box<Vec<Link>>),
}

impl Row {
    pub(super) fn new(id: EntityId, shapes: &Shapes) -> Self {
        Self { id, created_at: 0, shape: shapes.empty(), cells: Box::default(), times: None }
    }

    /// The entity.
    pub const fn id(&self) -> EntityId {
        self.id
    }

    /// What the entity holds under an attribute.
    pub fn cell(&self, slot: AttrSlot) -> Option<Cell<'_>> {
        self.position(slot).map(|at| self.at(at))
    }

    /// Whether the entity holds an attribute.
    #[inline]
    pub fn holds(&self, slot: AttrSlot) -> bool {
        self.position(slot).is_some()
    }

    /// The data value under an attribute; `None` for links and for missing values.
    #[inline]
    pub fn value(&self, slot: AttrSlot) -> Option<&Value> {
        match &self.cells[self.position(slot)?] {
            Held::Data(value) => Some(value),
            Held::One(..) | Held::Many(_) => None,
        }
    }

    /// The links under an attribute.
    #[inline]
    pub fn links(&self, slot: AttrSlot) -> Links<'_> {
        match self.cell(slot) {
            Some(Cell::Links(links)) => links,
            _ => Links::default(),
        }
    }

    /// When the data under an attribute was first written; for the `id` attribute this is the entity's
    /// creation time.
    #[inline]
    pub fn created_at(&self, slot: AttrSlot) -> Option<i64> {
        let at = self.position(slot)?;
        match &self.cells[at] {
            Held::Many(links) => links.first().map(|link| link.created_at),
            _ => Some(self.time(at)),
        }
    }

    /// Everything the entity holds, by slot.
    pub fn cells(&self) -> impl Iterator<Item = (AttrSlot, Cell<'_>)> {
        self.shape.slots.iter().enumerate().map(|(at, slot)| (*slot, self.at(at)))
    }

    #[inline]
    fn position(&self, slot: AttrSlot) -> Option<usize> {
        self.shape.position(slot).ok()
    }

    #[inline]
    fn time(&self, at: usize) -> i64 {
        self.times.as_ref().map_or(self.created_at, |times| times[at])
    }

    #[inline]
    fn at(&self, at: usize) -> Cell<'_> {
        let created_at = self.time(at);
        match &self.cells[at] {
            Held::Data(value) => Cell::Data { value, created_at },
            Held::One(target, handle) => {
                let one = Some(Link { target: *target, handle: *handle, created_at });
                Cell::Links(Links { one, many: &[] })
            }
            Held::Many(many) => Cell::Links(Links { one: None, many }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Sets a data value; gives the one before.
    pub(super) fn set(
        &mut self,
        slot: AttrSlot,
        value: Value,
        created_at: i64,
        shapes: &mut Shapes,
    ) -> Option<(Value, i64)> {
        match self.shape.position(slot) {
            Ok(at) => {
                let before = self.time(at);
                let old = std::mem::replace(&mut self.cells[at], Held::Data(value));
                self.set_time(at, created_at);
                match old {
                    Held::Data(value) => Some((value, before)),
                    Held::One(..) | Held::Many(_) => None,
                }
            }
            Err(at) => {
                self.put_in(at, slot, Held::Data(value), created_at, shapes);
                None
            }
        }
    }

    /// Removes a data value and gives it back.
    pub(super) fn unset(&mut self, slot: AttrSlot, shapes: &mut Shapes) -> Option<(Value, i64)> {
        let at = self.position(slot)?;
        let before = self.time(at);
        match self.take_out(at, shapes) {
            Held::Data(value) => Some((value, before)),
            Held::One(..) | Held::Many(_) => None,
        }
    }

    /// Adds a link; whether it was not there.
    pub(super) fn link(&mut self, slot: AttrSlot, link: Link, shapes: &mut Shapes) -> bool {
        let Link { target, handle, created_at } = link;
        let at = match self.shape.position(slot) {
            Ok(at) => at,
            Err(at) => {
                self.put_in(at, slot, Held::One(target, handle), created_at, shapes);
                return true;
            }
        };
        let before = self.time(at);
        match &mut self.cells[at] {
            Held::Data(_) => return false,
            Held::One(_, known) if *known == handle => return false,
            Held::One(target, known) => {
                let known = Link { target: *target, handle: *known, created_at: before };
                let mut pair = [known, link];
                pair.sort_unstable_by_key(|link| link.handle);
                self.cells[at] = Held::Many(Box::new(pair.into()));
            }
            Held::Many(links) => {
                let Err(place) = links.binary_search_by_key(&handle, |link| link.handle) else {
                    return false;
                };
                links.insert(place, link);
            }
        }
        true
    }

    /// Removes a link. Gives whether it was there, and whether it was the last.
    pub(super) fn unlink(
        &mut self,
        slot: AttrSlot,
        target: Handle,
        shapes: &mut Shapes,
    ) -> (bool, bool) {
        let Some(at) = self.position(slot) else { return (false, false) };
        let last = match &mut self.cells[at] {
            Held::Data(_) => return (false, false),
            Held::One(_, known) if *known == target => {
                self.take_out(at, shapes);
                return (true, true);
            }
            Held::One(..) => return (false, false),
            Held::Many(links) => {
                let Ok(place) = links.binary_search_by_key(&target, |link| link.handle) else {
                    return (false, false);
                };
                links.remove(place);
                match links[..] {
                    [last] => last,
                    _ => return (true, false),
                }
            }
        };
        self.cells[at] = Held::One(last.target, last.handle);
        self.set_time(at, last.created_at);
        (true, false)
    }

    fn put_in(
        &mut self,
        at: usize,
        slot: AttrSlot,
        held: Held,
        created_at: i64,
        shapes: &mut Shapes,
    ) {
        if self.cells.is_empty() {
            self.created_at = created_at;
        }
        shapes.grow(&mut self.shape, at, slot);
        insert_at(&mut self.cells, at, held);
        match &mut self.times {
            Some(times) => insert_at(times, at, created_at),
            None if created_at == self.created_at => {}
            None => {
                let mut times = vec![self.created_at; self.cells.len()];
                times[at] = created_at;
                self.times = Some(Box::new(times.into()));
            }
        }
    }

    fn take_out(&mut self, at: usize, shapes: &mut Shapes) -> Held {
        shapes.shrink(&mut self.shape, at);
        if let Some(times) = &mut self.times {
            remove_at(times, at);
        }
        let held = remove_at(&mut self.cells, at);
        self.share_time();
        held
    }

    fn set_time(&mut self, at: usize, created_at: i64) {
        match &mut self.times {
            Some(times) => times[at] = created_at,
            None if created_at == self.created_at => return,
            None => {
                let mut times = vec![self.created_at; self.cells.len()];
                times[at] = created_at;
                self.times = Some(Box::new(times.into()));
            }
        }
        self.share_time();
    }

    /// Keeps one time for all cells, if they have one.
    fn share_time(&mut self) {
        if let Some(times) = &self.times
            && times.iter().all(|time| *time == times[0])
        {
            self.created_at = times.first().copied().unwrap_or(self.created_at);
            self.times = None;
        }
    }
}

/// Boxed slices grow by exactly one: there are many rows, and each is finished soon.
fn insert_at<T>(slice: &mut Box<[T]>, at: usize, item: T) {
    let mut items = std::mem::take(slice).into_vec();
    items.reserve_exact(1);
    items.insert(at, item);
    *slice = items.into_boxed_slice();
}

fn remove_at<T>(slice: &mut Box<[T]>, at: usize) -> T {
    let mut items = std::mem::take(slice).into_vec();
    let item = items.remove(at);
    *slice = items.into_boxed_slice();
    item
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn link(n: u32, created_at: i64) -> Link {
        let target = EntityId(Uuid::from_u128(u128::from(n)));
        Link { target, handle: Handle(n), created_at }
    }

    #[test]
    fn rows_are_small() {
        assert_eq!(size_of::<Held>(), size_of::<Value>());
        assert!(size_of::<Row>() <= 56, "{}", size_of::<Row>());
    }

    #[test]
    fn times_are_kept_apart_only_where_they_differ() {
        let shapes = &mut Shapes::default();
        let mut row = Row::new(EntityId(Uuid::nil()), shapes);
        let [a, b, c] = [AttrSlot(1), AttrSlot(2), AttrSlot(3)];
        row.set(b, Value::Int(1), 10, shapes);
        row.set(c, Value::Int(2), 10, shapes);
        assert!(row.times.is_none());
        row.set(a, Value::Int(3), 20, shapes);
        assert_eq!([a, b, c].map(|slot| row.created_at(slot)), [Some(20), Some(10), Some(10)]);
        assert_eq!(row.set(a, Value::Int(4), 10, shapes), Some((Value::Int(3), 20)));
        assert!(row.times.is_none());
        row.set(c, Value::Null, 30, shapes);
        assert_eq!(row.unset(b, shapes), Some((Value::Int(1), 10)));
        assert_eq!([a, b, c].map(|slot| row.created_at(slot)), [Some(10), None, Some(30)]);
        assert_eq!(row.unset(a, shapes), Some((Value::Int(4), 10)));
        assert!(row.times.is_none());
        assert_eq!(row.created_at(c), Some(30));
        row.unset(c, shapes);
        assert!(row.is_empty());
    }

    #[test]
    fn links_have_their_own_times_whatever_their_number() {
        let shapes = &mut Shapes::default();
        let mut row = Row::new(EntityId(Uuid::nil()), shapes);
        let slot = AttrSlot(1);
        assert!(row.link(slot, link(7, 1), shapes));
        assert!(!row.link(slot, link(7, 2), shapes));
        assert_eq!(row.links(slot).first(), Some(link(7, 1)));
        assert!(row.link(slot, link(3, 2), shapes));
        assert!(row.link(slot, link(5, 3), shapes));
        assert!(!row.link(slot, link(5, 4), shapes));
        let all: Vec<Link> = row.links(slot).iter().collect();
        assert_eq!(all, [link(3, 2), link(5, 3), link(7, 1)]);
        assert_eq!(row.links(slot).find(Handle(5)), Some(link(5, 3)));
        assert_eq!(row.links(slot).find(Handle(4)), None);
        assert_eq!(row.unlink(slot, Handle(4), shapes), (false, false));
        assert_eq!(row.unlink(slot, Handle(7), shapes), (true, false));
        assert_eq!(row.unlink(slot, Handle(3), shapes), (true, false));
        assert_eq!(row.links(slot).first(), Some(link(5, 3)));
        assert_eq!(row.links(slot).len(), 1);
        assert_eq!(row.unlink(slot, Handle(5), shapes), (true, true));
        assert!(row.is_empty());
    }
}
