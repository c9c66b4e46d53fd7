//! Results and transactions of Rust types.

mod subscription;
mod transaction;

use tricedb_core::entity::{Entity, RowError};
use tricedb_core::query::{Query, QueryError};
use tricedb_sync::{QueryFailure, QueryResultSnapshot};

use crate::client::Client;
use crate::into_query::IntoQuery;

pub use subscription::TypedSubscription;

/// Why a query gave no entities of a type.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The query gave no result.
    #[error(transparent)]
    Query(#[from] QueryFailure),
    /// A row of the result is not what the type says.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The query does not ask for the type's namespace.
    #[error("the query does not ask for `{namespace}`: begin it with the type's own `query()`")]
    NotAsked {
        /// The namespace of the type.
        namespace: &'static str,
    },
}

impl From<QueryError> for ReadError {
    fn from(error: QueryError) -> Self {
        Self::Query(error.into())
    }
}

/// The query, if it asks for the entities.
pub(crate) fn asks<E: Entity>(query: impl IntoQuery) -> Result<Query, ReadError> {
    let query = query.into_query()?;
    if query.etypes().any(|etype| etype == E::NAMESPACE) {
        Ok(query)
    } else {
        Err(ReadError::NotAsked { namespace: E::NAMESPACE })
    }
}

/// The entities of a result.
pub(crate) fn entities<E: Entity>(result: &QueryResultSnapshot) -> Result<Vec<E>, RowError> {
    result.rows(E::NAMESPACE).iter().map(E::from_row).collect()
}

/// Reading entities of Rust types, which derive [`Entity`].
impl Client {
    /// Watches a query and gives its entities as `E`, with those links that the query asks for. Otherwise like
    /// [`Self::subscribe`].
    ///
    /// ```
    /// # use tricedb::{Client, Entity, EntityId};
    /// #[derive(Entity)]
    /// struct Todo {
    ///     id: EntityId,
    ///     title: String,
    ///     done: bool,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// let mut open = db.subscribe_as::<Todo>(Todo::query().filter(Todo::done().eq(false)))?;
    /// let milk = Todo { id: db.id(), title: "Buy milk".into(), done: false };
    /// db.transact(Todo::create(&milk))?;
    /// let todos = open.wait_for(|todos| !todos.is_empty()).await?;
    /// assert_eq!(todos[0].title, "Buy milk");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A malformed query, or one that does not ask for the namespace.
    pub fn subscribe_as<E: Entity>(
        &self,
        query: impl IntoQuery,
    ) -> Result<TypedSubscription<E>, ReadError> {
        Ok(TypedSubscription::new(self.subscribe(asks::<E>(query)?)?))
    }

    /// Asks the server for entities once. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn query_once_as<E: Entity>(
        &self,
        query: impl IntoQuery,
    ) -> Result<Vec<E>, ReadError> {
        let query = asks::<E>(query)?;
        Ok(entities(&*self.query_once(query).await?)?)
    }

    /// The entities that a query finds among everything that is held locally; see [`Self::query_local`].
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn query_local_as<E: Entity>(&self, query: impl IntoQuery) -> Result<Vec<E>, ReadError> {
        let query = asks::<E>(query)?;
        Ok(entities(&*self.query_local(query)?)?)
    }
}
