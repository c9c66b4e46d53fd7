//! Running a plan on an index.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::aggregate::Groups;
use super::condition::{Fact, Reader, Step, link_fact};
use super::error::QueryError;
use super::form::{Cursor, Query, Sense};
use super::options::EvalOptions;
use super::plan::{Body, FormPlan, OrderKey, Plan};
use super::result::{Branch, FormResult, Level, PageInfo, QueryResult};
use super::visibility::{AllVisible, Visibility};
use super::window::Rows;
use crate::id::EntityId;
use crate::index::{AttrSlot, Handle, TripleIndex};
use crate::triple::Triple;
use crate::value::Value;

/// Evaluates a query on an index for somebody who may see everything.
///
/// # Errors
/// A data attribute used as a link, and with [`EvalOptions::check`] everything that the server refuses.
pub fn evaluate(
    index: &TripleIndex,
    query: &Query,
    options: &EvalOptions,
) -> Result<QueryResult, QueryError> {
    evaluate_as(index, query, options, &AllVisible)
}

/// Evaluates a query on an index with somebody's eyes.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_as<V: Visibility>(
    index: &TripleIndex,
    query: &Query,
    options: &EvalOptions,
    visibility: &V,
) -> Result<QueryResult, QueryError> {
    let plan = Arc::new(Plan::new(index, query, options)?);
    Ok(QueryResult::run(&plan, index, visibility))
}

impl QueryResult {
    /// Runs a plan. The index must have the attributes that the plan was made with.
    pub fn run<V: Visibility>(plan: &Arc<Plan>, index: &TripleIndex, visibility: &V) -> Self {
        let mut evaluation = Evaluation::new(plan, index, visibility);
        let forms: Vec<FormResult> = plan.forms.iter().map(|form| evaluation.top(form)).collect();
        evaluation.finish(forms)
    }

    /// Makes a result of rows that are known.
    pub(super) fn of<V: Visibility>(
        plan: &Arc<Plan>,
        index: &TripleIndex,
        visibility: &V,
        forms: Vec<FormResult>,
    ) -> Self {
        let mut evaluation = Evaluation::new(plan, index, visibility);
        for (form, result) in plan.forms.iter().zip(&forms) {
            if let Some(body) = &form.body {
                evaluation.account(body, &result.level);
            }
        }
        evaluation.finish(forms)
    }
}

impl<'a, V: Visibility> Evaluation<'a, V> {
    pub(super) fn new(plan: &'a Arc<Plan>, index: &'a TripleIndex, visibility: &'a V) -> Self {
        let reader = Reader::new(index, visibility);
        Self { reader, plan, facts: Vec::new(), hidden: HashSet::default() }
    }

    pub(super) fn finish(mut self, forms: Vec<FormResult>) -> QueryResult {
        let plan = self.plan;
        if plan.options.evidence {
            self.complete(&forms);
        }
        let Self { reader, mut facts, hidden, .. } = self;
        facts.sort_unstable();
        facts.dedup();
        QueryResult { plan: plan.clone(), forms, facts, hidden, probes: reader.probes.get() }
    }
}

impl<V: Visibility> Reader<'_, V> {
    /// The place of a row in the order of its form, as it travels.
    pub(super) fn cursor(&self, body: &Body, row: Handle) -> Option<Cursor> {
        let index = self.index;
        let row = index.row_at(row)?;
        let created_at = row.created_at(body.space)?;
        let entity = row.id();
        let slot = match body.order.by {
            OrderKey::Created => {
                return Some(Triple {
                    entity,
                    attr: body.id_attr,
                    value: Value::Ref(entity),
                    created_at,
                });
            }
            OrderKey::Attr(slot, _) => slot,
        };
        let sees = V::ALL || self.visibility.sees_value(index, row, slot);
        Some(Triple {
            entity,
            attr: index.attr_id(slot),
            value: row.value(slot).filter(|_| sees).cloned().unwrap_or(Value::Null),
            created_at: row.created_at(slot).unwrap_or(created_at),
        })
    }
}

/// What is returned of entities but hidden from the reader.
pub(super) type Hidden = HashSet<(Handle, AttrSlot), FxBuildHasher>;

pub(super) struct Evaluation<'a, V> {
    pub(super) reader: Reader<'a, V>,
    plan: &'a Arc<Plan>,
    facts: Vec<Fact>,
    hidden: Hidden,
}

