//! Conditions with their names resolved, and whether an entity meets them.
//!
//! Paths become [`Scope`]s: a variable per linked entity, links between them, and tests at them. All
//! paths of one scope that pass through the same namespace at the same depth speak of one entity. An
//! entity meets a scope if some choice of linked entities passes every test.

use std::cell::Cell;
use std::sync::Arc;

use super::test::Test;
use super::visibility::Visibility;
use super::window::Fetch;
use crate::catalog::Direction;
use crate::index::{AttrSlot, Handle, Row, TripleIndex};
use crate::value::Value;

/// Something that must hold for an entity.
#[derive(Clone, Debug)]
pub(super) enum Cond {
    /// Linked entities exist that pass.
    Exists(Scope),
    /// Each holds by itself. True if empty.
    All(Vec<Self>),
    /// Some hold. False if empty.
    Any(Vec<Self>),
    /// The id begins with a text.
    IdPrefix(Arc<str>),
}

/// One link to follow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Step {
    pub(super) slot: AttrSlot,
    pub(super) direction: Direction,
    /// The `id` attribute of the namespace that is reached; `None` while it has none.
    pub(super) space: Option<AttrSlot>,
}

/// Variables, their links and tests. The first variable is the entity asked about.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) vars: Vec<Var>,
}

/// One entity of a scope.
#[derive(Clone, Debug)]
pub(super) struct Var {
    /// Its namespace, which with the depth is its name.
    pub(super) etype: Arc<str>,
    /// The `id` attribute of its namespace.
    pub(super) space: Option<AttrSlot>,
    /// How many links from the first variable.
    pub(super) depth: usize,
    /// The links that lead here, by the variable they start from. Only the first variable has none.
    pub(super) from: Vec<(usize, Step)>,
    pub(super) leaves: Vec<Leaf>,
    /// The variables that hang from this one and no other; empty everywhere if any hangs from two.
    pub(super) below: Vec<usize>,
}

/// Tests of what a variable holds under one attribute. One value must pass them all.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) slot: AttrSlot,
    pub(super) way: Way,
    pub(super) tests: Vec<Test>,
}

/// What is tested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// A data value.
    Data,
    /// The far ends of a link.
    Link(Step),
}

/// One fact that took part: a data value, or one link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Fact {
    pub(super) source: Handle,
    pub(super) slot: AttrSlot,
    /// `None` for data.
    pub(super) target: Option<Handle>,
}

impl Scope {
    /// A scope about the entities of a namespace, without any test.
    pub(super) fn new(etype: &str, space: Option<AttrSlot>) -> Self {
        Self { vars: vec![Var::new(etype, space, 0)] }
    }

    /// The variable that a link from another one leads to.
    pub(super) fn reach(&mut self, from: usize, step: Step, etype: &str, depth: usize) -> usize {
        let known = self.vars.iter().position(|var| var.depth == depth && *var.etype == *etype);
        let at = known.unwrap_or_else(|| {
            self.vars.push(Var::new(etype, step.space, depth));
            self.vars.len() - 1
        });
        if !self.vars[at].from.contains(&(from, step)) {
            self.vars[at].from.push((from, step));
        }
        at
    }

    /// Finds out what hangs from what, once all variables are known.
    pub(super) fn arrange(&mut self) {
        // Thousands of plans may live at a time.
        self.vars.shrink_to_fit();
        for var in &mut self.vars {
            var.leaves.shrink_to_fit();
            var.from.shrink_to_fit();
        }
        let single = |var: &Var| var.from.iter().all(|(from, _)| *from == var.from[0].0);
        if !self.vars.iter().all(single) {
            return;
        }
        for at in 1..self.vars.len() {
            let from = self.vars[at].from[0].0;
            self.vars[from].below.push(at);
        }
    }

    fn is_tree(&self) -> bool {
        self.vars.len() == 1 || self.vars.iter().any(|var| !var.below.is_empty())
    }
}

impl Var {
    fn new(etype: &str, space: Option<AttrSlot>, depth: usize) -> Self {
        let etype = etype.into();
        Self { etype, space, depth, from: Vec::new(), leaves: Vec::new(), below: Vec::new() }
    }
}

