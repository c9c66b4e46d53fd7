//! How a query is answered: which index finds its rows, what orders them, how it is kept up to date.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::condition::{Cond, Leaf, Reader, Scope, Way};
use super::form::Sense;
use super::live::Counters;
use super::plan::{Body, FormPlan, OrderKey, Plan};
use super::result::QueryResult;
use super::test::Test;
use super::visibility::{AllVisible, Visibility};
use super::window::Fetch;
use crate::catalog::Direction;
use crate::index::{AttrSlot, TripleIndex};

/// How a query is answered on an index as it stands. Found out by answering it: the numbers are those of
/// this run, and the same for the same input.
///
/// Prints as a few readable lines for each form.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explanation {
    /// The forms, as in the query.
    pub forms: Vec<FormExplanation>,
    /// How a subscription would follow changes.
    pub live: LivePath,
    /// Rows, links and index entries that were looked at.
    pub touched: u64,
    /// What a live query has done since it was made; absent for one that was run once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
}

/// How one form is answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FormExplanation {
    /// The namespace or link label.
    pub form: String,
    /// How its rows are found.
    pub access: Access,
    /// The indexes that could name candidates for the conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<Seed>,
    /// Conditions that no index serves: they are tested row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unindexed: Vec<String>,
    /// The `where` of the form.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Json>,
    /// What orders the rows, such as `todos.rank desc`.
    pub order: String,
    /// Where the order comes from.
    pub order_from: OrderSource,
    /// For a form with a limit, how a live query finds further rows when its spare ones run out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refill: Option<Access>,
    /// How many rows it gave; of a child form all together.
    pub rows: usize,
    /// The child forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Self>,
}

/// How rows of a form are found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Access {
    /// Not at all: a name does not exist yet, so there are none.
    Nothing,
    /// Along an index that is in the order wanted, until there are enough.
    Walk {
        /// The attribute of the index.
        index: String,
    },
    /// Among the candidates that an index names.
    Index {
        /// The attribute of the index.
        index: String,
    },
    /// Through a link from the rows of the form around it.
    Link {
        /// The attribute of the link.
        link: String,
        /// Whether it is walked from target to source.
        reverse: bool,
    },
    /// Every entity of the namespace is looked at.
    Scan {
        /// How many there are.
        of: u64,
    },
}

/// Where the order of rows comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OrderSource {
    /// The index is in order.
    Index,
    /// The matches are sorted.
    Sort,
}

/// An index that can name candidates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seed {
    /// The attribute of the index.
    pub index: String,
    /// How the attribute is indexed.
    pub kind: SeedKind,
    /// How many candidates it names; absent if they are more than a quarter of all entities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<usize>,
}

/// Kinds of index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedKind {
    /// Entities by id.
    Id,
    /// A unique attribute: at most one entity for each value.
    Unique,
    /// Values in order.
    Value,
    /// The other end of links.
    Link,
}

/// How a live query follows commits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "path", rename_all = "kebab-case")]
pub enum LivePath {
    /// Row by row: only what a commit can reach is looked at.
    Incremental,
    /// The whole query is evaluated again after every commit.
    Whole {
        /// Why.
        why: String,
    },
}

impl Plan {
    /// Says how the query is answered on an index, by answering it. The index must have the attributes
    /// that the plan was made with.
    pub fn explain(self: &Arc<Self>, index: &TripleIndex) -> Explanation {
        self.explain_as(index, &AllVisible)
    }

    /// As [`Self::explain`], with somebody's eyes.
    pub fn explain_as<V: Visibility>(
        self: &Arc<Self>,
        index: &TripleIndex,
        visibility: &V,
    ) -> Explanation {
        let result = QueryResult::run(self, index, visibility);
        let explainer = Explainer { reader: Reader::new(index, visibility), plan: self };
        let query: Json = serde_json::from_str(&self.text).unwrap_or_default();
        let forms = self.forms.iter().zip(&result.forms).map(|(plan, result)| {
            let aggregated = result.totals.as_ref().map(|totals| totals.rows);
            let rows = aggregated.unwrap_or(result.level.rows.len());
            let mut counts = Vec::new();
            count_rows(plan, &result.level, &mut counts);
            let written = &query[&*plan.key];
            explainer.form(plan, written, rows, &mut counts.into_iter(), None)
        });
        Explanation {
            forms: forms.collect(),
            live: self.live_path::<V>(),
            touched: result.touched(),
            counters: None,
        }
    }

