//! What the storage has yet to learn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tricedb_core::id::EntityId;
use tricedb_core::port::{Batch, EntityRow, OutboxChange, SubscriptionChange};
use tricedb_core::triple::Triple;

use super::local::{LocalFacts, RowKeys};
use super::millis::Millis;
use super::names::Names;
use super::pending::Outbox;
use super::subscription::Subscription;

/// How long changes from the server gather before they are written together.
const GATHER: Duration = Duration::from_millis(200);

/// How many times as long as writing them takes they gather at least, so that queued transactions do not
/// wait behind them most of the time; and the longest that they gather.
const GATHER_PART: u32 = 4;
const GATHER_MAX: Duration = Duration::from_secs(5);

/// Waits between tries when the storage fails.
const RETRY: Duration = Duration::from_secs(1);

/// Key under which a queued transaction's position is kept once the server committed it, so that it is not
/// sent again after a restart.
fn acked_key(seq: u64) -> String {
    format!("acked/{seq}")
}

/// Reads what [`acked_key`] and its value say.
pub(crate) fn read_acked(key: &str, value: &[u8]) -> Option<(u64, u64)> {
    let seq = key.strip_prefix("acked/")?.parse().ok()?;
    Some((seq, u64::from_le_bytes(value.try_into().ok()?)))
}

/// Keeps track of changes until they are durable. Queued transactions are written at once, everything else
/// after a little while; one batch is under way at a time, and what comes meanwhile goes with the next.
///
/// A transaction that results contain by now leaves the outbox in the batch that brings these results.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    dirty: Dirty,
    in_flight: Option<Flight>,
    /// When the oldest change that may wait was made.
    gathering_since: Option<Millis>,
    /// Something among them does not wait.
    at_once: bool,
    /// How long the last large batch took, from when.
    large: (Option<Millis>, Duration),
    not_before: Option<Millis>,
}

#[derive(Debug, Default)]
struct Dirty {
    rows: FxHashMap<(EntityId, Arc<str>), Vec<Triple>>,
    attrs: bool,
    queries: BTreeSet<Arc<str>>,
    /// Only their position changed: that is written when the client closes. After a crash the facts are
    /// newer than the position says, which does no harm: what a result contains may be laid over it again.
    positions: BTreeSet<Arc<str>>,
    /// Transactions to be written at once, and those that may wait.
    urgent: BTreeSet<u64>,
    outbox: BTreeSet<u64>,
    key_values: BTreeMap<String, Option<Vec<u8>>>,
}

#[derive(Debug, Default)]
struct Flight {
    rows: Vec<(EntityId, Arc<str>)>,
    attrs: bool,
    queries: Vec<Arc<str>>,
    outbox: Vec<u64>,
    key_values: Vec<(String, Option<Vec<u8>>)>,
}

impl Ledger {
    pub(crate) fn rows(&mut self, keys: RowKeys, local: &LocalFacts, now: Millis) {
        for (entity, etype) in keys {
            let triples = local.row(entity, &etype);
            self.dirty.rows.insert((entity, etype), triples);
        }
        self.gather(now);
    }

    pub(crate) fn attrs(&mut self, now: Millis) {
        self.dirty.attrs = true;
        self.gather(now);
    }

    pub(crate) fn query(&mut self, query: Arc<str>, now: Millis) {
        self.dirty.queries.insert(query);
        self.gather(now);
    }

    /// A kept query reflects a later position, with the same facts and pages.
    pub(crate) fn position(&mut self, query: Arc<str>) {
        self.dirty.positions.insert(query);
    }

    /// A queued transaction is to be written at once.
    pub(crate) fn transaction_now(&mut self, seq: u64) {
        self.dirty.urgent.insert(seq);
    }

    /// A queued transaction changed in a way that may be written later.
    pub(crate) fn transaction(&mut self, seq: u64, now: Millis) {
        self.dirty.outbox.insert(seq);
        self.gather(now);
    }

    /// A queued transaction is in the results by now: its row goes with the batch that brings these.
    pub(crate) fn transaction_retired(&mut self, seq: u64, now: Millis) {
        self.dirty.urgent.remove(&seq);
        self.dirty.outbox.insert(seq);
        self.gather(now);
    }

    pub(crate) fn key_value(&mut self, key: &str, value: Option<Vec<u8>>, now: Millis) {
        self.dirty.key_values.insert(key.to_owned(), value);
        self.gather(now);
    }

    /// A key-value that something waits for: it is written at once.
    pub(crate) fn key_value_now(&mut self, key: &str, value: Vec<u8>, now: Millis) {
        self.key_value(key, Some(value), now);
        self.at_once = true;
    }

