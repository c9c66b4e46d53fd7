//! Aggregates: counts, sums and extremes of the matches of a form, all together or by groups.
//!
//! An aggregate is a function of a multiset of rows, kept so that a row that goes leaves no trace: sums are
//! exact (see [`exact_sum`]), and extremes are ends of an ordered set. A live query thus gives the same
//! as an evaluation from scratch.

mod exact_sum;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use serde_json::{Map, Value as Json, json};

use self::exact_sum::ExactSum;
use super::condition::{Reader, Step};
use super::visibility::Visibility;
use crate::attr::CheckedType;
use crate::id::EntityId;
use crate::index::{AttrSlot, Handle, SortKey};
use crate::value::Value;

/// What is asked of the matches of a form.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Aggregate {
    pub(super) counts: bool,
    /// In the order asked for.
    pub(super) measures: Vec<(Function, Arc<str>)>,
    /// Labels whose values make the groups; `None` for one group without a key.
    pub(super) by: Option<Vec<Arc<str>>>,
}

/// Reads `{"count": true, "sum": "price", "avg": ["price", "age"], "groupBy": "status"}`; in words what is
/// wrong with it.
pub(super) fn read(json: &Map<String, Json>) -> Result<Aggregate, String> {
    let mut asked = Aggregate::default();
    for (key, json) in json {
        match (key.as_str(), json) {
            (_, Json::Null) => {}
            ("count", Json::Bool(counts)) => asked.counts = *counts,
            ("count", Json::String(all)) if all == "*" => asked.counts = true,
            ("count", _) => return Err("`count` in an aggregate is true or \"*\".".into()),
            ("groupBy", json) => asked.by = Some(labels(key, json)?),
            (name, json) => {
                let function = Function::ALL.into_iter().find(|function| function.name() == name);
                let function = function.ok_or_else(|| {
                    format!(
                        "An aggregate has no `{name}`: it may ask for `count`, `sum`, `min`, `max` and \
                         `avg`, and have a `groupBy`."
                    )
                })?;
                asked
                    .measures
                    .extend(labels(key, json)?.into_iter().map(|label| (function, label)));
            }
        }
    }
    if !asked.counts && asked.measures.is_empty() {
        return Err("An aggregate must ask for `count`, `sum`, `min`, `max` or `avg`.".into());
    }
    Ok(asked)
}

/// A function or a key of groups may name so many attributes.
const LABELS_MAX: usize = 64;

/// One attribute or several, each once.
fn labels(key: &str, json: &Json) -> Result<Vec<Arc<str>>, String> {
    let refuse = |json: &Json| {
        format!("`{key}` in an aggregate names attributes of the namespace itself, got {json}.")
    };
    let items = match json {
        Json::Array(items) if !items.is_empty() => items.as_slice(),
        one => std::slice::from_ref(one),
    };
    if items.len() > LABELS_MAX {
        return Err(format!("`{key}` in an aggregate names more than {LABELS_MAX} attributes."));
    }
    let mut all: Vec<Arc<str>> = Vec::with_capacity(items.len());
    for item in items {
        let label = item.as_str().filter(|label| !label.is_empty() && !label.contains('.'));
        let label: Arc<str> = label.ok_or_else(|| refuse(item))?.into();
        if !all.contains(&label) {
            all.push(label);
        }
    }
    Ok(all)
}

/// A function of the values that rows hold under a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Sum,
    Min,
    Max,
    Avg,
}

impl Function {
    pub(super) const ALL: [Self; 4] = [Self::Sum, Self::Min, Self::Max, Self::Avg];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Min => "min",
            Self::Max => "max",
            Self::Avg => "avg",
        }
    }

    const fn is_extreme(self) -> bool {
        matches!(self, Self::Min | Self::Max)
    }
}

/// An aggregate with its labels looked up.
#[derive(Clone, Debug)]
pub(super) struct AggregatePlan {
    pub(super) asked: Aggregate,
    /// Where the values of each key of a group stand.
    pub(super) keys: Box<[Source]>,
    /// What is measured, each label once.
    pub(super) measured: Box<[Measured]>,
}

/// Where a row holds a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// Nowhere: there is no such attribute yet, so it is null.
    Nothing,
    Data(AttrSlot),
    /// A link with one target: its id.
    Link(Step),
}

/// One label with what its functions need.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    pub(super) label: Arc<str>,
    pub(super) source: Source,
    pub(super) checked: Option<CheckedType>,
    sums: bool,
    extremes: bool,
}

impl Measured {
    pub(super) fn new(
        label: &Arc<str>,
        source: Source,
        checked: Option<CheckedType>,
        asked: &Aggregate,
    ) -> Self {
        let any = |extreme| {
            let mut own = asked.measures.iter().filter(|(_, known)| known == label);
            own.any(|(function, _)| function.is_extreme() == extreme)
        };
        Self { label: label.clone(), source, checked, sums: any(false), extremes: any(true) }
    }
}

impl Source {
    /// The attribute that is read.
    pub(super) const fn slot(self) -> Option<AttrSlot> {
        match self {
            Self::Nothing => None,
            Self::Data(slot) => Some(slot),
            Self::Link(step) => Some(step.slot),
        }
    }
}

