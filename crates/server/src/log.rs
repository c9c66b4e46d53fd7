//! The commit log of an app: the port that storage engines implement, and what travels through it.
//!
//! An app's log is a totally ordered sequence of commits, each at a position ([`TxId`]). Beside it lives a
//! table of outcomes by event id, which makes transactions exactly-once: it outlives the trimming of the
//! log.

mod memory;
mod sqlite;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use rustc_hash::FxBuildHasher;
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId, EventId, TxId};
use tricedb_core::index::{AttrSlot, Cell, Row, TripleIndex};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Commit;
use tricedb_core::value::Value;
pub use tricedb_protocol::ErrorBody as StoredError;
use uuid::Uuid;

pub use memory::MemoryLog;
pub use sqlite::{FileError, SqliteLog, SqliteLogOptions};

/// What names a transaction across resends: its event id, among those of one user.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventKey {
    /// The user who sent it; none for anonymous sessions and for the admin.
    pub user: Option<String>,
    /// The name that the client gave it.
    pub event: EventId,
}

/// One line of the log.
#[derive(Clone, Debug)]
pub enum LogEntry {
    /// A transaction was committed.
    Committed {
        /// Its position; within a batch, and from batch to batch, one more than the one before.
        position: TxId,
        /// The commit's time, in milliseconds since 1970. Never goes back.
        at: i64,
        /// Its name, if it has one.
        event: Option<EventKey>,
        /// What it changed.
        commit: Arc<Commit>,
    },
    /// A named transaction was rejected; remembered so that a resend is rejected alike. Takes no position.
    Rejected {
        /// When, in milliseconds since 1970.
        at: i64,
        /// Its name.
        event: EventKey,
        /// The answer it got.
        error: Arc<StoredError>,
    },
}

impl LogEntry {
    /// The position of a committed entry.
    pub const fn position(&self) -> Option<TxId> {
        match self {
            Self::Committed { position, .. } => Some(*position),
            Self::Rejected { .. } => None,
        }
    }
}

/// What became of a named transaction.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Committed at this position.
    Accepted(TxId),
    /// Refused with this error.
    Rejected(Arc<StoredError>),
}

/// An outcome as the log keeps it.
#[derive(Clone, PartialEq, Debug)]
pub struct LoggedOutcome {
    /// The transaction's name.
    pub event: EventKey,
    /// What became of it.
    pub outcome: Outcome,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// An app's state as the log has it.
#[derive(Debug, Default)]
pub struct LoadedLog {
    /// The latest snapshot with every later commit applied.
    pub index: TripleIndex,
    /// The last commit's position; [`TxId`]`(0)` if there never was one, and then the app begins an epoch.
    pub position: TxId,
    /// The time of the last commit, in milliseconds since 1970.
    pub last_at: i64,
    /// The outcomes within the retention time, oldest first.
    pub outcomes: Vec<LoggedOutcome>,
    /// Number of commits after the snapshot: how far behind it is.
    pub commits_after_snapshot: usize,
    /// Names the database's present life; none if it begins with being loaded.
    pub epoch: Option<u64>,
    /// For native clients the number up to which outcomes may be forgotten.
    pub floors: Vec<(Uuid, u64)>,
}

/// The facts and attributes of an app at one position, ready to be written as a snapshot.
///
/// Taking one costs a reference count per entity: rows are shared with the live index, which copies a row
/// only when it changes it.
#[derive(Clone, Debug)]
pub struct SnapshotImage {
    attrs: Vec<Arc<Attr>>,
    /// By slot; none where the slot's attribute is gone, facts included.
    attr_ids: HashMap<AttrSlot, AttrId, FxBuildHasher>,
    rows: Vec<Arc<Row>>,
    triple_count: usize,
}

impl SnapshotImage {
    /// The present state of an index.
    pub fn take(index: &TripleIndex) -> Self {
        let mut attrs: Vec<_> = index.catalog().all().cloned().collect();
        attrs.sort_by_key(|attr| attr.id);
        let attr_ids =
            attrs.iter().filter_map(|attr| Some((index.slot(attr.id)?, attr.id))).collect();
        Self {
            attrs,
            attr_ids,
            rows: index.rows().cloned().collect(),
            triple_count: index.triple_count(),
        }
    }

