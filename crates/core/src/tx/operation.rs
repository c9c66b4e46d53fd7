//! Operations as users write them: by namespace and label.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use crate::id::EntityId;
use crate::value::Value;

/// What an operation is about: an entity by id, or by the value of a unique attribute.
#[derive(Clone, PartialEq, Debug)]
pub enum EntityKey {
    /// The entity with this id.
    Id(EntityId),
    /// The entity whose attribute has this value. A label `link.id` looks up by a link's target.
    Lookup {
        /// Label of a unique attribute of the namespace.
        label: Arc<str>,
        /// The value looked for.
        value: Value,
    },
    /// Text that is neither; kept so that the error can name it.
    Invalid(Arc<str>),
}

impl From<EntityId> for EntityKey {
    fn from(id: EntityId) -> Self {
        Self::Id(id)
    }
}

impl From<uuid::Uuid> for EntityKey {
    fn from(id: uuid::Uuid) -> Self {
        Self::Id(EntityId(id))
    }
}

impl From<&str> for EntityKey {
    fn from(text: &str) -> Self {
        EntityId::parse(text).map_or_else(|| Self::Invalid(text.into()), Self::Id)
    }
}

impl From<&String> for EntityKey {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for EntityKey {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

/// The entity whose unique attribute `label` has this value; usable wherever an id is.
pub fn lookup(label: &str, value: impl Into<Json>) -> EntityKey {
    EntityKey::Lookup { label: label.into(), value: Value::from_json(value.into()) }
}

/// What to do when the entity exists already, or does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum UpdateMode {
    /// Strict if the entity is known locally when the operation is queued, else upsert.
    #[default]
    Auto,
    /// Refuse if the entity does not exist (`upsert: false`).
    Strict,
    /// Write in any case (`upsert: true`).
    Upsert,
}

/// The targets of one label in a link or unlink.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkTargets {
    /// The link's label, forward or reverse.
    pub label: Arc<str>,
    /// The entities to link.
    pub targets: Vec<EntityKey>,
}

/// What an operation does.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// New entity; refused if it exists in the namespace.
    Create(Map<String, Json>),
    /// Writes attributes.
    Update(Map<String, Json>, UpdateMode),
    /// Merges objects into attributes, deeply.
    Merge(Map<String, Json>, UpdateMode),
    /// Adds links.
    Link(Vec<LinkTargets>),
    /// Removes links.
    Unlink(Vec<LinkTargets>),
    /// Deletes the entity in this namespace, its links on both sides, and cascades.
    Delete,
    /// Parameters for permission rules; writes nothing.
    RuleParams(Map<String, Json>),
}

/// One operation on one entity.
///
/// Serialises to InstaML's JSON form, `["update", "posts", "<id>", {…}, {"upsert": false}]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation {
    /// The namespace.
    pub etype: Arc<str>,
    /// The entity.
    pub key: EntityKey,
    /// What to do.
    pub action: Action,
}

/// Starts a chain of operations on one entity.
///
/// ```
/// use serde_json::json;
/// use tricedb_core::tx::tx;
///
/// let post = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a001";
/// let author = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a002";
/// let ops = tx("posts", post).create(json!({"title": "Hello"})).link("author", author).into_operations();
/// assert_eq!(ops.len(), 2);
/// ```
pub fn tx(etype: &str, key: impl Into<EntityKey>) -> TxBuilder {
    TxBuilder { etype: etype.into(), key: key.into(), operations: Vec::new() }
}

/// A chain of operations on one entity; made by [`tx`].
#[derive(Clone, PartialEq, Debug)]
#[must_use = "a chain does nothing until it is transacted"]
pub struct TxBuilder {
    etype: Arc<str>,
    key: EntityKey,
    operations: Vec<Operation>,
}

/// The fields of an argument object. Anything but an object becomes one field that no attribute can
/// have, which the expansion refuses.
fn fields(args: Json) -> Map<String, Json> {
    match args {
        Json::Object(map) => map,
        other => Map::from_iter([(String::new(), other)]),
    }
}

impl TxBuilder {
    fn push(mut self, action: Action) -> Self {
        let operation = Operation { etype: self.etype.clone(), key: self.key.clone(), action };
        self.operations.push(operation);
        self
    }

    /// Creates the entity with these attributes; refused if it exists.
    pub fn create(self, args: Json) -> Self {
        self.push(Action::Create(fields(args)))
    }

    /// Writes these attributes; a write to an entity that is known locally does not resurrect it if
    /// somebody else deleted it meanwhile.
    pub fn update(self, args: Json) -> Self {
        self.push(Action::Update(fields(args), UpdateMode::Auto))
    }

    /// Writes these attributes in the given mode.
    pub fn update_with(self, args: Json, mode: UpdateMode) -> Self {
        self.push(Action::Update(fields(args), mode))
    }

    /// Merges objects into these attributes, key by key; null removes a key.
    pub fn merge(self, args: Json) -> Self {
        self.push(Action::Merge(fields(args), UpdateMode::Auto))
    }

    /// Links the entity under a label to a target.
    pub fn link(self, label: &str, target: impl Into<EntityKey>) -> Self {
        self.link_all(label, [target.into()])
    }

    /// Links the entity under a label to several targets.
    pub fn link_all(self, label: &str, targets: impl IntoIterator<Item = EntityKey>) -> Self {
        self.push(Action::Link(vec![LinkTargets {
            label: label.into(),
            targets: targets.into_iter().collect(),
        }]))
    }

    /// Removes the link under a label to a target.
    pub fn unlink(self, label: &str, target: impl Into<EntityKey>) -> Self {
        self.push(Action::Unlink(vec![LinkTargets {
            label: label.into(),
            targets: vec![target.into()],
        }]))
    }

    /// Deletes the entity in this namespace.
    pub fn delete(self) -> Self {
        self.push(Action::Delete)
    }

    /// Gives parameters to permission rules.
    pub fn rule_params(self, params: Json) -> Self {
        self.push(Action::RuleParams(fields(params)))
    }

    /// The operations, in order.
    pub fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}

impl IntoIterator for TxBuilder {
    type Item = Operation;
    type IntoIter = std::vec::IntoIter<Operation>;

    fn into_iter(self) -> Self::IntoIter {
        self.operations.into_iter()
    }
}
