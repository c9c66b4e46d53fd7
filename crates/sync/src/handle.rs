//! What a program holds.

use std::sync::Arc;

use tokio::sync::watch;
use tricedb_core::id::{EntityId, EventId};
use tricedb_core::query::{Explanation, Query, QueryError};
use tricedb_core::tx::Operation;
use tricedb_protocol::PresenceData;

use crate::engine::{
    ConnectionStatus, PendingTransaction, QueryFailure, QueryResultSnapshot, QueueError,
    RetryError, RoomError, TransactError,
};
use crate::mailbox::SyncEvents;
use crate::receipt::Receipt;
use crate::rooms::RoomHandle;
use crate::shared::Shared;
use crate::watching::Subscription;

/// Reads, writes and steers a client. Cheap to clone; when the last clone goes, the client closes in the
/// background.
#[derive(Clone, Debug)]
pub struct SyncHandle {
    life: Arc<Life>,
}

/// Ends the client with the last handle.
#[derive(Debug)]
struct Life(Arc<Shared>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.with(|engine, now| engine.close(now));
    }
}

/// Why a client did not close well.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// The storage failed: changes since the last successful write are lost.
    #[error("the local database could not be written or closed: {message}")]
    Storage {
        /// What failed.
        message: Arc<str>,
    },
}

impl SyncHandle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { life: Arc::new(Life(shared)) }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.life.0
    }

    /// Queues a transaction. When this returns, its place in the queue is fixed and every subscription
    /// shows it; the receipt only waits.
    ///
    /// # Errors
    /// [`TransactError`]; nothing happened then.
    pub fn transact(&self, operations: Vec<Operation>) -> Result<Receipt, TransactError> {
        self.shared().queue(|engine, now| engine.transact(now, operations))
    }

    /// Watches a query.
    pub fn subscribe(&self, query: &Query) -> Subscription {
        self.shared().watch(query)
    }

    /// Asks the server once. Cancel-safe.
    ///
    /// # Errors
    /// [`QueryFailure`]: when offline at once, else within half a minute.
    pub async fn query_once(
        &self,
        query: &Query,
    ) -> Result<Arc<QueryResultSnapshot>, QueryFailure> {
        let answer = self.shared().ask_once(query)?;
        answer.await.unwrap_or(Err(QueryFailure::Closed))
    }

    /// Evaluates a query on everything that the client holds.
    ///
    /// # Errors
    /// A data attribute used as a link.
    pub fn query_local(&self, query: &Query) -> Result<Arc<QueryResultSnapshot>, QueryError> {
        self.shared().with(|engine, now| engine.query_local(now, query))
    }

    /// Says how a query is answered on everything that the client holds, by running it.
    ///
    /// # Errors
    /// A data attribute used as a link.
    pub fn explain(&self, query: &Query) -> Result<Explanation, QueryError> {
        self.shared().with(|engine, now| engine.explain(now, query))
    }

    /// The namespaces in which an entity is known locally, sorted.
    pub fn namespaces_of(&self, entity: EntityId) -> Vec<Arc<str>> {
        self.shared().with(|engine, _| engine.namespaces_of(entity))
    }

    /// Where the connection stands, now and later.
    pub fn status(&self) -> watch::Receiver<ConnectionStatus> {
        self.shared().status.subscribe()
    }

    /// Why there is no session, in words; `None` while there is one, or before the first failure.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.shared().step(|engine, _| engine.trouble())
    }

    /// What happens from now on.
    pub fn events(&self) -> SyncEvents {
        self.shared().listen()
    }

    /// The list of transactions that are not settled.
    pub fn pending(&self) -> PendingList {
        let changes = self.shared().queue.subscribe();
        PendingList { shared: self.shared().clone(), changes }
    }

    /// Takes back a transaction that was never sent.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn cancel(&self, id: &EventId) -> Result<(), QueueError> {
        self.shared().with(|engine, now| engine.cancel(now, id))
    }

    /// Queues a rejected transaction again, at the end of the queue and under a new name.
    ///
    /// # Errors
    /// [`RetryError`]; it stays rejected then.
    pub fn retry(&self, id: &EventId) -> Result<Receipt, RetryError> {
        self.shared().queue(|engine, now| engine.retry(now, id))
    }

    /// Forgets a rejected transaction.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn dismiss(&self, id: &EventId) -> Result<(), QueueError> {
        self.shared().with(|engine, _| engine.dismiss(id))
    }

    /// Enters a room, now and with every later connection, until the last handle of it is dropped. Presence
    /// is merged over what the client shows there already.
    ///
    /// # Errors
    /// [`RoomError::Closed`], [`RoomError::IdInUse`]; nothing happened then.
    pub fn join_room(
        &self,
        kind: &str,
        id: &str,
        presence: PresenceData,
    ) -> Result<RoomHandle, RoomError> {
        self.shared().join_room(kind, id, presence)
    }

    /// Connects, now if there is no connection.
    pub fn connect(&self) {
        self.shared().with(|engine, now| engine.connect(now));
    }

    /// Ends the connection until [`Self::connect`].
    pub fn disconnect(&self) {
        self.shared().with(|engine, now| engine.disconnect(now));
    }

    /// Switches synchronisation on or off.
    pub fn set_sync_enabled(&self, enabled: bool) {
        self.shared().with(|engine, now| engine.set_sync_enabled(enabled, now));
    }

    /// Writes everything, ends the connection and every stream, closes the storage, and waits for that.
    /// A dropped call does not stop the closing.
    ///
    /// # Errors
    /// [`CloseError`]; the client is closed all the same.
    pub async fn close(&self) -> Result<(), CloseError> {
        self.shared().with(|engine, now| engine.close(now));
        let mut ended = self.shared().ended.subscribe();
        let ended = ended.wait_for(Option::is_some).await.map(|ended| ended.clone());
        match ended {
            Ok(Some(Err(message))) => Err(CloseError::Storage { message }),
            // The sender lives in what this handle holds, so that the waiting cannot fail.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The transactions that are not settled, live.
#[derive(Clone, Debug)]
pub struct PendingList {
    shared: Arc<Shared>,
    changes: watch::Receiver<u64>,
}

impl PendingList {
    /// The list now: rejected ones first, then the queue in order.
    pub fn current(&mut self) -> Vec<PendingTransaction> {
        self.changes.borrow_and_update();
        self.shared.step(|engine, now| engine.pending(now))
    }

    /// Waits for a change since the last [`Self::current`]. Cancel-safe.
    pub async fn changed(&mut self) {
        // The sender lives in `shared`, so that this cannot fail.
        let _ = self.changes.changed().await;
    }

    /// Waits until nothing is queued or sent without an answer. Rejected ones do not count.
    pub async fn settled(&mut self) {
        loop {
            self.changes.borrow_and_update();
            if self.shared.step(|engine, _| engine.unanswered()) == 0 {
                return;
            }
            self.changed().await;
        }
    }
}