    /// The key-values of the batch under way.
    pub(crate) fn key_values_in_flight(
        &self,
    ) -> impl Iterator<Item = (&str, &Option<Vec<u8>>)> + use<'_> {
        let flight = self.in_flight.iter().flat_map(|flight| &flight.key_values);
        flight.map(|(key, value)| (key.as_str(), value))
    }

    fn gather(&mut self, now: Millis) {
        self.gathering_since.get_or_insert(now);
    }

    fn gather_for(&self) -> Duration {
        self.large.1.saturating_mul(GATHER_PART).clamp(GATHER, GATHER_MAX)
    }

    /// When the next batch may be made, if one will be.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        if self.in_flight.is_some() {
            return None;
        }
        let urgent = self.at_once || !self.dirty.urgent.is_empty();
        let due = if urgent {
            Some(Millis(0))
        } else {
            self.gathering_since.map(|t| t.plus(self.gather_for()))
        };
        due.map(|due| due.max(self.not_before.unwrap_or_default()))
    }

    /// Whether nothing is left to write and nothing under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_none()
            && self.gathering_since.is_none()
            && self.dirty.urgent.is_empty()
            && self.dirty.outbox.is_empty()
            && self.dirty.positions.is_empty()
    }

    /// The next batch, if it is time. With `all`, nothing waits.
    pub(crate) fn batch(
        &mut self,
        now: Millis,
        all: bool,
        outbox: &Outbox,
        queries: &BTreeMap<Arc<str>, Subscription>,
        names: &Names,
    ) -> Option<Batch> {
        if self.in_flight.is_some() || self.not_before.is_some_and(|t| now < t && !all) {
            return None;
        }
        let gathered = all
            || std::mem::take(&mut self.at_once)
            || self.gathering_since.is_some_and(|t| now >= t.plus(self.gather_for()));
        let (mut batch, mut flight) = (Batch::default(), Flight::default());
        if gathered {
            self.gathering_since = None;
            self.large.0 = Some(now);
            let Dirty {
                rows,
                attrs,
                queries: mut changed,
                mut positions,
                mut urgent,
                outbox: mut seqs,
                key_values,
            } = std::mem::take(&mut self.dirty);
            if all {
                changed.append(&mut positions);
            }
            positions.retain(|query| !changed.contains(query));
            self.dirty.positions = positions;
            flight.rows = rows.keys().cloned().collect();
            for ((entity, etype), triples) in rows {
                if triples.is_empty() {
                    batch.remove_entities.push((entity, etype));
                } else {
                    batch.put_entities.push(EntityRow { entity, etype, triples });
                }
            }
            batch.attrs = attrs.then(|| names.server().to_vec());
            for query in &changed {
                let kept = queries.get(query).filter(|kept| kept.is_loaded);
                batch.subscriptions.push(match kept {
                    Some(kept) => SubscriptionChange::Put(kept.row()),
                    None => SubscriptionChange::Remove(query.clone()),
                });
            }
            batch.key_values = key_values.into_iter().collect();
            flight.attrs = attrs;
            flight.queries = changed.into_iter().collect();
            flight.key_values.clone_from(&batch.key_values);
            seqs.append(&mut urgent);
            flight.outbox = seqs.into_iter().collect();
        } else {
            flight.outbox = std::mem::take(&mut self.dirty.urgent).into_iter().collect();
            for seq in &flight.outbox {
                self.dirty.outbox.remove(seq);
            }
        }
        for seq in &flight.outbox {
            batch.outbox.push(match outbox.row(*seq) {
                Some(row) => OutboxChange::Put(row),
                None => OutboxChange::Remove(*seq),
            });
            let acked = outbox.acked(*seq).map(|tx| tx.0.to_le_bytes().to_vec());
            if acked.is_some() || outbox.row(*seq).is_none() {
                batch.key_values.push((acked_key(*seq), acked));
            }
        }
        if batch.is_empty() {
            return None;
        }
        self.in_flight = Some(flight);
        Some(batch)
    }

    /// The batch is durable. Returns the transactions that were in it.
    pub(crate) fn committed(&mut self, now: Millis) -> Vec<u64> {
        self.not_before = None;
        if let Some(begun) = self.large.0.take() {
            self.large.1 = now.since(begun);
        }
        self.in_flight.take().map(|flight| flight.outbox).unwrap_or_default()
    }

    /// The batch was not applied: everything in it is to be written again. Returns the transactions that
    /// were in it, and the wait.
    pub(crate) fn failed(&mut self, local: &LocalFacts, now: Millis) -> (Vec<u64>, Duration) {
        let Some(flight) = self.in_flight.take() else { return (Vec::new(), RETRY) };
        self.large.0 = None;
        for (entity, etype) in flight.rows {
            let triples = local.row(entity, &etype);
            self.dirty.rows.entry((entity, etype)).or_insert(triples);
        }
        self.dirty.attrs |= flight.attrs;
        self.dirty.queries.extend(flight.queries);
        for (key, value) in flight.key_values {
            self.dirty.key_values.entry(key).or_insert(value);
        }
        for seq in &flight.outbox {
            self.dirty.urgent.insert(*seq);
        }
        self.gather(now);
        self.not_before = Some(now.plus(RETRY));
        (flight.outbox, RETRY)
    }
}
