//! Why a transaction was refused: the server's error kinds, messages and hints.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::attr::Attr;
use crate::id::{AttrId, EntityId};
use crate::value::Value;

/// The kinds of refusal, by InstantDB's names.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum TxErrorKind {
    /// The steps are malformed, or break a rule of the data.
    ValidationFailed,
    /// A unique value or a name is taken.
    RecordNotUnique,
    /// A rule that the original checks inside its database.
    SqlRaise,
    /// The caller lacks the right.
    PermissionDenied,
}

impl TxErrorKind {
    /// The `type` of the error on the wire.
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::ValidationFailed => "validation-failed",
            Self::RecordNotUnique => "record-not-unique",
            Self::SqlRaise => "sql-raise",
            Self::PermissionDenied => "permission-denied",
        }
    }
}

/// Why a transaction was refused. Nothing of it was applied.
///
/// Kinds, messages and hints are those of InstantDB's servers, so that programs which look at them keep
/// working.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct TxError {
    kind: TxErrorKind,
    message: String,
    hint: Json,
}

impl TxError {
    /// The kind.
    pub const fn kind(&self) -> TxErrorKind {
        self.kind
    }

    /// The reason in words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Details for programs.
    pub const fn hint(&self) -> &Json {
        &self.hint
    }

    /// The status that a socket's `error` and an HTTP answer carry.
    pub const fn status(&self) -> u16 {
        400
    }

    /// The refusal of a transaction that would give an app more attributes than it may have.
    pub fn too_many_attrs(attrs_max: usize) -> Self {
        let message = format!(
            "An app may have at most {attrs_max} attributes. Names that are data (ids, dates) belong into values: \
             keep such things in an object, or as entities."
        );
        Self::validation("tx-steps", &message, None)
    }

    pub(crate) fn new(kind: TxErrorKind, message: impl Into<String>, hint: Json) -> Self {
        Self { kind, message: message.into(), hint }
    }

    /// `Validation failed for <data type>: <message>`, with the place in the input where known.
    pub(crate) fn validation(data_type: &str, message: &str, place: Option<Json>) -> Self {
        let mut error = json!({ "message": message });
        if let Some(place) = place {
            error["in"] = place;
        }
        Self::new(
            TxErrorKind::ValidationFailed,
            format!("Validation failed for {data_type}: {message}"),
            json!({ "data-type": data_type, "errors": [error] }),
        )
    }

    /// A wrong shape: `Validation failed for <data type>` with what was expected where.
    pub(crate) fn shape(data_type: &str, expected: &str, place: Json) -> Self {
        Self::new(
            TxErrorKind::ValidationFailed,
            format!("Validation failed for {data_type}"),
            json!({ "data-type": data_type, "errors": [{ "expected": expected, "in": place }] }),
        )
    }

    /// A step about something that is no entity.
    pub(crate) fn no_entity_id(shown: &str, place: Option<Json>) -> Self {
        let message = format!(
            "Invalid entity ID '{shown}'. Entity IDs must be UUIDs. Use id() or lookup() to generate a valid UUID."
        );
        Self::validation("tx-steps", &message, place)
    }

    pub(crate) fn raised(text: &str) -> Self {
        Self::new(
            TxErrorKind::SqlRaise,
            format!("Raised Exception: {text}"),
            json!({ "table": null, "condition": "raise-exception", "constraint": text }),
        )
    }

    pub(crate) fn unknown_attr(id: AttrId) -> Self {
        Self::raised(&format!("We could not find an attribute with id = '{id}'"))
    }

    pub(crate) fn value_taken(attr: &Attr, value: &Value) -> Self {
        let (etype, label) = (attr.etype(), attr.label());
        let value = value.to_json().to_string();
        Self::new(
            TxErrorKind::RecordNotUnique,
            format!(
                "`{label}` is a unique attribute on `{etype}` and an entity already exists with \
                 `{etype}.{label}` = {value}"
            ),
            json!({ "record-type": "triple", "attr-id": attr.id, "etype": etype, "label": label, "value": value }),
        )
    }

    pub(crate) fn name_taken(etype: &str, label: &str) -> Self {
        Self::new(
            TxErrorKind::RecordNotUnique,
            format!("`{label}` already exists on `{etype}`"),
            json!({ "record-type": "ident", "etype": etype, "label": label }),
        )
    }

    pub(crate) fn wrong_type(attr: &Attr, expected: &str, entity: EntityId, value: &Value) -> Self {
        Self::new(
            TxErrorKind::ValidationFailed,
            format!(
                "Invalid value type for {}.{}. Value must be a {expected} but the provided value type is {}.",
                attr.etype(),
                attr.label(),
                value.json_type().name(),
            ),
            json!({
                "namespace": attr.etype(), "attribute": attr.label(), "value": value,
                "checked-data-type": expected, "attr-id": attr.id, "entity-id": entity,
            }),
        )
    }

    pub(crate) fn too_large(attr: &Attr, entity: EntityId, value: &Value) -> Self {
        let what = if attr.unique && !attr.is_ref() { "a unique" } else { "an indexed" };
        let shown: String = value.to_json().to_string().chars().take(60).collect();
        Self::new(
            TxErrorKind::ValidationFailed,
            format!("Value is too large for {what} attribute."),
            json!({
                "namespace": attr.etype(), "attribute": attr.label(), "value": format!("{shown}..."),
                "checked-data-type": attr.checked_data_type.map_or("null", |t| t.name()),
                "attr-id": attr.id, "entity-id": entity, "value-too-large?": true,
            }),
        )
    }

    pub(crate) fn permission_denied(scope: &str) -> Self {
        Self::new(
            TxErrorKind::PermissionDenied,
            "Permission denied: not perms-pass?",
            json!({ "input": ["attrs", scope], "expected": "perms-pass?" }),
        )
    }

    pub(crate) fn foreign_lookup() -> Self {
        Self::validation(
            "tx-step",
            "Invalid transaction. The namespace in the lookup attribute is different from the \
             namespace of the attribute that is being set",
            None,
        )
    }

    pub(crate) fn too_deep(levels_max: usize) -> Self {
        let message = format!(
            "A value in the transaction has more than {levels_max} levels of arrays and objects within each \
             other. Split it into entities."
        );
        Self::validation("tx-step", &message, None)
    }

    pub(crate) fn null_byte() -> Self {
        Self::new(
            TxErrorKind::ValidationFailed,
            "A value in the transaction contains null bytes, which cannot be stored.",
            json!({ "table": null, "condition": "untranslatable-character", "constraint": null }),
        )
    }

    /// Required values that are missing, one sentence per attribute.
    pub(crate) fn missing_required(missing: &[(Arc<Attr>, Vec<EntityId>)]) -> Self {
        let mut sentences = Vec::new();
        let mut records = Vec::new();
        for (attr, entities) in missing {
            let ids: Vec<String> = entities.iter().map(ToString::to_string).collect();
            let noun = if ids.len() == 1 { "attribute" } else { "attributes" };
            sentences.push(format!(
                "Missing required {noun} `{}/{}`: {}",
                attr.etype(),
                attr.label(),
                ids.join(", ")
            ));
            records.extend(entities.iter().map(|entity| {
                json!({
                    "entity_id": entity, "attr_id": attr.id, "etype": attr.etype(),
                    "label": attr.label(), "is_required": true,
                })
            }));
        }
        Self::new(
            TxErrorKind::ValidationFailed,
            sentences.join(". "),
            json!({ "records": records }),
        )
    }
}
