//! A fact.

use serde::{Deserialize, Serialize};

use crate::id::{AttrId, EntityId};
use crate::value::Value;

/// One fact: entity, attribute, value, and when the server first wrote it.
///
/// On the wire a triple is the array `[entity, attribute, value, created-at]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Triple {
    /// The subject.
    pub entity: EntityId,
    /// The predicate.
    pub attr: AttrId,
    /// The object: data, or a reference for links.
    pub value: Value,
    /// Server time of the first write, in milliseconds since 1970.
    pub created_at: i64,
}

impl Serialize for Triple {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.entity, self.attr, &self.value, self.created_at).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Triple {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (entity, attr, value, created_at) = Deserialize::deserialize(deserializer)?;
        Ok(Self { entity, attr, value, created_at })
    }
}
