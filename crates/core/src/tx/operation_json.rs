//! Operations in InstaML's JSON form: `["update", "posts", "<id>", {…}, {"upsert": false}]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::error::TxError;
use super::operation::{Action, EntityKey, LinkTargets, Operation, UpdateMode};
use super::step::TxStep;
use super::step_json::parse_steps;
use crate::id::EntityId;
use crate::value::Value;

const DATA_TYPE: &str = "steps";

/// The `steps` of an admin transaction, sorted by what they are about.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdminSteps {
    /// Steps that make and delete attributes.
    pub attr_steps: Vec<TxStep>,
    /// Operations on entities, in order.
    pub operations: Vec<Operation>,
}

/// Reads the `steps` of `/admin/transact`, or a list of operations in JSON form.
///
/// # Errors
/// A `validation-failed` [`TxError`] that names the place.
pub fn parse_operations(json: &Json) -> Result<AdminSteps, TxError> {
    let Json::Array(items) = json else {
        return Err(TxError::shape(DATA_TYPE, "coll?", json!([])));
    };
    let mut steps = AdminSteps::default();
    for (at, item) in items.iter().enumerate() {
        let parts =
            item.as_array().ok_or_else(|| TxError::shape(DATA_TYPE, "coll?", json!([at])))?;
        match parts.first().and_then(Json::as_str) {
            Some("add-attr" | "delete-attr") => {
                steps.attr_steps.extend(parse_steps(&json!([item]))?);
            }
            Some("update-attr") => {
                return Err(TxError::validation(
                    DATA_TYPE,
                    "update-attr is not a supported action.",
                    Some(json!([at, 0])),
                ));
            }
            Some(action) => steps.operations.push(parse_operation(action, parts, at)?),
            None => return Err(TxError::shape(DATA_TYPE, "string?", json!([at, 0]))),
        }
    }
    Ok(steps)
}

fn parse_operation(action: &str, parts: &[Json], at: usize) -> Result<Operation, TxError> {
    if !matches!(
        action,
        "create" | "update" | "merge" | "link" | "unlink" | "delete" | "ruleParams"
    ) {
        return Err(TxError::shape(DATA_TYPE, "a known action", json!([at, 0])));
    }
    let etype = parts
        .get(1)
        .and_then(Json::as_str)
        .ok_or_else(|| TxError::shape(DATA_TYPE, "string?", json!([at, 1])))?;
    let key = parse_key(parts.get(2).unwrap_or(&Json::Null), at)?;
    let args = || match parts.get(3) {
        Some(Json::Object(map)) => Ok(map.clone()),
        _ => Err(TxError::shape(DATA_TYPE, "map?", json!([at, 3]))),
    };
    let mode = || match parts.get(4).and_then(|opts| opts.get("upsert")).and_then(Json::as_bool) {
        Some(true) => UpdateMode::Upsert,
        Some(false) => UpdateMode::Strict,
        None => UpdateMode::Auto,
    };
    let action = match action {
        "create" => Action::Create(args()?),
        "update" => Action::Update(args()?, mode()),
        "merge" => Action::Merge(args()?, mode()),
        "link" => Action::Link(parse_targets(args()?, at)?),
        "unlink" => Action::Unlink(parse_targets(args()?, at)?),
        "delete" => Action::Delete,
        _ => Action::RuleParams(args()?),
    };
    Ok(Operation { etype: etype.into(), key, action })
}

fn bad_id(shown: &Json, place: Json) -> TxError {
    let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
    let message =
        format!("Invalid entity ID '{shown}'. Entity IDs must be UUIDs or lookup references.");
    TxError::validation(DATA_TYPE, &message, Some(place))
}

fn lookup_key(label: &str, value: &Json) -> EntityKey {
    EntityKey::Lookup { label: label.into(), value: Value::from_json(value.clone()) }
}

/// Reads `lookup__ATTR__JSON`.
fn parse_lookup_text(text: &str) -> Option<Result<EntityKey, TxError>> {
    let (label, value) = text.strip_prefix("lookup__")?.split_once("__")?;
    Some(match serde_json::from_str::<Json>(value) {
        Ok(value) => Ok(lookup_key(label, &value)),
        Err(_) => Err(TxError::validation("lookup", "lookup value is invalid", None)),
    })
}

