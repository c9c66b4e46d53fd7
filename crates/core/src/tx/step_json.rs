//! Tx-steps as they travel: the `tx-steps` array of a `transact` message.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::error::TxError;
use super::operator::{FieldValue, Operator, ValueForm};
use super::step::{EntityRef, Mode, TxStep};
use crate::attr::{Attr, ValueType};
use crate::id::{AttrId, EntityId, parse_uuid};
use crate::value::Value;

const DATA_TYPE: &str = "tx-steps";

fn shape(expected: &str, place: Json) -> TxError {
    TxError::shape(DATA_TYPE, expected, place)
}

/// Reads the `tx-steps` of a message.
///
/// # Errors
/// A [`TxError`] of kind `validation-failed` that says what was expected where. Entity ids are looked at
/// before everything else, as the original does.
pub fn parse_steps(json: &Json) -> Result<Vec<TxStep>, TxError> {
    parse_steps_as(json, ValueForm::Data)
}

/// [`parse_steps`], where values of `add-triple` may be operators.
///
/// # Errors
/// Those of [`parse_steps`], and operands of the wrong kind.
pub fn parse_steps_as(json: &Json, form: ValueForm) -> Result<Vec<TxStep>, TxError> {
    let steps = match json {
        Json::Array(steps) => steps,
        // An empty map is an empty collection to the original.
        Json::Object(map) if map.is_empty() => return Ok(Vec::new()),
        Json::Object(_) => return Err(shape("restore-attr", json!([0, 0]))),
        _ => return Err(shape("coll?", json!([]))),
    };
    for (at, step) in steps.iter().enumerate() {
        check_entity_id(step, at)?;
    }
    steps.iter().enumerate().map(|(at, step)| parse_step(step, at, form)).collect()
}

/// Whether a step's second item is an entity.
fn names_entity(op: &str) -> bool {
    matches!(
        op,
        "add-triple"
            | "deep-merge-triple"
            | "retract-triple"
            | "update-triple"
            | "expect-triple"
            | "delete-entity"
    )
}

fn check_entity_id(step: &Json, at: usize) -> Result<(), TxError> {
    let Json::Array(items) = step else { return Ok(()) };
    let (Some(op), Some(entity)) = (items.first().and_then(Json::as_str), items.get(1)) else {
        return Ok(());
    };
    if !names_entity(op)
        || entity.is_array()
        || entity.as_str().is_some_and(|s| parse_uuid(s).is_some())
    {
        return Ok(());
    }
    let shown = entity.as_str().map_or_else(|| entity.to_string(), str::to_owned);
    Err(TxError::no_entity_id(&shown, Some(json!([at, 1]))))
}

fn parse_step(step: &Json, at: usize, form: ValueForm) -> Result<TxStep, TxError> {
    let Json::Array(items) = step else { return Err(shape("coll?", json!([at]))) };
    let unknown = || shape("restore-attr", json!([at, 0]));
    let op = items.first().and_then(Json::as_str).ok_or_else(unknown)?;
    let arity = items.len();
    match op {
        "add-triple" | "deep-merge-triple" | "retract-triple" | "update-triple"
        | "expect-triple" => parse_triple_step(op, items, at, form),
        "delete-entity" if (2..=3).contains(&arity) => Ok(TxStep::DeleteEntity {
            entity: parse_entity(&items[1], at)?,
            etype: parse_etype(items.get(2), at)?,
        }),
        "rule-params" if (3..=4).contains(&arity) => {
            let (etype, params) = if arity == 4 {
                (parse_etype(items.get(2), at)?, &items[3])
            } else {
                (None, &items[2])
            };
            let Json::Object(params) = params else {
                return Err(shape("map?", json!([at, arity - 1])));
            };
            let entity = parse_entity(&items[1], at)?;
            Ok(TxStep::RuleParams { entity, etype, params: params.clone() })
        }
        // Whatever follows the attribute is not looked at.
        "add-attr" if arity >= 2 => {
            parse_attr(&items[1], at).map(|attr| TxStep::AddAttr(Arc::new(attr)))
        }
        "update-attr" if arity == 2 => {
            let Json::Object(patch) = &items[1] else {
                return Err(shape("map?", json!([at, 1])));
            };
            let id = patch.get("id").ok_or_else(|| shape("id", json!([at, 1])))?;
            let id = uuid_at(id, json!([at, 1, "id"])).map(AttrId)?;
            check_attr_fields(patch, at)?;
            Ok(TxStep::UpdateAttr(id, patch.clone()))
        }
        "delete-attr" if arity == 2 => {
            uuid_at(&items[1], json!([at, 1])).map(|id| TxStep::DeleteAttr(AttrId(id)))
        }
        "restore-attr" if arity == 2 => {
            uuid_at(&items[1], json!([at, 1])).map(|id| TxStep::RestoreAttr(AttrId(id)))
        }
        _ => Err(unknown()),
    }
}