impl<V: Visibility> Evaluation<'_, V> {
    fn top(&mut self, form: &FormPlan) -> FormResult {
        let Some(body) = &form.body else {
            return FormResult::absent(form);
        };
        if let Some(plan) = &form.aggregate {
            let mut groups = Groups::default();
            for row in self.reader.matches(body) {
                let part = plan.part(&self.reader, row);
                groups.add(plan, self.reader.index.entity(row), &part);
            }
            return FormResult::aggregated(groups.totals(plan));
        }
        let windows = self.plan.options.windows.as_ref();
        let (rows, page) = match windows {
            Some(windows) if !body.page.is_leading() => {
                (self.reader.window(body, windows.get(&form.key)), None)
            }
            Some(_) => (self.reader.page(body, false), None),
            None => {
                let rows = self.reader.page(body, form.paged);
                let page = form.paged.then(|| self.page_info(body, &rows));
                (rows, page)
            }
        };
        FormResult { level: self.level(body, rows.handles), page, totals: None }
    }

    fn page_info(&self, body: &Body, rows: &Rows) -> PageInfo {
        PageInfo {
            start: rows.handles.first().and_then(|row| self.reader.cursor(body, *row)),
            end: rows.handles.last().and_then(|row| self.reader.cursor(body, *row)),
            has_next: rows.has_next,
            has_previous: rows.has_previous,
        }
    }

    /// Takes rows into the result, with what they need around them and below.
    pub(super) fn level(&mut self, body: &Body, rows: Vec<Handle>) -> Level {
        if !V::ALL {
            self.hide(body, &rows);
        }
        if self.plan.options.evidence {
            self.explain(body, &rows);
        }
        let children = body.children.iter().map(|form| self.branch(form, &rows)).collect();
        Level { rows, children }
    }

    fn hide(&mut self, body: &Body, rows: &[Handle]) {
        let Reader { index, visibility, .. } = self.reader;
        for handle in rows {
            let Some(row) = index.row_at(*handle) else { continue };
            for column in body.columns.0.iter().filter(|column| row.cell(column.slot).is_some()) {
                let shows = match column.link {
                    None => visibility.sees_value(index, row, column.slot),
                    // A link gives away that its far end exists.
                    Some(step) => self.reader.any_linked(*handle, step, |_| true),
                };
                if !shows {
                    self.hidden.insert((*handle, column.slot));
                }
            }
        }
    }

    /// Collects why rows are where they are.
    fn explain(&mut self, body: &Body, rows: &[Handle]) {
        for row in rows {
            if let Some(filter) = &body.filter {
                self.reader.explain(filter, *row, &mut self.facts);
            }
            self.explain_order(body, *row);
        }
    }

    fn explain_order(&mut self, body: &Body, row: Handle) {
        let OrderKey::Attr(slot, _) = body.order.by else { return };
        if !body.columns.contains(slot) {
            self.facts.extend(self.reader.data_fact(row, slot));
        }
    }

    fn branch(&mut self, form: &FormPlan, parents: &[Handle]) -> Branch {
        let Some((body, step)) = form.body.as_ref().and_then(|body| Some((body, body.link?)))
        else {
            return Branch::childless(parents.len());
        };
        let mut gathered = Gathered::new(body.shared);
        let (mut created, mut valued) = (Vec::new(), Vec::new());
        for parent in parents {
            let reader = &self.reader;
            match body.order.by {
                OrderKey::Created => {
                    let key = |child| reader.by_creation(body, child);
                    let known = &gathered.known;
                    let found = siblings(reader, body, step, *parent, known, &mut created, key);
                    gathered.take(found.iter().map(|(_, _, child)| *child));
                }
                by @ OrderKey::Attr(..) => {
                    let key = |child| reader.by_value(by, child);
                    let known = &gathered.known;
                    let found = siblings(reader, body, step, *parent, known, &mut valued, key);
                    gathered.take(found.iter().map(|(_, _, child)| *child));
                }
            }
        }
        let branch = gathered.into_branch(body.shared, |rows| self.level(body, rows));
        if self.plan.options.evidence {
            self.explain_links(&branch, step, parents);
        }
        branch
    }

    /// Collects why children hang from their parents.
    fn explain_links(&mut self, branch: &Branch, step: Step, parents: &[Handle]) {
        for (at, parent) in parents.iter().enumerate() {
            let children =
                branch.of(at).map(|child| link_fact(*parent, step, branch.level.rows[child]));
            self.facts.extend(children);
        }
    }

    /// Collects all that [`Self::level`] does, for a level that is known.
    fn account(&mut self, body: &Body, level: &Level) {
        if !V::ALL {
            self.hide(body, &level.rows);
        }
        if self.plan.options.evidence {
            self.explain(body, &level.rows);
        }
        for (form, branch) in body.children.iter().zip(&level.children) {
            let Some((below, step)) = form.body.as_ref().and_then(|body| Some((body, body.link?)))
            else {
                continue;
            };
            if self.plan.options.evidence {
                self.explain_links(branch, step, &level.rows);
            }
            self.account(below, &branch.level);
        }
    }

    /// Adds what keeps entities out that are sent for one form and would pass for rows of another,
    /// because a condition there is about what is missing, or their place in its order is.
    fn complete(&mut self, forms: &[FormResult]) {
        let mut bodies = Vec::new();
        for (form, result) in self.plan.forms.iter().zip(forms) {
            collect_bodies(form.body.as_ref(), &result.level, &mut bodies);
        }
        let sensitive =
            |body: &Body| !body.negatives.is_empty() || matches!(body.order.by, OrderKey::Attr(..));
        if !bodies.iter().any(|(body, _)| sensitive(body)) {
            return;
        }
        let mut more = Vec::new();
        for (at, (body, _)) in bodies.iter().enumerate().filter(|(_, (body, _))| sensitive(body)) {
            let others = bodies
                .iter()
                .enumerate()
                .filter(|(other, (sent, _))| *other != at && sent.space == body.space);
            let seen =
                self.facts.iter().filter(|fact| fact.slot == body.space).map(|fact| fact.source);
            let mut members: Vec<Handle> =
                others.flat_map(|(_, (_, rows))| rows.iter().copied()).chain(seen).collect();
            members.sort_unstable();
            members.dedup();
            for member in members {
                for negative in &body.negatives {
                    self.reader.context(negative, member, &mut more);
                }
                if let OrderKey::Attr(slot, _) = body.order.by {
                    more.extend(self.reader.data_fact(member, slot));
                }
            }
        }
        self.facts.append(&mut more);
    }
}

