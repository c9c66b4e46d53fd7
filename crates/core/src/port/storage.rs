//! What a client keeps on its device.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::attr::Attr;
use crate::id::{AttrId, EntityId, EventId, TxId};
use crate::triple::Triple;
use crate::tx::Operation;

/// All confirmed facts that the client holds of one entity in one namespace.
#[derive(Clone, PartialEq, Debug)]
pub struct EntityRow {
    /// The entity.
    pub entity: EntityId,
    /// The namespace of the triples' attributes.
    pub etype: Arc<str>,
    /// The triples, all of this entity and of attributes of this namespace. Never empty.
    pub triples: Vec<Triple>,
}

/// Where a queued transaction stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum OutboxState {
    /// Waits to be sent, or was sent and has no answer yet: to be sent (again).
    Queued,
    /// The server refused it. It stays until dismissed and blocks nothing.
    Rejected {
        /// The server's error type, such as `record-not-unique`.
        kind: String,
        /// The reason in words.
        message: String,
    },
}

/// One queued transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxRow {
    /// Place in the queue; grows, never reused while the row exists.
    pub seq: u64,
    /// The name under which it is sent, the same on every resend.
    pub event: EventId,
    /// What it does, by names, with modes already decided.
    pub operations: Vec<Operation>,
    /// Client clock at the call, in milliseconds since 1970.
    pub created_at: i64,
    /// How often it was handed to a connection.
    pub attempts: u32,
    /// Where it stands.
    pub state: OutboxState,
}

/// A fact that a subscription holds, without its value where there can be only one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeldFact {
    /// The entity.
    pub entity: EntityId,
    /// The attribute.
    pub attr: AttrId,
    /// For links of cardinality many, the target.
    pub target: Option<EntityId>,
}

/// A query whose result the client keeps.
#[derive(Clone, PartialEq, Debug)]
pub struct SubscriptionRow {
    /// The query as canonical JSON text (object keys sorted, no blanks): its identity.
    pub query: Arc<str>,
    /// The position that its facts reflect.
    pub position: TxId,
    /// Client clock at its last use, in milliseconds since 1970.
    pub used_at: i64,
    /// Which of the confirmed facts it holds, in no particular order.
    pub held: Vec<HeldFact>,
    /// What else came with the result (page info), as JSON text.
    pub extra: Option<String>,
}

/// Everything a storage holds, as read at opening.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Snapshot {
    /// Confirmed facts.
    pub entities: Vec<EntityRow>,
    /// The server's attributes.
    pub attrs: Vec<Attr>,
    /// Queued and rejected transactions, by rising `seq`.
    pub outbox: Vec<OutboxRow>,
    /// Kept queries.
    pub subscriptions: Vec<SubscriptionRow>,
    /// Named bytes (app id, epoch, settings).
    pub key_values: Vec<(String, Vec<u8>)>,
}

/// A change to the outbox.
#[derive(Clone, PartialEq, Debug)]
pub enum OutboxChange {
    /// Insert, or replace the row with this `seq`.
    Put(OutboxRow),
    /// Remove the row with this `seq`; nothing happens if there is none.
    Remove(u64),
}

/// A change to the kept queries.
#[derive(Clone, PartialEq, Debug)]
pub enum SubscriptionChange {
    /// Insert, or replace the row with this `query`.
    Put(SubscriptionRow),
    /// Remove by `query`; nothing happens if there is none.
    Remove(Arc<str>),
}

/// Changes that become durable together or not at all.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Batch {
    /// Rows to insert or replace, whole.
    pub put_entities: Vec<EntityRow>,
    /// Rows to remove; nothing happens for one that is not there.
    pub remove_entities: Vec<(EntityId, Arc<str>)>,
    /// The complete new attribute list, where it changed.
    pub attrs: Option<Vec<Arc<Attr>>>,
    /// Changes to the outbox, in order.
    pub outbox: Vec<OutboxChange>,
    /// Changes to kept queries, in order.
    pub subscriptions: Vec<SubscriptionChange>,
    /// Named bytes to set, or to remove where `None`.
    pub key_values: Vec<(String, Option<Vec<u8>>)>,
}

impl Batch {
    /// Whether committing it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.put_entities.is_empty()
            && self.remove_entities.is_empty()
            && self.attrs.is_none()
            && self.outbox.is_empty()
            && self.subscriptions.is_empty()
            && self.key_values.is_empty()
    }
}

/// Why a storage call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Another process (or client) has it open; nothing was changed.
    #[error("the local database {path} is in use by another process; close it there first")]
    InUse {
        /// What was to be opened.
        path: String,
    },
    /// It was written by a newer version of this program.
    #[error(
        "the local database has format {found}, this version reads up to {supported}; update the program"
    )]
    TooNew {
        /// The format found.
        found: i64,
        /// The newest format this version knows.
        supported: i64,
    },
    /// What was read makes no sense.
    #[error("the local database is damaged: {what}")]
    Damaged {
        /// What was found where.
        what: String,
    },
    /// The disk, or whatever stands for it, failed. The batch was not applied.
    #[error("the local database could not {action}: {source}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It was closed before.
    #[error("the local database is closed")]
    Closed,
}

/// Keeps a client's facts, attributes, outbox and subscriptions.
///
/// One client owns a storage at a time. Calls come one after another, never at once.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Reads everything.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] and [`StorageError::Failed`].
    async fn load(&self) -> Result<Snapshot, StorageError>;

    /// Applies a batch atomically. When this returns `Ok`, the batch survives a crash (power loss
    /// included, as far as the backend can promise it); when it returns an error, none of it shows.
    ///
    /// # Errors
    /// [`StorageError::Failed`] (a full disk, for one) and [`StorageError::Closed`].
    async fn commit(&self, batch: Batch) -> Result<(), StorageError>;

    /// Releases files and threads. Later calls return [`StorageError::Closed`].
    ///
    /// # Errors
    /// [`StorageError::Failed`].
    async fn close(&self) -> Result<(), StorageError>;
}
