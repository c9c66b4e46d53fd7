//! Checking a query against a schema before it is sent anywhere, in the words of InstantDB's client.

use std::fmt;

use serde_json::{Map, Value as Json};

use super::form::RULE_PARAMS;
use super::parse::OPTIONS;
use crate::attr::CheckedType;
use crate::id::EntityId;
use crate::schema::{AttrDef, Schema};

/// A query that a client refuses to send.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ValidationError {
    path: Vec<String>,
    message: String,
}

impl fmt::Display for ValidationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "At path '{}': ", self.path.join("."))?;
        }
        f.write_str(&self.message)
    }
}

/// Checks a query as InstantDB's client does before sending: with a schema names and types, else only
/// shapes. `extensions` says whether operators that InstantDB does not have are fine.
///
/// What passes may still be refused when it is parsed or planned: values of `order`, `fields` and `limit` are
/// not looked at.
///
/// ```
/// use serde_json::json;
/// use tricedb_core::{query, schema};
///
/// let schema = schema::parse(&json!({"entities": {"todos": {"attrs": {"done": {"valueType": "boolean"}}}}}))?;
/// let typo = json!({"todos": {"$": {"where": {"doen": true}}}});
/// let error = query::validate(&typo, Some(&schema), false).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "At path 'todos.$.where.doen': Attribute or link 'doen' does not exist on entity 'todos'. \
///      Available attributes: done. Available links: none",
/// );
/// # Ok::<_, tricedb_core::schema::SchemaError>(())
/// ```
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn validate(
    query: &Json,
    schema: Option<&Schema>,
    extensions: bool,
) -> Result<(), ValidationError> {
    let mut validator = Validator { schema, extensions, path: Vec::new() };
    let Json::Object(forms) = query else {
        let null = if query.is_null() { " (null)" } else { "" };
        let received = type_of(query);
        return validator
            .refuse(format!("Query must be an object, but received: {received}{null}"));
    };
    forms.iter().try_for_each(|(etype, form)| {
        validator.within(etype, |validator| {
            if form.is_array() {
                let message = "Query keys must be strings, but found key of type: string";
                return validator.refuse(message.into());
            }
            match etype.as_str() {
                RULE_PARAMS => Ok(()),
                etype => validator.form(etype, form, true),
            }
        })
    })
}

type Checked = Result<(), ValidationError>;

struct Validator<'a> {
    schema: Option<&'a Schema>,
    extensions: bool,
    path: Vec<String>,
}

/// What a value is compared with.
struct Subject<'a> {
    /// As the query writes it.
    name: &'a str,
    /// The namespace in which the path begins.
    etype: &'a str,
    /// `None` admits everything.
    kind: Option<CheckedType>,
    indexed: bool,
}

impl<'a> Validator<'a> {
    fn refuse(&self, message: String) -> Checked {
        Err(ValidationError { path: self.path.clone(), message })
    }

    fn within(&mut self, part: &str, check: impl FnOnce(&mut Self) -> Checked) -> Checked {
        self.path.push(part.into());
        let checked = check(self);
        self.path.pop();
        checked
    }

    fn form(&mut self, etype: &str, form: &Json, top: bool) -> Checked {
        if let Some(schema) = self.schema
            && !schema.namespaces.iter().any(|namespace| *namespace.etype == *etype)
        {
            let known = schema.namespaces.iter().map(|namespace| &*namespace.etype);
            return self.refuse(format!(
                "Entity '{etype}' does not exist in schema. Available entities: {}",
                listed(known)
            ));
        }
        let Json::Object(form) = form else {
            let received = type_of(form);
            return self.refuse(format!(
                "Query part for entity '{etype}' must be an object, but received: {received}"
            ));
        };
        form.iter().try_for_each(|(key, part)| {
            self.within(key, |validator| match (key.as_str(), validator.schema) {
                ("$", _) => validator.options(etype, part, top),
                (_, None) => Ok(()),
                (label, Some(schema)) => match leads_to(schema, etype, label) {
                    Some(target) => validator.form(target, part, false),
                    None => validator.refuse(format!(
                        "Link '{label}' does not exist on entity '{etype}'. Available links: {}",
                        links(schema, etype)
                    )),
                },
            })
        })
    }

