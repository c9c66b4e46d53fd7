//! Operations in InstaML's JSON form: `["update", "posts", "<id>", {…}, {"upsert": false}]`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::error::TxError;
use super::operation::{Action, EntityKey, LinkTargets, Operation, UpdateMode};
use super::operator::{ValueForm, all_data};
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
    parse_operations_as(json, ValueForm::Data)
}

/// [`parse_operations`], where values may be operators: the form in which Rust programs write JSON, and in
/// which operations are stored.
///
/// # Errors
/// Those of [`parse_operations`].
pub fn parse_operations_as(json: &Json, form: ValueForm) -> Result<AdminSteps, TxError> {
    let Json::Array(items) = json else {
        return Err(TxError::shape(DATA_TYPE, "coll?", json!([])));
    };
    let mut steps = AdminSteps::default();
    for (at, item) in items.iter().enumerate() {
        let parts =
            item.as_array().ok_or_else(|| TxError::shape(DATA_TYPE, "coll?", json!([at])))?;
        match parts.first().and_then(Json::as_str) {
            Some("add-attr" | "delete-attr") => {
                let step = parse_steps(&json!([item]));
                // What is no attribute at all is not a step to the original.
                let is_attr = parts.first().is_some_and(|op| op == "add-attr")
                    && parts.get(1).is_some_and(Json::is_object);
                steps.attr_steps.extend(step.map_err(|error| match is_attr {
                    true => error,
                    false => TxError::shape(DATA_TYPE, "an attribute or its id", json!([at, 1])),
                })?);
            }
            Some("update-attr") => {
                return Err(TxError::validation(
                    "action",
                    "Unsupported action update-attr",
                    Some(json!([at, 0])),
                ));
            }
            Some(action) => steps.operations.push(parse_operation(action, parts, at, form)?),
            None => return Err(TxError::shape(DATA_TYPE, "string?", json!([at, 0]))),
        }
    }
    Ok(steps)
}

fn parse_operation(
    action: &str,
    parts: &[Json],
    at: usize,
    form: ValueForm,
) -> Result<Operation, TxError> {
    if !matches!(
        action,
        "create" | "update" | "merge" | "link" | "unlink" | "delete" | "expect" | "ruleParams"
    ) || (action == "expect" && form == ValueForm::Data)
    {
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
    let fields = || match form {
        ValueForm::Data => args().map(all_data),
        ValueForm::Operators => args(),
    };
    let mode = || match parts.get(4).and_then(|opts| opts.get("upsert")) {
        Some(Json::Bool(false)) => UpdateMode::Strict,
        None | Some(Json::Null) => UpdateMode::Auto,
        // Anything else counts as true to the original.
        Some(_) => UpdateMode::Upsert,
    };
    if form == ValueForm::Data && action == "create" && parts.len() > 4 {
        return Err(TxError::shape(DATA_TYPE, "no options", json!([at, 4])));
    }
    let action = match action {
        "create" => Action::Create(fields()?),
        "update" => Action::Update(fields()?, mode()),
        "merge" => Action::Merge(fields()?, mode()),
        "link" => Action::Link(parse_targets(args()?, at, form)?),
        "unlink" => Action::Unlink(parse_targets(args()?, at, form)?),
        "delete" => Action::Delete,
        "expect" => Action::Expect(args()?),
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
pub(super) fn parse_lookup_text(text: &str) -> Option<Result<EntityKey, TxError>> {
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

fn parse_targets(
    args: Map<String, Json>,
    at: usize,
    form: ValueForm,
) -> Result<Vec<LinkTargets>, TxError> {
    let mut links = Vec::with_capacity(args.len());
    for (label, targets) in args {
        let targets = match targets {
            Json::Array(items) => items,
            Json::Null if form == ValueForm::Operators => continue,
            one => {
                let names_one = match &one {
                    Json::String(text) => {
                        text.starts_with("lookup__") || EntityId::parse(text).is_some()
                    }
                    other => other.is_object(),
                };
                if form == ValueForm::Data && !names_one {
                    return Err(TxError::shape(DATA_TYPE, "lookup?", json!([at, 3, label])));
                }
                vec![one]
            }
        };
        let targets = targets
            .iter()
            .map(|target| match target {
                Json::String(text) => match parse_lookup_text(text) {
                    Some(key) => key,
                    None => Ok(EntityKey::from(text.as_str())),
                },
                Json::Object(_) => parse_key(target, at),
                other if form == ValueForm::Operators => {
                    Ok(EntityKey::Invalid(other.to_string().into()))
                }
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
        // The text form cannot hold such a label.
        EntityKey::Lookup { label, value } if label.contains("__") => json!({ &**label: value }),
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
            Action::Expect(args) => ("expect", Some(json!(args)), None),
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
        let mut steps = parse_operations_as(&Json::Array(vec![json]), ValueForm::Operators)
            .map_err(D::Error::custom)?;
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
