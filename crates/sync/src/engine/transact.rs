//! Writing: queueing, sending, acknowledgement, refusal.

use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::{EventId, TxId};
use tricedb_core::port::{OutboxRow, OutboxState};
use tricedb_core::tx::{Action, EntityKey, Operation, TxError, TxStep, UpdateMode, steps_to_json};
use tricedb_protocol::{AppState, ClientMessage, RemoveQuery, Transact};

use super::conflict::writes_of;
use super::millis::Millis;
use super::pending::{Pending, Refused, Stage};
use super::report::{PendingTransaction, QueueError, ServerError, SyncEvent, TransactError};
use super::view::Reader;
use super::{Output, SyncEngine};

/// Most transactions without an answer on one connection.
const IN_FLIGHT_MAX: usize = 256;

/// How long an answer may take before the connection counts as dead. The transport notices silence
/// sooner; this is for a server that is alive and does not answer. Doubles each time that it was not
/// enough, up to [`ANSWER_MAX_MAX`], so that a large answer gets through a slow line in the end.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(60);
const ANSWER_MAX_MAX: Duration = Duration::from_secs(3600);

/// How long an acknowledged transaction stays over results that were not renewed since. A server does not
/// send results that came out unchanged, so that the wait must end some time. It ends only with a sign of
/// life from after it: on a connection that is silently gone, results may be lost.
const GRACE: Duration = Duration::from_secs(10);

/// The kind of the refusal of what only native sessions can do.
const UNSUPPORTED: &str = "unsupported";

/// Waits for the winner's attributes after a lost race, before they are fetched with a new session.
const ATTRS_MAX: Duration = Duration::from_secs(3);

/// How often a transaction is sent again under another name after it lost a race for an attribute's name.
const RACES_MAX: u32 = 8;

