//! Steps that make, change and delete attributes.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::super::error::{TxError, TxErrorKind};
use super::super::step::TxStep;
use super::{Actor, Run};
use crate::attr::{Attr, Cardinality, Catalog, Identity};
use crate::id::AttrId;
use crate::index::{Cell, Row};
use crate::value::Value;

impl Run<'_> {
    pub(super) fn change_attrs(&mut self, step: &TxStep) -> Result<(), TxError> {
        match step {
            TxStep::AddAttr(attr) => self.add_attr(attr),
            TxStep::UpdateAttr(id, patch) => self.update_attr(*id, patch),
            TxStep::DeleteAttr(id) => self.delete_attr(*id),
            TxStep::RestoreAttr(id) => self.restore_attr(*id),
            _ => Ok(()),
        }
    }

    fn add_attr(&mut self, attr: &Arc<Attr>) -> Result<(), TxError> {
        let catalog = self.index.catalog();
        if let Some(known) = catalog.get(attr.id) {
            // Clients repeat `add-attr` until the server's own version reaches them.
            let same_names = known.forward_identity == attr.forward_identity
                && (!attr.is_ref() || known.reverse_identity == attr.reverse_identity);
            return if same_names {
                Ok(())
            } else {
                Err(TxError::raised(&format!(
                    "Another attribute for {}.{} exists with different properties.",
                    attr.etype(),
                    attr.label()
                )))
            };
        }
        let names = std::iter::once(&attr.forward_identity)
            .chain(attr.reverse_identity.as_ref().filter(|_| attr.is_ref()));
        for identity in names {
            self.check_name_free(identity)?;
        }
        let id_slot =
            self.index.catalog().id_attr(attr.etype()).and_then(|id| self.index.slot(id.id));
        let entities: Vec<_> = id_slot
            .map(|slot| self.index.holders(slot).map(|h| self.index.entity(h)).collect())
            .unwrap_or_default();
        if attr.required && !entities.is_empty() {
            return Err(TxError::validation(
                "attributes",
                &format!(
                    "Can't create attribute `{}` as required because `{}` already have entities without it",
                    attr.label(),
                    attr.etype()
                ),
                None,
            ));
        }
        let mut stored = Attr::clone(attr);
        stored.catalog = Catalog::User;
        if stored.is_id() {
            stored.unique = true;
        }
        let stored = Arc::new(stored);
        self.change_attr(None, Some(stored.clone()));
        if stored.indexed && !stored.is_ref() && !stored.is_id() && self.actor != Actor::Optimistic
        {
            for entity in entities {
                self.add(&stored, entity, Value::Null);
            }
        }
        Ok(())
    }

    /// A label may not be taken in its namespace, forward or reverse.
    fn check_name_free(&self, identity: &Identity) -> Result<(), TxError> {
        let Identity { etype, label, .. } = identity;
        if self.index.catalog().find(etype, label).is_some() {
            return Err(TxError::name_taken(etype, label));
        }
        Ok(())
    }

    fn update_attr(&mut self, id: AttrId, patch: &Map<String, Json>) -> Result<(), TxError> {
        // An unknown id changes nothing, and neither do changes to the system's own.
        let Some(old) = self.index.catalog().live(id).cloned() else { return Ok(()) };
        if old.catalog == Catalog::System {
            return Ok(());
        }
        let mut json = serde_json::to_value(&*old).unwrap_or_default();
        // These two are cleared when left out; a type is not changed here.
        for key in ["on-delete", "on-delete-reverse"] {
            json[key] = Json::Null;
        }
        for (key, value) in patch {
            if key != "checked-data-type" && key != "catalog" {
                json[key.as_str()] = value.clone();
            }
        }
        let new: Attr = serde_json::from_value(json)
            .map_err(|e| TxError::shape("tx-steps", &e.to_string(), json!(["update-attr"])))?;
        let renamed = |a: &Identity, b: &Identity| a.etype != b.etype || a.label != b.label;
        if renamed(&old.forward_identity, &new.forward_identity) {
            self.check_rename(&new.forward_identity)?;
        }
        if let (Some(before), Some(after)) = (&old.reverse_identity, &new.reverse_identity)
            && renamed(before, after)
        {
            self.check_rename(after)?;
        }
        if new.unique && !old.unique {
            self.check_distinct(&old)?;
        }
        if new.required && !old.required {
            self.check_all_have(&old)?;
        }
        if new.cardinality == Cardinality::One && old.cardinality == Cardinality::Many {
            self.check_single(&old)?;
        }
        self.change_attr(Some(old), Some(Arc::new(new)));
        Ok(())
    }

    fn check_rename(&self, identity: &Identity) -> Result<(), TxError> {
        self.check_name_free(identity).map_err(|_| not_unique("attr"))
    }

    fn check_distinct(&self, attr: &Attr) -> Result<(), TxError> {
        let Some(slot) = self.index.slot(attr.id) else { return Ok(()) };
        let mut seen = hashbrown::HashSet::<Value, rustc_hash::FxBuildHasher>::default();
        for handle in self.index.holders(slot) {
            let Some(row) = self.index.row_at(handle) else { continue };
            let values: Vec<Value> = match row.cell(slot) {
                Some(Cell::Data { value, .. }) => vec![value.clone()],
                Some(Cell::Links(links)) => links.iter().map(|l| Value::Ref(l.target)).collect(),
                None => continue,
            };
            for value in values {
                if !value.is_null() && !seen.insert(value) {
                    return Err(not_unique("triple"));
                }
            }
        }
        Ok(())
    }

    fn check_single(&self, attr: &Attr) -> Result<(), TxError> {
        let Some(slot) = self.index.slot(attr.id) else { return Ok(()) };
        let several = |row: &Arc<Row>| row.links(slot).len() > 1;
        if self.index.holders(slot).filter_map(|h| self.index.row_at(h)).any(several) {
            return Err(not_unique("triple"));
        }
        Ok(())
    }

    fn check_all_have(&self, attr: &Attr) -> Result<(), TxError> {
        let catalog = self.index.catalog();
        let Some(id_slot) = catalog.id_attr(attr.etype()).and_then(|id| self.index.slot(id.id))
        else {
            return Ok(());
        };
        let lacks = self.index.holders(id_slot).any(|handle| {
            let entity = self.index.entity(handle);
            if attr.is_ref() {
                self.index.links(entity, attr.id).is_empty()
            } else {
                self.index.value(entity, attr.id).is_none_or(Value::is_null)
            }
        });
        if lacks {
            return Err(TxError::validation(
                "attributes",
                &format!(
                    "Can't update attribute `{}` to required because `{}` already have entities without it",
                    attr.label(),
                    attr.etype()
                ),
                None,
            ));
        }
        Ok(())
    }

    /// Soft delete: the names become free, the facts stay but are invisible.
    fn delete_attr(&mut self, id: AttrId) -> Result<(), TxError> {
        let Some(old) = self.index.catalog().live(id).cloned() else { return Ok(()) };
        if old.catalog == Catalog::System {
            return Ok(());
        }
        let mut new = Attr::clone(&old);
        let prefix = format!("{id}_deleted$");
        let hide = |identity: &mut Identity| {
            identity.etype = format!("{prefix}{}", identity.etype).into();
            identity.label = format!("{prefix}{}", identity.label).into();
        };
        hide(&mut new.forward_identity);
        if let Some(reverse) = &mut new.reverse_identity {
            hide(reverse);
        }
        let id_attr = self.index.catalog().id_attr(old.etype()).map(|a| a.id);
        let mut metadata = match new.metadata.take() {
            Some(Json::Object(map)) => map,
            _ => Map::new(),
        };
        metadata.insert(
            "soft_delete_snapshot".to_owned(),
            json!({ "is_indexed": old.indexed, "is_required": old.required, "id_attr_id": id_attr }),
        );
        new.metadata = Some(Json::Object(metadata));
        new.indexed = false;
        new.required = false;
        new.deletion_marked_at = Some(self.now);
        self.change_attr(Some(old), Some(Arc::new(new)));
        Ok(())
    }

    /// Brings names and facts back, neither indexed nor required.
    fn restore_attr(&mut self, id: AttrId) -> Result<(), TxError> {
        let Some(old) = self.index.catalog().get(id).filter(|a| a.is_deleted()).cloned() else {
            return Ok(());
        };
        let mut new = Attr::clone(&old);
        let prefix = format!("{id}_deleted$");
        let show = |identity: &mut Identity| {
            for name in [&mut identity.etype, &mut identity.label] {
                if let Some(rest) = name.strip_prefix(&*prefix) {
                    *name = rest.into();
                }
            }
        };
        show(&mut new.forward_identity);
        if let Some(reverse) = &mut new.reverse_identity {
            show(reverse);
        }
        self.check_rename(&new.forward_identity)?;
        if let Some(reverse) = new.reverse_identity.as_ref().filter(|_| new.is_ref()) {
            self.check_rename(reverse)?;
        }
        new.deletion_marked_at = None;
        if let Some(Json::Object(metadata)) = &mut new.metadata {
            metadata.remove("soft_delete_snapshot");
            if metadata.is_empty() {
                new.metadata = None;
            }
        }
        self.change_attr(Some(old), Some(Arc::new(new)));
        Ok(())
    }
}

fn not_unique(record: &str) -> TxError {
    TxError::new(
        TxErrorKind::RecordNotUnique,
        format!("Record not unique: {record}"),
        json!({ "record-type": record }),
    )
}
