//! The difference between what a member showed and what it shows.

use std::fmt::Write;

use serde_json::Value as Json;
use tricedb_protocol::PresenceData;

use super::encode::push_text;

/// Appends the edits that turn one presence of a peer into another, each followed by a comma.
///
/// No edit removes the last key of an object: official clients then remove what holds it as well, up to the
/// whole peer. So additions come before removals, and an object that becomes empty is replaced by `{}`.
/// Where one replacement of everything is shorter, it is that.
pub(super) fn push_edits(
    out: &mut String,
    peer: &str,
    old: &PresenceData,
    new: &PresenceData,
    new_text: &str,
) {
    let start = out.len();
    let mut path = String::with_capacity(peer.len() + 16);
    push_text(&mut path, peer);
    path.push_str(",\"data\"");
    diff(out, &mut path, old, new);
    let whole = path.len() + new_text.len() + r#"[[],"r",],"#.len();
    if out.len() - start > whole {
        out.truncate(start);
        push_edit(out, &path, "r", Some(new_text));
    }
}

fn diff(out: &mut String, path: &mut String, old: &PresenceData, new: &PresenceData) {
    if new.is_empty() && !old.is_empty() {
        push_edit(out, path, "r", Some("{}"));
        return;
    }
    for (key, value) in new {
        let before = old.get(key);
        if before == Some(value) {
            continue;
        }
        let parent = path.len();
        path.push(',');
        push_text(path, key);
        match (before, value) {
            (Some(Json::Object(before)), Json::Object(after)) => diff(out, path, before, after),
            (Some(_), _) => push_edit(out, path, "r", Some(&value.to_string())),
            (None, _) => push_edit(out, path, "+", Some(&value.to_string())),
        }
        path.truncate(parent);
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        let parent = path.len();
        path.push(',');
        push_text(path, key);
        push_edit(out, path, "-", None);
        path.truncate(parent);
    }
}

/// `path` is the inside of the array.
pub(super) fn push_edit(out: &mut String, path: &str, sign: &str, value: Option<&str>) {
    // Writing to a string cannot fail.
    let _ = match value {
        Some(value) => write!(out, r#"[[{path}],"{sign}",{value}],"#),
        None => write!(out, r#"[[{path}],"{sign}"],"#),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edits(old: &Json, new: &Json) -> Json {
        let mut out = String::new();
        let (old, new) = (old.as_object().unwrap(), new.as_object().unwrap());
        push_edits(&mut out, "s", old, new, &serde_json::to_string(new).unwrap());
        serde_json::from_str(&format!("[{}]", out.trim_end_matches(','))).unwrap()
    }

    const FILLER: &str =
        "something long enough that replacing all of it is no gain at all, whatever happens";

    #[test]
    fn small_changes_of_large_presence_are_small() {
        let old = json!({"f": FILLER, "g": FILLER, "cursor": {"x": 1, "y": 2}, "l": [1, 2]});
        let mut new = old.clone();
        new["cursor"]["x"] = json!(9);
        assert_eq!(edits(&old, &new), json!([[["s", "data", "cursor", "x"], "r", 9]]));
        new = old.clone();
        new["l"] = json!([1]);
        assert_eq!(edits(&old, &new), json!([[["s", "data", "l"], "r", [1]]]));
        assert_eq!(edits(&old, &old), json!([]));
    }

    #[test]
    fn additions_come_before_removals_and_nothing_is_emptied() {
        let old = json!({"f": FILLER, "g": FILLER, "o": {"a": 1}});
        let new = json!({"f": FILLER, "g": FILLER, "o": {"b": 1}});
        assert_eq!(
            edits(&old, &new),
            json!([[["s", "data", "o", "b"], "+", 1], [["s", "data", "o", "a"], "-"]])
        );
        let new = json!({"f": FILLER, "g": FILLER, "o": {}});
        assert_eq!(edits(&old, &new), json!([[["s", "data", "o"], "r", {}]]));
        assert_eq!(edits(&json!({"a": 1}), &json!({})), json!([[["s", "data"], "r", {}]]));
    }

    #[test]
    fn a_short_presence_is_replaced_as_a_whole() {
        let (old, new) = (json!({"x": 1, "y": 2}), json!({"x": 3, "y": 4}));
        assert_eq!(edits(&old, &new), json!([[["s", "data"], "r", {"x": 3, "y": 4}]]));
    }
}