/// The longest wait before a transaction is sent again at which the server failed, in milliseconds.
const POSTPONED_MAX_MS: u64 = 30_000;

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
        let pending = Pending {
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
            sent_len: 0,
            writes: Vec::new(),
            is_restored: false,
        };
        let seq = pending.seq;
        if let Err(error) = self.local.view.lay(&pending, Reader::default(), &mut *self.ids) {
            self.local.view.remove(seq);
            // Forgets the attributes that this one would have made.
            if pending.makes_attrs() {
                self.expand_pending(now);
            }
            return Err(error.into());
        }
        let (view, index) = (&self.local.view, self.local.view.index());
        let writes = writes_of(&pending.steps, view.commit_of(seq), index);
        self.outbox.push(pending);
        self.outbox.set_writes(seq, writes);
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

    /// How many transactions the server has not committed or refused.
    pub fn unanswered(&self) -> usize {
        self.outbox.unanswered()
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
        self.link.authenticated_since().filter(|_| self.app_state == AppState::Active)?;
        let (mut refused, is_native) = (None, self.is_native());
        let (mut messages, mut sent) = (Vec::new(), Vec::new());
        while let Some(next) = self.outbox.first_unsent() {
            let waits = next.stage != Stage::Waiting { not_before: None };
            let may_use = !is_native || self.native.numbers.may_use(next.seq);
            let is_full =
                self.outbox.in_flight() >= IN_FLIGHT_MAX || self.outbox.makers_in_flight();
            if waits || !may_use || is_full {
                break;
            }
            if !is_native && next.needs_native() {
                refused = Some(next.seq);
                break;
            }
            messages.push(Transact {
                tx_steps: steps_to_json(&next.steps),
                client_event_id: Some(next.event.clone()),
                created: Some(next.created_at),
                order: Some(next.seq),
                seq: None,
                base: None,
            });
            let attempts = next.attempts.saturating_add(1);
            sent.push((next.seq, next.name.clone(), attempts));
            self.outbox.edit(next.seq, |pending| {
                pending.stage = Stage::InFlight { since: now };
                pending.attempts = attempts;
            });
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
            match attempt {
                // Whether it can be taken back hangs on it, after a crash as well.
                1 => self.ledger.transaction_now(seq),
                _ => self.ledger.transaction(seq, now),
            }
            self.event(SyncEvent::Sent { id, attempt });
        }
        self.outputs.push_back(Output::PendingChanged);
        refused
    }

    pub(super) fn transaction_acked(&mut self, now: Millis, event: &EventId, tx: TxId) {
        let Some(seq) = self.outbox.sent_as(event) else { return };
        let Some(pending) = self.outbox.get(seq).filter(|pending| pending.tx().is_none()) else {
            return;
        };
        let id = pending.name.clone();
        let made: Vec<_> = pending
            .steps
            .iter()
            .filter_map(|step| match step {
                TxStep::AddAttr(attr) => Some(attr.clone()),
                _ => None,
            })
            .collect();
        self.outbox.edit(seq, |pending| {
            pending.stage = Stage::Acked { tx, at: now };
            pending.last_error = None;
        });
        self.answered_at = now;
        self.answer_max = ANSWER_MAX;
        self.may_retire = true;
        self.ledger.transaction(seq, now);
        self.outputs.push_back(Output::Settled { seq, outcome: Ok(tx) });
        self.event(SyncEvent::Synced { id, tx });
        // They stay: somebody may overtake them before the results contain them.
        let mut writes =
            self.outbox.writes_mut(seq).map(|(_, w)| std::mem::take(w)).unwrap_or_default();
        self.settle_conflicts(&mut writes, tx);
        if let Some((_, place)) = self.outbox.writes_mut(seq) {
            *place = writes;
        }
        self.pending_changed();
        if made.is_empty() {
            return;
        }
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
        let Some(seq) = self.outbox.sent_as(event) else { return false };
        let Some(pending) = self.outbox.get(seq) else { return false };
        if pending.tx().is_some() {
            return true;
        }
        self.answered_at = now;
        let (id, makes_attrs) = (pending.name.clone(), pending.makes_attrs());
        let failures = pending.failures.saturating_add(1);
        if is_lost_race(error) && failures <= RACES_MAX {
            self.outbox.edit(seq, |pending| {
                pending.failures = failures;
                pending.last_error = Some(error.clone());
                match makes_attrs {
                    true => pending.stage = Stage::WaitingForAttrs { since: now },
                    // What it lost with was sent before a reconnect or a restart; the names are known by now.
                    false => pending.rename(),
                }
            });
            self.event(SyncEvent::Postponed { id, error: error.clone() });
            match makes_attrs {
                true => self.expand_pending(now),
                false => self.ledger.transaction_now(seq),
            }
            return true;
        }
        if status >= 500 || error.kind == "rate-limited" {
            // Nothing is settled, however often: it is sent again, and those behind it wait.
            let ceiling = (250_u64 << failures.min(7)).min(POSTPONED_MAX_MS);
            let wait = Duration::from_millis(ceiling / 2 + self.random() % (ceiling / 2));
            self.outbox.edit(seq, |pending| {
                pending.failures = failures;
                pending.last_error = Some(error.clone());
                pending.stage = Stage::Waiting { not_before: Some(now.plus(wait)) };
            });
            self.event(SyncEvent::Postponed { id, error: error.clone() });
            self.outputs.push_back(Output::PendingChanged);
            return true;
        }
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
        #[cfg(feature = "mutants")]
        if tricedb_core::mutant::Mutant::KeepRejected.is_planted() {
            return;
        }
        if made_attrs {
            // What it invented is no longer to be had from it.
            self.expand_pending(now);
        }
        self.pending_changed();
    }

    /// Expands pending transactions by today's attributes.
    pub(super) fn expand_pending(&mut self, now: Millis) {
        let (server, schema) = (self.names.server().to_vec(), self.names.schema());
        self.names = super::names::Names::new(server, schema);
        let mut failed = Vec::new();
        for seq in self.outbox.numbers() {
            let Some(pending) = self.outbox.get(seq) else { continue };
            let steps =
                self.names.expand_again(&pending.operations, &pending.steps, &mut *self.ids);
            match steps {
                Ok(steps) if steps == pending.steps => {}
                Ok(steps) => {
                    let lost_race = matches!(pending.stage, Stage::WaitingForAttrs { .. });
                    self.outbox.edit(seq, |pending| {
                        pending.steps = steps;
                        pending.revision += 1;
                        if lost_race {
                            pending.rename();
                        }
                    });
                    if lost_race {
                        self.ledger.transaction_now(seq);
                    }
                }
                // The server has it, or may have it: its word counts, not what would be made of it today.
                Err(_) if pending.attempts > 0 && !pending.steps.is_empty() => {}
                Err(error) => failed.push((seq, as_server_error(&error))),
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
        for seq in self.outbox.racing() {
            self.outbox.edit(seq, Pending::rename);
            self.ledger.transaction_now(seq);
        }
    }

    /// Lets go of acknowledged transactions that no result needs any more: each contains them, or would
    /// show the same without them. Needs settled layers.
    pub(super) fn retire(&mut self, now: Millis) {
        self.may_retire = false;
        let Some(since) = self.link.authenticated_since() else { return };
        let has_answers = self.queries.values().all(|query| query.asked.is_none());
        let done: Vec<u64> = self
            .outbox
            .acked_all()
            .into_iter()
            .filter_map(|seq| self.outbox.get(seq))
            .filter(|pending| match pending.stage {
                Stage::Acked { tx, at } => {
                    let needed = || self.queries.values().any(|q| q.awaits(tx, pending.seq));
                    let is_over = has_answers && self.heard_at >= since.max(at).plus(GRACE);
                    is_over || (!pending.is_restored && !needed())
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
        self.outbox.end_waits(now);
        let Some(session_since) = self.link.authenticated_since() else { return };
        let [_, racing, sent, acked] = self.outbox.first_times();
        if let Some(end) = acked.map(|at| session_since.max(at).plus(GRACE))
            && now >= end
        {
            self.may_retire |= self.heard_at >= end;
            if self.probed_at < end {
                self.probed_at = now;
                if self.heard_at < end {
                    self.probe();
                }
            }
        }
        let answers_late =
            sent.is_some_and(|since| now >= since.max(self.answered_at).plus(self.answer_max));
        let attrs_late = racing.is_some_and(|since| now >= since.plus(ATTRS_MAX));
        if answers_late || self.queries_overdue(now) {
            self.answer_max = self.answer_max.saturating_mul(2).min(ANSWER_MAX_MAX);
            self.give_up(now, "the server did not answer in time");
        } else if attrs_late {
            self.give_up(now, "the server did not tell its attributes");
        }
    }

    pub(super) fn transactions_deadline(&self) -> Option<Millis> {
        let since = self.link.authenticated_since()?;
        let [postponed, racing, sent, acked] = self.outbox.first_times();
        let grace = acked.map(|at| at.max(since).plus(GRACE));
        let dues = [
            postponed,
            racing.map(|at| at.plus(ATTRS_MAX)),
            sent.map(|at| at.max(self.answered_at).plus(self.answer_max)),
            grace.filter(|end| self.probed_at < *end),
        ];
        dues.into_iter().flatten().min()
    }

    /// Asks for a sign of life: an answer that costs next to nothing.
    fn probe(&mut self) {
        let client_event_id = Some(self.next_event());
        self.send(&ClientMessage::RemoveQuery(RemoveQuery {
            q: serde_json::json!({}),
            client_event_id,
        }));
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
