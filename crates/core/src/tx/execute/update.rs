//! Update operators, and how they compose with the other writes of the same value.

use std::sync::Arc;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
use serde_json::json;

use super::super::commit::FactChange;
use super::super::error::{TxError, TxErrorKind};
use super::super::merge::deep_merge;
use super::super::operator::{ARRAY_BYTES_MAX, Misfit, Operator};
use super::super::step::{EntityRef, StepKind, TripleStep, TxStep};
use super::Run;
use crate::attr::Attr;
use crate::id::{AttrId, EntityId};
use crate::value::Value;

impl Run<'_> {
    /// The group of every step. Steps of one kind run together; but where an operator changes a value, all
    /// steps on that value run with the plain writes, in list order.
    pub(super) fn kinds(&self, steps: &[TxStep]) -> Vec<StepKind> {
        let updates = steps.iter().filter(|step| matches!(step, TxStep::UpdateTriple { .. }));
        let changed: HashSet<(EntityRef, AttrId), FxBuildHasher> = updates
            .filter_map(TxStep::triple)
            .map(|triple| (self.same_entity(triple.entity), triple.attr))
            .collect();
        let kind = |step: &TxStep| {
            let kind = step.kind();
            if changed.is_empty()
                || !matches!(kind, StepKind::DeepMergeTriple | StepKind::RetractTriple)
            {
                return kind;
            }
            match step.triple() {
                Some(TripleStep { entity, attr, .. })
                    if changed.contains(&(self.same_entity(entity), attr)) =>
                {
                    StepKind::AddTriple
                }
                _ => kind,
            }
        };
        steps.iter().map(kind).collect()
    }

    /// One way of naming an entity, whether by id or by lookup.
    fn same_entity(&self, entity: &EntityRef) -> EntityRef {
        self.known_entity(entity).map_or_else(|| entity.clone(), EntityRef::Id)
    }

    /// What a step makes of a value. `None`: nothing changes; `Some(None)`: the value goes.
    pub(super) fn compose(
        &self,
        step: &TxStep,
        entity: EntityId,
        attr: &Arc<Attr>,
        base: Option<Value>,
    ) -> Result<Option<Option<Value>>, TxError> {
        match step {
            TxStep::UpdateTriple { operator, .. } => {
                if attr.is_ref() || attr.is_id() {
                    return Err(refuse(
                        operator,
                        entity,
                        attr,
                        "it works on data, not on links and ids",
                    ));
                }
                let changed = operator
                    .apply(base.as_ref(), self.now, attr.checked_data_type)
                    .map_err(|misfit| misfits(operator, entity, attr, base.as_ref(), &misfit))?;
                Ok(changed.map(Some))
            }
            TxStep::DeepMergeTriple { value: patch, .. } => {
                let base = base.map_or(serde_json::Value::Null, |base| base.to_json());
                Ok(Some(Some(Value::from_json(deep_merge(base, &patch.to_json())))))
            }
            TxStep::RetractTriple { value, .. } => {
                Ok((base.as_ref() == Some(value)).then_some(None))
            }
            _ => Ok(None),
        }
    }

    /// Takes away the value of a data attribute.
    pub(super) fn retract_value(&mut self, entity: EntityId, attr: &Arc<Attr>) {
        if let Some(old) = self.present(entity, attr, &Value::Null) {
            let fact = FactChange { entity, attr: attr.id, old: Some(old), new: None };
            self.change_fact(attr, fact);
        }
    }
}

fn misfits(
    operator: &Operator,
    entity: EntityId,
    attr: &Attr,
    base: Option<&Value>,
    misfit: &Misfit,
) -> TxError {
    let found = base.map_or("nothing", |value| value.json_type().name());
    refuse(
        operator,
        entity,
        attr,
        &match misfit {
            Misfit::Needs(what) => format!("it needs {what}, but the value's type is {found}"),
            Misfit::OutOfRange => "the result is beyond the range of numbers".to_owned(),
            Misfit::TooLarge => format!(
                "the array would take more than {ARRAY_BYTES_MAX} bytes; make its items entities"
            ),
        },
    )
}

fn refuse(operator: &Operator, entity: EntityId, attr: &Attr, why: &str) -> TxError {
    let name = operator.name();
    let (etype, label) = (attr.etype(), attr.label());
    let message = format!("Cannot apply {name} to `{etype}.{label}` of {entity}: {why}.");
    TxError::new(
        TxErrorKind::ValidationFailed,
        format!("Validation failed for tx-step: {message}"),
        json!({
            "data-type": "tx-step", "errors": [{ "message": message }], "operator": name,
            "attr-id": attr.id, "entity-id": entity,
        }),
    )
}
