//! The forms that InstaML vectors share: fluent calls, values that JSON lacks, and names for fresh ids.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};
use tricedb_core::id::parse_uuid;
use tricedb_core::tx::{EntityKey, LinkTargets, TxBuilder, UpdateMode, lookup, tx};

use super::super::Outcome;
use super::failed;

/// Which placeholder stands for which fresh id, both ways.
#[derive(Clone, Default)]
pub(super) struct Names {
    ids: BTreeMap<String, String>,
    placeholders: BTreeMap<String, String>,
}

impl Names {
    /// The first difference, in words. Placeholders are bound to ids as they are met.
    pub(super) fn difference(&mut self, expected: &Json, got: &Json) -> Option<String> {
        self.find(expected, got, "")
    }

    fn find(&mut self, expected: &Json, got: &Json, at: &str) -> Option<String> {
        let differs = || Some(format!("at {at}: expected {expected}, got {got}"));
        match (expected, got) {
            (Json::Object(wanted), Json::Object(have)) => {
                let wanted: Vec<_> = wanted.iter().filter(|(_, v)| !is_undefined(v)).collect();
                if wanted.len() != have.len() {
                    return differs();
                }
                wanted.into_iter().find_map(|(key, expected)| match have.get(key) {
                    Some(got) => self.find(expected, got, &format!("{at}/{key}")),
                    None => Some(format!("at {at}/{key}: expected {expected}, got nothing")),
                })
            }
            (Json::Array(wanted), Json::Array(have)) => {
                if wanted.len() != have.len() {
                    return differs();
                }
                let mut pairs = wanted.iter().zip(have).enumerate();
                pairs
                    .find_map(|(n, (expected, got))| self.find(expected, got, &format!("{at}/{n}")))
            }
            (Json::String(wanted), Json::String(have)) if wanted.starts_with("$new:") => {
                let known = (self.ids.get(wanted), self.placeholders.get(have));
                match known {
                    (None, None) if parse_uuid(have).is_some() => {
                        self.ids.insert(wanted.clone(), have.clone());
                        self.placeholders.insert(have.clone(), wanted.clone());
                        None
                    }
                    (Some(id), Some(_)) if id == have => None,
                    _ => differs(),
                }
            }
            (Json::Number(a), Json::Number(b)) if a.as_f64() == b.as_f64() => None,
            _ if expected == got => None,
            _ => differs(),
        }
    }

    /// Whether two lists hold the same items in any order.
    pub(super) fn same_items(&mut self, expected: &[Json], got: &[Json]) -> bool {
        let Some((first, rest)) = expected.split_first() else { return got.is_empty() };
        for (at, candidate) in got.iter().enumerate() {
            let mut names = self.clone();
            if names.difference(first, candidate).is_some() {
                continue;
            }
            let others: Vec<Json> =
                got.iter().enumerate().filter(|(n, _)| *n != at).map(|(_, j)| j.clone()).collect();
            if names.same_items(rest, &others) {
                *self = names;
                return true;
            }
            if !first.to_string().contains("$new:") {
                return false;
            }
        }
        false
    }
}

fn is_undefined(json: &Json) -> bool {
    json.get("$undefined").is_some()
}

/// Whether a case holds a value that JSON cannot say.
pub(super) fn beyond_json(json: &Json) -> bool {
    json.to_string().contains("{\"$nan\":true}")
}

/// A value as JSON writes it: what is undefined goes, dates become text.
pub(super) fn plain(json: &Json) -> Json {
    match json {
        Json::Object(map) => {
            if let Some(date) = map.get("$date") {
                return date.clone();
            }
            let members = map.iter().filter(|(_, v)| !is_undefined(v));
            Json::Object(members.map(|(k, v)| (k.clone(), plain(v))).collect())
        }
        Json::Array(items) => {
            let item = |v: &Json| if is_undefined(v) { Json::Null } else { plain(v) };
            Json::Array(items.iter().map(item).collect())
        }
        other => other.clone(),
    }
}

/// The chains of fluent calls of a case.
pub(super) fn chains(case: &Json) -> Result<Vec<TxBuilder>, Outcome> {
    case["chunks"].as_array().into_iter().flatten().map(chain).collect()
}

fn chain(chunk: &Json) -> Result<TxBuilder, Outcome> {
    let etype = chunk["etype"].as_str().unwrap_or_default();
    let mut chain = tx(etype, key(&chunk["eid"])?);
    for call in chunk["calls"].as_array().into_iter().flatten() {
        let args = plain(&call[1]);
        let mode = match call[2]["upsert"].as_bool() {
            None => UpdateMode::Auto,
            Some(true) => UpdateMode::Upsert,
            Some(false) => UpdateMode::Strict,
        };
        chain = match call[0].as_str() {
            Some("create") => chain.create(args),
            Some("update") => chain.update_with(args, mode),
            Some("merge") => chain.merge_with(args, mode),
            Some("delete") => chain.delete(),
            Some("ruleParams") => chain.rule_params(args),
            Some("link") => chain.links(links(&args)?),
            Some("unlink") => chain.unlinks(links(&args)?),
            _ => return failed(format!("no such call: {call}")),
        };
    }
    Ok(chain)
}

/// An entity as fluent calls name it.
fn key(json: &Json) -> Result<EntityKey, Outcome> {
    match (json, &json["lookup"]) {
        (_, Json::Array(pair)) => match pair.as_slice() {
            [Json::String(label), value] => Ok(lookup(label, value.clone())),
            _ => failed(format!("no lookup: {json}")),
        },
        (Json::String(text), _) => Ok(EntityKey::from(text)),
        _ => Ok(EntityKey::from(json.to_string())),
    }
}

fn links(args: &Json) -> Result<Vec<LinkTargets>, Outcome> {
    let Json::Object(args) = args else { return failed(format!("no links: {args}")) };
    let mut links = Vec::new();
    for (label, targets) in args {
        let targets = match targets {
            Json::Array(items) => items.iter().map(key).collect::<Result<_, _>>()?,
            Json::Null => continue,
            one => vec![key(one)?],
        };
        links.push(LinkTargets { label: label.as_str().into(), targets });
    }
    Ok(links)
}

/// Operations in one spelling: single targets of links as lists, nothing undefined, only the option that
/// means something.
pub(super) fn same_spelling(operation: &Json) -> Json {
    let mut parts: Vec<Json> = operation
        .as_array()
        .into_iter()
        .flatten()
        .filter(|v| !is_undefined(v))
        .map(plain)
        .collect();
    if matches!(parts.first().and_then(Json::as_str), Some("link" | "unlink"))
        && let Some(Json::Object(links)) = parts.get_mut(3)
    {
        let lists = links.iter().filter(|(_, v)| !v.is_null()).map(|(label, targets)| {
            (label.clone(), if targets.is_array() { targets.clone() } else { json!([targets]) })
        });
        *links = lists.collect::<Map<_, _>>();
    }
    let means = parts.first().is_some_and(|op| op == "update" || op == "merge")
        && parts.get(4).is_some_and(|opts| opts["upsert"].is_boolean());
    if !means {
        parts.truncate(4);
    }
    Json::Array(parts)
}
