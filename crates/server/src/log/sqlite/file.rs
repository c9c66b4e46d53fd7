//! Opening the file of a log, and its tables.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};

use super::SqliteLogOptions;
use crate::log::LogError;

/// Marks a SQLite file as a log of ours (`TrLg`).
const APPLICATION_ID: i64 = 0x5472_4c67;
/// The version of the tables below.
const FORMAT: i64 = 2;

/// Every batch size up to the largest single statement has a statement of its own.
const STATEMENT_CACHE: usize = super::rows::STATEMENT_ROWS_MAX + 24;

/// SQLite's default, and the most that it can do.
const PAGE_BYTES: u64 = 4096;
const PAGES_MAX: u64 = 4_294_967_294;

const TABLES: &str = "
    CREATE TABLE state (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        snapshot_position INTEGER NOT NULL,
        snapshot_at INTEGER NOT NULL,
        snapshot_chunks INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE snapshot (
        position INTEGER NOT NULL,
        chunk INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (position, chunk)
    ) STRICT;
    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        user TEXT,
        event TEXT,
        changes BLOB NOT NULL
    ) STRICT;
    CREATE TABLE outcomes (
        number INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        user TEXT,
        event TEXT NOT NULL,
        position INTEGER,
        error BLOB
    ) STRICT;
";

/// What came with the second version: the database's life, and for native clients up to which number
/// outcomes are forgotten.
const TABLES_2: &str = "
    CREATE TABLE life (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE floors (
        client TEXT PRIMARY KEY,
        number INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The statements that begin a life.
fn tables_2() -> String {
    let epoch = crate::log::new_epoch();
    format!("{TABLES_2} INSERT INTO life VALUES (1, {epoch}); PRAGMA user_version = {FORMAT};")
}

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried, as in "cannot open".
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: sqlx::Error,
}

/// An error of SQLite as the log's error, with the file's name.
pub(super) fn storage_error(action: &'static str, path: &Path, source: sqlx::Error) -> LogError {
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    match result_code(&source) {
        Some(CORRUPT | NOT_A_DATABASE) => damaged(path, &source.to_string()),
        _ => LogError::Storage(Box::new(FileError { action, path: path.into(), source })),
    }
}

pub(super) fn damaged(path: &Path, reason: &str) -> LogError {
    LogError::Damaged { reason: format!("{}: {reason}", path.display()) }
}

/// SQLite's primary result code.
pub(super) fn result_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

/// Opens an existing file.
pub(super) async fn open(
    path: &Path,
    options: &SqliteLogOptions,
) -> Result<SqliteConnection, LogError> {
    let wrap = |error| storage_error("cannot open", path, error);
    lay_out_wal(path, options.wal_bytes).map_err(|error| wrap(sqlx::Error::Io(error)))?;
    let mut connection = connect(path, options, false).await.map_err(wrap)?;
    let application: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut connection)
        .await
        .map_err(wrap)?;
    let format: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await.map_err(wrap)?;
    if application != APPLICATION_ID {
        return Err(damaged(path, "not the log of an app"));
    }
    if format == 1 {
        let sql = sqlx::AssertSqlSafe(format!("BEGIN; {} COMMIT;", tables_2()));
        sqlx::raw_sql(sql).execute(&mut connection).await.map_err(wrap)?;
    } else if format != FORMAT {
        let reason = format!("written by another version: its format is {format}, not {FORMAT}");
        return Err(damaged(path, &reason));
    }
    assert_durable(path, &mut connection).await?;
    Ok(connection)
}

/// Makes a new file with its tables.
pub(super) async fn create(
    path: &Path,
    options: &SqliteLogOptions,
) -> Result<SqliteConnection, LogError> {
    let wrap = |error| storage_error("cannot create", path, error);
    // Refuses an existing file, which SQLite would open.
    File::create_new(path).map_err(|error| wrap(sqlx::Error::Io(error)))?;
    let mut connection = connect(path, options, true).await.map_err(wrap)?;
    let mark = format!("PRAGMA application_id = {APPLICATION_ID};");
    let sql = sqlx::AssertSqlSafe(format!("BEGIN; {mark} {TABLES} {} COMMIT;", tables_2()));
    sqlx::raw_sql(sql).execute(&mut connection).await.map_err(wrap)?;
    assert_durable(path, &mut connection).await?;
    Ok(connection)
}

async fn connect(
    path: &Path,
    options: &SqliteLogOptions,
    create: bool,
) -> Result<SqliteConnection, sqlx::Error> {
    let pages_max = options.file_bytes_max.map_or(PAGES_MAX, |bytes| (bytes / PAGE_BYTES).max(1));
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(create)
        // Nobody else may use the file; without other readers there is no need for shared memory.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .pragma("wal_autocheckpoint", "0")
        .pragma("cache_size", format!("-{}", options.cache_kib))
        .pragma("max_page_count", pages_max.to_string())
        .pragma("temp_store", "MEMORY")
        .foreign_keys(false)
        .statement_cache_capacity(STATEMENT_CACHE)
        .thread_name(|number| format!("log-{number}"))
        .disable_statement_logging()
        .connect()
        .await
}

/// Fails unless a commit will be on disk when it returns.
async fn assert_durable(path: &Path, connection: &mut SqliteConnection) -> Result<(), LogError> {
    const FULL: i64 = 2;
    let wrap = |error| storage_error("cannot read the settings of", path, error);
    let synchronous: i64 =
        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *connection).await.map_err(wrap)?;
    let journal: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *connection)
        .await
        .map_err(wrap)?;
    if synchronous < FULL || journal != "wal" {
        let reason = format!("synchronous is {synchronous} and journal_mode {journal}");
        let source = sqlx::Error::Configuration(reason.into());
        return Err(storage_error("cannot write durably to", path, source));
    }
    Ok(())
}

/// Extends the write-ahead log with zeros, so that commits overwrite blocks rather than allocate them.
///
/// SQLite reads a write-ahead log up to the first frame whose checksum does not fit, and never shortens it
/// while it is open; zeros at its end mean nothing to it.
fn lay_out_wal(path: &Path, bytes: u64) -> std::io::Result<()> {
    if std::fs::metadata(path)?.len() == 0 {
        // SQLite deletes the write-ahead log of an empty file.
        return Ok(());
    }
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    let mut wal = OpenOptions::new().append(true).create(true).open(name)?;
    let zeros = [0_u8; 64 << 10];
    let mut missing = bytes.saturating_sub(wal.metadata()?.len());
    while missing > 0 {
        let part = usize::try_from(missing).unwrap_or(usize::MAX).min(zeros.len());
        wal.write_all(&zeros[..part])?;
        missing -= part as u64;
    }
    Ok(())
}

/// Closes a connection; a failure leaves everything that was committed in the write-ahead log.
pub(super) async fn close(path: &Path, connection: SqliteConnection) -> Result<(), LogError> {
    connection.close().await.map_err(|error| storage_error("cannot close", path, error))
}
