//! The total order of values within one attribute.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;

use crate::attr::CheckedType;
use crate::value::Value;

/// A value's place in an attribute's value index.
///
/// Null is smallest; then booleans, numbers, instants, strings (by collation, then code points), and
/// last everything that has no order of its own. Values that are equal have equal keys; unequal values
/// may share a key (numbers beyond 2^53, spellings of one instant, hashes of JSON), so an equality search
/// checks the row it finds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SortKey {
    /// Null, which missing values are treated like.
    Null,
    /// False before true.
    Bool(bool),
    /// By magnitude.
    Number(OrderedNumber),
    /// Milliseconds since 1970, of date attributes.
    Instant(i64),
    /// Collation key, then code points.
    Text(Arc<[u8]>),
    /// Arrays and objects, by a hash.
    Opaque(u64),
}

/// A finite double with a total order.
#[derive(Clone, Copy, Debug)]
pub struct OrderedNumber(f64);

impl PartialEq for OrderedNumber {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OrderedNumber {}

impl PartialOrd for OrderedNumber {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrderedNumber {
    fn cmp(&self, other: &Self) -> Ordering {
        // Zero and minus zero are one number, which `total_cmp` would tell apart.
        self.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal)
    }
}

impl SortKey {
    /// The place of a value under an attribute's settled type. A date that has no instant counts as a
    /// string.
    pub fn of(value: &Value, checked: Option<CheckedType>) -> Self {
        match value {
            Value::Null => Self::Null,
            _ if checked == Some(CheckedType::Date) => match crate::date::instant_ms(value) {
                Some(ms) => Self::Instant(ms),
                None => Self::of(value, None),
            },
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(i) => Self::Number(OrderedNumber(*i as f64)),
            Value::Float(f) => Self::Number(OrderedNumber(*f)),
            Value::String(s) => Self::Text(crate::collation::sort_key(s).into()),
            Value::Ref(e) => Self::Text(crate::collation::sort_key(&e.to_string()).into()),
            Value::Json(_) => Self::Opaque(rustc_hash::FxBuildHasher.hash_one(value)),
        }
    }
}
