//! From names to ids: operations become tx-steps.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::error::TxError;
use super::operation::{Action, EntityKey, LinkTargets, Operation, UpdateMode};
use super::operator::FieldValue;
use super::step::{EntityRef, Mode, TxStep};
use crate::attr::{Attr, Cardinality, Identity};
use crate::catalog::{AttrCatalog, Direction, Named};
use crate::id::{AttrId, IdSource, IdentId};
use crate::schema::Schema;
use crate::value::Value;

/// What to do about attributes that nobody has made yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MissingAttrs {
    /// Make them: data for fields, many-to-many for links, unique and indexed for lookups.
    Create,
    /// Refuse, naming them all.
    Refuse,
}

/// Whose words and rules apply where the original's client and its admin API differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Dialect {
    /// A client: updates may be strict by themselves, lookups go along links from either side.
    #[default]
    Client,
    /// The admin API: updates are strict only on demand, lookups go along links from their own side.
    Admin,
}

/// How operations are expanded.
#[derive(Clone, Copy, Debug)]
pub struct ExpandOptions<'a> {
    /// What to do about attributes that nobody has made yet.
    pub missing: MissingAttrs,
    /// Whose words and rules apply.
    pub dialect: Dialect,
    /// Where the properties of missing attributes come from; what it lacks is refused. Without one anything
    /// may be made.
    pub schema: Option<&'a Schema>,
}

/// [`expand_with`] as a client does it, without a schema.
///
/// # Errors
/// Those of [`expand_with`].
pub fn expand(
    operations: &[Operation],
    catalog: &AttrCatalog,
    known: &dyn Fn(&str, &EntityKey) -> bool,
    missing: MissingAttrs,
    ids: &mut dyn IdSource,
) -> Result<Vec<TxStep>, TxError> {
    let options = ExpandOptions { missing, dialect: Dialect::Client, schema: None };
    expand_with(operations, catalog, known, &options, ids)
}

/// Expands operations into tx-steps: first an `add-attr` for every attribute that is missing, then the
/// steps of each operation in order.
///
/// `known` tells whether an entity is visible to the caller at this moment; it decides whether an update
/// in [`UpdateMode::Auto`] is strict.
///
/// # Errors
/// `validation-failed` for ids that are none, lookups on attributes that are not unique, links on
/// attributes that are none, operators whose operand is of the wrong kind, and missing attributes where
/// they are refused.
pub fn expand_with(
    operations: &[Operation],
    catalog: &AttrCatalog,
    known: &dyn Fn(&str, &EntityKey) -> bool,
    options: &ExpandOptions<'_>,
    ids: &mut dyn IdSource,
) -> Result<Vec<TxStep>, TxError> {
    let mut names = Names { catalog, options: *options, made: Vec::new(), ids };
    for operation in operations {
        names.make_for_lookups(operation)?;
    }
    // What is only expected takes the attributes that other operations make.
    let (expected, written): (Vec<_>, Vec<_>) =
        operations.iter().partition(|operation| matches!(operation.action, Action::Expect(_)));
    for operation in written.into_iter().chain(expected) {
        names.make_for_fields(operation)?;
    }
    if options.missing == MissingAttrs::Refuse && !names.made.is_empty() {
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
    options: ExpandOptions<'a>,
    made: Vec<Arc<Attr>>,
    ids: &'a mut dyn IdSource,
}

/// How a data attribute comes to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    Field,
    Lookup,
}

fn refuse(message: &str) -> TxError {
    TxError::validation("lookup", message, None)
}

fn not_unique(etype: &str, label: &str) -> TxError {
    refuse(&format!("{label} is not a unique attribute on {etype}"))
}

fn refuse_step(message: &str) -> TxError {
    TxError::validation("steps", message, None)
}

