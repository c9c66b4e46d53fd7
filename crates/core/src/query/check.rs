//! What the server refuses once it knows the attributes.

use std::sync::Arc;

use serde_json::Value as Json;

use super::error::{Fault, shown, type_name};
use super::form::{Operator, PathCondition};
use crate::attr::{Attr, Cardinality, CheckedType};
use crate::catalog::Named;
use crate::value::{JsonType, Value};

type Checked = Result<(), Fault>;

/// Checks that an order attribute can order.
pub(super) fn order(
    named: Option<Named<'_>>,
    etype: &str,
    label: &str,
    place: Vec<Json>,
) -> Checked {
    let refuse = |message: String| Err(Fault::refused("supported-order?", place, message));
    let Some(attr) = named.map(|named| named.attr) else {
        return refuse(format!("There is no `{label}` attribute for {etype}."));
    };
    let name = format!("The `{}.{}` attribute", attr.etype(), attr.label());
    if !attr.indexed {
        let why = "is not indexed. Only indexed and typed attributes can be used to order by.";
        refuse(format!("{name} {why}"))
    } else if attr.indexing {
        let why =
            "is still in the process of indexing. It must finish before ordering by the attribute.";
        refuse(format!("{name} {why}"))
    } else if attr.checked_data_type.is_none() {
        let why = "is not typed. Only typed and indexed attributes can be used to order by.";
        refuse(format!("{name} {why}"))
    } else if attr.checking_data_type {
        let why = "is still in the process of validating its type. It must finish before ordering by the \
                   attribute.";
        refuse(format!("{name} {why}"))
    } else if attr.cardinality == Cardinality::Many {
        let why = "has cardinality `many`. Only attributes with cardinality `one` can be used to order by.";
        refuse(format!("{name} {why}"))
    } else {
        Ok(())
    }
}

/// A cursor that comes from another order.
pub(super) fn foreign_cursor(
    name: &str,
    by: &str,
    got: Option<&Arc<Attr>>,
    place: Vec<Json>,
) -> Fault {
    let got = match got {
        None => "a missing attribute".into(),
        Some(attr) if attr.is_id() => "`serverCreatedAt`".into(),
        Some(attr) => format!("`{}`", attr.label()),
    };
    let message = format!(
        "Invalid {name} cursor. The query orders by `{by}`, but the query that returned the cursor \
         orders by {got}."
    );
    Fault::refused("valid-cursor?", place, message)
}

/// Checks the operators at the end of a path.
pub(super) fn operators(named: Named<'_>, etype: &str, path: &PathCondition) -> Checked {
    let leaf = Checks { attr: named.attr, etype, path };
    path.operators.iter().try_for_each(|operator| leaf.operator(operator))
}

struct Checks<'a> {
    attr: &'a Attr,
    etype: &'a str,
    path: &'a PathCondition,
}

