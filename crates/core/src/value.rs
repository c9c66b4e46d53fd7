//! Attribute values: any JSON, with scalars unboxed, and references to entities.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use crate::id::EntityId;

/// The value of a triple.
///
/// Equality is by JSON type and value: `1 = 1.0`, `1 ≠ "1"`, strings by code points. Numbers are kept as
/// integers whenever they are integral and fit, so that equality and hashing are structural.
/// Cloning costs at most one reference count.
#[derive(Clone, Debug)]
pub enum Value {
    /// JSON `null`: the triple exists and says "nothing".
    Null,
    /// JSON boolean.
    Bool(bool),
    /// An integral number within 64 bits.
    Int(i64),
    /// Any other number; never NaN or infinite, never integral within the range of `Int`.
    Float(f64),
    /// JSON string.
    String(Arc<str>),
    /// JSON array or object: one opaque value.
    Json(Arc<Json>),
    /// The target of a link.
    Ref(EntityId),
}

/// The JSON type names that error messages and `inferred-types` use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum JsonType {
    /// `null`
    Null,
    /// `boolean`
    Boolean,
    /// `number`
    Number,
    /// `string` (also a reference, which travels as a string)
    String,
    /// `array`
    Array,
    /// `object`
    Object,
}

impl JsonType {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// A number value; `None` for NaN and infinities, which JSON cannot hold.
    pub fn number(n: f64) -> Option<Self> {
        // 2^63 is exact in f64; the cast below cannot saturate inside the open range.
        const LIMIT: f64 = 9_223_372_036_854_775_808.0;
        if !n.is_finite() {
            None
        } else if n.fract() == 0.0 && n > -LIMIT && n < LIMIT {
            Some(Self::Int(n as i64))
        } else {
            Some(Self::Float(n))
        }
    }

    /// Takes over a JSON value.
    pub fn from_json(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(b) => Self::Bool(b),
            Json::Number(n) => match n.as_i64() {
                Some(i) => Self::Int(i),
                None => n.as_f64().and_then(Self::number).unwrap_or(Self::Null),
            },
            Json::String(s) => Self::String(s.into()),
            other => Self::Json(Arc::new(other)),
        }
    }

    /// The value as JSON; a reference is its UUID as a string.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(b) => Json::Bool(*b),
            Self::Int(i) => Json::from(*i),
            Self::Float(f) => Json::from(*f),
            Self::String(s) => Json::String(s.to_string()),
            Self::Json(j) => j.as_ref().clone(),
            Self::Ref(e) => Json::String(e.to_string()),
        }
    }

    /// The JSON type as users see it.
    pub fn json_type(&self) -> JsonType {
        match self {
            Self::Null => JsonType::Null,
            Self::Bool(_) => JsonType::Boolean,
            Self::Int(_) | Self::Float(_) => JsonType::Number,
            Self::String(_) | Self::Ref(_) => JsonType::String,
            Self::Json(j) if j.is_array() => JsonType::Array,
            Self::Json(_) => JsonType::Object,
        }
    }

    /// Whether this is JSON `null`.
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// The number as a double, rounded where 64-bit integers need it.
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// The target of a reference, also when it is still a string in UUID form.
    pub fn as_entity(&self) -> Option<EntityId> {
        match self {
            Self::Ref(e) => Some(*e),
            Self::String(s) => EntityId::parse(s),
            _ => None,
        }
    }

    /// Orders two numbers; `None` if either is no number.
    pub fn cmp_numbers(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            _ => self.as_f64()?.partial_cmp(&other.as_f64()?),
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a.to_bits() == b.to_bits(),
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Json(a), Self::Json(b)) => Arc::ptr_eq(a, b) || json_eq(a, b),
            (Self::Ref(a), Self::Ref(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// Compares JSON with `1 = 1.0`, which `serde_json` tells apart.
fn json_eq(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(x), Json::Number(y)) => {
            x == y || matches!((x.as_f64(), y.as_f64()), (Some(p), Some(q)) if p == q)
        }
        (Json::Array(x), Json::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(p, q)| json_eq(p, q))
        }
        (Json::Object(x), Json::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, p)| y.get(k).is_some_and(|q| json_eq(p, q)))
        }
        _ => a == b,
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Bool(b) => b.hash(state),
            Self::Int(i) => i.hash(state),
            Self::Float(f) => f.to_bits().hash(state),
            Self::String(s) => s.hash(state),
            // Only the shape: equal values hash alike whatever the spelling of numbers.
            Self::Json(j) => hash_json(j, state),
            Self::Ref(e) => e.hash(state),
        }
    }
}

fn hash_json<H: Hasher>(json: &Json, state: &mut H) {
    match json {
        Json::Null => 0_u8.hash(state),
        Json::Bool(b) => b.hash(state),
        Json::Number(n) => n.as_f64().map_or(0, f64::to_bits).hash(state),
        Json::String(s) => s.hash(state),
        Json::Array(items) => {
            items.len().hash(state);
            for item in items {
                hash_json(item, state);
            }
        }
        Json::Object(map) => map.len().hash(state),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Int(i) => serializer.serialize_i64(*i),
            Self::Float(f) => serializer.serialize_f64(*f),
            Self::String(s) => serializer.serialize_str(s),
            Self::Json(j) => j.serialize(serializer),
            Self::Ref(e) => e.serialize(serializer),
        }
    }
}

/// Reads any JSON. References come back as strings; the attribute tells which strings are references
/// (see [`crate::attr::Attr::coerce`]).
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> serde::de::Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Bool(v))
            }

            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(Value::Int(v))
            }

            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(i64::try_from(v)
                    .map_or_else(|_| Value::number(v as f64).unwrap_or(Value::Null), Value::Int))
            }

            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(Value::number(v).unwrap_or(Value::Null))
            }

            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(Value::String(v.into()))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
                let json = Json::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
                Ok(Value::Json(Arc::new(json)))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
                let json = Json::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Value::Json(Arc::new(json)))
            }
        }

        deserializer.deserialize_any(ValueVisitor)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(b: bool) -> Self {
        Self::Bool(b)
    }
}

impl From<i64> for Value {
    fn from(i: i64) -> Self {
        Self::Int(i)
    }
}

impl From<EntityId> for Value {
    fn from(e: EntityId) -> Self {
        Self::Ref(e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_compare_by_value_whatever_their_spelling() {
        let int: Value = serde_json::from_str("1").unwrap();
        let float: Value = serde_json::from_str("1.0").unwrap();
        assert_eq!(int, float);
        assert_ne!(int, Value::from("1"));
        assert_eq!(Value::from_json(json!({"a": 1})), Value::from_json(json!({"a": 1.0})));
    }

    #[test]
    fn a_value_is_at_most_three_words() {
        assert!(size_of::<Value>() <= 24);
    }

    #[test]
    fn json_round_trips() {
        for text in ["null", "true", "-3", "2.5", "\"é\"", "[1,{\"a\":null}]", "1e300"] {
            let value: Value = serde_json::from_str(text).unwrap();
            let back: Json = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
            assert_eq!(Value::from_json(back), value);
        }
    }
}
