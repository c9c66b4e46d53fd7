//! Writing: queueing, sending, acknowledgement, refusal.

use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::{EventId, TxId};
use tricedb_core::port::{OutboxRow, OutboxState};
use tricedb_core::tx::{Action, EntityKey, Operation, TxError, TxStep, UpdateMode, steps_to_json};
use tricedb_protocol::{AppState, ClientMessage, Transact};

use super::millis::Millis;
use super::pending::{Pending, Refused, Stage};
use super::report::{PendingTransaction, QueueError, ServerError, SyncEvent, TransactError};
use super::{Output, SyncEngine};

/// Most transactions without an answer on one connection.
const IN_FLIGHT_MAX: usize = 256;

/// How long an answer may take before the connection counts as dead. The transport notices silence
/// sooner; this is for a server that is alive and does not answer. Doubles each time that it was not
/// enough, up to [`ANSWER_MAX_MAX`], so that a large answer gets through a slow line in the end.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX_MAX: Duration = Duration::from_secs(3600);

/// How long an acknowledged transaction stays over results that were not renewed since. A server does not
/// send results that came out unchanged, so that the wait must end some time.
const GRACE: Duration = Duration::from_secs(10);

/// The kind of the refusal of what only native sessions can do.
const UNSUPPORTED: &str = "unsupported";

/// Waits for the winner's attributes after a lost race, before they are fetched with a new session.
const ATTRS_MAX: Duration = Duration::from_secs(3);

/// How often a transaction is sent again after failures of the server.
const FAILURES_MAX: u32 = 8;

/// A transaction that was queued.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Queued {
    /// Its number, under which [`Output::Stored`] and [`Output::Settled`] speak of it.
    pub seq: u64,
    /// Its name.
    pub id: EventId,
}

/// A local refusal in the shape of the server's.
pub(super) fn as_server_error(error: &TxError) -> ServerError {
    ServerError {
        kind: error.kind().type_name().to_owned(),
        message: error.message().to_owned(),
        hint: error.hint().clone(),
    }
}

impl SyncEngine {
    /// Queues a transaction and applies it to the local view. When this returns, its place in the queue is
    /// fixed, queries show it, and it will be stored and sent.
    ///
    /// # Errors
    /// [`TransactError`]; nothing happened then.
    pub fn transact(
        &mut self,
        now: Millis,
        mut operations: Vec<Operation>,
    ) -> Result<Queued, TransactError> {
        self.may_queue()?;
        if operations.is_empty() {
            return Err(TransactError::Empty);
        }
        self.settle_views();
        for operation in &mut operations {
            self.decide_mode(operation);
        }
        let steps = self.names.expand(&operations, &mut *self.ids)?;
        let event = self.next_event();
        let mut pending = Pending {
            seq: self.outbox.next_seq(),
            name: event.clone(),
            event: event.clone(),
            operations,
            steps,
            revision: 0,
            created_at: now.0,
            attempts: 0,
            stage: Stage::Waiting { not_before: None },
            failures: 0,
            last_error: None,
            writes: Vec::new(),
            is_restored: false,
        };
        if let Err(error) = self.local.view.lay(&pending, None, None, &mut *self.ids) {
            self.local.view.lift_last();
            // Forgets the attributes that this one would have made.
            self.expand_pending(now);
            return Err(error.into());
        }
        pending.note_writes(self.local.view.last_commit(), self.local.view.index());
        self.supersede_writes(&pending.writes);
        let seq = pending.seq;
        self.outbox.push(pending);
        self.ledger.transaction_now(seq);
        self.event(SyncEvent::Queued { id: event.clone() });
        self.pending_changed();
        self.advance(now);
        Ok(Queued { seq, id: event })
    }

