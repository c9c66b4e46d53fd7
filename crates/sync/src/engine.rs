//! The client's half of synchronisation as a state machine.
//!
//! [`SyncEngine`] does no I/O and reads no clock: a driver tells it what happened ([`Input`]) and when, and
//! carries out what it asks for ([`Output`]). The rule: after each call that changes it, drain
//! [`SyncEngine::poll_output`] until it gives nothing, then wait for the next event, at most until
//! [`SyncEngine::next_deadline`].
//!
//! Handles: a **view** is confirmed facts with pending transactions over them. There is one of everything
//! (for local queries and for checking writes) and one for each watched query, because on the plain
//! protocol each query reflects a position of its own.

mod backoff;
mod conflict;
mod facts;
mod keys;
mod ledger;
mod link;
mod local;
mod millis;
mod mutants;
mod names;
mod native;
mod pending;
mod queries;
mod report;
mod result;
mod rooms;
mod session;
mod sizes;
mod subscription;
#[cfg(test)]
mod tests;
mod transact;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tricedb_core::id::{AppId, EventId, IdSource, TxId};
use tricedb_core::port::{Batch, Frame, OutboxState, Snapshot};
use tricedb_core::query::Query;
use tricedb_core::schema::Schema;
use tricedb_protocol::AppState;

pub use millis::Millis;
pub use report::{
    Conflict, ConnectionStatus, PendingState, PendingTransaction, QueryFailure, QueueError,
    ServerError, SyncEvent, TransactError, Winner,
};
pub use result::{Coverage, QueryResultSnapshot};
pub use rooms::{Peer, Peers, RoomError, RoomReport, RoomStatus, TopicMessage};
pub use subscription::OnceId;
pub use transact::{Queued, RetryError};

use ledger::{Ledger, read_acked};
use link::{Link, LinkDue};
use local::LocalFacts;
use names::Names;
use pending::{Outbox, Pending, Refused, Stage};
use subscription::Subscription;

/// How an engine behaves. Make it with [`Settings::new`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The app.
    pub app: AppId,
    /// Whether to synchronise at all; otherwise everything works locally and writes queue.
    pub sync_enabled: bool,
    /// The user's refresh token; none is anonymous.
    pub refresh_token: Option<String>,
    /// The app's admin token; lifts permission checks for the whole session.
    pub admin_token: Option<String>,
    /// The first delay after a lost connection; later ones double.
    pub reconnect_min: Duration,
    /// The longest delay between tries to connect.
    pub reconnect_max: Duration,
    /// What attributes are like that a write makes, and which may be made; without one any.
    pub schema: Option<Arc<Schema>>,
    /// Whether native sessions are offered to the server; otherwise all are plain.
    pub native_sessions: bool,
    /// Most transactions that may wait for the server.
    pub pending_max: usize,
    /// Most queries without a watcher whose results are kept.
    pub kept_queries_max: usize,
    /// Most facts that may be held on behalf of queries without a watcher.
    pub kept_facts_max: usize,
}

impl Settings {
    /// Default settings for an app.
    pub const fn new(app: AppId) -> Self {
        Self {
            app,
            sync_enabled: true,
            refresh_token: None,
            admin_token: None,
            reconnect_min: Duration::from_millis(200),
            reconnect_max: Duration::from_secs(20),
            schema: None,
            native_sessions: true,
            pending_max: 100_000,
            kept_queries_max: 100,
            kept_facts_max: 500_000,
        }
    }
}

/// What happened outside.
#[derive(Debug)]
#[non_exhaustive]
pub enum Input {
    /// The connection that was asked for is open.
    Connected,
    /// The connection brought a frame.
    Frame(Frame),
    /// The connection could not be made or ended. Not for one that [`Output::Close`] ended.
    Disconnected {
        /// Why, in words.
        reason: String,
        /// Whether the address itself is wrong, so that trying again soon is pointless.
        hopeless: bool,
    },
    /// The server ended the connection because a message was larger than it takes (close code 1009).
    TooLarge {
        /// Why, in words.
        reason: String,
    },
    /// The latest [`Output::Persist`] is durable.
    Committed,
    /// The latest [`Output::Persist`] was not applied.
    CommitFailed {
        /// Why, in words.
        message: String,
    },
    /// Time passed.
    Tick,
}

