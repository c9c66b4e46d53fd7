//! What a subscription is told, encoded once for all sessions that hold the same query.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::port::HeldFact;
use tricedb_core::triple::Triple;
use uuid::Uuid;

use super::bytes::{BinaryError, Put, Take};
use super::columns;

/// How frames are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Encoding {
    /// Text frames.
    Json,
    /// Binary frames.
    Binary(Compression),
}

/// Whether large binary fragments are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Compression {
    /// Never.
    None,
    /// With zstd, if this program was built with the feature of that name.
    Zstd,
}

/// Fragments below this many bytes are not compressed.
const COMPRESS_FROM: usize = 1024;

/// Most bytes that a compressed fragment may expand to.
const EXPANDED_MAX: u64 = 1 << 30;

/// What the facts of a part are relative to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartKind {
    /// To what the session holds.
    #[default]
    Delta,
    /// To nothing: what it holds of the subscription is void.
    Reset,
    /// What the client said it holds is all there is.
    Same,
}

/// What one subscription is told by a frame.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PartBody {
    /// What the facts are relative to.
    pub kind: PartKind,
    /// Facts that entered the set, or have another value or time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<Triple>,
    /// Facts that left the set because they are false now.
    #[serde(default, with = "fact_keys", skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<HeldFact>,
    /// Facts that left the set and may be true all the same.
    #[serde(default, with = "fact_keys", skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<HeldFact>,
    /// Page info of the top level, if it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Json>,
    /// Aggregates, if they changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Json>,
}

/// An encoded [`PartBody`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fragment {
    pub(super) bytes: Box<[u8]>,
}

impl Fragment {
    /// Bytes that it takes in a frame.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: even the smallest fragment says of which kind it is.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

const PAGE: u8 = 0x10;
const AGGREGATE: u8 = 0x20;
const ZSTD: u8 = 0x80;

impl PartBody {
    /// Whether the part says nothing.
    pub fn is_empty(&self) -> bool {
        self.kind == PartKind::Delta
            && self.put.is_empty()
            && self.gone.is_empty()
            && self.forget.is_empty()
            && self.page.is_none()
            && self.aggregate.is_none()
    }

    /// Encodes the part.
    pub fn encode(&self, encoding: Encoding) -> Fragment {
        let bytes = match encoding {
            Encoding::Json => self.to_text(),
            Encoding::Binary(compression) => self.to_binary(compression),
        };
        Fragment { bytes: bytes.into_boxed_slice() }
    }

    /// The members of the object, without the brackets around them.
    fn to_text(&self) -> Vec<u8> {
        let text = serde_json::to_vec(self);
        debug_assert!(text.is_ok(), "facts are JSON");
        let text = text.unwrap_or_else(|_| b"{}".to_vec());
        text.strip_prefix(b"{").and_then(|text| text.strip_suffix(b"}")).unwrap_or(&[]).to_vec()
    }

    fn to_binary(&self, compression: Compression) -> Vec<u8> {
        let kind = match self.kind {
            PartKind::Delta => 0,
            PartKind::Reset => 1,
            PartKind::Same => 2,
        };
        let page = if self.page.is_some() { PAGE } else { 0 };
        let aggregate = if self.aggregate.is_some() { AGGREGATE } else { 0 };
        let mut out = vec![kind | page | aggregate];
        columns::write(&self.put, &mut out);
        write_keys(&self.gone, &mut out);
        write_keys(&self.forget, &mut out);
        for json in [&self.page, &self.aggregate].into_iter().flatten() {
            out.sized(json.to_string().as_bytes());
        }
        match compression {
            Compression::Zstd if out.len() >= COMPRESS_FROM => compress(out),
            _ => out,
        }
    }

    pub(super) fn from_binary(bytes: &[u8]) -> Result<Self, BinaryError> {
        let mut take = Take(bytes);
        let head = take.byte("a part")?;
        if head & ZSTD != 0 {
            let len = take.varint("a part")?;
            if len > EXPANDED_MAX {
                return Err(BinaryError::TooLarge { len, max: EXPANDED_MAX });
            }
            return Self::from_plain(&expand(take.0, len)?);
        }
        Self::from_plain(bytes)
    }

