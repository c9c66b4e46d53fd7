//! A query with its names looked up: what evaluation follows.

use std::sync::Arc;

use super::aggregate::{Aggregate, AggregatePlan, Measured, Source};
use super::check;
use super::condition::{Cond, Leaf, Scope, Step, Way};
use super::error::{Fault, QueryError};
use super::form::{Condition, Form, Operator, Page, PathCondition, Query, Sense};
use super::options::EvalOptions;
use super::pattern::Pattern;
use super::test::{Bound, Test};
use crate::attr::{Attr, Cardinality, CheckedType};
use crate::catalog::{AttrCatalog, Direction, Named};
use crate::id::AttrId;
use crate::index::{AttrSlot, TripleIndex};
use crate::value::Value;

/// A query prepared against the attributes of an index. Stays valid until these change.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The query as JSON.
    pub(super) text: Arc<str>,
    pub(super) forms: Box<[FormPlan]>,
    pub(super) options: EvalOptions,
}

/// A form of the query.
#[derive(Clone, Debug)]
pub(super) struct FormPlan {
    /// The key under which results appear.
    pub(super) key: Arc<str>,
    /// A link that has at most one target.
    pub(super) singular: bool,
    pub(super) paged: bool,
    pub(super) aggregate: Option<Arc<AggregatePlan>>,
    /// `None` if a name does not exist (yet): the result is empty.
    pub(super) body: Option<Body>,
}

/// The part of a form that needs attributes to exist.
#[derive(Clone, Debug)]
pub(super) struct Body {
    /// How the form's entities hang from those of the form around it.
    pub(super) link: Option<Step>,
    /// The `id` attribute of the form's namespace.
    pub(super) space: AttrSlot,
    pub(super) id_attr: AttrId,
    pub(super) filter: Option<Cond>,
    /// Those parts of the filter that can be true because something is missing.
    pub(super) negatives: Vec<Cond>,
    pub(super) order: Order,
    pub(super) page: Page,
    pub(super) columns: Columns,
    pub(super) children: Box<[FormPlan]>,
    /// One entity may hang from several others, so children are looked up once for each entity.
    pub(super) shared: bool,
}

/// What sorts the rows of a form. Ties are broken by id, in the same sense.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) by: OrderKey,
    pub(super) sense: Sense,
}

/// The key of an order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OrderKey {
    /// The creation time of the entity.
    Created,
    /// The value of an attribute.
    Attr(AttrSlot, Option<CheckedType>),
}

/// Which attributes of an entity are returned, sorted by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Columns(pub(super) Arc<[Column]>);

/// One returned attribute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    pub(super) slot: AttrSlot,
    pub(super) attr: AttrId,
    pub(super) label: Arc<str>,
    /// Links travel with their entity but do not show as values.
    pub(super) link: Option<Step>,
}

impl FormPlan {
    fn share_columns(&mut self, known: &mut Vec<Arc<[Column]>>) {
        let Some(body) = &mut self.body else { return };
        match known.iter().find(|columns| **columns == body.columns.0) {
            Some(columns) => body.columns.0 = columns.clone(),
            None => known.push(body.columns.0.clone()),
        }
        body.children.iter_mut().for_each(|child| child.share_columns(known));
    }
}

impl Columns {
    pub(super) fn contains(&self, slot: AttrSlot) -> bool {
        self.0.binary_search_by_key(&slot, |column| column.slot).is_ok()
    }
}

impl Plan {
    /// Uses the same memory for what other plans return too.
    pub(super) fn share_columns(&mut self, known: &mut Vec<Arc<[Column]>>) {
        self.forms.iter_mut().for_each(|form| form.share_columns(known));
    }

    /// Looks up the names of a query and, if asked to, checks it as the server does.
    ///
    /// # Errors
    /// A data attribute used as a link, and with checks everything that the server refuses.
    pub fn new(
        index: &TripleIndex,
        query: &Query,
        options: &EvalOptions,
    ) -> Result<Self, QueryError> {
        let unchecked = query.forms().iter().find_map(Form::unchecked_fault);
        let extension = query.forms().iter().find_map(Form::extension_fault);
        let unchecked = unchecked.or(extension.filter(|_| !options.extensions));
        if let Some(fault) = unchecked.filter(|_| options.check) {
            return Err(fault.clone().into_error(query.json()));
        }
        let planner = Planner { index, catalog: index.catalog(), options };
        let forms = query
            .forms()
            .iter()
            .map(|form| planner.form(form, Parent::Top))
            .collect::<Result<_, _>>()
            .map_err(|fault| fault.into_error(query.json()))?;
        Ok(Self { text: query.text(), forms, options: options.clone() })
    }
}

