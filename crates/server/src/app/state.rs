//! The state of an app, its inputs and its outputs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use serde_json::Value as Json;
use tricedb_core::catalog::AttrCatalog;
use tricedb_core::id::{AppId, IdSource, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::Explanation;
use tricedb_core::schema;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, TxError, TxStep, execute, parse_steps_as};
use tricedb_protocol::ErrorBody;

use super::frame::Frame;
use super::held::{HeldOutput, HeldOutputs, Remedy};
use super::limits::AppLimits;
use super::live::LiveQueries;
use super::native::{EncodeJob, Native};
use super::outcomes::{self, Outcomes};
use super::pipeline::{Durability, Pipeline};
use super::refusal::{too_many_steps, tx_refused};
use super::schema::{JobReport, Jobs, SchemaApplied, SchemaPlan};
use super::sessions::{SessionKey, SessionState};
use super::settings::AppSettings;
use crate::log::{EventKey, LoadedLog, LogEntry, Outcome, SnapshotImage};
use crate::rooms::Rooms;

/// What of an app clients may know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppIdentity {
    /// Its id.
    pub id: AppId,
    /// Its title.
    pub title: String,
}

/// Names a call of the admin API until it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

/// The answer to a call of the admin API.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// The result of a query.
    Tree(Json),
    /// How a query is answered.
    Explained(Box<Explanation>),
    /// The position of a commit.
    Committed(TxId),
    /// All live attributes.
    Attrs(Vec<Arc<tricedb_core::attr::Attr>>),
    /// What a push would do.
    Planned(SchemaPlan),
    /// What a push did.
    Applied(SchemaApplied),
    /// The jobs of a group.
    Jobs(Vec<JobReport>),
}

/// What the surroundings of an [`AppState`] must do.
#[derive(Debug)]
pub enum Output {
    /// Send a frame to a session, in order.
    Send {
        /// To whom; it may be gone.
        session: SessionKey,
        /// The text.
        frame: Frame,
    },
    /// Answer a call of the admin API.
    Answer {
        /// Which call.
        ticket: Ticket,
        /// The answer.
        answer: Result<Answer, ErrorBody>,
    },
    /// Append a batch to the log, and say how it went with [`AppState::flushed`] or
    /// [`AppState::flush_failed`]. Never more than one at a time.
    Append {
        /// Where the log must stand before it.
        expected: TxId,
        /// The batch; never empty.
        entries: Arc<[LogEntry]>,
    },
    /// Run a job somewhere, and hand what comes of it to [`AppState::encoded`].
    Encode(Box<EncodeJob>),
    /// Store a snapshot, after the append that came before if that succeeds.
    Snapshot {
        /// The position whose state it is.
        position: TxId,
        /// The state.
        image: SnapshotImage,
    },
}

/// One app in use.
///
/// Every input is a method; afterwards call [`Self::seal`], perhaps once for several inputs, and drain
/// [`Self::poll`]. What is committed applies to memory at once, so that the next transaction sees it; what
/// shows it to anybody leaves only when it is durable.
///
/// Nothing of this survives a restart except what the log gives back: facts, attributes, the position and
/// the outcomes of named transactions. Sessions begin anew.
pub struct AppState {
    pub(super) identity: AppIdentity,
    pub(super) limits: AppLimits,
    pub(super) settings: AppSettings,
    ids: Box<dyn IdSource + Send>,
    pub(super) index: TripleIndex,
    pub(super) attrs: AttrList,
    /// The last commit, durable or not.
    pub(super) position: TxId,
    last_at: i64,
    pub(super) outcomes: Outcomes,
    pub(super) pipeline: Pipeline,
    held: HeldOutputs,
    outputs: VecDeque<Output>,
    pub(super) live: LiveQueries,
    pub(super) native: Native,
    /// Names the database's present life: another after every first start and restore.
    pub(super) epoch: u64,
    pub(super) sessions: HashMap<SessionKey, SessionState, FxBuildHasher>,
    pub(super) last_session: u64,
    pub(super) rooms: Rooms,
    /// Sessions to be brought up to date at the next refresh, whatever changed.
    pub(super) catching_up: Vec<SessionKey>,
    changes_since_snapshot: usize,
    /// Changes of attributes that look at existing values.
    pub(super) jobs: Jobs,
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppState")
            .field("app", &self.identity.id)
            .field("position", &self.position)
            .field("sessions", &self.sessions.len())
            .field("live_queries", &self.live.len())
            .finish_non_exhaustive()
    }
}

