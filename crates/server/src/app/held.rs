//! Outputs that wait until what they show is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use tricedb_core::id::{EventId, TxId};

use super::pipeline::Mark;
use super::sessions::SessionKey;
use super::state::{Output, Ticket};

/// One waiting output.
#[derive(Debug)]
pub(super) struct HeldOutput {
    pub(super) mark: Mark,
    pub(super) output: Output,
    pub(super) remedy: Remedy,
}

/// What takes an output's place if what it shows is lost with a failed flush.
#[derive(Debug)]
pub(super) enum Remedy {
    /// It holds all the same.
    Keep,
    /// The session's opening is answered anew.
    Reopen { session: SessionKey, event: Option<EventId> },
    /// The query is answered anew.
    Requery { session: SessionKey, canonical: Arc<str>, event: Option<EventId> },
    /// The session's queries are all compared and sent anew.
    Refresh { session: SessionKey },
    /// The native session goes on from a position before; these of its transactions are undone.
    Resync { session: SessionKey, from: TxId, acks: Box<[u64]> },
    /// The transaction failed.
    FailTransaction { session: SessionKey, event: Option<EventId> },
    /// The caller is told of a failure.
    FailTicket(Ticket),
}

/// The waiting outputs in order. Bounded per session: while much waits for one, its messages wait too.
#[derive(Debug, Default)]
pub(super) struct HeldOutputs(VecDeque<HeldOutput>);

impl HeldOutputs {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, held: HeldOutput) {
        self.0.push_back(held);
    }

    /// The next output if it may leave. Outputs never overtake each other.
    pub(super) fn pop_if(&mut self, is_durable: impl Fn(Mark) -> bool) -> Option<Output> {
        let may_leave = self.0.front().is_some_and(|held| is_durable(held.mark));
        if may_leave { self.0.pop_front().map(|held| held.output) } else { None }
    }

    pub(super) fn take_all(&mut self) -> VecDeque<HeldOutput> {
        std::mem::take(&mut self.0)
    }
}
