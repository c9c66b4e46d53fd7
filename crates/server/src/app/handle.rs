//! How the rest of the server reaches an app's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tricedb_core::attr::Attr;
use tricedb_core::id::{AppId, TxId};
use tricedb_core::query::{Explanation, Inference};
use tricedb_core::schema::{Schema, SchemaStep};
use tricedb_core::tx::{Actor, MissingAttrs, TxStep};
use tricedb_protocol::{ClientMessage, ErrorBody};
use uuid::Uuid;

use super::frame::Frame;
use super::limits::AppLimits;
use super::schema::{JobReport, PushOptions, SchemaApplied, SchemaPlan};
use super::sessions::{OpenSession, SessionKey};
use super::settings::AppSettings;
use super::state::Answer;

/// Why a call to an app did not do what it was to do.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The app answered with an error.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// The app's task is gone: it was parked or its log failed. Open the app again.
    #[error("the app is closed")]
    Closed,
}

/// What the app's task is asked.
pub(super) enum Input {
    Open { open: OpenSession, reply: oneshot::Sender<Result<OpenedSession, ErrorBody>> },
    Message { session: SessionKey, message: ClientMessage, _room: Option<OwnedSemaphorePermit> },
    Resume(SessionKey),
    Close(SessionKey),
    Settings(AppSettings),
    Call { call: Call, reply: oneshot::Sender<Result<Answer, ErrorBody>> },
    Park { reply: oneshot::Sender<Parked> },
    Shutdown { reply: oneshot::Sender<()> },
}

/// A call of the admin API.
pub(super) enum Call {
    Query { query: Json, inference: Inference },
    Explain(Json),
    Transact { steps: Json, missing: MissingAttrs, actor: Actor },
    Steps(Vec<TxStep>),
    Schema(Schema),
    Attrs,
    PlanSchema(Schema, PushOptions),
    ApplySchema(Schema, PushOptions),
    SchemaSteps(Vec<SchemaStep>),
    Jobs(Uuid),
}

/// Whether a park went through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Parked {
    Done,
    InUse,
}

pub(super) struct OpenedSession {
    pub(super) key: SessionKey,
    pub(super) frames: mpsc::UnboundedReceiver<Frame>,
    pub(super) meter: Arc<OutboundMeter>,
}

/// How much waits for one session's reader.
#[derive(Debug, Default)]
pub(super) struct OutboundMeter {
    owed_bytes: AtomicUsize,
    is_congested: AtomicBool,
}

impl OutboundMeter {
    /// Adds a frame; whether the reader has just become a slow one.
    pub(super) fn add(&self, frame: &Frame, bytes_max: usize) -> bool {
        let owed = self.owed_bytes.fetch_add(frame.len(), Ordering::Relaxed) + frame.len();
        owed > bytes_max && !self.is_congested.swap(true, Ordering::Relaxed)
    }

    /// Says that the session's messages should not be read for now; whether that is news.
    pub(super) fn congest(&self) -> bool {
        !self.is_congested.swap(true, Ordering::Relaxed)
    }

    /// Bytes delivered and not written.
    pub(super) fn owed_bytes(&self) -> usize {
        self.owed_bytes.load(Ordering::Relaxed)
    }

    /// Takes written bytes off; whether a slow reader has just caught up.
    fn written(&self, bytes: usize, bytes_max: usize) -> bool {
        let owed = self.owed_bytes.fetch_sub(bytes, Ordering::Relaxed) - bytes;
        owed <= bytes_max / 2
            && self.is_congested.load(Ordering::Relaxed)
            && self.is_congested.swap(false, Ordering::Relaxed)
    }
}

/// What the handle and the task share besides the channel.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) app: AppId,
    pub(super) limits: AppLimits,
    /// Room for waiting messages, in units of [`ROOM_UNIT`].
    room: Arc<Semaphore>,
    pub(super) sessions: AtomicUsize,
    pub(super) rooms: AtomicUsize,
    /// Messages of topics that slow readers have missed.
    pub(super) dropped_broadcasts: AtomicU64,
    began: Instant,
    /// When it was last used, in milliseconds since `began`.
    last_used_ms: AtomicU64,
}

/// Messages smaller than this take no room: the number of messages that may wait bounds them.
const ROOM_UNIT: usize = 4_096;

impl Shared {
    pub(super) fn new(app: AppId, limits: AppLimits) -> Self {
        Self {
            app,
            room: Arc::new(Semaphore::new((limits.inbound_bytes_max / ROOM_UNIT).max(1))),
            limits,
            sessions: AtomicUsize::new(0),
            rooms: AtomicUsize::new(0),
            dropped_broadcasts: AtomicU64::new(0),
            began: Instant::now(),
            last_used_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn touch(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used_ms.store(since, Ordering::Relaxed);
    }

    /// Waits until a message of this size may wait for the app; a message larger than all the room takes
    /// all of it.
    async fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        if bytes < ROOM_UNIT {
            return None;
        }
        let units = (bytes / ROOM_UNIT).min((self.limits.inbound_bytes_max / ROOM_UNIT).max(1));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        self.room.clone().acquire_many_owned(units).await.ok()
    }
}

/// An app in use. Clones reach the same app.
#[derive(Clone, Debug)]
pub struct AppHandle {
    inputs: mpsc::Sender<Input>,
    shared: Arc<Shared>,
}

impl AppHandle {
    pub(super) const fn new(inputs: mpsc::Sender<Input>, shared: Arc<Shared>) -> Self {
        Self { inputs, shared }
    }

