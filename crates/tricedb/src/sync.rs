//! The connection, its events, and the queue.

use std::sync::Arc;

use tokio::sync::watch;
use tricedb_core::id::EventId;
use tricedb_sync::{
    ConnectionStatus, PendingList, QueueError, Receipt, RetryError, SyncEvents, SyncHandle,
};

/// The synchronisation of a client; from [`crate::Client::sync`].
///
/// ```
/// # use tricedb::{Client, ConnectionStatus};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11").sync_enabled(false).open().await?;
/// let status = db.sync().status();
/// assert_eq!(*status.borrow(), ConnectionStatus::Disabled);
/// assert!(!status.borrow().is_online());
///
/// db.transact(db.create("todos", serde_json::json!({"title": "later"})))?;
/// let mut pending = db.sync().pending();
/// let queued = pending.current();
/// assert_eq!(queued.len(), 1);
/// db.sync().cancel(&queued[0].id)?;
/// assert!(pending.current().is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SyncControl<'a> {
    handle: &'a SyncHandle,
}

impl<'a> SyncControl<'a> {
    pub(crate) const fn new(handle: &'a SyncHandle) -> Self {
        Self { handle }
    }

    /// Where the connection stands, now and later.
    pub fn status(self) -> watch::Receiver<ConnectionStatus> {
        self.handle.status()
    }

    /// Whether changes flow at this moment.
    pub fn is_online(self) -> bool {
        self.handle.status().borrow().is_online()
    }

    /// Why there is no session, in words; `None` while there is one, or before the first failure.
    pub fn trouble(self) -> Option<Arc<str>> {
        self.handle.trouble()
    }

    /// What happens from now on.
    pub fn events(self) -> SyncEvents {
        self.handle.events()
    }

    /// The transactions that are not settled, live.
    pub fn pending(self) -> PendingList {
        self.handle.pending()
    }

    /// Takes back a transaction that was never sent.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn cancel(self, id: &EventId) -> Result<(), QueueError> {
        self.handle.cancel(id)
    }

    /// Queues a rejected transaction again, at the end of the queue and under a new name.
    ///
    /// # Errors
    /// [`RetryError`]; it stays rejected then.
    pub fn retry(self, id: &EventId) -> Result<Receipt, RetryError> {
        self.handle.retry(id)
    }

    /// Forgets a rejected transaction.
    ///
    /// # Errors
    /// [`QueueError`].
    pub fn dismiss(self, id: &EventId) -> Result<(), QueueError> {
        self.handle.dismiss(id)
    }

    /// Connects, now if there is no connection.
    pub fn connect(self) {
        self.handle.connect();
    }

    /// Ends the connection until [`Self::connect`]: offline mode, for tests for instance.
    pub fn disconnect(self) {
        self.handle.disconnect();
    }

    /// Switches synchronisation on or off; what queued meanwhile is sent when it is on again.
    pub fn set_enabled(self, enabled: bool) {
        self.handle.set_sync_enabled(enabled);
    }
}
