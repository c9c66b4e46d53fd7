//! The limit of a durable commit: SQLite through sqlx, with the rows of the server's log and nothing else.

use std::path::Path;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tricedb_core::id::IdSource as _;
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};

use crate::error::BenchError;
use crate::todos::{Ids, Todos};

/// The largest number of rows that are written together.
pub(crate) const ROWS_MAX: usize = 64;

/// Pages of the write-ahead log that cause a checkpoint: 32 MiB.
const CHECKPOINT_PAGES: &str = "8192";

/// Fills the write-ahead log once, so that from then on commits overwrite it and do not make the file grow,
/// which takes twice as long.
const LAY_OUT: &str = "
    CREATE TABLE filler (body BLOB);
    INSERT INTO filler VALUES (zeroblob(40000000));
    DROP TABLE filler;
    PRAGMA wal_checkpoint(RESTART);
";

const TABLE: &str = "
    CREATE TABLE log (
        position INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        user TEXT,
        event TEXT,
        changes BLOB NOT NULL
    ) STRICT;
";

/// A bare log.
#[derive(Debug)]
pub(crate) struct BareLog {
    connection: SqliteConnection,
    ids: Ids,
    position: i64,
    /// What a commit that changes a title stores.
    changes: Vec<u8>,
    /// The statement for each number of rows.
    statements: Vec<String>,
}

impl BareLog {
    /// Makes a log in a folder: `journal_mode = WAL`, `synchronous = FULL`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn create(folder: &Path) -> Result<Self, BenchError> {
        let mut connection = SqliteConnectOptions::new()
            .filename(folder.join("bare.sqlite"))
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .statement_cache_capacity(ROWS_MAX + 8)
            .disable_statement_logging()
            .connect()
            .await?;
        for sql in [TABLE, LAY_OUT] {
            sqlx::raw_sql(sql).execute(&mut connection).await?;
        }
        Ok(Self {
            connection,
            ids: Ids::new(0),
            position: 0,
            changes: changes_of_a_retitle()?,
            statements: (0..=ROWS_MAX).map(insert).collect(),
        })
    }

    /// Appends this many rows, at most [`ROWS_MAX`], in one statement; durable on return.
    ///
    /// # Errors
    /// [`BenchError::Sqlite`].
    pub(crate) async fn append(&mut self, rows: usize) -> Result<(), BenchError> {
        let mut query = sqlx::query(AssertSqlSafe(self.statements[rows].clone()));
        for _ in 0..rows {
            self.position += 1;
            let event = self.ids.next_uuid().to_string();
            query = query
                .bind(self.position)
                .bind(1_795_408_071_705_i64)
                .bind(None::<String>)
                .bind(event)
                .bind(self.changes.clone());
        }
        query.execute(&mut self.connection).await?;
        Ok(())
    }
}

fn insert(rows: usize) -> String {
    let values = vec!["(?,?,?,?,?)"; rows].join(",");
    format!("INSERT INTO log (position, at, user, event, changes) VALUES {values}")
}

/// The bytes of a commit as the server's log stores it, made by the engine itself.
fn changes_of_a_retitle() -> Result<Vec<u8>, BenchError> {
    let mut ids = Ids::new(0);
    let todos = Todos::new(&mut ids);
    let todo = ids.next_uuid();
    let mut steps = todos.attr_steps(&mut ids);
    steps.extend(todos.create_steps(todo, "title 1000000"));
    let mut index = TripleIndex::new();
    let mut commit = Vec::new();
    for steps in [steps, todos.retitle_steps(todo, "title 1000001")] {
        let steps = parse_steps(&steps.into())?;
        let mut context =
            ExecuteContext { now: 1_795_408_071_705, ids: &mut ids, actor: Actor::Client };
        commit = serde_json::to_vec(&execute(&mut index, &steps, &mut context)?)?;
    }
    Ok(commit)
}
