//! Transactions that the server has not settled, and those that it refused.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tricedb_core::id::{EntityId, EventId, TxId};
use tricedb_core::port::{OutboxRow, OutboxState};
use tricedb_core::tx::{Operation, TxStep};

use super::conflict::{Write, Writers};
use super::millis::Millis;
use super::report::{PendingState, PendingTransaction, ServerError};

/// A transaction on its way.
///
/// Survives a reconnect: everything but `Stage::InFlight`. Survives a restart: operations, name, number of
/// attempts and, once acknowledged, the position; steps are made anew.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) seq: u64,
    /// The name on the wire.
    pub(crate) event: EventId,
    /// The name that the program knows; the one on the wire until a conflict of attributes changes that.
    pub(crate) name: EventId,
    /// Modes decided.
    pub(crate) operations: Vec<Operation>,
    /// What the operations mean with the attributes known today; these are sent.
    pub(crate) steps: Vec<TxStep>,
    /// Grows when `steps` change.
    pub(crate) revision: u32,
    pub(crate) created_at: i64,
    pub(crate) attempts: u32,
    pub(crate) stage: Stage,
    /// How often the server failed at it, or it lost a race for a new attribute.
    pub(crate) failures: u32,
    pub(crate) last_error: Option<ServerError>,
    /// Bytes of its message when it was last sent.
    pub(crate) sent_len: usize,
    /// The values it replaces, to notice others who do the same. Not after a restart.
    pub(crate) writes: Vec<Write>,
    /// Whether it came from the storage: no watched query says yet which results it must stay over.
    pub(crate) is_restored: bool,
}

/// How far a pending transaction has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// To be sent, not before the given time.
    Waiting { not_before: Option<Millis> },
    /// Lost a race for a new attribute; waits to learn the winner's.
    WaitingForAttrs { since: Millis },
    /// Handed to the present connection, no answer yet.
    InFlight { since: Millis },
    /// Committed at this position; shown until the results contain it.
    Acked { tx: TxId, at: Millis },
}

impl Pending {
    /// Whether it makes attributes. Such a transaction is sent with nothing behind it: another client may
    /// have made the same, and those behind would name the wrong one.
    pub(crate) fn makes_attrs(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, TxStep::AddAttr(_)))
    }

    /// Whether only a native session can carry it.
    pub(crate) fn needs_native(&self) -> bool {
        self.steps.iter().any(TxStep::is_extension)
    }

    /// To be sent under another name: the server remembers that it refused it under the old one. The new
    /// name follows from the old, so that a crash before it is stored leads to the same name again and the
    /// server still recognises it.
    pub(crate) fn rename(&mut self) {
        self.event = successor(&self.event);
        self.stage = Stage::Waiting { not_before: None };
    }

    /// Where the server put it.
    pub(crate) const fn tx(&self) -> Option<TxId> {
        match self.stage {
            Stage::Acked { tx, .. } => Some(tx),
            _ => None,
        }
    }

    /// Whether a result at this position does not contain it for sure.
    pub(crate) fn is_beyond(&self, position: TxId) -> bool {
        self.tx().is_none_or(|tx| tx > position)
    }

    fn row(&self) -> OutboxRow {
        OutboxRow {
            seq: self.seq,
            event: self.event.clone(),
            operations: self.operations.clone(),
            created_at: self.created_at,
            attempts: self.attempts,
            state: OutboxState::Queued,
        }
    }
}

/// The name after this one, the same each time.
fn successor(event: &EventId) -> EventId {
    // An odd factor maps names one to one, so that no two names share a successor.
    const FACTOR: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
    match uuid::Uuid::parse_str(event.as_str()) {
        Ok(uuid) => {
            let bits = uuid.as_u128().wrapping_mul(FACTOR).wrapping_add(FACTOR);
            EventId::new(
                uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid().to_string(),
            )
        }
        Err(_) => EventId::new(format!("{}+", event.as_str())),
    }
}