    /// The app's id.
    pub fn app(&self) -> AppId {
        self.shared.app
    }

    /// Whether the app's task is gone; every call then fails with [`AppError::Closed`].
    pub fn is_closed(&self) -> bool {
        self.inputs.is_closed()
    }

    /// Number of open sessions.
    pub fn session_count(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// Number of rooms that somebody is in.
    pub fn room_count(&self) -> usize {
        self.shared.rooms.load(Ordering::Relaxed)
    }

    /// How many messages of topics slow readers have missed since the app was opened: the oldest make way
    /// for later ones.
    pub fn dropped_broadcasts(&self) -> u64 {
        self.shared.dropped_broadcasts.load(Ordering::Relaxed)
    }

    /// For how long nobody has used the app; `None` while sessions are open.
    pub fn idle_for(&self) -> Option<Duration> {
        if self.session_count() > 0 {
            return None;
        }
        let last = Duration::from_millis(self.shared.last_used_ms.load(Ordering::Relaxed));
        Some(self.shared.began.elapsed().saturating_sub(last))
    }

    async fn send(&self, input: Input) -> Result<(), AppError> {
        self.shared.touch();
        self.inputs.send(input).await.map_err(|_| AppError::Closed)
    }

    /// Opens a session. Its first frame is the `init-ok`.
    ///
    /// # Errors
    /// [`AppError::Refused`] if the app takes no more sessions, [`AppError::Closed`].
    pub async fn open_session(&self, open: OpenSession) -> Result<Session, AppError> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Open { open, reply }).await?;
        let opened = answer.await.map_err(|_| AppError::Closed)?.map_err(AppError::Refused)?;
        let OpenedSession { key, frames, meter } = opened;
        Ok(Session { key, frames, meter, app: self.clone() })
    }

    /// Turns on or off what the app has beyond InstantDB, for the messages that come after this call.
    ///
    /// # Errors
    /// [`AppError::Closed`].
    pub async fn set_settings(&self, settings: AppSettings) -> Result<(), AppError> {
        self.send(Input::Settings(settings)).await
    }

