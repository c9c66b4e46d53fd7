//! Attributes: the predicates of triples, which carry the schema.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::id::{AttrId, IdentId};
use crate::value::{JsonType, Value};

/// One name of an attribute: `label` of namespace `etype`. Travels as `[ident id, etype, label]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// The id of the name itself.
    pub id: IdentId,
    /// The namespace.
    pub etype: Arc<str>,
    /// The name within the namespace.
    pub label: Arc<str>,
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.id, &*self.etype, &*self.label).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (id, etype, label): (IdentId, String, String) = Deserialize::deserialize(deserializer)?;
        Ok(Self { id, etype: etype.into(), label: label.into() })
    }
}

/// Whether an attribute holds data or links.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    /// JSON data.
    Blob,
    /// A link: the value is the id of an entity in the reverse namespace.
    Ref,
}

/// How many values an entity may hold for an attribute (the forward side of a link).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cardinality {
    /// At most one; a write replaces.
    One,
    /// A set; a write adds.
    Many,
}

/// The type that an attribute enforces on write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckedType {
    /// JSON string.
    String,
    /// JSON number.
    Number,
    /// JSON boolean.
    Boolean,
    /// Milliseconds since 1970, or a string that parses as a date; stored as given.
    Date,
}

impl CheckedType {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Date => "date",
        }
    }

    /// Whether a value may be stored under this type; null always may.
    pub fn accepts(self, value: &Value) -> bool {
        match (self, value.json_type()) {
            (_, JsonType::Null)
            | (Self::String, JsonType::String)
            | (Self::Number, JsonType::Number)
            | (Self::Boolean, JsonType::Boolean) => true,
            (Self::Date, JsonType::Number | JsonType::String) => crate::date::accepts(value),
            _ => false,
        }
    }
}

/// A JSON type seen in an attribute's values so far; informational.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InferredType {
    /// Numbers were written.
    Number,
    /// Strings were written.
    String,
    /// Booleans were written.
    Boolean,
    /// Arrays or objects were written.
    Json,
}

impl InferredType {
    /// The type that a value adds; null adds none.
    pub fn of(value: &Value) -> Option<Self> {
        match value.json_type() {
            JsonType::Null => None,
            JsonType::Number => Some(Self::Number),
            JsonType::String => Some(Self::String),
            JsonType::Boolean => Some(Self::Boolean),
            JsonType::Array | JsonType::Object => Some(Self::Json),
        }
    }
}

/// Who defined an attribute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Catalog {
    /// The system: the same in every app, fixed ids.
    System,
    /// The app.
    #[default]
    User,
}

/// What a delete on one side of a link does to the other side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDelete {
    /// Deletes it too.
    Cascade,
}

/// An attribute with all its fields; serialises to the object that travels in `init-ok.attrs` and in
/// `add-attr` steps (unknown fields, such as `isUnsynced`, are dropped).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attr {
    /// The id that triples carry.
    pub id: AttrId,
    /// The name.
    pub forward_identity: Identity,
    /// For links: the name seen from the other side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverse_identity: Option<Identity>,
    /// Data or link.
    pub value_type: ValueType,
    /// Of the forward side; data is always `One`.
    pub cardinality: Cardinality,
    /// Data: no two entities share the value. Links: the reverse side has at most one.
    #[serde(rename = "unique?")]
    pub unique: bool,
    /// Whether a value index serves comparison and order.
    #[serde(rename = "index?")]
    pub indexed: bool,
    /// Whether every entity of the namespace must have a non-null value.
    #[serde(rename = "required?", default, deserialize_with = "null_is_default")]
    pub required: bool,
    /// The enforced type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_data_type: Option<CheckedType>,
    /// Types seen so far, sorted; informational.
    #[serde(default)]
    pub inferred_types: Option<Vec<InferredType>>,
    /// Who defined it.
    #[serde(default, deserialize_with = "null_is_default")]
    pub catalog: Catalog,
    /// Deleting the link's target deletes the entity that holds the link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_delete: Option<OnDelete>,
    /// Deleting the entity that holds the link deletes its targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_delete_reverse: Option<OnDelete>,
    /// Soft-deleted since, in milliseconds; such an attribute's triples stay but are invisible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_marked_at: Option<i64>,
    /// Free-form extras (among them what a soft delete remembers).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// A background job is still building the value index.
    #[serde(
        rename = "indexing?",
        default,
        skip_serializing_if = "is_false",
        deserialize_with = "null_is_default"
    )]
    pub indexing: bool,
    /// A background job is still checking existing values against the type.
    #[serde(
        rename = "checking-data-type?",
        default,
        skip_serializing_if = "is_false",
        deserialize_with = "null_is_default"
    )]
    pub checking_data_type: bool,
    /// A background job is still checking existing values for uniqueness.
    #[serde(
        rename = "setting-unique?",
        default,
        skip_serializing_if = "is_false",
        deserialize_with = "null_is_default"
    )]
    pub setting_unique: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
