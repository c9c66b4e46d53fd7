//! The task that owns the file.

use std::future::pending;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tricedb_core::id::TxId;

use super::file::{self, result_code, storage_error};
use super::rows::{EncodedBatch, sql_position};
use super::snapshot::{Progress, SnapshotJob, Step, StepError};
use super::{SqliteLogOptions, load};
use crate::clock;
use crate::log::{LoadedLog, LogError, SnapshotImage};

type Reply<T> = oneshot::Sender<Result<T, LogError>>;

/// What the log's owner may ask for.
pub(super) enum Command {
    Append { batch: EncodedBatch, reply: Reply<()> },
    Load { reply: Reply<LoadedLog> },
    Snapshot { position: TxId, image: Box<SnapshotImage>, reply: Reply<()> },
    Close { reply: Reply<()> },
}

/// The owner of the connection. Runs to the end of whatever it has begun: callers wait on channels, so
/// that one who goes away interrupts nothing.
pub(super) struct Writer {
    connection: SqliteConnection,
    path: PathBuf,
    options: SqliteLogOptions,
    flushes: Arc<AtomicU64>,
    position: TxId,
    last_at: i64,
    /// The position of the snapshot in the file; none before it is loaded.
    snapshot_position: Option<TxId>,
    /// A write failed in such a way that the file may hold it all the same.
    unsure: bool,
    job: Option<(TxId, SnapshotJob)>,
    job_error: Option<LogError>,
    /// About how much the write-ahead log holds, in bytes.
    wal_bytes: u64,
    last_write: Instant,
}

impl Writer {
    pub(super) fn new(
        connection: SqliteConnection,
        path: PathBuf,
        options: SqliteLogOptions,
        flushes: Arc<AtomicU64>,
    ) -> Self {
        Self {
            connection,
            path,
            options,
            flushes,
            position: TxId(0),
            last_at: 0,
            snapshot_position: None,
            unsure: false,
            job: None,
            job_error: None,
            wal_bytes: 0,
            last_write: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let checkpoint_at = self.last_write + self.options.checkpoint_idle;
            let next_step = async {
                match &mut self.job {
                    Some((_, job)) => job.next().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(command) => match self.obey(command).await {
                        ControlFlow::Continue(()) => {}
                        ControlFlow::Break(reply) => {
                            // An owner that went away has no use for the answer.
                            let _ = reply.send(self.close().await);
                            return;
                        }
                    },
                    None => break,
                },
                step = next_step => self.take_step(step).await,
                () = tokio::time::sleep_until(checkpoint_at), if self.wal_bytes > 0 => {
                    self.checkpoint().await;
                }
            }
            if self.wal_bytes >= self.options.checkpoint_bytes {
                self.checkpoint().await;
            }
        }
        // Dropped without a close: what was appended is durable, an unfinished snapshot is not needed.
        if let Err(error) = file::close(&self.path, self.connection).await {
            tracing::warn!(target: "tricedb::server", "{error}");
        }
    }

    async fn obey(&mut self, command: Command) -> ControlFlow<Reply<()>> {
        // An owner that went away has no use for the answer.
        match command {
            Command::Append { batch, reply } => drop(reply.send(self.append(batch).await)),
            Command::Load { reply } => drop(reply.send(self.load().await)),
            Command::Snapshot { position, image, reply } => {
                drop(reply.send(self.begin_snapshot(position, *image).await));
            }
            Command::Close { reply } => return ControlFlow::Break(reply),
        }
        ControlFlow::Continue(())
    }