/// What the driver is to do or to pass on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Output {
    /// Open a connection; answer with [`Input::Connected`] or [`Input::Disconnected`].
    Connect,
    /// End the connection or the attempt, and report nothing more of it.
    Close,
    /// Send a frame over the connection, after those before.
    Send(Frame),
    /// Write a batch; answer with [`Input::Committed`] or [`Input::CommitFailed`]. There is never more than
    /// one without an answer.
    Persist(Batch),
    /// The connection's status changed.
    Status(ConnectionStatus),
    /// A watched query shows something new, or failed; a failure does not end the watching.
    Result {
        /// The query, as canonical JSON.
        query: Arc<str>,
        /// What it shows.
        result: Result<Arc<QueryResultSnapshot>, QueryFailure>,
    },
    /// The answer to a [`SyncEngine::query_once`].
    Answer {
        /// Which.
        id: OnceId,
        /// The answer.
        result: Result<Arc<QueryResultSnapshot>, QueryFailure>,
    },
    /// A transaction is durable in the local storage, or the storage failed to take it (it is tried again).
    Stored {
        /// Its number.
        seq: u64,
        /// The storage's failure in words.
        result: Result<(), String>,
    },
    /// The server settled a transaction, or it was cancelled (`None`).
    Settled {
        /// Its number.
        seq: u64,
        /// The position, or why not.
        outcome: Result<TxId, Option<ServerError>>,
    },
    /// The list of pending transactions changed.
    PendingChanged,
    /// Something new in a room that the client uses.
    Room {
        /// The room's id.
        id: Arc<str>,
        /// What is new.
        report: RoomReport,
    },
    /// Something to tell whoever listens.
    Event(SyncEvent),
}

/// Why a storage's contents cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It belongs to another app.
    #[error(
        "the local database belongs to app {found}, not to {wanted}; give each app a file of its own"
    )]
    OtherApp {
        /// The app of the storage.
        found: String,
        /// The app asked for.
        wanted: AppId,
    },
}

const APP_KEY: &str = "app";

/// The client's half of synchronisation, without any I/O.
///
/// The rule: after each call that changes it, drain [`SyncEngine::poll_output`] until it gives nothing, then
/// wait for the next event, at most until [`SyncEngine::next_deadline`].
///
/// ```
/// use std::time::Duration;
/// use tricedb_core::id::AppId;
/// use tricedb_core::port::Snapshot;
/// use tricedb_sync::{Input, Millis, Output, Settings, SyncEngine};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app = AppId::parse("11111111-2222-4333-8444-555555555555").ok_or("no app id")?;
/// let mut next = 0;
/// let ids = move || { next += 1; uuid::Uuid::from_u128(next) };
/// let mut engine = SyncEngine::new(Settings::new(app), Snapshot::default(), Box::new(ids), Millis(0))?;
/// let outputs: Vec<Output> = std::iter::from_fn(|| engine.poll_output(Millis(0))).collect();
/// assert!(outputs.iter().any(|output| matches!(output, Output::Connect)));
///
/// engine.handle(Millis(5), Input::Connected);
/// let init = std::iter::from_fn(|| engine.poll_output(Millis(5)));
/// assert!(init.into_iter().any(|output| matches!(output, Output::Send(_))));
/// # Ok(()) }
/// ```
pub struct SyncEngine {
    settings: Settings,
    ids: Box<dyn IdSource + Send>,
    link: Link,
    status_told: ConnectionStatus,
    app_state: AppState,
    outbox: Outbox,
    names: Names,
    local: LocalFacts,
    queries: BTreeMap<Arc<str>, Subscription>,
    last_once: u64,
    rooms: rooms::Rooms,
    native: native::NativeClient,
    sizes: sizes::Sizes,
    ledger: Ledger,
    /// How long the server may take to answer.
    answer_max: Duration,
    /// When it last answered a transaction, and when it last gave a result: one that works through many is
    /// slow, not silent.
    answered_at: Millis,
    told_at: Millis,
    /// When anything came from the server last, and when it was asked for a sign of life last.
    heard_at: Millis,
    probed_at: Millis,
    #[cfg(feature = "mutants")]
    out_of_order: mutants::Held,
    /// Why there is no session, if there should be one.
    trouble: Option<Arc<str>>,
    /// Pending transactions changed: views are to be aligned, results looked at.
    is_unsettled: bool,
    /// Some acknowledged transaction may not be needed any more.
    may_retire: bool,
    is_closing: bool,
    outputs: VecDeque<Output>,
}

impl std::fmt::Debug for SyncEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncEngine")
            .field("app", &self.settings.app)
            .field("status", &self.link.status())
            .field("pending", &self.outbox.len())
            .field("queries", &self.queries.len())
            .finish_non_exhaustive()
    }
}

