//! Edits of a presence map, as servers send them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;
use tricedb_protocol::{EditKind, PathPart, PresenceEdit};

/// Applies edits in order; gives the peers that they touched. An edit that leads nowhere is passed over: the
/// next whole list puts it right.
pub(super) fn apply_all(
    entries: &mut BTreeMap<String, Json>,
    edits: &[PresenceEdit],
) -> BTreeSet<String> {
    let mut touched = BTreeSet::new();
    for edit in edits {
        let Some((first, rest)) = edit.path.split_first() else { continue };
        let peer = match first {
            PathPart::Key(key) => key.clone(),
            PathPart::Index(index) => index.to_string(),
        };
        match (rest.split_last(), &edit.change) {
            (None, EditKind::Add(value) | EditKind::Replace(value)) => {
                entries.insert(peer.clone(), value.clone());
            }
            (None, EditKind::Remove) => drop(entries.remove(&peer)),
            (Some(_), EditKind::Remove) if !entries.contains_key(&peer) => {}
            (Some((last, between)), change) => {
                let entry = entries.entry(peer.clone()).or_insert_with(empty);
                if let Some(target) = walk(entry, between) {
                    apply(target, last, change);
                }
            }
        }
        touched.insert(peer);
    }
    touched
}

fn empty() -> Json {
    Json::Object(serde_json::Map::new())
}

/// Goes down a path and makes the objects that are missing on it.
fn walk<'a>(mut at: &'a mut Json, path: &[PathPart]) -> Option<&'a mut Json> {
    for part in path {
        at = match (at, part) {
            (Json::Array(items), PathPart::Index(index)) => items.get_mut(*index)?,
            (at, PathPart::Key(key)) => object(at).entry(key.clone()).or_insert_with(empty),
            (at, PathPart::Index(index)) => {
                object(at).entry(index.to_string()).or_insert_with(empty)
            }
        };
    }
    Some(at)
}

/// The object at a place; what else stood there makes way.
fn object(at: &mut Json) -> &mut serde_json::Map<String, Json> {
    if !at.is_object() {
        *at = empty();
    }
    match at {
        Json::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

fn apply(target: &mut Json, last: &PathPart, change: &EditKind) {
    match (target, last) {
        (Json::Array(items), PathPart::Index(index)) => match change {
            EditKind::Add(value) => items.insert((*index).min(items.len()), value.clone()),
            EditKind::Replace(value) => {
                if let Some(item) = items.get_mut(*index) {
                    *item = value.clone();
                }
            }
            EditKind::Remove if *index < items.len() => drop(items.remove(*index)),
            EditKind::Remove => {}
        },
        (target, last) => {
            let key = match last {
                PathPart::Key(key) => key.clone(),
                PathPart::Index(index) => index.to_string(),
            };
            match change {
                EditKind::Add(value) | EditKind::Replace(value) => {
                    object(target).insert(key, value.clone());
                }
                EditKind::Remove => {
                    if let Json::Object(map) = target {
                        map.remove(&key);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn applied(start: &Json, edits: &Json) -> Json {
        let mut entries: BTreeMap<String, Json> = serde_json::from_value(start.clone()).unwrap();
        let edits: Vec<PresenceEdit> = serde_json::from_value(edits.clone()).unwrap();
        apply_all(&mut entries, &edits);
        serde_json::to_value(entries).unwrap()
    }

    #[test]
    fn the_edits_of_the_reference() {
        let start = json!({"s": {"data": {"l": [1, 2, 3], "d": 1}}});
        let edits = json!([
            [["s", "data", "l", 1], "+", 9],
            [["s", "data", "l", 0], "-"],
            [["s", "data", "l", 0], "r", "R"],
            [["s", "data", "d"], "-"],
            [["t"], "+", {"data": {}}],
        ]);
        let end = json!({"s": {"data": {"l": ["R", 2, 3]}}, "t": {"data": {}}});
        assert_eq!(applied(&start, &edits), end);
        assert_eq!(applied(&end, &json!([[["s"], "-"]])), json!({"t": {"data": {}}}));
    }

    #[test]
    fn parents_are_made_and_nonsense_is_passed_over() {
        let start = json!({"s": 1});
        let edits = json!([
            [[], "r", 7],
            [["u", "data"], "-"],
            [["s", "data", "cursor", "x"], "r", 9],
            [["s", "data", "cursor", "x", 3, "y"], "-"],
            [["s", "data", "l"], "+", []],
            [["s", "data", "l", 7], "r", 1],
            [["s", "data", "l", 7], "+", 1],
            [["s", "data", "l", 7], "-"],
        ]);
        let end = applied(&start, &edits);
        assert_eq!(end["s"]["data"]["l"], json!([1]));
        assert!(end.get("u").is_none());
    }
}
