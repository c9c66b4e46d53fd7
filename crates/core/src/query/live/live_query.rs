//! One live query.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::EntityId;
use crate::index::{Handle, SortKey, TripleIndex};
use crate::query::condition::Reader;
use crate::query::error::QueryError;
use crate::query::evaluate::Gathered;
use crate::query::explain::{Explanation, LivePath};
use crate::query::form::{Form, Query};
use crate::query::options::EvalOptions;
use crate::query::plan::{Body, Column, FormPlan, OrderKey, Plan};
use crate::query::result::{Branch, FormResult, Level, QueryResult};
use crate::query::visibility::{AllVisible, Visibility};
use crate::query::window::{Fetch, Fetched};
use crate::tx::Commit;
use crate::value::Value;

use super::aggregate::LiveAggregate;
use super::branch::{LiveBranch, apply_below, branches};
use super::change::{Change, LevelId};
use super::delta::Delta;
use super::ordered::{Entry, Key};
use super::reach::Reached;
use super::roots::Roots;

/// A query with its result, which follows commits.
///
/// Rights are part of it: what a reader may see decides the result.
#[derive(Clone, Debug)]
pub struct LiveQuery<V = AllVisible> {
    visibility: V,
    plan: Arc<Plan>,
    pub(super) state: State,
    counters: Counters,
}

/// Work done by a live query since it was made, the same for the same input.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Counters {
    /// Rows, links and index entries looked at, those of the first evaluation included.
    pub probes: u64,
    /// Commits that were looked at row by row.
    pub applied: u64,
    /// Times that a page had to look for further rows.
    pub refills: u64,
    /// Those of them that no index served.
    pub scans: u64,
    /// Times that the whole query was evaluated because it cannot be kept up to date by rows.
    pub fallbacks: u64,
    /// Times that the query was planned and evaluated anew because attributes changed.
    pub replans: u64,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Rows in order.
    Rows(Box<[LiveForm]>),
    /// A result that is evaluated anew.
    Whole(Box<QueryResult>),
    /// The query does not fit the attributes any more.
    Refused(Box<QueryError>),
}

/// A top-level form whose names exist.
#[derive(Clone, Debug)]
pub(super) struct LiveForm {
    pub(super) top: Top,
    below: Vec<Option<LiveBranch>>,
}

/// What is kept of a top-level form.
#[derive(Clone, Debug)]
pub(super) enum Top {
    /// A name does not exist.
    Nothing,
    Rows(Box<Roots>),
    Aggregate(Box<LiveAggregate>),
}

impl Top {
    pub(super) const fn rows(&self) -> Option<&Roots> {
        match self {
            Self::Rows(roots) => Some(roots),
            _ => None,
        }
    }
}

/// What an evaluation works with.
pub(super) struct Context<'a, V> {
    pub(super) reader: Reader<'a, V>,
    pub(super) delta: &'a Delta<'a>,
    counters: &'a mut Counters,
}

impl<V: Visibility> Context<'_, V> {
    pub(super) fn count_fetch(&mut self, by: Fetch) {
        self.counters.refills += 1;
        self.counters.scans += u64::from(by == Fetch::Scan);
    }

    /// The match found, if any; counts the search.
    pub(super) fn witness(&mut self, found: &Fetched) -> Option<EntityId> {
        self.count_fetch(found.by);
        found.entries.first().map(|entry| entry.entity)
    }

    /// The place that an entity had before the commit if it was a member of the form's namespace.
    pub(super) fn old_key(&self, body: &Body, reached: Reached) -> Option<Key> {
        let row = || self.reader.index.row_at(reached.handle?);
        let created = match self.delta.before(reached.entity, body.space) {
            Some(before) => before?.1,
            None => row()?.created_at(body.space)?,
        };
        let OrderKey::Attr(slot, checked) = body.order.by else {
            return Some(Key::Created(created));
        };
        let value = match self.delta.before(reached.entity, slot) {
            Some(before) => before.map(|before| &before.0),
            None => row().and_then(|row| row.value(slot)),
        };
        Some(Key::Value(SortKey::of(value.unwrap_or(&Value::Null), checked)))
    }

    /// The place of an entity now if it is a member of the form's namespace.
    pub(super) fn entry_of(&self, body: &Body, entity: EntityId) -> Option<Entry> {
        let handle = self.reader.index.handle(entity)?;
        self.reader.member(handle, body.space)?;
        Some(self.reader.entry(body, handle))
    }

    /// The entities of which something that the form returns changed. Sorted.
    pub(super) fn changed_columns(&self, body: &Body) -> Vec<EntityId> {
        let changed = |changes: &&[super::delta::Touched<'_>]| {
            let mut facts = changes.chunk_by(|a, b| a.slot == b.slot);
            facts.any(|fact| body.columns.contains(fact[0].slot) && Delta::differs(fact))
        };
        self.delta.entities().filter(changed).map(|changes| changes[0].entity).collect()
    }
}

