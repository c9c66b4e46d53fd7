//! The disks: what a server's log and a client's storage keep over a crash.

use std::sync::Arc;

use tricedb_core::id::TxId;
use tricedb_core::index::TripleIndex;
use tricedb_server::log::{LoadedLog, LogEntry, LoggedOutcome, Outcome, SnapshotImage};

/// The server's log on a disk. What was appended is there; an append that a crash met is there whole or not
/// at all, for a torn one is recognised and dropped.
#[derive(Debug)]
pub(crate) struct LogDisk {
    snapshot: TripleIndex,
    snapshot_position: TxId,
    tail: Vec<LogEntry>,
    outcomes: Vec<LoggedOutcome>,
    last_at: i64,
    epoch: u64,
}

impl LogDisk {
    pub(crate) fn new(epoch: u64) -> Self {
        Self {
            snapshot: TripleIndex::new(),
            snapshot_position: TxId(0),
            tail: Vec::new(),
            outcomes: Vec::new(),
            last_at: 0,
            epoch,
        }
    }

    pub(crate) fn position(&self) -> TxId {
        self.tail.last().and_then(LogEntry::position).unwrap_or(self.snapshot_position)
    }

    /// Appends a batch; fails if the log stands elsewhere.
    pub(crate) fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), String> {
        let found = self.position();
        let commits = entries.iter().any(|entry| entry.position().is_some());
        if commits && found != TxId(0) && found != expected {
            return Err(format!("append at {expected}, but the log stands at {found}"));
        }
        for entry in entries {
            let (event, outcome, at) = match entry {
                LogEntry::Committed { position, at, event, .. } => {
                    self.tail.push(entry.clone());
                    self.last_at = *at;
                    (event.as_ref(), Outcome::Accepted(*position), *at)
                }
                LogEntry::Rejected { at, event, error } => {
                    (Some(event), Outcome::Rejected(Arc::clone(error)), *at)
                }
            };
            if let Some(event) = event
                && !self.outcomes.iter().any(|known| known.event == *event)
            {
                self.outcomes.push(LoggedOutcome { event: event.clone(), outcome, at });
            }
        }
        Ok(())
    }

    pub(crate) fn snapshot(&mut self, position: TxId, image: &SnapshotImage) {
        let mut index = TripleIndex::new();
        for attr in image.attrs() {
            index.put_attr(attr.clone());
        }
        for (_, triples) in image.entities() {
            for triple in &triples {
                index.insert(triple);
            }
        }
        self.snapshot = index;
        self.snapshot_position = position;
        self.tail.retain(|entry| entry.position().is_some_and(|at| at > position));
    }

    pub(crate) fn load(&self) -> LoadedLog {
        let mut index = self.snapshot.clone();
        for entry in &self.tail {
            if let LogEntry::Committed { commit, .. } = entry {
                index.apply(commit);
            }
        }
        LoadedLog {
            index,
            position: self.position(),
            last_at: self.last_at,
            outcomes: self.outcomes.clone(),
            commits_after_snapshot: self.tail.len(),
            epoch: Some(self.epoch),
            floors: Vec::new(),
        }
    }
}