const fn is_false(b: &bool) -> bool {
    !*b
}

fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl Attr {
    /// A data attribute with nothing enforced, as made on a first write.
    pub fn blob(id: AttrId, ident: IdentId, etype: &str, label: &str) -> Self {
        Self {
            id,
            forward_identity: Identity { id: ident, etype: etype.into(), label: label.into() },
            reverse_identity: None,
            value_type: ValueType::Blob,
            cardinality: Cardinality::One,
            // Every namespace's `id` identifies its entities.
            unique: label == "id",
            indexed: false,
            required: false,
            checked_data_type: None,
            inferred_types: None,
            catalog: Catalog::User,
            on_delete: None,
            on_delete_reverse: None,
            deletion_marked_at: None,
            metadata: None,
            indexing: false,
            checking_data_type: false,
            setting_unique: false,
        }
    }

    /// A many-to-many link, as made on a first write.
    pub fn link(id: AttrId, forward: Identity, reverse: Identity) -> Self {
        let mut attr = Self::blob(id, forward.id, &forward.etype, &forward.label);
        attr.unique = false;
        attr.value_type = ValueType::Ref;
        attr.cardinality = Cardinality::Many;
        attr.reverse_identity = Some(reverse);
        attr
    }

    /// The namespace whose entities hold this attribute.
    pub fn etype(&self) -> &str {
        &self.forward_identity.etype
    }

    /// The name within [`Self::etype`].
    pub fn label(&self) -> &str {
        &self.forward_identity.label
    }

    /// For links, the namespace of the targets.
    pub fn target_etype(&self) -> Option<&str> {
        match self.value_type {
            ValueType::Ref => self.reverse_identity.as_ref().map(|r| &*r.etype),
            ValueType::Blob => None,
        }
    }

    /// Whether this is a link.
    pub fn is_ref(&self) -> bool {
        self.value_type == ValueType::Ref
    }

    /// Whether this is the attribute that makes an entity exist in its namespace.
    pub fn is_id(&self) -> bool {
        self.label() == "id" && self.value_type == ValueType::Blob
    }

    /// Whether the attribute is soft-deleted.
    pub const fn is_deleted(&self) -> bool {
        self.deletion_marked_at.is_some()
    }

    /// The type whose enforcement is complete.
    pub fn settled_type(&self) -> Option<CheckedType> {
        self.checked_data_type.filter(|_| !self.checking_data_type)
    }

    /// Turns a value as it travels into a value as it is stored: for links and ids, a UUID string
    /// becomes a reference; everything else stays.
    pub fn coerce(&self, value: Value) -> Value {
        if (self.is_ref() || self.is_id())
            && let Some(entity) = value.as_entity()
        {
            return Value::Ref(entity);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_round_trips_and_drops_unknown_fields() {
        let text = r#"{"id":"5426c9f5-6c39-4b1a-8f5e-111111111111",
            "forward-identity":["82799999-6c39-4b1a-8f5e-111111111111","posts","author"],
            "reverse-identity":["777f9999-6c39-4b1a-8f5e-111111111111","people","posts"],
            "value-type":"ref","cardinality":"one","unique?":false,"index?":false,
            "isUnsynced":true,"on-delete":"cascade","required?":null,"inferred-types":null}"#;
        let attr: Attr = serde_json::from_str(text).unwrap();
        assert_eq!(attr.target_etype(), Some("people"));
        assert_eq!(attr.on_delete, Some(OnDelete::Cascade));
        let out = serde_json::to_value(&attr).unwrap();
        assert!(out.get("isUnsynced").is_none());
        assert_eq!(out["required?"], false);
        assert_eq!(serde_json::from_value::<Attr>(out).unwrap(), attr);
    }
}
