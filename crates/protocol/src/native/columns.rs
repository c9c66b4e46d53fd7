//! Facts in columns: the entities once, then for each attribute its values side by side.
//!
//! ```text
//! facts   := n:varint entity{n} base{n} m:varint column{m}
//! entity  := 16 bytes
//! base    := signed: created_at of the entity's first fact, less that of the entity before (0 at first)
//! column  := attribute:16 bytes, head:byte, [k:varint row{k}], [created{k}], values
//! head    := kind | 0x10 if it has one row for each entity, in order | 0x20 if all are as old as their entity
//! row     := signed: place of the entity, less that of the row before (0 at first)
//! created := signed: created_at less the entity's base
//! ```
//!
//! What stands for `values` is said at [`Kind`].

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::bytes::{BinaryError, Put, Take};

const DENSE: u8 = 0x10;
const AS_OLD: u8 = 0x20;

/// Most facts in one fragment: what a hostile one can make its reader hold.
const FACTS_MAX: usize = 50_000_000;

/// How the values of a column are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Each is the text of its entity's id, and is not written.
    Own = 0,
    /// One bit each, the lowest first.
    Bools = 1,
    /// Signed, each less the one before.
    Ints = 2,
    /// Eight bytes each, little endian.
    Floats = 3,
    /// All lengths, then all bytes.
    Strings = 4,
    /// A number of distinct strings, these as in `Strings`, then the place of each value among them.
    StringTable = 5,
    /// Sixteen bytes each.
    Refs = 6,
    /// A number of distinct targets, these, then the place of each value among them.
    RefTable = 7,
    /// A tag and a content each.
    Mixed = 8,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Own,
        Self::Bools,
        Self::Ints,
        Self::Floats,
        Self::Strings,
        Self::StringTable,
        Self::Refs,
        Self::RefTable,
        Self::Mixed,
    ];
}

struct Column<'a> {
    attr: AttrId,
    rows: Vec<u32>,
    facts: Vec<&'a Triple>,
}

/// Writes facts, which come in any order; those of one entity side by side are written best.
pub(super) fn write(triples: &[Triple], out: &mut Vec<u8>) {
    let mut entities: Vec<(EntityId, i64)> = Vec::new();
    let mut places: FxHashMap<EntityId, u32> = FxHashMap::default();
    let mut columns: Vec<Column<'_>> = Vec::new();
    let mut by_attr: FxHashMap<AttrId, usize> = FxHashMap::default();
    let mut last: Option<(EntityId, u32)> = None;
    for triple in triples {
        let row = match last {
            Some((entity, row)) if entity == triple.entity => row,
            _ => *places.entry(triple.entity).or_insert_with(|| {
                entities.push((triple.entity, triple.created_at));
                entities.len() as u32 - 1
            }),
        };
        last = Some((triple.entity, row));
        let column = *by_attr.entry(triple.attr).or_insert_with(|| {
            columns.push(Column { attr: triple.attr, rows: Vec::new(), facts: Vec::new() });
            columns.len() - 1
        });
        columns[column].rows.push(row);
        columns[column].facts.push(triple);
    }
    out.varint(entities.len() as u64);
    for (entity, _) in &entities {
        out.raw(entity.uuid().as_bytes());
    }
    let mut before = 0_i64;
    for (_, base) in &entities {
        out.signed(base.wrapping_sub(before));
        before = *base;
    }
    out.varint(columns.len() as u64);
    for column in &columns {
        write_column(column, &entities, out);
    }
}

fn write_column(column: &Column<'_>, entities: &[(EntityId, i64)], out: &mut Vec<u8>) {
    let Column { attr, rows, facts } = column;
    let base = |row: &u32| entities[*row as usize].1;
    let dense = rows.len() == entities.len() && rows.iter().zip(0..).all(|(row, at)| *row == at);
    let as_old = rows.iter().zip(facts).all(|(row, fact)| base(row) == fact.created_at);
    let (kind, values) = encode_values(facts);
    out.raw(attr.uuid().as_bytes());
    out.byte(kind as u8 | if dense { DENSE } else { 0 } | if as_old { AS_OLD } else { 0 });
    if !dense {
        out.varint(rows.len() as u64);
        let mut before = 0;
        for row in rows {
            out.signed(i64::from(*row) - before);
            before = i64::from(*row);
        }
    }
    if !as_old {
        for (row, fact) in rows.iter().zip(facts) {
            out.signed(fact.created_at.wrapping_sub(base(row)));
        }
    }
    out.raw(&values);
}

