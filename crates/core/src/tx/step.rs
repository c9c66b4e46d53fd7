//! Tx-steps: what travels and what a server executes.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

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
    AddAttr,
    UpdateAttr,
    DeleteAttr,
    RestoreAttr,
}

impl TxStep {
    pub(crate) const fn kind(&self) -> StepKind {
        match self {
            Self::AddTriple { .. } => StepKind::AddTriple,
            Self::DeepMergeTriple { .. } => StepKind::DeepMergeTriple,
            Self::RetractTriple { .. } => StepKind::RetractTriple,
            Self::DeleteEntity { .. } => StepKind::DeleteEntity,
            Self::RuleParams { .. } => StepKind::RuleParams,
            Self::AddAttr(_) => StepKind::AddAttr,
            Self::UpdateAttr(..) => StepKind::UpdateAttr,
            Self::DeleteAttr(_) => StepKind::DeleteAttr,
            Self::RestoreAttr(_) => StepKind::RestoreAttr,
        }
    }
}