impl SyncEngine {
    /// Begins with what a storage holds. Results of kept queries and pending transactions show at once;
    /// unless synchronisation is off, a connection is asked for.
    ///
    /// # Errors
    /// [`RestoreError::OtherApp`].
    pub fn new(
        settings: Settings,
        snapshot: Snapshot,
        mut ids: Box<dyn IdSource + Send>,
        now: Millis,
    ) -> Result<Self, RestoreError> {
        let Snapshot { entities, attrs, outbox, subscriptions, key_values } = snapshot;
        let app = settings.app.to_string();
        let stored = key_values.iter().find(|(key, _)| key == APP_KEY);
        if let Some((_, found)) = stored.filter(|(_, found)| *found != app.as_bytes()) {
            let found = String::from_utf8_lossy(found).into_owned();
            return Err(RestoreError::OtherApp { found, wanted: settings.app });
        }
        let attrs = attrs.into_iter().map(Arc::new).collect();
        let names = Names::new(attrs, settings.schema.clone());
        let mut local = LocalFacts::new(names.blank().clone());
        local.load(entities);
        let (native, is_new) = native::NativeClient::restore(&key_values, &mut *ids);
        let link = Link::new(settings.sync_enabled, settings.reconnect_min, settings.reconnect_max);
        let mut engine = Self {
            status_told: link.status(),
            settings,
            ids,
            link,
            app_state: AppState::Active,
            outbox: Outbox::default(),
            names,
            local,
            queries: BTreeMap::new(),
            last_once: 0,
            rooms: rooms::Rooms::default(),
            native,
            sizes: sizes::Sizes::default(),
            ledger: Ledger::default(),
            answer_max: transact::ANSWER_MAX,
            answered_at: Millis(0),
            told_at: Millis(0),
            heard_at: Millis(0),
            probed_at: Millis(0),
            #[cfg(feature = "mutants")]
            out_of_order: mutants::Held::default(),
            trouble: None,
            is_unsettled: true,
            may_retire: false,
            is_closing: false,
            outputs: VecDeque::new(),
        };
        if stored.is_none() {
            engine.ledger.key_value(APP_KEY, Some(app.into_bytes()), now);
        }
        for row in subscriptions {
            engine.restore_query(&row);
        }
        engine.local.drop_unheld();
        let acked: BTreeMap<u64, u64> =
            key_values.iter().filter_map(|(key, value)| read_acked(key, value)).collect();
        for row in outbox {
            engine.restore_transaction(row, &acked, now);
        }
        engine.outbox.skip_numbers(engine.native.numbers.used);
        engine.introduce(is_new, now);
        engine.link.want(None, None, now);
        engine.advance(now);
        Ok(engine)
    }

    fn restore_query(&mut self, row: &tricedb_core::port::SubscriptionRow) {
        let query = serde_json::from_str(&row.query)
            .map_err(drop)
            .and_then(|json: serde_json::Value| Query::try_from(json).map_err(drop));
        // Written by another version that knew more of the language: nobody can ask for it here.
        let Ok(query) = query else { return };
        let event = self.next_event();
        let kept = Subscription::restore(row, query, event);
        self.local.hold(&kept.held);
        self.queries.insert(kept.query.canonical(), kept);
    }

    fn restore_transaction(
        &mut self,
        row: tricedb_core::port::OutboxRow,
        acked: &BTreeMap<u64, u64>,
        now: Millis,
    ) {
        if let OutboxState::Rejected { kind, message } = &row.state {
            let hint = serde_json::Value::Null;
            let error = ServerError { kind: kind.clone(), message: message.clone(), hint };
            self.outbox.push_refused(Refused { name: row.event.clone(), row, error });
            return;
        }
        let stage = match acked.get(&row.seq) {
            Some(tx) => Stage::Acked { tx: TxId(*tx), at: now },
            None => Stage::Waiting { not_before: None },
        };
        let mut pending = Pending {
            seq: row.seq,
            name: row.event.clone(),
            event: row.event,
            operations: row.operations,
            steps: Vec::new(),
            revision: 0,
            created_at: row.created_at,
            attempts: row.attempts,
            stage,
            failures: 0,
            last_error: None,
            sent_len: 0,
            writes: Vec::new(),
            is_restored: true,
        };
        match self.names.expand(&pending.operations, &mut *self.ids) {
            Ok(steps) => {
                pending.steps = steps;
                self.outbox.push(pending);
            }
            Err(error) => self.refuse_pending(pending, transact::as_server_error(&error), now),
        }
    }

    fn next_event(&mut self) -> EventId {
        EventId::new(self.ids.next_uuid().to_string())
    }

    fn random(&mut self) -> u64 {
        let (high, low) = self.ids.next_uuid().as_u64_pair();
        // Version and variant of a UUID are fixed bits.
        high.rotate_left(32) ^ low
    }