/// The values of a column in the kind that fits them.
fn encode_values(facts: &[&Triple]) -> (Kind, Vec<u8>) {
    let mut out = Vec::with_capacity(facts.len() * 8);
    let values = || facts.iter().map(|fact| &fact.value);
    let kind = match facts.first().map(|fact| &fact.value) {
        Some(Value::Bool(_)) if values().all(|v| matches!(v, Value::Bool(_))) => {
            for bits in facts.chunks(8) {
                let is_set = |fact: &&&Triple| fact.value == Value::Bool(true);
                let set = bits.iter().enumerate().filter(|(_, fact)| is_set(fact));
                out.byte(set.fold(0, |byte, (at, _)| byte | 1 << at));
            }
            Kind::Bools
        }
        Some(Value::Int(_)) if values().all(|v| matches!(v, Value::Int(_))) => {
            let mut before = 0_i64;
            for value in values() {
                let Value::Int(int) = value else { continue };
                out.signed(int.wrapping_sub(before));
                before = *int;
            }
            Kind::Ints
        }
        Some(Value::Float(_)) if values().all(|v| matches!(v, Value::Float(_))) => {
            for value in values() {
                let Value::Float(float) = value else { continue };
                out.raw(&float.to_le_bytes());
            }
            Kind::Floats
        }
        Some(Value::String(_)) if values().all(|v| matches!(v, Value::String(_))) => {
            if facts.iter().all(|fact| is_own_id(fact)) {
                Kind::Own
            } else {
                let strings: Vec<&str> = values().filter_map(Value::as_str).collect();
                encode_strings(&strings, &mut out)
            }
        }
        Some(Value::Ref(_)) if values().all(|v| matches!(v, Value::Ref(_))) => {
            let targets: Vec<EntityId> = values().filter_map(Value::as_entity).collect();
            encode_refs(&targets, &mut out)
        }
        _ => {
            values().for_each(|value| write_value(value, &mut out));
            Kind::Mixed
        }
    };
    (kind, out)
}

fn is_own_id(fact: &Triple) -> bool {
    let mut text = [0; Hyphenated::LENGTH];
    let id: &str = fact.entity.uuid().hyphenated().encode_lower(&mut text);
    fact.value.as_str() == Some(id)
}

/// The distinct items and the place of each among them, if that is worth while.
fn table<'a, T: std::hash::Hash + Eq>(items: &'a [T]) -> Option<(Vec<&'a T>, Vec<u32>)> {
    let (mut distinct, mut known) = (Vec::new(), FxHashMap::<&'a T, u32>::default());
    let mut places = Vec::with_capacity(items.len());
    for item in items {
        let place = *known.entry(item).or_insert_with(|| {
            distinct.push(item);
            distinct.len() as u32 - 1
        });
        if distinct.len() > 16 && distinct.len() > items.len() / 4 {
            return None;
        }
        places.push(place);
    }
    (distinct.len() < items.len()).then_some((distinct, places))
}

fn encode_strings(strings: &[&str], out: &mut Vec<u8>) -> Kind {
    match table(strings) {
        Some((distinct, places)) => {
            out.varint(distinct.len() as u64);
            write_strings(distinct.into_iter().copied(), out);
            places.into_iter().for_each(|place| out.varint(u64::from(place)));
            Kind::StringTable
        }
        None => {
            write_strings(strings.iter().copied(), out);
            Kind::Strings
        }
    }
}

fn write_strings<'a>(strings: impl Iterator<Item = &'a str> + Clone, out: &mut Vec<u8>) {
    strings.clone().for_each(|string| out.varint(string.len() as u64));
    strings.for_each(|string| out.raw(string.as_bytes()));
}

fn encode_refs(targets: &[EntityId], out: &mut Vec<u8>) -> Kind {
    match table(targets) {
        Some((distinct, places)) => {
            out.varint(distinct.len() as u64);
            distinct.into_iter().for_each(|target| out.raw(target.uuid().as_bytes()));
            places.into_iter().for_each(|place| out.varint(u64::from(place)));
            Kind::RefTable
        }
        None => {
            targets.iter().for_each(|target| out.raw(target.uuid().as_bytes()));
            Kind::Refs
        }
    }
}

/// Writes one value with its tag.
pub(super) fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.byte(0),
        Value::Bool(false) => out.byte(1),
        Value::Bool(true) => out.byte(2),
        Value::Int(int) => {
            out.byte(3);
            out.signed(*int);
        }
        Value::Float(float) => {
            out.byte(4);
            out.raw(&float.to_le_bytes());
        }
        Value::String(string) => {
            out.byte(5);
            out.sized(string.as_bytes());
        }
        Value::Ref(target) => {
            out.byte(6);
            out.raw(target.uuid().as_bytes());
        }
        Value::Json(json) => {
            out.byte(7);
            out.sized(json.to_string().as_bytes());
        }
    }
}

