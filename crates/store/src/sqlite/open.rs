//! Opening a database file: ownership, durability, format.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteLockingMode};
use sqlx::{ConnectOptions, Connection, Row};
use tricedb_core::port::StorageError;

use super::failure::{Action, classify};

/// "Tric" in the file's header tells the file apart from other programs' databases.
const APPLICATION_ID: i64 = 0x5472_6963;

/// The SQL that leads from one format to the next; the first makes format 1 of an empty file. A released
/// one is never changed.
pub(super) const MIGRATIONS: &[&str] = &[include_str!("../../migrations/001_initial.sql")];

/// How often, and how long between, opening is tried while a previous owner lets go: a storage that was
/// dropped without being closed closes its file in the background.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(25);

/// Opens the file, waiting briefly for a previous owner, and brings it to today's format.
pub(super) async fn open(path: &Path) -> Result<SqliteConnection, StorageError> {
    open_with(path, MIGRATIONS).await
}

/// Like [`open`], with the given migrations.
pub(super) async fn open_with(
    path: &Path,
    migrations: &'static [&'static str],
) -> Result<SqliteConnection, StorageError> {
    let mut tries = 1;
    loop {
        match try_open(path, migrations).await {
            Err(StorageError::InUse { .. }) if tries < TRIES => {
                tries += 1;
                // Not the runtime's timer, which it may lack.
                let waited =
                    tokio::task::spawn_blocking(|| std::thread::sleep(BETWEEN_TRIES)).await;
                if waited.is_err() {
                    return Err(StorageError::InUse { path: path.display().to_string() });
                }
            }
            result => return result,
        }
    }
}

async fn try_open(
    path: &Path,
    migrations: &'static [&'static str],
) -> Result<SqliteConnection, StorageError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .locking_mode(SqliteLockingMode::Exclusive)
        .foreign_keys(false)
        // Power loss: on Apple's systems a plain fsync does not reach the disk.
        .pragma("fullfsync", "ON")
        // A large batch must not leave a large log behind for ever; in bytes.
        .pragma("journal_size_limit", "16777216")
        .busy_timeout(Duration::ZERO)
        .row_buffer_size(512)
        .thread_name(|_| "tricedb-store".to_owned())
        .disable_statement_logging();
    let at = |error| classify(Action::Open, path, error);
    let mut connection = options.connect().await.map_err(at)?;
    match prepare(&mut connection, path, migrations).await {
        Ok(()) => Ok(connection),
        Err(error) => {
            // Closing awaits the file's release, so that whoever reads the error can act on the file.
            // The first error says more than a failure to close.
            let _ = connection.close().await;
            Err(error)
        }
    }
}

async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    migrations: &'static [&'static str],
) -> Result<(), StorageError> {
    let at = |error| classify(Action::Open, path, error);
    // Looked at before anything is changed: it may be another program's file.
    let supported = migrations.len() as i64;
    let found = pragma(connection, "PRAGMA user_version").await.map_err(at)?;
    let application = pragma(connection, "PRAGMA application_id").await.map_err(at)?;
    let tables = pragma(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(at)?;
    let is_new = found == 0 && application == 0 && tables == 0;
    if !is_new && application != APPLICATION_ID {
        let what = format!("{} is a database of another program", path.display());
        return Err(StorageError::Damaged { what });
    }
    if found > supported {
        return Err(StorageError::TooNew { found, supported });
    }
    if !is_new && found < 1 {
        let what = format!("{} has format {found}", path.display());
        return Err(StorageError::Damaged { what });
    }
    make_durable(connection, path).await?;
    for (before, sql) in migrations.iter().enumerate().skip(found as usize) {
        migrate(connection, before as i64 + 1, sql).await.map_err(at)?;
        tracing::debug!(target: "tricedb::store", format = before + 1, "migrated");
    }
    Ok(())
}

/// Turns on the write-ahead log and full synchronisation, and makes sure that both took effect. In this
/// mode the connection owns the file from here on: SQLite locks it against all others.
async fn make_durable(connection: &mut SqliteConnection, path: &Path) -> Result<(), StorageError> {
    let at = |error| classify(Action::Open, path, error);
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode = WAL")
        .fetch_one(&mut *connection)
        .await
        .map_err(at)?;
    sqlx::raw_sql("PRAGMA synchronous = FULL").execute(&mut *connection).await.map_err(at)?;
    let synchronous = pragma(connection, "PRAGMA synchronous").await.map_err(at)?;
    let locking: String =
        sqlx::query_scalar("PRAGMA locking_mode").fetch_one(&mut *connection).await.map_err(at)?;
    // 2 is FULL.
    if mode != "wal" || synchronous != 2 || locking != "exclusive" {
        let found =
            format!("journal_mode {mode}, synchronous {synchronous}, locking_mode {locking}");
        return Err(at(sqlx::Error::Configuration(found.into())));
    }
    Ok(())
}

async fn migrate(
    connection: &mut SqliteConnection,
    to: i64,
    sql: &'static str,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(sql).execute(&mut *transaction).await?;
    let stamp = format!("PRAGMA user_version = {to}; PRAGMA application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp)).execute(&mut *transaction).await?;
    transaction.commit().await
}

async fn pragma(connection: &mut SqliteConnection, sql: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query(sql).fetch_one(connection).await?.try_get(0)
}