    /// Runs an InstaQL query; the result in its object form.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn admin_query(&self, query: Json, inference: Inference) -> Result<Json, AppError> {
        match self.call(Call::Query { query, inference }).await? {
            Answer::Tree(tree) => Ok(tree),
            other => Err(unexpected(&other)),
        }
    }

    /// Says how an InstaQL query is answered, by running it.
    ///
    /// # Errors
    /// [`AppError`].
    pub async fn explain(&self, query: Json) -> Result<Explanation, AppError> {
        match self.call(Call::Explain(query)).await? {
            Answer::Explained(explanation) => Ok(*explanation),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs the `steps` of `/admin/transact` as one transaction; durable when it returns.
    ///
    /// # Errors
    /// [`AppError`]; nothing was changed then, except perhaps with [`AppError::Closed`].
    pub async fn admin_transact(
        &self,
        steps: Json,
        missing: MissingAttrs,
    ) -> Result<TxId, AppError> {
        self.commit(Call::Transact { steps, missing, actor: Actor::Admin }).await
    }

    /// As [`Self::admin_transact`], with the rights of a client whom nobody knows.
    ///
    /// # Errors
    /// As [`Self::admin_transact`].
    pub async fn guest_transact(
        &self,
        steps: Json,
        missing: MissingAttrs,
    ) -> Result<TxId, AppError> {
        self.commit(Call::Transact { steps, missing, actor: Actor::Client }).await
    }

    /// Runs tx-steps with the admin's rights as one transaction; durable when it returns.
    ///
    /// # Errors
    /// As [`Self::admin_transact`].
    pub async fn admin_steps(&self, steps: Vec<TxStep>) -> Result<TxId, AppError> {
        self.commit(Call::Steps(steps)).await
    }

    /// Makes what the app lacks of a schema; durable when it returns. If it lacks nothing, the present
    /// position comes back.
    ///
    /// # Errors
    /// As [`Self::admin_transact`].
    pub async fn push_schema(&self, schema: Schema) -> Result<TxId, AppError> {
        self.commit(Call::Schema(schema)).await
    }

    /// The live attributes, sorted by id.
    ///
    /// # Errors
    /// [`AppError::Closed`].
    pub async fn pull_attrs(&self) -> Result<Vec<Arc<Attr>>, AppError> {
        match self.call(Call::Attrs).await? {
            Answer::Attrs(attrs) => Ok(attrs),
            other => Err(unexpected(&other)),
        }
    }

    /// Says what the app lacks of a schema.
    ///
    /// # Errors
    /// [`AppError::Refused`] if the schema contradicts itself or the app, [`AppError::Closed`].
    pub async fn plan_schema(
        &self,
        schema: Schema,
        options: PushOptions,
    ) -> Result<SchemaPlan, AppError> {
        match self.call(Call::PlanSchema(schema, options)).await? {
            Answer::Planned(plan) => Ok(plan),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes what the app lacks of a schema, in part by jobs: see [`Self::jobs`].
    ///
    /// # Errors
    /// As [`Self::admin_transact`].
    pub async fn apply_schema(
        &self,
        schema: Schema,
        options: PushOptions,
    ) -> Result<SchemaApplied, AppError> {
        self.applied(Call::ApplySchema(schema, options)).await
    }

    /// Runs schema steps: attributes as one transaction, durable when this returns, then a job for each of
    /// the other steps, which may still be at work.
    ///
    /// # Errors
    /// As [`Self::admin_transact`].
    pub async fn apply_schema_steps(
        &self,
        steps: Vec<SchemaStep>,
    ) -> Result<SchemaApplied, AppError> {
        self.applied(Call::SchemaSteps(steps)).await
    }

    async fn applied(&self, call: Call) -> Result<SchemaApplied, AppError> {
        match self.call(call).await? {
            Answer::Applied(applied) => Ok(applied),
            other => Err(unexpected(&other)),
        }
    }

    /// The jobs of a group as they stand, never none. Those that ended are remembered until the app is
    /// closed or a thousand others came after them.
    ///
    /// # Errors
    /// [`AppError::Refused`] if there is no such group, [`AppError::Closed`].
    pub async fn jobs(&self, group: Uuid) -> Result<Vec<JobReport>, AppError> {
        match self.call(Call::Jobs(group)).await? {
            Answer::Jobs(jobs) => Ok(jobs),
            other => Err(unexpected(&other)),
        }
    }

    async fn commit(&self, call: Call) -> Result<TxId, AppError> {
        match self.call(call).await? {
            Answer::Committed(position) => Ok(position),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(&self, call: Call) -> Result<Answer, AppError> {
        let (reply, answer) = oneshot::channel();
        self.send(Input::Call { call, reply }).await?;
        answer.await.map_err(|_| AppError::Closed)?.map_err(AppError::Refused)
    }

    /// Lets the app leave memory if nobody uses it: takes a last snapshot and closes the log. Whether it
    /// did; then this and all other handles are closed.
    pub async fn park(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Park { reply }).await.is_err() {
            return true;
        }
        // The task ends without an answer only if it ends.
        answer.await.unwrap_or(Parked::Done) == Parked::Done
    }

    /// Ends the app: what was received is answered, sessions end, a last snapshot is taken and the log is
    /// closed. Returns when all of it is done.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Shutdown { reply }).await.is_ok() {
            let _ = answer.await;
        }
        self.inputs.closed().await;
    }

    /// Delivers an input that must not be lost from where nobody can wait.
    fn send_soon(&self, input: Input) {
        if let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) {
            let inputs = self.inputs.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move {
                    let _ = inputs.send(input).await;
                });
            }
        }
    }
}

/// The task answers each call with its own kind.
fn unexpected(answer: &Answer) -> AppError {
    tracing::error!(?answer, "an app answered a call with the wrong kind of answer");
    AppError::Refused(ErrorBody::internal("The server answered another question."))
}

/// One open session of an app; closed by dropping.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    frames: mpsc::UnboundedReceiver<Frame>,
    meter: Arc<OutboundMeter>,
    app: AppHandle,
}

impl Session {
    /// Hands a message to the app; waits while too much waits there already. `bytes` is the size of the
    /// message as it came.
    ///
    /// # Errors
    /// [`AppError::Closed`].
    pub async fn send(&self, message: ClientMessage, bytes: usize) -> Result<(), AppError> {
        let room = self.app.shared.room_for(bytes).await;
        let input = Input::Message { session: self.key, message, _room: room };
        match self.app.inputs.try_send(input) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(input)) => self.app.send(input).await,
            Err(mpsc::error::TrySendError::Closed(_)) => Err(AppError::Closed),
        }
    }

    /// The next frame to write; `None` once the app has ended. Cancel-safe.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        self.frames.recv().await
    }

    /// The next frame if one waits.
    pub fn try_next_frame(&mut self) -> Option<Frame> {
        self.frames.try_recv().ok()
    }

    /// Says that so many bytes of frames have been written or buffered for writing.
    pub fn written(&self, bytes: usize) {
        if self.meter.written(bytes, self.app.shared.limits.outbound_bytes_max) {
            self.app.send_soon(Input::Resume(self.key));
        }
    }

    /// Whether so much waits to be written that the session's messages should not be read for now.
    pub fn is_backed_up(&self) -> bool {
        self.meter.is_congested.load(Ordering::Relaxed)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.app.shared.touch();
        self.app.send_soon(Input::Close(self.key));
    }
}
