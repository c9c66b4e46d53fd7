//! A parsed query: forms, their options, and conditions.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use super::aggregate::Aggregate;
use super::error::{Fault, QueryError};
use crate::id::{AttrId, EntityId};
use crate::triple::Triple;
use crate::value::Value;

/// A parsed InstaQL query. Cheap to clone.
///
/// Equal are queries whose JSON is equal in value: the order of keys does not matter.
#[derive(Clone)]
pub struct Query(Arc<Parsed>);

struct Parsed {
    json: Json,
    canonical: Arc<str>,
    text: Arc<str>,
    forms: Vec<Form>,
}

impl Query {
    pub(super) fn new(json: Json, forms: Vec<Form>) -> Self {
        let canonical: Arc<str> = super::canonical_json(&json).into();
        let text = json.to_string();
        let text = if *text == *canonical { canonical.clone() } else { text.into() };
        Self(Arc::new(Parsed { json, canonical, text, forms }))
    }

    /// The query's identity: its canonical JSON text, rule parameters included.
    pub fn canonical(&self) -> Arc<str> {
        self.0.canonical.clone()
    }

    /// The JSON that was parsed, unchanged.
    pub fn json(&self) -> &Json {
        &self.0.json
    }

    /// The JSON as text.
    pub fn text(&self) -> Arc<str> {
        self.0.text.clone()
    }

    /// What is handed to permission rules as `ruleParams`.
    pub fn rule_params(&self) -> Option<&Json> {
        self.0.json.get(RULE_PARAMS)
    }

    /// The namespaces asked for at the top.
    pub fn etypes(&self) -> impl Iterator<Item = &str> {
        self.0.forms.iter().map(|form| &*form.label)
    }

    /// Whether a namespace skips rows by number, so that only who has all of them can tell which it gives.
    pub fn has_offset(&self) -> bool {
        self.0.forms.iter().any(|form| form.options.page.offset.is_some_and(|offset| offset > 0))
    }

    pub(super) fn forms(&self) -> &[Form] {
        &self.0.forms
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.canonical == other.0.canonical
    }
}

impl Eq for Query {}

impl std::hash::Hash for Query {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.canonical.hash(state);
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Query({})", self.0.canonical)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.canonical)
    }
}

impl TryFrom<&Json> for Query {
    type Error = QueryError;

    fn try_from(json: &Json) -> Result<Self, Self::Error> {
        super::parse(json)
    }
}

impl TryFrom<Json> for Query {
    type Error = QueryError;

    fn try_from(json: Json) -> Result<Self, Self::Error> {
        super::parse(&json)
    }
}

/// The key at the top of a query that is no namespace.
pub(super) const RULE_PARAMS: &str = "$$ruleParams";

/// A namespace or link with what is asked of it.
#[derive(Debug)]
pub(super) struct Form {
    /// At the top the namespace, below a link label.
    pub(super) label: Arc<str>,
    pub(super) options: Options,
    pub(super) children: Vec<Self>,
}

/// What stands under `$`.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// All must hold. Paths among them share entities along equal prefixes.
    pub(super) conditions: Vec<Condition>,
    pub(super) order: Option<(Arc<str>, Sense)>,
    pub(super) page: Page,
    pub(super) fields: Option<Vec<Arc<str>>>,
    pub(super) aggregate: Option<Aggregate>,
    /// What is wrong with a `$` that is no object, for those who check.
    pub(super) ignored: Option<Fault>,
    /// What the original says to the first extension used here.
    pub(super) extension: Option<Fault>,
}

impl Form {
    /// The first fault, outer forms before inner ones, that only a check finds.
    pub(super) fn unchecked_fault(&self) -> Option<&Fault> {
        let inner = || self.children.iter().find_map(Self::unchecked_fault);
        self.options.ignored.as_ref().or_else(inner)
    }

    /// What the original says to the first extension, outer forms before inner ones.
    pub(super) fn extension_fault(&self) -> Option<&Fault> {
        let inner = || self.children.iter().find_map(Self::extension_fault);
        self.options.extension.as_ref().or_else(inner)
    }
}

