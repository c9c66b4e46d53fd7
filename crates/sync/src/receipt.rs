//! Waiting for what becomes of a transaction.

use std::sync::Arc;

use tokio::sync::watch;
use tricedb_core::id::{EventId, TxId};

use crate::engine::ServerError;

/// Why a transaction is not durable on this machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// The storage failed to take it. It is kept in memory, sent, and tried again: once that works, a later
    /// call of [`Receipt::local`] says so.
    #[error("the local database failed: {message}")]
    Storage {
        /// What failed.
        message: Arc<str>,
    },
    /// The client was closed first.
    #[error("the client was closed before the transaction was written")]
    Closed,
}

/// Why a transaction is not durable on the server.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncedError {
    /// The server refused it: what it showed was taken back.
    #[error("the server refused the transaction: {0}")]
    Rejected(#[source] ServerError),
    /// It was cancelled before it was sent.
    #[error("the transaction was cancelled")]
    Cancelled,
    /// The client was closed first. The transaction stays queued if the storage is a lasting one.
    #[error("the client was closed before the server answered")]
    Closed,
}

/// What is known of a transaction so far.
#[derive(Clone, Default, Debug)]
pub(crate) struct Progress {
    pub(crate) local: Option<Result<(), LocalError>>,
    pub(crate) synced: Option<Result<TxId, SyncedError>>,
}

/// A queued transaction: it waits, it does nothing itself. Dropping it changes nothing.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub(crate) id: EventId,
    pub(crate) progress: watch::Receiver<Progress>,
}

impl Receipt {
    /// The transaction's name, as events and the list of pending transactions use it.
    pub const fn event_id(&self) -> &EventId {
        &self.id
    }

    /// Waits until the transaction is durable on this machine. Cancel-safe.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn local(&self) -> Result<(), LocalError> {
        let mut progress = self.progress.clone();
        match progress.wait_for(|progress| progress.local.is_some()).await {
            Ok(progress) => progress.local.clone().unwrap_or(Err(LocalError::Closed)),
            Err(_) => Err(LocalError::Closed),
        }
    }

    /// Waits until the transaction is durable on the server, for as long as that takes. Cancel-safe.
    /// Returns its position.
    ///
    /// # Errors
    /// [`SyncedError`].
    pub async fn synced(&self) -> Result<TxId, SyncedError> {
        let mut progress = self.progress.clone();
        match progress.wait_for(|progress| progress.synced.is_some()).await {
            Ok(progress) => progress.synced.clone().unwrap_or(Err(SyncedError::Closed)),
            Err(_) => Err(SyncedError::Closed),
        }
    }
}