    fn may_queue(&self) -> Result<(), TransactError> {
        if self.is_closing {
            return Err(TransactError::Closed);
        }
        let limit = self.settings.pending_max;
        if self.outbox.unanswered() >= limit {
            return Err(TransactError::QueueFull { limit });
        }
        match self.app_state {
            AppState::Active => Ok(()),
            AppState::ReadOnly => Err(TransactError::AppStatus { status: "read-only" }),
            AppState::Disabled => Err(TransactError::AppStatus { status: "disabled" }),
        }
    }

    /// An update is strict if the entity is visible at the moment of the call, and stays so.
    fn decide_mode(&self, operation: &mut Operation) {
        let Operation { etype, key, action } = operation;
        if let Action::Update(_, mode @ UpdateMode::Auto)
        | Action::Merge(_, mode @ UpdateMode::Auto) = action
        {
            let strict = self.knows(etype, key);
            *mode = if strict { UpdateMode::Strict } else { UpdateMode::Upsert };
        }
    }

    /// Whether an entity is visible locally.
    fn knows(&self, etype: &str, key: &EntityKey) -> bool {
        let index = self.local.view.index();
        match key {
            EntityKey::Id(entity) => index.exists_in(*entity, etype),
            EntityKey::Lookup { label, value } => {
                index.catalog().forward(etype, label).is_some_and(|attr| {
                    let value = attr.coerce(value.clone());
                    index.find_unique(attr.id, &value).is_some()
                })
            }
            EntityKey::Invalid(_) => false,
        }
    }

    /// Notes that the queue changed: results and whoever lists it are told.
    pub(super) fn pending_changed(&mut self) {
        self.is_unsettled = true;
        self.outputs.push_back(Output::PendingChanged);
    }

    /// The transactions that are not settled, the refused ones first.
    pub fn pending(&self, now: Millis) -> Vec<PendingTransaction> {
        self.outbox.report(now)
    }

    /// Takes back a transaction that was never sent.
    ///
    /// # Errors
    /// [`QueueError::Unknown`] and [`QueueError::AlreadySent`].
    pub fn cancel(&mut self, now: Millis, id: &EventId) -> Result<(), QueueError> {
        let pending = self.outbox.named(id).ok_or(QueueError::Unknown)?;
        if pending.attempts > 0 {
            return Err(QueueError::AlreadySent);
        }
        let (seq, made_attrs) = (pending.seq, pending.makes_attrs());
        self.outbox.remove(seq);
        self.ledger.transaction_now(seq);
        self.outputs.push_back(Output::Settled { seq, outcome: Err(None) });
        if made_attrs {
            self.expand_pending(now);
        }
        self.pending_changed();
        self.advance(now);
        Ok(())
    }

    /// Queues a rejected transaction again, at the end and under a new name.
    ///
    /// # Errors
    /// [`QueueError::NotRejected`] and [`QueueError::Unknown`], and what [`Self::transact`] may find wrong.
    pub fn retry(&mut self, now: Millis, id: &EventId) -> Result<Queued, RetryError> {
        let seq = self.rejected(id)?;
        let Some(refused) = self.outbox.remove_refused(seq) else {
            return Err(QueueError::Unknown.into());
        };
        match self.transact(now, refused.row.operations.clone()) {
            Ok(queued) => {
                self.ledger.transaction_now(seq);
                Ok(queued)
            }
            Err(error) => {
                self.outbox.push_refused(refused);
                Err(error.into())
            }
        }
    }

    /// Forgets a rejected transaction.
    ///
    /// # Errors
    /// [`QueueError::NotRejected`] and [`QueueError::Unknown`].
    pub fn dismiss(&mut self, id: &EventId) -> Result<(), QueueError> {
        let seq = self.rejected(id)?;
        self.outbox.remove_refused(seq);
        self.ledger.transaction_now(seq);
        self.pending_changed();
        Ok(())
    }

    fn rejected(&self, id: &EventId) -> Result<u64, QueueError> {
        match (self.outbox.refused_named(id), self.outbox.named(id)) {
            _ if self.is_closing => Err(QueueError::Closed),
            (Some(seq), _) => Ok(seq),
            (None, Some(_)) => Err(QueueError::NotRejected),
            (None, None) => Err(QueueError::Unknown),
        }
    }

