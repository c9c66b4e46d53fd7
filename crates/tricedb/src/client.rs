//! The client.

use std::fmt::Display;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use tricedb_core::id::{AppId, EntityId};
use tricedb_core::tx::{EntityKey, TxBuilder, tx};
use tricedb_sync::{
    CloseError, QueryFailure, QueryResultSnapshot, Receipt, Subscription, SyncHandle, TransactError,
};
use uuid::Uuid;

use crate::builder::Builder;
use crate::config::Config;
use crate::into_query::IntoQuery;
use crate::into_transaction::IntoTransaction;
use crate::rooms::RoomDoor;
use crate::sync::SyncControl;
use tricedb_core::query::{Explanation, QueryError};

/// A database inside the program, kept in sync with a server.
///
/// Cheap to clone, usable from any thread. [`Self::close`] ends it properly; dropping the last clone does
/// the same in the background. Subscriptions and receipts do not keep it open.
#[derive(Clone, Debug)]
pub struct Client {
    app: AppId,
    handle: SyncHandle,
    config: Arc<Config>,
}

impl Client {
    /// Begins to open a client for an app, given by its id (an [`AppId`] or text).
    pub fn builder(app: impl Display) -> Builder {
        Builder::new(app)
    }

    pub(crate) fn new(app: AppId, handle: SyncHandle, config: Config) -> Self {
        Self { app, handle, config: Arc::new(config) }
    }

    /// The app.
    pub const fn app(&self) -> AppId {
        self.app
    }

    /// The settings that the client was opened with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A new id for an entity, never given out before.
    pub fn id(&self) -> EntityId {
        EntityId(Uuid::new_v4())
    }

    /// Queues a transaction: a chain of operations, several of them, or InstaML in JSON. It is not lazy:
    /// when this returns, its place in the queue is fixed, and it shows in every subscription; it is
    /// applied as a whole or not at all. The receipt only waits.
    ///
    /// ```
    /// # use serde_json::json;
    /// # use tricedb::{Client, tx};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// let (author, post) = (db.id(), db.id());
    /// let receipt = db.transact([
    ///     tx("users", author).create(json!({"name": "Ada", "postCount": 0})),
    ///     tx("posts", post).create(json!({"title": "New Post"})).link("author", author),
    /// ])?;
    /// receipt.local().await?;
    /// db.transact(json!([["update", "users", author, {"postCount": 1}]]))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`TransactError`]: it is malformed, contradicts what is known locally, or the queue is full. Nothing
    /// happened then.
    pub fn transact(&self, transaction: impl IntoTransaction) -> Result<Receipt, TransactError> {
        self.handle.transact(transaction.into_transaction()?)
    }

    /// Watches a query: a builder, a [`crate::Query`], or InstaQL in JSON. The first item is what is known already,
    /// if anything is; while the server is about to answer for the first time, that is awaited. Dropping
    /// the subscription ends it.
    ///
    /// ```
    /// # use serde_json::json;
    /// # use tricedb::Client;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// let mut todos = db.subscribe(json!({"todos": {"$": {"where": {"done": false}}}}))?;
    /// let result = todos.next().await.ok_or("closed")??;
    /// assert!(result.rows("todos").is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A malformed query.
    pub fn subscribe(&self, query: impl IntoQuery) -> Result<Subscription, QueryError> {
        Ok(self.handle.subscribe(&query.into_query()?))
    }

    /// Asks the server for a result once. Cancel-safe.
    ///
    /// # Errors
    /// [`QueryFailure`]: a malformed or refused query, no connection, or no answer within half a minute.
    pub async fn query_once(
        &self,
        query: impl IntoQuery,
    ) -> Result<Arc<QueryResultSnapshot>, QueryFailure> {
        let query = query.into_query()?;
        self.handle.query_once(&query).await
    }

    /// Evaluates a query at once on everything that is held locally, offline too.
    /// [`QueryResultSnapshot::is_complete`] tells whether the server gave this query's data; otherwise rows
    /// may be missing that no subscription ever asked for.
    ///
    /// # Errors
    /// A malformed query.
    pub fn query_local(
        &self,
        query: impl IntoQuery,
    ) -> Result<Arc<QueryResultSnapshot>, QueryError> {
        self.handle.query_local(&query.into_query()?)
    }