    fn options(&mut self, etype: &str, options: &Json, top: bool) -> Checked {
        let Json::Object(options) = options else {
            let received = type_of(options);
            return self.refuse(format!(
                "Query parameter '$' must be an object in entity '{etype}', but received: {received}"
            ));
        };
        for key in options.keys() {
            if !OPTIONS.contains(&key.as_str()) {
                return self.refuse(format!(
                    "Invalid query parameter '{key}' in $ object. Valid parameters are: where, order, \
                     limit, last, first, offset, after, afterInclusive, before, beforeInclusive, fields, \
                     aggregate. Found: {key}"
                ));
            }
            let of_pages =
                ["offset", "before", "beforeInclusive", "after", "afterInclusive", "first", "last"];
            if !top && of_pages.contains(&key.as_str()) {
                return self.refuse(format!(
                    "'{key}' can only be used on top-level namespaces. It cannot be used in nested queries."
                ));
            }
        }
        match options.get("where") {
            None => Ok(()),
            Some(conditions) => self.within("where", |validator| match conditions {
                Json::Object(conditions) => validator.conditions(etype, conditions),
                other => validator.refuse(format!(
                    "'where' clause must be an object in entity '{etype}', but received: {}",
                    type_of(other)
                )),
            }),
        }
    }

    fn conditions(&mut self, etype: &str, conditions: &Map<String, Json>) -> Checked {
        let Some(schema) = self.schema else { return Ok(()) };
        conditions.iter().try_for_each(|(key, value)| match (key.as_str(), value) {
            ("or" | "and", Json::Array(items)) => items.iter().try_for_each(|item| match item {
                // The original writes the item itself where its place was meant.
                Json::Object(item) => self
                    .within(&format!("{key}[[object Object]]"), |validator| {
                        validator.conditions(etype, item)
                    }),
                _ => Ok(()),
            }),
            ("or" | "and", _) => Ok(()),
            (name, value) => {
                self.within(name, |validator| validator.condition(schema, etype, name, value))
            }
        })
    }

    fn condition(&self, schema: &'a Schema, etype: &str, name: &str, value: &Json) -> Checked {
        let mut at = etype;
        let mut labels = name.split('.').peekable();
        let last = loop {
            let Some(label) = labels.next() else { return Ok(()) };
            if labels.peek().is_none() {
                break label;
            }
            match leads_to(schema, at, label) {
                Some(target) => at = target,
                None => {
                    return self.refuse(format!(
                        "Link '{label}' does not exist on entity '{at}' in dot notation path '{name}'. \
                         Available links: {}",
                        links(schema, at)
                    ));
                }
            }
        };
        let is_path = last.len() < name.len();
        let subject = |kind, indexed| Subject { name, etype, kind, indexed };
        let id = subject(Some(CheckedType::String), true);
        if last == "id" {
            self.value(&id, value)?;
            return match value.as_str().filter(|text| is_path && EntityId::parse(text).is_none()) {
                None => Ok(()),
                Some(text) => self.refuse(format!(
                    "Invalid value for id field in entity '{at}'. Expected a UUID, but received: {text}"
                )),
            };
        }
        if let Some(AttrDef { checked_type, indexed, .. }) = schema.attr(at, last) {
            return self.value(&subject(*checked_type, *indexed), value);
        }
        if leads_to(schema, at, last).is_some() {
            self.value(&id, value)?;
            return match value.as_str().filter(|text| EntityId::parse(text).is_none()) {
                None => Ok(()),
                Some(text) => self.refuse(format!(
                    "Invalid value for link '{last}' in entity '{at}'. Expected a UUID, but received: {text}"
                )),
            };
        }
        let attrs = schema.namespaces.iter().find(|namespace| *namespace.etype == *at);
        let attrs = attrs.into_iter().flat_map(|namespace| &namespace.attrs);
        let attrs = attrs.map(|attr| &*attr.label);
        self.refuse(match is_path {
            true => format!(
                "Attribute '{last}' does not exist on entity '{at}' in dot notation path '{name}'. \
                 Available attributes: {}",
                listed(attrs.chain(["id"]))
            ),
            false => format!(
                "Attribute or link '{last}' does not exist on entity '{at}'. Available attributes: {}. \
                 Available links: {}",
                listed(attrs),
                links(schema, at)
            ),
        })
    }