    async fn append(&mut self, batch: EncodedBatch) -> Result<(), LogError> {
        if self.unsure {
            let message = "an earlier write failed midway; the file has to be opened anew";
            let source = sqlx::Error::Protocol(message.into());
            return Err(storage_error("cannot write", &self.path, source));
        }
        if batch.is_empty() {
            return Ok(());
        }
        let (expected, found) = (batch.expected, self.position);
        if let Some(last) = batch.last {
            if found != TxId(0) && found != expected {
                return Err(LogError::Conflict { expected, found });
            }
            if !batch.is_consecutive() {
                return Err(LogError::Conflict { expected: last, found });
            }
        }
        let (last, last_at) = (batch.last, batch.last_at);
        let bytes = batch.wal_bytes();
        if let Err(error) = batch.write(&mut self.connection).await {
            self.unsure = !leaves_nothing_behind(&error);
            return Err(match storage_error("cannot write", &self.path, error) {
                LogError::Storage(source) if self.unsure => LogError::InDoubt(source),
                error => error,
            });
        }
        self.flushes.fetch_add(1, Ordering::Relaxed);
        if let Some(last) = last {
            self.position = last;
            self.last_at = last_at;
        }
        self.wrote(bytes);
        Ok(())
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        let since = self.outcomes_since();
        let (loaded, snapshot) = load::load(&self.path, &mut self.connection, since).await?;
        self.position = loaded.position;
        self.last_at = loaded.last_at;
        self.snapshot_position = Some(snapshot);
        Ok(loaded)
    }

    async fn begin_snapshot(
        &mut self,
        position: TxId,
        image: SnapshotImage,
    ) -> Result<(), LogError> {
        self.finish_job().await;
        if let Some(error) = self.job_error.take() {
            return Err(error);
        }
        if self.snapshot_position == Some(position) {
            return Ok(());
        }
        let at = self.last_at;
        let number = sql_position(position)?;
        let job = SnapshotJob::begin(number, at, self.outcomes_since(), image);
        self.job = Some((position, job));
        Ok(())
    }

    /// Writes the snapshot that a new file begins with, to its end.
    pub(super) async fn write_first_snapshot(
        &mut self,
        image: SnapshotImage,
    ) -> Result<(), LogError> {
        self.begin_snapshot(TxId(0), image).await?;
        self.finish_job().await;
        self.job_error.take().map_or(Ok(()), Err)
    }

    async fn finish_job(&mut self) {
        while let Some((_, job)) = &mut self.job {
            let step = job.next().await;
            self.take_step(step).await;
        }
    }

    async fn take_step(&mut self, step: Step) {
        let Some((position, job)) = &mut self.job else { return };
        let published = matches!(step, Step::Publish).then_some(*position);
        let bytes = match &step {
            Step::Chunk(Ok(body)) => body.len() as u64,
            _ => 0,
        };
        match job.take(step, &mut self.connection).await {
            Ok(progress) => {
                if published.is_some() {
                    self.snapshot_position = published;
                }
                if progress == Progress::Done {
                    self.job = None;
                }
                self.wrote(bytes + 8192);
            }
            Err(error) => {
                tracing::warn!(
                    target: "tricedb::server",
                    "the snapshot of {} failed: {error}", self.path.display()
                );
                self.job = None;
                self.job_error = Some(match error {
                    StepError::Sql(error) => {
                        storage_error("cannot write a snapshot to", &self.path, error)
                    }
                    StepError::Encode(error) => LogError::Storage(Box::new(error)),
                });
            }
        }
    }

    /// Finishes what was begun and closes the file.
    pub(super) async fn close(mut self) -> Result<(), LogError> {
        self.finish_job().await;
        let closed = file::close(&self.path, self.connection).await;
        self.job_error.take().map_or(closed, Err)
    }

    /// Copies the write-ahead log into the file, so that the next commits write it from its beginning.
    async fn checkpoint(&mut self) {
        let done =
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut self.connection).await;
        if let Err(error) = done {
            // Nothing is lost: the log itself stays.
            tracing::warn!(
                target: "tricedb::server",
                "the checkpoint of {} failed: {error}", self.path.display()
            );
        }
        self.wal_bytes = 0;
    }

    fn wrote(&mut self, bytes: u64) {
        self.wal_bytes += bytes;
        self.last_write = Instant::now();
    }

    fn outcomes_since(&self) -> i64 {
        let retention =
            i64::try_from(self.options.outcome_retention.as_millis()).unwrap_or(i64::MAX);
        clock::now_ms().saturating_sub(retention)
    }
}

/// Whether SQLite rolled the statement back completely. After any other failure, an error of the disk
/// during the flush above all, a restart may still find the batch.
fn leaves_nothing_behind(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    const OUT_OF_MEMORY: i32 = 7;
    const DISK_FULL: i32 = 13;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    matches!(result_code(error), Some(BUSY | OUT_OF_MEMORY | DISK_FULL | TOO_BIG | CONSTRAINT))
}
