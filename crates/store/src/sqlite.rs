//! A storage in an SQLite file.

mod batch;
mod encoding;
mod failure;
mod load;
mod open;
mod statement;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::Mutex;
use tricedb_core::port::{Batch, Snapshot, Storage, StorageError};

use failure::{Action, classify};
use statement::Statement;

/// A [`Storage`] in one SQLite file (beside which SQLite keeps a `-wal` file while it is open).
///
/// **Durability.** A batch is on disk when its commit returns: write-ahead log, `synchronous=FULL`, both
/// checked at opening.
///
/// **Ownership.** The file is locked from opening to closing (SQLite's `locking_mode=EXCLUSIVE`): whoever
/// else opens it, in this process or another, gets [`StorageError::InUse`], after half a second in which a
/// previous owner may finish. The lock ends with the process, however that ends. It is the file system's,
/// so a file on a network share is only as safe as the share's locks.
///
/// **Cancellation.** A dropped `commit` future leaves the batch applied or not, never in part; later
/// calls follow in order. Dropping the storage closes it in the background; `close` awaits that.
///
/// ```
/// use tricedb_core::port::{Batch, Storage};
/// use tricedb_store::SqliteStorage;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// let storage = SqliteStorage::open(dir.path().join("todos.db")).await?;
/// let batch =
///     Batch { key_values: vec![("epoch".into(), Some(vec![1]))], ..Batch::default() };
/// storage.commit(batch).await?;
/// assert_eq!(storage.load().await?.key_values, [("epoch".to_owned(), vec![1])]);
/// storage.close().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SqliteStorage {
    path: PathBuf,
    /// Held across awaits on purpose: it is what makes calls on the one connection take turns.
    slot: Mutex<Slot>,
}

#[derive(Debug)]
enum Slot {
    Open(SqliteConnection),
    /// A failed transaction could not be rolled back; the next call opens the file afresh.
    Broken,
    Closed,
}

impl SqliteStorage {
    /// Opens or creates the database file at `path`; its directory must exist.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::TooNew`], [`StorageError::Damaged`] (also for another
    /// program's file, which is left as it was), and [`StorageError::Failed`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        let path = path.as_ref().to_owned();
        let connection = open::open(&path).await?;
        tracing::debug!(target: "tricedb::store", path = %path.display(), "opened");
        Ok(Self { path, slot: Mutex::new(Slot::Open(connection)) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn connection<'a>(
        &self,
        slot: &'a mut Slot,
    ) -> Result<&'a mut SqliteConnection, StorageError> {
        if matches!(slot, Slot::Broken) {
            *slot = Slot::Open(open::open(&self.path).await?);
        }
        match slot {
            Slot::Open(connection) => Ok(connection),
            Slot::Broken | Slot::Closed => Err(StorageError::Closed),
        }
    }
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn load(&self) -> Result<Snapshot, StorageError> {
        let mut slot = self.slot.lock().await;
        let connection = self.connection(&mut slot).await?;
        let snapshot = load::load(connection, &self.path).await?;
        tracing::debug!(
            target: "tricedb::store",
            entities = snapshot.entities.len(),
            attrs = snapshot.attrs.len(),
            outbox = snapshot.outbox.len(),
            subscriptions = snapshot.subscriptions.len(),
            "loaded"
        );
        Ok(snapshot)
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let statements = batch::statements(&batch)?;
        let mut slot = self.slot.lock().await;
        let connection = self.connection(&mut slot).await?;
        let count = statements.len();
        let Err(error) = run(connection, statements).await else {
            tracing::trace!(target: "tricedb::store", statements = count, "committed");
            return Ok(());
        };
        // SQLite may have rolled back by itself, in which case sqlx's rollback failed and its idea of
        // the connection is wrong.
        if connection.ping().await.is_err() || connection.is_in_transaction() {
            *slot = Slot::Broken;
        }
        let error = match classify(Action::Write, &self.path, error) {
            // The lock is ours: whatever is busy, it is no second owner.
            StorageError::InUse { path } => failure::failed(Action::Write, failure::Busy { path }),
            error => error,
        };
        tracing::warn!(target: "tricedb::store", %error, "a batch was not written");
        Err(error)
    }

    async fn close(&self) -> Result<(), StorageError> {
        match std::mem::replace(&mut *self.slot.lock().await, Slot::Closed) {
            Slot::Open(connection) => {
                connection
                    .close()
                    .await
                    .map_err(|error| classify(Action::Close, &self.path, error))?;
                tracing::debug!(target: "tricedb::store", path = %self.path.display(), "closed");
                Ok(())
            }
            Slot::Broken => Ok(()),
            Slot::Closed => Err(StorageError::Closed),
        }
    }
}

/// Runs statements atomically.
///
/// Safe to drop at any point: a statement that was handed over runs to its end, and sqlx rolls an
/// unfinished transaction back before anything else runs on the connection.
async fn run(
    connection: &mut SqliteConnection,
    statements: Vec<Statement>,
) -> Result<(), sqlx::Error> {
    // A statement by itself is atomic already, at a third of the wake-ups.
    if statements.len() <= 1 {
        for statement in statements {
            execute(connection, statement).await?;
        }
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    for statement in statements {
        execute(&mut transaction, statement).await?;
    }
    transaction.commit().await
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: Statement,
) -> Result<(), sqlx::Error> {
    let query = sqlx::query(statement.sql).bind(statement.index).bind(statement.arena);
    query.execute(connection).await.map(drop)
}