    fn from_plain(bytes: &[u8]) -> Result<Self, BinaryError> {
        let mut take = Take(bytes);
        let head = take.byte("a part")?;
        let kind = match head & 0x0f {
            0 => PartKind::Delta,
            1 => PartKind::Reset,
            2 => PartKind::Same,
            _ => return Err(BinaryError::Malformed("a part of an unknown kind")),
        };
        let put = columns::read(&mut take)?;
        let gone = read_keys(&mut take)?;
        let forget = read_keys(&mut take)?;
        let mut json = |flag: u8| match head & flag {
            0 => Ok(None),
            _ => serde_json::from_str(take.text("page info")?)
                .map(Some)
                .map_err(|_| BinaryError::Malformed("page info that is not JSON")),
        };
        Ok(Self { kind, put, gone, forget, page: json(PAGE)?, aggregate: json(AGGREGATE)? })
    }
}

#[cfg(feature = "zstd")]
fn compress(plain: Vec<u8>) -> Vec<u8> {
    let Ok(compressed) = zstd::bulk::compress(&plain, 1) else { return plain };
    if compressed.len() + 10 >= plain.len() {
        return plain;
    }
    let mut out = Vec::with_capacity(compressed.len() + 10);
    out.byte(ZSTD);
    out.varint(plain.len() as u64);
    out.raw(&compressed);
    out
}

#[cfg(not(feature = "zstd"))]
const fn compress(plain: Vec<u8>) -> Vec<u8> {
    plain
}

#[cfg(feature = "zstd")]
fn expand(compressed: &[u8], len: u64) -> Result<Vec<u8>, BinaryError> {
    let malformed = || BinaryError::Malformed("a compressed part");
    let len = usize::try_from(len).map_err(|_| malformed())?;
    let plain = zstd::bulk::decompress(compressed, len).map_err(|_| malformed())?;
    if plain.len() == len { Ok(plain) } else { Err(malformed()) }
}

#[cfg(not(feature = "zstd"))]
fn expand(_: &[u8], _: u64) -> Result<Vec<u8>, BinaryError> {
    Err(BinaryError::Compressed)
}

/// Keys of facts: the attributes once, then for each fact its attribute's place, doubled and one more if a
/// target follows, and the ids.
fn write_keys(keys: &[HeldFact], out: &mut Vec<u8>) {
    let mut attrs: Vec<AttrId> = keys.iter().map(|key| key.attr).collect();
    attrs.sort_unstable();
    attrs.dedup();
    out.varint(attrs.len() as u64);
    attrs.iter().for_each(|attr| out.raw(attr.uuid().as_bytes()));
    out.varint(keys.len() as u64);
    for HeldFact { entity, attr, target } in keys {
        let place = attrs.binary_search(attr).unwrap_or_default() as u64;
        out.varint(place << 1 | u64::from(target.is_some()));
        out.raw(entity.uuid().as_bytes());
        if let Some(target) = target {
            out.raw(target.uuid().as_bytes());
        }
    }
}

fn read_keys(take: &mut Take<'_>) -> Result<Vec<HeldFact>, BinaryError> {
    let count = take.count(16, "the attributes")?;
    let attrs = (0..count).map(|_| take.array("the attributes").map(Uuid::from_bytes));
    let attrs = attrs.collect::<Result<Vec<_>, _>>()?;
    let count = take.count(17, "the facts")?;
    let mut keys = Vec::with_capacity(count);
    for _ in 0..count {
        let head = take.varint("a fact")?;
        let attr = usize::try_from(head >> 1).ok().and_then(|place| attrs.get(place));
        let attr = AttrId(*attr.ok_or(BinaryError::Malformed("a fact without an attribute"))?);
        let entity = EntityId(Uuid::from_bytes(take.array("a fact")?));
        let target = match head & 1 {
            0 => None,
            _ => Some(EntityId(Uuid::from_bytes(take.array("a fact")?))),
        };
        keys.push(HeldFact { entity, attr, target });
    }
    Ok(keys)
}

/// Keys of facts as `[entity, attribute]` or `[entity, attribute, target]`.
mod fact_keys {
    use serde::{Deserialize, Deserializer, Serializer};
    use tricedb_core::id::{AttrId, EntityId};
    use tricedb_core::port::HeldFact;

    #[derive(serde::Serialize, Deserialize)]
    #[serde(untagged)]
    enum Key {
        Alone(EntityId, AttrId),
        Target(EntityId, AttrId, EntityId),
    }

    pub(super) fn serialize<S: Serializer>(keys: &[HeldFact], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(keys.iter().map(|key| match key.target {
            None => Key::Alone(key.entity, key.attr),
            Some(target) => Key::Target(key.entity, key.attr, target),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<HeldFact>, D::Error> {
        let keys: Vec<Key> = Vec::deserialize(d)?;
        let fact = |key| match key {
            Key::Alone(entity, attr) => HeldFact { entity, attr, target: None },
            Key::Target(entity, attr, target) => HeldFact { entity, attr, target: Some(target) },
        };
        Ok(keys.into_iter().map(fact).collect())
    }
}
