//! Comparing what came with what was expected.

use serde_json::Value;

/// Whether the order of arrays counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrays {
    /// Position by position, at every level.
    Ordered,
    /// As multisets, at every level.
    Unordered,
}

/// The first difference of two values, in words; `None` if there is none.
pub(super) fn difference(expected: &Value, got: &Value, arrays: Arrays) -> Option<String> {
    let prepare = |value: &Value| {
        let mut value = value.clone();
        normalise(&mut value, arrays);
        value
    };
    find(&prepare(expected), &prepare(got), "", Match::Equal)
}

/// The first thing that `got` lacks of `expected`; what it has beyond does not count in objects.
pub(super) fn lacking(expected: &Value, got: &Value) -> Option<String> {
    find(expected, got, "", Match::Contained)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Match {
    Equal,
    Contained,
}

/// Gives numbers one spelling and, if order does not count, arrays one order.
fn normalise(value: &mut Value, arrays: Arrays) {
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().and_then(serde_json::Number::from_f64) {
                *number = float;
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(|item| normalise(item, arrays));
            if arrays == Arrays::Unordered {
                items.sort_by_cached_key(tricedb_core::query::canonical_json);
            }
        }
        Value::Object(entries) => entries.values_mut().for_each(|item| normalise(item, arrays)),
        _ => {}
    }
}

fn find(expected: &Value, got: &Value, at: &str, matching: Match) -> Option<String> {
    match (expected, got) {
        (Value::Object(wanted), Value::Object(have)) => {
            for (key, expected) in wanted {
                let at = format!("{at}/{key}");
                match have.get(key) {
                    None => {
                        return Some(format!("at {at}: expected {}, got nothing", short(expected)));
                    }
                    Some(got) => {
                        if let Some(found) = find(expected, got, &at, matching) {
                            return Some(found);
                        }
                    }
                }
            }
            let beyond = have.iter().find(|(key, _)| !wanted.contains_key(*key));
            let (key, got) = beyond.filter(|_| matching == Match::Equal)?;
            Some(format!("at {at}/{key}: expected nothing, got {}", short(got)))
        }
        (Value::Array(wanted), Value::Array(have)) => {
            if wanted.len() != have.len() {
                let (wanted, have) = (wanted.len(), have.len());
                return Some(format!(
                    "at {at}: expected {wanted} items, got {have}\nexpected {}\ngot      {}",
                    short(expected),
                    short(got)
                ));
            }
            let mut pairs = wanted.iter().zip(have).enumerate();
            pairs.find_map(|(place, (expected, got))| {
                find(expected, got, &format!("{at}/{place}"), matching)
            })
        }
        (Value::Number(a), Value::Number(b)) if a.as_f64() == b.as_f64() => None,
        _ if expected == got => None,
        _ => Some(format!("at {at}: expected {}, got {}", short(expected), short(got))),
    }
}

/// JSON cut to a length that can be read.
fn short(value: &Value) -> String {
    const LENGTH_MAX: usize = 300;
    let text = value.to_string();
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_counts_only_where_it_should_and_numbers_by_value() {
        let (a, b) = (json!({"x": [1, {"y": [2, 3]}]}), json!({"x": [{"y": [3.0, 2]}, 1.0]}));
        assert_eq!(difference(&a, &b, Arrays::Unordered), None);
        assert!(difference(&a, &b, Arrays::Ordered).is_some());
        assert!(difference(&json!([1]), &json!(["1"]), Arrays::Unordered).is_some());
        assert!(difference(&json!([1, 1, 2]), &json!([1, 2, 2]), Arrays::Unordered).is_some());
    }

    #[test]
    fn containment_forgives_further_keys_only() {
        assert_eq!(
            lacking(&json!({"a": [{"b": 1}]}), &json!({"a": [{"b": 1, "c": 2}], "d": 3})),
            None
        );
        assert!(lacking(&json!({"a": [1]}), &json!({"a": [1, 2]})).is_some());
        assert!(lacking(&json!({"a": 1}), &json!({})).is_some());
    }
}