struct Planner<'a> {
    index: &'a TripleIndex,
    catalog: &'a AttrCatalog,
    options: &'a EvalOptions,
}

/// What a form hangs from.
#[derive(Clone, Copy)]
enum Parent<'a> {
    Top,
    Form { etype: &'a str, trail: &'a Trail<'a> },
}

/// The labels that lead to a form, innermost first.
struct Trail<'a> {
    label: &'a str,
    above: Option<&'a Self>,
}

impl Trail<'_> {
    /// A place below the form's options, as errors name it.
    fn place(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let mut labels = vec![self.label];
        let mut above = self.above;
        while let Some(trail) = above {
            labels.push(trail.label);
            above = trail.above;
        }
        labels.iter().rev().chain(&["$"]).chain(more).map(|part| (*part).into()).collect()
    }
}

type Planned<T> = Result<T, Fault>;

/// What a lookup of names gives: `None` stands for a name that does not exist.
type Known<T> = Planned<Option<T>>;

impl<'a> Planner<'a> {
    fn form(&self, form: &Form, parent: Parent<'_>) -> Planned<FormPlan> {
        let (link, above) = match parent {
            Parent::Top => (None, None),
            Parent::Form { etype, trail } => match self.catalog.find(etype, &form.label) {
                None => return Ok(self.unknown(form)),
                Some(named) if !named.attr.is_ref() => {
                    return Err(Fault::not_a_link(etype, &form.label));
                }
                Some(named) => (Some(named), Some(trail)),
            },
        };
        let trail = Trail { label: &form.label, above };
        let etype = match link {
            None => &*form.label,
            Some(named) => named.leads_to().unwrap_or_default(),
        };
        let options = &form.options;
        let filter = self.filter(&options.conditions, etype)?;
        let order = self.order(form, etype, link.is_some(), &trail)?;
        self.check_page(form, etype, order, &trail)?;
        let may_aggregate = !self.options.check || self.options.admin || self.options.extensions;
        if options.aggregate.is_some() && !may_aggregate {
            let message = "Aggregates are currently only available for admin queries.";
            let place = trail.place(&["aggregate"]);
            return Err(Fault::refused("admin?", place, message.into()));
        }
        let mut plan = self.unknown(form);
        if let Some(asked) = &options.aggregate {
            plan.aggregate = Some(Arc::new(self.aggregate(asked, etype, &trail)?));
        }
        plan.singular = link.is_some_and(|named| named.is_singular());
        let (Some(filter), Some(id)) = (filter, self.catalog.id_attr(etype)) else {
            return Ok(plan);
        };
        let Some(space) = self.index.slot(id.id) else { return Ok(plan) };
        let parent = Parent::Form { etype, trail: &trail };
        let children = form.children.iter().map(|child| self.form(child, parent));
        let children = children.collect::<Planned<Box<[_]>>>()?;
        let mut negatives = Vec::new();
        if let Some(filter) = &filter {
            collect_negatives(filter, &mut negatives);
        }
        plan.body = Some(Body {
            link: link.and_then(|named| self.step(named)),
            space,
            id_attr: id.id,
            filter,
            negatives,
            order,
            page: self.page(form, link.is_some()),
            columns: self.columns(etype, options.fields.as_deref()),
            shared: !children.is_empty() && link.is_some_and(has_many_sources),
            children,
        });
        Ok(plan)
    }

    fn unknown(&self, form: &Form) -> FormPlan {
        FormPlan {
            key: form.label.clone(),
            singular: false,
            paged: form.options.is_paged(),
            aggregate: None,
            body: None,
        }
    }

    fn step(&self, named: Named<'_>) -> Option<Step> {
        let space = named.leads_to().and_then(|etype| self.catalog.id_attr(etype));
        Some(Step {
            slot: self.index.slot(named.attr.id)?,
            direction: named.direction,
            space: space.and_then(|id| self.index.slot(id.id)),
        })
    }

    fn page(&self, form: &Form, nested: bool) -> Page {
        match nested {
            true if self.options.nested_limits => form.options.page.clone(),
            true => Page::default(),
            false => form.options.page.clone(),
        }
    }

