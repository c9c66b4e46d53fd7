//! A commit log that tells how it is doing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::watch;
use tricedb_core::id::TxId;

use crate::log::{CommitLog, LoadedLog, LogEntry, LogError, SnapshotImage};

/// How a log is doing, readable from elsewhere.
#[derive(Debug)]
pub(super) struct LogHealth {
    began: Instant,
    flushes: AtomicU64,
    /// Facts at loading, and changes since: about how much the app holds.
    facts: AtomicU64,
    is_failing: AtomicBool,
    /// When the append under way began, in milliseconds since `began`, plus one; 0 if none is.
    append_began: AtomicU64,
}

impl LogHealth {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            flushes: AtomicU64::new(0),
            facts: AtomicU64::new(0),
            is_failing: AtomicBool::new(false),
            append_began: AtomicU64::new(0),
        })
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Relaxed)
    }

    pub(super) fn facts(&self) -> u64 {
        self.facts.load(Ordering::Relaxed)
    }

    /// Whether the last append failed or the present one takes longer than this.
    pub(super) fn is_in_trouble(&self, flush_max: Duration) -> bool {
        let append_began = self.append_began.load(Ordering::Relaxed);
        let stalls = append_began > 0
            && self.began.elapsed() > Duration::from_millis(append_began - 1) + flush_max;
        stalls || self.is_failing.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// Passes everything on to a log and notes how it went.
pub(super) struct WatchedLog {
    log: Box<dyn CommitLog>,
    health: Arc<LogHealth>,
    /// Dropped with the log, when nothing uses the storage any more.
    _open: watch::Sender<()>,
}

impl WatchedLog {
    /// The log, and a channel that closes when the log is gone.
    pub(super) fn new(
        log: Box<dyn CommitLog>,
        health: Arc<LogHealth>,
    ) -> (Self, watch::Receiver<()>) {
        let (open, gone) = watch::channel(());
        (Self { log, health, _open: open }, gone)
    }
}

impl fmt::Debug for WatchedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedLog").field("health", &self.health).finish_non_exhaustive()
    }
}

#[async_trait]
impl CommitLog for WatchedLog {
    async fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), LogError> {
        self.health.append_began.store(self.health.now() + 1, Ordering::Relaxed);
        let result = self.log.append(expected, entries).await;
        self.health.append_began.store(0, Ordering::Relaxed);
        self.health.is_failing.store(result.is_err(), Ordering::Relaxed);
        self.health.flushes.store(self.log.flushes(), Ordering::Relaxed);
        if result.is_ok() {
            let changes: usize = entries
                .iter()
                .map(|entry| match entry {
                    LogEntry::Committed { commit, .. } => commit.len(),
                    LogEntry::Rejected { .. } => 0,
                })
                .sum();
            self.health.facts.fetch_add(changes as u64, Ordering::Relaxed);
        }
        result
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        let loaded = self.log.load().await?;
        self.health.facts.store(loaded.index.triple_count() as u64, Ordering::Relaxed);
        Ok(loaded)
    }

    async fn snapshot(&mut self, position: TxId, image: SnapshotImage) -> Result<(), LogError> {
        self.health.facts.store(image.triple_count() as u64, Ordering::Relaxed);
        self.log.snapshot(position, image).await
    }

    fn is_volatile(&self) -> bool {
        self.log.is_volatile()
    }

    fn flushes(&self) -> u64 {
        self.log.flushes()
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.log.close().await
    }
}