/// Reads an index with somebody's eyes, and counts what it looks at.
pub(super) struct Reader<'a, V> {
    pub(super) index: &'a TripleIndex,
    pub(super) visibility: &'a V,
    /// Rows and links looked at.
    pub(super) probes: Cell<u64>,
    way: Cell<Fetch>,
}

impl<'a, V: Visibility> Reader<'a, V> {
    pub(super) const fn new(index: &'a TripleIndex, visibility: &'a V) -> Self {
        Self { index, visibility, probes: Cell::new(0), way: Cell::new(Fetch::Scan) }
    }

    pub(super) fn count(&self, probes: usize) {
        self.probes.set(self.probes.get() + probes as u64);
    }

    /// Notes how the latest page was found.
    pub(super) fn found_by(&self, way: Fetch) {
        self.way.set(way);
    }

    /// How the latest page was found.
    pub(super) const fn way(&self) -> Fetch {
        self.way.get()
    }

    /// The row of a visible member of a namespace.
    pub(super) fn member(&self, handle: Handle, space: AttrSlot) -> Option<&'a Arc<Row>> {
        self.count(1);
        let row = self.index.row_at(handle)?;
        if !row.holds(space) {
            return None;
        }
        (V::ALL || self.visibility.sees_entity(self.index, space, row)).then_some(row)
    }

    /// What an entity holds under a data attribute, if that is to be seen.
    pub(super) fn seen_value(&self, entity: Handle, slot: AttrSlot) -> Option<&'a Value> {
        self.count(1);
        let row = self.index.row_at(entity)?;
        row.value(slot).filter(|_| self.sees_value(row, slot))
    }

    fn sees_value(&self, row: &Row, slot: AttrSlot) -> bool {
        V::ALL || self.visibility.sees_value(self.index, row, slot)
    }

    /// Whether a link that exists may be used: by the holder's attribute and the far end's namespace.
    fn sees_link(&self, holder: Handle, step: Step, reached: Handle) -> bool {
        if V::ALL {
            return true;
        }
        let holds = self.index.row_at(holder).is_some_and(|row| self.sees_value(row, step.slot));
        let shows = match (step.space, self.index.row_at(reached)) {
            (Some(space), Some(row)) => self.visibility.sees_entity(self.index, space, row),
            _ => true,
        };
        holds && shows
    }

    /// Calls `visit` with the far ends of a link until it answers true, and says whether it did.
    pub(super) fn any_linked(
        &self,
        from: Handle,
        step: Step,
        mut visit: impl FnMut(Handle) -> bool,
    ) -> bool {
        match step.direction {
            Direction::Forward => {
                let Some(row) = self.index.row_at(from) else { return false };
                row.links(step.slot).into_iter().any(|link| {
                    self.count(1);
                    self.sees_link(from, step, link.handle) && visit(link.handle)
                })
            }
            Direction::Reverse => self.index.sources(step.slot, from).iter().any(|source| {
                self.count(1);
                self.sees_link(*source, step, *source) && visit(*source)
            }),
        }
    }

    pub(super) fn is_linked(&self, from: Handle, step: Step, to: Handle) -> bool {
        self.count(1);
        match step.direction {
            Direction::Forward => {
                self.index.row_at(from).is_some_and(|row| row.links(step.slot).find(to).is_some())
            }
            Direction::Reverse => self.index.sources(step.slot, from).binary_search(&to).is_ok(),
        }
    }

    /// Whether an entity meets a condition.
    pub(super) fn holds(&self, cond: &Cond, entity: Handle) -> bool {
        match cond {
            Cond::Exists(scope) if scope.is_tree() => self.tree_holds(scope, 0, entity),
            Cond::Exists(scope) => self.any_choice(scope, entity, |_| true),
            Cond::All(conds) => conds.iter().all(|cond| self.holds(cond, entity)),
            Cond::Any(conds) => conds.iter().any(|cond| self.holds(cond, entity)),
            Cond::IdPrefix(prefix) => self.has_prefix(entity, prefix),
        }
    }

    fn has_prefix(&self, entity: Handle, prefix: &str) -> bool {
        let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
        let id = self.index.entity(entity).uuid();
        id.hyphenated().encode_lower(&mut buffer).starts_with(prefix)
    }

    fn tree_holds(&self, scope: &Scope, at: usize, entity: Handle) -> bool {
        let var = &scope.vars[at];
        self.leaves_hold(var, entity)
            && var.below.iter().all(|below| {
                self.any_below(scope, *below, entity, |linked| {
                    self.tree_holds(scope, *below, linked)
                })
            })
    }

    /// Visits the entities that a variable of a tree can stand for until one satisfies.
    fn any_below(
        &self,
        scope: &Scope,
        at: usize,
        entity: Handle,
        mut visit: impl FnMut(Handle) -> bool,
    ) -> bool {
        let [(_, first), others @ ..] = scope.vars[at].from.as_slice() else { return false };
        self.any_linked(entity, *first, |linked| {
            others.iter().all(|(_, step)| self.is_linked(entity, *step, linked)) && visit(linked)
        })
    }

    /// Visits the choices of entities that meet a scope of any form until one satisfies.
    fn any_choice(
        &self,
        scope: &Scope,
        entity: Handle,
        mut visit: impl FnMut(&[Handle]) -> bool,
    ) -> bool {
        let mut order: Vec<usize> = (0..scope.vars.len()).collect();
        order.sort_by_key(|at| scope.vars[*at].depth);
        let mut chosen = vec![entity; scope.vars.len()];
        self.leaves_hold(&scope.vars[0], entity)
            && self.choose(scope, &order[1..], &mut chosen, &mut visit)
    }

    fn choose(
        &self,
        scope: &Scope,
        open: &[usize],
        chosen: &mut Vec<Handle>,
        visit: &mut dyn FnMut(&[Handle]) -> bool,
    ) -> bool {
        let [at, open @ ..] = open else { return visit(chosen) };
        let var = &scope.vars[*at];
        let [(from, first), others @ ..] = var.from.as_slice() else { return false };
        self.any_linked(chosen[*from], *first, |linked| {
            let fits =
                others.iter().all(|(from, step)| self.is_linked(chosen[*from], *step, linked))
                    && self.leaves_hold(var, linked);
            if !fits {
                return false;
            }
            chosen[*at] = linked;
            self.choose(scope, open, chosen, visit)
        })
    }

    fn leaves_hold(&self, var: &Var, entity: Handle) -> bool {
        var.leaves.iter().all(|leaf| self.leaf_holds(var, leaf, entity))
    }

    fn leaf_holds(&self, var: &Var, leaf: &Leaf, entity: Handle) -> bool {
        match leaf.way {
            Way::Data => {
                self.count(1);
                let row = self.index.row_at(entity);
                let value = row
                    .filter(|row| self.sees_value(row, leaf.slot))
                    .and_then(|row| row.value(leaf.slot));
                match value {
                    Some(value) => leaf.tests.iter().all(|test| test.value(value)),
                    None => self.is_missing(var, leaf, entity),
                }
            }
            Way::Link(step) => {
                if let [Test::Target(wanted)] = leaf.tests.as_slice() {
                    return wanted.iter().any(|wanted| {
                        let wanted = self.index.handle(*wanted);
                        wanted.is_some_and(|wanted| self.reaches(entity, step, wanted))
                    });
                }
                let mut any = false;
                let passes = self.any_linked(entity, step, |linked| {
                    any = true;
                    let id = self.index.entity(linked);
                    leaf.tests.iter().all(|test| test.target(id))
                });
                passes || (!any && self.is_missing(var, leaf, entity))
            }
        }
    }

    fn reaches(&self, from: Handle, step: Step, to: Handle) -> bool {
        let holder = if step.direction == Direction::Forward { from } else { to };
        self.is_linked(from, step, to) && self.sees_link(holder, step, to)
    }

    /// Whether tests pass for a member of the variable's namespace that holds nothing there.
    fn is_missing(&self, var: &Var, leaf: &Leaf, entity: Handle) -> bool {
        leaf.tests.iter().all(Test::missing)
            && var.space.is_some_and(|space| self.index.is_holder(space, entity))
    }

    /// The fact that an entity holds under a data attribute, if there is one to be seen.
    pub(super) fn data_fact(&self, entity: Handle, slot: AttrSlot) -> Option<Fact> {
        let sees = self.index.is_holder(slot, entity)
            && (V::ALL || self.index.row_at(entity).is_some_and(|row| self.sees_value(row, slot)));
        sees.then_some(Fact { source: entity, slot, target: None })
    }

    /// Collects the facts that make a true condition true, along every way in which it is.
    pub(super) fn explain(&self, cond: &Cond, entity: Handle, facts: &mut Vec<Fact>) {
        match cond {
            Cond::Exists(scope) if scope.is_tree() => self.explain_tree(scope, 0, entity, facts),
            Cond::Exists(scope) => {
                self.any_choice(scope, entity, |chosen| {
                    self.explain_choice(scope, chosen, facts);
                    false
                });
            }
            Cond::All(conds) => conds.iter().for_each(|cond| self.explain(cond, entity, facts)),
            Cond::Any(conds) => {
                for cond in conds.iter().filter(|cond| self.holds(cond, entity)) {
                    self.explain(cond, entity, facts);
                }
            }
            Cond::IdPrefix(_) => {}
        }
    }

    fn explain_tree(&self, scope: &Scope, at: usize, entity: Handle, facts: &mut Vec<Fact>) {
        let var = &scope.vars[at];
        self.explain_leaves(var, entity, facts);
        for below in &var.below {
            self.any_below(scope, *below, entity, |linked| {
                if self.tree_holds(scope, *below, linked) {
                    for (_, step) in &scope.vars[*below].from {
                        facts.push(link_fact(entity, *step, linked));
                    }
                    self.explain_tree(scope, *below, linked, facts);
                }
                false
            });
        }
    }

    fn explain_choice(&self, scope: &Scope, chosen: &[Handle], facts: &mut Vec<Fact>) {
        for (var, entity) in scope.vars.iter().zip(chosen) {
            for (from, step) in &var.from {
                facts.push(link_fact(chosen[*from], *step, *entity));
            }
            self.explain_leaves(var, *entity, facts);
        }
    }

    fn explain_leaves(&self, var: &Var, entity: Handle, facts: &mut Vec<Fact>) {
        for leaf in &var.leaves {
            // A client finds what is missing by the `id` of the entity that misses it.
            if leaf.tests.iter().any(Test::asks_presence)
                && let Some(space) = var.space
            {
                facts.extend(self.data_fact(entity, space));
            }
            match leaf.way {
                Way::Data => facts.extend(self.data_fact(entity, leaf.slot)),
                Way::Link(step) => {
                    self.any_linked(entity, step, |linked| {
                        let id = self.index.entity(linked);
                        if leaf.tests.iter().all(|test| test.target(id)) {
                            facts.push(link_fact(entity, step, linked));
                        }
                        false
                    });
                }
            }
        }
    }

    /// Collects every fact that a condition looks at, whether it holds or not: with them the condition
    /// is as false elsewhere as it is here.
    pub(super) fn context(&self, cond: &Cond, entity: Handle, facts: &mut Vec<Fact>) {
        match cond {
            Cond::Exists(scope) => self.scope_context(scope, 0, entity, facts),
            Cond::All(conds) | Cond::Any(conds) => {
                conds.iter().for_each(|cond| self.context(cond, entity, facts));
            }
            Cond::IdPrefix(_) => {}
        }
    }

    fn scope_context(&self, scope: &Scope, at: usize, entity: Handle, facts: &mut Vec<Fact>) {
        for leaf in &scope.vars[at].leaves {
            match leaf.way {
                Way::Data => facts.extend(self.data_fact(entity, leaf.slot)),
                Way::Link(step) => {
                    self.any_linked(entity, step, |linked| {
                        facts.push(link_fact(entity, step, linked));
                        false
                    });
                }
            }
        }
        for (below, var) in scope.vars.iter().enumerate() {
            for (_, step) in var.from.iter().filter(|(from, _)| *from == at) {
                self.any_linked(entity, *step, |linked| {
                    facts.push(link_fact(entity, *step, linked));
                    self.scope_context(scope, below, linked, facts);
                    false
                });
            }
        }
    }
}

/// The stored fact behind a link, whichever way it was walked.
pub(super) const fn link_fact(from: Handle, step: Step, to: Handle) -> Fact {
    let (source, target) = match step.direction {
        Direction::Forward => (from, to),
        Direction::Reverse => (to, from),
    };
    Fact { source, slot: step.slot, target: Some(target) }
}
