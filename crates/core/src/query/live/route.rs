//! Which live queries a commit can touch, found without looking at each of them.
//!
//! Queries that differ only in their constants are of one *class*: the same attributes matter to them, and
//! from a changed fact the same links lead back to the entities of their top form. Such an entity is asked
//! once for each class for the value that the class discriminates by, before the commit and now, and that
//! value names the queries.

use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::{FxBuildHasher, FxHasher};

use crate::attr::CheckedType;
use crate::catalog::Direction;
use crate::id::EntityId;
use crate::index::{AttrSlot, Cell, Handle, SortKey, TripleIndex};
use crate::query::condition::{Cond, Leaf, Reader, Scope, Step, Way};
use crate::query::form::Comparison;
use crate::query::plan::{Body, OrderKey, Plan};
use crate::query::test::{Bound, Test};
use crate::query::visibility::AllVisible;
use crate::value::Value;

use super::delta::Delta;
use super::reach::{Near, Watch, membership};
use super::set::LiveId;

/// Values that one query may be entered under; with more it counts as one without an equality.
const VALUES_MAX: usize = 64;

/// Links walked back, or looked at, for one entity before all queries of a class are taken instead.
const WALK_MAX: usize = 256;

/// How one top form of a query is found from a changed fact.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    watches: Vec<Watch>,
    pick: Pick,
}

/// What an entity must hold to be of interest to one query: before a commit or after it.
#[derive(Clone, Debug)]
enum Pick {
    /// One of these under an attribute, by hash. A wrong guess costs a look at the query, no more.
    Values(AttrSlot, Vec<u64>),
    /// A value of an interval.
    Between(AttrSlot, Interval),
    /// Anything.
    Any,
}

/// An interval of values, ends included.
#[derive(Clone, Debug)]
struct Interval {
    low: Option<SortKey>,
    high: Option<SortKey>,
}

impl Interval {
    fn contains(&self, key: &SortKey) -> bool {
        self.low.as_ref().is_none_or(|low| low <= key)
            && self.high.as_ref().is_none_or(|high| key <= high)
    }
}

fn hash(value: &Value) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

/// How the top forms of a plan are found.
pub(super) fn registrations(plan: &Plan, index: &TripleIndex) -> Vec<Registration> {
    let forms = plan.forms.iter().filter_map(|form| Some((form, form.body.as_ref()?)));
    let is_entangled = is_entangled(plan);
    forms
        .map(|(form, body)| {
            let mut watches = Vec::new();
            collect(body, &[], &mut watches);
            for slot in form.aggregate.iter().flat_map(|aggregate| aggregate.slots()) {
                let watch = Watch { slot, near: Near::Holder, back: Box::new([]) };
                if !watches.contains(&watch) {
                    watches.push(watch);
                }
            }
            if is_entangled {
                return by_attribute(&watches);
            }
            let pick = body.filter.as_ref().and_then(|filter| pick(filter, index));
            Registration { watches, pick: pick.unwrap_or(Pick::Any) }
        })
        .collect()
}

