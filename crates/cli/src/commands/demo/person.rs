//! A client of the demo and what it sees.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use tricedb::{
    Client, CloseError, IntoTransaction, OpenError, PendingState, QueryError, Subscription,
    SyncedError, TransactError,
};
use tricedb_core::id::AppId;

/// Why a client of the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PersonError {
    #[error("cannot open a client")]
    Open(#[from] OpenError),
    #[error("the query is refused")]
    Query(#[from] QueryError),
    #[error("a write is refused by its own client")]
    Write(#[from] TransactError),
    #[error("a write does not reach the server")]
    Sync(#[from] SyncedError),
    #[error("a client cannot close")]
    Close(#[from] CloseError),
    #[error("a client ended")]
    Ended,
}

/// Somebody with a client of their own.
pub(crate) struct Person {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    todos: Subscription,
}

impl Person {
    /// Opens a client, on a file or in memory, and watches all todos. Does not wait for the server.
    pub(crate) async fn open(
        name: &'static str,
        app: AppId,
        url: &str,
        file: Option<PathBuf>,
    ) -> Result<Self, PersonError> {
        let builder = Client::builder(app).url(url);
        let builder = match file {
            Some(file) => builder.path(file),
            None => builder.in_memory(),
        };
        let client = builder.open().await?;
        let todos = client.subscribe(json!({ "todos": {} }))?;
        Ok(Self { name, client, todos })
    }

    /// Writes; shown at once.
    pub(crate) fn write(&self, transaction: impl IntoTransaction) -> Result<(), PersonError> {
        self.client.transact(transaction)?;
        Ok(())
    }

    /// The todos as this client shows them now.
    pub(crate) fn sees(&self) -> Vec<Json> {
        self.todos.current().map_or_else(Vec::new, |shown| shown.rows("todos").to_vec())
    }

    /// One todo as this client shows it now.
    pub(crate) fn todo(&self, id: &str) -> Option<Json> {
        find(&self.sees(), id).cloned()
    }

    /// Waits until the client shows what is asked.
    pub(crate) async fn wait_for(
        &mut self,
        mut condition: impl FnMut(&[Json]) -> bool,
    ) -> Result<(), PersonError> {
        let shown = self.todos.wait_for(|shown| condition(shown.rows("todos"))).await;
        shown.map(drop).map_err(|_| PersonError::Ended)
    }

    /// Waits until the connection is up, or until it is not.
    pub(crate) async fn online(&self, wanted: bool) -> Result<(), PersonError> {
        let mut status = self.client.sync().status();
        let status = status.wait_for(|status| status.is_online() == wanted).await;
        status.map(drop).map_err(|_| PersonError::Ended)
    }

    /// Writes that the server has not answered yet.
    pub(crate) fn waiting(&self) -> usize {
        let pending = self.client.sync().pending().current();
        let waits = |state| matches!(state, PendingState::Queued | PendingState::Sent);
        pending.iter().filter(|transaction| waits(transaction.state)).count()
    }

    /// Waits until the server has answered every write, and tells those that it refused.
    pub(crate) async fn settled(&self) -> Vec<String> {
        let mut pending = self.client.sync().pending();
        pending.settled().await;
        let rejected = pending.current().into_iter();
        let rejected = rejected.filter(|transaction| transaction.state == PendingState::Rejected);
        rejected.map(|t| t.last_error.map_or_else(String::new, |error| error.to_string())).collect()
    }
}

/// One todo of a list.
pub(crate) fn find<'a>(todos: &'a [Json], id: &str) -> Option<&'a Json> {
    todos.iter().find(|todo| todo["id"] == *id)
}
