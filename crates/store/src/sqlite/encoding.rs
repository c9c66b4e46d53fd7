//! How facts are written into blobs.
//!
//! Numbers are variable-length (seven bits a byte, low ones first); signed ones are zigzag-coded. Ids are
//! their sixteen bytes. Doubles are their bits, so that every value comes back exactly.

use std::sync::Arc;

use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::port::HeldFact;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use uuid::Uuid;

/// Why a blob could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("it ends early")]
    Short,
    #[error("bytes are left over")]
    Long,
    #[error("a number is out of range")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a nested value is not JSON")]
    Json,
    #[error("the kind of a value is unknown")]
    Kind,
}

mod kind {
    pub(super) const NULL: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const INT: u8 = 3;
    pub(super) const FLOAT: u8 = 4;
    pub(super) const STRING: u8 = 5;
    pub(super) const JSON: u8 = 6;
    pub(super) const REF: u8 = 7;
}

/// Appends the triples of one entity row; the entity itself is the row's key.
pub(super) fn write_triples(out: &mut Vec<u8>, triples: &[Triple]) {
    write_number(out, triples.len() as u64);
    for triple in triples {
        out.extend_from_slice(triple.attr.uuid().as_bytes());
        write_signed(out, triple.created_at);
        write_value(out, &triple.value);
    }
}

/// Reads what [`write_triples`] wrote.
pub(super) fn read_triples(bytes: &[u8], entity: EntityId) -> Result<Vec<Triple>, DecodeError> {
    let mut input = Input { rest: bytes };
    let count = input.count()?;
    let mut triples = Vec::with_capacity(count);
    for _ in 0..count {
        triples.push(Triple {
            entity,
            attr: AttrId::new(input.uuid()?),
            created_at: input.signed()?,
            value: input.value()?,
        });
    }
    input.finish(triples)
}

/// Appends held facts: the attributes once, then each entity once with numbers into them.
pub(super) fn write_held(out: &mut Vec<u8>, held: &[HeldFact]) {
    let mut facts = held.to_vec();
    facts.sort_unstable();
    let mut attrs: Vec<AttrId> = facts.iter().map(|fact| fact.attr).collect();
    attrs.sort_unstable();
    attrs.dedup();
    write_number(out, attrs.len() as u64);
    for attr in &attrs {
        out.extend_from_slice(attr.uuid().as_bytes());
    }
    for group in facts.chunk_by(|a, b| a.entity == b.entity) {
        out.extend_from_slice(group[0].entity.uuid().as_bytes());
        write_number(out, group.len() as u64);
        for fact in group {
            // `attrs` was made of these very facts.
            let place = attrs.partition_point(|attr| *attr < fact.attr) as u64;
            write_number(out, place << 1 | u64::from(fact.target.is_some()));
            if let Some(target) = fact.target {
                out.extend_from_slice(target.uuid().as_bytes());
            }
        }
    }
}

/// Reads what [`write_held`] wrote.
pub(super) fn read_held(bytes: &[u8]) -> Result<Vec<HeldFact>, DecodeError> {
    let mut input = Input { rest: bytes };
    let attr_count = input.count()?;
    let mut attrs = Vec::with_capacity(attr_count);
    for _ in 0..attr_count {
        attrs.push(AttrId::new(input.uuid()?));
    }
    let mut held = Vec::new();
    while !input.rest.is_empty() {
        let entity = EntityId::new(input.uuid()?);
        for _ in 0..input.count()? {
            let fact = input.number()?;
            let place = usize::try_from(fact >> 1).map_err(|_| DecodeError::Number)?;
            let attr = *attrs.get(place).ok_or(DecodeError::Number)?;
            let target = if fact & 1 == 1 { Some(EntityId::new(input.uuid()?)) } else { None };
            held.push(HeldFact { entity, attr, target });
        }
    }
    Ok(held)
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(kind::NULL),
        Value::Bool(false) => out.push(kind::FALSE),
        Value::Bool(true) => out.push(kind::TRUE),
        Value::Int(int) => {
            out.push(kind::INT);
            write_signed(out, *int);
        }
        Value::Float(float) => {
            out.push(kind::FLOAT);
            out.extend_from_slice(&float.to_bits().to_le_bytes());
        }
        Value::String(text) => {
            out.push(kind::STRING);
            write_bytes(out, text.as_bytes());
        }
        Value::Json(json) => {
            out.push(kind::JSON);
            write_bytes(out, json.to_string().as_bytes());
        }
        Value::Ref(target) => {
            out.push(kind::REF);
            out.extend_from_slice(target.uuid().as_bytes());
        }
    }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_signed(out: &mut Vec<u8>, number: i64) {
    write_number(out, (number << 1 ^ number >> 63).cast_unsigned());
}

