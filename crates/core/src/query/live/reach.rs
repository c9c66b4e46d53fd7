//! What a changed fact can reach: the way back through links to the entities that feel it.

use crate::catalog::Direction;
use crate::id::EntityId;
use crate::index::{AttrSlot, Handle};
use crate::query::condition::{Cond, Reader, Scope, Step, Way};
use crate::query::plan::{Body, OrderKey};
use crate::query::test::Test;
use crate::query::visibility::Visibility;

use super::delta::{Delta, Touched};

/// Facts of one attribute matter to a form, by an entity that is found from them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Watch {
    pub(super) slot: AttrSlot,
    pub(super) near: Near,
    /// Links to walk back from the near entity.
    pub(super) back: Box<[Step]>,
}

/// The end of a fact from which the form's entity is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Near {
    /// The entity that holds the fact.
    Holder,
    /// The target of the link.
    Target,
}

impl Near {
    pub(super) const fn of(step: Step) -> Self {
        match step.direction {
            Direction::Forward => Self::Holder,
            Direction::Reverse => Self::Target,
        }
    }

    /// The near entities of a change: its holder, or its targets before and after.
    pub(super) fn ends(self, fact: &Touched<'_>) -> impl Iterator<Item = EntityId> {
        let target = |at: &Option<crate::tx::Stamped>| at.as_ref().and_then(|at| at.0.as_entity());
        let ends = match self {
            Self::Holder => [Some(fact.entity), None],
            Self::Target => [target(&fact.change.old), target(&fact.change.new)],
        };
        ends.into_iter().flatten()
    }
}

/// An entity that a change reaches; without a handle if it is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Reached {
    pub(super) entity: EntityId,
    pub(super) handle: Option<Handle>,
}

/// What decides whether entities belong to a form, and where they stand in it.
pub(super) fn membership(body: &Body) -> Vec<Watch> {
    let mut watches = vec![Watch { slot: body.space, near: Near::Holder, back: Box::new([]) }];
    if let OrderKey::Attr(slot, _) = body.order.by {
        watches.push(Watch { slot, near: Near::Holder, back: Box::new([]) });
    }
    if let Some(filter) = &body.filter {
        condition(filter, &mut watches);
    }
    let mut known: Vec<Watch> = Vec::with_capacity(watches.len());
    for watch in watches {
        if !known.contains(&watch) {
            known.push(watch);
        }
    }
    known
}

fn condition(cond: &Cond, watches: &mut Vec<Watch>) {
    match cond {
        Cond::Exists(scope) => {
            for at in 0..scope.vars.len() {
                variable(scope, at, watches);
            }
        }
        Cond::All(conds) | Cond::Any(conds) => {
            conds.iter().for_each(|cond| condition(cond, watches));
        }
        Cond::IdPrefix(_) => {}
    }
}

fn variable(scope: &Scope, at: usize, watches: &mut Vec<Watch>) {
    let var = &scope.vars[at];
    for leaf in &var.leaves {
        let near = match leaf.way {
            Way::Data => Near::Holder,
            Way::Link(step) => Near::of(step),
        };
        watches.push(Watch { slot: leaf.slot, near, back: way_back(scope, at) });
        // Only what exists can miss something, and its `id` is sent as evidence.
        if let Some(slot) = var.space.filter(|_| leaf.tests.iter().any(Test::asks_presence)) {
            watches.push(Watch { slot, near: Near::Holder, back: way_back(scope, at) });
        }
    }
    for (from, step) in &var.from {
        let back = way_back(scope, *from);
        watches.push(Watch { slot: step.slot, near: Near::of(*step), back });
    }
}

/// The links back from a variable to the first.
///
/// Where several links lead to a variable all of them must hold, so one is enough to walk: if it is
/// broken, its own change is watched from its near end.
fn way_back(scope: &Scope, mut at: usize) -> Box<[Step]> {
    let mut back = Vec::new();
    while let Some((from, step)) = scope.vars[at].from.first() {
        back.push(*step);
        at = *from;
    }
    back.into()
}

impl<V: Visibility> Reader<'_, V> {
    /// The entities that a delta reaches by some watches, each once.
    pub(super) fn reached(&self, delta: &Delta<'_>, watches: &[Watch]) -> Vec<Reached> {
        let mut found = Vec::new();
        for fact in delta.facts() {
            for watch in watches.iter().filter(|watch| watch.slot == fact.slot) {
                for near in watch.near.ends(fact) {
                    self.walk(near, &watch.back, &mut found);
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Walks from an entity back through links.
    pub(super) fn walk(&self, near: EntityId, back: &[Step], found: &mut Vec<Reached>) {
        let handle = self.index.handle(near);
        self.count(1);
        if back.is_empty() {
            found.push(Reached { entity: near, handle });
            return;
        }
        let mut at: Vec<Handle> = handle.into_iter().collect();
        for step in back {
            let mut before = Vec::new();
            for entity in at {
                self.extend_back(*step, entity, &mut before);
            }
            before.sort_unstable();
            before.dedup();
            at = before;
        }
        found.extend(
            at.into_iter().map(|at| Reached { entity: self.index.entity(at), handle: Some(at) }),
        );
    }
}
