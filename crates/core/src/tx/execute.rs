//! Executing tx-steps on an index.
//!
//! The original runs a transaction in phases, and so do we: lookups are resolved and modes checked
//! against the state *before* the transaction; deletes are expanded by their cascades; then steps run
//! grouped by kind, groups in the order in which each kind first appears; last comes the check for
//! required values. Every change is journalled as it is made, so that a refusal at any point takes all of
//! it back, and what remains at the end is the [`Commit`].
//!
//! Source: the order of phases and groups is that of InstantDB's server.

mod attrs;
mod delete;
mod expect;
mod required;
mod storable;
mod system;
mod update;
mod write;

pub(crate) use write::too_large;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use serde_json::json;

use super::commit::{AttrChange, Change, Commit, FactChange, Stamped};
use super::error::TxError;
use super::step::{EntityRef, Mode, StepKind, TripleStep, TxStep};
use crate::attr::Attr;
use crate::id::{AttrId, EntityId, IdSource};
use crate::index::TripleIndex;
use crate::value::Value;

/// On whose behalf steps run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Actor {
    /// A client's session.
    Client,
    /// Somebody with the app's admin token.
    Admin,
    /// A client trying its own write on the part of the data that it holds. What only the whole data can
    /// decide (whether an unseen entity exists, which values it has) is left to the server: such steps do
    /// nothing, and required values are asked for only of entities that the transaction itself creates.
    Optimistic,
}

/// What execution needs from outside.
pub struct ExecuteContext<'a> {
    /// The transaction's time in milliseconds since 1970: creation time of new facts.
    pub now: i64,
    /// Ids for entities that a lookup creates.
    pub ids: &'a mut dyn IdSource,
    /// On whose behalf.
    pub actor: Actor,
}

impl std::fmt::Debug for ExecuteContext<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecuteContext")
            .field("now", &self.now)
            .field("actor", &self.actor)
            .finish()
    }
}

/// Prepares steps on an index and applies them.
///
/// On success the index holds the new state and the commit says what changed; [`TripleIndex::undo`] takes
/// it back. On an error the index is as before.
///
/// # Errors
/// The first refusal, as the original's server words it.
pub fn execute(
    index: &mut TripleIndex,
    steps: &[TxStep],
    context: &mut ExecuteContext<'_>,
) -> Result<Commit, TxError> {
    let mut run = Run {
        index,
        now: context.now,
        ids: &mut *context.ids,
        actor: context.actor,
        journal: Vec::with_capacity(steps.len()),
        touched: HashSet::default(),
        resolved: HashMap::default(),
        created_by_lookup: HashMap::default(),
        created: HashSet::default(),
    };
    match run.all(steps) {
        Ok(()) => Ok(Commit { changes: run.journal }),
        Err(error) => {
            while let Some(change) = run.journal.pop() {
                run.index.undo_change(&change);
            }
            Err(error)
        }
    }
}

type Lookups = HashMap<(AttrId, Value), Option<EntityId>, FxBuildHasher>;

/// One transaction under way.
struct Run<'a> {
    index: &'a mut TripleIndex,
    now: i64,
    ids: &'a mut dyn IdSource,
    actor: Actor,
    /// What was changed so far, in order.
    journal: Vec<Change>,
    /// Entities that changed in a namespace: the required check looks at them.
    touched: HashSet<(EntityId, Arc<str>), FxBuildHasher>,
    /// Lookups in entity position, against the state before the transaction.
    resolved: Lookups,
    /// Entities made for lookups without a match.
    created_by_lookup: HashMap<(AttrId, Value), EntityId, FxBuildHasher>,
    /// What steps create outright: if the transaction passes, it is all that there is of them.
    created: HashSet<(EntityId, Arc<str>), FxBuildHasher>,
}