impl AggregatePlan {
    /// Every attribute whose values count.
    pub(super) fn slots(&self) -> impl Iterator<Item = AttrSlot> + '_ {
        let measured = self.measured.iter().map(|measured| measured.source);
        self.keys.iter().copied().chain(measured).filter_map(Source::slot)
    }

    /// What a row brings to the aggregate.
    pub(super) fn part<V: Visibility>(&self, reader: &Reader<'_, V>, row: Handle) -> Part {
        let value = |source: Source| match source {
            Source::Nothing => Value::Null,
            Source::Data(slot) => reader.seen_value(row, slot).cloned().unwrap_or(Value::Null),
            Source::Link(step) => {
                let mut target = Value::Null;
                reader.any_linked(row, step, |linked| {
                    target = Value::Ref(reader.index.entity(linked));
                    true
                });
                target
            }
        };
        Part {
            key: self.keys.iter().map(|key| value(*key)).collect(),
            values: self.measured.iter().map(|measured| value(measured.source)).collect(),
        }
    }
}

/// What one row brings to an aggregate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Part {
    key: Box<[Value]>,
    /// One for each measured label.
    values: Box<[Value]>,
}

impl Part {
    /// Whether another part belongs to the same group.
    pub(super) fn is_of_group(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

/// The state of an aggregate over some rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Box<[Value]>, Group, FxBuildHasher>,
    rows: usize,
}

#[derive(Clone, Debug)]
struct Group {
    rows: usize,
    cells: Box<[Cell]>,
}

/// What is kept of the values of one label.
#[derive(Clone, Debug, Default)]
struct Cell {
    sum: ExactSum,
    /// Every value in order; of values with one place the owner's id decides.
    ordered: BTreeMap<(SortKey, EntityId), Value>,
}

impl Groups {
    /// Takes a row in.
    pub(super) fn add(&mut self, plan: &AggregatePlan, row: EntityId, part: &Part) {
        self.rows += 1;
        let group = self.groups.entry_ref(&part.key).or_insert_with(|| Group {
            rows: 0,
            cells: plan.measured.iter().map(|_| Cell::default()).collect(),
        });
        group.rows += 1;
        for ((cell, measured), value) in
            group.cells.iter_mut().zip(&plan.measured).zip(&part.values)
        {
            if measured.sums {
                cell.sum.add(value);
            }
            if measured.extremes && !value.is_null() {
                let key = SortKey::of(value, measured.checked);
                cell.ordered.insert((key, row), value.clone());
            }
        }
    }

    /// Takes a row out that was taken in with the same part.
    pub(super) fn remove(&mut self, plan: &AggregatePlan, row: EntityId, part: &Part) {
        let Some(group) = self.groups.get_mut(&part.key) else { return };
        self.rows -= 1;
        group.rows -= 1;
        if group.rows == 0 {
            self.groups.remove(&part.key);
            return;
        }
        for ((cell, measured), value) in
            group.cells.iter_mut().zip(&plan.measured).zip(&part.values)
        {
            if measured.sums {
                cell.sum.take(value);
            }
            if measured.extremes && !value.is_null() {
                cell.ordered.remove(&(SortKey::of(value, measured.checked), row));
            }
        }
    }

    /// What an aggregate shows for the group of a part; `None` if it has no row.
    pub(super) fn show_group(&self, plan: &AggregatePlan, part: &Part) -> Option<Json> {
        self.groups.get(&part.key).map(|group| group.show(plan).into())
    }

    /// The outcome.
    pub(super) fn totals(&self, plan: &AggregatePlan) -> Totals {
        let Some(by) = &plan.asked.by else {
            let none =
                Group { rows: 0, cells: plan.measured.iter().map(|_| Cell::default()).collect() };
            let json = self.groups.values().next().unwrap_or(&none).show(plan).into();
            return Totals { rows: self.rows, json };
        };
        let mut groups: Vec<_> = self.groups.iter().collect();
        // Values that share a place are told apart by their text.
        groups.sort_by_cached_key(|(key, _)| {
            let places: Vec<SortKey> = key.iter().map(|value| SortKey::of(value, None)).collect();
            let texts: Vec<String> = key.iter().map(|value| value.to_json().to_string()).collect();
            (places, texts)
        });
        let groups = groups.into_iter().map(|(key, group)| {
            let mut shown = group.show(plan);
            let key = by.iter().zip(key).map(|(label, value)| (label.to_string(), value.to_json()));
            shown.insert("key".into(), Json::Object(key.collect()));
            Json::Object(shown)
        });
        Totals { rows: self.rows, json: json!({"groups": groups.collect::<Vec<_>>()}) }
    }
}

impl Group {
    fn show(&self, plan: &AggregatePlan) -> Map<String, Json> {
        let mut shown = Map::new();
        if plan.asked.counts {
            shown.insert("count".into(), self.rows.into());
        }
        for (function, label) in &plan.asked.measures {
            let at = plan.measured.iter().position(|measured| measured.label == *label);
            let value = at.and_then(|at| self.cells.get(at)).map(|cell| cell.show(*function));
            let labels = shown.entry(function.name()).or_insert_with(|| json!({}));
            labels[&**label] = value.unwrap_or(Value::Null).to_json();
        }
        shown
    }
}

impl Cell {
    fn show(&self, function: Function) -> Value {
        let end = match function {
            Function::Sum => return self.sum.total(),
            Function::Avg => return self.sum.mean(),
            Function::Min => self.ordered.first_key_value(),
            Function::Max => self.ordered.last_key_value(),
        };
        end.map_or(Value::Null, |(_, value)| value.clone())
    }
}

/// The outcome of an aggregate.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Totals {
    /// How many rows matched.
    pub(super) rows: usize,
    /// `{"count": 4, "sum": {"price": 7}}`, or with groups `{"groups": [{"key": {..}, "count": 4}]}`.
    pub(super) json: Json,
}
