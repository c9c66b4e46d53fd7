//! What a transaction did: plain changes that can be repeated and taken back.

use std::sync::Arc;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::attr::Attr;
use crate::id::{AttrId, EntityId};
use crate::value::Value;

/// A value and when it was first written (milliseconds since 1970).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stamped(pub Value, pub i64);

/// The change of one attribute of one entity.
///
/// For cardinality one, both sides may be present (a replacement). For cardinality many exactly one is:
/// a link was added or removed.
///
/// Serialises to the array `[entity, attribute, old, new]`, a side being null or `[value, created-at]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FactChange {
    /// The entity.
    pub entity: EntityId,
    /// The attribute.
    pub attr: AttrId,
    /// What was there before.
    pub old: Option<Stamped>,
    /// What is there now.
    pub new: Option<Stamped>,
}

/// The change of an attribute's definition; at least one side is present.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct AttrChange {
    /// The definition before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Arc<Attr>>,
    /// The definition now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Arc<Attr>>,
}

impl AttrChange {
    /// The attribute concerned.
    pub fn id(&self) -> Option<AttrId> {
        self.new.as_ref().or(self.old.as_ref()).map(|a| a.id)
    }

    /// Whether more changed than the types seen in the attribute's values.
    pub fn is_material(&self) -> bool {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => {
                let mut old = Attr::clone(old);
                old.inferred_types.clone_from(&new.inferred_types);
                old != **new
            }
            _ => true,
        }
    }
}

/// One step of a commit. Order matters: an attribute comes before its first fact.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    Fact(FactChange),
    Attr(AttrChange),
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fact(FactChange { entity, attr, old, new }) => {
                (entity, attr, old, new).serialize(serializer)
            }
            Self::Attr(change) => change.serialize(serializer),
        }
    }
}

/// An array is a fact, an object an attribute; told apart without buffering, since a log is replayed at
/// every start.
impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ChangeVisitor;

        impl<'de> Visitor<'de> for ChangeVisitor {
            type Value = Change;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the change of a fact or of an attribute")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Change, A::Error> {
                let (entity, attr, old, new) =
                    Deserialize::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(Change::Fact(FactChange { entity, attr, old, new }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Change, A::Error> {
                Deserialize::deserialize(MapAccessDeserializer::new(map)).map(Change::Attr)
            }
        }

        deserializer.deserialize_any(ChangeVisitor)
    }
}

/// What a transaction did, in order. Applying it is deterministic and cannot fail; old values make it
/// reversible.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Commit {
    pub(crate) changes: Vec<Change>,
}

impl Commit {
    /// Whether the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Number of single changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// The changes of facts, in order. One fact may change more than once.
    pub fn facts(&self) -> impl Iterator<Item = &FactChange> {
        self.changes.iter().filter_map(|change| match change {
            Change::Fact(fact) => Some(fact),
            Change::Attr(_) => None,
        })
    }

    /// The changes of attribute definitions, in order.
    pub fn attrs(&self) -> impl Iterator<Item = &AttrChange> {
        self.changes.iter().filter_map(|change| match change {
            Change::Attr(attr) => Some(attr),
            Change::Fact(_) => None,
        })
    }

    /// The commit that takes this one back: applied after it, everything is as before.
    #[must_use]
    pub fn inverse(&self) -> Self {
        let back = |change: &Change| match change {
            Change::Fact(FactChange { entity, attr, old, new }) => Change::Fact(FactChange {
                entity: *entity,
                attr: *attr,
                old: new.clone(),
                new: old.clone(),
            }),
            Change::Attr(AttrChange { old, new }) => {
                Change::Attr(AttrChange { old: new.clone(), new: old.clone() })
            }
        };
        Self { changes: self.changes.iter().rev().map(back).collect() }
    }

    /// Whether any attribute was made, changed or deleted in more than the types seen in its values.
    pub fn changes_attrs(&self) -> bool {
        self.attrs().any(AttrChange::is_material)
    }
}
