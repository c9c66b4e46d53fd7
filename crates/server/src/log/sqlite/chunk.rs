//! Snapshots as a sequence of chunks.
//!
//! The first chunk is a JSON array of attributes. Every further one is a JSON array of entities, each
//! `[entity, attribute, value, created-at, attribute, value, created-at, …]` where an attribute is its place
//! in the first chunk.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::ser::SerializeSeq as _;
use serde::{Deserializer, Serialize, Serializer};
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;

use crate::log::SnapshotImage;

/// A chunk is closed at the first entity that makes it longer than this.
const CHUNK_BYTES: usize = 128 << 10;

/// Encodes an image chunk by chunk; stops when `write` says so.
pub(super) fn encode(
    image: &SnapshotImage,
    mut write: impl FnMut(Vec<u8>) -> bool,
) -> serde_json::Result<()> {
    let places: HashMap<AttrId, usize> =
        image.attrs().iter().enumerate().map(|(place, attr)| (attr.id, place)).collect();
    if !write(serde_json::to_vec(image.attrs())?) {
        return Ok(());
    }
    let mut chunk = Vec::with_capacity(CHUNK_BYTES + 4096);
    for (entity, triples) in image.entities() {
        chunk.push(if chunk.is_empty() { b'[' } else { b',' });
        serde_json::to_writer(
            &mut chunk,
            &EntityFacts { entity, triples: &triples, places: &places },
        )?;
        if chunk.len() >= CHUNK_BYTES {
            chunk.push(b']');
            let full = std::mem::replace(&mut chunk, Vec::with_capacity(CHUNK_BYTES + 4096));
            if !write(full) {
                return Ok(());
            }
        }
    }
    if !chunk.is_empty() {
        chunk.push(b']');
        write(chunk);
    }
    Ok(())
}

struct EntityFacts<'a> {
    entity: EntityId,
    triples: &'a [Triple],
    places: &'a HashMap<AttrId, usize>,
}

impl Serialize for EntityFacts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(None)?;
        seq.serialize_element(&self.entity)?;
        for triple in self.triples {
            let Some(place) = self.places.get(&triple.attr) else { continue };
            seq.serialize_element(place)?;
            seq.serialize_element(&triple.value)?;
            seq.serialize_element(&triple.created_at)?;
        }
        seq.end()
    }
}

/// Rebuilds an index from the chunks, given in order.
#[derive(Default)]
pub(super) struct Rebuild {
    pub(super) index: TripleIndex,
    attrs: Option<Vec<AttrId>>,
}

impl Rebuild {
    /// Takes the next chunk.
    pub(super) fn take(&mut self, chunk: &[u8]) -> serde_json::Result<()> {
        let Some(attrs) = &self.attrs else {
            let attrs: Vec<Arc<Attr>> = serde_json::from_slice(chunk)?;
            self.attrs = Some(attrs.iter().map(|attr| attr.id).collect());
            for attr in attrs {
                self.index.put_attr(attr);
            }
            return Ok(());
        };
        let mut deserializer = serde_json::Deserializer::from_slice(chunk);
        deserializer.deserialize_seq(Entities { index: &mut self.index, attrs })?;
        deserializer.end()
    }
}

/// Reads an array of entities into the index.
struct Entities<'a> {
    index: &'a mut TripleIndex,
    attrs: &'a [AttrId],
}

impl<'de> Visitor<'de> for Entities<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entities")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { index, attrs } = self;
        while seq.next_element_seed(Entity { index: &mut *index, attrs })?.is_some() {}
        Ok(())
    }
}

/// Reads one entity into the index.
struct Entity<'a> {
    index: &'a mut TripleIndex,
    attrs: &'a [AttrId],
}

impl<'de> DeserializeSeed<'de> for Entity<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entity<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entity and its facts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        use serde::de::Error as _;
        let cut = || A::Error::custom("an entity ends within a fact");
        let entity: EntityId = seq.next_element()?.ok_or_else(cut)?;
        while let Some(place) = seq.next_element::<usize>()? {
            let attr =
                *self.attrs.get(place).ok_or_else(|| A::Error::custom("no such attribute"))?;
            let value = seq.next_element()?.ok_or_else(cut)?;
            let created_at = seq.next_element()?.ok_or_else(cut)?;
            self.index.insert(&Triple { entity, attr, value, created_at });
        }
        Ok(())
    }
}