fn parse_triple_step(
    op: &str,
    items: &[Json],
    at: usize,
    form: ValueForm,
) -> Result<TxStep, TxError> {
    let most = if matches!(op, "retract-triple" | "expect-triple") { 4 } else { 5 };
    if items.len() > most || items.len() < 2 {
        return Err(shape("restore-attr", json!([at, 0])));
    }
    let entity = parse_entity(&items[1], at)?;
    let attr = items.get(2).ok_or_else(|| shape("attr-id", json!([at])))?;
    let attr = uuid_at(attr, json!([at, 2])).map(AttrId)?;
    let json = items.get(3).ok_or_else(|| shape("value", json!([at])))?;
    let value = || Value::from_json(json.clone());
    match op {
        "retract-triple" => return Ok(TxStep::RetractTriple { entity, attr, value: value() }),
        "expect-triple" => return Ok(TxStep::ExpectTriple { entity, attr, value: value() }),
        _ => {}
    }
    let mode = parse_mode(items.get(4), at)?;
    let misuse = |problem: &str| shape(problem, json!([at, 3]));
    match op {
        "update-triple" => {
            let operator = Operator::read(json).ok_or_else(|| misuse("an update operator"))?;
            let operator = operator.map_err(|problem| misuse(&problem))?;
            Ok(TxStep::UpdateTriple { entity, attr, operator, mode })
        }
        "deep-merge-triple" => Ok(TxStep::DeepMergeTriple { entity, attr, value: value(), mode }),
        _ if form == ValueForm::Data => {
            Ok(TxStep::AddTriple { entity, attr, value: value(), mode })
        }
        _ => match FieldValue::read(json).map_err(|problem| misuse(&problem))? {
            FieldValue::Operator(operator) => {
                Ok(TxStep::UpdateTriple { entity, attr, operator, mode })
            }
            FieldValue::Data(data) => {
                let value = Value::from_json(data);
                Ok(TxStep::AddTriple { entity, attr, value, mode })
            }
        },
    }
}

fn uuid_at(json: &Json, place: Json) -> Result<uuid::Uuid, TxError> {
    json.as_str().and_then(parse_uuid).ok_or_else(|| shape("uuid?", place))
}

fn parse_entity(json: &Json, at: usize) -> Result<EntityRef, TxError> {
    match json {
        Json::Array(pair) if pair.len() == 2 => {
            let attr = uuid_at(&pair[0], json!([at, 1, 0])).map(AttrId)?;
            Ok(EntityRef::Lookup(attr, Value::from_json(pair[1].clone())))
        }
        Json::Array(_) => Err(shape("count 2", json!([at, 1]))),
        other => uuid_at(other, json!([at, 1])).map(|id| EntityRef::Id(EntityId(id))),
    }
}

fn parse_mode(opts: Option<&Json>, at: usize) -> Result<Option<Mode>, TxError> {
    match opts {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Object(opts)) => match opts.get("mode") {
            None | Some(Json::Null) => Ok(None),
            Some(mode) => match mode.as_str() {
                Some("create") => Ok(Some(Mode::Create)),
                Some("update") => Ok(Some(Mode::Update)),
                Some("upsert") => Ok(Some(Mode::Upsert)),
                _ => Err(shape("create, update or upsert", json!([at, 4, "mode"]))),
            },
        },
        Some(_) => Err(shape("nil?", json!([at, 4]))),
    }
}

fn parse_etype(etype: Option<&Json>, at: usize) -> Result<Option<Arc<str>>, TxError> {
    match etype {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(etype)) => Ok(Some(etype.as_str().into())),
        Some(_) => Err(shape("string?", json!([at, 2]))),
    }
}