/// Reads what [`write_value`] wrote.
pub(super) fn read_value(take: &mut Take<'_>) -> Result<Value, BinaryError> {
    Ok(match take.byte("a value")? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(take.signed("a number")?),
        4 => read_float(take)?,
        5 => Value::from(take.text("a string")?),
        6 => Value::Ref(EntityId(Uuid::from_bytes(take.array("a link")?))),
        7 => {
            let text = take.text("a JSON value")?;
            let json = serde_json::from_str(text)
                .map_err(|_| BinaryError::Malformed("a value that is not JSON"))?;
            Value::from_json(json)
        }
        _ => return Err(BinaryError::Malformed("a value of an unknown kind")),
    })
}

fn read_float(take: &mut Take<'_>) -> Result<Value, BinaryError> {
    let float = f64::from_le_bytes(take.array("a number")?);
    Value::number(float).ok_or(BinaryError::Malformed("a number that JSON does not have"))
}

/// Reads what [`write`] wrote.
pub(super) fn read(take: &mut Take<'_>) -> Result<Vec<Triple>, BinaryError> {
    let count = take.count(17, "the entities")?;
    let entities = take.raw(count * 16, "the entities")?;
    let (entities, _) = entities.as_chunks::<16>();
    let mut before = 0_i64;
    let mut bases = Vec::with_capacity(count);
    for _ in 0..count {
        before = before.wrapping_add(take.signed("the times")?);
        bases.push(before);
    }
    let mut triples = Vec::new();
    for _ in 0..take.count(17, "the attributes")? {
        read_column(take, entities, &bases, &mut triples)?;
    }
    Ok(triples)
}

fn read_column(
    take: &mut Take<'_>,
    entities: &[[u8; 16]],
    bases: &[i64],
    triples: &mut Vec<Triple>,
) -> Result<(), BinaryError> {
    let attr = AttrId(Uuid::from_bytes(take.array("an attribute")?));
    let head = take.byte("a column")?;
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == head & 0x0f);
    let kind = kind.ok_or(BinaryError::Malformed("a column of an unknown kind"))?;
    let rows = match head & DENSE != 0 {
        true => None,
        false => Some(read_rows(take, entities.len())?),
    };
    let len = rows.as_ref().map_or(entities.len(), Vec::len);
    if triples.len() + len > FACTS_MAX {
        return Err(BinaryError::Malformed("more facts than a frame may hold"));
    }
    let row = |at: usize| rows.as_ref().map_or(at, |rows| rows[at] as usize);
    let start = triples.len();
    triples.reserve(len);
    for at in 0..len {
        let (entity, base) = (Uuid::from_bytes(entities[row(at)]), bases[row(at)]);
        let age = if head & AS_OLD == 0 { take.signed("the times")? } else { 0 };
        let created_at = base.wrapping_add(age);
        triples.push(Triple { entity: EntityId(entity), attr, value: Value::Null, created_at });
    }
    read_values(take, kind, &mut triples[start..])
}

fn read_rows(take: &mut Take<'_>, entities: usize) -> Result<Vec<u32>, BinaryError> {
    let count = take.count(1, "the rows")?;
    let mut rows = Vec::with_capacity(count);
    let mut before = 0_i64;
    for _ in 0..count {
        before = before.wrapping_add(take.signed("the rows")?);
        let row = u32::try_from(before).ok().filter(|row| (*row as usize) < entities);
        rows.push(row.ok_or(BinaryError::Malformed("a row without an entity"))?);
    }
    Ok(rows)
}

fn read_values(take: &mut Take<'_>, kind: Kind, facts: &mut [Triple]) -> Result<(), BinaryError> {
    match kind {
        Kind::Own => {
            let mut text = [0; Hyphenated::LENGTH];
            for fact in facts {
                let id: &str = fact.entity.uuid().hyphenated().encode_lower(&mut text);
                fact.value = Value::from(id);
            }
        }
        Kind::Bools => {
            let bits = take.raw(facts.len().div_ceil(8), "the values")?;
            for (at, fact) in facts.iter_mut().enumerate() {
                fact.value = Value::Bool(bits[at / 8] >> (at % 8) & 1 == 1);
            }
        }
        Kind::Ints => {
            let mut before = 0_i64;
            for fact in facts {
                before = before.wrapping_add(take.signed("the values")?);
                fact.value = Value::Int(before);
            }
        }
        Kind::Floats => {
            for fact in facts {
                fact.value = read_float(take)?;
            }
        }
        Kind::Strings => {
            let strings = read_strings(take, facts.len())?;
            for (fact, string) in facts.iter_mut().zip(strings) {
                fact.value = Value::from(string);
            }
        }
        Kind::StringTable => {
            let count = take.count(1, "the values")?;
            let strings = read_strings(take, count)?.into_iter().map(Arc::<str>::from);
            let values: Vec<Value> = strings.map(Value::String).collect();
            pick(take, &values, facts)?;
        }
        Kind::Refs => {
            for fact in facts {
                fact.value = read_ref(take)?;
            }
        }
        Kind::RefTable => {
            let count = take.count(16, "the values")?;
            let targets: Result<Vec<Value>, _> = (0..count).map(|_| read_ref(take)).collect();
            pick(take, &targets?, facts)?;
        }
        Kind::Mixed => {
            for fact in facts {
                fact.value = read_value(take)?;
            }
        }
    }
    Ok(())
}

