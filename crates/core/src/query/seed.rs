//! Where to look first: finding the few entities that can meet a condition through an index.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::condition::{Cond, Leaf, Reader, Scope, Step, Way};
use super::form::Comparison;
use super::test::{Bound, Test};
use super::visibility::Visibility;
use crate::catalog::Direction;
use crate::index::{AttrSlot, Handle, SortKey};
use crate::value::Value;

impl<V: Visibility> Reader<'_, V> {
    /// A superset of the entities that meet a condition, sorted and without duplicates; `None` if no
    /// index gives one of at most `cap`.
    pub(super) fn candidates(&self, cond: &Cond, cap: usize) -> Option<Vec<Handle>> {
        let mut found = self.collect(cond, cap)?;
        found.sort_unstable();
        found.dedup();
        Some(found)
    }

    fn collect(&self, cond: &Cond, cap: usize) -> Option<Vec<Handle>> {
        match cond {
            Cond::Exists(scope) => self.collect_scope(scope, cap),
            Cond::All(conds) => smallest(conds.iter().filter_map(|cond| self.collect(cond, cap))),
            Cond::Any(conds) => {
                let mut all = Vec::new();
                for cond in conds {
                    all.extend(self.collect(cond, cap - all.len())?);
                }
                Some(all)
            }
            Cond::IdPrefix(_) => None,
        }
    }

    fn collect_scope(&self, scope: &Scope, cap: usize) -> Option<Vec<Handle>> {
        let leaves = scope
            .vars
            .iter()
            .enumerate()
            .flat_map(|(at, var)| var.leaves.iter().map(move |leaf| (at, leaf)));
        smallest(leaves.filter_map(|(at, leaf)| {
            let found = self.collect_leaf(leaf, cap)?;
            self.walk_back(scope, at, found, cap)
        }))
    }

    /// From entities that a variable can stand for to those that the scope is about.
    fn walk_back(
        &self,
        scope: &Scope,
        mut at: usize,
        mut found: Vec<Handle>,
        cap: usize,
    ) -> Option<Vec<Handle>> {
        while let Some((from, step)) = scope.vars[at].from.first() {
            let mut before = Vec::with_capacity(found.len());
            for entity in found {
                if before.len() + self.count_back(*step, entity) > cap {
                    return None;
                }
                self.extend_back(*step, entity, &mut before);
            }
            before.sort_unstable();
            before.dedup();
            found = before;
            at = *from;
        }
        Some(found)
    }

    /// How many entities there are from which a link leads to one.
    fn count_back(&self, step: Step, entity: Handle) -> usize {
        self.count(1);
        match step.direction {
            Direction::Forward => self.index.sources(step.slot, entity).len(),
            Direction::Reverse => {
                self.index.row_at(entity).map_or(0, |row| row.links(step.slot).len())
            }
        }
    }

    /// Adds the entities from which a link leads to one.
    pub(super) fn extend_back(&self, step: Step, entity: Handle, before: &mut Vec<Handle>) {
        let found = before.len();
        match step.direction {
            Direction::Forward => before.extend(self.index.sources(step.slot, entity)),
            Direction::Reverse => {
                let links =
                    self.index.row_at(entity).map(|row| row.links(step.slot)).unwrap_or_default();
                before.extend(links.iter().map(|link| link.handle));
            }
        }
        self.count(1 + before.len() - found);
    }

    /// The candidates for one leaf, found through an index.
    pub(super) fn collect_leaf(&self, leaf: &Leaf, cap: usize) -> Option<Vec<Handle>> {
        smallest(leaf.tests.iter().filter_map(|test| self.collect_test(leaf, test, cap)))
    }

    fn collect_test(&self, leaf: &Leaf, test: &Test, cap: usize) -> Option<Vec<Handle>> {
        let mut found = Vec::new();
        match (test, leaf.way) {
            (Test::Never, _) => {}
            (Test::Target(ids), Way::Link(step)) => {
                for target in ids.iter().filter_map(|id| self.index.handle(*id)) {
                    if found.len() + self.count_back(step, target) > cap {
                        return None;
                    }
                    self.extend_back(step, target, &mut found);
                }
            }
            (Test::Is(values), Way::Data) => {
                for value in values.iter() {
                    self.collect_value(leaf.slot, value, cap, &mut found)?;
                }
            }
            (Test::Instant { at, or_null }, Way::Data) => {
                let nulls = or_null.then_some(SortKey::Null);
                for key in at.iter().map(|ms| SortKey::Instant(*ms)).chain(nulls) {
                    self.collect_range(
                        leaf.slot,
                        Included(key.clone()),
                        Included(key),
                        cap,
                        &mut found,
                    )?;
                }
            }
            (Test::Order(how, bound), Way::Data) => {
                let key = match bound {
                    Bound::Instant(ms) => SortKey::Instant(*ms),
                    Bound::Value(value) => self.index.sort_key(leaf.slot, value),
                };
                let (lower, upper) = match how {
                    // Keys are coarser than values, so the operand's own key always belongs.
                    Comparison::Greater | Comparison::GreaterOrEqual => (Included(key), Unbounded),
                    Comparison::Less | Comparison::LessOrEqual => {
                        (Excluded(SortKey::Null), Included(key))
                    }
                };
                self.collect_range(leaf.slot, lower, upper, cap, &mut found)?;
            }
            _ => return None,
        }
        Some(found)
    }

    fn collect_value(
        &self,
        slot: AttrSlot,
        value: &Value,
        cap: usize,
        found: &mut Vec<Handle>,
    ) -> Option<()> {
        let id = self.index.attr_id(slot);
        let attr = self.index.catalog().get(id)?;
        self.count(1);
        if attr.is_id() {
            // An entity's `id` holds its own id and nothing else.
            found.extend(value.as_entity().and_then(|entity| self.index.handle(entity)));
            return (found.len() <= cap).then_some(());
        }
        if attr.unique && !attr.setting_unique && !value.is_null() {
            found.extend(self.index.find_unique(id, value));
            return (found.len() <= cap).then_some(());
        }
        let key = self.index.sort_key(slot, value);
        self.collect_range(slot, Included(key.clone()), Included(key), cap, found)
    }

    fn collect_range(
        &self,
        slot: AttrSlot,
        lower: std::ops::Bound<SortKey>,
        upper: std::ops::Bound<SortKey>,
        cap: usize,
        found: &mut Vec<Handle>,
    ) -> Option<()> {
        let range = self.index.range(slot, lower, upper)?;
        let many = range.left();
        self.count(1);
        if found.len() + many > cap {
            return None;
        }
        self.count(many);
        found.extend(range);
        Some(())
    }
}

fn smallest(sets: impl Iterator<Item = Vec<Handle>>) -> Option<Vec<Handle>> {
    sets.min_by_key(Vec::len)
}
