//! Rust structs as the entities of a namespace.
//!
//! [`Entity`] is what `#[derive(Entity)]` (package `tricedb-derive`) implements. It gives a struct its schema
//! ([`crate::schema::Schema::builder`]), reads it from the rows of a query ([`Entity::from_row`]), and writes it by typed
//! operations ([`Entity::create`], [`tx_of`]). Attributes are named by [`Field`]s and links by [`Link`]s, which the
//! derive makes: `Todo::title().like("%milk%")`, `Todo::likes().increment(1)`.

mod change;
mod date;
mod draft;
mod field;
mod filters;
mod link;
mod operand;
mod reader;
mod typed_tx;

pub use change::Change;
pub use date::Date;
pub use draft::{Draft, EncodeError};
pub use field::{Field, FieldType, Items, Number, Ordered, Own, Time};
pub use filters::FieldPath;
pub use link::{Link, LinkFault, LinkOne, LinkType, Target};
pub use operand::Operand;
pub use reader::{RowError, RowReader};
pub use typed_tx::{EntityTx, tx_of};

use serde_json::Value as Json;

/// What the code that `#[derive(Entity)]` makes needs besides this module.
#[doc(hidden)]
pub mod made {
    pub use serde_json::Value as Json;
    pub use serde_json::value::Serializer as JsonSerializer;

    pub use crate::attr::CheckedType;
    pub use crate::id::EntityId;
    pub use crate::schema::{AttrDef, LinkDef, LinkSide, SchemaBuilder};
}

use crate::id::EntityId;
use crate::query::{QueryBuilder, query};
use crate::schema::SchemaBuilder;
use crate::tx::EntityKey;

/// A struct that stands for the entities of a namespace. Derive it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no entity",
    note = "derive it: `#[derive(Entity)]` on a struct with an `id` field"
)]
pub trait Entity: Sized {
    /// The namespace.
    const NAMESPACE: &'static str;

    /// The entity's id.
    fn entity_id(&self) -> EntityId;

    /// Reads an entity from a row of a query's result, with those links that the query asked for.
    ///
    /// # Errors
    /// Which field of which entity does not fit, and why.
    fn from_row(row: &Json) -> Result<Self, RowError>;

    /// Writes down the values and links that a new entity begins with.
    fn write(&self, draft: &mut Draft);

    /// Adds the namespace and its links to a schema.
    fn define(schema: SchemaBuilder) -> SchemaBuilder;

    /// Asks for the entities of the namespace.
    fn query() -> QueryBuilder {
        query(Self::NAMESPACE)
    }

    /// Creates the entity with its values, and links it to the entities that its link fields hold. Those are
    /// not created or changed. Empty options are not written.
    fn create(entity: &Self) -> EntityTx<Self> {
        EntityTx::create(entity)
    }

    /// Starts operations on one entity, given by its id or a lookup.
    fn tx(key: impl Into<EntityKey>) -> EntityTx<Self> {
        EntityTx::new(key.into())
    }
}
