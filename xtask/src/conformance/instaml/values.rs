//! Kinds about single values: merges, dates, checked types.

use serde_json::{Value as Json, json};
use tricedb_core::attr::CheckedType;
use tricedb_core::date;
use tricedb_core::tx::deep_merge;
use tricedb_core::value::Value;

use super::super::Outcome;
use super::expect_json;
use super::forms::{beyond_json, plain};

/// A patch over a stored value, and two patches on nothing.
pub(super) fn merge(case: &Json) -> Vec<(&'static str, Outcome)> {
    let (target, source) = (&case["target"], &case["source"]);
    let over = |column: &str, base: Json| match case.get(column) {
        Some(expected) => expect_json(expected, &deep_merge(base, source)),
        None => Outcome::Skipped("no server's answer is recorded"),
    };
    vec![
        ("server", over("server", target.clone())),
        ("serverFresh", over("serverFresh", deep_merge(Json::Null, target))),
    ]
}

/// What the server takes for a date, where it puts it, and what a client makes of it.
pub(super) fn dates(case: &Json) -> Vec<(&'static str, Outcome)> {
    let value = Value::from_json(plain(&case["value"]));
    let mut outcomes = Vec::new();
    if let Some(accepts) = case.get("serverAccepts").and_then(Json::as_bool) {
        outcomes.push(("accepts", expect_json(&json!(accepts), &json!(date::accepts(&value)))));
        let stored = &case["serverStoredAs"];
        if accepts && stored.is_string() && stored != "$clock" {
            outcomes.push(("stored", instant(stored, date::instant_ms(&value))));
        }
    }
    outcomes.push((
        "client",
        match (&case["client"], date::coerce_client(&value)) {
            (Json::String(iso), Ok(Some(ms))) if instant_of(iso) == Some(ms) => Outcome::Passed,
            (Json::Null, Ok(None)) => Outcome::Passed,
            // An instant beyond what JavaScript's dates hold.
            (Json::Object(date), Ok(None)) if date.contains_key("invalidDate") => Outcome::Passed,
            (Json::Object(error), Err(got))
                if error.get("error").is_none_or(|m| *m == got.to_string()) =>
            {
                Outcome::Passed
            }
            _ if case["value"].is_string() => {
                Outcome::Skipped("what a JavaScript engine makes of odd date strings")
            }
            (expected, got) => Outcome::Failed(format!("expected {expected}, got {got:?}")),
        },
    ));
    outcomes
}

fn instant(expected: &Json, got: Option<i64>) -> Outcome {
    let wanted = match expected.as_str() {
        Some("infinity") => Some(i64::MAX),
        Some("-infinity") => Some(i64::MIN),
        Some(iso) => instant_of(iso),
        None => None,
    };
    if wanted == got {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("expected {expected} ({wanted:?}), got {got:?}"))
    }
}

/// Milliseconds of the vectors' output form `[+-]y-MM-ddTHH:mm:ss[.fraction]Z`, read independently of the
/// library.
fn instant_of(iso: &str) -> Option<i64> {
    let (sign, rest) = match iso.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, iso.strip_prefix('+').unwrap_or(iso)),
    };
    let (day, time) = rest.strip_suffix('Z')?.split_once('T')?;

    let day = numbers(day, '-')?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let clock = numbers(clock, ':')?;
    let fraction: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let ([year, month, day], [hour, minute, second]) = (day.as_slice(), clock.as_slice()) else {
        return None;
    };
    // Days since 1970, counting years from March so that the leap day comes last.
    let year = sign * year - i64::from(*month <= 2);
    let shifted = (month + 9) % 12;
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100)
        + year.div_euclid(400)
        + (153 * shifted + 2) / 5
        + day
        - 1
        - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000 + fraction)
}

fn numbers(text: &str, by: char) -> Option<Vec<i64>> {
    text.split(by).map(|number| number.parse().ok()).collect()
}

/// Whether a type takes a value.
pub(super) fn checked_types(case: &Json) -> Outcome {
    if beyond_json(case) {
        return Outcome::Skipped("values that JSON cannot hold");
    }
    let value = Value::from_json(plain(&case["value"]));
    let accepts = match serde_json::from_value::<Option<CheckedType>>(case["type"].clone()) {
        Ok(checked) => checked.is_none_or(|checked| checked.accepts(&value)),
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    expect_json(&case["accepts"], &json!(accepts))
}
