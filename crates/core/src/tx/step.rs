//! Tx-steps: what travels and what a server executes.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::operator::Operator;
use crate::attr::Attr;
use crate::id::{AttrId, EntityId};
use crate::value::Value;

/// The entity of a step: by id, or by a unique attribute's value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntityRef {
    /// This entity.
    Id(EntityId),
    /// The entity whose unique attribute has this value; `[attr-id, value]` on the wire.
    Lookup(AttrId, Value),
}

/// What a step asks of the entity's existence before the transaction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// It must not exist.
    Create,
    /// It must exist.
    Update,
    /// Either.
    Upsert,
}

impl Mode {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Upsert => "upsert",
        }
    }
}

/// One step of a transaction.
#[derive(Clone, PartialEq, Debug)]
pub enum TxStep {
    /// Sets (cardinality one) or adds (cardinality many).
    AddTriple {
        /// The entity.
        entity: EntityRef,
        /// The attribute.
        attr: AttrId,
        /// The value as it travels: for links, a UUID string or a lookup pair.
        value: Value,
        /// Existence asked for; none means upsert.
        mode: Option<Mode>,
    },
    /// Merges an object into the stored value.
    DeepMergeTriple {
        /// The entity.
        entity: EntityRef,
        /// The attribute.
        attr: AttrId,
        /// The patch.
        value: Value,
        /// Existence asked for; none means upsert.
        mode: Option<Mode>,
    },
    /// Changes the stored value by an [`Operator`]. Together with the other writes of the same entity and
    /// attribute it takes effect in list order. Not part of the original's protocol.
    UpdateTriple {
        /// The entity.
        entity: EntityRef,
        /// The attribute, which holds data.
        attr: AttrId,
        /// The change.
        operator: Operator,
        /// Existence asked for; none means upsert.
        mode: Option<Mode>,
    },
    /// Refuses the transaction unless the triple is there before it; null stands for no value. Not part of
    /// the original's protocol.
    ExpectTriple {
        /// The entity.
        entity: EntityRef,
        /// The attribute.
        attr: AttrId,
        /// The value.
        value: Value,
    },
    /// Removes exactly this triple.
    RetractTriple {
        /// The entity.
        entity: EntityRef,
        /// The attribute.
        attr: AttrId,
        /// The value.
        value: Value,
    },
    /// Deletes an entity in one namespace, or in all that it has.
    DeleteEntity {
        /// The entity.
        entity: EntityRef,
        /// The namespace; none means every one.
        etype: Option<Arc<str>>,
    },
    /// Parameters for permission rules.
    RuleParams {
        /// The entity.
        entity: EntityRef,
        /// The namespace.
        etype: Option<Arc<str>>,
        /// The parameters.
        params: Map<String, Json>,
    },
    /// Makes an attribute.
    AddAttr(Arc<Attr>),
    /// Changes the given fields of an attribute (`id` among them); kept as JSON, for only the fields
    /// that are present change.
    UpdateAttr(AttrId, Map<String, Json>),
    /// Soft-deletes an attribute.
    DeleteAttr(AttrId),
    /// Takes a soft delete back.
    RestoreAttr(AttrId),
}

/// The kinds of steps; steps of one kind run together, at the place of the kind's first appearance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum StepKind {
    AddTriple,
    DeepMergeTriple,
    RetractTriple,
    DeleteEntity,
    RuleParams,
    ExpectTriple,
    AddAttr,
    UpdateAttr,
    DeleteAttr,
    RestoreAttr,
}

/// What the steps that speak of one triple have in common.
#[derive(Clone, Copy)]
pub(crate) struct TripleStep<'a> {
    pub(crate) entity: &'a EntityRef,
    pub(crate) attr: AttrId,
    /// The value, patch or operand.
    pub(crate) value: Option<&'a Value>,
    pub(crate) mode: Option<Mode>,
}

impl TxStep {
    /// Whether only TriceDB's servers know this kind of step.
    pub const fn is_extension(&self) -> bool {
        matches!(self, Self::UpdateTriple { .. } | Self::ExpectTriple { .. })
    }

    /// The entity that the step is about; none of a step about attributes.
    pub const fn entity(&self) -> Option<&EntityRef> {
        match self {
            Self::AddTriple { entity, .. }
            | Self::DeepMergeTriple { entity, .. }
            | Self::RetractTriple { entity, .. }
            | Self::UpdateTriple { entity, .. }
            | Self::ExpectTriple { entity, .. }
            | Self::DeleteEntity { entity, .. }
            | Self::RuleParams { entity, .. } => Some(entity),
            Self::AddAttr(_)
            | Self::UpdateAttr(..)
            | Self::DeleteAttr(_)
            | Self::RestoreAttr(_) => None,
        }
    }

    /// The triple that the step speaks of.
    pub(crate) fn triple(&self) -> Option<TripleStep<'_>> {
        let (entity, attr, value, mode) = match self {
            Self::AddTriple { entity, attr, value, mode }
            | Self::DeepMergeTriple { entity, attr, value, mode } => {
                (entity, attr, Some(value), *mode)
            }
            Self::UpdateTriple { entity, attr, operator, mode } => {
                (entity, attr, operator.operand(), *mode)
            }
            Self::RetractTriple { entity, attr, value }
            | Self::ExpectTriple { entity, attr, value } => (entity, attr, Some(value), None),
            _ => return None,
        };
        Some(TripleStep { entity, attr: *attr, value, mode })
    }

    pub(crate) const fn kind(&self) -> StepKind {
        match self {
            // Operators compose with plain writes, so they run where those do.
            Self::AddTriple { .. } | Self::UpdateTriple { .. } => StepKind::AddTriple,
            Self::DeepMergeTriple { .. } => StepKind::DeepMergeTriple,
            Self::RetractTriple { .. } => StepKind::RetractTriple,
            Self::DeleteEntity { .. } => StepKind::DeleteEntity,
            Self::RuleParams { .. } => StepKind::RuleParams,
            Self::ExpectTriple { .. } => StepKind::ExpectTriple,
            Self::AddAttr(_) => StepKind::AddAttr,
            Self::UpdateAttr(..) => StepKind::UpdateAttr,
            Self::DeleteAttr(_) => StepKind::DeleteAttr,
            Self::RestoreAttr(_) => StepKind::RestoreAttr,
        }
    }
}