/// The direction of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sense {
    #[default]
    Ascending,
    Descending,
}

impl Sense {
    pub(super) const fn flipped(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// Which part of the ordered rows is wanted.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    pub(super) limit: Option<usize>,
    /// The limit counts from the end.
    pub(super) last: bool,
    pub(super) offset: Option<usize>,
    pub(super) after: Option<Box<Edge>>,
    pub(super) before: Option<Box<Edge>>,
}

/// A cursor of a query, and whether its own row belongs to the page.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) cursor: Cursor,
    pub(super) inclusive: bool,
}

/// The place of a row in an ordered result: the triple that orders it. Travels as an array
/// `[entity, attribute, value, created-at]`.
///
/// A missing value is written as null with the entity's creation time.
pub type Cursor = Triple;

impl Page {
    /// Whether the page begins elsewhere than at the first row.
    pub(super) const fn is_leading(&self) -> bool {
        self.offset.is_none() && self.after.is_none() && self.before.is_none()
    }
}

impl Options {
    /// Whether the result carries page info.
    pub(super) const fn is_paged(&self) -> bool {
        self.order.is_some() || self.page.limit.is_some() || !self.page.is_leading()
    }
}

/// Something that must hold for an entity.
#[derive(Debug, Clone)]
pub(super) enum Condition {
    /// About a value, an own or a linked one.
    Path(PathCondition),
    /// The entity's id begins with this text.
    IdPrefix(Arc<str>),
    /// Each holds by itself.
    All(Vec<Self>),
    /// Some hold.
    Any(Vec<Self>),
}

/// Operators that must all hold for one value at the end of a path.
#[derive(Debug, Clone)]
pub(super) struct PathCondition {
    /// The key as written.
    pub(super) key: Arc<str>,
    /// Labels; all but the last are links.
    pub(super) labels: Vec<Arc<str>>,
    /// Never empty.
    pub(super) operators: Vec<Operator>,
    /// Where the key stands in the query.
    pub(super) place: Arc<[Json]>,
}

/// A test of a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operator {
    Equals(Value),
    In(Vec<Value>),
    Differs {
        spelling: Differs,
        from: Value,
    },
    IsNull(bool),
    Compare {
        how: Comparison,
        with: Value,
    },
    Like {
        case: Case,
        pattern: Value,
    },
    /// An extension: none of these.
    NotIn(Vec<Value>),
    /// An extension: a list with this element, or a string with this part.
    Contains(Value),
    /// An extension: a list or string of some length. Without a comparison, exactly that.
    Size {
        how: Option<Comparison>,
        to: u64,
    },
}

/// The two names of one operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Differs {
    Ne,
    Not,
}

impl Differs {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ne => "$ne",
            Self::Not => "$not",
        }
    }
}

/// An order comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Comparison {
    pub(super) fn named(name: &str) -> Option<Self> {
        let all = [Self::Greater, Self::GreaterOrEqual, Self::Less, Self::LessOrEqual];
        all.into_iter().find(|how| how.name() == name)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Greater => "$gt",
            Self::GreaterOrEqual => "$gte",
            Self::Less => "$lt",
            Self::LessOrEqual => "$lte",
        }
    }
}

/// Whether a pattern minds letter case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Sensitive,
    Folded,
}

impl Case {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sensitive => "$like",
            Self::Folded => "$ilike",
        }
    }
}

impl Operator {
    /// Whether the operator is also true of what is missing.
    pub(super) fn admits_missing(&self) -> bool {
        match self {
            Self::Differs { .. } | Self::IsNull(true) => true,
            Self::NotIn(values) => !values.iter().any(Value::is_null),
            _ => false,
        }
    }
}

/// Reads the array form of a cursor; `None` if an id is malformed.
pub(super) fn cursor(entity: &str, attr: AttrId, value: Value, created_at: i64) -> Option<Cursor> {
    Some(Triple { entity: EntityId::parse(entity)?, attr, value, created_at })
}
