//! Transactions that the server has not settled, and those that it refused.

use std::collections::BTreeMap;
use std::time::Duration;

use tricedb_core::id::{EventId, TxId};
use tricedb_core::port::{OutboxRow, OutboxState};
use tricedb_core::tx::{Operation, TxStep};

use super::conflict::Write;
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
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pending: BTreeMap<u64, Pending>,
    refused: BTreeMap<u64, Refused>,
    last_seq: u64,
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

    pub(crate) fn get_mut(&mut self, seq: u64) -> Option<&mut Pending> {
        self.pending.get_mut(&seq)
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        self.last_seq = self.last_seq.max(pending.seq);
        self.pending.insert(pending.seq, pending);
    }

    pub(crate) fn push_refused(&mut self, refused: Refused) {
        self.last_seq = self.last_seq.max(refused.row.seq);
        self.refused.insert(refused.row.seq, refused);
    }

    /// Those not settled, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pending> {
        self.pending.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many the server has not committed.
    pub(crate) fn unanswered(&self) -> usize {
        let acked = self.pending.values().filter(|pending| pending.tx().is_some()).count();
        self.pending.len() - acked
    }

    /// Forgets the oldest refused one if there are more than these; returns its number.
    pub(crate) fn forget_refused_beyond(&mut self, max: usize) -> Option<u64> {
        if self.refused.len() <= max {
            return None;
        }
        self.refused.pop_first().map(|(seq, _)| seq)
    }

    pub(crate) fn remove(&mut self, seq: u64) -> Option<Pending> {
        self.pending.remove(&seq)
    }

    pub(crate) fn remove_refused(&mut self, seq: u64) -> Option<Refused> {
        self.refused.remove(&seq)
    }

    /// The pending transaction with this name on the wire. Answers come in order, so that the search is
    /// short.
    pub(crate) fn sent_as(&mut self, event: &EventId) -> Option<&mut Pending> {
        self.pending.values_mut().find(|pending| pending.event == *event)
    }

    pub(crate) fn named(&self, name: &EventId) -> Option<&Pending> {
        self.pending.values().find(|p| p.name == *name || p.event == *name)
    }

    pub(crate) fn refused_named(&self, name: &EventId) -> Option<u64> {
        let is = |r: &&Refused| r.name == *name || r.row.event == *name;
        self.refused.values().find(is).map(|refused| refused.row.seq)
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