    fn value(&self, subject: &Subject<'_>, value: &Json) -> Checked {
        let Some(kind) = subject.kind else { return Ok(()) };
        if let Json::Object(operators) = value {
            return operators.iter().try_for_each(|(name, operand)| {
                let mut path = self.path.clone();
                path.push(name.clone());
                Validator { schema: self.schema, extensions: self.extensions, path }
                    .operator(subject, kind, name, operand)
            });
        }
        if fits(kind, value) {
            return Ok(());
        }
        let Subject { name, etype, .. } = subject;
        let (expected, received) = (kind.name(), type_of(value));
        self.refuse(format!(
            "Invalid value for attribute '{name}' in entity '{etype}'. Expected {expected}, but \
             received: {received}"
        ))
    }

    fn operator(
        &self,
        subject: &Subject<'_>,
        kind: CheckedType,
        operator: &str,
        operand: &Json,
    ) -> Checked {
        let Subject { name, etype, .. } = subject;
        let typed = |kind: CheckedType, operand: &Json| {
            match fits(kind, operand) {
            true => Ok(()),
            false => self.refuse(format!(
                "Invalid value for operator '{operator}' on attribute '{name}' in entity '{etype}'. \
                 Expected {}, but received: {}",
                kind.name(),
                type_of(operand)
            )),
        }
        };
        match operator {
            "$nin" | "$exists" | "$contains" | "$size" if !self.extensions => {}
            "in" | "$in" | "$nin" => {
                return match operand {
                    Json::Array(items) => items.iter().try_for_each(|item| typed(kind, item)),
                    other => self.refuse(format!(
                        "Operator '{operator}' for attribute '{name}' in entity '{etype}' must be an \
                         array, but received: {}",
                        type_of(other)
                    )),
                };
            }
            "$not" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte" => return typed(kind, operand),
            "$like" => return typed(CheckedType::String, operand),
            "$ilike" => {
                typed(CheckedType::String, operand)?;
                if subject.indexed {
                    return Ok(());
                }
                return self.refuse(format!(
                    "Operator '$ilike' can only be used with indexed attributes, but '{name}' in entity \
                     '{etype}' is not indexed"
                ));
            }
            "$isNull" | "$exists" => return typed(CheckedType::Boolean, operand),
            "$contains" | "$size" => return Ok(()),
            _ => {}
        }
        self.refuse(format!(
            "Unknown operator '{operator}' for attribute '{name}' in entity '{etype}'"
        ))
    }
}

/// Whether a value has a type; null has every one.
fn fits(kind: CheckedType, value: &Json) -> bool {
    match kind {
        _ if value.is_null() => true,
        CheckedType::String => value.is_string(),
        CheckedType::Number => value.is_number(),
        CheckedType::Boolean => value.is_boolean(),
        CheckedType::Date => value.is_string() || value.is_number(),
    }
}

/// The namespace behind a link, seen from either side.
fn leads_to<'s>(schema: &'s Schema, etype: &str, label: &str) -> Option<&'s str> {
    schema.links.iter().find_map(|link| {
        let sides = [(&link.forward, &link.reverse), (&link.reverse, &link.forward)];
        let side = |(near, far): &(&crate::schema::LinkSide, &'s crate::schema::LinkSide)| {
            (*near.etype == *etype && *near.label == *label).then_some(&*far.etype)
        };
        sides.iter().find_map(side)
    })
}

fn links(schema: &Schema, etype: &str) -> String {
    let forward = schema.links.iter().map(|link| &link.forward);
    let sides = forward.chain(schema.links.iter().map(|link| &link.reverse));
    listed(sides.filter(|side| *side.etype == *etype).map(|side| &*side.label))
}

fn listed<'s>(names: impl Iterator<Item = &'s str>) -> String {
    let names: Vec<&str> = names.collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// What JavaScript's `typeof` says.
const fn type_of(json: &Json) -> &'static str {
    match json {
        Json::Null | Json::Array(_) | Json::Object(_) => "object",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
    }
}