impl Run<'_> {
    fn all(&mut self, steps: &[TxStep]) -> Result<(), TxError> {
        self.check_values(steps)?;
        self.resolve_lookups(steps)?;
        self.check_system_rules(steps)?;
        self.check_lookup_namespaces(steps)?;
        self.check_link_values(steps)?;
        self.check_attr_rights(steps)?;
        let skip = self.check_modes(steps)?;
        self.check_expectations(steps)?;
        let deletes = self.expand_deletes(steps);

        let kinds = self.kinds(steps);
        let mut order: Vec<StepKind> = Vec::new();
        for kind in &kinds {
            if !order.contains(kind) {
                order.push(*kind);
            }
        }
        for kind in order {
            let group = steps
                .iter()
                .enumerate()
                .filter(|(at, _)| kinds[*at] == kind && !skip.contains(at))
                .map(|(_, step)| step);
            match kind {
                StepKind::AddTriple => self.add_triples(group)?,
                StepKind::DeepMergeTriple => self.merge_triples(group)?,
                StepKind::RetractTriple => self.retract_triples(group)?,
                StepKind::DeleteEntity => self.delete_entities(&deletes),
                StepKind::RuleParams | StepKind::ExpectTriple => {}
                StepKind::AddAttr
                | StepKind::UpdateAttr
                | StepKind::DeleteAttr
                | StepKind::RestoreAttr => {
                    for step in group {
                        self.change_attrs(step)?;
                    }
                }
            }
        }
        self.check_required()
    }

    /// The live attribute with this id.
    fn attr(&self, id: AttrId) -> Result<Arc<Attr>, TxError> {
        self.index.catalog().live(id).cloned().ok_or_else(|| TxError::unknown_attr(id))
    }

    /// Makes and journals one change of a fact.
    fn change_fact(&mut self, attr: &Attr, fact: FactChange) {
        self.touched.insert((fact.entity, attr.forward_identity.etype.clone()));
        self.index.apply_fact(&fact);
        self.journal.push(Change::Fact(fact));
    }

    /// Makes and journals one change of an attribute's definition.
    fn change_attr(&mut self, old: Option<Arc<Attr>>, new: Option<Arc<Attr>>) {
        let change = AttrChange { old, new };
        self.index.apply_attr(&change);
        self.journal.push(Change::Attr(change));
    }

    fn add(&mut self, attr: &Attr, entity: EntityId, value: Value) {
        let new = Some(Stamped(value, self.now));
        self.change_fact(attr, FactChange { entity, attr: attr.id, old: None, new });
    }

    /// Finds the entity of a lookup in the present state.
    fn find(&self, attr: &Attr, value: &Value) -> Option<EntityId> {
        let value = attr.coerce(value.clone());
        if attr.is_ref() {
            // A unique link: the entity that links to the given target.
            let slot = self.index.slot(attr.id)?;
            let target = self.index.handle(value.as_entity()?)?;
            return self.index.sources(slot, target).first().map(|h| self.index.entity(*h));
        }
        self.index.find_unique(attr.id, &value).map(|h| self.index.entity(h))
    }

    /// Looks up every entity-position lookup in the state before the transaction.
    fn resolve_lookups(&mut self, steps: &[TxStep]) -> Result<(), TxError> {
        let made: HashSet<AttrId, FxBuildHasher> = steps
            .iter()
            .filter_map(|step| match step {
                TxStep::AddAttr(attr) => Some(attr.id),
                _ => None,
            })
            .collect();
        for (at, step) in steps.iter().enumerate() {
            self.check_value_lookup(step, at)?;
            let Some(EntityRef::Lookup(attr_id, value)) = step.entity() else { continue };
            let found = match self.index.catalog().live(*attr_id).cloned() {
                // An attribute that this transaction makes has no values yet.
                None if made.contains(attr_id) => None,
                None if self.actor == Actor::Admin => return Err(TxError::unknown_attr(*attr_id)),
                None => {
                    return Err(TxError::validation(
                        "lookup",
                        "Invalid lookup. Could not determine namespace from lookup attribute.",
                        None,
                    ));
                }
                Some(attr) => {
                    self.check_lookup(&attr, value, at)?;
                    self.find(&attr, value)
                }
            };
            self.resolved.insert((*attr_id, value.clone()), found);
        }
        Ok(())
    }

    fn check_lookup(&self, attr: &Attr, value: &Value, at: usize) -> Result<(), TxError> {
        // While it becomes unique, not every value is findable yet.
        if !attr.unique || attr.setting_unique {
            return Err(TxError::unknown_attr(attr.id));
        }
        check_id_lookup(attr, value, json!([at, 1]))
    }

    /// A lookup by `id` in a link's value needs an id, too.
    fn check_value_lookup(&self, step: &TxStep, at: usize) -> Result<(), TxError> {
        let catalog = self.index.catalog();
        let Some(TripleStep { attr, value: Some(value), .. }) = step.triple() else {
            return Ok(());
        };
        let lookup = catalog.live(attr).filter(|a| a.is_ref()).and_then(|_| value_lookup(value));
        match lookup.and_then(|(by, wanted)| Some((catalog.live(by)?, wanted))) {
            Some((by, wanted)) => check_id_lookup(by, &wanted, json!([at, 3])),
            None => Ok(()),
        }
    }

    /// The entity of a step as far as the state before the transaction knows it.
    fn known_entity(&self, entity: &EntityRef) -> Option<EntityId> {
        match entity {
            EntityRef::Id(id) => Some(*id),
            EntityRef::Lookup(attr, value) => {
                self.resolved.get(&(*attr, value.clone())).copied().flatten()
            }
        }
    }

    /// Checks `create` and `update` modes against the state before the transaction. For an optimistic run
    /// it returns the steps to leave out instead: only the server knows whether an unseen entity exists.
    fn check_modes(&mut self, steps: &[TxStep]) -> Result<HashSet<usize, FxBuildHasher>, TxError> {
        let mut skip = HashSet::default();
        let (mut existing, mut missing) = (Vec::new(), Vec::new());
        // Attributes that this transaction makes tell their namespace, too.
        let mut made: HashMap<AttrId, &Arc<Attr>, FxBuildHasher> = HashMap::default();
        made.extend(steps.iter().filter_map(|step| match step {
            TxStep::AddAttr(attr) => Some((attr.id, attr)),
            _ => None,
        }));
        for (at, step) in steps.iter().enumerate() {
            let Some(TripleStep { entity, attr, mode, .. }) = step.triple() else { continue };
            let Some(mode) = mode.filter(|m| *m != Mode::Upsert) else { continue };
            let known = self.known_entity(entity);
            let attr = self.index.catalog().live(attr).or_else(|| made.get(&attr).copied());
            if let (Mode::Create, Some(entity), Some(attr)) = (mode, known, attr) {
                self.created.insert((entity, attr.forward_identity.etype.clone()));
            }
            let exists = known.zip(attr).is_some_and(|(e, a)| self.has_any(e, a.etype()));
            match (mode, exists) {
                (Mode::Create, true) => existing.extend(known.map(|e| e.to_string())),
                (Mode::Update, false) if self.actor == Actor::Optimistic => {
                    skip.insert(at);
                }
                (Mode::Update, false) => missing.push(match entity {
                    EntityRef::Id(id) => id.to_string(),
                    EntityRef::Lookup(attr, value) => {
                        format!("[#uuid \"{attr}\" {}]", value.to_json())
                    }
                }),
                _ => {}
            }
        }
        let refuse = |what: &str, ids: &[String]| {
            Err(TxError::validation("tx-step", &format!("{what}: {}", ids.join(", ")), None))
        };
        if !existing.is_empty() {
            return refuse("Creating entities that exist", &existing);
        }
        if !missing.is_empty() {
            return refuse("Updating entities that don't exist", &missing);
        }
        Ok(skip)
    }

    /// Whether an entity has any triple in a namespace.
    fn has_any(&self, entity: EntityId, etype: &str) -> bool {
        let catalog = self.index.catalog();
        let Some(row) = self.index.row(entity) else { return false };
        row.cells().any(|(slot, _)| {
            catalog.live(self.index.attr_id(slot)).is_some_and(|a| a.etype() == etype)
        })
    }

    /// Only an admin may change or delete attributes; making them is free.
    fn check_attr_rights(&self, steps: &[TxStep]) -> Result<(), TxError> {
        if self.actor == Actor::Admin {
            return Ok(());
        }
        for step in steps {
            match step {
                TxStep::UpdateAttr(..) => return Err(TxError::permission_denied("update")),
                TxStep::DeleteAttr(_) => return Err(TxError::permission_denied("delete")),
                TxStep::RestoreAttr(_) => return Err(TxError::permission_denied("restore")),
                _ => {}
            }
        }
        Ok(())
    }

    /// For clients: a lookup belongs to the namespace where it stands.
    fn check_lookup_namespaces(&self, steps: &[TxStep]) -> Result<(), TxError> {
        if self.actor == Actor::Admin {
            return Ok(());
        }
        let catalog = self.index.catalog();
        for step in steps {
            let Some(TripleStep { entity, attr, value, .. }) = step.triple() else { continue };
            let Some(attr) = catalog.live(attr) else { continue };
            let foreign =
                |by: AttrId, etype: &str| catalog.live(by).is_some_and(|by| by.etype() != etype);
            if matches!(entity, EntityRef::Lookup(by, _) if foreign(*by, attr.etype())) {
                return Err(TxError::foreign_lookup());
            }
            if let (Some(target), Some((by, _))) =
                (attr.target_etype(), value.and_then(value_lookup))
                && foreign(by, target)
            {
                return Err(TxError::foreign_lookup());
            }
        }
        Ok(())
    }

    /// For clients: a link's value is a UUID or a lookup.
    fn check_link_values(&self, steps: &[TxStep]) -> Result<(), TxError> {
        if self.actor == Actor::Admin {
            return Ok(());
        }
        for step in steps {
            let (TxStep::AddTriple { attr, value, .. }
            | TxStep::DeepMergeTriple { attr, value, .. }
            | TxStep::RetractTriple { attr, value, .. }) = step
            else {
                continue;
            };
            let is_ref = self.index.catalog().live(*attr).is_some_and(|a| a.is_ref());
            if is_ref && value.as_entity().is_none() && value_lookup(value).is_none() {
                return Err(TxError::validation("eid", "Expected link value to be a uuid.", None));
            }
        }
        Ok(())
    }
}

fn check_id_lookup(attr: &Attr, value: &Value, place: serde_json::Value) -> Result<(), TxError> {
    if !attr.is_id() || value.as_entity().is_some() {
        return Ok(());
    }
    let message = format!(
        "Invalid lookup '[#uuid \"{}\" {}]'. The lookup attribute is '{}.{}', but the lookup value is not a \
         valid UUID.",
        attr.id,
        value.to_json(),
        attr.etype(),
        attr.label()
    );
    Err(TxError::validation("tx-steps", &message, Some(place)))
}

/// A link's target by the value of a unique attribute, as it travels: `[attribute, value]`.
pub fn value_lookup(value: &Value) -> Option<(AttrId, Value)> {
    let Value::Json(json) = value else { return None };
    let [attr, value] = json.as_array()?.as_slice() else { return None };
    Some((AttrId::parse(attr.as_str()?)?, Value::from_json(value.clone())))
}
