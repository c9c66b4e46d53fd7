//! What the engine tells: status, events, errors.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::{EntityId, EventId, TxId};
use tricedb_core::query::QueryError;
use tricedb_core::tx::{Operation, TxError};

/// Where the connection to the server stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// A connection is being made.
    Connecting,
    /// The connection is open, the session not yet.
    Opened,
    /// The session is open: changes flow both ways.
    Authenticated,
    /// There is no connection; unless it was closed on purpose, the next try comes by itself.
    Closed,
    /// The server refused the session (unknown app, for one); it is tried again now and then.
    Errored,
    /// Synchronisation is switched off.
    Disabled,
}

impl ConnectionStatus {
    /// Whether changes flow.
    pub const fn is_online(self) -> bool {
        matches!(self, Self::Authenticated)
    }

    /// Whether no connection exists or is being made.
    pub const fn is_offline(self) -> bool {
        matches!(self, Self::Closed | Self::Errored | Self::Disabled)
    }
}

/// An error that the server sent.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ServerError {
    /// The machine-readable kind, such as `record-not-unique`; `internal` where the server gave none.
    pub kind: String,
    /// The reason in words.
    pub message: String,
    /// Details for programs; null if there are none.
    pub hint: Json,
}

/// Something that happened to the synchronisation.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum SyncEvent {
    /// The session is open.
    Connected,
    /// The connection ended or could not be made.
    Disconnected {
        /// Why.
        reason: String,
        /// When the next try comes; `None` if none comes by itself.
        retry_in: Option<Duration>,
    },
    /// The server refused the session.
    SessionRefused {
        /// Why.
        error: ServerError,
        /// When the next try comes.
        retry_in: Duration,
    },
    /// A transaction was queued.
    Queued {
        /// Which.
        id: EventId,
    },
    /// A transaction was handed to the connection.
    Sent {
        /// Which.
        id: EventId,
        /// The how-many-eth time, from 1.
        attempt: u32,
    },
    /// A transaction is durable on the server.
    Synced {
        /// Which.
        id: EventId,
        /// Its position.
        tx: TxId,
    },
    /// The server refused a transaction; what it showed is taken back.
    Rejected {
        /// Which.
        id: EventId,
        /// Why.
        error: ServerError,
    },
    /// The server failed at a transaction, which will be sent again.
    Postponed {
        /// Which.
        id: EventId,
        /// What failed.
        error: ServerError,
    },
    /// Somebody else wrote a value that a transaction of this client wrote as well, without either knowing
    /// of the other. Only noticed for values that a subscription of this client holds.
    ConflictResolved(Conflict),
    /// The app may be used otherwise than before: `active`, `read-only` or `disabled`. While it is not active
    /// queued transactions wait and new ones are refused.
    AppStatus {
        /// As it is now.
        status: &'static str,
    },
    /// A result from the server changed what this client holds.
    RemoteChange {
        /// The query, as canonical JSON.
        query: Arc<str>,
        /// The position that the result reflects.
        position: TxId,
    },
    /// The server refused a query; it is asked again with the next connection.
    QueryRefused {
        /// The query, as canonical JSON.
        query: Arc<str>,
        /// Why.
        error: ServerError,
    },
    /// The server refused something in a room: to enter it (it is asked again with the next connection), or
    /// what was shown or told there.
    RoomRefused {
        /// The room's id.
        room: Arc<str>,
        /// Why.
        error: ServerError,
    },
    /// The local storage failed to take changes; they are kept in memory and tried again.
    StorageFailed {
        /// What failed.
        message: String,
        /// When the next try comes.
        retry_in: Duration,
    },
}

/// Two writes of one value that did not know of each other.
#[derive(Clone, PartialEq, Debug)]
pub struct Conflict {
    /// The entity.
    pub entity: EntityId,
    /// Its namespace.
    pub etype: Arc<str>,
    /// The attribute.
    pub label: Arc<str>,
    /// What this client wrote; `None` if it removed the value.
    pub local: Option<Json>,
    /// What somebody else wrote; `None` if they removed it.
    pub remote: Option<Json>,
    /// Which of them stands: the one that the server committed later.
    pub winner: Winner,
}

/// Whose write stands after a conflict.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Winner {
    /// This client's.
    Local,
    /// Somebody else's.
    Remote,
}

/// Where a transaction in the list of pending ones stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum PendingState {
    /// Not handed to the present connection yet.
    Queued,
    /// Handed to the connection; the answer is awaited.
    Sent,
    /// Durable on the server; listed until the local results contain it.
    Synced,
    /// Refused; it stays until dismissed or tried again, and blocks nothing.
    Rejected,
}

/// A transaction in the list of pending ones.
#[derive(Clone, PartialEq, Debug)]
pub struct PendingTransaction {
    /// Its name.
    pub id: EventId,
    /// What it does.
    pub operations: Vec<Operation>,
    /// The time since it was made.
    pub age: Duration,
    /// How often it was handed to a connection.
    pub attempts: u32,
    /// Where it stands.
    pub state: PendingState,
    /// The latest error about it.
    pub last_error: Option<ServerError>,
}

/// Why a transaction was not queued. Nothing of it happened.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransactError {
    /// It holds no operations.
    #[error("the transaction is empty")]
    Empty,
    /// It is malformed, or contradicts what is known locally.
    #[error(transparent)]
    Invalid(#[from] TxError),
    /// The JSON form could not be read.
    #[error("the transaction's JSON is not InstaML: {reason}")]
    Unreadable {
        /// What is wrong.
        reason: String,
    },
    /// An operation named an entity without its namespace, and that cannot be told.
    #[error("the namespace of entity {entity} cannot be told: {reason}")]
    UnknownNamespace {
        /// The entity.
        entity: String,
        /// Why not.
        reason: &'static str,
    },
    /// The queue is full: the server has not taken this many transactions yet.
    #[error("{limit} transactions wait to be sent already")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The app takes no writes at present.
    #[error("this app is in {status} mode")]
    AppStatus {
        /// `read-only` or `disabled`.
        status: &'static str,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why a query gave no result.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryFailure {
    /// The query is malformed.
    #[error(transparent)]
    Invalid(#[from] QueryError),
    /// The server refused it.
    #[error("the server refused the query: {0}")]
    Refused(#[source] ServerError),
    /// There is no connection to ask the server through.
    #[error("the server cannot be asked while offline")]
    Offline,
    /// The connection was lost before the answer came.
    #[error("the connection was lost before the server answered")]
    ConnectionLost,
    /// No answer came in time.
    #[error("the server did not answer within {after:?}")]
    TimedOut {
        /// The time waited.
        after: Duration,
    },
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}

/// Why a queued transaction could not be cancelled, retried or dismissed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// There is none of this name.
    #[error("no such transaction is pending")]
    Unknown,
    /// It was sent: the server may have committed it.
    #[error("the transaction was sent already")]
    AlreadySent,
    /// It was not rejected.
    #[error("the transaction was not rejected")]
    NotRejected,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
}