/// Anything that happens to one of the attributes is of interest.
fn by_attribute(watches: &[Watch]) -> Registration {
    let mut slots: Vec<AttrSlot> = watches.iter().map(|watch| watch.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    let watch = |slot| Watch { slot, near: Near::Holder, back: Box::new([]) };
    Registration { watches: slots.into_iter().map(watch).collect(), pick: Pick::Any }
}

/// Whether entities found for one form are told more of because of another: they are of a namespace in
/// which the other judges by what is missing, or orders by an attribute.
fn is_entangled(plan: &Plan) -> bool {
    let mut spaces: Vec<(AttrSlot, bool)> = Vec::new();
    plan.forms
        .iter()
        .filter_map(|form| form.body.as_ref())
        .for_each(|body| look(body, &mut spaces));
    spaces.iter().enumerate().any(|(at, (space, is_sensitive))| {
        let others = || spaces.iter().enumerate().filter(|(other, _)| *other != at);
        *is_sensitive && others().any(|(_, (other, _))| other == space)
    })
}

fn look(body: &Body, spaces: &mut Vec<(AttrSlot, bool)>) {
    let by_attr = matches!(body.order.by, OrderKey::Attr(..));
    spaces.push((body.space, by_attr || !body.negatives.is_empty()));
    body.filter.iter().for_each(|filter| look_at_paths(filter, spaces));
    body.children.iter().filter_map(|form| form.body.as_ref()).for_each(|body| look(body, spaces));
}

fn look_at_paths(cond: &Cond, spaces: &mut Vec<(AttrSlot, bool)>) {
    match cond {
        Cond::Exists(scope) => {
            spaces.extend(scope.vars[1..].iter().filter_map(|var| Some((var.space?, false))));
        }
        Cond::All(conds) | Cond::Any(conds) => {
            conds.iter().for_each(|cond| look_at_paths(cond, spaces));
        }
        Cond::IdPrefix(_) => {}
    }
}

/// Everything that matters to a form and those below, each with the way back to the top form's entity.
fn collect(body: &Body, back: &[Step], watches: &mut Vec<Watch>) {
    let mut add = |slot, near, first: &[Step]| {
        let back = first.iter().chain(back).copied().collect();
        let watch = Watch { slot, near, back };
        if !watches.contains(&watch) {
            watches.push(watch);
        }
    };
    for watch in membership(body) {
        add(watch.slot, watch.near, &watch.back);
    }
    for column in body.columns.0.iter() {
        add(column.slot, Near::Holder, &[]);
    }
    for child in body.children.iter().filter_map(|form| form.body.as_ref()) {
        let Some(step) = child.link else { continue };
        let back: Vec<Step> = std::iter::once(step).chain(back.iter().copied()).collect();
        let near = Watch { slot: step.slot, near: Near::of(step), back: back[1..].into() };
        if !watches.contains(&near) {
            watches.push(near);
        }
        collect(child, &back, watches);
    }
}

/// The condition that tells queries of one class apart best.
fn pick(filter: &Cond, index: &TripleIndex) -> Option<Pick> {
    let mut best: Option<(u8, Pick)> = None;
    let mut offer = |rank: u8, pick: Pick| {
        if best.as_ref().is_none_or(|(known, _)| rank < *known) {
            best = Some((rank, pick));
        }
    };
    let conds = match filter {
        Cond::All(conds) => conds.as_slice(),
        one => std::slice::from_ref(one),
    };
    for cond in conds {
        let Cond::Exists(scope) = cond else { continue };
        for leaf in &scope.vars[0].leaves {
            for test in &leaf.tests {
                if let Some((rank, pick)) = pick_by(leaf, test, index) {
                    offer(rank, pick);
                }
            }
        }
        linked(scope, index).into_iter().for_each(|pick| offer(2, pick));
    }
    best.map(|(_, pick)| pick)
}

fn pick_by(leaf: &Leaf, test: &Test, index: &TripleIndex) -> Option<(u8, Pick)> {
    let attr = index.catalog().get(index.attr_id(leaf.slot))?;
    match (test, leaf.way) {
        (Test::Is(values), Way::Data) => {
            let values: Vec<u64> = values.iter().map(hash).collect();
            let rank = if attr.unique { 0 } else { 1 };
            (values.len() <= VALUES_MAX).then_some((rank, Pick::Values(leaf.slot, values)))
        }
        (Test::Target(ids), Way::Link(step)) if step.direction == Direction::Forward => {
            let values: Vec<u64> = ids.iter().map(|id| hash(&Value::Ref(*id))).collect();
            (values.len() <= VALUES_MAX).then_some((2, Pick::Values(leaf.slot, values)))
        }
        (Test::Order(how, bound), Way::Data) => {
            let key = match bound {
                Bound::Instant(ms) => SortKey::Instant(*ms),
                Bound::Value(value) => index.sort_key(leaf.slot, value),
            };
            // Keys are coarser than values, so the operand's own key always belongs.
            let interval = match how {
                Comparison::Greater | Comparison::GreaterOrEqual => {
                    Interval { low: Some(key), high: None }
                }
                Comparison::Less | Comparison::LessOrEqual => {
                    Interval { low: None, high: Some(key) }
                }
            };
            Some((4, Pick::Between(leaf.slot, interval)))
        }
        (Test::Instant { at, or_null: false }, Way::Data)
            if attr.settled_type() == Some(CheckedType::Date) =>
        {
            let end = |ms: Option<&i64>| ms.map(|ms| SortKey::Instant(*ms));
            let interval = Interval { low: end(at.iter().min()), high: end(at.iter().max()) };
            (!at.is_empty()).then_some((3, Pick::Between(leaf.slot, interval)))
        }
        _ => None,
    }
}

/// `owner.id = X`: the link itself leads to X.
fn linked(scope: &Scope, index: &TripleIndex) -> Option<Pick> {
    scope.vars.iter().find_map(|var| {
        let (0, step) = *var.from.first()? else { return None };
        if step.direction != Direction::Forward {
            return None;
        }
        let ids = var.leaves.iter().find_map(|leaf| {
            let is_id = index.catalog().get(index.attr_id(leaf.slot))?.is_id();
            leaf.tests.iter().filter(|_| is_id).find_map(|test| match test {
                Test::Is(values) => Some(values.iter().map(hash).collect::<Vec<_>>()),
                _ => None,
            })
        })?;
        (ids.len() <= VALUES_MAX).then_some(Pick::Values(step.slot, ids))
    })
}

/// Queries of one class.
#[derive(Debug, Default)]
struct Class {
    watches: Arc<[Watch]>,
    /// The attribute by whose value members are told apart.
    by: Option<AttrSlot>,
    values: HashMap<u64, Ids, FxBuildHasher>,
    intervals: Vec<(Interval, LiveId)>,
    rest: Vec<LiveId>,
    len: usize,
}

/// One or more ids; mostly one.
#[derive(Debug)]
enum Ids {
    One(LiveId),
    Many(Vec<LiveId>),
}

impl Ids {
    fn as_slice(&self) -> &[LiveId] {
        match self {
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: LiveId) {
        match self {
            Self::One(first) => *self = Self::Many(vec![*first, id]),
            Self::Many(ids) => ids.push(id),
        }
    }

    /// Removes an id; whether none is left.
    fn remove(&mut self, id: LiveId) -> bool {
        match self {
            Self::One(only) => *only == id,
            Self::Many(ids) => {
                ids.retain(|known| *known != id);
                ids.is_empty()
            }
        }
    }
}

/// Where a query is entered.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    class: u32,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Values(Box<[u64]>),
    Between,
    Any,
}

/// Names a class.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct ClassKey {
    watches: Arc<[Watch]>,
    by: Option<AttrSlot>,
}

