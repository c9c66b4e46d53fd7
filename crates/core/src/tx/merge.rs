//! Deep merge of objects.

use serde_json::Value as Json;

/// Merges a patch into a base.
///
/// Objects merge key by key: where both sides are objects they recurse, a null removes the key, anything
/// else (arrays too) replaces. If either side is no object the patch stands as it is, inner nulls
/// included.
pub fn deep_merge(base: Json, patch: &Json) -> Json {
    let (mut merged, patch) = match (base, patch) {
        (Json::Object(base), Json::Object(patch)) => (base, patch),
        (_, patch) => return patch.clone(),
    };
    for (key, change) in patch {
        match (change, merged.get_mut(key)) {
            (Json::Null, _) => {
                merged.remove(key);
            }
            (Json::Object(_), Some(inner @ Json::Object(_))) => {
                *inner = deep_merge(inner.take(), change);
            }
            _ => {
                merged.insert(key.clone(), change.clone());
            }
        }
    }
    Json::Object(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nulls_remove_only_where_the_base_is_an_object() {
        let base = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        let merged = deep_merge(base, &json!({"a": {"b": null, "e": {"f": null}}, "d": [2]}));
        assert_eq!(merged, json!({"a": {"c": 2, "e": {"f": null}}, "d": [2]}));
        assert_eq!(deep_merge(json!(1), &json!({"x": null})), json!({"x": null}));
    }
}