impl LiveQuery {
    /// A live query of somebody who may see everything.
    ///
    /// # Errors
    /// As [`crate::query::evaluate`].
    pub fn new(
        index: &TripleIndex,
        query: &Query,
        options: &EvalOptions,
    ) -> Result<Self, QueryError> {
        Self::new_as(index, query, options, AllVisible)
    }
}

impl<V: Visibility> LiveQuery<V> {
    /// A live query with somebody's eyes.
    ///
    /// # Errors
    /// As [`crate::query::evaluate`].
    pub fn new_as(
        index: &TripleIndex,
        query: &Query,
        options: &EvalOptions,
        visibility: V,
    ) -> Result<Self, QueryError> {
        let plan = Arc::new(Plan::new(index, query, options)?);
        let state = State::Rows(Box::new([]));
        let mut live = Self { visibility, plan, state, counters: Counters::default() };
        live.evaluate(index, query);
        // The first evaluation looks for its rows by right.
        live.counters = Counters { probes: live.counters.probes, ..Counters::default() };
        Ok(live)
    }

    /// The query as JSON.
    pub fn text(&self) -> &Arc<str> {
        &self.plan.text
    }

    /// The work done so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// How the query is found and kept.
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Why the query does not fit the attributes any more, if so.
    pub const fn refusal(&self) -> Option<&QueryError> {
        match &self.state {
            State::Refused(error) => Some(error),
            State::Rows(_) | State::Whole(_) => None,
        }
    }

    /// Whether commits are followed row by row.
    pub const fn is_incremental(&self) -> bool {
        matches!(self.state, State::Rows(_))
    }

    /// How the query is answered on the index after the latest commit, and what it has done so far.
    pub fn explain(&self, index: &TripleIndex) -> Explanation {
        let mut explanation = self.plan.explain_as(index, &self.visibility);
        explanation.counters = Some(self.counters);
        explanation
    }

    fn evaluate_whole(&mut self, index: &TripleIndex) {
        let result = QueryResult::run(&self.plan, index, &self.visibility);
        self.counters.probes += result.touched();
        self.state = State::Whole(Box::new(result));
    }

    fn evaluate(&mut self, index: &TripleIndex, query: &Query) {
        if self.plan.live_path::<V>() != LivePath::Incremental {
            return self.evaluate_whole(index);
        }
        let (plan, commit) = (self.plan.clone(), Commit::default());
        let delta = Delta::new(index, &commit);
        let mut cx = Context {
            reader: Reader::new(index, &self.visibility),
            delta: &delta,
            counters: &mut self.counters,
        };
        let mut next = 0;
        let mut forms = Vec::with_capacity(plan.forms.len());
        for (plan, form) in plan.forms.iter().zip(query.forms()) {
            let is_windowed = self.plan.options.windows.is_some();
            let paged = plan.paged && !is_windowed && plan.aggregate.is_none();
            forms.push(LiveForm::new(&mut cx, plan, form, paged, &mut next));
        }
        cx.counters.probes += cx.reader.probes.get();
        self.state = State::Rows(forms.into());
    }

