//! Preconditions: what a transaction takes for granted about the state before it.

use serde_json::json;

use super::super::error::{TxError, TxErrorKind};
use super::super::step::{EntityRef, TxStep};
use super::{Actor, Run, value_lookup};
use crate::attr::{Attr, Cardinality};
use crate::id::EntityId;
use crate::value::Value;

/// How an expectation and the data stand to each other.
#[derive(PartialEq)]
enum Fit {
    Holds,
    Fails,
    /// A client that holds a part of the data cannot tell.
    Undecided,
}

impl Run<'_> {
    /// Refuses a transaction whose expectations the state before it does not meet.
    pub(super) fn check_expectations(&self, steps: &[TxStep]) -> Result<(), TxError> {
        for step in steps {
            let TxStep::ExpectTriple { entity, attr, value } = step else { continue };
            let made_here = steps.iter().find_map(|step| match step {
                TxStep::AddAttr(made) if made.id == *attr => Some(made),
                _ => None,
            });
            let id = self.known_entity(entity);
            let Some(attr) = self.index.catalog().live(*attr).or(made_here) else {
                return Err(TxError::unknown_attr(*attr));
            };
            let fit = match id {
                Some(id) => self.fit(id, attr, value),
                None if self.actor == Actor::Optimistic => Fit::Undecided,
                None if value.is_null() => Fit::Holds,
                None => Fit::Fails,
            };
            if fit == Fit::Fails {
                return Err(unmet(entity, id, attr, value));
            }
        }
        Ok(())
    }

    fn fit(&self, entity: EntityId, attr: &Attr, wanted: &Value) -> Fit {
        let partial = self.actor == Actor::Optimistic;
        let missing = || match (partial, wanted.is_null()) {
            (true, _) => Fit::Undecided,
            (false, true) => Fit::Holds,
            (false, false) => Fit::Fails,
        };
        let decide = |holds: bool| if holds { Fit::Holds } else { Fit::Fails };
        if !attr.is_ref() {
            let wanted = attr.coerce(wanted.clone());
            return match self.index.value(entity, attr.id) {
                Some(value) => decide(*value == wanted),
                None => missing(),
            };
        }
        let links = self.index.links(entity, attr.id);
        if links.is_empty() {
            return missing();
        }
        let target = match value_lookup(wanted) {
            Some((by, value)) => self.index.catalog().live(by).and_then(|by| self.find(by, &value)),
            None => wanted.as_entity(),
        };
        let holds = target.is_some_and(|target| links.iter().any(|link| link.target == target));
        if partial && !holds && attr.cardinality == Cardinality::Many && !wanted.is_null() {
            return Fit::Undecided;
        }
        decide(holds)
    }
}

/// Says what was expected, but not what is there: the caller may not be one who may know.
fn unmet(entity: &EntityRef, id: Option<EntityId>, attr: &Attr, value: &Value) -> TxError {
    let (etype, label, value) = (attr.etype(), attr.label(), value.to_json());
    let shown = match (id, entity) {
        (Some(id), _) => id.to_string(),
        (None, EntityRef::Id(id)) => id.to_string(),
        (None, EntityRef::Lookup(_, by)) => format!("the entity looked up by {}", by.to_json()),
    };
    let message = format!("Expected `{etype}.{label}` of {shown} to be {value}, but it is not.");
    TxError::new(
        TxErrorKind::ValidationFailed,
        format!("Validation failed for tx-step: {message}"),
        json!({
            "data-type": "tx-step", "errors": [{ "message": message }],
            "attr-id": attr.id, "entity-id": id, "expected": value,
        }),
    )
}