fn collect_bodies<'a>(
    body: Option<&'a Body>,
    level: &'a Level,
    bodies: &mut Vec<(&'a Body, &'a [Handle])>,
) {
    let Some(body) = body else { return };
    bodies.push((body, &level.rows));
    for (child, branch) in body.children.iter().zip(&level.children) {
        collect_bodies(child.body.as_ref(), &branch.level, bodies);
    }
}

/// The children of several parents, each child once if it may have several of them.
#[derive(Default)]
pub(super) struct Gathered {
    rows: Vec<Handle>,
    items: Vec<u32>,
    ends: Vec<u32>,
    /// Where a child already stands in `rows`.
    known: Option<HashMap<Handle, u32, FxBuildHasher>>,
}

impl Gathered {
    pub(super) fn new(shared: bool) -> Self {
        Self { known: shared.then(HashMap::default), ..Self::default() }
    }

    /// Takes the children of the next parent.
    pub(super) fn take(&mut self, children: impl Iterator<Item = Handle>) {
        for child in children {
            let next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
            match &mut self.known {
                None => self.rows.push(child),
                Some(known) => {
                    let at = *known.entry(child).or_insert(next);
                    if at == next {
                        self.rows.push(child);
                    }
                    self.items.push(at);
                }
            }
        }
        let count = if self.known.is_some() { self.items.len() } else { self.rows.len() };
        self.ends.push(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// The children as a branch; `level` makes the level of its rows.
    pub(super) fn into_branch(
        self,
        shared: bool,
        level: impl FnOnce(Vec<Handle>) -> Level,
    ) -> Branch {
        let items = shared.then_some(self.items);
        Branch { ends: self.ends, items, level: level(self.rows) }
    }
}

/// The children of one parent in order, cut to the form's limit.
fn siblings<'s, K: Ord, V: Visibility>(
    reader: &Reader<'_, V>,
    body: &Body,
    step: Step,
    parent: Handle,
    known: &Option<HashMap<Handle, u32, FxBuildHasher>>,
    found: &'s mut Vec<(K, EntityId, Handle)>,
    key: impl Fn(Handle) -> (K, EntityId, Handle),
) -> &'s [(K, EntityId, Handle)] {
    found.clear();
    reader.any_linked(parent, step, |child| {
        let admitted = known.as_ref().is_some_and(|known| known.contains_key(&child));
        if admitted || reader.admits(body, child) {
            found.push(key(child));
        }
        false
    });
    match body.order.sense {
        Sense::Ascending => found.sort_unstable(),
        Sense::Descending => found.sort_unstable_by(|a, b| b.cmp(a)),
    }
    let limit = body.page.limit.unwrap_or(usize::MAX).min(found.len());
    if body.page.last { &found[found.len() - limit..] } else { &found[..limit] }
}
