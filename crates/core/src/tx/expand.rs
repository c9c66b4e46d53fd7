//! From names to ids: operations become tx-steps.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::error::TxError;
use super::operation::{Action, EntityKey, LinkTargets, Operation, UpdateMode};
use super::step::{EntityRef, Mode, TxStep};
use crate::attr::{Attr, Cardinality, Identity};
use crate::catalog::{AttrCatalog, Direction, Named};
use crate::id::{AttrId, IdSource, IdentId};
use crate::value::Value;

/// What to do about attributes that nobody has made yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MissingAttrs {
    /// Make them: data for fields, many-to-many for links, unique and indexed for lookups.
    Create,
    /// Refuse, naming them all.
    Refuse,
}

/// Expands operations into tx-steps: first an `add-attr` for every attribute that is missing, then the
/// steps of each operation in order.
///
/// `known` tells whether an entity is visible to the caller at this moment; it decides whether an update
/// in [`UpdateMode::Auto`] is strict.
///
/// # Errors
/// `validation-failed` for ids that are none, lookups on attributes that are not unique, links on
/// attributes that are none, and missing attributes where they are refused.
pub fn expand(
    operations: &[Operation],
    catalog: &AttrCatalog,
    known: &dyn Fn(&str, &EntityKey) -> bool,
    missing: MissingAttrs,
    ids: &mut dyn IdSource,
) -> Result<Vec<TxStep>, TxError> {
    let mut names = Names { catalog, made: Vec::new(), ids };
    for operation in operations {
        names.make_for_lookups(operation)?;
    }
    for operation in operations {
        names.make_for_fields(operation);
    }
    if missing == MissingAttrs::Refuse && !names.made.is_empty() {
        let missing: Vec<String> =
            names.made.iter().map(|a| format!("{}.{}", a.etype(), a.label())).collect();
        return Err(TxError::new(
            super::TxErrorKind::ValidationFailed,
            "Validation failed for steps: Attributes are missing in your schema",
            json!({ "data-type": "steps", "errors": [{
                "message": "Attributes are missing in your schema",
                "hint": { "attributes": missing },
            }] }),
        ));
    }
    let mut steps: Vec<TxStep> = names.made.iter().cloned().map(TxStep::AddAttr).collect();
    for operation in operations {
        names.expand_one(operation, known, &mut steps)?;
    }
    Ok(steps)
}

/// The catalog with the attributes made so far.
struct Names<'a> {
    catalog: &'a AttrCatalog,
    made: Vec<Arc<Attr>>,
    ids: &'a mut dyn IdSource,
}

fn refuse(message: &str) -> TxError {
    TxError::validation("lookup", message, None)
}

