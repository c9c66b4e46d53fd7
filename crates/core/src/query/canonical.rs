//! One text for all spellings of a JSON value.

use serde_json::Value as Json;

/// Writes JSON with sorted keys and without white space: equal values give equal texts.
pub fn canonical_json(json: &Json) -> String {
    let mut text = String::new();
    write(json, &mut text);
    text
}

fn write(json: &Json, text: &mut String) {
    match json {
        Json::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            // Other crates of a program may have switched on insertion order.
            entries.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (at, (key, value)) in entries.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(key.as_str()).to_string());
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        // Integral doubles and integers are one number.
        Json::Number(n) => match n.as_f64() {
            Some(f) if n.is_f64() && f.fract() == 0.0 && f.abs() < 9e15 => {
                text.push_str(&format!("{}", f as i64));
            }
            _ => text.push_str(&n.to_string()),
        },
        scalar => text.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_and_spelling_of_numbers_do_not_matter_but_list_order_does() {
        let a: Json =
            serde_json::from_str(r#"{"b": [1.0, "é"], "a": {"d": null, "c": true}}"#).unwrap();
        assert_eq!(canonical_json(&a), r#"{"a":{"c":true,"d":null},"b":[1,"é"]}"#);
        assert_ne!(canonical_json(&json!([1, 2])), canonical_json(&json!([2, 1])));
    }
}