fn read_ref(take: &mut Take<'_>) -> Result<Value, BinaryError> {
    Ok(Value::Ref(EntityId(Uuid::from_bytes(take.array("a link")?))))
}

fn pick(take: &mut Take<'_>, values: &[Value], facts: &mut [Triple]) -> Result<(), BinaryError> {
    for fact in facts {
        let place = usize::try_from(take.varint("the values")?).ok();
        let value = place.and_then(|place| values.get(place));
        fact.value = value.ok_or(BinaryError::Malformed("a value that is not listed"))?.clone();
    }
    Ok(())
}

fn read_strings<'a>(take: &mut Take<'a>, count: usize) -> Result<Vec<&'a str>, BinaryError> {
    let mut lens = Vec::with_capacity(count.min(take.0.len()));
    for _ in 0..count {
        lens.push(usize::try_from(take.varint("the values")?).unwrap_or(usize::MAX));
    }
    let mut strings = Vec::with_capacity(lens.len());
    for len in lens {
        let bytes = take.raw(len, "the values")?;
        let text = std::str::from_utf8(bytes);
        strings.push(text.map_err(|_| BinaryError::Malformed("text that is not UTF-8"))?);
    }
    Ok(strings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fact(entity: u128, attr: u128, value: impl Into<Value>, created_at: i64) -> Triple {
        Triple {
            entity: EntityId(Uuid::from_u128(entity)),
            attr: AttrId(Uuid::from_u128(attr)),
            value: value.into(),
            created_at,
        }
    }

    fn round_trip(triples: &[Triple]) -> usize {
        let mut bytes = Vec::new();
        write(triples, &mut bytes);
        let mut take = Take(&bytes);
        let back = read(&mut take).unwrap();
        assert!(take.is_empty());
        let sorted = |triples: &[Triple]| {
            let mut rows: Vec<String> = triples.iter().map(|t| format!("{t:?}")).collect();
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(&back), sorted(triples));
        bytes.len()
    }

    #[test]
    fn every_kind_of_value_round_trips() {
        let id = |n: u128| Uuid::from_u128(n).to_string();
        let mut triples = Vec::new();
        for entity in 1..40_u128 {
            let n = entity as i64;
            triples.push(fact(entity, 1, &*id(entity), n));
            triples.push(fact(entity, 2, entity % 3 == 0, n));
            triples.push(fact(entity, 3, i64::MAX - n * 7, -n));
            triples.push(fact(entity, 4, Value::number(n as f64 + 0.5).unwrap(), n + 1));
            triples.push(fact(entity, 5, &*format!("täxt {entity}"), n));
            triples.push(fact(entity, 6, if entity % 2 == 0 { "low" } else { "high" }, n));
            triples.push(fact(entity, 7, EntityId(Uuid::from_u128(entity * 99)), n));
            triples.push(fact(entity, 8, EntityId(Uuid::from_u128(entity % 2)), n));
            triples.push(fact(entity, 8, EntityId(Uuid::from_u128(7)), n));
            triples.push(fact(entity, 9, Value::from_json(json!([n, {"a": null}])), i64::MIN + n));
            if entity % 5 == 0 {
                let mixed = [json!(null), json!("x"), json!(false), json!(2.5), json!(-3)];
                let value = Value::from_json(mixed[entity as usize % 5].clone());
                triples.push(fact(entity, 10, value, 0));
            }
        }
        round_trip(&triples);
        triples.reverse();
        round_trip(&triples);
        round_trip(&[]);
    }

    #[test]
    fn one_small_change_stays_small() {
        let len = round_trip(&[fact(u128::MAX, u128::MAX, true, 1_795_408_071_705)]);
        assert!(len <= 48, "{len}");
    }

    #[test]
    fn whatever_the_bytes_reading_ends_with_an_answer() {
        let triples: Vec<Triple> = (1..20)
            .flat_map(|n| [fact(n, 1, "same", 5), fact(n, 2, n as i64, 6), fact(n, 3, n > 4, 7)])
            .collect();
        let mut bytes = Vec::new();
        write(&triples, &mut bytes);
        for len in 0..bytes.len() {
            assert!(read(&mut Take(&bytes[..len])).is_err(), "{len}");
        }
        for at in 0..bytes.len() {
            for flip in [0x01, 0x10, 0x20, 0x80, 0xff] {
                let mut broken = bytes.clone();
                broken[at] ^= flip;
                let _ = read(&mut Take(&broken));
            }
        }
    }
}
