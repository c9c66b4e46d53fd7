//! A commit log in one SQLite file.
//!
//! The file holds the tail of the log, one row a commit; a snapshot of everything before it, in chunks; and
//! the outcomes of named transactions that the tail no longer tells. One task owns the connection. It
//! writes a batch in one statement wherever it can, so that a commit costs one flush and one hop to
//! sqlx's thread, and does everything else between batches: a snapshot chunk by chunk, the trimming piece
//! by piece, and checkpoints of the write-ahead log when nothing comes in.

mod chunk;
mod file;
mod load;
mod rows;
mod snapshot;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tricedb_core::id::TxId;

use self::rows::EncodedBatch;
use self::writer::{Command, Writer};
use super::{CommitLog, LoadedLog, LogEntry, LogError, SnapshotImage};

pub use file::FileError;

/// How a SQLite log treats its file.
#[derive(Clone, Debug)]
pub struct SqliteLogOptions {
    /// How much write-ahead log to lay out at opening, in bytes: a commit that overwrites is flushed about
    /// twice as fast as one that makes the file grow.
    pub wal_bytes: u64,
    /// A checkpoint is due when the write-ahead log holds this many bytes, however busy the log is.
    pub checkpoint_bytes: u64,
    /// A checkpoint is due when nothing was written for this long.
    pub checkpoint_idle: Duration,
    /// SQLite's page cache, in KiB.
    pub cache_kib: u32,
    /// How large the file may grow, in bytes; unbounded if none. Beyond it appends fail as on a full disk.
    pub file_bytes_max: Option<u64>,
    /// How long outcomes of named transactions are kept.
    pub outcome_retention: Duration,
}

impl Default for SqliteLogOptions {
    fn default() -> Self {
        Self {
            wal_bytes: 4 << 20,
            checkpoint_bytes: 32 << 20,
            checkpoint_idle: Duration::from_millis(500),
            cache_kib: 512,
            file_bytes_max: None,
            outcome_retention: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// A commit log in one SQLite file, durable to power loss: `journal_mode = WAL`, `synchronous = FULL`, both
/// read back after opening.
///
/// Dropping it without [`CommitLog::close`] loses nothing that was appended.
#[derive(Debug)]
pub struct SqliteLog {
    commands: mpsc::Sender<Command>,
    flushes: Arc<AtomicU64>,
}

impl SqliteLog {
    /// Opens an existing log.
    ///
    /// # Errors
    /// [`LogError::Storage`] if the file is missing, in use, or cannot be opened durably;
    /// [`LogError::Damaged`] if it is no log of ours. Both name the file.
    pub async fn open(path: &Path, options: SqliteLogOptions) -> Result<Self, LogError> {
        let connection = file::open(path, &options).await?;
        let flushes = Arc::new(AtomicU64::new(0));
        // Calls never overlap, so at most one command is under way.
        let (commands, inbox) = mpsc::channel(1);
        let writer = Writer::new(connection, PathBuf::from(path), options, flushes.clone());
        tokio::spawn(writer.run(inbox));
        Ok(Self { commands, flushes })
    }

    /// Makes the file of a new app that begins with these facts; durable when it returns.
    ///
    /// The directory entry is not made durable, and an unfinished file is left behind on failure: write to
    /// a temporary name and rename.
    ///
    /// # Errors
    /// [`LogError::Storage`], naming the file; also if it exists.
    pub async fn create(path: &Path, image: SnapshotImage) -> Result<(), LogError> {
        let options = SqliteLogOptions::default();
        let connection = file::create(path, &options).await?;
        let flushes = Arc::new(AtomicU64::new(0));
        let mut writer = Writer::new(connection, PathBuf::from(path), options, flushes);
        let written = writer.write_first_snapshot(image).await;
        let closed = writer.close().await;
        written.and(closed)
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, LogError>>) -> Command + Send,
    ) -> Result<T, LogError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }
}

#[async_trait]
impl CommitLog for SqliteLog {
    async fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), LogError> {
        let batch = EncodedBatch::new(expected, entries)?;
        self.ask(|reply| Command::Append { batch, reply }).await
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        self.ask(|reply| Command::Load { reply }).await
    }

    /// Returns when the work has begun; it is done between the following appends, so that these need not
    /// wait for it. A failure is reported by the next snapshot or by [`CommitLog::close`].
    async fn snapshot(&mut self, position: TxId, image: SnapshotImage) -> Result<(), LogError> {
        self.ask(|reply| Command::Snapshot { position, image: Box::new(image), reply }).await
    }

    fn is_volatile(&self) -> bool {
        false
    }

    fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    async fn close(&mut self) -> Result<(), LogError> {
        match self.ask(|reply| Command::Close { reply }).await {
            Err(LogError::Closed) => Ok(()),
            other => other,
        }
    }
}
