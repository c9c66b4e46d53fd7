//! Short forms of what both sides hold, to find out whether it is the same.
//!
//! XXH3 with 64 bits: fast, stable across platforms and versions. It protects against mistakes, not
//! against an attacker, who could gain nothing: each side computes over what itself holds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use tricedb_core::attr::Attr;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

/// 64 bits that stand for something larger; 16 hexadecimal digits on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Digest(pub u64);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let digest = is_hex.then(|| u64::from_str_radix(&text, 16).ok()).flatten();
        digest.map(Self).ok_or_else(|| serde::de::Error::custom("expected 16 hexadecimal digits"))
    }
}

/// The digest of a set of facts, whatever their order: the wrapping sum of the digests of each. Kept while
/// facts come and go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FactDigest(u64);

impl FactDigest {
    /// A fact enters.
    pub fn add(&mut self, triple: &Triple) {
        self.0 = self.0.wrapping_add(fact_digest(triple).0);
    }

    /// A fact leaves, as it was when it entered.
    pub fn remove(&mut self, triple: &Triple) {
        self.0 = self.0.wrapping_sub(fact_digest(triple).0);
    }

    /// The digest of what is in the set now.
    pub const fn digest(self) -> Digest {
        Digest(self.0)
    }

    /// Adds a subscription's digest to that of a session: times its number plus one, so that equal sets of
    /// two subscriptions do not stand for each other.
    #[must_use]
    pub const fn with(self, sub: u32, facts: Digest) -> Self {
        Self(self.0.wrapping_add(facts.0.wrapping_mul(sub as u64 + 1)))
    }
}

impl<'a> FromIterator<&'a Triple> for FactDigest {
    fn from_iter<I: IntoIterator<Item = &'a Triple>>(triples: I) -> Self {
        let mut digest = Self::default();
        triples.into_iter().for_each(|triple| digest.add(triple));
        digest
    }
}

/// The digest of one fact: XXH3-64 over entity and attribute (16 bytes each), `created_at` (8 bytes, little
/// endian), and the value: a tag and its content, see `docs/protocol.md`.
pub fn fact_digest(triple: &Triple) -> Digest {
    let mut bytes = Vec::with_capacity(96);
    bytes.extend_from_slice(triple.entity.uuid().as_bytes());
    bytes.extend_from_slice(triple.attr.uuid().as_bytes());
    bytes.extend_from_slice(&triple.created_at.to_le_bytes());
    value(&triple.value, &mut bytes);
    Digest(xxh3_64(&bytes))
}

/// The digest of a session's subscriptions: XXH3-64 over each number (4 bytes, little endian) and the
/// canonical text of its query with a zero byte behind it, by rising number.
pub fn set_digest<'a>(subs: impl IntoIterator<Item = (u32, &'a str)>) -> Digest {
    let mut hasher = Xxh3Default::new();
    for (sub, query) in subs {
        hasher.update(&sub.to_le_bytes());
        hasher.update(query.as_bytes());
        hasher.update(&[0]);
    }
    Digest(hasher.digest())
}

/// The digest of an attribute list, whatever its order: the wrapping sum over the XXH3-64 of each one's
/// JSON without `inferred-types`. These grow with what is written, and nobody is told each time.
pub fn attrs_digest<'a>(attrs: impl IntoIterator<Item = &'a Attr>) -> Digest {
    let digests = attrs.into_iter().map(|attr| {
        let attr = Attr { inferred_types: None, ..attr.clone() };
        let json = serde_json::to_vec(&attr);
        debug_assert!(json.is_ok(), "attributes are JSON");
        xxh3_64(&json.unwrap_or_default())
    });
    Digest(digests.fold(0, u64::wrapping_add))
}

/// A tag byte, then the content; numbers by their value, so that `1` and `1.0` are the same everywhere,
/// and a reference like the text of its id.
fn value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(true) => out.push(b't'),
        Value::Bool(false) => out.push(b'f'),
        Value::Int(int) => number(*int as f64, out),
        Value::Float(float) => number(*float, out),
        Value::String(string) => text(string, out),
        Value::Ref(target) => {
            let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
            text(target.uuid().hyphenated().encode_lower(&mut buffer), out);
        }
        Value::Json(nested) => json(nested, out),
    }
}

fn number(number: f64, out: &mut Vec<u8>) {
    out.push(b'd');
    // One zero only.
    out.extend_from_slice(&(number + 0.0).to_bits().to_le_bytes());
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.push(b's');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn json(nested: &Json, out: &mut Vec<u8>) {
    match nested {
        Json::Null => out.push(b'n'),
        Json::Bool(true) => out.push(b't'),
        Json::Bool(false) => out.push(b'f'),
        Json::Number(n) => number(n.as_f64().unwrap_or_default(), out),
        Json::String(string) => text(string, out),
        Json::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| json(item, out));
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            for (key, member) in members {
                text(key, out);
                json(member, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tricedb_core::id::{AttrId, EntityId};
    use uuid::Uuid;

    fn triple(value: Value) -> Triple {
        Triple {
            entity: EntityId(Uuid::from_u128(1)),
            attr: AttrId(Uuid::from_u128(2)),
            value,
            created_at: 3,
        }
    }

    #[test]
    fn order_does_not_count_and_leaving_undoes_entering() {
        let facts = [triple(Value::from("a")), triple(Value::from(2)), triple(Value::Null)];
        let forward: FactDigest = facts.iter().collect();
        let backward: FactDigest = facts.iter().rev().collect();
        assert_eq!(forward, backward);
        let mut left = forward;
        facts.iter().for_each(|fact| left.remove(fact));
        assert_eq!(left, FactDigest::default());
        assert_ne!(forward.digest(), Digest::default());
    }

    #[test]
    fn equal_values_have_equal_digests_whatever_their_spelling() {
        let id = Uuid::from_u128(77);
        let same = [
            (Value::from_json(json!({"b": [1, {}], "a": 0})), json!({"a": -0.0, "b": [1.0, {}]})),
            (Value::Ref(EntityId(id)), json!(id.to_string())),
        ];
        for (left, right) in same {
            let right = triple(Value::from_json(right));
            assert_eq!(fact_digest(&triple(left)), fact_digest(&right));
        }
    }

    #[test]
    fn different_facts_differ() {
        let values = [
            json!(null),
            json!(false),
            json!(0),
            json!(""),
            json!([]),
            json!({}),
            json!([[]]),
            json!("0"),
        ];
        let digests: std::collections::BTreeSet<u64> =
            values.iter().map(|v| fact_digest(&triple(Value::from_json(v.clone()))).0).collect();
        assert_eq!(digests.len(), values.len());
    }

    #[test]
    fn the_wire_form_is_sixteen_digits() {
        let digest = Digest(0xab);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, "\"00000000000000ab\"");
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
        for wrong in ["\"ab\"", "\"+0000000000000ab\"", "7", "\"00000000000000abc\""] {
            assert!(serde_json::from_str::<Digest>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sets_are_told_apart_by_number_and_query() {
        let set = |subs: &[(u32, &str)]| set_digest(subs.iter().copied());
        assert_ne!(set(&[(1, "a"), (2, "b")]), set(&[(1, "b"), (2, "a")]));
        assert_ne!(set(&[(1, "ab")]), set(&[(1, "a")]));
        assert_eq!(set(&[(1, "a")]), set(&[(1, "a")]));
    }
}