/// A transaction that the server refused, kept until it is dismissed or tried again.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) row: OutboxRow,
    pub(crate) name: EventId,
    pub(crate) error: ServerError,
}

/// The queue, and beside it the refused ones, which block nothing.
///
/// Pending ones are changed through [`Outbox::edit`], which keeps the orders in which they are looked for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: BTreeMap<u64, Pending>,
    refused: BTreeMap<u64, Refused>,
    last_seq: u64,
    /// Numbers by the names on the wire and the program's.
    events: FxHashMap<EventId, u64>,
    names: FxHashMap<EventId, u64>,
    stages: Stages,
    writers: Writers,
    /// Numbers of those that came, went, or are to be seen otherwise, since views last followed.
    changed: Vec<u64>,
    /// How many changes there were before these.
    forgotten: u64,
}

/// Pending ones by how far they have come.
#[derive(Debug, Default)]
struct Stages {
    /// Waiting for anything.
    unsent: BTreeSet<u64>,
    postponed: BTreeSet<(Millis, u64)>,
    racing: BTreeSet<(Millis, u64)>,
    in_flight: BTreeSet<(Millis, u64)>,
    /// Those in flight that make attributes.
    makers: BTreeSet<u64>,
    acked: BTreeSet<(TxId, u64)>,
    acked_at: BTreeSet<(Millis, u64)>,
}

impl Stages {
    fn note(&mut self, pending: &Pending) {
        let seq = pending.seq;
        match pending.stage {
            Stage::Waiting { not_before } => {
                self.unsent.insert(seq);
                self.postponed.extend(not_before.map(|until| (until, seq)));
            }
            Stage::WaitingForAttrs { since } => {
                self.unsent.insert(seq);
                self.racing.insert((since, seq));
            }
            Stage::InFlight { since } => {
                self.in_flight.insert((since, seq));
                if pending.makes_attrs() {
                    self.makers.insert(seq);
                }
            }
            Stage::Acked { tx, at } => {
                self.acked.insert((tx, seq));
                self.acked_at.insert((at, seq));
            }
        }
    }

    fn forget(&mut self, pending: &Pending) {
        let seq = pending.seq;
        match pending.stage {
            Stage::Waiting { not_before } => {
                self.unsent.remove(&seq);
                if let Some(until) = not_before {
                    self.postponed.remove(&(until, seq));
                }
            }
            Stage::WaitingForAttrs { since } => {
                self.unsent.remove(&seq);
                self.racing.remove(&(since, seq));
            }
            Stage::InFlight { since } => {
                self.in_flight.remove(&(since, seq));
                self.makers.remove(&seq);
            }
            Stage::Acked { tx, at } => {
                self.acked.remove(&(tx, seq));
                self.acked_at.remove(&(at, seq));
            }
        }
    }
}

impl Outbox {
    pub(crate) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// The number given last.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Gives numbers behind this one from now on.
    pub(crate) fn skip_numbers(&mut self, used: u64) {
        self.last_seq = self.last_seq.max(used);
    }

    pub(crate) fn get(&self, seq: u64) -> Option<&Pending> {
        self.pending.get(&seq)
    }

    /// Changes a pending one; not its writes.
    pub(crate) fn edit<R>(
        &mut self,
        seq: u64,
        change: impl FnOnce(&mut Pending) -> R,
    ) -> Option<R> {
        let pending = self.pending.get_mut(&seq)?;
        let (revision, was_acked) = (pending.revision, pending.tx().is_some());
        self.stages.forget(pending);
        let event = pending.event.clone();
        let result = change(pending);
        self.stages.note(pending);
        if event != pending.event {
            self.events.remove(&event);
            self.events.insert(pending.event.clone(), seq);
        }
        if revision != pending.revision || was_acked != pending.tx().is_some() {
            self.changed.push(seq);
        }
        Some(result)
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        let seq = pending.seq;
        self.last_seq = self.last_seq.max(seq);
        self.stages.note(&pending);
        self.events.insert(pending.event.clone(), seq);
        self.names.insert(pending.name.clone(), seq);
        self.changed.push(seq);
        self.pending.insert(seq, pending);
    }

