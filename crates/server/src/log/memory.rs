//! A commit log in memory: nothing survives the process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tricedb_core::id::TxId;
use tricedb_core::index::TripleIndex;

use super::{
    CommitLog, LoadedLog, LogEntry, LogError, LoggedOutcome, Outcome, SnapshotImage, new_epoch,
};

/// A log in memory, for tests and for apps that need not outlive the server.
///
/// Clones share what they hold, as two openings of one file would.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    held: Arc<Mutex<Held>>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Held {
    /// The state at `snapshot_position`.
    snapshot: TripleIndex,
    snapshot_position: TxId,
    last_at: i64,
    /// The committed entries after the snapshot.
    tail: Vec<LogEntry>,
    outcomes: Vec<LoggedOutcome>,
    epoch: Option<u64>,
}

impl Held {
    fn position(&self) -> TxId {
        self.tail.last().and_then(LogEntry::position).unwrap_or(self.snapshot_position)
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// A log of an app that begins with these facts.
    pub fn beginning_with(index: TripleIndex) -> Self {
        let held = Held { snapshot: index, ..Held::default() };
        Self { held: Arc::new(Mutex::new(held)), closed: false }
    }

    fn held(&self) -> Result<std::sync::MutexGuard<'_, Held>, LogError> {
        if self.closed {
            return Err(LogError::Closed);
        }
        // Every change is made whole before the lock is released, even if a caller panicked since.
        Ok(self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl CommitLog for MemoryLog {
    async fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), LogError> {
        let mut held = self.held()?;
        let found = held.position();
        let commits = entries.iter().any(|entry| entry.position().is_some());
        if commits && found != TxId(0) && found != expected {
            return Err(LogError::Conflict { expected, found });
        }
        for entry in entries {
            let (named, outcome, at) = match entry {
                LogEntry::Committed { position, at, event, .. } => {
                    held.tail.push(entry.clone());
                    held.last_at = *at;
                    (event.as_ref(), Outcome::Accepted(*position), *at)
                }
                LogEntry::Rejected { at, event, error } => {
                    (Some(event), Outcome::Rejected(error.clone()), *at)
                }
            };
            if let Some(event) = named
                && !held.outcomes.iter().any(|known| known.event == *event)
            {
                held.outcomes.push(LoggedOutcome { event: event.clone(), outcome, at });
            }
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        let mut held = self.held()?;
        let epoch = *held.epoch.get_or_insert_with(new_epoch);
        let mut index = held.snapshot.clone();
        for entry in &held.tail {
            if let LogEntry::Committed { commit, .. } = entry {
                index.apply(commit);
            }
        }
        Ok(LoadedLog {
            index,
            position: held.position(),
            last_at: held.last_at,
            outcomes: held.outcomes.clone(),
            commits_after_snapshot: held.tail.len(),
            epoch: Some(epoch),
            floors: Vec::new(),
        })
    }

    async fn snapshot(&mut self, position: TxId, image: SnapshotImage) -> Result<(), LogError> {
        let mut held = self.held()?;
        let mut index = TripleIndex::new();
        let mut known = HashSet::new();
        for attr in image.attrs() {
            known.insert(attr.id);
            index.put_attr(attr.clone());
        }
        for (_, triples) in image.entities() {
            for triple in triples.iter().filter(|triple| known.contains(&triple.attr)) {
                index.insert(triple);
            }
        }
        held.snapshot = index;
        held.snapshot_position = position;
        held.tail.retain(|entry| entry.position().is_some_and(|at| at > position));
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        true
    }

    fn flushes(&self) -> u64 {
        0
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.closed = true;
        Ok(())
    }
}
