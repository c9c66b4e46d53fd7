//! The place of one app.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard, TryLockError, watch};
use tricedb_core::id::AppId;

use super::watched_log::{LogHealth, WatchedLog};
use crate::accounts::AppRecord;
use crate::app::AppHandle;
use crate::log::{CommitLog, LoadedLog, LogError};

/// The place of one app, empty or not. Locked while that changes.
#[derive(Debug, Default)]
pub(super) struct Slot {
    place: Mutex<Option<OpenApp>>,
    /// The health of whoever is or was here, readable while the place is locked.
    health: std::sync::Mutex<Option<Arc<LogHealth>>>,
}

impl Slot {
    pub(super) async fn lock(&self) -> MutexGuard<'_, Option<OpenApp>> {
        self.place.lock().await
    }

    pub(super) fn try_lock(&self) -> Result<MutexGuard<'_, Option<OpenApp>>, TryLockError> {
        self.place.try_lock()
    }

    pub(super) fn watch(&self, health: Arc<LogHealth>) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = Some(health);
    }

    pub(super) fn is_in_trouble(&self, flush_max: Duration) -> bool {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.as_ref().is_some_and(|health| health.is_in_trouble(flush_max))
    }
}

/// An app in use, as `/health` tells the developer.
#[derive(Clone, Debug)]
pub struct OpenAppReport {
    /// Which app.
    pub id: AppId,
    /// How many sessions it has.
    pub sessions: usize,
    /// How many rooms somebody is in.
    pub rooms: usize,
    /// How many messages of topics slow readers have missed since it was opened.
    pub dropped_broadcasts: u64,
    /// How many flushes to disk it has made since it was opened.
    pub flushes: u64,
    /// About how many facts it holds.
    pub facts: u64,
}

/// An app in use.
#[derive(Debug)]
pub(super) struct OpenApp {
    pub(super) handle: AppHandle,
    pub(super) record: Arc<AppRecord>,
    pub(super) health: Arc<LogHealth>,
    /// Closes when the app's log is closed.
    log_open: watch::Receiver<()>,
    /// When somebody last asked for it.
    pub(super) asked: Instant,
}

impl OpenApp {
    /// Reads the log and gives both to `spawn`.
    pub(super) async fn begin(
        record: AppRecord,
        log: Box<dyn CommitLog>,
        spawn: impl FnOnce(LoadedLog, Box<dyn CommitLog>) -> AppHandle,
    ) -> Result<Self, LogError> {
        let health = LogHealth::new();
        let (mut log, log_open) = WatchedLog::new(log, health.clone());
        let state = match log.load().await {
            Ok(state) => state,
            Err(error) => {
                // The reason counts, not what closing a log that cannot be read comes to.
                let _ = log.close().await;
                return Err(error);
            }
        };
        let handle = spawn(state, Box::new(log));
        Ok(Self { handle, record: Arc::new(record), health, log_open, asked: Instant::now() })
    }

    /// Waits until the app's log is closed, for an app that ends.
    pub(super) async fn gone(&self) {
        // Nothing is ever sent: the only change is the end.
        let _ = self.log_open.clone().changed().await;
    }

    /// Ends it with its sessions, and waits until its log is closed.
    pub(super) async fn end(&self) {
        self.handle.shutdown().await;
        self.gone().await;
    }

    /// Lets it leave memory if nobody uses it, and waits until its log is closed. Whether it did. Whoever
    /// was given the handle within `grace` may be about to use it.
    pub(super) async fn park(&self, grace: Duration) -> bool {
        if self.asked.elapsed() < grace && !self.handle.is_closed() {
            return false;
        }
        let parked = self.handle.is_closed() || self.handle.park().await;
        if parked {
            self.gone().await;
        }
        parked
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        /// What a fact takes in rows and indexes, with room for its text.
        const FACT_BYTES: u64 = 150;
        const EMPTY_APP_BYTES: u64 = 256 << 10;
        EMPTY_APP_BYTES + self.health.facts() * FACT_BYTES
    }

    pub(super) fn report(&self) -> OpenAppReport {
        OpenAppReport {
            id: self.record.id,
            sessions: self.handle.session_count(),
            rooms: self.handle.room_count(),
            dropped_broadcasts: self.handle.dropped_broadcasts(),
            flushes: self.health.flushes(),
            facts: self.health.facts(),
        }
    }
}
