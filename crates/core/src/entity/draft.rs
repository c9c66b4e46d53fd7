//! What a new entity begins with.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::id::EntityId;
use crate::tx::{EntityKey, LinkTargets, all_data};

/// A value that JSON cannot hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{label}` cannot be written as JSON: {reason}")]
pub struct EncodeError {
    label: String,
    reason: String,
}

impl EncodeError {
    pub(super) fn new(label: &str, error: &serde_json::Error) -> Self {
        Self { label: label.to_owned(), reason: error.to_string() }
    }

    /// The attribute.
    pub fn label(&self) -> &str {
        &self.label
    }
}

/// The values and links of a new entity; [`super::Entity::write`] fills it.
#[derive(Debug, Default)]
pub struct Draft {
    values: Map<String, Json>,
    links: Vec<LinkTargets>,
    failure: Option<EncodeError>,
}

impl Draft {
    /// Notes a value. Null is left out.
    pub fn value(&mut self, label: &str, value: &(impl Serialize + ?Sized)) {
        self.encoded(label, serde_json::to_value(value));
    }

    /// Notes a value as its own function wrote it.
    pub fn encoded(&mut self, label: &str, value: Result<Json, serde_json::Error>) {
        match value {
            Ok(Json::Null) => {}
            Ok(value) => drop(self.values.insert(label.to_owned(), value)),
            Err(error) => self.failure = Some(EncodeError::new(label, &error)),
        }
    }

    /// Notes links to entities.
    pub fn link(&mut self, label: &str, targets: impl IntoIterator<Item = EntityId>) {
        let targets: Vec<EntityKey> = targets.into_iter().map(EntityKey::Id).collect();
        if !targets.is_empty() {
            self.links.push(LinkTargets { label: label.into(), targets });
        }
    }

    /// The values, as data in the form in which operators are possible, and the links.
    pub(super) fn finish(self) -> Result<(Map<String, Json>, Vec<LinkTargets>), EncodeError> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok((all_data(self.values), self.links)),
        }
    }
}

/// A value that is data, whatever it looks like.
pub(super) fn data(value: Json) -> Json {
    let mut fields = all_data(Map::from_iter([(String::new(), value)]));
    fields.remove("").unwrap_or_default()
}