impl AppState {
    /// Takes up an app where its log stands. `now` is in milliseconds since 1970; an app that never had a
    /// commit begins its positions with it. If `is_volatile`, nothing is ever appended.
    pub fn new(
        identity: AppIdentity,
        limits: AppLimits,
        loaded: LoadedLog,
        is_volatile: bool,
        ids: Box<dyn IdSource + Send>,
        now: i64,
    ) -> Self {
        let LoadedLog {
            mut index,
            position: log_position,
            last_at,
            outcomes,
            commits_after_snapshot,
            epoch,
            floors,
        } = loaded;
        for attr in schema::system_attrs() {
            if index.catalog().get(attr.id).is_none() {
                index.put_attr(attr);
            }
        }
        let position = if log_position == TxId(0) { first_position(now) } else { log_position };
        let durability = if is_volatile { Durability::Volatile } else { Durability::Logged };
        let retention_ms = i64::try_from(limits.outcome_retention.as_millis()).unwrap_or(i64::MAX);
        Self {
            jobs: Jobs::resumed(&index, now),
            outcomes: Outcomes::new(limits.outcomes_max, retention_ms, outcomes, floors),
            pipeline: Pipeline::new(durability, log_position),
            live: LiveQueries::new(limits.fragment_bytes_max),
            native: Native::default(),
            epoch: epoch.unwrap_or_else(|| u64::try_from(now).unwrap_or(0)),
            identity,
            rooms: Rooms::new(limits.rooms.clone()),
            limits,
            settings: AppSettings::default(),
            ids,
            index,
            attrs: AttrList { version: 1, announced: 1, text: None },
            position,
            last_at,
            held: HeldOutputs::default(),
            outputs: VecDeque::new(),
            sessions: HashMap::default(),
            last_session: 0,
            catching_up: Vec::new(),
            // A commit holds a change at least: what was replayed need not be replayed for ever.
            changes_since_snapshot: commits_after_snapshot,
        }
    }