    /// Sends what waits, in order. What the present session's server cannot do is refused here.
    pub(super) fn send_transactions(&mut self, now: Millis) {
        while let Some(pending) = self.send_transactions_until_unsupported(now) {
            self.refuse_pending(pending, unsupported(), now);
        }
    }

    fn send_transactions_until_unsupported(&mut self, now: Millis) -> Option<Pending> {
        self.link.authenticated_since()?;
        let mut refused = None;
        let (mut in_flight, is_native) = (0, self.is_native());
        let (mut messages, mut sent) = (Vec::new(), Vec::new());
        for pending in self.outbox.iter_mut() {
            match pending.stage {
                Stage::Acked { .. } => continue,
                Stage::InFlight { .. } => {}
                Stage::WaitingForAttrs { .. } => break,
                Stage::Waiting { not_before } => {
                    let may_use = !is_native || self.native.numbers.may_use(pending.seq);
                    if in_flight >= IN_FLIGHT_MAX || not_before.is_some() || !may_use {
                        break;
                    }
                    if !is_native && pending.needs_native() {
                        refused = Some(pending.seq);
                        break;
                    }
                    pending.stage = Stage::InFlight { since: now };
                    pending.attempts = pending.attempts.saturating_add(1);
                    messages.push(Transact {
                        tx_steps: steps_to_json(&pending.steps),
                        client_event_id: Some(pending.event.clone()),
                        created: Some(pending.created_at),
                        order: Some(pending.seq),
                        seq: None,
                        base: None,
                    });
                    sent.push((pending.seq, pending.name.clone(), pending.attempts));
                }
            }
            in_flight += 1;
            if pending.makes_attrs() {
                break;
            }
        }
        let refused = refused.and_then(|seq| self.outbox.remove(seq));
        if sent.is_empty() {
            return refused;
        }
        for (transact, (seq, ..)) in messages.into_iter().zip(&sent) {
            let transact = self.number(transact, *seq);
            self.send(&ClientMessage::Transact(transact));
        }
        for (seq, id, attempt) in sent {
            self.ledger.transaction(seq, now);
            self.event(SyncEvent::Sent { id, attempt });
        }
        self.outputs.push_back(Output::PendingChanged);
        refused
    }

    pub(super) fn transaction_acked(&mut self, now: Millis, event: &EventId, tx: TxId) {
        let Some(pending) = self.outbox.sent_as(event) else { return };
        if pending.tx().is_some() {
            return;
        }
        pending.stage = Stage::Acked { tx, at: now };
        self.answered_at = now;
        self.answer_max = ANSWER_MAX;
        self.may_retire = true;
        pending.last_error = None;
        let (seq, id) = (pending.seq, pending.name.clone());
        let mut writes = std::mem::take(&mut pending.writes);
        let made: Vec<_> = pending
            .steps
            .iter()
            .filter_map(|step| match step {
                TxStep::AddAttr(attr) => Some(attr.clone()),
                _ => None,
            })
            .collect();
        self.ledger.transaction(seq, now);
        self.outputs.push_back(Output::Settled { seq, outcome: Ok(tx) });
        self.event(SyncEvent::Synced { id, tx });
        self.settle_conflicts(&mut writes, tx);
        if let Some(pending) = self.outbox.sent_as(event) {
            pending.writes = writes;
        }
        self.pending_changed();
        let mut attrs = self.names.server().to_vec();
        let known = attrs.len();
        for attr in made {
            if !attrs.iter().any(|known| known.id == attr.id) {
                attrs.push(attr);
            }
        }
        if attrs.len() > known {
            self.learn_attrs(now, attrs);
        }
    }

