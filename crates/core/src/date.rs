//! Reading the values of `date` attributes.
//!
//! A `date` attribute stores what it was given, a number of milliseconds since 1970 or a string, and
//! returns the same. Two readings exist and disagree at the edges. The server's ([`accepts`],
//! [`instant_ms`]) decides what may be written and where it stands in comparisons and order: it follows
//! PostgreSQL's input rules for `timestamptz` with month-day-year order and UTC. The client's
//! ([`coerce_client`]) is what a program sees that asks for date objects. Text without a zone is UTC in
//! both. Zones are known by offset and by abbreviation, not by place (`Europe/Berlin`).

mod calendar;
mod client;
mod server;
#[cfg(test)]
mod tests;
mod zone;

use crate::value::Value;

/// Why a value is no date to the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DateError {
    /// A string that no parser takes.
    #[error("Unable to parse `{text}` as a date.")]
    Unparsable {
        /// The string as given.
        text: String,
    },
    /// A value that is neither number, string nor null.
    #[error("Invalid date value `{shown}`. Expected a date, number, or string, got type {found}.")]
    WrongType {
        /// The value as JavaScript prints it.
        shown: String,
        /// Its JavaScript type.
        found: &'static str,
    },
}

/// Whether the server takes `value` for a `date` attribute on write: null, a number of milliseconds
/// within the calendar's range, or a string that reads as a date.
///
/// `now`, `today`, `tomorrow` and `yesterday` are accepted here though queries cannot use them.
pub fn accepts(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Int(_) | Value::Float(_) => number_ms(value).is_some(),
        Value::String(text) => server::parse(text).is_some(),
        Value::Bool(_) | Value::Json(_) | Value::Ref(_) => false,
    }
}

/// The instant in milliseconds since 1970 by which the server compares and orders `value`.
///
/// Fractions of a millisecond are cut off. `infinity` and `-infinity` are `i64::MAX` and `i64::MIN`.
/// `None` for null, for what is no date, and for the words that need a clock. Besides everything that
/// [`accepts`] takes, ISO dates with a day past the end of their month read as its last day, and ISO
/// years may be negative: such strings occur in queries and in data older than the type check.
pub fn instant_ms(value: &Value) -> Option<i64> {
    match value {
        Value::Int(_) | Value::Float(_) => number_ms(value),
        Value::String(text) => match server::parse(text) {
            Some(server::Moment::At(ms)) => Some(ms),
            Some(server::Moment::Infinity) => Some(i64::MAX),
            Some(server::Moment::NegativeInfinity) => Some(i64::MIN),
            Some(server::Moment::Clock) => None,
            None => server::parse_clamped(text),
        },
        Value::Null | Value::Bool(_) | Value::Json(_) | Value::Ref(_) => None,
    }
}

/// The instant in milliseconds since 1970 that the client makes of a stored or queried `value`.
///
/// `Ok(None)` for null and for numbers beyond ±8.64e15, which are invalid dates without being refused.
///
/// # Errors
/// [`DateError::Unparsable`] for a string that is no date, [`DateError::WrongType`] for booleans,
/// arrays and objects.
pub fn coerce_client(value: &Value) -> Result<Option<i64>, DateError> {
    match value {
        Value::Null => Ok(None),
        Value::Int(_) | Value::Float(_) => {
            let in_range = value.as_f64().filter(|ms| ms.abs() <= client::LIMIT_MS as f64);
            Ok(in_range.map(|ms| ms as i64))
        }
        Value::String(text) => match client::parse(text) {
            Some(ms) => Ok(Some(ms)),
            None => Err(DateError::Unparsable { text: text.to_string() }),
        },
        Value::Ref(entity) => Err(DateError::Unparsable { text: entity.to_string() }),
        Value::Bool(b) => Err(DateError::WrongType { shown: b.to_string(), found: "boolean" }),
        Value::Json(json) => {
            Err(DateError::WrongType { shown: script_text(json), found: "object" })
        }
    }
}

/// Milliseconds that the server's calendar holds: from 4713 BC to 294276.
fn number_ms(value: &Value) -> Option<i64> {
    const FIRST: f64 = -210_866_803_200_000.0;
    const END: f64 = 9_224_318_016_000_000.0;
    value.as_f64().filter(|ms| (FIRST..END).contains(ms)).map(|ms| match value {
        Value::Int(exact) => *exact,
        _ => ms as i64,
    })
}

/// What JavaScript's `String(value)` gives, which the error text quotes.
fn script_text(json: &serde_json::Value) -> String {
    use serde_json::Value as Json;
    match json {
        Json::Object(_) => "[object Object]".to_owned(),
        Json::Array(items) => {
            let parts: Vec<String> = items
                .iter()
                .map(|item| if item.is_null() { String::new() } else { script_text(item) })
                .collect();
            parts.join(",")
        }
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}