    /// How a live query of this plan follows commits.
    pub(super) fn live_path<V: Visibility>(&self) -> LivePath {
        let leading =
            |form: &FormPlan| form.body.as_ref().is_none_or(|body| body.page.is_leading());
        let why = if !V::ALL {
            "what rules hide is not followed row by row"
        } else if self.options.windows.is_some() && !self.forms.iter().all(leading) {
            "a server says where the page begins"
        } else {
            return LivePath::Incremental;
        };
        LivePath::Whole { why: why.into() }
    }
}

/// The rows of each child form, outer forms before inner ones.
fn count_rows(plan: &FormPlan, level: &super::result::Level, counts: &mut Vec<usize>) {
    let children = plan.body.iter().flat_map(|body| &body.children);
    for (plan, branch) in children.zip(&level.children) {
        counts.push(branch.level.rows.len());
        count_rows(plan, &branch.level, counts);
    }
}

struct Explainer<'a, V> {
    reader: Reader<'a, V>,
    plan: &'a Plan,
}

impl<V: Visibility> Explainer<'_, V> {
    fn form(
        &self,
        plan: &FormPlan,
        written: &Json,
        rows: usize,
        counts: &mut dyn Iterator<Item = usize>,
        around: Option<&Body>,
    ) -> FormExplanation {
        let mut explained = FormExplanation {
            form: plan.key.to_string(),
            access: Access::Nothing,
            seeds: Vec::new(),
            unindexed: Vec::new(),
            conditions: written["$"].get("where").cloned(),
            order: "serverCreatedAt asc".into(),
            order_from: OrderSource::Sort,
            refill: None,
            rows,
            children: Vec::new(),
        };
        let Some(body) = &plan.body else { return explained };
        explained.order = self.order(body);
        if let Some(filter) = &body.filter {
            self.seeds(filter, body, &mut explained);
        }
        match body.link.filter(|_| around.is_some()) {
            Some(step) => {
                let reverse = step.direction == Direction::Reverse;
                explained.access = Access::Link { link: self.name(step.slot), reverse };
            }
            None => self.top(plan, body, &mut explained),
        }
        for child in &body.children {
            let (rows, written) = (counts.next().unwrap_or(0), &written[&*child.key]);
            explained.children.push(self.form(child, written, rows, counts, Some(body)));
        }
        explained
    }

    fn top(&self, plan: &FormPlan, body: &Body, explained: &mut FormExplanation) {
        self.reader.found_by(Fetch::Scan);
        let windows = self.plan.options.windows.as_ref().filter(|_| !body.page.is_leading());
        match (plan.aggregate.is_some(), windows) {
            (true, _) => drop(self.reader.matches(body)),
            (false, Some(windows)) => drop(self.reader.window(body, windows.get(&plan.key))),
            (false, None) => drop(self.reader.page(body, plan.paged)),
        }
        let found = self.reader.way();
        explained.access = self.access(found, body, explained);
        if found == Fetch::Walk {
            explained.order_from = OrderSource::Index;
        }
        if let (Some(limit), false) = (body.page.limit, plan.aggregate.is_some()) {
            let count = limit.saturating_add(body.page.offset.unwrap_or(0));
            let (from, to) = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
            let fetched = self.reader.fetch(body, body.page.last, from, to, count);
            explained.refill = Some(self.access(fetched.by, body, explained));
        }
    }

    fn access(&self, by: Fetch, body: &Body, explained: &FormExplanation) -> Access {
        match by {
            Fetch::Walk => match body.order.by {
                OrderKey::Created => {
                    let index = format!("{} by creation time", self.name(body.space));
                    Access::Walk { index }
                }
                OrderKey::Attr(slot, _) => Access::Walk { index: self.name(slot) },
            },
            Fetch::Seed => {
                let known = explained.seeds.iter().filter(|seed| seed.candidates.is_some());
                let best = known.min_by_key(|seed| seed.candidates);
                let index = best.map_or_else(|| "several".into(), |seed| seed.index.clone());
                Access::Index { index }
            }
            Fetch::Scan => Access::Scan { of: self.reader.index.holder_count(body.space) },
        }
    }

    fn order(&self, body: &Body) -> String {
        let by = match body.order.by {
            OrderKey::Created => "serverCreatedAt".into(),
            OrderKey::Attr(slot, _) => self.name(slot),
        };
        let sense = match body.order.sense {
            Sense::Ascending => "asc",
            Sense::Descending => "desc",
        };
        format!("{by} {sense}")
    }

    fn name(&self, slot: AttrSlot) -> String {
        let index = self.reader.index;
        let attr = index.catalog().get(index.attr_id(slot));
        attr.map_or_else(|| "?".into(), |attr| format!("{}.{}", attr.etype(), attr.label()))
    }

    fn seeds(&self, cond: &Cond, body: &Body, explained: &mut FormExplanation) {
        match cond {
            Cond::Exists(scope) => self.scope_seeds(scope, body, explained),
            Cond::All(conds) | Cond::Any(conds) => {
                conds.iter().for_each(|cond| self.seeds(cond, body, explained));
            }
            Cond::IdPrefix(prefix) => explained.unindexed.push(format!("id begins with {prefix}")),
        }
    }

    fn scope_seeds(&self, scope: &Scope, body: &Body, explained: &mut FormExplanation) {
        let quarter = self.reader.index.holder_count(body.space) / 4;
        let cap = usize::try_from(quarter).unwrap_or(usize::MAX).max(1024);
        for leaf in scope.vars.iter().flat_map(|var| &var.leaves) {
            let index = self.name(leaf.slot);
            match self.seed_kind(leaf) {
                Some(kind) => {
                    let candidates = self.reader.collect_leaf(leaf, cap).map(|found| found.len());
                    let seed = Seed { index, kind, candidates };
                    if !explained.seeds.contains(&seed) {
                        explained.seeds.push(seed);
                    }
                }
                None if !explained.unindexed.contains(&index) => explained.unindexed.push(index),
                None => {}
            }
        }
    }

    /// The index that serves a leaf, whether it names few candidates or many.
    fn seed_kind(&self, leaf: &Leaf) -> Option<SeedKind> {
        let index = self.reader.index;
        if let Way::Link(_) = leaf.way {
            return leaf
                .tests
                .iter()
                .any(|test| matches!(test, Test::Target(_)))
                .then_some(SeedKind::Link);
        }
        let attr = index.catalog().get(index.attr_id(leaf.slot))?;
        let equality = leaf.tests.iter().any(|test| matches!(test, Test::Is(_)));
        if attr.is_id() && equality {
            return Some(SeedKind::Id);
        }
        if attr.unique && !attr.setting_unique && equality {
            return Some(SeedKind::Unique);
        }
        let ordered = |test: &Test| {
            matches!(test, Test::Is(_) | Test::Instant { .. } | Test::Order(..) | Test::Never)
        };
        (index.is_ordered(leaf.slot) && leaf.tests.iter().any(ordered)).then_some(SeedKind::Value)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for form in &self.forms {
            form.print(f, 0)?;
        }
        match &self.live {
            LivePath::Incremental => {
                writeln!(f, "live: row by row, by what a commit reaches")?;
            }
            LivePath::Whole { why } => writeln!(f, "live: evaluated anew after commits: {why}")?,
        }
        write!(f, "looked at {} rows, links and index entries", self.touched)?;
        if let Some(Counters { probes, applied, refills, scans, fallbacks, replans }) =
            self.counters
        {
            write!(
                f,
                "\nsince it is live: {applied} commits followed, {probes} probes, {refills} refills \
                 ({scans} by a scan), {fallbacks} whole evaluations, {replans} replans"
            )?;
        }
        Ok(())
    }
}

