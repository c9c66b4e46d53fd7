//! What callers may not write in the system's namespaces.

use std::sync::Arc;

use super::super::error::TxError;
use super::super::step::{EntityRef, TxStep};
use super::{Actor, Run};
use crate::attr::{Attr, Catalog};

/// System namespaces that apps may see and extend.
const VISIBLE: [&str; 3] = ["$users", "$files", "$streams"];

impl Run<'_> {
    pub(super) fn check_system_rules(&self, steps: &[TxStep]) -> Result<(), TxError> {
        for step in steps {
            match step {
                TxStep::AddTriple { entity, attr, value, .. }
                | TxStep::DeepMergeTriple { entity, attr, value, .. }
                | TxStep::RetractTriple { entity, attr, value } => {
                    if let Some(attr) = self.index.catalog().live(*attr) {
                        if attr.catalog == Catalog::System {
                            self.check_system_triple(attr, entity, step)?;
                        }
                        if attr.etype() == "$files"
                            && attr.label() == "path"
                            && value.as_str().is_some_and(|p| p.starts_with("$stream/"))
                        {
                            return refuse("The path for stream files can't be edited.");
                        }
                    }
                }
                TxStep::UpdateTriple { attr, .. } | TxStep::ExpectTriple { attr, .. } => {
                    // What these columns may hold and who may know it is not for operators to decide.
                    if let Some(attr) = self.index.catalog().live(*attr)
                        && attr.catalog == Catalog::System
                        && (self.actor != Actor::Admin
                            || !matches!(step, TxStep::ExpectTriple { .. }))
                    {
                        return refuse(&format!(
                            "{}.{} is a system column. You aren't allowed to change this directly.",
                            attr.etype(),
                            attr.label()
                        ));
                    }
                }
                TxStep::DeleteEntity { etype: Some(etype), .. }
                    if self.actor != Actor::Admin
                        && etype.starts_with('$')
                        && &**etype != "$files" =>
                {
                    return refuse(&format!(
                        "{etype} is a system entity. You aren't allowed to delete this directly."
                    ));
                }
                TxStep::AddAttr(attr) => self.check_system_attr(attr)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_system_triple(
        &self,
        attr: &Arc<Attr>,
        entity: &EntityRef,
        step: &TxStep,
    ) -> Result<(), TxError> {
        let (etype, label) = (attr.etype(), attr.label());
        let visible_id = label == "id" && VISIBLE.contains(&etype);
        let passes = match self.actor {
            Actor::Admin => {
                visible_id || !matches!(etype, "$files" | "$streams") || label == "path"
            }
            Actor::Client | Actor::Optimistic => {
                visible_id || (etype == "$files" && label == "path")
            }
        };
        if !passes {
            return refuse(&format!(
                "{etype}.{label} is a system column. You aren't allowed to change this directly."
            ));
        }
        let creates_user = self.actor != Actor::Admin
            && visible_id
            && etype == "$users"
            && matches!(step, TxStep::AddTriple { .. })
            && !self.known_entity(entity).is_some_and(|e| self.index.exists_in(e, etype));
        if creates_user && self.actor == Actor::Client {
            return refuse(
                "$users is a system entity. You aren't allowed to create this directly.",
            );
        }
        Ok(())
    }

    fn check_system_attr(&self, attr: &Attr) -> Result<(), TxError> {
        let (etype, label) = (attr.etype(), attr.label());
        if self.index.catalog().get(attr.id).is_some() || !etype.starts_with('$') {
            return Ok(());
        }
        if !VISIBLE.contains(&etype) {
            return refuse_attr(&format!(
                "$ is reserved for system tables. You can't create {etype}"
            ));
        }
        if self
            .index
            .catalog()
            .find(etype, label)
            .is_some_and(|n| n.attr.catalog == Catalog::System)
        {
            return refuse_attr(&format!(
                "{etype}.{label} is a system column and it already exists."
            ));
        }
        if attr.required {
            return refuse_attr(&format!(
                "You can't create a required system attribute. Make sure it's optional. {etype}.{label}"
            ));
        }
        Ok(())
    }
}

fn refuse(message: &str) -> Result<(), TxError> {
    Err(TxError::validation("tx-step", message, None))
}

fn refuse_attr(message: &str) -> Result<(), TxError> {
    Err(TxError::validation("attributes", message, None))
}
