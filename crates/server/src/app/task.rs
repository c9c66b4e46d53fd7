//! The task that owns an app's state, and the one that owns its log.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustc_hash::FxBuildHasher;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tricedb_core::id::TxId;
use tricedb_protocol::{ClientMessage, ErrorBody};
use uuid::Uuid;

use super::frame::Frame;
use super::handle::{AppHandle, Call, Input, OpenedSession, OutboundMeter, Parked, Shared};
use super::limits::AppLimits;
use super::native::Encoded;
use super::sessions::{OpenSession, SessionKey};
use super::settings::AppSettings;
use super::state::{Answer, AppIdentity, AppState, Output, Ticket};
use crate::clock::now_ms;
use crate::log::{CommitLog, LoadedLog, LogEntry, LogError, SnapshotImage};

/// An app read from its log, ready to be used.
#[derive(Debug)]
pub struct LoadedApp {
    /// What clients may know of it.
    pub identity: AppIdentity,
    /// What [`CommitLog::load`] gave.
    pub state: LoadedLog,
    /// What it turns on beyond InstantDB.
    pub settings: AppSettings,
}

/// Inputs handled before outputs are looked at: enough to make batches of bursts, few enough that nobody
/// waits long for an answer.
const ROUND_MAX: usize = 128;

/// Failed appends in a row after which the app is given up, to be opened again from what the log holds.
const FAILURES_MAX: u32 = 3;

/// Puts an app into a task of the current runtime. The task ends by [`AppHandle::park`],
/// [`AppHandle::shutdown`], a log that is taken by another writer, fails again and again or leaves in doubt
/// what it holds, or when the last handle and session are gone. It always closes the log.
///
/// Everything a small transaction needs happens in this task and the sockets' ones: with a volatile log and
/// a single-threaded runtime no thread is woken between receiving and sending.
pub fn spawn_app(app: LoadedApp, log: Box<dyn CommitLog>, limits: AppLimits) -> AppHandle {
    let (inputs, inbox) = mpsc::channel(limits.inbound_messages_max.max(1));
    let (log_commands, log_inbox) = mpsc::unbounded_channel();
    let (flush_results, flushes) = mpsc::unbounded_channel();
    let (encoded, encodings) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(app.identity.id, limits.clone()));
    let ids = Box::new(Uuid::new_v4);
    let mut state =
        AppState::new(app.identity, limits, app.state, log.is_volatile(), ids, now_ms());
    state.set_settings(app.settings);
    let log_task = tokio::spawn(run_log(log, log_inbox, flush_results));
    let task = AppTask {
        state,
        shared: shared.clone(),
        outlets: HashMap::default(),
        backed_up: BTreeSet::new(),
        replies: HashMap::default(),
        last_ticket: 0,
        log: log_commands,
        failures: 0,
        encoded,
        began: Instant::now(),
    };
    tokio::spawn(task.run(inbox, flushes, encodings, log_task));
    AppHandle::new(inputs, shared)
}

struct AppTask {
    state: AppState,
    shared: Arc<Shared>,
    outlets: HashMap<SessionKey, Outlet, FxBuildHasher>,
    /// Sessions with messages that wait.
    backed_up: BTreeSet<SessionKey>,
    replies: HashMap<Ticket, oneshot::Sender<Result<Answer, ErrorBody>>, FxBuildHasher>,
    last_ticket: u64,
    log: mpsc::UnboundedSender<LogCommand>,
    failures: u32,
    encoded: mpsc::UnboundedSender<Encoded>,
    /// The start of the clock that rooms go by.
    began: Instant,
}

/// Where a session's frames go.
struct Outlet {
    frames: mpsc::UnboundedSender<Frame>,
    meter: Arc<OutboundMeter>,
    /// Messages that came while much waited to be written to the session. Nothing more is read from its
    /// socket then, so that no more come than the app's inbox held.
    backlog: VecDeque<Message>,
}

/// A client's message, and its room in the inbox for as long as it waits.
struct Message {
    message: ClientMessage,
    _room: Option<OwnedSemaphorePermit>,
}

/// Whether the task goes on after an input.
enum Next {
    GoOn,
    End(Option<EndReply>),
    /// Nobody may be told anything any more.
    Abandon,
}

enum EndReply {
    Parked(oneshot::Sender<Parked>),
    ShutDown(oneshot::Sender<()>),
}

