//! What a query found, and its object form.

use std::ops::Range;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::aggregate::{Groups, Totals};
use super::condition::Fact;
use super::evaluate::Hidden;
use super::form::Cursor;
use super::plan::{Body, FormPlan, Plan};
use crate::index::{Handle, Row, TripleIndex};

/// The outcome of a query: which entities, in which order, and the facts that made it so.
///
/// Holds references into the index it was made on and no copies of facts: render it before that index
/// changes.
#[derive(Clone, Debug)]
pub struct QueryResult {
    pub(super) plan: Arc<Plan>,
    pub(super) forms: Vec<FormResult>,
    /// Sorted, without duplicates.
    pub(super) facts: Vec<Fact>,
    pub(super) hidden: Hidden,
    pub(super) probes: u64,
}

/// The outcome of a top-level form.
#[derive(Clone, Debug)]
pub(super) struct FormResult {
    pub(super) level: Level,
    pub(super) page: Option<PageInfo>,
    pub(super) totals: Option<Totals>,
}

/// The entities of a form.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) rows: Vec<Handle>,
    /// One for each child form.
    pub(super) children: Vec<Branch>,
}

/// The entities of a child form, below each entity of its parent.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    /// For each parent, where its children end.
    pub(super) ends: Vec<u32>,
    /// The children as places in the level; `None` if child and place are one.
    pub(super) items: Option<Vec<u32>>,
    pub(super) level: Level,
}

impl Level {
    /// How many rows there are, those below included.
    fn len(&self) -> usize {
        self.rows.len() + self.children.iter().map(|branch| branch.level.len()).sum::<usize>()
    }

    fn share(&self, index: &TripleIndex, shared: &mut Vec<Arc<Row>>) {
        shared.extend(self.rows.iter().filter_map(|row| index.row_at(*row)).cloned());
        self.children.iter().for_each(|branch| branch.level.share(index, shared));
    }
}

impl FormResult {
    /// The outcome of a form that names what does not exist.
    pub(super) fn absent(form: &FormPlan) -> Self {
        Self {
            level: Level::default(),
            page: form.paged.then(PageInfo::default),
            totals: form.aggregate.as_ref().map(|plan| Groups::default().totals(plan)),
        }
    }

    /// The outcome of a form that asks for an aggregate.
    pub(super) fn aggregated(totals: Totals) -> Self {
        Self { level: Level::default(), page: None, totals: Some(totals) }
    }
}

impl Branch {
    /// No children below any of so many parents.
    pub(super) fn childless(parents: usize) -> Self {
        Self { ends: vec![0; parents], ..Self::default() }
    }

    /// The places of a parent's children.
    pub(super) fn slice(ends: &[u32], parent: usize) -> Range<usize> {
        let start = parent.checked_sub(1).map_or(0, |before| ends[before]);
        start as usize..ends[parent] as usize
    }

    pub(super) fn of(&self, parent: usize) -> impl Iterator<Item = usize> + '_ {
        Self::slice(&self.ends, parent)
            .map(|at| self.items.as_ref().map_or(at, |items| items[at] as usize))
    }
}

/// Where a page begins and ends, and whether more lies around it.
#[derive(Clone, PartialEq, Hash, Debug, Default)]
pub(super) struct PageInfo {
    pub(super) start: Option<Cursor>,
    pub(super) end: Option<Cursor>,
    pub(super) has_next: bool,
    pub(super) has_previous: bool,
}

/// How links that have at most one target appear in objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inference {
    /// As arrays, like all links.
    Arrays,
    /// As the object itself; the key is absent if there is none.
    Singular,
}

/// How page info is spelled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// `start-cursor`, `has-next-page?`: in messages.
    Wire,
    /// `startCursor`, `hasNextPage`: what users read.
    User,
}

impl QueryResult {
    /// The object form: one array for each namespace, one object for each entity with its values and
    /// the links asked for.
    pub fn to_object(&self, index: &TripleIndex, inference: Inference) -> Json {
        let objects = Objects { result: self, index, inference };
        let forms = self.plan.forms.iter().zip(&self.forms);
        let forms = forms.filter(|(form, _)| form.aggregate.is_none()).map(|(form, result)| {
            let rows = match &form.body {
                Some(body) => (0..result.level.rows.len())
                    .map(|at| objects.row(body, &result.level, at))
                    .collect(),
                None => Vec::new(),
            };
            (form.key.to_string(), Json::Array(rows))
        });
        Json::Object(forms.collect())
    }

