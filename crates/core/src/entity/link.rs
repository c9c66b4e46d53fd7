//! Links by name and Rust type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde_json::Value as Json;
use uuid::Uuid;

use super::Entity;
use super::field::Field;
use super::filters::FieldPath;
use super::reader::RowError;
use crate::attr::Cardinality;
use crate::id::EntityId;
use crate::query::{Filter, QueryBuilder, field, query};
use crate::tx::EntityKey;

/// A link from the entities `E` to the entities `T`; `#[derive(Entity)]` makes one for each link field.
pub struct Link<E, T> {
    path: String,
    marker: PhantomData<fn() -> (E, T)>,
}

impl<E, T> Clone for Link<E, T> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), marker: PhantomData }
    }
}

impl<E, T> fmt::Debug for Link<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.path)
    }
}

impl<E, T> Link<E, T> {
    /// The link of this name.
    pub fn new(label: &str) -> Self {
        Self { path: label.to_owned(), marker: PhantomData }
    }

    /// The link's name, or names with dots between.
    pub fn label(&self) -> &str {
        &self.path
    }

    /// Gives the linked entities below each entity: `Todo::query().with(Todo::owner().include())`. What it gives
    /// takes filters, an order and links of its own.
    pub fn include(self) -> QueryBuilder {
        query(self.path)
    }

    /// An attribute of the linked entities, for filters.
    pub fn then<V>(self, field: Field<T, V>) -> FieldPath<E, V> {
        FieldPath::new(format!("{}.{}", self.path, field.label()))
    }

    /// A link of the linked entities, for filters.
    pub fn through<V>(self, link: Link<T, V>) -> Link<E, V> {
        Link { path: format!("{}.{}", self.path, link.path), marker: PhantomData }
    }

    /// Links to this entity.
    pub fn is(self, target: impl Target<T>) -> Filter {
        match target.key() {
            EntityKey::Id(id) => field(self.path).eq(id.to_string()),
            EntityKey::Lookup { label, value } => {
                field(format!("{}.{label}", self.path)).eq(value.to_json())
            }
            // No entity has such an id.
            EntityKey::Invalid(text) => field(self.path).eq(text.to_string()),
        }
    }

    /// Links to none.
    pub fn is_null(self) -> Filter {
        field(self.path).is_null()
    }

    /// Links to some.
    pub fn is_not_null(self) -> Filter {
        field(self.path).is_not_null()
    }
}

/// What can be linked to where a `T` is expected: the entity, its id, or a lookup.
pub trait Target<T> {
    /// The entity.
    fn key(self) -> EntityKey;
}

impl<T: Entity> Target<T> for &T {
    fn key(self) -> EntityKey {
        self.entity_id().into()
    }
}

macro_rules! targets {
    ($($type:ty),+) => { $(
        impl<T> Target<T> for $type {
            fn key(self) -> EntityKey {
                self.into()
            }
        }
    )+ };
}

targets!(EntityId, EntityKey, Uuid);

/// The type of a field that shows a link: `Vec<T>` for links to many, `Option<T>`, `Option<Box<T>>` or `Box<T>` for links
/// to one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot show a link",
    note = "links are `Vec<T>` (to many), `Option<T>`, `Option<Box<T>>` or `Box<T>` (to one), where `T` derives `Entity`"
)]
pub trait LinkType: Sized {
    /// What is linked.
    type Target: Entity;

    /// How many can be linked.
    const HAS: Cardinality;

    /// Whether there must be one.
    const REQUIRED: bool;

    /// Reads the link of a row; `json` is what stands under its name, if anything does.
    ///
    /// # Errors
    /// A row that does not fit, or another number of them.
    fn from_link(json: Option<&Json>) -> Result<Self, LinkFault>;

    /// The linked entities.
    fn ids(&self) -> Vec<EntityId>;
}

/// Why a link does not fit.
#[derive(Debug)]
pub enum LinkFault {
    /// One of the linked rows does not.
    Row(Box<RowError>),
    /// Something else stands there.
    Shape(String),
}

impl From<RowError> for LinkFault {
    fn from(error: RowError) -> Self {
        Self::Row(Box::new(error))
    }
}

/// One linked entity: `T`, `Box<T>` or `Arc<T>`.
pub trait LinkOne: Sized {
    /// What is linked.
    type Target: Entity;

    /// Reads it.
    ///
    /// # Errors
    /// A row that does not fit.
    fn from_target(row: &Json) -> Result<Self, RowError>;

    /// Its id.
    fn target_id(&self) -> EntityId;
}

macro_rules! holders {
    ($($holder:ident),+) => { $(
        impl<L: LinkOne> LinkOne for $holder<L> {
            type Target = L::Target;

            fn from_target(row: &Json) -> Result<Self, RowError> {
                L::from_target(row).map(Self::new)
            }

            fn target_id(&self) -> EntityId {
                L::target_id(self)
            }
        }

        impl<L: LinkOne> LinkType for $holder<L> {
            type Target = L::Target;
            const HAS: Cardinality = Cardinality::One;
            const REQUIRED: bool = true;

            fn from_link(json: Option<&Json>) -> Result<Self, LinkFault> {
                required(json).and_then(|row| Ok(Self::from_target(row)?))
            }

            fn ids(&self) -> Vec<EntityId> {
                vec![self.target_id()]
            }
        }
    )+ };
}

holders!(Box, Arc);

impl<L: LinkOne> LinkType for Option<L> {
    type Target = L::Target;
    const HAS: Cardinality = Cardinality::One;
    const REQUIRED: bool = false;

    fn from_link(json: Option<&Json>) -> Result<Self, LinkFault> {
        match json {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Array(rows)) if rows.is_empty() => Ok(None),
            some => required(some).and_then(|row| Ok(Some(L::from_target(row)?))),
        }
    }

    fn ids(&self) -> Vec<EntityId> {
        self.iter().map(L::target_id).collect()
    }
}

impl<L: LinkOne> LinkType for Vec<L> {
    type Target = L::Target;
    const HAS: Cardinality = Cardinality::Many;
    const REQUIRED: bool = false;

    fn from_link(json: Option<&Json>) -> Result<Self, LinkFault> {
        match json {
            None | Some(Json::Null) => Ok(Self::new()),
            Some(Json::Array(rows)) => rows.iter().map(|row| Ok(L::from_target(row)?)).collect(),
            // To one by the app's schema.
            Some(row) => Ok(vec![L::from_target(row)?]),
        }
    }

    fn ids(&self) -> Vec<EntityId> {
        self.iter().map(L::target_id).collect()
    }
}

/// The row of a link to exactly one. An app whose schema does not know that it is to one gives arrays.
fn required(json: Option<&Json>) -> Result<&Json, LinkFault> {
    match json {
        Some(Json::Array(rows)) => match rows.as_slice() {
            [row] => Ok(row),
            [] => Err(LinkFault::Shape("nothing is linked, and the type wants one".to_owned())),
            rows => Err(LinkFault::Shape(format!(
                "{} entities are linked, and the type takes one: push the schema, or make the field a `Vec`",
                rows.len()
            ))),
        },
        Some(row @ Json::Object(_)) => Ok(row),
        Some(_) => {
            Err(LinkFault::Shape("something else than linked entities stands there".to_owned()))
        }
        None => Err(LinkFault::Shape(
            "nothing is linked, or the query did not ask for the link (`.with(..)`)".to_owned(),
        )),
    }
}