impl FormExplanation {
    fn print(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = "  ".repeat(depth);
        writeln!(f, "{indent}{}: {} rows", self.form, self.rows)?;
        let indent = "  ".repeat(depth + 1);
        writeln!(f, "{indent}rows: {}", self.access)?;
        if let Some(conditions) = &self.conditions {
            writeln!(f, "{indent}where: {conditions}")?;
        }
        for Seed { index, kind, candidates } in &self.seeds {
            let kind = match kind {
                SeedKind::Id => "entities by id",
                SeedKind::Unique => "unique",
                SeedKind::Value => "values in order",
                SeedKind::Link => "links by target",
            };
            match candidates {
                Some(count) => writeln!(f, "{indent}index {index} ({kind}): {count} candidates")?,
                None => writeln!(f, "{indent}index {index} ({kind}): too many candidates")?,
            }
        }
        if !self.unindexed.is_empty() {
            let names = self.unindexed.join(", ");
            writeln!(f, "{indent}tested row by row, no index serves: {names}")?;
        }
        let from = match self.order_from {
            OrderSource::Index => "as the index has it",
            OrderSource::Sort => "by sorting",
        };
        writeln!(f, "{indent}order: {}, {from}", self.order)?;
        if let Some(refill) = &self.refill {
            writeln!(f, "{indent}further rows when live: {refill}")?;
        }
        self.children.iter().try_for_each(|child| child.print(f, depth + 1))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none, a name does not exist yet"),
            Self::Walk { index } => write!(f, "walk along the index of {index}"),
            Self::Index { index } => write!(f, "candidates from the index of {index}"),
            Self::Link { link, reverse: false } => write!(f, "through the link {link}"),
            Self::Link { link, reverse: true } => write!(f, "through the link {link}, backwards"),
            Self::Scan { of } => write!(f, "scan of all {of} entities"),
        }
    }
}