    /// The next thing to do, if any.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front()?;
        self.uncount(&output);
        Some(output)
    }

    /// Bytes of frames made for a session and not given out by [`Self::poll`] yet. Whoever hands in its
    /// messages should wait while there are many: each may make a large answer.
    pub fn queued_bytes(&self, session: SessionKey) -> usize {
        self.sessions.get(&session).map_or(0, |state| state.queued_bytes)
    }

    fn count(&mut self, output: &Output) {
        if let Output::Send { session, frame } = output
            && let Some(state) = self.sessions.get_mut(session)
        {
            state.queued_bytes += frame.len();
        }
    }

    fn uncount(&mut self, output: &Output) {
        if let Output::Send { session, frame } = output
            && let Some(state) = self.sessions.get_mut(session)
        {
            state.queued_bytes -= frame.len();
        }
    }

    /// Turns on or off what the app has beyond InstantDB, from the next message on.
    pub fn set_settings(&mut self, settings: AppSettings) {
        if self.live.extensions != settings.extensions {
            self.live.extensions = settings.extensions;
            self.live.insert_anew(&self.index);
        }
        let before = std::mem::replace(&mut self.settings, settings);
        if before.status != self.settings.status {
            self.tell_status();
        }
    }

    /// The last commit, durable or not.
    pub const fn position(&self) -> TxId {
        self.position
    }

    /// Number of open sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many distinct queries are live.
    pub fn live_query_count(&self) -> usize {
        self.live.len()
    }

    /// How many answers of plain sessions' live queries were encoded since the start.
    pub const fn encodings(&self) -> u64 {
        self.live.encodings()
    }

    /// The facts and attributes, with what is not durable yet.
    pub const fn index(&self) -> &TripleIndex {
        &self.index
    }

    /// Whether nothing waits: every commit is durable and every output was given out.
    pub fn is_settled(&self) -> bool {
        self.pipeline.is_empty() && self.held.is_empty() && self.outputs.is_empty()
    }

    /// Ends a round of inputs: while the log is at work, what they did gathers; else refreshes are made
    /// for all of it and the next batch goes out.
    pub fn seal(&mut self) {
        if !self.pipeline.is_flushing() {
            self.refresh();
            if let Some(batch) = self.pipeline.next_batch() {
                let output = Output::Append { expected: batch.expected, entries: batch.entries };
                self.outputs.push_back(output);
                self.snapshot_if_due();
            }
        }
        let jobs = std::mem::take(&mut self.native.jobs);
        self.outputs.extend(jobs.into_iter().map(|job| Output::Encode(Box::new(job))));
        self.live.evict();
        self.release();
    }

    /// The batch given out last is durable.
    pub fn flushed(&mut self) {
        self.pipeline.flushed();
        self.release();
    }

    /// The batch given out last is lost: every commit since the last durable one is taken back, and what
    /// was to tell of them is answered with an error or made anew.
    pub fn flush_failed(&mut self) {
        for entry in self.pipeline.fail() {
            match entry {
                LogEntry::Committed { position, event, commit, .. } => {
                    self.index.undo(&commit);
                    self.live.follow(&commit.inverse(), &self.index);
                    self.native.tail.pop(position);
                    self.position = TxId(position.0 - 1);
                    self.attrs.feel(&commit);
                    if let Some(event) = event {
                        self.outcomes.take_back(&event);
                    }
                }
                LogEntry::Rejected { event, .. } => self.outcomes.take_back(&event),
            }
        }
        self.jobs.taken_back(self.position);
        self.native.sources.feel_everything(&self.index);
        self.undo_acks();
        // Positions are taken again, perhaps by others.
        self.sessions.values_mut().for_each(|session| session.last_commit = None);
        for held in self.held.take_all() {
            self.remedy(held);
        }
    }

    fn remedy(&mut self, held: HeldOutput) {
        if !matches!(held.remedy, Remedy::Keep) {
            self.uncount(&held.output);
        }
        match held.remedy {
            Remedy::Keep => self.outputs.push_back(held.output),
            Remedy::Reopen { session, event } => self.send_init_ok(session, event),
            Remedy::Requery { session, canonical, event } => {
                self.send_query_ok(session, &canonical, event);
            }
            Remedy::Refresh { session } => self.catch_up_fully(session),
            Remedy::Resync { session, from, acks } => self.resync_native(session, from, &acks),
            Remedy::FailTransaction { session, event } => {
                self.send_lost(session, event.as_ref());
                self.catch_up_fully(session);
            }
            Remedy::FailTicket(ticket) => {
                let message = "What this depends on could not be made durable and was undone.";
                let answer = Err(ErrorBody::internal(message));
                self.outputs.push_back(Output::Answer { ticket, answer });
            }
        }
    }

    /// A snapshot of the present state; `None` while anything is not durable, or if nothing changed since
    /// the last one.
    pub fn final_snapshot(&mut self) -> Option<(TxId, SnapshotImage)> {
        if !self.pipeline.is_empty() || self.changes_since_snapshot == 0 {
            return None;
        }
        self.changes_since_snapshot = 0;
        Some((self.position, SnapshotImage::take(&self.index)))
    }

    fn snapshot_if_due(&mut self) {
        let due = self.limits.snapshot_changes_min.max(self.index.triple_count() / 2);
        if self.changes_since_snapshot > due {
            self.changes_since_snapshot = 0;
            let (position, image) = (self.position, SnapshotImage::take(&self.index));
            self.outputs.push_back(Output::Snapshot { position, image });
        }
    }

    /// Gives an output out as soon as everything that it may show is durable.
    pub(super) fn emit(&mut self, output: Output, remedy: Remedy) {
        self.count(&output);
        let mark = self.pipeline.mark();
        if self.held.is_empty() && self.pipeline.is_durable(mark) {
            self.outputs.push_back(output);
        } else {
            self.held.push(HeldOutput { mark, output, remedy });
        }
    }

    pub(super) fn send(&mut self, session: SessionKey, frame: Frame, remedy: Remedy) {
        self.emit(Output::Send { session, frame }, remedy);
    }

    /// Gives an output out past all that wait: one that shows nothing of what is not durable.
    pub(super) fn give_out(&mut self, output: Output) {
        self.count(&output);
        self.outputs.push_back(output);
    }

    fn release(&mut self) {
        while let Some(output) = self.held.pop_if(|mark| self.pipeline.is_durable(mark)) {
            self.outputs.push_back(output);
        }
    }

    /// Runs a client's transaction for the first time and records its outcome.
    pub(super) fn run_client_steps(
        &mut self,
        steps: &Json,
        key: Option<EventKey>,
        now: i64,
    ) -> Outcome {
        let count_max = self.limits.steps_per_transaction_max;
        let result = match steps.as_array() {
            Some(steps) if steps.len() > count_max => Err(too_many_steps("tx-steps", count_max)),
            _ => self.settings.may_write().and_then(|()| {
                parse_steps_as(steps, self.settings.value_form())
                    .and_then(|steps| self.execute(&steps, Actor::Client, now))
                    .map_err(|error| tx_refused(&error))
            }),
        };
        match result {
            Ok(commit) => Outcome::Accepted(self.commit(commit, key, now)),
            Err(body) => {
                let error = Arc::new(body);
                if let Some(event) = key {
                    let at = self.time(now);
                    self.outcomes.record(&event, outcomes::rejected(&error), at);
                    self.pipeline.push(LogEntry::Rejected { at, event, error: error.clone() });
                }
                Outcome::Rejected(error)
            }
        }
    }

    pub(super) fn execute(
        &mut self,
        steps: &[TxStep],
        actor: Actor,
        now: i64,
    ) -> Result<Commit, TxError> {
        let now = self.time(now);
        let mut context = ExecuteContext { now, ids: &mut *self.ids, actor };
        let commit = execute(&mut self.index, steps, &mut context)?;
        let attrs_max = self.limits.attrs_max;
        if commit.attrs().any(|change| change.old.is_none())
            && self.index.catalog().all().count() > attrs_max
        {
            self.index.undo(&commit);
            return Err(TxError::too_many_attrs(attrs_max));
        }
        Ok(commit)
    }

    /// Takes an applied commit into the log and marks what it touches.
    pub(super) fn commit(&mut self, commit: Commit, event: Option<EventKey>, now: i64) -> TxId {
        let at = self.time(now);
        self.last_at = at;
        let position = self.position.next();
        self.position = position;
        self.changes_since_snapshot += commit.len();
        self.attrs.feel(&commit);
        self.live.follow(&commit, &self.index);
        self.native.sources.feel(&commit, &self.index);
        if let Some(event) = &event {
            self.outcomes.record(event, Outcome::Accepted(position), at);
        }
        let commit = Arc::new(commit);
        let author = event.as_ref().and_then(EventKey::number).map(|(client, _)| client);
        self.native.tail.push(position, commit.clone(), author);
        self.pipeline.push(LogEntry::Committed { position, at, event, commit });
        position
    }

    /// Time does not go back, whatever the clock does.
    pub(super) fn time(&self, now: i64) -> i64 {
        now.max(self.last_at)
    }

    /// The catalog and the ids, borrowed side by side.
    pub(super) fn catalog_and_ids(&mut self) -> (&AttrCatalog, &mut dyn IdSource) {
        (self.index.catalog(), &mut *self.ids)
    }
}

