//! Steps of a schema change: those that a transaction makes, and those that take a job.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::{JobKind, PlanStep};
use crate::attr::{Attr, CheckedType, Identity};
use crate::catalog::AttrCatalog;
use crate::id::{AttrId, IdentId, parse_uuid};
use crate::tx::{TxError, TxStep, parse_steps, steps_to_json};

/// One step of a schema change, as tools send it and are answered.
#[derive(Clone, PartialEq, Debug)]
pub enum SchemaStep {
    /// Makes, changes or deletes an attribute; all of these are one transaction.
    Attr(TxStep),
    /// Changes an attribute in a way that its values have a say in: see [`super::AttrJob`].
    Job {
        /// What is asked.
        kind: JobKind,
        /// The attribute.
        attr: AttrId,
        /// Its name as the step says it.
        forward_identity: Option<Identity>,
    },
}

impl SchemaStep {
    /// The step as it travels: `[kind, {...}]`, or `["delete-attr", id]`.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Attr(step) => match steps_to_json(std::slice::from_ref(step)) {
                Json::Array(mut steps) => steps.pop().unwrap_or(Json::Null),
                other => other,
            },
            Self::Job { kind, attr, forward_identity } => {
                let mut body = json!({ "attr-id": attr, "forward-identity": forward_identity });
                if let Some(checked) = kind.checked_type() {
                    body["checked-data-type"] = json!(checked);
                }
                json!([kind.name(), body])
            }
        }
    }
}

impl From<PlanStep> for SchemaStep {
    fn from(step: PlanStep) -> Self {
        let job = |kind, attr: &Attr| Self::Job {
            kind,
            attr: attr.id,
            forward_identity: Some(attr.forward_identity.clone()),
        };
        match step {
            PlanStep::AddAttr(attr) => Self::Attr(TxStep::AddAttr(attr)),
            PlanStep::UpdateAttr(id, fields) => Self::Attr(TxStep::UpdateAttr(id, fields)),
            PlanStep::CheckDataType(attr, checked) => job(JobKind::CheckDataType(checked), &attr),
            PlanStep::RemoveDataType(attr) => job(JobKind::RemoveDataType, &attr),
        }
    }
}

/// The steps of a plan, with jobs in place of changes of flags: those look at every value, which a
/// transaction would do in one go. What `catalog` says is the state that the plan was made for.
pub fn in_background(plan: Vec<PlanStep>, catalog: &AttrCatalog) -> Vec<SchemaStep> {
    let mut steps = Vec::with_capacity(plan.len());
    for step in plan {
        match step {
            PlanStep::UpdateAttr(id, fields) => match catalog.get(id) {
                Some(attr) => split(attr, fields, &mut steps),
                None => steps.push(SchemaStep::Attr(TxStep::UpdateAttr(id, fields))),
            },
            step => steps.push(step.into()),
        }
    }
    steps
}

/// An `update-attr` as jobs, and what is left of it. Of a link only `required?` is a job.
fn split(attr: &Arc<Attr>, mut fields: Map<String, Json>, steps: &mut Vec<SchemaStep>) {
    let mut jobs = Vec::new();
    let flags = [
        ("index?", attr.indexed, JobKind::Index, JobKind::RemoveIndex),
        ("unique?", attr.unique, JobKind::Unique, JobKind::RemoveUnique),
        ("required?", attr.required, JobKind::Required, JobKind::RemoveRequired),
    ];
    for (key, is_on, turn_on, turn_off) in flags {
        if attr.is_ref() && key != "required?" {
            continue;
        }
        match fields.get(key).and_then(Json::as_bool) {
            Some(wanted) if wanted != is_on => {
                jobs.push(if wanted { turn_on } else { turn_off });
                fields.insert(key.into(), is_on.into());
            }
            _ => {}
        }
    }
    if changes(attr, &fields) {
        steps.push(SchemaStep::Attr(TxStep::UpdateAttr(attr.id, fields)));
    }
    steps.extend(jobs.into_iter().map(|kind| SchemaStep::Job {
        kind,
        attr: attr.id,
        forward_identity: Some(attr.forward_identity.clone()),
    }));
}

/// Whether the fields of an `update-attr` differ from what an attribute has.
fn changes(attr: &Attr, fields: &Map<String, Json>) -> bool {
    let Ok(Json::Object(present)) = serde_json::to_value(attr) else { return true };
    let of = |key: &str| present.get(key).unwrap_or(&Json::Null);
    let cascades = ["on-delete", "on-delete-reverse"];
    fields.iter().any(|(key, value)| value != of(key))
        // Left out, a cascade is taken off.
        || cascades.iter().any(|key| !fields.contains_key(*key) && !of(key).is_null())
}

/// Reads the `steps` of a schema change.
///
/// # Errors
/// `validation-failed` with what was expected where.
pub fn parse_schema_steps(json: &Json) -> Result<Vec<SchemaStep>, TxError> {
    let Json::Array(steps) = json else {
        return Err(TxError::shape(DATA_TYPE, "an array", json!(["steps"])));
    };
    steps.iter().enumerate().map(|(at, step)| parse_schema_step(step, at)).collect()
}

const DATA_TYPE: &str = "steps";

fn parse_schema_step(step: &Json, at: usize) -> Result<SchemaStep, TxError> {
    let wrong = |expected: &str, place: Json| TxError::shape(DATA_TYPE, expected, place);
    let Some([Json::String(op), body]) = step.as_array().map(Vec::as_slice) else {
        return Err(wrong("[kind, body]", json!([at])));
    };
    if matches!(op.as_str(), "add-attr" | "update-attr" | "delete-attr" | "restore-attr") {
        // Tools spell out what is not there; for attributes, null and absent are one.
        let mut body = body.clone();
        if let Json::Object(fields) = &mut body {
            fields.retain(|_, value| !value.is_null());
        }
        return match parse_steps(&json!([[op, body]])) {
            Ok(mut steps) => match steps.pop() {
                Some(step) => Ok(SchemaStep::Attr(step)),
                None => Err(wrong("[kind, body]", json!([at]))),
            },
            Err(error) => Err(error),
        };
    }
    let kind = match op.as_str() {
        "index" => JobKind::Index,
        "remove-index" => JobKind::RemoveIndex,
        "unique" => JobKind::Unique,
        "remove-unique" => JobKind::RemoveUnique,
        "required" => JobKind::Required,
        "remove-required" => JobKind::RemoveRequired,
        "remove-data-type" => JobKind::RemoveDataType,
        "check-data-type" => {
            let checked = serde_json::from_value::<CheckedType>(body["checked-data-type"].clone());
            let place = json!([at, 1, "checked-data-type"]);
            JobKind::CheckDataType(
                checked.map_err(|_| wrong("string, number, boolean or date", place))?,
            )
        }
        _ => return Err(wrong("a kind of schema step", json!([at, 0]))),
    };
    let id = body["attr-id"].as_str().and_then(parse_uuid);
    let id = id.ok_or_else(|| wrong("uuid?", json!([at, 1, "attr-id"])))?;
    let forward_identity = identity(&body["forward-identity"]);
    Ok(SchemaStep::Job { kind, attr: AttrId::new(id), forward_identity })
}

/// A name, if it is one; it only serves people.
fn identity(json: &Json) -> Option<Identity> {
    let id = IdentId::new(json[0].as_str().and_then(parse_uuid)?);
    Some(Identity { id, etype: json[1].as_str()?.into(), label: json[2].as_str()?.into() })
}
