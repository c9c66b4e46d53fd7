//! Why a query is refused.

use serde_json::{Value as Json, json};

/// A query that cannot be run, in the words of InstantDB's server.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct QueryError {
    message: String,
    hint: Json,
}

impl QueryError {
    /// The `type` of the error on the wire.
    pub const fn kind(&self) -> &'static str {
        "validation-failed"
    }

    /// What users read.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Details: `data-type`, mostly `input` (the query), and `errors` with what was expected where.
    pub const fn hint(&self) -> &Json {
        &self.hint
    }
}

/// Which stage of the original server would have found a fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Shapes, types, paging.
    Query,
    /// Operators and operands of a `where`.
    Coerced,
    /// An attribute used against its kind.
    Attr,
}

impl Stage {
    const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Coerced => "coerced-query",
            Self::Attr => "attr",
        }
    }
}

/// One fault of a query, before it is put together with the query itself.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    stage: Stage,
    expected: Option<(&'static str, &'static str)>,
    place: Vec<Json>,
    message: Option<String>,
}

impl Fault {
    /// A part of the wrong shape.
    pub(super) const fn shape(expected: &'static str, place: Vec<Json>) -> Self {
        Self { stage: Stage::Query, expected: Some(("expected", expected)), place, message: None }
    }

    /// A part that has the right shape and cannot be used.
    pub(super) const fn refused(expected: &'static str, place: Vec<Json>, message: String) -> Self {
        Self {
            stage: Stage::Query,
            expected: Some(("expected", expected)),
            place,
            message: Some(message),
        }
    }

    /// An operand that the attribute does not admit.
    pub(super) const fn operand(expected: &'static str, place: Vec<Json>, message: String) -> Self {
        Self {
            stage: Stage::Query,
            expected: Some(("expected?", expected)),
            place,
            message: Some(message),
        }
    }

    /// A condition of the wrong shape.
    pub(super) const fn condition(expected: &'static str, place: Vec<Json>) -> Self {
        Self { stage: Stage::Coerced, expected: Some(("expected", expected)), place, message: None }
    }

    /// A data attribute used as a link.
    pub(super) fn not_a_link(etype: &str, label: &str) -> Self {
        Self {
            stage: Stage::Attr,
            expected: None,
            place: Vec::new(),
            message: Some(format!("{etype}.{label} needs to be a link")),
        }
    }

    pub(super) fn into_error(self, input: &Json) -> QueryError {
        let name = self.stage.name();
        let mut message = format!("Validation failed for {name}");
        if let Some(text) = &self.message {
            message.push_str(": ");
            message.push_str(text);
        }
        let mut error = serde_json::Map::new();
        if let Some((key, expected)) = self.expected {
            error.insert(key.into(), expected.into());
            error.insert("in".into(), Json::Array(self.place));
        }
        if let Some(text) = self.message {
            error.insert("message".into(), text.into());
        }
        let mut hint = json!({"data-type": name, "errors": [error]});
        if self.stage != Stage::Attr {
            hint["input"] = input.clone();
        }
        QueryError { message, hint }
    }
}

/// JSON as error messages print it.
pub(super) fn shown(json: &Json) -> String {
    match json {
        // JavaScript writes a plus sign before positive exponents.
        Json::Number(n) => {
            let text = n.to_string();
            match text.split_once('e') {
                Some((mantissa, exponent)) if !exponent.starts_with(['-', '+']) => {
                    format!("{mantissa}e+{exponent}")
                }
                _ => text,
            }
        }
        other => other.to_string(),
    }
}

/// The JSON type as error messages name it.
pub(super) const fn type_name(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(_) => "number",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}