    fn aggregate(
        &self,
        asked: &Aggregate,
        etype: &str,
        trail: &Trail<'_>,
    ) -> Planned<AggregatePlan> {
        let keys = asked.by.iter().flatten();
        let keys =
            keys.map(|label| self.source(etype, label, true, trail).map(|(source, _)| source));
        let mut labels: Vec<&Arc<str>> = asked.measures.iter().map(|(_, label)| label).collect();
        labels.sort_unstable();
        labels.dedup();
        let measured = labels.into_iter().map(|label| {
            let (source, checked) = self.source(etype, label, false, trail)?;
            Ok(Measured::new(label, source, checked, asked))
        });
        Ok(AggregatePlan {
            asked: asked.clone(),
            keys: keys.collect::<Planned<_>>()?,
            measured: measured.collect::<Planned<_>>()?,
        })
    }

    /// Where the rows of a namespace hold what an aggregate asks for.
    fn source(
        &self,
        etype: &str,
        label: &str,
        may_link: bool,
        trail: &Trail<'_>,
    ) -> Planned<(Source, Option<CheckedType>)> {
        let known = self.catalog.find(etype, label);
        let known = known.and_then(|named| Some((named, self.index.slot(named.attr.id)?)));
        let Some((named, slot)) = known else { return Ok((Source::Nothing, None)) };
        if !named.attr.is_ref() {
            return Ok((Source::Data(slot), named.attr.settled_type()));
        }
        let single =
            named.direction == Direction::Forward && named.attr.cardinality == Cardinality::One;
        match self.step(named).filter(|_| may_link && single) {
            Some(step) => Ok((Source::Link(step), None)),
            None => {
                let what = match may_link {
                    true => "Groups are made by attributes and by links that have one target",
                    false => "Only attributes can be aggregated",
                };
                let message = format!("{what}: `{etype}.{label}` is neither.");
                let message = if may_link { message } else { message.replace("neither", "a link") };
                Err(Fault::refused("valid-aggregate?", trail.place(&["aggregate"]), message))
            }
        }
    }

    fn columns(&self, etype: &str, fields: Option<&[Arc<str>]>) -> Columns {
        let column = |attr: &Arc<Attr>| {
            Some(Column {
                slot: self.index.slot(attr.id)?,
                attr: attr.id,
                label: attr.forward_identity.label.clone(),
                link: match attr.is_ref() {
                    true => self.step(Named { attr, direction: Direction::Forward }),
                    false => None,
                },
            })
        };
        let mut columns: Vec<Column> = match fields {
            None => self
                .catalog
                .of_etype(etype)
                .filter(|attr| attr.cardinality == Cardinality::One)
                .filter_map(column)
                .collect(),
            Some(fields) => fields
                .iter()
                .map(|label| &**label)
                .chain(["id"])
                .filter_map(|label| self.catalog.forward(etype, label))
                .filter(|attr| !attr.is_ref())
                .filter_map(column)
                .collect(),
        };
        columns.sort_unstable_by_key(|column| column.slot);
        columns.dedup_by_key(|column| column.slot);
        Columns(columns.into())
    }

    fn order(&self, form: &Form, etype: &str, nested: bool, trail: &Trail<'_>) -> Planned<Order> {
        let Some((label, sense)) = &form.options.order else {
            return Ok(Order { by: OrderKey::Created, sense: Sense::Ascending });
        };
        let sense = *sense;
        if &**label == "serverCreatedAt" {
            return Ok(Order { by: OrderKey::Created, sense });
        }
        let attr = self.catalog.find(etype, label);
        if self.options.check && !nested {
            check::order(attr, etype, label, trail.place(&["order"]))?;
        }
        let by = attr
            .filter(|named| !named.attr.is_ref())
            .and_then(|named| Some((self.index.slot(named.attr.id)?, named.attr.settled_type())))
            .map_or(OrderKey::Created, |(slot, checked)| OrderKey::Attr(slot, checked));
        Ok(Order { by, sense })
    }