    /// Returns whether the error was about a transaction.
    pub(super) fn transaction_failed(
        &mut self,
        now: Millis,
        event: &EventId,
        status: u16,
        error: &ServerError,
    ) -> bool {
        let random = self.random();
        let Some(pending) = self.outbox.sent_as(event) else { return false };
        if pending.tx().is_some() {
            return true;
        }
        pending.last_error = Some(error.clone());
        self.answered_at = now;
        // Told to slow down is not told no, however often.
        let is_limited = error.kind == "rate-limited";
        pending.failures = match is_limited {
            true => (pending.failures + 1).min(FAILURES_MAX),
            false => pending.failures + 1,
        };
        let id = pending.name.clone();
        if pending.failures <= FAILURES_MAX {
            if is_lost_race(error) && !pending.makes_attrs() {
                // What it lost with was sent before a reconnect or a restart; the names are known by now.
                pending.rename();
                let seq = pending.seq;
                self.ledger.transaction_now(seq);
                self.event(SyncEvent::Postponed { id, error: error.clone() });
                return true;
            }
            if is_lost_race(error) {
                pending.stage = Stage::WaitingForAttrs { since: now };
                self.event(SyncEvent::Postponed { id, error: error.clone() });
                self.expand_pending(now);
                return true;
            }
            if status >= 500 || is_limited {
                let ceiling = 250_u64 << pending.failures.min(7);
                let wait = Duration::from_millis(ceiling / 2 + random % (ceiling / 2));
                pending.stage = Stage::Waiting { not_before: Some(now.plus(wait)) };
                self.event(SyncEvent::Postponed { id, error: error.clone() });
                return true;
            }
        }
        let seq = pending.seq;
        if let Some(pending) = self.outbox.remove(seq) {
            self.refuse_pending(pending, error.clone(), now);
        }
        true
    }

    /// Takes a transaction back for good; it stays in the list of refused ones.
    pub(super) fn refuse_pending(&mut self, pending: Pending, error: ServerError, now: Millis) {
        let made_attrs = pending.makes_attrs();
        let Pending { seq, event, name, operations, created_at, attempts, .. } = pending;
        let state =
            OutboxState::Rejected { kind: error.kind.clone(), message: error.message.clone() };
        let row = OutboxRow { seq, event, operations, created_at, attempts, state };
        self.outbox.push_refused(Refused { row, name: name.clone(), error: error.clone() });
        self.ledger.transaction_now(seq);
        if let Some(oldest) = self.outbox.forget_refused_beyond(self.settings.pending_max) {
            tracing::warn!(target: "tricedb::sync", "the list of rejected transactions is full; forgot the oldest");
            self.ledger.transaction_now(oldest);
        }
        self.outputs.push_back(Output::Settled { seq, outcome: Err(Some(error.clone())) });
        self.event(SyncEvent::Rejected { id: name, error });
        if made_attrs {
            // What it invented is no longer to be had from it.
            self.expand_pending(now);
        }
        self.pending_changed();
    }

    /// Expands pending transactions by today's attributes.
    pub(super) fn expand_pending(&mut self, now: Millis) {
        self.names = super::names::Names::new(self.names.server().to_vec());
        let mut failed = Vec::new();
        for pending in self.outbox.iter_mut() {
            let steps =
                self.names.expand_again(&pending.operations, &pending.steps, &mut *self.ids);
            match steps {
                Ok(steps) => {
                    let lost_race = matches!(pending.stage, Stage::WaitingForAttrs { .. });
                    if steps == pending.steps {
                        continue;
                    }
                    pending.steps = steps;
                    pending.revision += 1;
                    if lost_race {
                        pending.rename();
                        self.ledger.transaction_now(pending.seq);
                    }
                }
                // The server has it, or may have it: its word counts, not what would be made of it today.
                Err(_) if pending.attempts > 0 && !pending.steps.is_empty() => {}
                Err(error) => failed.push((pending.seq, as_server_error(&error))),
            }
        }
        self.is_unsettled = true;
        for (seq, error) in failed {
            if let Some(pending) = self.outbox.remove(seq) {
                self.refuse_pending(pending, error, now);
            }
        }
    }