fn parse_key(json: &Json, at: usize) -> Result<EntityKey, TxError> {
    let place = json!([at, 2]);
    match json {
        Json::String(text) => match parse_lookup_text(text) {
            Some(key) => key,
            None => EntityId::parse(text).map(EntityKey::Id).ok_or_else(|| bad_id(json, place)),
        },
        Json::Array(pair) => match pair.as_slice() {
            [Json::String(label), value] => Ok(lookup_key(label, value)),
            _ => Err(bad_id(json, place)),
        },
        Json::Object(map) => match map.iter().next() {
            Some((label, value)) if map.len() == 1 => Ok(lookup_key(label, value)),
            _ => Err(TxError::validation(
                "lookup",
                "lookup must be an object with a single unique attr and value.",
                None,
            )),
        },
        _ => Err(bad_id(json, place)),
    }
}

fn parse_targets(args: Map<String, Json>, at: usize) -> Result<Vec<LinkTargets>, TxError> {
    let mut links = Vec::with_capacity(args.len());
    for (label, targets) in args {
        let targets = match targets {
            Json::Array(items) => items,
            Json::Null => continue,
            one => vec![one],
        };
        let targets = targets
            .iter()
            .map(|target| match target {
                Json::String(text) => match parse_lookup_text(text) {
                    Some(key) => key,
                    None => Ok(EntityKey::from(text.as_str())),
                },
                Json::Object(_) => parse_key(target, at),
                other => Err(bad_id(other, json!([at, 3]))),
            })
            .collect::<Result<_, _>>()?;
        links.push(LinkTargets { label: label.into(), targets });
    }
    Ok(links)
}

fn key_to_json(key: &EntityKey) -> Json {
    match key {
        EntityKey::Id(id) => json!(id),
        EntityKey::Lookup { label, value } => json!([&**label, value]),
        EntityKey::Invalid(text) => json!(&**text),
    }
}

fn target_to_json(key: &EntityKey) -> Json {
    match key {
        EntityKey::Lookup { label, value } => {
            Json::String(format!("lookup__{label}__{}", value.to_json()))
        }
        other => key_to_json(other),
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let targets = |links: &[LinkTargets]| {
            let mut map: Map<String, Json> = Map::new();
            for link in links {
                let targets = link.targets.iter().map(target_to_json);
                match map.entry(&*link.label).or_insert_with(|| json!([])) {
                    Json::Array(list) => list.extend(targets),
                    other => *other = targets.collect(),
                }
            }
            Json::Object(map)
        };
        let opts = |mode: UpdateMode| match mode {
            UpdateMode::Auto => None,
            UpdateMode::Strict => Some(json!({ "upsert": false })),
            UpdateMode::Upsert => Some(json!({ "upsert": true })),
        };
        let (name, args, opts) = match &self.action {
            Action::Create(args) => ("create", Some(json!(args)), None),
            Action::Update(args, mode) => ("update", Some(json!(args)), opts(*mode)),
            Action::Merge(args, mode) => ("merge", Some(json!(args)), opts(*mode)),
            Action::Link(links) => ("link", Some(targets(links)), None),
            Action::Unlink(links) => ("unlink", Some(targets(links)), None),
            Action::Delete => ("delete", None, None),
            Action::RuleParams(args) => ("ruleParams", Some(json!(args)), None),
        };
        let mut parts = vec![json!(name), json!(&*self.etype), key_to_json(&self.key)];
        parts.extend(args);
        parts.extend(opts);
        parts.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let json = Json::deserialize(deserializer)?;
        let mut steps = parse_operations(&Json::Array(vec![json])).map_err(D::Error::custom)?;
        steps.operations.pop().ok_or_else(|| D::Error::custom("not an operation on an entity"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::operation::{lookup, tx};
    use super::*;

    #[test]
    fn operations_round_trip_through_json() {
        let id = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a001";
        let operations: Vec<Operation> = tx("posts", lookup("slug", "a__b"))
            .create(json!({"title": "x"}))
            .update_with(json!({"n": 1}), UpdateMode::Strict)
            .merge(json!({"m": {"a": null}}))
            .link("author", lookup("email", "a@b.c"))
            .link_all("tags", [id.into(), lookup("name", "t")])
            .unlink("author", id)
            .delete()
            .into_operations();
        let text = serde_json::to_string(&operations).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Operation>>(&text).unwrap(), operations);
    }

    #[test]
    fn wrong_input_names_the_place() {
        let error = parse_operations(&json!([["update", "users", "bad", {}]])).unwrap_err();
        assert_eq!(error.hint()["errors"][0]["in"], json!([0, 2]));
        assert!(error.message().contains("Invalid entity ID 'bad'"));
        assert!(parse_operations(&json!([["fly", "users", null, {}]])).is_err());
        assert!(parse_operations(&json!("x")).is_err());
    }
}