    fn check_page(&self, form: &Form, etype: &str, order: Order, trail: &Trail<'_>) -> Planned<()> {
        let Some(id) = self.catalog.id_attr(etype) else { return Ok(()) };
        let expected = match order.by {
            OrderKey::Created => id.id,
            OrderKey::Attr(slot, _) => self.index.attr_id(slot),
        };
        let page = &form.options.page;
        for (name, edge) in [("after", &page.after), ("before", &page.before)] {
            if let Some(edge) = edge.as_ref().filter(|edge| edge.cursor.attr != expected) {
                let by = form.options.order.as_ref().map_or("serverCreatedAt", |(label, _)| label);
                let got = self.catalog.live(edge.cursor.attr);
                return Err(check::foreign_cursor(name, by, got, trail.place(&[name])));
            }
        }
        Ok(())
    }

    /// The conditions of a form: `None` if a name is unknown, else the condition, if there is any.
    fn filter(&self, conditions: &[Condition], etype: &str) -> Known<Option<Cond>> {
        let mut all = Vec::new();
        let mut known = true;
        let mut shared = self.scope(etype);
        for condition in conditions {
            let cond = match condition {
                // Negations stand by themselves; everything else on a path speaks of one entity.
                Condition::Path(path) if !negates(path) => {
                    known &= self.extend(&mut shared, path, etype)?.is_some();
                    continue;
                }
                other => self.condition(other, etype)?,
            };
            match cond {
                Some(cond) => all.push(cond),
                None => known = false,
            }
        }
        if shared.vars.len() > 1 || !shared.vars[0].leaves.is_empty() {
            shared.arrange();
            all.insert(0, Cond::Exists(shared));
        }
        let one = if all.len() == 1 { all.pop() } else { None };
        let filter = one.or_else(|| (!all.is_empty()).then_some(Cond::All(all)));
        Ok(known.then_some(filter))
    }

    fn condition(&self, condition: &Condition, etype: &str) -> Known<Cond> {
        Ok(match condition {
            Condition::Path(path) if negates(path) => self.negation(path, etype)?,
            Condition::Path(path) => self.existence(path, etype)?,
            Condition::IdPrefix(prefix) => Some(Cond::IdPrefix(prefix.clone())),
            Condition::All(conditions) => self.each(conditions, etype)?.map(Cond::All),
            Condition::Any(conditions) => self.each(conditions, etype)?.map(Cond::Any),
        })
    }

    fn each(&self, conditions: &[Condition], etype: &str) -> Known<Vec<Cond>> {
        // Every branch is checked, also after one that names something unknown.
        let conds = conditions.iter().map(|condition| self.condition(condition, etype));
        Ok(conds.collect::<Planned<Vec<_>>>()?.into_iter().collect())
    }

    fn existence(&self, path: &PathCondition, etype: &str) -> Known<Cond> {
        let mut scope = self.scope(etype);
        if self.extend(&mut scope, path, etype)?.is_none() {
            return Ok(None);
        }
        scope.arrange();
        Ok(Some(Cond::Exists(scope)))
    }

    /// What is true of other values is true as well where a link on the way is missing.
    fn negation(&self, path: &PathCondition, etype: &str) -> Known<Cond> {
        let Some(differs) = self.existence(path, etype)? else { return Ok(None) };
        let mut ways = vec![differs];
        for until in 1..path.labels.len() {
            let broken = PathCondition {
                labels: path.labels[..until].to_vec(),
                operators: vec![Operator::IsNull(true)],
                ..path.clone()
            };
            let Some(broken) = self.existence(&broken, etype)? else { return Ok(None) };
            ways.push(broken);
        }
        let one = if ways.len() == 1 { ways.pop() } else { None };
        Ok(Some(one.unwrap_or(Cond::Any(ways))))
    }

    fn scope(&self, etype: &str) -> Scope {
        let space = self.catalog.id_attr(etype).and_then(|id| self.index.slot(id.id));
        Scope::new(etype, space)
    }

    /// Adds a path and its tests to a scope.
    fn extend(&self, scope: &mut Scope, path: &PathCondition, etype: &str) -> Known<()> {
        let Some((last, links)) = path.labels.split_last() else { return Ok(None) };
        let (mut at, mut etype) = (0, etype);
        for (depth, label) in (1..).zip(links) {
            let Some(named) = self.catalog.find(etype, label) else { return Ok(None) };
            if !named.attr.is_ref() {
                return Err(Fault::not_a_link(etype, label));
            }
            let (Some(step), Some(leads_to)) = (self.step(named), named.leads_to()) else {
                return Ok(None);
            };
            at = scope.reach(at, step, leads_to, depth);
            etype = leads_to;
        }
        let Some(named) = self.catalog.find(etype, last) else { return Ok(None) };
        let Some(slot) = self.index.slot(named.attr.id) else { return Ok(None) };
        let way = match self.step(named).filter(|_| named.attr.is_ref()) {
            Some(step) => Way::Link(step),
            None => Way::Data,
        };
        if self.options.check {
            check::operators(named, etype, path)?;
        }
        let tests = path.operators.iter().map(|operator| test(operator, named.attr)).collect();
        scope.vars[at].leaves.push(Leaf { slot, way, tests });
        Ok(Some(()))
    }
}

