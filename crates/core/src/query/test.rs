//! Tests of single values.

use std::cmp::Ordering;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;

use super::form::Comparison;
use super::pattern::Pattern;
use crate::attr::CheckedType;
use crate::id::EntityId;
use crate::value::Value;

/// A test of a data value or of a link's far end.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// Equal to one of these.
    Is(Values),
    /// The far end is one of these.
    Target(Vec<EntityId>),
    /// A date of one of these instants, or null if null is among the operands.
    Instant { at: Vec<i64>, or_null: bool },
    /// Another value, or none.
    Differs(Value),
    /// Another far end, or none.
    OtherTarget(EntityId),
    /// A date of another instant, another value that is no date, or none.
    OtherInstant(i64),
    /// None of these values; a missing one only where null is not among them.
    NoneOf { values: Values, or_missing: bool },
    /// None of these far ends, or none at all.
    NoTarget { of: Vec<EntityId>, or_missing: bool },
    /// A date of none of these instants, another value that is no date, or none.
    NoInstant { of: Vec<i64>, or_missing: bool },
    /// A list with this element, or a string with this part.
    Contains(Value),
    /// A list or string whose length compares so, or is this.
    Size(Option<Comparison>, u64),
    /// In order relation to an operand of the same type. Null is in none.
    Order(Comparison, Bound),
    /// A string of a form.
    Like(Pattern),
    /// There, and not null.
    Present,
    /// Null or not there.
    Missing,
    /// Never passes: an operand that nothing can equal.
    Never,
}

/// Values to look one up among.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// So few that a look at each is cheapest.
    Few(Vec<Value>),
    /// Many.
    Many(HashSet<Value, FxBuildHasher>),
}

impl FromIterator<Value> for Values {
    fn from_iter<I: IntoIterator<Item = Value>>(values: I) -> Self {
        const FEW: usize = 8;
        let few: Vec<Value> = values.into_iter().collect();
        if few.len() <= FEW { Self::Few(few) } else { Self::Many(few.into_iter().collect()) }
    }
}

impl Values {
    fn contains(&self, value: &Value) -> bool {
        match self {
            Self::Few(values) => values.contains(value),
            Self::Many(values) => values.contains(value),
        }
    }

    /// Each value, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Value> {
        let (few, many) = match self {
            Self::Few(values) => (Some(values), None),
            Self::Many(values) => (None, Some(values)),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }
}

/// An operand of an order comparison.
#[derive(Clone, Debug)]
pub(super) enum Bound {
    /// Compares dates.
    Instant(i64),
    /// Compares values of the operand's JSON type.
    Value(Value),
}

impl Test {
    /// Whether a value that is there passes.
    pub(super) fn value(&self, value: &Value) -> bool {
        match self {
            Self::Is(wanted) => wanted.contains(value),
            Self::Instant { at, or_null } => match instant(value) {
                Some(ms) => at.contains(&ms),
                None => *or_null && value.is_null(),
            },
            Self::Differs(other) => value != other,
            Self::OtherInstant(ms) => instant(value) != Some(*ms),
            Self::NoneOf { values, or_missing } => {
                !values.contains(value) && (*or_missing || !value.is_null())
            }
            Self::NoInstant { of, or_missing } => match instant(value) {
                Some(ms) => !of.contains(&ms),
                None => *or_missing || !value.is_null(),
            },
            Self::Contains(part) => contains(value, part),
            Self::Size(how, to) => size(value).is_some_and(|size| match how {
                Some(how) => how.admits(size.cmp(to)),
                None => size == *to,
            }),
            Self::Order(how, bound) => bound.compare(value).is_some_and(|order| how.admits(order)),
            Self::Like(pattern) => value.as_str().is_some_and(|text| pattern.matches(text)),
            Self::Present => !value.is_null(),
            Self::Missing => value.is_null(),
            Self::OtherTarget(_) | Self::NoTarget { .. } => true,
            Self::Target(_) | Self::Never => false,
        }
    }

    /// Whether the far end of a link passes.
    pub(super) fn target(&self, id: EntityId) -> bool {
        match self {
            Self::Target(wanted) => wanted.contains(&id),
            Self::OtherTarget(other) => id != *other,
            Self::NoTarget { of, .. } => !of.contains(&id),
            Self::Differs(_) | Self::OtherInstant(_) | Self::Present => true,
            _ => false,
        }
    }

    /// Whether the test passes where nothing is.
    pub(super) const fn missing(&self) -> bool {
        match self {
            Self::Differs(_) | Self::OtherTarget(_) | Self::OtherInstant(_) | Self::Missing => true,
            Self::NoneOf { or_missing, .. }
            | Self::NoTarget { or_missing, .. }
            | Self::NoInstant { or_missing, .. } => *or_missing,
            _ => false,
        }
    }

    /// Whether the test is about being there, which clients judge by the entity's `id`.
    pub(super) const fn asks_presence(&self) -> bool {
        self.missing() || matches!(self, Self::Present)
    }
}

fn contains(value: &Value, part: &Value) -> bool {
    match (value, part) {
        (Value::String(text), Value::String(part)) => text.contains(&**part),
        (Value::Json(json), part) => json
            .as_array()
            .is_some_and(|items| items.iter().any(|item| Value::from_json(item.clone()) == *part)),
        _ => false,
    }
}

/// The elements of a list, or the characters (code points) of a string.
fn size(value: &Value) -> Option<u64> {
    let size = match value {
        Value::String(text) => text.chars().count(),
        Value::Json(json) => json.as_array()?.len(),
        _ => return None,
    };
    u64::try_from(size).ok()
}

fn instant(value: &Value) -> Option<i64> {
    crate::date::instant_ms(value)
}

impl Bound {
    /// An operand for values of a settled type; `None` if it is no operand for it.
    pub(super) fn new(operand: &Value, checked: Option<CheckedType>) -> Option<Self> {
        match checked {
            Some(CheckedType::Date) => instant(operand).map(Self::Instant),
            _ => Some(Self::Value(operand.clone())),
        }
    }

    fn compare(&self, value: &Value) -> Option<Ordering> {
        match (self, value) {
            (Self::Instant(ms), value) => instant(value).map(|at| at.cmp(ms)),
            (Self::Value(Value::String(b)), Value::String(a)) => {
                Some(crate::collation::compare(a, b))
            }
            (Self::Value(Value::Bool(b)), Value::Bool(a)) => Some(a.cmp(b)),
            (Self::Value(operand), value) => value.cmp_numbers(operand),
        }
    }
}

impl Comparison {
    const fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }
}