/// From changed facts to the queries that they can touch.
#[derive(Debug, Default)]
pub(super) struct Routes {
    classes: Vec<Class>,
    free: Vec<u32>,
    by_key: HashMap<ClassKey, u32, FxBuildHasher>,
    /// By attribute, the classes to which it matters, each with the place of the watch.
    by_slot: HashMap<AttrSlot, Vec<(u32, u32)>, FxBuildHasher>,
}

impl Routes {
    /// Enters a query; gives what [`Self::leave`] needs.
    pub(super) fn enter(&mut self, id: LiveId, registrations: Vec<Registration>) -> Box<[Seat]> {
        let seats = registrations.into_iter().map(|Registration { watches, pick }| {
            let by = match &pick {
                Pick::Values(slot, _) | Pick::Between(slot, _) => Some(*slot),
                Pick::Any => None,
            };
            let at = self.class(ClassKey { watches: watches.into(), by });
            let class = &mut self.classes[at as usize];
            class.len += 1;
            let how = match pick {
                Pick::Values(_, values) => {
                    for value in &values {
                        match class.values.get_mut(value) {
                            Some(ids) => ids.push(id),
                            None => drop(class.values.insert(*value, Ids::One(id))),
                        }
                    }
                    How::Values(values.into())
                }
                Pick::Between(_, interval) => {
                    class.intervals.push((interval, id));
                    How::Between
                }
                Pick::Any => {
                    class.rest.push(id);
                    How::Any
                }
            };
            Seat { class: at, how }
        });
        seats.collect()
    }

