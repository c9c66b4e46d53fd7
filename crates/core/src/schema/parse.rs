//! Reading schema JSON.

use std::sync::LazyLock;

use serde_json::{Map, Value as Json};

use super::{AttrDef, LinkDef, LinkSide, Namespace, Schema, SchemaError};
use crate::attr::{Cardinality, CheckedType};

type Object = Map<String, Json>;

/// Reads a schema: the SDK's form, and the shorter one that servers answer and backups hold (types may
/// read `any`; what is absent is off). Rooms, metadata and unknown members are skipped.
///
/// # Errors
/// A member that is missing or has the wrong type, with its place.
pub fn parse(json: &Json) -> Result<Schema, SchemaError> {
    let Json::Object(root) = json else { return Err(SchemaError::at(&["schema"], "an object")) };
    let entities = object_or_empty(root, &["schema"], "entities")?;
    let links = object_or_empty(root, &["schema"], "links")?;
    let namespaces = entities
        .iter()
        .map(|(etype, entity)| namespace(etype, entity))
        .collect::<Result<_, _>>()?;
    let links = links.iter().map(|(name, def)| link(name, def)).collect::<Result<_, _>>()?;
    Ok(Schema { namespaces, links })
}

fn namespace(etype: &str, json: &Json) -> Result<Namespace, SchemaError> {
    let place = ["schema", "entities", etype];
    if etype.trim().is_empty() {
        return Err(SchemaError::at(&place, "under a name that is not blank"));
    }
    let Json::Object(entity) = json else { return Err(SchemaError::at(&place, "an object")) };
    let attrs = object_or_empty(entity, &place, "attrs")?
        .iter()
        // Every namespace has an `id`; a definition of it says nothing.
        .filter(|(label, _)| *label != "id")
        .map(|(label, def)| attr(etype, label, def))
        .collect::<Result<_, _>>()?;
    Ok(Namespace { etype: etype.into(), attrs })
}

fn attr(etype: &str, label: &str, json: &Json) -> Result<AttrDef, SchemaError> {
    let place = ["schema", "entities", etype, "attrs", label];
    if label.trim().is_empty() {
        return Err(SchemaError::at(&place, "under a name that is not blank"));
    }
    let Json::Object(def) = json else { return Err(SchemaError::at(&place, "an object")) };
    let checked_type = match def.get("valueType") {
        Some(Json::String(name)) => checked_type(name),
        _ => return Err(SchemaError::at(&[&place[..], &["valueType"]].concat(), "a string")),
    };
    let config_place = [&place[..], &["config"]].concat();
    let config = object_or_empty(def, &place, "config")?;
    Ok(AttrDef {
        label: label.into(),
        checked_type,
        unique: flag(config, &config_place, "unique")?,
        indexed: flag(config, &config_place, "indexed")?,
        required: flag(def, &place, "required")?,
    })
}

/// The enforced type of a `valueType`; what is not known reads as `json`, which enforces nothing.
fn checked_type(name: &str) -> Option<CheckedType> {
    match name {
        "string" => Some(CheckedType::String),
        "number" => Some(CheckedType::Number),
        "boolean" => Some(CheckedType::Boolean),
        "date" => Some(CheckedType::Date),
        _ => None,
    }
}

fn link(name: &str, json: &Json) -> Result<LinkDef, SchemaError> {
    let place = ["schema", "links", name];
    let Json::Object(def) = json else { return Err(SchemaError::at(&place, "an object")) };
    let forward_place = [&place[..], &["forward"]].concat();
    let (forward, members) = side(def, &place, "forward")?;
    let required = flag(members, &forward_place, "required")?;
    let (reverse, _) = side(def, &place, "reverse")?;
    Ok(LinkDef { name: name.into(), forward, reverse, required })
}

fn side<'a>(
    def: &'a Object,
    place: &[&str],
    name: &str,
) -> Result<(LinkSide, &'a Object), SchemaError> {
    let place = [place, &[name]].concat();
    let Some(Json::Object(members)) = def.get(name) else {
        return Err(SchemaError::at(&place, "an object"));
    };
    let text = |member: &str| match members.get(member) {
        Some(Json::String(text)) if !text.trim().is_empty() => Ok(text.as_str()),
        _ => Err(SchemaError::at(&[&place[..], &[member]].concat(), "a string that is not blank")),
    };
    let has = match text("has")? {
        "one" => Cardinality::One,
        "many" => Cardinality::Many,
        _ => return Err(SchemaError::at(&[&place[..], &["has"]].concat(), "`one` or `many`")),
    };
    let cascade = match members.get("onDelete") {
        None | Some(Json::Null) => false,
        Some(Json::String(what)) if what == "cascade" => true,
        Some(_) => return Err(SchemaError::at(&[&place[..], &["onDelete"]].concat(), "`cascade`")),
    };
    let side = LinkSide { etype: text("on")?.into(), label: text("label")?.into(), has, cascade };
    Ok((side, members))
}

/// A flag that may be absent.
fn flag(members: &Object, place: &[&str], name: &str) -> Result<bool, SchemaError> {
    match members.get(name) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(on)) => Ok(*on),
        Some(_) => Err(SchemaError::at(&[place, &[name]].concat(), "true or false")),
    }
}

fn object_or_empty<'a>(
    members: &'a Object,
    place: &[&str],
    name: &str,
) -> Result<&'a Object, SchemaError> {
    static EMPTY: LazyLock<Object> = LazyLock::new(Map::new);
    match members.get(name) {
        None | Some(Json::Null) => Ok(&EMPTY),
        Some(Json::Object(object)) => Ok(object),
        Some(_) => Err(SchemaError::at(&[place, &[name]].concat(), "an object")),
    }
}
