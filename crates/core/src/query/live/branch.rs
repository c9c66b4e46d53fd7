//! The rows of a child form: an ordered list below each entity of the form around it.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::catalog::Direction;
use crate::id::EntityId;
use crate::index::Handle;
use crate::query::condition::Step;
use crate::query::form::Form;
use crate::query::plan::{Body, FormPlan};
use crate::query::visibility::Visibility;

use super::change::{Change, LevelId, Pane, RowChange, RowChangeKind, Settled, Shifts};
use super::live_query::Context;
use super::ordered::{Entry, OrderedList};
use super::reach::{Near, Reached, Watch, membership};

type ByEntity<T> = HashMap<EntityId, T, FxBuildHasher>;

/// The rows of a child form.
#[derive(Clone, Debug)]
pub(super) struct LiveBranch {
    pub(super) level: LevelId,
    pub(super) pane: Pane,
    watches: Box<[Watch]>,
    /// All children that belong, by the entity they hang from.
    pub(super) lists: ByEntity<OrderedList>,
    /// In how many lists a row shows, kept if there are forms below.
    shows: ByEntity<u32>,
    /// The child forms, by their place; `None` where a name does not exist.
    pub(super) below: Vec<Option<Self>>,
}

/// The child forms of a form. Levels are numbered on.
pub(super) fn branches(plan: &FormPlan, form: &Form, next: &mut u32) -> Vec<Option<LiveBranch>> {
    let Some(body) = &plan.body else {
        form.children.iter().for_each(|child| skip_levels(child, next));
        return Vec::new();
    };
    let children = body.children.iter().zip(&form.children);
    children.map(|(plan, form)| LiveBranch::new(plan, form, next)).collect()
}

fn skip_levels(form: &Form, next: &mut u32) {
    *next += 1;
    form.children.iter().for_each(|child| skip_levels(child, next));
}

/// Hands the entities that came to a form, and those that went, to the forms below it.
pub(super) fn apply_below<V: Visibility>(
    branches: &mut [Option<LiveBranch>],
    cx: &mut Context<'_, V>,
    body: &Body,
    entered: &[EntityId],
    left: &[EntityId],
    change: &mut Change,
) {
    for (branch, plan) in branches.iter_mut().zip(&body.children) {
        if let (Some(branch), Some(body)) = (branch, &plan.body) {
            branch.apply(cx, body, entered, left, change);
        }
    }
}

impl LiveBranch {
    fn new(plan: &FormPlan, form: &Form, next: &mut u32) -> Option<Self> {
        let level = LevelId(*next);
        *next += 1;
        let below = branches(plan, form, next);
        let body = plan.body.as_ref()?;
        body.link?;
        let reversed = body.page.last;
        let pane = Pane { skip: 0, limit: body.page.limit.unwrap_or(usize::MAX), reversed };
        let (lists, shows) = (HashMap::default(), HashMap::default());
        Some(Self { level, pane, watches: membership(body).into(), lists, shows, below })
    }

    fn apply<V: Visibility>(
        &mut self,
        cx: &mut Context<'_, V>,
        body: &Body,
        entered: &[EntityId],
        left: &[EntityId],
        change: &mut Change,
    ) {
        let Some(step) = body.link else { return };
        change.evidence |= cx.delta.touches(&self.watches);
        let mut counted = Counted::new(!self.below.is_empty());
        for parent in left {
            if let Some(list) = self.lists.remove(parent) {
                self.pane.rows(&list).into_iter().for_each(|row| counted.less(row.entity));
            }
        }
        let pairs = self.pairs(cx, body, step);
        for pairs in pairs.chunk_by(|a, b| a.0 == b.0) {
            let settled = self.judge(cx, body, step, pairs, change);
            settled.left.iter().for_each(|row| counted.less(*row));
            settled.entered.iter().for_each(|(row, _)| counted.more(*row));
        }
        for parent in entered {
            let list = self.collect(cx, body, step, *parent);
            for (at, row) in self.pane.rows(&list).into_iter().enumerate() {
                counted.more(row.entity);
                let (level, parent, entity) = (self.level, Some(*parent), row.entity);
                let kind = RowChangeKind::Entered(at);
                change.rows.push(RowChange { level, parent, entity, kind });
            }
            self.lists.insert(*parent, list);
        }
        if !self.below.is_empty() {
            let (entered, left) = counted.settle(&mut self.shows);
            apply_below(&mut self.below, cx, body, &entered, &left, change);
        }
    }

    /// The children of an entity.
    fn collect<V: Visibility>(
        &self,
        cx: &Context<'_, V>,
        body: &Body,
        step: Step,
        parent: EntityId,
    ) -> OrderedList {
        let sense = Pane::kept(body.order.sense, self.pane.reversed);
        let Some(parent) = cx.reader.index.handle(parent) else { return OrderedList::new(sense) };
        let mut entries: Vec<Entry> = Vec::new();
        cx.reader.any_linked(parent, step, |child| {
            if cx.reader.admits(body, child) {
                entries.push(cx.reader.entry(body, child));
            }
            false
        });
        OrderedList::of(sense, entries)
    }