    pub(crate) fn remove(&mut self, seq: u64) -> Option<Pending> {
        let pending = self.pending.remove(&seq)?;
        self.stages.forget(&pending);
        self.events.remove(&pending.event);
        self.names.remove(&pending.name);
        self.writers.forget(seq, &pending.writes);
        self.changed.push(seq);
        Some(pending)
    }

    pub(crate) fn push_refused(&mut self, refused: Refused) {
        self.last_seq = self.last_seq.max(refused.row.seq);
        self.refused.insert(refused.row.seq, refused);
    }

    /// Those not settled, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    /// The numbers of those not settled, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.pending.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many the server has not committed.
    pub(crate) fn unanswered(&self) -> usize {
        self.stages.unsent.len() + self.stages.in_flight.len()
    }

    /// The first that is not sent.
    pub(crate) fn first_unsent(&self) -> Option<&Pending> {
        self.pending.get(self.stages.unsent.first()?)
    }

    /// How many were sent and not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.stages.in_flight.len()
    }

    /// Whether one that makes attributes was sent and not answered.
    pub(crate) fn makers_in_flight(&self) -> bool {
        !self.stages.makers.is_empty()
    }

    /// The numbers of those that were sent and not answered.
    pub(crate) fn sent(&self) -> Vec<u64> {
        let mut sent: Vec<u64> = self.stages.in_flight.iter().map(|(_, seq)| *seq).collect();
        sent.sort_unstable();
        sent
    }

    /// The numbers of those that wait to learn the winner's attributes.
    pub(crate) fn racing(&self) -> Vec<u64> {
        self.stages.racing.iter().map(|(_, seq)| *seq).collect()
    }

    /// The numbers of those that the server committed.
    pub(crate) fn acked_all(&self) -> Vec<u64> {
        self.stages.acked.iter().map(|(_, seq)| *seq).collect()
    }

    /// The numbers of those committed behind one position, up to another.
    pub(crate) fn acked_between(
        &self,
        after: TxId,
        to: TxId,
    ) -> impl Iterator<Item = u64> + use<'_> {
        let end = TxId(to.0.saturating_add(1));
        let start = TxId(after.0.saturating_add(1)).min(end);
        self.stages.acked.range((start, 0)..(end, 0)).map(|(_, seq)| *seq)
    }

    /// The first time to which one is postponed; since when the oldest race, the oldest sending without an
    /// answer, and the oldest acknowledged one are.
    pub(crate) fn first_times(&self) -> [Option<Millis>; 4] {
        let first = |times: &BTreeSet<(Millis, u64)>| times.first().map(|(at, _)| *at);
        let Stages { postponed, racing, in_flight, acked_at, .. } = &self.stages;
        [first(postponed), first(racing), first(in_flight), first(acked_at)]
    }

    /// Those postponed up to now wait no longer.
    pub(crate) fn end_waits(&mut self, now: Millis) {
        while let Some((_, seq)) = self.stages.postponed.first().filter(|(at, _)| *at <= now) {
            self.edit(*seq, |pending| pending.stage = Stage::Waiting { not_before: None });
        }
    }

    /// How often the queue changed so far.
    pub(crate) fn changes(&self) -> u64 {
        self.forgotten + self.changed.len() as u64
    }

    /// What changed since there were so many changes; `None` if that is forgotten.
    pub(crate) fn changed_since(&self, seen: u64) -> Option<&[u64]> {
        let skip = usize::try_from(seen.checked_sub(self.forgotten)?).ok()?;
        self.changed.get(skip..)
    }

    /// Every view has followed all changes.
    pub(crate) fn forget_changes(&mut self) {
        self.forgotten = self.changes();
        self.changed.clear();
    }

    /// Forgets the oldest refused one if there are more than these; returns its number.
    pub(crate) fn forget_refused_beyond(&mut self, max: usize) -> Option<u64> {
        if self.refused.len() <= max {
            return None;
        }
        self.refused.pop_first().map(|(seq, _)| seq)
    }

    pub(crate) fn remove_refused(&mut self, seq: u64) -> Option<Refused> {
        self.refused.remove(&seq)
    }

    /// The number of the pending transaction with this name on the wire.
    pub(crate) fn sent_as(&self, event: &EventId) -> Option<u64> {
        self.events.get(event).copied()
    }

    pub(crate) fn named(&self, name: &EventId) -> Option<&Pending> {
        let seq = self.names.get(name).or_else(|| self.events.get(name))?;
        self.pending.get(seq)
    }

    pub(crate) fn refused_named(&self, name: &EventId) -> Option<u64> {
        let is = |r: &&Refused| r.name == *name || r.row.event == *name;
        self.refused.values().find(is).map(|refused| refused.row.seq)
    }

    /// Notes what a new transaction writes, in the place of what earlier ones did: only the last is anybody's
    /// last word.
    pub(crate) fn set_writes(&mut self, seq: u64, writes: Vec<Write>) {
        for (before, place) in self.writers.take_over(seq, &writes) {
            if let Some(pending) = self.pending.get_mut(&before) {
                pending.writes.retain(|write| write.place() != place);
            }
        }
        if let Some(pending) = self.pending.get_mut(&seq) {
            pending.writes = writes;
        }
    }

    /// The writes of a transaction that is settled.
    pub(crate) fn take_writes(&mut self, seq: u64) -> Vec<Write> {
        let Some(pending) = self.pending.get_mut(&seq) else { return Vec::new() };
        let writes = std::mem::take(&mut pending.writes);
        self.writers.forget(seq, &writes);
        writes
    }

    /// One of a transaction's writes is settled before it is.
    pub(crate) fn forget_write(&mut self, seq: u64, write: &Write) {
        self.writers.forget(seq, std::slice::from_ref(write));
    }

    /// Those that write anything of an entity.
    pub(crate) fn writers_of(&self, entity: EntityId) -> Vec<u64> {
        self.writers.of(entity)
    }

    pub(crate) fn writes_mut(&mut self, seq: u64) -> Option<(Option<TxId>, &mut Vec<Write>)> {
        let pending = self.pending.get_mut(&seq)?;
        Some((pending.tx(), &mut pending.writes))
    }

    /// What the storage is to hold under this number; `None` for nothing.
    pub(crate) fn row(&self, seq: u64) -> Option<OutboxRow> {
        self.pending
            .get(&seq)
            .map(Pending::row)
            .or_else(|| self.refused.get(&seq).map(|refused| refused.row.clone()))
    }

    /// The position to remember beside the row.
    pub(crate) fn acked(&self, seq: u64) -> Option<TxId> {
        self.pending.get(&seq)?.tx()
    }

    pub(crate) fn report(&self, now: Millis) -> Vec<PendingTransaction> {
        let age = |created_at: i64| -> Duration { now.since(Millis(created_at)) };
        let refused = self.refused.values().map(|refused| PendingTransaction {
            id: refused.name.clone(),
            operations: refused.row.operations.clone(),
            age: age(refused.row.created_at),
            attempts: refused.row.attempts,
            state: PendingState::Rejected,
            last_error: Some(refused.error.clone()),
        });
        let pending = self.pending.values().map(|pending| PendingTransaction {
            id: pending.name.clone(),
            operations: pending.operations.clone(),
            age: age(pending.created_at),
            attempts: pending.attempts,
            state: match pending.stage {
                Stage::Waiting { .. } | Stage::WaitingForAttrs { .. } => PendingState::Queued,
                Stage::InFlight { .. } => PendingState::Sent,
                Stage::Acked { .. } => PendingState::Synced,
            },
            last_error: pending.last_error.clone(),
        });
        refused.chain(pending).collect()
    }
}