    /// Says how a query is answered on everything that is held locally, by running it: which indexes find
    /// rows, what orders them, how a subscription follows changes, and how much is looked at. Print it, or
    /// read its fields.
    ///
    /// ```
    /// # use tricedb::{Client, field, query};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// let explanation = db.explain(query("todos").filter(field("done").eq(false)).limit(20))?;
    /// println!("{explanation}");
    /// # assert_eq!(explanation.forms[0].form, "todos");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A malformed query.
    pub fn explain(&self, query: impl IntoQuery) -> Result<Explanation, QueryError> {
        self.handle.explain(&query.into_query()?)
    }

    /// A room, by its type and its id within that: who else is there, what they show, and what they tell in
    /// passing. [`RoomDoor::join`] enters it.
    pub const fn room<'a>(&'a self, kind: &'a str, id: &'a str) -> RoomDoor<'a> {
        RoomDoor::new(&self.handle, kind, id)
    }

    /// The connection, its events, and the queue.
    pub const fn sync(&self) -> SyncControl<'_> {
        SyncControl::new(&self.handle)
    }

    /// Writes everything, ends the connection and every stream, and frees everything. All clones are closed
    /// by it; closing twice is fine.
    ///
    /// # Errors
    /// [`CloseError`] if the local database could not be written; the client is closed all the same.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.handle.close().await
    }
}

/// Operations to put into [`Client::transact`], in the seed's style: by namespace for new entities, by id
/// alone for those that are known locally in exactly one namespace.
impl Client {
    /// Starts a chain of operations on one entity; the same as [`tx`](crate::tx).
    pub fn tx(&self, etype: &str, key: impl Into<EntityKey>) -> TxBuilder {
        tx(etype, key)
    }

    /// Creates an entity. An `id` among the values is its id; without one it gets a new id.
    ///
    /// ```
    /// # use serde_json::json;
    /// # use tricedb::Client;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
    /// let todo = db.id();
    /// db.transact(db.create("todos", json!({"id": todo, "title": "Buy milk"})))?;
    /// db.transact(db.update(todo, json!({"done": true}))?)?;
    /// db.transact(db.delete(todo)?)?;
    /// assert!(db.query_local(json!({"todos": {}}))?.rows("todos").is_empty());
    /// # Ok(()) }
    /// ```
    pub fn create(&self, etype: &str, values: Json) -> TxBuilder {
        let key = match values.as_object().and_then(|values: &Map<String, Json>| values.get("id")) {
            Some(Json::String(id)) => id.as_str().into(),
            Some(other) => other.to_string().into(),
            None => EntityKey::Id(self.id()),
        };
        tx(etype, key).create(values)
    }

    /// Writes values of a known entity.
    ///
    /// # Errors
    /// [`TransactError::UnknownNamespace`] if it is not known in exactly one.
    pub fn update(&self, id: EntityId, values: Json) -> Result<TxBuilder, TransactError> {
        Ok(tx(&self.namespace_of(id)?, id).update(values))
    }

    /// Merges objects into values of a known entity, key by key.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn merge(&self, id: EntityId, values: Json) -> Result<TxBuilder, TransactError> {
        Ok(tx(&self.namespace_of(id)?, id).merge(values))
    }

    /// Deletes a known entity.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn delete(&self, id: EntityId) -> Result<TxBuilder, TransactError> {
        Ok(tx(&self.namespace_of(id)?, id).delete())
    }

    /// Links a known entity under a label to another.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn link(
        &self,
        id: EntityId,
        label: &str,
        target: impl Into<EntityKey>,
    ) -> Result<TxBuilder, TransactError> {
        Ok(tx(&self.namespace_of(id)?, id).link(label, target))
    }

    /// Removes the link of a known entity under a label to another.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub fn unlink(
        &self,
        id: EntityId,
        label: &str,
        target: impl Into<EntityKey>,
    ) -> Result<TxBuilder, TransactError> {
        Ok(tx(&self.namespace_of(id)?, id).unlink(label, target))
    }

    fn namespace_of(&self, id: EntityId) -> Result<Arc<str>, TransactError> {
        let mut namespaces = self.handle.namespaces_of(id);
        let unknown = |reason| TransactError::UnknownNamespace { entity: id.to_string(), reason };
        match (namespaces.pop(), namespaces.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(_), false) => Err(unknown("it is in several; name one with `tx`")),
            (None, _) => Err(unknown("it is not known locally; name one with `tx`")),
        }
    }
}
