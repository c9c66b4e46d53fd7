//! Writing a schema as the SDK's JSON.

use serde_json::{Map, Value as Json, json};

use super::{AttrDef, LinkDef, LinkSide, Schema};

impl Schema {
    /// The schema in the form that the SDK writes; [`super::parse`] reads it back. What each namespace
    /// shows of the links is derived from their definitions. There are no rooms.
    pub fn to_json(&self) -> Json {
        let mut entities = Map::new();
        for namespace in &self.namespaces {
            let attrs = namespace.attrs.iter().map(|def| (def.label.to_string(), attr(def)));
            let attrs: Map<String, Json> = attrs.collect();
            let mut links = Map::new();
            for LinkDef { forward, reverse, .. } in &self.links {
                for (side, other) in [(forward, reverse), (reverse, forward)] {
                    if side.etype == namespace.etype {
                        let seen = json!({ "entityName": *other.etype, "cardinality": side.has });
                        links.insert(side.label.to_string(), seen);
                    }
                }
            }
            let entity = json!({ "attrs": attrs, "links": links });
            entities.insert(namespace.etype.to_string(), entity);
        }
        let links = self.links.iter().map(|def| (def.name.to_string(), link(def)));
        let links: Map<String, Json> = links.collect();
        json!({ "entities": entities, "links": links, "rooms": {} })
    }
}

fn attr(def: &AttrDef) -> Json {
    json!({
        "valueType": def.checked_type.map_or("json", |checked| checked.name()),
        "required": def.required,
        "isIndexed": def.indexed,
        "config": { "indexed": def.indexed, "unique": def.unique },
        "metadata": {},
    })
}

fn link(def: &LinkDef) -> Json {
    let side = |side: &LinkSide| {
        let mut json = json!({ "on": *side.etype, "has": side.has, "label": *side.label });
        if side.cascade {
            json["onDelete"] = "cascade".into();
        }
        json
    };
    let mut forward = side(&def.forward);
    if def.required {
        forward["required"] = true.into();
    }
    json!({ "forward": forward, "reverse": side(&def.reverse) })
}