    /// Tells the engine what happened.
    pub fn handle(&mut self, now: Millis, input: Input) {
        match input {
            Input::Connected => self.connected(now),
            Input::Frame(frame) => self.frame(now, frame),
            Input::Disconnected { reason, hopeless } => self.disconnected(now, reason, hopeless),
            Input::TooLarge { reason } => self.too_large(now, reason),
            Input::Committed => {
                for (key, value) in self.ledger.key_values_in_flight() {
                    self.native.numbers.stored(key, value.as_deref());
                }
                for seq in self.ledger.committed(now) {
                    self.outputs.push_back(Output::Stored { seq, result: Ok(()) });
                }
            }
            Input::CommitFailed { message } => {
                let (transactions, retry_in) = self.ledger.failed(&self.local, now);
                tracing::error!(target: "tricedb::store", error = %message, "could not write");
                for seq in transactions {
                    let result = Err(message.clone());
                    self.outputs.push_back(Output::Stored { seq, result });
                }
                self.event(SyncEvent::StorageFailed { message, retry_in });
            }
            Input::Tick => {}
        }
        self.advance(now);
    }

    /// The next thing to do; `None` when there is nothing until the next input.
    pub fn poll_output(&mut self, now: Millis) -> Option<Output> {
        if self.outputs.is_empty() {
            self.settle(now);
        }
        self.poll_prompt(now)
    }

    /// Like [`Self::poll_output`], but leaves results that changed to a later call of that, so that
    /// several changes cost one evaluation: see [`Self::results_due`].
    pub fn poll_prompt(&mut self, now: Millis) -> Option<Output> {
        if self.outputs.is_empty() {
            let (all, queries) = (self.is_closing, &self.queries);
            let batch = self.ledger.batch(now, all, &self.outbox, queries, &self.names);
            self.outputs.extend(batch.map(Output::Persist));
        }
        self.outputs.pop_front()
    }

    /// When the engine wants to hear of the time next, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Millis> {
        [
            self.link.deadline(),
            self.ledger.deadline(),
            self.transactions_deadline(),
            self.queries_deadline(),
            self.rooms_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where the connection stands.
    pub const fn status(&self) -> ConnectionStatus {
        self.link.status()
    }

    /// Why there is no session, in words; `None` while there is one, or before the first failure.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.clone()
    }

    /// Asks for a connection, now if there is none. Returns nothing: the status tells.
    pub fn connect(&mut self, now: Millis) {
        self.want(None, Some(true), now);
    }

    /// Ends the connection until [`Self::connect`].
    pub fn disconnect(&mut self, now: Millis) {
        self.want(None, Some(false), now);
    }

    /// Switches synchronisation on or off. While it is off, everything works locally and writes queue.
    pub fn set_sync_enabled(&mut self, enabled: bool, now: Millis) {
        self.want(Some(enabled), None, now);
    }

    fn want(&mut self, enabled: Option<bool>, connected: Option<bool>, now: Millis) {
        if self.is_closing {
            return;
        }
        if self.link.want(enabled, connected, now) {
            self.outputs.push_back(Output::Close);
            self.lose_session(now);
            let reason = "disconnected on purpose".to_owned();
            self.event(SyncEvent::Disconnected { reason, retry_in: None });
        }
        self.advance(now);
    }

    /// Begins to shut down: the connection ends, no transaction is taken any more, and everything is
    /// written at once. Done when [`Self::is_closed`].
    pub fn close(&mut self, now: Millis) {
        self.want(None, Some(false), now);
        self.is_closing = true;
    }

    /// Whether [`Self::close`] was called.
    pub const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Whether the shut-down is complete: nothing is left to write.
    pub fn is_closed(&self) -> bool {
        self.is_closing
            && !self.results_due()
            && self.ledger.is_settled()
            && self.outputs.is_empty()
    }

    /// Does what the passing of time and the inputs so far ask for.
    fn advance(&mut self, now: Millis) {
        match self.link.due(now) {
            Some(LinkDue::Connect) if !self.is_closing => {
                self.link.connecting(now);
                self.outputs.push_back(Output::Connect);
            }
            Some(LinkDue::GiveUp { reason }) => self.give_up(now, reason),
            Some(LinkDue::Connect) | None => {}
        }
        self.check_answers(now);
        self.reserve_numbers(now);
        self.send_transactions(now);
        self.send_presence(now);
        self.tell_status();
    }

    fn tell_status(&mut self) {
        let status = self.link.status();
        if status != self.status_told {
            tracing::debug!(target: "tricedb::sync", ?status, "status changed");
            self.status_told = status;
            self.outputs.push_back(Output::Status(status));
            if status.is_offline() {
                // Queries without a result show what there is.
                self.unloaded_due();
            }
        }
    }

    fn event(&mut self, event: SyncEvent) {
        tracing::debug!(target: "tricedb::sync", ?event);
        self.outputs.push_back(Output::Event(event));
    }
}