    /// A new session brought the attributes that transactions may have been waiting for.
    pub(super) fn end_races(&mut self) {
        for pending in self.outbox.iter_mut() {
            if matches!(pending.stage, Stage::WaitingForAttrs { .. }) {
                pending.rename();
                self.ledger.transaction_now(pending.seq);
            }
        }
    }

    /// Lets go of acknowledged transactions that no result needs any more: each contains them, or would
    /// show the same without them. Needs settled layers.
    pub(super) fn retire(&mut self, now: Millis) {
        self.may_retire = false;
        let Some(since) = self.link.authenticated_since() else { return };
        let done: Vec<u64> = self
            .outbox
            .iter()
            .filter(|pending| match pending.stage {
                Stage::Acked { tx, at } => {
                    let needed = || self.queries.values().any(|q| q.awaits(tx, pending.seq));
                    now >= since.max(at).plus(GRACE) || (!pending.is_restored && !needed())
                }
                _ => false,
            })
            .map(|pending| pending.seq)
            .collect();
        if done.is_empty() {
            return;
        }
        for seq in done {
            self.outbox.remove(seq);
            self.ledger.transaction_retired(seq, now);
        }
        self.pending_changed();
    }

    /// Ends waiting that is over, and a connection on which answers are overdue.
    pub(super) fn check_answers(&mut self, now: Millis) {
        self.expire_once(now);
        for pending in self.outbox.iter_mut() {
            if matches!(pending.stage, Stage::Waiting { not_before: Some(t) } if now >= t) {
                pending.stage = Stage::Waiting { not_before: None };
            }
        }
        let Some(session_since) = self.link.authenticated_since() else { return };
        let waited = |at: Millis| now >= session_since.max(at).plus(GRACE);
        self.may_retire |= self
            .outbox
            .iter()
            .any(|pending| matches!(pending.stage, Stage::Acked { at, .. } if waited(at)));
        let late = |since: Millis, max: Duration| now >= since.plus(max);
        let answers_late = self.outbox.iter().any(|pending| {
            matches!(pending.stage, Stage::InFlight { since }
                if late(since.max(self.answered_at), self.answer_max))
        });
        let attrs_late = self.outbox.iter().any(|pending| {
            matches!(pending.stage, Stage::WaitingForAttrs { since } if late(since, ATTRS_MAX))
        });
        if answers_late || self.queries_overdue(now) {
            self.answer_max = self.answer_max.saturating_mul(2).min(ANSWER_MAX_MAX);
            self.give_up(now, "the server did not answer in time");
        } else if attrs_late {
            self.give_up(now, "the server did not tell its attributes");
        }
    }

    pub(super) fn transactions_deadline(&self) -> Option<Millis> {
        let since = self.link.authenticated_since()?;
        self.outbox
            .iter()
            .filter_map(|pending| match pending.stage {
                Stage::Waiting { not_before } => not_before,
                Stage::WaitingForAttrs { since } => Some(since.plus(ATTRS_MAX)),
                Stage::InFlight { since } => {
                    Some(since.max(self.answered_at).plus(self.answer_max))
                }
                Stage::Acked { at, .. } => Some(at.max(since).plus(GRACE)),
            })
            .min()
    }
}

/// Why a transaction with operators or preconditions is not sent in a plain session: an official server
/// would store the operator as data, or refuse the step in words that explain nothing.
fn unsupported() -> ServerError {
    let message = "Update operators and preconditions need a native session, which this server does not \
                   offer.";
    ServerError { kind: UNSUPPORTED.to_owned(), message: message.to_owned(), hint: Json::Null }
}

/// Whether the error says that another client made an attribute of the same name first.
fn is_lost_race(error: &ServerError) -> bool {
    error.kind == "record-not-unique"
        && error.hint.get("record-type").and_then(Json::as_str) == Some("ident")
}

/// Why a rejected transaction was not queued again.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetryError {
    /// It is not there to be retried.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// It cannot be queued.
    #[error(transparent)]
    Transact(#[from] TransactError),
}
