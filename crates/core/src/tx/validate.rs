//! Checking operations against a schema before they are queued.

use serde_json::{Map, Value as Json};

use super::operation::{Action, EntityKey, LinkTargets, Operation};
use super::operator::{FieldValue, Operator};
use crate::attr::CheckedType;
use crate::schema::Schema;

/// An operation that contradicts the schema, in the words of the original's client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct InvalidOperation {
    message: String,
}

impl InvalidOperation {
    /// The reason in words.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// Checks operations against a schema: ids, namespaces, the types of known attributes, links. Attributes
/// that the schema does not know pass, and so do required ones that are missing: only the server can tell.
///
/// # Errors
/// The first contradiction.
pub fn validate(operations: &[Operation], schema: &Schema) -> Result<(), InvalidOperation> {
    operations.iter().try_for_each(|operation| check(operation, schema))
}

fn refuse(message: String) -> Result<(), InvalidOperation> {
    Err(InvalidOperation { message })
}

fn check(operation: &Operation, schema: &Schema) -> Result<(), InvalidOperation> {
    let Operation { etype, key, action } = operation;
    if let EntityKey::Invalid(text) = key {
        return refuse(format!(
            "Invalid id for entity '{etype}'. Expected a UUID, but received: {text}"
        ));
    }
    match action {
        Action::Create(args) | Action::Update(args, _) | Action::Merge(args, _) => {
            check_namespace(etype, schema)?;
            check_fields(etype, args, schema)
        }
        Action::Link(links) | Action::Unlink(links) => {
            check_namespace(etype, schema)?;
            links.iter().try_for_each(|link| check_link(etype, link, schema))
        }
        Action::Delete | Action::Expect(_) | Action::RuleParams(_) => Ok(()),
    }
}

fn check_namespace(etype: &str, schema: &Schema) -> Result<(), InvalidOperation> {
    let mut names = schema.namespaces.iter().map(|namespace| &*namespace.etype);
    if names.any(|name| name == etype) {
        return Ok(());
    }
    let names: Vec<&str> = schema.namespaces.iter().map(|namespace| &*namespace.etype).collect();
    refuse(format!(
        "Entity '{etype}' does not exist in schema. Available entities: {}",
        names.join(", ")
    ))
}

fn check_fields(
    etype: &str,
    args: &Map<String, Json>,
    schema: &Schema,
) -> Result<(), InvalidOperation> {
    for (label, value) in args.iter().filter(|(label, _)| *label != "id") {
        // What made its way in as anything but an object of fields.
        if label.is_empty() {
            return refuse(format!(
                "Arguments for data operation on entity '{etype}' must be an object, but received: {}",
                kind_name(value)
            ));
        }
        let Some(checked) = schema.attr(etype, label).and_then(|def| def.checked_type) else {
            continue;
        };
        let data = match FieldValue::read(value) {
            Ok(FieldValue::Data(data)) => data,
            Ok(FieldValue::Operator(operator)) => match stored(&operator) {
                Some(operand) => operand,
                None => continue,
            },
            Err(problem) => return refuse(format!("{etype}.{label}: {problem}.")),
        };
        if !fits(checked, &data) {
            return refuse(format!(
                "Invalid value for attribute '{label}' in entity '{etype}'. Expected {}, but received: {}",
                checked.name(),
                kind_name(&data)
            ));
        }
    }
    Ok(())
}

/// What an operator writes at some time, if that is its operand.
fn stored(operator: &Operator) -> Option<Json> {
    match operator {
        Operator::Push(_) | Operator::AddToSet(_) | Operator::Pull(_) => Some(Json::Array(vec![])),
        Operator::ServerTime => Some(0.into()),
        other => other.operand().map(crate::value::Value::to_json),
    }
}

fn fits(checked: CheckedType, value: &Json) -> bool {
    match (checked, value) {
        (_, Json::Null)
        | (CheckedType::String, Json::String(_))
        | (CheckedType::Number, Json::Number(_))
        | (CheckedType::Boolean, Json::Bool(_))
        // Whether text is a date, parsers disagree: that is left to the server.
        | (CheckedType::Date, Json::String(_) | Json::Number(_)) => true,
        _ => false,
    }
}

fn check_link(etype: &str, link: &LinkTargets, schema: &Schema) -> Result<(), InvalidOperation> {
    let label = &*link.label;
    if schema.link(etype, label).is_none() {
        let sides = schema.links.iter().flat_map(|def| [&def.forward, &def.reverse]);
        let labels: Vec<&str> =
            sides.filter(|side| &*side.etype == etype).map(|side| &*side.label).collect();
        return refuse(format!(
            "Link '{label}' does not exist on entity '{etype}'. Available links: {}",
            labels.join(", ")
        ));
    }
    for target in &link.targets {
        let EntityKey::Invalid(text) = target else { continue };
        // A null that stands alone links nothing, so this one stood in a list.
        return refuse(if link.targets.len() == 1 && &**text != "null" {
            format!(
                "Invalid UUID in link '{label}' for entity '{etype}'. Expected a UUID, but received: {text}"
            )
        } else {
            format!(
                "Invalid entity ID in link '{label}' for entity '{etype}'. Expected a UUID or a lookup, \
                 but received: {text}"
            )
        });
    }
    Ok(())
}

/// JavaScript's name for the type of a value.
fn kind_name(value: &Json) -> &'static str {
    match value {
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Null | Json::Array(_) | Json::Object(_) => "object",
    }
}