    /// The children to judge again, each with an entity that it hangs from or did. Sorted.
    fn pairs<V: Visibility>(
        &self,
        cx: &Context<'_, V>,
        body: &Body,
        step: Step,
    ) -> Vec<(EntityId, Reached)> {
        if self.lists.is_empty() {
            return Vec::new();
        }
        let index = cx.reader.index;
        let mut pairs = Vec::new();
        let of = |entity| Reached { entity, handle: index.handle(entity) };
        for fact in cx.delta.facts().iter().filter(|fact| fact.slot == step.slot) {
            for target in Near::Target.ends(fact) {
                let (parent, child) = match step.direction {
                    Direction::Forward => (fact.entity, target),
                    Direction::Reverse => (target, fact.entity),
                };
                if self.lists.contains_key(&parent) {
                    pairs.push((parent, of(child)));
                }
            }
        }
        let mut children = cx.reader.reached(cx.delta, &self.watches);
        children.extend(cx.changed_columns(body).into_iter().map(of));
        children.sort_unstable();
        children.dedup();
        for child in children {
            let Some(handle) = child.handle else { continue };
            self.parents(cx, step, handle, |parent| pairs.push((parent, child)));
        }
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    }

    /// Visits the entities with a list here from which a child hangs.
    fn parents<V: Visibility>(
        &self,
        cx: &Context<'_, V>,
        step: Step,
        child: Handle,
        mut visit: impl FnMut(EntityId),
    ) {
        let index = cx.reader.index;
        let many = match step.direction {
            Direction::Forward => index.sources(step.slot, child).len(),
            Direction::Reverse => index.row_at(child).map_or(0, |row| row.links(step.slot).len()),
        };
        if many <= self.lists.len() {
            let mut parents = Vec::with_capacity(many);
            cx.reader.extend_back(step, child, &mut parents);
            let known = parents.into_iter().map(|parent| index.entity(parent));
            known.filter(|parent| self.lists.contains_key(parent)).for_each(visit);
            return;
        }
        for parent in self.lists.keys() {
            let handle = index.handle(*parent);
            if handle.is_some_and(|handle| cx.reader.is_linked(handle, step, child)) {
                visit(*parent);
            }
        }
    }

    /// Judges children of one entity again.
    fn judge<V: Visibility>(
        &mut self,
        cx: &Context<'_, V>,
        body: &Body,
        step: Step,
        pairs: &[(EntityId, Reached)],
        change: &mut Change,
    ) -> Settled {
        let (level, pane) = (self.level, self.pane);
        let parent = pairs[0].0;
        let Some(list) = self.lists.get_mut(&parent) else { return Settled::default() };
        let above = cx.reader.index.handle(parent);
        let mut shifts = Shifts::default();
        for (_, child) in pairs {
            let linked = child.handle.filter(|child| {
                above.is_some_and(|above| cx.reader.is_linked(above, step, *child))
            });
            let admitted = linked.filter(|child| cx.reader.admits(body, *child));
            let new = admitted.map(|child| cx.reader.entry(body, child));
            if let Some(old) = cx.old_key(body, *child) {
                let stays = new.as_ref().filter(|new| new.key == old);
                if stays.is_some_and(|new| list.renew(&old, child.entity, new.handle)) {
                    continue;
                }
                shifts.remove(list, pane, &old, child.entity);
            }
            if let Some(new) = new {
                shifts.insert(list, pane, new);
            }
        }
        let settled = shifts.settle(list, pane);
        settled.report(level, Some(parent), change);
        let changed = cx.changed_columns(body);
        for (_, Reached { entity, .. }) in pairs {
            if changed.binary_search(entity).is_err()
                || settled.entered.iter().any(|(entered, _)| entered == entity)
            {
                continue;
            }
            let rank = cx.entry_of(body, *entity).and_then(|entry| list.rank(&entry.key, *entity));
            if rank.is_some_and(|rank| pane.shows(rank)) {
                let (parent, entity, kind) = (Some(parent), *entity, RowChangeKind::Changed);
                change.rows.push(RowChange { level, parent, entity, kind });
            }
        }
        settled
    }
}

/// In how many lists more or fewer rows show.
struct Counted {
    wanted: bool,
    rows: ByEntity<i64>,
}

impl Counted {
    fn new(wanted: bool) -> Self {
        Self { wanted, rows: HashMap::default() }
    }

    fn more(&mut self, row: EntityId) {
        if self.wanted {
            *self.rows.entry(row).or_default() += 1;
        }
    }

    fn less(&mut self, row: EntityId) {
        if self.wanted {
            *self.rows.entry(row).or_default() -= 1;
        }
    }

    /// Which rows now show somewhere and did not, and the other way round. Sorted.
    fn settle(self, shows: &mut ByEntity<u32>) -> (Vec<EntityId>, Vec<EntityId>) {
        let (mut entered, mut left) = (Vec::new(), Vec::new());
        for (row, by) in self.rows {
            let before = shows.get(&row).copied().unwrap_or(0);
            let after = u32::try_from(i64::from(before) + by).unwrap_or(0);
            match (before, after) {
                (0, 0) => {}
                (0, _) => entered.push(row),
                (_, 0) => left.push(row),
                _ => {}
            }
            if after == 0 {
                shows.remove(&row);
            } else {
                shows.insert(row, after);
            }
        }
        entered.sort_unstable();
        left.sort_unstable();
        (entered, left)
    }
}