impl Checks<'_> {
    fn operator(&self, operator: &Operator) -> Checked {
        match operator {
            Operator::IsNull(_) => Ok(()),
            Operator::Compare { how, with } => {
                self.comparable()?;
                self.typed(with, &[how.name()])
            }
            Operator::Like { case, pattern } => {
                self.comparable()?;
                self.pattern(pattern, case.name())
            }
            Operator::Contains(_) | Operator::Size { .. } if self.attr.is_ref() => {
                let message = format!(
                    "The {} attribute is a link: only strings and lists contain something or have a size.",
                    self.name()
                );
                Err(Fault::operand("blob?", self.place(&[]), message))
            }
            Operator::Size { .. } => Ok(()),
            Operator::Contains(part) => match self.attr.settled_type() {
                Some(CheckedType::String) => self.typed(part, &["$contains"]),
                _ => Ok(()),
            },
            operator if self.attr.is_ref() => self.link(operator),
            Operator::Equals(value) | Operator::Differs { from: value, .. } => {
                self.typed(value, &[])
            }
            Operator::In(values) => self.list(values),
            Operator::NotIn(values) => {
                let mut given = values.iter().filter(|value| !value.is_null());
                given.try_for_each(|value| self.typed(value, &[]))
            }
        }
    }

    fn label(&self) -> &str {
        self.path.labels.last().map_or("", |label| label)
    }

    fn place(&self, more: &[&str]) -> Vec<Json> {
        self.path.place.iter().cloned().chain(more.iter().map(|part| (*part).into())).collect()
    }

    fn name(&self) -> String {
        format!("`{}.{}`", self.etype, self.label())
    }

    fn comparable(&self) -> Checked {
        let refuse = |expected, why: &str| {
            let message = format!("The {} attribute {why}", self.name());
            Err(Fault::operand(expected, self.place(&[]), message))
        };
        if !self.attr.indexed {
            refuse("indexed?", "must be indexed to use comparison operators.")
        } else if self.attr.indexing {
            refuse(
                "indexed?",
                "is still in the process of indexing. It must finish before using comparison operators.",
            )
        } else if self.attr.checked_data_type.is_none() {
            refuse("checked-data-type?", "must have an enforced type to use comparison operators.")
        } else if self.attr.checking_data_type {
            refuse(
                "checked-data-type?",
                "is still in the process of checking its data type. It must finish before using \
                 comparison operators.",
            )
        } else {
            Ok(())
        }
    }

    fn typed(&self, value: &Value, more: &[&str]) -> Checked {
        let Some(checked) = self.attr.settled_type() else { return Ok(()) };
        let (fits, expected) = match checked {
            CheckedType::Date => match value.json_type() {
                JsonType::String | JsonType::Number => return self.date(value, more),
                _ => (false, "date?"),
            },
            CheckedType::String => (value.json_type() == JsonType::String, "string?"),
            CheckedType::Number => (value.json_type() == JsonType::Number, "number?"),
            CheckedType::Boolean => (value.json_type() == JsonType::Boolean, "boolean?"),
        };
        if fits {
            return Ok(());
        }
        let json = value.to_json();
        let message = format!(
            "The data type of {} is `{}`, but the query got the value `{}` of type `{}`.",
            self.name(),
            checked.name(),
            shown(&json),
            type_name(&json),
        );
        Err(Fault::operand(expected, self.place(more), message))
    }

    /// A number or string that must be an instant.
    fn date(&self, value: &Value, more: &[&str]) -> Checked {
        if crate::date::instant_ms(value).is_some() {
            return Ok(());
        }
        let json = value.to_json();
        let expected = if json.is_string() { "date-string?" } else { "timestamp?" };
        let message = format!(
            "The data type of {} is `date`, but the query got value `{}` of type `{}`.",
            self.name(),
            shown(&json),
            type_name(&json),
        );
        Err(Fault::operand(expected, self.place(more), message))
    }

    fn pattern(&self, pattern: &Value, operator: &'static str) -> Checked {
        let json = pattern.to_json();
        if !json.is_string() {
            let message = format!(
                "The {operator} value for {} must be a string, but the query got the value `{}` of type \
                 `{}`.",
                self.name(),
                shown(&json),
                type_name(&json),
            );
            return Err(Fault::operand("string?", self.place(&[operator]), message));
        }
        match self.attr.settled_type() {
            Some(CheckedType::Date) => {
                let message = format!(
                    "The data type of {} is `date`, but the query got value `{}` of type `string`.",
                    self.name(),
                    shown(&json),
                );
                Err(Fault::operand("date?", self.place(&[operator]), message))
            }
            _ => self.typed(pattern, &[operator]),
        }
    }

    fn list(&self, values: &[Value]) -> Checked {
        let indexed = self.attr.indexed && !self.attr.indexing;
        for value in values {
            if !value.is_null() {
                self.typed(value, &[])?;
            } else if !indexed {
                let message = format!(
                    "Only indexed attrs can check for `nil` in `$in`. {}.{} is not indexed.",
                    self.etype,
                    self.label()
                );
                return Err(Fault::operand("indexed?", self.place(&[]), message));
            }
        }
        Ok(())
    }

    fn link(&self, operator: &Operator) -> Checked {
        let label = self.label();
        let message = match operator {
            Operator::Equals(value) if value.as_entity().is_none() => {
                format!("Expected {label} to be a uuid, got {}", shown(&value.to_json()))
            }
            Operator::Differs { spelling, from } if from.as_entity().is_none() => {
                let got = serde_json::json!({spelling.name(): from});
                format!("Expected {label} to be a uuid, got {}", shown(&got))
            }
            Operator::In(values) | Operator::NotIn(values) => match values.iter().find(|value| {
                let is_null = value.is_null() && matches!(operator, Operator::NotIn(_));
                value.as_entity().is_none() && !is_null
            }) {
                None => return Ok(()),
                Some(value) => format!(
                    "Expected {label} to match on a uuid, found {} in {}",
                    shown(&value.to_json()),
                    shown(&values.iter().map(Value::to_json).collect()),
                ),
            },
            _ => return Ok(()),
        };
        Err(Fault::refused("uuid?", self.place(&[]), message))
    }
}
