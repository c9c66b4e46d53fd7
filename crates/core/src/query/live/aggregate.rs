//! An aggregate kept up to date: what every match brings to it, and the groups made of that.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry as Place;
use rustc_hash::FxBuildHasher;

use crate::id::EntityId;
use crate::query::aggregate::{AggregatePlan, Groups, Part, Totals};
use crate::query::plan::Body;
use crate::query::visibility::Visibility;

use super::change::{Change, LevelId};
use super::live_query::Context;
use super::reach::{Near, Reached, Watch, membership};

/// The matches of a form that asks for an aggregate.
#[derive(Clone, Debug)]
pub(super) struct LiveAggregate {
    level: LevelId,
    watches: Box<[Watch]>,
    /// What each match brought, so that it can be taken back.
    parts: HashMap<EntityId, Part, FxBuildHasher>,
    groups: Groups,
}

impl LiveAggregate {
    /// Evaluates a form.
    pub(super) fn new<V: Visibility>(
        cx: &Context<'_, V>,
        level: LevelId,
        plan: &AggregatePlan,
        body: &Body,
    ) -> Self {
        let mut watches = membership(body);
        for slot in plan.slots() {
            let watch = Watch { slot, near: Near::Holder, back: Box::new([]) };
            if !watches.contains(&watch) {
                watches.push(watch);
            }
        }
        let (parts, groups) = (HashMap::default(), Groups::default());
        let mut aggregate = Self { level, watches: watches.into(), parts, groups };
        for row in cx.reader.matches(body) {
            let (entity, part) = (cx.reader.index.entity(row), plan.part(&cx.reader, row));
            aggregate.groups.add(plan, entity, &part);
            aggregate.parts.insert(entity, part);
        }
        aggregate
    }

    /// Judges everything again that a delta reaches.
    pub(super) fn apply<V: Visibility>(
        &mut self,
        cx: &Context<'_, V>,
        plan: &AggregatePlan,
        body: &Body,
        change: &mut Change,
    ) {
        // What the touched groups showed before.
        let mut before: Vec<(Part, Option<serde_json::Value>)> = Vec::new();
        for Reached { entity, handle } in cx.reader.reached(cx.delta, &self.watches) {
            let admitted = handle.filter(|handle| cx.reader.admits(body, *handle));
            let new = admitted.map(|handle| plan.part(&cx.reader, handle));
            let place = self.parts.entry(entity);
            let old = match &place {
                Place::Occupied(known) => Some(known.get().clone()),
                Place::Vacant(_) => None,
            };
            if old == new {
                continue;
            }
            for part in old.iter().chain(&new) {
                if !before.iter().any(|(known, _)| known.is_of_group(part)) {
                    before.push((part.clone(), self.groups.show_group(plan, part)));
                }
            }
            if let Some(old) = &old {
                self.groups.remove(plan, entity, old);
            }
            match (place, new) {
                (place, Some(new)) => {
                    self.groups.add(plan, entity, &new);
                    place.insert(new);
                }
                (Place::Occupied(known), None) => drop(known.remove()),
                (Place::Vacant(_), None) => {}
            }
        }
        if before.iter().any(|(part, shown)| self.groups.show_group(plan, part) != *shown) {
            change.counts.push(self.level);
        }
    }

    pub(super) fn totals(&self, plan: &AggregatePlan) -> Totals {
        self.groups.totals(plan)
    }
}
