//! Batches of log entries as rows, and the statements that write them.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::sync::Arc;
use tricedb_core::id::TxId;

use crate::log::{EventKey, LogEntry, LogError};

/// The most rows that one statement writes. Larger batches take several, in one SQL transaction.
pub(super) const STATEMENT_ROWS_MAX: usize = 64;

/// A row of the table `log`.
#[derive(Debug)]
pub(super) struct CommitRow {
    position: i64,
    at: i64,
    user: Option<String>,
    event: Option<Arc<str>>,
    changes: Vec<u8>,
}

/// A row of the table `outcomes` for a rejected transaction.
#[derive(Debug)]
pub(super) struct RejectionRow {
    at: i64,
    user: Option<String>,
    event: Arc<str>,
    error: Vec<u8>,
}

/// A batch, ready to be written.
#[derive(Debug)]
pub(super) struct EncodedBatch {
    pub(super) expected: TxId,
    /// The last position in the batch.
    pub(super) last: Option<TxId>,
    /// The time of the last commit in the batch.
    pub(super) last_at: i64,
    commits: Vec<CommitRow>,
    rejections: Vec<RejectionRow>,
}

impl EncodedBatch {
    pub(super) fn new(expected: TxId, entries: &[LogEntry]) -> Result<Self, LogError> {
        let mut batch =
            Self { expected, last: None, last_at: 0, commits: Vec::new(), rejections: Vec::new() };
        for entry in entries {
            match entry {
                LogEntry::Committed { position, at, event, commit } => {
                    batch.last = Some(*position);
                    batch.last_at = *at;
                    let (user, event) = event.clone().map(split).unwrap_or_default();
                    batch.commits.push(CommitRow {
                        position: sql_position(*position)?,
                        at: *at,
                        user,
                        event,
                        changes: to_json(&**commit)?,
                    });
                }
                LogEntry::Rejected { at, event, error } => {
                    let user = event.user.clone();
                    let event = event.event.0.clone();
                    let error = to_json(&**error)?;
                    batch.rejections.push(RejectionRow { at: *at, user, event, error });
                }
            }
        }
        Ok(batch)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commits.is_empty() && self.rejections.is_empty()
    }

    /// Whether each position follows the one before, and the first follows `expected`. The first commit of
    /// all begins an epoch and follows nothing.
    pub(super) fn is_consecutive(&self) -> bool {
        let numbers = || self.commits.iter().map(|row| row.position.unsigned_abs());
        let begins = match self.expected {
            TxId(0) => true,
            TxId(expected) => numbers().next().is_none_or(|first| first == expected + 1),
        };
        begins && numbers().zip(numbers().skip(1)).all(|(a, b)| b == a + 1)
    }

    /// About how much of the write-ahead log the batch takes, in bytes.
    pub(super) fn wal_bytes(&self) -> u64 {
        let commits = self.commits.iter().map(|row| row.changes.len() + 128).sum::<usize>();
        let rejections = self.rejections.iter().map(|row| row.error.len() + 128).sum::<usize>();
        // Whole pages are written, a leaf and its parent at least.
        (commits + rejections) as u64 + 8192
    }

    /// Writes the batch atomically; durable on return.
    pub(super) async fn write(self, connection: &mut SqliteConnection) -> sqlx::Result<()> {
        // An autocommitted statement is its own transaction: one hop to sqlx's thread instead of three.
        match (self.commits.len(), self.rejections.len()) {
            (1..=STATEMENT_ROWS_MAX, 0) => insert_commits(connection, self.commits).await,
            (0, 1..=STATEMENT_ROWS_MAX) => insert_rejections(connection, self.rejections).await,
            _ => {
                let mut transaction = connection.begin().await?;
                let mut commits = self.commits;
                while !commits.is_empty() {
                    let rest = commits.split_off(commits.len().min(STATEMENT_ROWS_MAX));
                    insert_commits(&mut transaction, commits).await?;
                    commits = rest;
                }
                let mut rejections = self.rejections;
                while !rejections.is_empty() {
                    let rest = rejections.split_off(rejections.len().min(STATEMENT_ROWS_MAX));
                    insert_rejections(&mut transaction, rejections).await?;
                    rejections = rest;
                }
                transaction.commit().await
            }
        }
    }
}

async fn insert_commits(
    connection: &mut SqliteConnection,
    rows: Vec<CommitRow>,
) -> sqlx::Result<()> {
    let sql = insert("INSERT INTO log (position, at, user, event, changes) VALUES ", 5, rows.len());
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for row in rows {
        query =
            query.bind(row.position).bind(row.at).bind(row.user).bind(row.event).bind(row.changes);
    }
    query.execute(connection).await?;
    Ok(())
}

async fn insert_rejections(
    connection: &mut SqliteConnection,
    rows: Vec<RejectionRow>,
) -> sqlx::Result<()> {
    let sql = insert("INSERT INTO outcomes (at, user, event, error) VALUES ", 4, rows.len());
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for row in rows {
        query = query.bind(row.at).bind(row.user).bind(row.event).bind(row.error);
    }
    query.execute(connection).await?;
    Ok(())
}

/// The text of an insert of exactly `rows` rows: sqlx finds its prepared statement by it.
fn insert(head: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    let mut sql = String::with_capacity(head.len() + rows * (row.len() + 1));
    sql.push_str(head);
    for number in 0..rows {
        if number > 0 {
            sql.push(',');
        }
        sql.push_str(&row);
    }
    sql
}

fn split(key: EventKey) -> (Option<String>, Option<Arc<str>>) {
    (key.user, Some(key.event.0))
}

pub(super) fn sql_position(position: TxId) -> Result<i64, LogError> {
    i64::try_from(position.0).map_err(|error| LogError::Storage(Box::new(error)))
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, LogError> {
    serde_json::to_vec(value).map_err(|error| LogError::Storage(Box::new(error)))
}