    /// Follows a commit; the index is the one after it.
    ///
    /// # Errors
    /// The query does not fit the attributes as the commit left them. It stays refused until they change
    /// again.
    pub fn apply(&mut self, index: &TripleIndex, commit: &Commit) -> Result<Change, QueryError> {
        self.apply_delta(index, commit, &Delta::new(index, commit))
    }

    /// As [`Self::apply`], with the commit's [`Delta`] made before.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_delta(
        &mut self,
        index: &TripleIndex,
        commit: &Commit,
        delta: &Delta<'_>,
    ) -> Result<Change, QueryError> {
        if commit.changes_attrs() && self.names(index, commit) {
            return self.replan(index);
        }
        self.follow(index, delta)
    }

    /// Whether a commit changes the meaning of a name that the query uses.
    pub fn names(&self, index: &TripleIndex, commit: &Commit) -> bool {
        self.parse().is_none_or(|query| query.reads(index.catalog()).replans(commit))
    }

    /// The query is kept as text only: its tree would take as much memory as all else.
    fn parse(&self) -> Option<Query> {
        let json: serde_json::Value = serde_json::from_str(&self.plan.text).ok()?;
        crate::query::parse(&json).ok()
    }

    /// Follows a commit that changes no name that the query uses.
    pub(super) fn follow(
        &mut self,
        index: &TripleIndex,
        delta: &Delta<'_>,
    ) -> Result<Change, QueryError> {
        match &mut self.state {
            State::Refused(error) => Err(QueryError::clone(error)),
            State::Whole(_) => {
                self.counters.fallbacks += 1;
                self.evaluate_whole(index);
                Ok(Change { renewed: true, ..Change::default() })
            }
            State::Rows(forms) => {
                self.counters.applied += 1;
                let mut change = Change::default();
                let mut cx = Context {
                    reader: Reader::new(index, &self.visibility),
                    delta,
                    counters: &mut self.counters,
                };
                for (form, plan) in forms.iter_mut().zip(&self.plan.forms) {
                    form.apply(&mut cx, plan, &mut change);
                }
                cx.counters.probes += cx.reader.probes.get();
                Ok(change)
            }
        }
    }

    pub(super) fn replan(&mut self, index: &TripleIndex) -> Result<Change, QueryError> {
        self.counters.replans += 1;
        // What was parsed once can be parsed again.
        let Some(query) = self.parse() else { return Ok(Change::default()) };
        match Plan::new(index, &query, &self.plan.options) {
            Ok(plan) => self.plan = Arc::new(plan),
            Err(error) => {
                self.state = State::Refused(Box::new(error.clone()));
                return Err(error);
            }
        }
        self.evaluate(index, &query);
        Ok(Change { renewed: true, ..Change::default() })
    }

    /// Uses the same memory for what others return too.
    pub(super) fn share_columns(&mut self, known: &mut Vec<Arc<[Column]>>) {
        if let Some(plan) = Arc::get_mut(&mut self.plan) {
            plan.share_columns(known);
        }
    }

    pub(super) const fn visibility(&self) -> &V {
        &self.visibility
    }

    /// The result as evaluation gives it; the index is the one after the latest commit. The work follows
    /// the size of the result.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn result(&self, index: &TripleIndex) -> Result<QueryResult, QueryError> {
        let forms = match &self.state {
            State::Refused(error) => return Err(QueryError::clone(error)),
            State::Whole(result) => return Ok(QueryResult::clone(result)),
            State::Rows(forms) => forms,
        };
        let forms = forms.iter().zip(&self.plan.forms).map(|(form, plan)| form.result(index, plan));
        Ok(QueryResult::of(&self.plan, index, &self.visibility, forms.collect()))
    }

    /// The rows of a list as they stand, in order: of a top-level form, or below an entity of the form
    /// around. `None` if there is no such list.
    pub fn list(&self, level: LevelId, parent: Option<EntityId>) -> Option<Vec<EntityId>> {
        let State::Rows(forms) = &self.state else { return None };
        let entities = |rows: Vec<&Entry>| rows.into_iter().map(|row| row.entity).collect();
        if let Some(parent) = parent {
            let branch = forms.iter().find_map(|form| LiveBranch::find(&form.below, level))?;
            return branch.lists.get(&parent).map(|list| entities(branch.pane.rows(list)));
        }
        let mut roots = forms.iter().filter_map(|form| form.top.rows());
        roots.find(|roots| roots.level == level).map(|roots| entities(roots.shown()))
    }
}

