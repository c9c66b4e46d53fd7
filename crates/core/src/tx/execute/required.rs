//! The check that comes last: no entity may lack a required value.

use std::sync::Arc;

use super::super::error::TxError;
use super::{Actor, Run};
use crate::attr::Attr;
use crate::id::EntityId;

impl Run<'_> {
    /// For every entity touched in a namespace with required attributes: if it still has a value there,
    /// it must have all of them. A client that tries its own write can tell of what it creates.
    pub(super) fn check_required(&self) -> Result<(), TxError> {
        let mut missing: Vec<(Arc<Attr>, Vec<EntityId>)> = Vec::new();
        let decidable = |touched: &&(EntityId, Arc<str>)| {
            self.actor != Actor::Optimistic || self.created.contains(*touched)
        };
        let mut touched: Vec<_> = self.touched.iter().filter(decidable).collect();
        touched.sort();
        for (entity, etype) in touched {
            let required: Vec<&Arc<Attr>> =
                self.index.catalog().of_etype(etype).filter(|a| a.required).collect();
            if required.is_empty() || !self.has_value_in(*entity, etype) {
                continue;
            }
            let id_attr = self.index.catalog().id_attr(etype);
            for attr in required.into_iter().chain(id_attr) {
                if !self.has_value(*entity, attr) {
                    match missing.iter_mut().find(|(a, _)| a.id == attr.id) {
                        Some((_, entities)) if !entities.contains(entity) => entities.push(*entity),
                        Some(_) => {}
                        None => missing.push((attr.clone(), vec![*entity])),
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        missing.sort_by_key(|(attr, _)| attr.id);
        Err(TxError::missing_required(&missing))
    }

    fn has_value(&self, entity: EntityId, attr: &Attr) -> bool {
        if attr.is_ref() {
            !self.index.links(entity, attr.id).is_empty()
        } else {
            self.index.value(entity, attr.id).is_some_and(|v| !v.is_null())
        }
    }

    fn has_value_in(&self, entity: EntityId, etype: &str) -> bool {
        self.index.catalog().of_etype(etype).any(|attr| self.has_value(entity, attr))
    }
}
