//! Attributes by other ids: two clients may have invented the same one.

use std::sync::Arc;

use serde_json::Value as Json;

use super::step::{EntityRef, TxStep};
use crate::id::AttrId;
use crate::value::Value;

/// Rewrites every attribute id that steps hold: in triples, lookups, links by lookup, and in steps about
/// attributes themselves. `actual` gives the id in the place of one; none leaves it.
pub fn rename_attrs(steps: &mut [TxStep], actual: &dyn Fn(AttrId) -> Option<AttrId>) {
    let rename = |attr: &mut AttrId| {
        if let Some(id) = actual(*attr) {
            *attr = id;
        }
    };
    for step in steps {
        match step {
            TxStep::AddTriple { entity, attr, value, .. }
            | TxStep::DeepMergeTriple { entity, attr, value, .. }
            | TxStep::ExpectTriple { entity, attr, value }
            | TxStep::RetractTriple { entity, attr, value } => {
                rename(attr);
                rename_entity(entity, actual);
                rename_lookup(value, actual);
            }
            TxStep::UpdateTriple { entity, attr, .. } => {
                rename(attr);
                rename_entity(entity, actual);
            }
            TxStep::DeleteEntity { entity, .. } | TxStep::RuleParams { entity, .. } => {
                rename_entity(entity, actual);
            }
            TxStep::AddAttr(attr) => {
                if let Some(id) = actual(attr.id) {
                    Arc::make_mut(attr).id = id;
                }
            }
            TxStep::UpdateAttr(attr, _) | TxStep::DeleteAttr(attr) | TxStep::RestoreAttr(attr) => {
                rename(attr);
            }
        }
    }
}

fn rename_entity(entity: &mut EntityRef, actual: &dyn Fn(AttrId) -> Option<AttrId>) {
    if let EntityRef::Lookup(attr, value) = entity {
        if let Some(id) = actual(*attr) {
            *attr = id;
        }
        rename_lookup(value, actual);
    }
}

/// The target of a link may be a pair of an attribute's id and a value. Data of the same shape holds no
/// ids that anybody invented in this transaction.
fn rename_lookup(value: &mut Value, actual: &dyn Fn(AttrId) -> Option<AttrId>) {
    let Value::Json(json) = value else { return };
    let Json::Array(pair) = &**json else { return };
    let [Json::String(text), _] = pair.as_slice() else { return };
    let Some(id) = AttrId::parse(text).and_then(actual) else { return };
    if let Json::Array(pair) = Arc::make_mut(json) {
        pair[0] = Json::String(id.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Attr;
    use crate::id::{EntityId, IdentId};
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn no_place_is_forgotten() {
        let (old, new) = (AttrId(Uuid::from_u128(1)), AttrId(Uuid::from_u128(2)));
        let entity = || EntityRef::Lookup(old, Value::from("x"));
        let link = || Value::from_json(json!([old.to_string(), "y"]));
        let attr = Attr::blob(old, IdentId(Uuid::from_u128(3)), "todos", "title");
        let mut steps = vec![
            TxStep::AddAttr(Arc::new(attr)),
            TxStep::AddTriple { entity: entity(), attr: old, value: link(), mode: None },
            TxStep::DeepMergeTriple { entity: entity(), attr: old, value: link(), mode: None },
            TxStep::ExpectTriple { entity: entity(), attr: old, value: link() },
            TxStep::RetractTriple { entity: entity(), attr: old, value: link() },
            TxStep::DeleteEntity { entity: entity(), etype: None },
            TxStep::RuleParams { entity: entity(), etype: None, params: Default::default() },
            TxStep::UpdateAttr(old, Default::default()),
            TxStep::DeleteAttr(old),
            TxStep::RestoreAttr(old),
        ];
        rename_attrs(&mut steps, &|id| (id == old).then_some(new));
        let text = format!("{steps:?}");
        assert!(!text.contains(&old.to_string()), "{text}");
        assert!(text.contains(&new.to_string()));
        let other = TxStep::DeleteEntity {
            entity: EntityRef::Id(EntityId(Uuid::from_u128(1))),
            etype: None,
        };
        let mut same = vec![other.clone()];
        rename_attrs(&mut same, &|_| Some(new));
        assert_eq!(same, [other], "an entity's id is none of an attribute");
    }
}