/// Checks the fields that may be there but must then be right.
fn check_attr_fields(map: &Map<String, Json>, at: usize) -> Result<(), TxError> {
    let place = |key: &str| json!([at, 1, key]);
    for key in
        ["unique?", "index?", "required?", "indexing?", "checking-data-type?", "setting-unique?"]
    {
        if map.get(key).is_some_and(|v| !v.is_boolean()) {
            return Err(shape("boolean?", place(key)));
        }
    }
    for (key, words) in [("value-type", ["blob", "ref"]), ("cardinality", ["one", "many"])] {
        if map.get(key).is_some_and(|v| v.as_str().is_none_or(|v| !words.contains(&v))) {
            return Err(shape(&words.join(" or "), place(key)));
        }
    }
    if let Some(checked) = map.get("checked-data-type")
        && !matches!(checked.as_str(), Some("string" | "number" | "boolean" | "date"))
    {
        return Err(shape("string, number, boolean or date", place("checked-data-type")));
    }
    for key in ["forward-identity", "reverse-identity"] {
        match map.get(key) {
            None => {}
            Some(Json::Null) if key == "reverse-identity" => {}
            Some(identity) => {
                let parts = identity.as_array().filter(|parts| parts.len() == 3);
                let parts = parts.ok_or_else(|| shape("identity", place(key)))?;
                uuid_at(&parts[0], json!([at, 1, key, 0]))?;
                for n in [1, 2] {
                    if parts[n].as_str().is_none_or(|s| s.trim().is_empty()) {
                        return Err(shape("non-blank string", json!([at, 1, key, n])));
                    }
                }
            }
        }
    }
    Ok(())
}

fn parse_attr(json: &Json, at: usize) -> Result<Attr, TxError> {
    let Json::Object(map) = json else { return Err(shape("map?", json!([at, 1]))) };
    for key in ["id", "forward-identity", "value-type", "cardinality", "unique?", "index?"] {
        if !map.contains_key(key) {
            return Err(shape(key, json!([at, 1])));
        }
    }
    check_attr_fields(map, at)?;
    uuid_at(&map["id"], json!([at, 1, "id"]))?;
    // What the original does not look at must not make an attribute unreadable.
    let mut known = map.clone();
    for key in [
        "inferred-types",
        "catalog",
        "deletion-marked-at",
        "metadata",
        "indexing?",
        "checking-data-type?",
        "setting-unique?",
    ] {
        known.remove(key);
    }
    let attr: Attr = serde_json::from_value(Json::Object(known))
        .map_err(|error| shape(&error.to_string(), json!([at, 1])))?;
    if attr.value_type == ValueType::Ref && attr.reverse_identity.is_none() {
        return Err(shape("reverse-identity", json!([at, 1])));
    }
    Ok(attr)
}

/// Writes steps as they travel.
pub fn steps_to_json(steps: &[TxStep]) -> Json {
    Json::Array(steps.iter().map(step_to_json).collect())
}

fn entity_to_json(entity: &EntityRef) -> Json {
    match entity {
        EntityRef::Id(id) => json!(id),
        EntityRef::Lookup(attr, value) => json!([attr, value]),
    }
}

fn step_to_json(step: &TxStep) -> Json {
    let with_mode =
        |op: &str, entity: &EntityRef, attr: &AttrId, value: &Value, mode: &Option<Mode>| {
            let entity = entity_to_json(entity);
            mode.map_or_else(
                || json!([op, entity, attr, value]),
                |mode| json!([op, entity, attr, value, { "mode": mode.name() }]),
            )
        };
    match step {
        TxStep::AddTriple { entity, attr, value, mode } => {
            with_mode("add-triple", entity, attr, value, mode)
        }
        TxStep::DeepMergeTriple { entity, attr, value, mode } => {
            with_mode("deep-merge-triple", entity, attr, value, mode)
        }
        TxStep::UpdateTriple { entity, attr, operator, mode } => {
            let operator = Value::from_json(operator.to_json());
            with_mode("update-triple", entity, attr, &operator, mode)
        }
        TxStep::ExpectTriple { entity, attr, value } => {
            json!(["expect-triple", entity_to_json(entity), attr, value])
        }
        TxStep::RetractTriple { entity, attr, value } => {
            json!(["retract-triple", entity_to_json(entity), attr, value])
        }
        TxStep::DeleteEntity { entity, etype: Some(etype) } => {
            json!(["delete-entity", entity_to_json(entity), &**etype])
        }
        TxStep::DeleteEntity { entity, etype: None } => {
            json!(["delete-entity", entity_to_json(entity)])
        }
        TxStep::RuleParams { entity, etype, params } => {
            json!(["rule-params", entity_to_json(entity), etype.as_deref(), params])
        }
        TxStep::AddAttr(attr) => json!(["add-attr", **attr]),
        TxStep::UpdateAttr(_, patch) => json!(["update-attr", patch]),
        TxStep::DeleteAttr(id) => json!(["delete-attr", id]),
        TxStep::RestoreAttr(id) => json!(["restore-attr", id]),
    }
}
