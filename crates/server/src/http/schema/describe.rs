//! The form in which tools read a schema: attributes by namespace and label, and links by their names.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tricedb_core::attr::{Attr, Catalog, ValueType};
use tricedb_core::schema::{JobKind, SchemaStep, is_system_etype};
use tricedb_core::tx::TxStep;

/// `{"refs": {...}, "blobs": {namespace: {label: attribute}}}` without what the system keeps to itself.
pub(super) fn described(attrs: &[Arc<Attr>]) -> Json {
    let (mut refs, mut blobs) = (Map::new(), Map::new());
    for attr in attrs.iter().filter(|attr| is_shown(attr)) {
        let mut shown = json!(**attr);
        if (attr.etype(), attr.label(), attr.catalog) == ("$files", "url", Catalog::System) {
            // Every file has one, though none is stored.
            shown["required?"] = true.into();
        }
        match (attr.value_type, &attr.reverse_identity) {
            (ValueType::Ref, Some(reverse)) => {
                let (etype, label) = (&reverse.etype, &reverse.label);
                let name = format!("{}-{}-{etype}-{label}", attr.etype(), attr.label());
                refs.insert(name, shown);
            }
            _ => {
                let space = blobs.entry(attr.etype()).or_insert_with(|| json!({}));
                space[attr.label()] = shown;
            }
        }
    }
    json!({ "refs": refs, "blobs": blobs })
}

fn is_shown(attr: &Attr) -> bool {
    if attr.catalog == Catalog::User {
        return true;
    }
    let hidden: &[&str] = match attr.etype() {
        "$files" => &["content-type", "content-disposition", "size", "location-id", "key-version"],
        "$streams" => &["machineId", "hashedReconnectToken"],
        _ => &[],
    };
    is_system_etype(attr.etype()) && !hidden.contains(&attr.label())
}

/// The attributes as steps leave them, once all of their jobs have succeeded.
pub(super) fn after<'a>(
    attrs: &[Arc<Attr>],
    steps: impl Iterator<Item = &'a SchemaStep>,
) -> Vec<Arc<Attr>> {
    let mut attrs = attrs.to_vec();
    for step in steps {
        match step {
            SchemaStep::Attr(TxStep::AddAttr(attr)) => attrs.push(attr.clone()),
            SchemaStep::Attr(TxStep::DeleteAttr(id)) => attrs.retain(|attr| attr.id != *id),
            SchemaStep::Attr(TxStep::UpdateAttr(id, fields)) => {
                change(&mut attrs, *id, |attr| patched(attr, fields));
            }
            SchemaStep::Attr(_) => {}
            SchemaStep::Job { kind, attr, .. } => change(&mut attrs, *attr, |attr| {
                let mut attr = attr.clone();
                match kind {
                    JobKind::CheckDataType(checked) => attr.checked_data_type = Some(*checked),
                    JobKind::RemoveDataType => attr.checked_data_type = None,
                    JobKind::Index | JobKind::RemoveIndex => {
                        attr.indexed = *kind == JobKind::Index;
                    }
                    JobKind::Unique | JobKind::RemoveUnique => {
                        attr.unique = *kind == JobKind::Unique;
                    }
                    JobKind::Required | JobKind::RemoveRequired => {
                        attr.required = *kind == JobKind::Required;
                    }
                }
                attr
            }),
        }
    }
    attrs
}

fn change(attrs: &mut [Arc<Attr>], id: tricedb_core::id::AttrId, to: impl FnOnce(&Attr) -> Attr) {
    if let Some(attr) = attrs.iter_mut().find(|attr| attr.id == id) {
        *attr = Arc::new(to(attr));
    }
}

/// An attribute with the fields of an `update-attr`.
fn patched(attr: &Attr, fields: &Map<String, Json>) -> Attr {
    let mut json = json!(attr);
    for (key, value) in fields {
        json[key.as_str()] = value.clone();
    }
    serde_json::from_value(json).unwrap_or_else(|_| attr.clone())
}