impl AppTask {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Input>,
        mut flushes: mpsc::UnboundedReceiver<Result<(), LogError>>,
        mut encodings: mpsc::UnboundedReceiver<Encoded>,
        log_task: JoinHandle<()>,
    ) {
        let mut replies = Vec::new();
        loop {
            let rooms_due = self.state.rooms_deadline().map(|at| self.began + at);
            let next = tokio::select! {
                biased;
                Some(result) = flushes.recv() => self.flush_done(result),
                Some(encoded) = encodings.recv() => {
                    self.state.encoded(encoded);
                    Next::GoOn
                }
                () = reached(rooms_due) => Next::GoOn,
                input = inbox.recv() => match input {
                    Some(input) => self.round(input, &mut inbox),
                    None => Next::End(None),
                },
                // Jobs take the turns that nobody else wants.
                () = tokio::task::yield_now(), if self.state.has_work() => {
                    self.state.work(now_ms());
                    Next::GoOn
                }
            };
            match next {
                Next::GoOn => self.settle(),
                Next::End(reply) => {
                    self.settle();
                    replies.extend(reply);
                    break;
                }
                Next::Abandon => return self.abandon(inbox, log_task).await,
            }
        }
        inbox.close();
        while let Some(input) = inbox.recv().await {
            if let Next::End(reply) = self.input(input, true) {
                replies.extend(reply);
            }
            self.settle();
        }
        while !self.state.is_settled() {
            let Some(result) = flushes.recv().await else { break };
            if let Next::Abandon = self.flush_done(result) {
                return self.abandon(inbox, log_task).await;
            }
            self.settle();
        }
        // The sockets write what they were given, and close.
        self.outlets.clear();
        self.shared.sessions.store(0, Ordering::Relaxed);
        if let Some((position, image)) = self.state.final_snapshot() {
            let _ = self.log.send(LogCommand::Snapshot { position, image });
        }
        drop(self.log);
        if let Err(error) = log_task.await {
            tracing::error!(app = %self.shared.app, %error, "the log's task failed");
        }
        for reply in replies {
            match reply {
                EndReply::Parked(reply) => drop(reply.send(Parked::Done)),
                EndReply::ShutDown(reply) => drop(reply.send(())),
            }
        }
    }

    /// Ends without a word to anybody: what memory holds may be more than the log has, or not. Sessions
    /// end, and those who wait for an answer get none; sent again, a named transaction gets its outcome
    /// from the log that is opened anew.
    async fn abandon(self, mut inbox: mpsc::Receiver<Input>, log_task: JoinHandle<()>) {
        inbox.close();
        self.shared.sessions.store(0, Ordering::Relaxed);
        drop((self.outlets, self.replies, self.state, self.log));
        if let Err(error) = log_task.await {
            tracing::error!(app = %self.shared.app, %error, "the log's task failed");
        }
    }

    /// Handles an input and those that wait behind it.
    fn round(&mut self, first: Input, inbox: &mut mpsc::Receiver<Input>) -> Next {
        let mut next = self.input(first, inbox.is_empty());
        for _ in 1..ROUND_MAX {
            if !matches!(next, Next::GoOn) {
                break;
            }
            let Ok(input) = inbox.try_recv() else { break };
            next = self.input(input, inbox.is_empty());
        }
        next
    }

    fn input(&mut self, input: Input, is_last: bool) -> Next {
        match input {
            Input::Message { session, message, _room } => {
                self.message(session, Message { message, _room });
            }
            Input::Open { open, reply } => self.open(open, reply),
            Input::Close(session) => self.close(session),
            Input::Resume(session) => self.state.resume(session),
            Input::Settings(settings) => self.state.set_settings(settings),
            Input::Call { call, reply } => self.call(call, reply),
            Input::Park { reply } => {
                let is_idle = self.state.session_count() == 0
                    && self.state.is_settled()
                    && !self.state.has_work();
                if is_idle && is_last {
                    return Next::End(Some(EndReply::Parked(reply)));
                }
                let _ = reply.send(Parked::InUse);
            }
            Input::Shutdown { reply } => return Next::End(Some(EndReply::ShutDown(reply))),
        }
        Next::GoOn
    }

    fn open(
        &mut self,
        open: OpenSession,
        reply: oneshot::Sender<Result<OpenedSession, ErrorBody>>,
    ) {
        let opened = self.state.open_session(open, now_ms()).map(|key| {
            let (sender, frames) = mpsc::unbounded_channel();
            let meter = Arc::new(OutboundMeter::default());
            let backlog = VecDeque::new();
            self.outlets.insert(key, Outlet { frames: sender, meter: meter.clone(), backlog });
            OpenedSession { key, frames, meter }
        });
        let key = opened.as_ref().ok().map(|opened| opened.key);
        if reply.send(opened).is_err()
            && let Some(key) = key
        {
            self.close(key);
        }
        self.count_sessions();
    }

    fn message(&mut self, session: SessionKey, message: Message) {
        let is_backed_up = self.is_backed_up(session);
        let Some(outlet) = self.outlets.get_mut(&session) else { return };
        if !is_backed_up && outlet.backlog.is_empty() {
            return self.state.message(session, message.message, now_ms());
        }
        outlet.backlog.push_back(message);
        self.backed_up.insert(session);
        if outlet.meter.congest() {
            self.state.pause(session);
        }
    }

    /// Whether so much waits to be written to a session that it may not ask for more.
    fn is_backed_up(&self, session: SessionKey) -> bool {
        let owed = self.outlets.get(&session).map_or(0, |outlet| outlet.meter.owed_bytes());
        owed + self.state.queued_bytes(session) > self.shared.limits.outbound_bytes_max
    }

    /// Handles messages that waited, as far as there is room for their answers. Whether there were any.
    fn take_up_backlogs(&mut self) -> bool {
        let mut took_any = false;
        for session in self.backed_up.clone() {
            while !self.is_backed_up(session) {
                let outlet = self.outlets.get_mut(&session);
                let Some(Message { message, _room }) = outlet.and_then(|o| o.backlog.pop_front())
                else {
                    self.backed_up.remove(&session);
                    break;
                };
                took_any = true;
                self.state.message(session, message, now_ms());
            }
        }
        took_any
    }

    fn close(&mut self, session: SessionKey) {
        self.state.close_session(session);
        self.outlets.remove(&session);
        self.count_sessions();
    }

    fn count_sessions(&self) {
        self.shared.sessions.store(self.state.session_count(), Ordering::Relaxed);
    }

    fn call(&mut self, call: Call, reply: oneshot::Sender<Result<Answer, ErrorBody>>) {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        self.replies.insert(ticket, reply);
        let now = now_ms();
        match call {
            Call::Query { query, inference } => self.state.admin_query(ticket, &query, inference),
            Call::Explain(query) => self.state.explain(ticket, &query),
            Call::Transact { steps, missing, actor } => {
                self.state.transact_by_names(ticket, &steps, missing, actor, now);
            }
            Call::Steps(steps) => self.state.admin_steps(ticket, &steps, now),
            Call::Schema(schema) => self.state.push_schema(ticket, &schema, now),
            Call::Attrs => self.state.pull_attrs(ticket),
            Call::PlanSchema(schema, options) => self.state.plan_schema(ticket, &schema, options),
            Call::ApplySchema(schema, options) => {
                self.state.apply_schema(ticket, &schema, options, now);
            }
            Call::SchemaSteps(steps) => self.state.apply_schema_steps(ticket, steps, now),
            Call::Jobs(group) => self.state.job_group(ticket, group),
        }
    }

    fn flush_done(&mut self, result: Result<(), LogError>) -> Next {
        let Err(error) = result else {
            self.failures = 0;
            self.state.flushed();
            return Next::GoOn;
        };
        tracing::error!(app = %self.shared.app, %error, "a batch could not be made durable");
        self.failures += 1;
        if matches!(error, LogError::InDoubt(_)) {
            return Next::Abandon;
        }
        self.state.flush_failed();
        match error {
            LogError::Storage(_) if self.failures < FAILURES_MAX => Next::GoOn,
            _ => Next::End(None),
        }
    }

    /// Ends a round: makes refreshes and batches, and gives every output to whom it is for.
    fn settle(&mut self) {
        self.give_out();
        while self.take_up_backlogs() {
            self.give_out();
        }
    }

    fn give_out(&mut self) {
        self.state.seal();
        if self.state.rooms_deadline().is_some() {
            self.state.tell_rooms(self.began.elapsed());
        }
        self.shared.rooms.store(self.state.room_count(), Ordering::Relaxed);
        self.shared.dropped_broadcasts.store(self.state.dropped_broadcasts(), Ordering::Relaxed);
        while let Some(output) = self.state.poll() {
            match output {
                Output::Send { session, frame } => self.deliver(session, frame),
                Output::Answer { ticket, answer } => {
                    if let Some(reply) = self.replies.remove(&ticket) {
                        let _ = reply.send(answer);
                    }
                }
                Output::Encode(job) => {
                    let results = self.encoded.clone();
                    // An app that has ended needs no answer.
                    tokio::task::spawn_blocking(move || drop(results.send(job.run())));
                }
                Output::Append { expected, entries } => {
                    let _ = self.log.send(LogCommand::Append { expected, entries });
                }
                Output::Snapshot { position, image } => {
                    let _ = self.log.send(LogCommand::Snapshot { position, image });
                }
            }
        }
    }

    fn deliver(&mut self, session: SessionKey, frame: Frame) {
        let Some(outlet) = self.outlets.get(&session) else { return };
        if outlet.meter.add(&frame, self.shared.limits.outbound_bytes_max) {
            self.state.pause(session);
        }
        // A socket that is gone says so itself.
        let _ = outlet.frames.send(frame);
    }
}

/// Waits for a point in time; for ever, if there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

enum LogCommand {
    Append { expected: TxId, entries: Arc<[LogEntry]> },
    Snapshot { position: TxId, image: SnapshotImage },
}

/// Owns the log: its calls run one after the other and are never cut short. Ends, and closes the log, when
/// no more commands can come.
async fn run_log(
    mut log: Box<dyn CommitLog>,
    mut commands: mpsc::UnboundedReceiver<LogCommand>,
    results: mpsc::UnboundedSender<Result<(), LogError>>,
) {
    let mut last_append_held = true;
    while let Some(command) = commands.recv().await {
        match command {
            LogCommand::Append { expected, entries } => {
                let result = log.append(expected, &entries).await;
                last_append_held = result.is_ok();
                let _ = results.send(result);
            }
            LogCommand::Snapshot { position, image } if last_append_held => {
                if let Err(error) = log.snapshot(position, image).await {
                    // The log is as before: only longer to read.
                    tracing::warn!(%error, "a snapshot could not be stored");
                }
            }
            LogCommand::Snapshot { .. } => {}
        }
    }
    if let Err(error) = log.close().await {
        tracing::warn!(%error, "the log did not close well");
    }
}