    fn class(&mut self, key: ClassKey) -> u32 {
        if let Some(at) = self.by_key.get(&key) {
            return *at;
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.classes.push(Class::default());
            u32::try_from(self.classes.len() - 1).unwrap_or(u32::MAX)
        });
        for (place, watch) in (0..).zip(key.watches.iter()) {
            self.by_slot.entry(watch.slot).or_default().push((at, place));
        }
        let (watches, by) = (key.watches.clone(), key.by);
        self.classes[at as usize] = Class { watches, by, ..Class::default() };
        self.by_key.insert(key, at);
        at
    }

    /// Forgets a query.
    pub(super) fn leave(&mut self, id: LiveId, seats: &[Seat]) {
        for seat in seats {
            let class = &mut self.classes[seat.class as usize];
            class.len -= 1;
            match &seat.how {
                How::Values(values) => {
                    for value in values {
                        if class.values.get_mut(value).is_some_and(|ids| ids.remove(id)) {
                            class.values.remove(value);
                        }
                    }
                }
                How::Between => class.intervals.retain(|(_, known)| *known != id),
                How::Any => class.rest.retain(|known| *known != id),
            }
            if class.len == 0 {
                self.close(seat.class);
            }
        }
    }

    fn close(&mut self, at: u32) {
        let Class { watches, by, .. } = std::mem::take(&mut self.classes[at as usize]);
        for watch in watches.iter() {
            if let Some(classes) = self.by_slot.get_mut(&watch.slot) {
                classes.retain(|(class, _)| *class != at);
                if classes.is_empty() {
                    self.by_slot.remove(&watch.slot);
                }
            }
        }
        self.by_key.remove(&ClassKey { watches, by });
        self.free.push(at);
    }

    /// Adds the queries that a delta can touch, in no order, some perhaps twice.
    pub(super) fn touched(&self, index: &TripleIndex, delta: &Delta<'_>, found: &mut Vec<LiveId>) {
        let reader = Reader::new(index, &AllVisible);
        let mut asked: Vec<(u32, EntityId)> = Vec::new();
        let mut whole: Vec<u32> = Vec::new();
        let mut walked = Vec::new();
        for fact in delta.facts() {
            let Some(classes) = self.by_slot.get(&fact.slot) else { continue };
            for (at, place) in classes {
                let watch = &self.classes[*at as usize].watches[*place as usize];
                for near in watch.near.ends(fact) {
                    if watch.back.is_empty() {
                        asked.push((*at, near));
                        continue;
                    }
                    walked.clear();
                    if walk(&reader, near, &watch.back, &mut walked) {
                        asked.extend(walked.iter().map(|root| (*at, index.entity(*root))));
                    } else {
                        whole.push(*at);
                    }
                }
            }
        }
        whole.sort_unstable();
        whole.dedup();
        whole.iter().for_each(|at| self.classes[*at as usize].all(found));
        if asked.len() > 1 {
            asked.sort_unstable();
            asked.dedup();
        }
        for (at, entity) in asked {
            if whole.binary_search(&at).is_err() {
                self.classes[at as usize].ask(index, delta, entity, found);
            }
        }
    }

    /// Whether no query is entered.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.by_slot.is_empty()
    }
}

/// Walks from an entity back through links; whether it led to few enough.
fn walk(
    reader: &Reader<'_, AllVisible>,
    near: EntityId,
    back: &[Step],
    found: &mut Vec<Handle>,
) -> bool {
    found.extend(reader.index.handle(near));
    for step in back {
        let mut before = Vec::new();
        for entity in found.iter() {
            let more = match step.direction {
                Direction::Forward => reader.index.sources(step.slot, *entity).len(),
                Direction::Reverse => {
                    reader.index.row_at(*entity).map_or(0, |row| row.links(step.slot).len())
                }
            };
            if before.len() + more > WALK_MAX {
                return false;
            }
            reader.extend_back(*step, *entity, &mut before);
        }
        before.sort_unstable();
        before.dedup();
        *found = before;
    }
    true
}

impl Class {
    fn all(&self, found: &mut Vec<LiveId>) {
        self.values.values().for_each(|ids| found.extend(ids.as_slice()));
        found.extend(self.intervals.iter().map(|(_, id)| *id));
        found.extend(&self.rest);
    }

    /// Adds the members to which an entity belongs, or did before the delta.
    fn ask(
        &self,
        index: &TripleIndex,
        delta: &Delta<'_>,
        entity: EntityId,
        found: &mut Vec<LiveId>,
    ) {
        found.extend(&self.rest);
        let Some(slot) = self.by else { return };
        match index.row(entity).and_then(|row| row.cell(slot)) {
            Some(Cell::Data { value, .. }) => self.ask_value(index, slot, value, found),
            Some(Cell::Links(links)) if links.len() > WALK_MAX => return self.all(found),
            Some(Cell::Links(links)) => {
                for link in links {
                    self.ask_value(index, slot, &Value::Ref(link.target), found);
                }
            }
            None => {}
        }
        // What was between the first and the last of several changes never showed.
        for fact in delta.of(entity, slot) {
            let Some(old) = &fact.change.old else { continue };
            match (&old.0, index.catalog().get(fact.change.attr)) {
                // A commit that was read back holds ids as text.
                (Value::String(_), Some(attr)) => {
                    self.ask_value(index, slot, &attr.coerce(old.0.clone()), found);
                }
                (value, _) => self.ask_value(index, slot, value, found),
            }
        }
    }

    fn ask_value(
        &self,
        index: &TripleIndex,
        slot: AttrSlot,
        value: &Value,
        found: &mut Vec<LiveId>,
    ) {
        if !self.values.is_empty()
            && let Some(ids) = self.values.get(&hash(value))
        {
            found.extend(ids.as_slice());
        }
        if !self.intervals.is_empty() {
            let key = index.sort_key(slot, value);
            let within = self.intervals.iter().filter(|(interval, _)| interval.contains(&key));
            found.extend(within.map(|(_, id)| *id));
        }
    }
}