fn check_label(etype: &str, label: &str) -> Result<(), TxError> {
    if label.trim().is_empty() {
        let message =
            format!("the attributes to write to `{etype}` must be an object of named values");
        return Err(refuse_step(&message));
    }
    Ok(())
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

    fn make_blob(&mut self, etype: &str, label: &str, purpose: For) -> Result<(), TxError> {
        let (id, ident) = (AttrId(self.ids.next_uuid()), IdentId(self.ids.next_uuid()));
        let mut attr = Attr::blob(id, ident, etype, label);
        if purpose == For::Lookup {
            attr.unique = true;
            attr.indexed = true;
        }
        if let Some(schema) = self.options.schema.filter(|_| label != "id") {
            let def = schema.attr(etype, label).ok_or_else(|| {
                refuse_step(&format!("{etype}.{label} does not exist in your schema"))
            })?;
            attr.unique |= def.unique;
            attr.indexed |= def.indexed;
            attr.checked_data_type = def.checked_type;
        }
        self.made.push(Arc::new(attr));
        Ok(())
    }

    /// The label of an unknown link doubles as the name of the other namespace.
    fn make_link(&mut self, etype: &str, label: &str, purpose: For) -> Result<(), TxError> {
        let id = AttrId(self.ids.next_uuid());
        let mut name = |etype: &str, label: &str| Identity {
            id: IdentId(self.ids.next_uuid()),
            etype: etype.into(),
            label: label.into(),
        };
        let mut attr = match self.options.schema {
            Some(schema) => {
                let def = schema.link(etype, label).ok_or_else(|| {
                    refuse_step(&format!("Couldn't find the link {etype}.{label} in your schema"))
                })?;
                let (forward, reverse) = (&def.forward, &def.reverse);
                let forward = name(&forward.etype, &forward.label);
                let mut attr = Attr::link(id, forward, name(&reverse.etype, &reverse.label));
                def.set_flags(&mut attr);
                // Only a push of the schema can demand values.
                attr.required = false;
                attr
            }
            None => Attr::link(id, name(etype, label), name(label, etype)),
        };
        if purpose == For::Lookup {
            attr.cardinality = Cardinality::One;
            attr.unique = true;
            attr.indexed = true;
        }
        self.made.push(Arc::new(attr));
        Ok(())
    }

    fn make_for_lookups(&mut self, operation: &Operation) -> Result<(), TxError> {
        // Parameters write nothing, so the admin API makes nothing for them.
        let writes = !matches!(operation.action, Action::RuleParams(_));
        if writes || self.options.dialect == Dialect::Client {
            self.make_for_lookup(&operation.etype, &operation.key)?;
        }
        let (Action::Link(links) | Action::Unlink(links)) = &operation.action else {
            return Ok(());
        };
        for LinkTargets { label, targets } in links {
            for target in targets {
                if !matches!(target, EntityKey::Lookup { .. }) {
                    continue;
                }
                if self.find(&operation.etype, label).is_none() {
                    self.make_link(&operation.etype, label, For::Lookup)?;
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
            return self.make_blob(etype, label, For::Lookup);
        };
        if rest != "id" {
            return Err(refuse(&format!("{label} is not a valid lookup attribute.")));
        }
        match self.find(etype, link).map(|named| named.attr) {
            Some(attr) if attr.is_ref() => Ok(()),
            Some(_) => Err(refuse(&format!("{label} does not reference a valid link attribute."))),
            None => self.make_link(etype, link, For::Lookup),
        }
    }

    /// The attribute along which a lookup `link.id` goes.
    fn lookup_link(&self, etype: &str, link: &str) -> Option<&Arc<Attr>> {
        match self.options.dialect {
            Dialect::Client => self.find(etype, link).map(|named| named.attr),
            Dialect::Admin => self.forward(etype, link),
        }
    }

    fn make_for_fields(&mut self, operation: &Operation) -> Result<(), TxError> {
        let etype = &*operation.etype;
        let (fields, links): (Option<&Map<String, Json>>, &[LinkTargets]) = match &operation.action
        {
            Action::Create(args)
            | Action::Update(args, _)
            | Action::Merge(args, _)
            | Action::Expect(args) => (Some(args), &[]),
            Action::Link(links) | Action::Unlink(links) => (None, links),
            Action::Delete | Action::RuleParams(_) => return Ok(()),
        };
        if self.forward(etype, "id").is_none() {
            self.make_blob(etype, "id", For::Field)?;
        }
        for label in fields.into_iter().flat_map(Map::keys) {
            if label != "id" && self.forward(etype, label).is_none() {
                self.make_blob(etype, label, For::Field)?;
            }
        }
        for link in links.iter().filter(|link| &*link.label != "id") {
            if self.find(etype, &link.label).is_none() {
                self.make_link(etype, &link.label, For::Field)?;
            }
        }
        Ok(())
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

    /// The other end of a link.
    fn target(&self, etype: &str, key: &EntityKey) -> Result<EntityRef, TxError> {
        match key {
            EntityKey::Invalid(text) if self.options.dialect == Dialect::Admin => {
                Err(TxError::no_entity_id(text, None))
            }
            other => self.entity(etype, other),
        }
    }

    fn lookup_attr(&self, etype: &str, label: &str) -> Result<&Arc<Attr>, TxError> {
        let attr = match self.forward(etype, label) {
            Some(attr) => attr,
            None => {
                let link = label.strip_suffix(".id").unwrap_or(label);
                self.lookup_link(etype, link).ok_or_else(|| match self.options.dialect {
                    Dialect::Client => refuse(&format!("{label} is not a valid lookup attribute.")),
                    Dialect::Admin
                        if label.split_once('.').is_some_and(|(_, rest)| rest != "id") =>
                    {
                        refuse(&format!("{label} is not a valid lookup attribute."))
                    }
                    Dialect::Admin => not_unique(etype, label),
                })?
            }
        };
        if attr.unique {
            return Ok(attr);
        }
        Err(match self.options.dialect {
            Dialect::Client => refuse(&format!("{label} is not a unique attribute.")),
            Dialect::Admin => not_unique(etype, label),
        })
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
            UpdateMode::Upsert if self.options.dialect == Dialect::Admin => Some(Mode::Upsert),
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
            Action::Expect(args) => self.push_expectations(etype, &entity, args, steps),
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
            check_label(etype, label)?;
            let Some(attr) = self.forward(etype, label) else { continue };
            let (entity, attr) = (entity.clone(), attr.id);
            let value = FieldValue::read(value)
                .map_err(|problem| refuse_step(&format!("{etype}.{label}: {problem}.")))?;
            steps.push(match value {
                FieldValue::Operator(operator) => {
                    TxStep::UpdateTriple { entity, attr, operator, mode }
                }
                FieldValue::Data(data) if merge => {
                    TxStep::DeepMergeTriple { entity, attr, value: Value::from_json(data), mode }
                }
                FieldValue::Data(data) => {
                    TxStep::AddTriple { entity, attr, value: Value::from_json(data), mode }
                }
            });
        }
        Ok(())
    }

    fn push_expectations(
        &self,
        etype: &str,
        entity: &EntityRef,
        args: &Map<String, Json>,
        steps: &mut Vec<TxStep>,
    ) -> Result<(), TxError> {
        for (label, value) in args {
            check_label(etype, label)?;
            let Some(attr) = self.forward(etype, label) else { continue };
            let (entity, attr) = (entity.clone(), attr.id);
            let value = Value::from_json(value.clone());
            steps.push(TxStep::ExpectTriple { entity, attr, value });
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
        for LinkTargets { label, targets } in links.iter().filter(|link| &*link.label != "id") {
            let named = self
                .find(etype, label)
                .filter(|named| named.attr.is_ref())
                .ok_or_else(|| refuse_step(&format!("{etype}.{label} is not a link.")))?;
            let other = named.leads_to().unwrap_or_default();
            for target in targets {
                let target = self.target(other, target)?;
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