    /// Every attribute, soft-deleted ones included, sorted by id.
    pub fn attrs(&self) -> &[Arc<Attr>] {
        &self.attrs
    }

    /// Number of entities that hold facts.
    pub fn entity_count(&self) -> usize {
        self.rows.len()
    }

    /// Number of facts.
    pub const fn triple_count(&self) -> usize {
        self.triple_count
    }

    /// The facts, entity by entity, in no particular order of entities.
    pub fn entities(&self) -> impl Iterator<Item = (EntityId, Vec<Triple>)> + '_ {
        self.rows.iter().map(|row| (row.id(), self.triples_of(row)))
    }

    fn triples_of(&self, row: &Row) -> Vec<Triple> {
        let entity = row.id();
        let mut triples = Vec::new();
        for (slot, cell) in row.cells() {
            let Some(&attr) = self.attr_ids.get(&slot) else { continue };
            match cell {
                Cell::Data { value, created_at } => {
                    triples.push(Triple { entity, attr, value: value.clone(), created_at });
                }
                Cell::Links(links) => triples.extend(links.into_iter().map(|link| Triple {
                    entity,
                    attr,
                    value: Value::Ref(link.target),
                    created_at: link.created_at,
                })),
            }
        }
        triples
    }
}

/// Why the log could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// Another writer has taken the position.
    #[error("the log stands at position {found}, not at {expected}: another writer uses it")]
    Conflict {
        /// Where the log was expected to stand.
        expected: TxId,
        /// Where it stands.
        found: TxId,
    },
    /// The storage engine failed; nothing of the batch is in the log.
    #[error("the log's storage failed: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The storage engine failed midway: whether the batch is in the log shows when it is opened anew.
    #[error("the log's storage failed, perhaps after it had taken the batch: {0}")]
    InDoubt(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the log holds cannot be read.
    #[error("the log is damaged: {reason}")]
    Damaged {
        /// What does not fit.
        reason: String,
    },
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// A durable, totally ordered log of one app's commits.
///
/// One task owns a log; its calls never overlap, and a call once begun is always awaited to its end.
#[async_trait]
pub trait CommitLog: Send {
    /// Appends a batch atomically; durable when it returns `Ok`. `expected` is the position before the
    /// first committed entry. Entries of one event key: the first outcome stays.
    ///
    /// # Errors
    /// [`LogError::Conflict`] if the log stands elsewhere; nothing was written then. After
    /// [`LogError::Storage`] nothing of the batch may ever appear. A log that cannot be sure of it says
    /// [`LogError::InDoubt`] and fails every later call.
    async fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), LogError>;

    /// Reads the state; called once, before anything else.
    ///
    /// # Errors
    /// [`LogError::Storage`], [`LogError::Damaged`].
    async fn load(&mut self) -> Result<LoadedLog, LogError>;

    /// Stores a snapshot of the state at `position` (at most the position of the last append) and trims
    /// the commits it covers. Outcomes stay, up to their retention time. May return when the work has
    /// begun: it then goes on between the following appends and is finished by [`Self::close`], and a
    /// failure is reported by the next snapshot or by the closing.
    ///
    /// # Errors
    /// [`LogError::Storage`]; the log is as before then.
    async fn snapshot(&mut self, position: TxId, image: SnapshotImage) -> Result<(), LogError>;

    /// Whether nothing is ever durable here: the app then releases answers without waiting for
    /// [`Self::append`], and may never call it.
    fn is_volatile(&self) -> bool;

    /// How many flushes to stable storage the appends have made so far.
    fn flushes(&self) -> u64;

    /// Writes what is still to be written and frees the storage.
    ///
    /// # Errors
    /// [`LogError::Storage`]; the storage is freed all the same.
    async fn close(&mut self) -> Result<(), LogError>;
}

/// A number that no earlier life of a database had: the wall clock's milliseconds.
fn new_epoch() -> u64 {
    u64::try_from(crate::clock::now_ms()).unwrap_or_default()
}
