//! Writing the schema that an app has.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::is_system_etype;
use crate::attr::{Attr, Cardinality, Catalog};
use crate::catalog::AttrCatalog;

/// The schema of an app in the form that servers answer (`{"entities", "links"}`); [`super::parse`] reads it
/// back. Soft-deleted attributes and the system's inner ones are left out.
pub fn from_catalog(catalog: &AttrCatalog) -> Json {
    let mut entities = Map::new();
    let mut links = Map::new();
    // By name, so that the same app always gives the same text.
    let mut attrs = catalog.live_sorted();
    attrs.sort_by(|a, b| (a.etype(), a.label(), a.id).cmp(&(b.etype(), b.label(), b.id)));
    for attr in attrs.iter().filter(|attr| is_shown(attr)) {
        if attr.is_ref() {
            if let Some(def) = link(attr) {
                links.insert(link_name(attr, &links), def);
            }
            continue;
        }
        let entity = entities.entry(attr.etype()).or_insert_with(|| json!({ "attrs": {} }));
        if !attr.is_id() {
            entity["attrs"][attr.label()] = blob(attr);
        }
    }
    json!({ "entities": entities, "links": links })
}

fn is_shown(attr: &Arc<Attr>) -> bool {
    if attr.catalog != Catalog::System {
        return true;
    }
    let inner = match attr.etype() {
        "$files" => {
            &["content-type", "content-disposition", "size", "location-id", "key-version"][..]
        }
        "$streams" => &["machineId", "hashedReconnectToken"][..],
        _ => &[][..],
    };
    is_system_etype(attr.etype()) && !inner.contains(&attr.label())
}

fn blob(attr: &Attr) -> Json {
    let mut def = json!({
        "valueType": attr.checked_data_type.map_or("any", |checked| checked.name()),
        "config": { "unique": attr.unique, "indexed": attr.indexed },
    });
    if attr.required {
        def["required"] = true.into();
    }
    def
}

fn link(attr: &Attr) -> Option<Json> {
    let reverse_identity = attr.reverse_identity.as_ref()?;
    let reverse_has = if attr.unique { Cardinality::One } else { Cardinality::Many };
    let mut forward = json!({ "on": attr.etype(), "label": attr.label(), "has": attr.cardinality });
    let mut reverse = json!({
        "on": *reverse_identity.etype, "label": *reverse_identity.label, "has": reverse_has,
    });
    if attr.required {
        forward["required"] = true.into();
    }
    if let Some(cascade) = attr.on_delete {
        forward["onDelete"] = json!(cascade);
    }
    if let Some(cascade) = attr.on_delete_reverse {
        reverse["onDelete"] = json!(cascade);
    }
    Some(json!({ "forward": forward, "reverse": reverse }))
}

/// `postsAuthor` for `author` of `posts`; numbered where two links would share a name.
fn link_name(attr: &Attr, taken: &Map<String, Json>) -> String {
    let mut letters = attr.label().chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    let name = format!("{}{first}{}", attr.etype(), letters.as_str());
    let mut unique = name.clone();
    let mut number = 2;
    while taken.contains_key(&unique) {
        unique = format!("{name}{number}");
        number += 1;
    }
    unique
}