impl LiveForm {
    fn new<V: Visibility>(
        cx: &mut Context<'_, V>,
        plan: &FormPlan,
        form: &Form,
        paged: bool,
        next: &mut u32,
    ) -> Self {
        let level = LevelId(*next);
        *next += 1;
        let mut below = branches(plan, form, next);
        let Some(body) = &plan.body else { return Self { top: Top::Nothing, below } };
        if let Some(plan) = &plan.aggregate {
            let aggregate = LiveAggregate::new(cx, level, plan, body);
            return Self { top: Top::Aggregate(Box::new(aggregate)), below };
        }
        let roots = Roots::new(cx, level, body, paged);
        let rows: Vec<EntityId> = roots.shown().into_iter().map(|row| row.entity).collect();
        apply_below(&mut below, cx, body, &rows, &[], &mut Change::default());
        Self { top: Top::Rows(Box::new(roots)), below }
    }

    fn apply<V: Visibility>(
        &mut self,
        cx: &mut Context<'_, V>,
        plan: &FormPlan,
        change: &mut Change,
    ) {
        let Some(body) = &plan.body else { return };
        match (&mut self.top, &plan.aggregate) {
            (Top::Rows(roots), _) => {
                let (entered, left) = roots.apply(cx, body, change);
                apply_below(&mut self.below, cx, body, &entered, &left, change);
            }
            (Top::Aggregate(aggregate), Some(plan)) => aggregate.apply(cx, plan, body, change),
            _ => {}
        }
    }

    fn result(&self, index: &TripleIndex, plan: &FormPlan) -> FormResult {
        match (&self.top, &plan.body, &plan.aggregate) {
            (Top::Aggregate(aggregate), _, Some(plan)) => {
                FormResult::aggregated(aggregate.totals(plan))
            }
            (Top::Rows(roots), Some(body), _) => {
                let rows = roots.shown().into_iter().map(|row| row.handle).collect();
                let level = level(index, body, &self.below, rows);
                let page = roots.page(&Reader::new(index, &AllVisible), body);
                FormResult { level, page, totals: None }
            }
            _ => FormResult::absent(plan),
        }
    }
}

fn level(
    index: &TripleIndex,
    body: &Body,
    below: &[Option<LiveBranch>],
    rows: Vec<Handle>,
) -> Level {
    let children =
        below.iter().zip(&body.children).map(|(branch, plan)| match (branch, &plan.body) {
            (Some(branch), Some(body)) => branch.result(index, body, &rows),
            _ => Branch::childless(rows.len()),
        });
    let children = children.collect();
    Level { rows, children }
}

impl LiveBranch {
    fn find(branches: &[Option<Self>], level: LevelId) -> Option<&Self> {
        let mut branches = branches.iter().flatten();
        branches.find_map(|branch| match branch.level == level {
            true => Some(branch),
            false => Self::find(&branch.below, level),
        })
    }

    fn result(&self, index: &TripleIndex, body: &Body, parents: &[Handle]) -> Branch {
        let mut gathered = Gathered::new(body.shared);
        for parent in parents {
            let list = self.lists.get(&index.entity(*parent));
            let rows = list.map(|list| self.pane.rows(list)).unwrap_or_default();
            gathered.take(rows.into_iter().map(|row| row.handle));
        }
        gathered.into_branch(body.shared, |rows| level(index, body, &self.below, rows))
    }
}