fn write_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array().map(Uuid::from_bytes)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Number)
    }

    fn signed(&mut self) -> Result<i64, DecodeError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    /// A number of things that follow, each at least one byte long.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.number()?;
        // Checked before anything of that size is reserved.
        usize::try_from(count)
            .ok()
            .filter(|count| *count <= self.rest.len())
            .ok_or(DecodeError::Short)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = self.count()?;
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        let [kind] = self.array()?;
        Ok(match kind {
            kind::NULL => Value::Null,
            kind::FALSE => Value::Bool(false),
            kind::TRUE => Value::Bool(true),
            kind::INT => Value::Int(self.signed()?),
            kind::FLOAT => Value::Float(f64::from_bits(u64::from_le_bytes(self.array()?))),
            kind::STRING => Value::String(self.text()?.into()),
            kind::JSON => {
                let json = serde_json::from_str(self.text()?).map_err(|_| DecodeError::Json)?;
                Value::Json(Arc::new(json))
            }
            kind::REF => Value::Ref(EntityId::new(self.uuid()?)),
            _ => return Err(DecodeError::Kind),
        })
    }

    fn finish<T>(&self, read: T) -> Result<T, DecodeError> {
        if self.rest.is_empty() { Ok(read) } else { Err(DecodeError::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entity(n: u128) -> EntityId {
        EntityId::new(Uuid::from_u128(n))
    }

    fn every_kind() -> Vec<Triple> {
        [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Int(0),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::Float(0.1 + 0.2),
            Value::Float(f64::MIN_POSITIVE),
            Value::from(""),
            Value::from("é\0😀"),
            Value::from_json(json!({"a": [1, 0.30000000000000004, null, {"b": "c"}]})),
            Value::Ref(entity(u128::MAX)),
        ]
        .into_iter()
        .enumerate()
        .map(|(n, value)| Triple {
            entity: entity(7),
            attr: AttrId::new(Uuid::from_u128(n as u128)),
            value,
            created_at: [0, -1, i64::MAX, 1_700_000_000_000][n % 4],
        })
        .collect()
    }

    #[test]
    fn every_kind_of_value_comes_back_exactly() {
        let triples = every_kind();
        let mut bytes = Vec::new();
        write_triples(&mut bytes, &triples);
        assert_eq!(read_triples(&bytes, entity(7)), Ok(triples));
    }

    #[test]
    fn a_cut_or_lengthened_blob_is_refused() {
        let mut bytes = Vec::new();
        write_triples(&mut bytes, &every_kind());
        for len in 0..bytes.len() {
            assert!(read_triples(&bytes[..len], entity(7)).is_err(), "{len}");
        }
        bytes.push(0);
        assert_eq!(read_triples(&bytes, entity(7)), Err(DecodeError::Long));
    }

    #[test]
    fn no_flipped_bit_makes_reading_panic() {
        let mut bytes = Vec::new();
        write_triples(&mut bytes, &every_kind());
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let _ = read_triples(&flipped, entity(7));
                let _ = read_held(&flipped);
            }
        }
    }

    #[test]
    fn held_facts_come_back_as_a_set_in_few_bytes() {
        let mut held = Vec::new();
        for e in 0..100 {
            for a in 0..5_u128 {
                let target = (a == 4).then(|| entity(e + 1000));
                held.push(HeldFact {
                    entity: entity(99 - e),
                    attr: AttrId::new(Uuid::from_u128(a)),
                    target,
                });
            }
        }
        let mut bytes = Vec::new();
        write_held(&mut bytes, &held);
        assert!(bytes.len() <= 100 * (16 + 1 + 5 + 16) + 5 * 16 + 1, "{}", bytes.len());
        let mut back = read_held(&bytes).unwrap();
        back.sort_unstable();
        held.sort_unstable();
        assert_eq!(back, held);

        bytes.clear();
        write_held(&mut bytes, &[]);
        assert_eq!(read_held(&bytes), Ok(Vec::new()));
    }
}