/// Whether a condition can be true of what is missing.
fn negates(path: &PathCondition) -> bool {
    path.operators.iter().all(Operator::admits_missing)
}

/// Whether the target of a link, seen this way, may hang from several entities.
fn has_many_sources(named: Named<'_>) -> bool {
    match named.direction {
        Direction::Forward => !named.attr.unique,
        Direction::Reverse => named.attr.cardinality == Cardinality::Many,
    }
}

fn collect_negatives(cond: &Cond, negatives: &mut Vec<Cond>) {
    match cond {
        Cond::Exists(scope) => {
            let mut leaves = scope.vars.iter().flat_map(|var| &var.leaves);
            if leaves.any(|leaf| leaf.tests.iter().any(Test::missing)) {
                negatives.push(cond.clone());
            }
        }
        Cond::All(conds) | Cond::Any(conds) => {
            conds.iter().for_each(|cond| collect_negatives(cond, negatives));
        }
        Cond::IdPrefix(_) => {}
    }
}

fn test(operator: &Operator, attr: &Attr) -> Test {
    match operator {
        Operator::IsNull(true) => Test::Missing,
        Operator::IsNull(false) => Test::Present,
        operator if attr.is_ref() => link_test(operator),
        operator => data_test(operator, attr),
    }
}

fn link_test(operator: &Operator) -> Test {
    let target = |value: &Value| value.as_entity();
    match operator {
        Operator::Equals(value) => Test::Target(target(value).into_iter().collect()),
        Operator::In(values) => Test::Target(values.iter().filter_map(target).collect()),
        // Every target differs from what is no id.
        Operator::Differs { from, .. } => {
            target(from).map_or_else(|| Test::Differs(from.clone()), Test::OtherTarget)
        }
        Operator::NotIn(values) => Test::NoTarget {
            of: values.iter().filter_map(target).collect(),
            or_missing: operator.admits_missing(),
        },
        _ => Test::Never,
    }
}

fn data_test(operator: &Operator, attr: &Attr) -> Test {
    let checked = attr.settled_type();
    // A date that is not indexed is compared as it is written.
    let by_instant = checked == Some(CheckedType::Date) && attr.indexed && !attr.indexing;
    let instant = |value: &Value| by_instant.then(|| crate::date::instant_ms(value)).flatten();
    match operator {
        Operator::Equals(value) if by_instant => {
            Test::Instant { at: instant(value).into_iter().collect(), or_null: false }
        }
        Operator::In(values) if by_instant => Test::Instant {
            at: values.iter().filter_map(instant).collect(),
            or_null: values.iter().any(Value::is_null),
        },
        Operator::Equals(value) => Test::Is([attr.coerce(value.clone())].into_iter().collect()),
        Operator::In(values) => Test::Is(values.iter().map(|v| attr.coerce(v.clone())).collect()),
        Operator::Differs { from, .. } => instant(from)
            .map_or_else(|| Test::Differs(attr.coerce(from.clone())), Test::OtherInstant),
        Operator::NotIn(values) if by_instant => Test::NoInstant {
            of: values.iter().filter_map(instant).collect(),
            or_missing: operator.admits_missing(),
        },
        Operator::NotIn(values) => Test::NoneOf {
            values: values.iter().map(|v| attr.coerce(v.clone())).collect(),
            or_missing: operator.admits_missing(),
        },
        Operator::Contains(part) => Test::Contains(part.clone()),
        Operator::Size { how, to } => Test::Size(*how, *to),
        Operator::Compare { how, with } => {
            Bound::new(with, checked).map_or(Test::Never, |bound| Test::Order(*how, bound))
        }
        Operator::Like { case, pattern } => {
            pattern.as_str().map_or(Test::Never, |text| Test::Like(Pattern::new(text, *case)))
        }
        Operator::IsNull(_) => Test::Never,
    }
}
