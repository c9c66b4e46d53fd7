//! What is on its way to the log: entries that gather, and the batch that is being flushed.

use std::sync::Arc;

use tricedb_core::id::TxId;

use crate::log::LogEntry;

/// A point in the sequence of log entries. What was produced after an entry may leave once the entry's mark
/// is durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct Mark(u64);

/// Whether anything is ever made durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Durability {
    /// Entries count as durable at once.
    Volatile,
    /// Entries are durable when the log says so.
    Logged,
}

/// The entries between memory and the log.
#[derive(Debug)]
pub(super) struct Pipeline {
    durability: Durability,
    gathered: Vec<LogEntry>,
    in_flight: Option<Batch>,
    /// The last entry ever pushed.
    pushed: Mark,
    /// The last entry of the batch in flight.
    flushing: Mark,
    durable: Mark,
    /// The log's position after the batch in flight; zero until it holds its first commit.
    position: TxId,
}

/// Entries that become durable together, and where the log stands before them.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) expected: TxId,
    pub(super) entries: Arc<[LogEntry]>,
}

impl Pipeline {
    pub(super) const fn new(durability: Durability, position: TxId) -> Self {
        Self {
            durability,
            gathered: Vec::new(),
            in_flight: None,
            pushed: Mark(0),
            flushing: Mark(0),
            durable: Mark(0),
            position,
        }
    }

    /// Takes an entry; gives the mark that what follows from it must wait for.
    pub(super) fn push(&mut self, entry: LogEntry) {
        self.pushed.0 += 1;
        match self.durability {
            Durability::Volatile => self.durable = self.pushed,
            Durability::Logged => self.gathered.push(entry),
        }
    }

    /// What anything produced now must wait for: it may show every entry pushed so far.
    pub(super) const fn mark(&self) -> Mark {
        self.pushed
    }

    pub(super) fn is_durable(&self, mark: Mark) -> bool {
        #[cfg(feature = "mutants")]
        if tricedb_core::mutant::Mutant::AckBeforeFlush.is_planted() {
            return true;
        }
        mark <= self.durable
    }

    /// Whether the log is at work; what comes meanwhile gathers for the next batch.
    pub(super) const fn is_flushing(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether nothing waits for the log.
    pub(super) const fn is_empty(&self) -> bool {
        self.in_flight.is_none() && self.gathered.is_empty()
    }

    /// Makes a batch of what has gathered, if the log is free.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        if self.is_flushing() || self.gathered.is_empty() {
            return None;
        }
        let batch =
            Batch { expected: self.position, entries: std::mem::take(&mut self.gathered).into() };
        if let Some(last) = batch.entries.iter().rev().find_map(LogEntry::position) {
            self.position = last;
        }
        self.flushing = self.pushed;
        self.in_flight = Some(batch.clone());
        Some(batch)
    }

    /// The batch in flight is durable.
    pub(super) fn flushed(&mut self) {
        self.in_flight = None;
        self.durable = self.flushing;
    }

    /// The batch in flight is lost: gives every entry that is not durable, last first. Nothing waits any
    /// more after it.
    pub(super) fn fail(&mut self) -> Vec<LogEntry> {
        let mut lost = Vec::new();
        if let Some(batch) = self.in_flight.take() {
            self.position = batch.expected;
            lost.extend_from_slice(&batch.entries);
        }
        lost.append(&mut self.gathered);
        lost.reverse();
        self.durable = self.pushed;
        lost
    }
}
