//! Reading entities from rows.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::Entity;
use super::link::{LinkFault, LinkType};
use crate::id::EntityId;

/// A row that is not what its Rust type says.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{namespace} {}, field `{field}`: {reason}", Shown(.entity))]
pub struct RowError {
    /// The namespace of the entity that does not fit.
    pub namespace: &'static str,
    /// That entity, if it could be told.
    pub entity: Option<EntityId>,
    /// Its attribute or link.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// The links that lead to the entity from the row that was read, outermost first.
    pub through: Vec<String>,
}

struct Shown<'a>(&'a Option<EntityId>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(id) => write!(f, "{id}"),
            None => f.write_str("without an id"),
        }
    }
}

/// Reads the fields of one row; what `#[derive(Entity)]` writes uses it.
#[derive(Debug)]
pub struct RowReader<'a> {
    namespace: &'static str,
    entity: Option<EntityId>,
    row: &'a Map<String, Json>,
}

impl<'a> RowReader<'a> {
    /// A row of this namespace.
    ///
    /// # Errors
    /// JSON that is no object.
    pub fn new(namespace: &'static str, row: &'a Json) -> Result<Self, RowError> {
        let id = row.get("id").and_then(Json::as_str).and_then(EntityId::parse);
        match row {
            Json::Object(row) => Ok(Self { namespace, entity: id, row }),
            other => Err(RowError {
                namespace,
                entity: None,
                field: "id".to_owned(),
                reason: format!("a row is an object, and this is {other}"),
                through: Vec::new(),
            }),
        }
    }

    fn error(&self, label: &str, reason: impl std::fmt::Display) -> RowError {
        RowError {
            namespace: self.namespace,
            entity: self.entity,
            field: label.to_owned(),
            reason: reason.to_string(),
            through: Vec::new(),
        }
    }

    /// The entity's id.
    ///
    /// # Errors
    /// There is none.
    pub fn id<I: From<EntityId>>(&self) -> Result<I, RowError> {
        self.entity.map(I::from).ok_or_else(|| self.error("id", "it has no id"))
    }

    /// A value. What is missing reads like null.
    ///
    /// # Errors
    /// A value that does not fit the type.
    pub fn value<T: DeserializeOwned>(&self, label: &str) -> Result<T, RowError> {
        match self.row.get(label) {
            Some(json) => T::deserialize(json).map_err(|error| self.error(label, error)),
            None => T::deserialize(Json::Null).map_err(|_| {
                self.error(label, "it has no value, and the type is no `Option` and has no default")
            }),
        }
    }

    /// A value, or a default for what is missing or null.
    ///
    /// # Errors
    /// A value that does not fit the type.
    pub fn value_or<T: DeserializeOwned>(
        &self,
        label: &str,
        default: impl FnOnce() -> T,
    ) -> Result<T, RowError> {
        match self.row.get(label) {
            None | Some(Json::Null) => Ok(default()),
            Some(_) => self.value(label),
        }
    }

    /// A value that a function of its own reads; null for what is missing.
    ///
    /// # Errors
    /// Those of the function.
    pub fn value_with<T>(
        &self,
        label: &str,
        read: impl FnOnce(&Json) -> Result<T, serde_json::Error>,
    ) -> Result<T, RowError> {
        read(self.row.get(label).unwrap_or(&Json::Null)).map_err(|error| self.error(label, error))
    }

    /// Whether a value is missing or null.
    pub fn lacks(&self, label: &str) -> bool {
        self.row.get(label).is_none_or(Json::is_null)
    }

    /// The entities behind a link.
    ///
    /// # Errors
    /// One of them that does not fit, or another number of them.
    pub fn link<L: LinkType>(&self, label: &str) -> Result<L, RowError> {
        L::from_link(self.row.get(label)).map_err(|fault| match fault {
            LinkFault::Row(mut error) => {
                error.through.insert(0, label.to_owned());
                *error
            }
            LinkFault::Shape(reason) => self.error(label, reason),
        })
    }
}

impl RowError {
    /// The rows of a namespace in a result, as entities.
    ///
    /// # Errors
    /// The first that does not fit.
    pub fn read_all<E: Entity>(rows: &[Json]) -> Result<Vec<E>, Self> {
        rows.iter().map(E::from_row).collect()
    }
}