    /// Page info of the paged namespaces as it travels; `None` if none is paged.
    pub fn page_info_json(&self) -> Option<Json> {
        self.page_info(Spelling::Wire)
    }

    /// Page info of the paged namespaces; `None` if none is paged.
    pub fn page_info(&self, spelling: Spelling) -> Option<Json> {
        let forms = self.plan.forms.iter().zip(&self.forms);
        let infos: Map<String, Json> = forms
            .filter_map(|(form, result)| {
                Some((form.key.to_string(), result.page.as_ref()?.to_json(spelling)))
            })
            .collect();
        (!infos.is_empty()).then_some(Json::Object(infos))
    }

    /// Aggregates of the namespaces that were asked for one, `{"users": {"count": 4}}`; with functions
    /// `{"orders": {"sum": {"price": 7}}}`, with groups `{"orders": {"groups": [{"key": {"status": "open"},
    /// "count": 4}]}}`. `None` if none was.
    pub fn aggregate_json(&self) -> Option<Json> {
        let forms = self.plan.forms.iter().zip(&self.forms);
        let counts: Map<String, Json> = forms
            .filter_map(|(form, result)| {
                Some((form.key.to_string(), result.totals.as_ref()?.json.clone()))
            })
            .collect();
        (!counts.is_empty()).then_some(Json::Object(counts))
    }

    /// How many rows, links and index entries the evaluation looked at: the same for the same input.
    pub const fn touched(&self) -> u64 {
        self.probes
    }

    /// The rows of all entities, shared with the index: form by form, outer before inner, each once for
    /// every time that it is looked up. They stay as they are when the index changes.
    pub fn shared_rows(&self, index: &TripleIndex) -> Vec<Arc<Row>> {
        let mut shared = Vec::with_capacity(self.forms.iter().map(|f| f.level.len()).sum());
        for form in &self.forms {
            form.level.share(index, &mut shared);
        }
        shared
    }

    /// The entities of a top-level namespace, in order.
    pub fn rows(&self, etype: &str) -> &[Handle] {
        let mut forms = self.plan.forms.iter().zip(&self.forms);
        forms.find(|(form, _)| *form.key == *etype).map_or(&[], |(_, result)| &result.level.rows)
    }
}

impl PageInfo {
    pub(super) fn to_json(&self, spelling: Spelling) -> Json {
        let cursor = |cursor: &Option<Cursor>| match cursor {
            Some(at) => json!([at.entity, at.attr, at.value, at.created_at]),
            None => Json::Null,
        };
        let (start, end) = (cursor(&self.start), cursor(&self.end));
        let (next, previous) = (self.has_next, self.has_previous);
        match spelling {
            Spelling::Wire => json!({
                "start-cursor": start, "end-cursor": end,
                "has-next-page?": next, "has-previous-page?": previous,
            }),
            Spelling::User => json!({
                "startCursor": start, "endCursor": end,
                "hasNextPage": next, "hasPreviousPage": previous,
            }),
        }
    }
}

struct Objects<'a> {
    result: &'a QueryResult,
    index: &'a TripleIndex,
    inference: Inference,
}

impl Objects<'_> {
    fn row(&self, body: &Body, level: &Level, at: usize) -> Json {
        let mut object = Map::new();
        let handle = level.rows[at];
        if let Some(row) = self.index.row_at(handle) {
            let hidden = &self.result.hidden;
            for column in body.columns.0.iter().filter(|column| column.link.is_none()) {
                if !hidden.is_empty() && hidden.contains(&(handle, column.slot)) {
                    continue;
                }
                if let Some(value) = row.value(column.slot) {
                    object.insert(column.label.to_string(), value.to_json());
                }
            }
        }
        for (form, branch) in body.children.iter().zip(&level.children) {
            self.link(form, branch, at, &mut object);
        }
        Json::Object(object)
    }

    fn link(&self, form: &FormPlan, branch: &Branch, at: usize, object: &mut Map<String, Json>) {
        let key = form.key.to_string();
        let singular = form.singular && self.inference == Inference::Singular;
        let rows = form
            .body
            .as_ref()
            .map(|body| branch.of(at).map(move |child| self.row(body, &branch.level, child)));
        match (rows, singular) {
            (Some(mut rows), true) => match rows.next() {
                Some(row) => drop(object.insert(key, row)),
                // An attribute of the same name does not stand in for the link.
                None => drop(object.remove(&key)),
            },
            (Some(rows), false) => drop(object.insert(key, rows.collect())),
            (None, true) => drop(object.remove(&key)),
            (None, false) => drop(object.insert(key, Json::Array(Vec::new()))),
        }
    }
}