impl Names<'_> {
    fn forward(&self, etype: &str, label: &str) -> Option<&Arc<Attr>> {
        self.made
            .iter()
            .find(|a| a.etype() == etype && a.label() == label)
            .or_else(|| self.catalog.forward(etype, label))
    }

    fn find(&self, etype: &str, label: &str) -> Option<Named<'_>> {
        let reverse = |a: &&Arc<Attr>| {
            a.reverse_identity.as_ref().is_some_and(|r| &*r.etype == etype && &*r.label == label)
        };
        if let Some(attr) = self.forward(etype, label) {
            return Some(Named { attr, direction: Direction::Forward });
        }
        self.made
            .iter()
            .find(reverse)
            .map(|attr| Named { attr, direction: Direction::Reverse })
            .or_else(|| self.catalog.find(etype, label))
    }

    fn make_blob(&mut self, etype: &str, label: &str) {
        let (id, ident) = (AttrId(self.ids.next_uuid()), IdentId(self.ids.next_uuid()));
        self.made.push(Arc::new(Attr::blob(id, ident, etype, label)));
    }

    fn make_lookup(&mut self, etype: &str, label: &str) {
        let (id, ident) = (AttrId(self.ids.next_uuid()), IdentId(self.ids.next_uuid()));
        let mut attr = Attr::blob(id, ident, etype, label);
        attr.unique = true;
        attr.indexed = true;
        self.made.push(Arc::new(attr));
    }

    /// The label of an unknown link doubles as the name of the other namespace.
    fn make_link(&mut self, etype: &str, label: &str, by_lookup: bool) {
        let id = AttrId(self.ids.next_uuid());
        let mut name = |etype: &str, label: &str| Identity {
            id: IdentId(self.ids.next_uuid()),
            etype: etype.into(),
            label: label.into(),
        };
        let mut attr = Attr::link(id, name(etype, label), name(label, etype));
        if by_lookup {
            attr.cardinality = Cardinality::One;
            attr.unique = true;
            attr.indexed = true;
        }
        self.made.push(Arc::new(attr));
    }

    fn make_for_lookups(&mut self, operation: &Operation) -> Result<(), TxError> {
        self.make_for_lookup(&operation.etype, &operation.key)?;
        let (Action::Link(links) | Action::Unlink(links)) = &operation.action else {
            return Ok(());
        };
        for LinkTargets { label, targets } in links {
            for target in targets {
                if !matches!(target, EntityKey::Lookup { .. }) {
                    continue;
                }
                if self.find(&operation.etype, label).is_none() {
                    self.make_link(&operation.etype, label, true);
                }
                let other = self
                    .find(&operation.etype, label)
                    .and_then(|n| n.leads_to())
                    .map(str::to_owned);
                if let Some(other) = other {
                    self.make_for_lookup(&other, target)?;
                }
            }
        }
        Ok(())
    }

    fn make_for_lookup(&mut self, etype: &str, key: &EntityKey) -> Result<(), TxError> {
        let EntityKey::Lookup { label, .. } = key else { return Ok(()) };
        if self.forward(etype, label).is_some() {
            return Ok(());
        }
        let Some((link, rest)) = label.split_once('.') else {
            self.make_lookup(etype, label);
            return Ok(());
        };
        if rest != "id" {
            return Err(refuse(&format!("{label} is not a valid lookup attribute.")));
        }
        match self.find(etype, link) {
            Some(named) if named.attr.is_ref() => {}
            Some(_) => {
                return Err(refuse(&format!("{label} does not reference a valid link attribute.")));
            }
            None => self.make_link(etype, link, true),
        }
        Ok(())
    }

    fn make_for_fields(&mut self, operation: &Operation) {
        let etype = &*operation.etype;
        let (fields, links): (Option<&Map<String, Json>>, &[LinkTargets]) = match &operation.action
        {
            Action::Create(args) | Action::Update(args, _) | Action::Merge(args, _) => {
                (Some(args), &[])
            }
            Action::Link(links) | Action::Unlink(links) => (None, links),
            Action::Delete | Action::RuleParams(_) => return,
        };
        if self.forward(etype, "id").is_none() {
            self.make_blob(etype, "id");
        }
        for label in fields.into_iter().flat_map(Map::keys) {
            if label != "id" && self.forward(etype, label).is_none() {
                self.make_blob(etype, label);
            }
        }
        for link in links {
            if self.find(etype, &link.label).is_none() {
                self.make_link(etype, &link.label, false);
            }
        }
    }

    fn entity(&self, etype: &str, key: &EntityKey) -> Result<EntityRef, TxError> {
        match key {
            EntityKey::Id(id) => Ok(EntityRef::Id(*id)),
            EntityKey::Lookup { label, value } => {
                let attr = self.lookup_attr(etype, label)?;
                Ok(EntityRef::Lookup(attr.id, value.clone()))
            }
            EntityKey::Invalid(text) => Err(TxError::validation(
                "steps",
                &format!(
                    "Invalid entity ID '{text}'. Entity IDs must be UUIDs or lookup references."
                ),
                None,
            )),
        }
    }

    fn lookup_attr(&self, etype: &str, label: &str) -> Result<&Arc<Attr>, TxError> {
        let named = match self.forward(etype, label) {
            Some(attr) => Named { attr, direction: Direction::Forward },
            None => {
                let link = label.strip_suffix(".id").unwrap_or(label);
                self.find(etype, link)
                    .ok_or_else(|| refuse(&format!("{label} is not a valid lookup attribute.")))?
            }
        };
        if !named.attr.unique {
            return Err(refuse(&format!("{label} is not a unique attribute.")));
        }
        Ok(named.attr)
    }

    fn expand_one(
        &self,
        operation: &Operation,
        known: &dyn Fn(&str, &EntityKey) -> bool,
        steps: &mut Vec<TxStep>,
    ) -> Result<(), TxError> {
        let Operation { etype, key, action } = operation;
        let entity = self.entity(etype, key)?;
        let resolve_mode = |mode: UpdateMode| match mode {
            UpdateMode::Strict => Some(Mode::Update),
            UpdateMode::Upsert => None,
            UpdateMode::Auto => known(etype, key).then_some(Mode::Update),
        };
        match action {
            Action::Create(args) => {
                let mode = Some(Mode::Create);
                self.push_id(etype, &entity, mode, steps);
                self.push_fields(etype, &entity, args, mode, false, steps)
            }
            Action::Update(args, mode) => {
                let mode = resolve_mode(*mode);
                self.push_id(etype, &entity, mode, steps);
                self.push_fields(etype, &entity, args, mode, false, steps)
            }
            Action::Merge(args, mode) => {
                let mode = resolve_mode(*mode);
                self.push_id(etype, &entity, mode, steps);
                self.push_fields(etype, &entity, args, mode, true, steps)
            }
            Action::Link(links) => self.push_links(etype, &entity, links, true, steps),
            Action::Unlink(links) => self.push_links(etype, &entity, links, false, steps),
            Action::Delete => {
                steps.push(TxStep::DeleteEntity { entity, etype: Some(etype.clone()) });
                Ok(())
            }
            Action::RuleParams(params) => {
                let etype = Some(etype.clone());
                steps.push(TxStep::RuleParams { entity, etype, params: params.clone() });
                Ok(())
            }
        }
    }

    /// The id triple comes first, so that a changed lookup attribute does not disturb later steps.
    fn push_id(
        &self,
        etype: &str,
        entity: &EntityRef,
        mode: Option<Mode>,
        steps: &mut Vec<TxStep>,
    ) {
        if let Some(attr) = self.forward(etype, "id") {
            let value = as_value(entity);
            steps.push(TxStep::AddTriple { entity: entity.clone(), attr: attr.id, value, mode });
        }
    }

    fn push_fields(
        &self,
        etype: &str,
        entity: &EntityRef,
        args: &Map<String, Json>,
        mode: Option<Mode>,
        merge: bool,
        steps: &mut Vec<TxStep>,
    ) -> Result<(), TxError> {
        for (label, value) in args.iter().filter(|(label, _)| *label != "id") {
            if label.trim().is_empty() {
                return Err(TxError::validation(
                    "steps",
                    &format!(
                        "the attributes to write to `{etype}` must be an object of named values"
                    ),
                    None,
                ));
            }
            let Some(attr) = self.forward(etype, label) else { continue };
            let (entity, attr, value) = (entity.clone(), attr.id, Value::from_json(value.clone()));
            steps.push(if merge {
                TxStep::DeepMergeTriple { entity, attr, value, mode }
            } else {
                TxStep::AddTriple { entity, attr, value, mode }
            });
        }
        Ok(())
    }

    fn push_links(
        &self,
        etype: &str,
        entity: &EntityRef,
        links: &[LinkTargets],
        add: bool,
        steps: &mut Vec<TxStep>,
    ) -> Result<(), TxError> {
        if matches!(entity, EntityRef::Lookup(..)) {
            self.push_id(etype, entity, None, steps);
        }
        for LinkTargets { label, targets } in links {
            let named =
                self.find(etype, label).filter(|named| named.attr.is_ref()).ok_or_else(|| {
                    TxError::validation("steps", &format!("{etype}.{label} is not a link."), None)
                })?;
            let other = named.leads_to().unwrap_or_default();
            for target in targets {
                let target = self.entity(other, target)?;
                let (entity, value) = match named.direction {
                    Direction::Forward => (entity.clone(), as_value(&target)),
                    Direction::Reverse => (target, as_value(entity)),
                };
                let attr = named.attr.id;
                steps.push(if add {
                    TxStep::AddTriple { entity, attr, value, mode: None }
                } else {
                    TxStep::RetractTriple { entity, attr, value }
                });
            }
        }
        Ok(())
    }
}

/// An entity as the value of a triple: its id, or a lookup pair.
fn as_value(entity: &EntityRef) -> Value {
    match entity {
        EntityRef::Id(id) => Value::Ref(*id),
        EntityRef::Lookup(attr, value) => Value::Json(Arc::new(json!([attr, value]))),
    }
}
