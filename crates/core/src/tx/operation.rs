//! Operations as users write them: by namespace and label.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::operation_json::parse_lookup_text;
use super::operator::Operator;
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

/// A UUID, or InstantDB's text form of a lookup, `lookup__ATTR__JSON`.
impl From<&str> for EntityKey {
    fn from(text: &str) -> Self {
        if let Some(id) = EntityId::parse(text) {
            return Self::Id(id);
        }
        match parse_lookup_text(text) {
            Some(Ok(key)) => key,
            Some(Err(_)) | None => Self::Invalid(text.into()),
        }
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
///
/// Where attributes are written, a value that is an object with one operator as its only key is that
/// [`super::Operator`], and `{"$literal": x}` is the data `x`.
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
    /// Refuses the transaction unless the entity has these values before it; null stands for none.
    Expect(Map<String, Json>),
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
    fn then(mut self, action: Action) -> Self {
        let operation = Operation { etype: self.etype.clone(), key: self.key.clone(), action };
        self.operations.push(operation);
        self
    }

    /// Creates the entity with these attributes; refused if it exists.
    pub fn create(self, args: Json) -> Self {
        self.then(Action::Create(fields(args)))
    }

    /// Writes these attributes; a write to an entity that is known locally does not resurrect it if
    /// somebody else deleted it meanwhile.
    pub fn update(self, args: Json) -> Self {
        self.then(Action::Update(fields(args), UpdateMode::Auto))
    }

    /// Writes these attributes in the given mode.
    pub fn update_with(self, args: Json, mode: UpdateMode) -> Self {
        self.then(Action::Update(fields(args), mode))
    }

    /// Merges objects into these attributes, key by key; null removes a key.
    pub fn merge(self, args: Json) -> Self {
        self.then(Action::Merge(fields(args), UpdateMode::Auto))
    }

    /// [`Self::merge`] in the given mode.
    pub fn merge_with(self, args: Json, mode: UpdateMode) -> Self {
        self.then(Action::Merge(fields(args), mode))
    }

    /// Links the entity under several labels at once.
    pub fn links(self, links: Vec<LinkTargets>) -> Self {
        self.then(Action::Link(links))
    }

    /// Removes links under several labels at once.
    pub fn unlinks(self, links: Vec<LinkTargets>) -> Self {
        self.then(Action::Unlink(links))
    }

    /// Links the entity under a label to a target.
    pub fn link(self, label: &str, target: impl Into<EntityKey>) -> Self {
        self.link_all(label, [target.into()])
    }

    /// Links the entity under a label to several targets.
    pub fn link_all(self, label: &str, targets: impl IntoIterator<Item = EntityKey>) -> Self {
        self.then(Action::Link(vec![LinkTargets {
            label: label.into(),
            targets: targets.into_iter().collect(),
        }]))
    }

    /// Removes the link under a label to a target.
    pub fn unlink(self, label: &str, target: impl Into<EntityKey>) -> Self {
        self.then(Action::Unlink(vec![LinkTargets {
            label: label.into(),
            targets: vec![target.into()],
        }]))
    }

    /// Deletes the entity in this namespace.
    pub fn delete(self) -> Self {
        self.then(Action::Delete)
    }

    /// Refuses the whole transaction unless the entity has this value before it; null stands for no value,
    /// and a link's value is the id of its target.
    ///
    /// ```
    /// use serde_json::json;
    /// use tricedb_core::tx::tx;
    ///
    /// let lock = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a001";
    /// let _ = tx("locks", lock).expect("owner", json!(null)).update(json!({"owner": "me"}));
    /// ```
    pub fn expect(self, label: &str, value: impl Into<Json>) -> Self {
        self.then(Action::Expect(Map::from_iter([(label.to_owned(), value.into())])))
    }

    fn change(self, label: &str, operator: &Operator) -> Self {
        self.update(json!({ label: operator.to_json() }))
    }

    /// Adds to a number; a missing one counts as 0.
    pub fn increment(self, label: &str, by: impl Into<Json>) -> Self {
        self.update(json!({ label: { "$increment": by.into() } }))
    }

    /// Takes from a number; a missing one counts as 0.
    pub fn decrement(self, label: &str, by: impl Into<Json>) -> Self {
        self.update(json!({ label: { "$decrement": by.into() } }))
    }

    /// Multiplies a number; a missing one counts as 1.
    pub fn multiply(self, label: &str, by: impl Into<Json>) -> Self {
        self.update(json!({ label: { "$multiply": by.into() } }))
    }

    /// Lowers a number, string or date to this one, if this one is less.
    pub fn min(self, label: &str, value: impl Into<Json>) -> Self {
        self.update(json!({ label: { "$min": value.into() } }))
    }

    /// Raises a number, string or date to this one, if this one is greater.
    pub fn max(self, label: &str, value: impl Into<Json>) -> Self {
        self.update(json!({ label: { "$max": value.into() } }))
    }

    /// Appends to an array.
    pub fn push(self, label: &str, item: impl Into<Json>) -> Self {
        self.change(label, &Operator::Push(Value::from_json(item.into())))
    }

    /// Appends to an array what it does not hold yet.
    pub fn add_to_set(self, label: &str, item: impl Into<Json>) -> Self {
        self.change(label, &Operator::AddToSet(Value::from_json(item.into())))
    }

    /// Removes every equal item of an array.
    pub fn pull(self, label: &str, item: impl Into<Json>) -> Self {
        self.change(label, &Operator::Pull(Value::from_json(item.into())))
    }

    /// Writes a value only if there is none.
    pub fn set_once(self, label: &str, value: impl Into<Json>) -> Self {
        self.change(label, &Operator::SetOnce(Value::from_json(value.into())))
    }

    /// Writes the server's time at the commit, in milliseconds since 1970.
    pub fn server_time(self, label: &str) -> Self {
        self.change(label, &Operator::ServerTime)
    }

    /// Gives parameters to permission rules.
    pub fn rule_params(self, params: Json) -> Self {
        self.then(Action::RuleParams(fields(params)))
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