/// Where an app without a commit stands: the wall clock's seconds, high enough above any earlier epoch.
/// Below 2^53 until the year 2242.
fn first_position(now: i64) -> TxId {
    TxId(u64::try_from(now / 1_000).unwrap_or(0).max(1) << 20)
}

/// The attribute list as sessions get it.
#[derive(Debug)]
pub(super) struct AttrList {
    version: u64,
    announced: u64,
    text: Option<Arc<str>>,
}

impl AttrList {
    /// Grows whenever sessions must hear of a change.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Whether sessions must hear of a change since the last call.
    pub(super) const fn take_changed(&mut self) -> bool {
        let changed = self.announced != self.version;
        self.announced = self.version;
        changed
    }

    /// The list as JSON, encoded once per change.
    pub(super) fn text(&mut self, catalog: &AttrCatalog) -> Arc<str> {
        let encode = || -> Arc<str> {
            let encoded = serde_json::to_string(&catalog.live_sorted());
            debug_assert!(encoded.is_ok(), "attributes are JSON");
            encoded.unwrap_or_else(|_| "[]".into()).into()
        };
        self.text.get_or_insert_with(encode).clone()
    }

    /// Notes a commit that was applied or taken back.
    fn feel(&mut self, commit: &Commit) {
        if commit.attrs().next().is_some() {
            self.text = None;
            if commit.changes_attrs() {
                self.version += 1;
            }
        }
    }
}
