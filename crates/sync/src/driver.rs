//! The one task of a client: it moves bytes between engine, transport and storage.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tricedb_core::id::IdSource;
use tricedb_core::port::{Connection, Frame, Storage, StorageError, Transport, TransportError};

use crate::clock::Clock;
use crate::engine::{Input, RestoreError, Settings, SyncEngine};
use crate::handle::SyncHandle;
use crate::shared::{Job, Shared, Work};

/// Frames taken from the connection before results are looked at.
const FRAMES_MAX: usize = 64;

/// How often results may be passed over for something else that is ready.
const PASSED_OVER_MAX: u32 = 8;

/// The code with which a peer closes a connection on which a message was too large.
const TOO_LARGE: u16 = 1009;

/// How long a polite end of a connection may take.
const FAREWELL_MAX: Duration = Duration::from_millis(500);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Why a client could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The storage could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The storage's contents cannot be used.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

/// Reads a storage and makes a client of it. The handle works at once; spawn [`Driver::run`] for anything
/// to be stored or sent.
///
/// # Errors
/// [`StartError`]; the storage is closed then.
pub async fn start(
    settings: Settings,
    transport: Box<dyn Transport>,
    storage: Box<dyn Storage>,
    ids: Box<dyn IdSource + Send>,
) -> Result<(SyncHandle, Driver), StartError> {
    let clock = Clock::start();
    let engine = match storage.load().await {
        Ok(snapshot) => {
            SyncEngine::new(settings, snapshot, ids, clock.now()).map_err(StartError::from)
        }
        Err(error) => Err(error.into()),
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            // The first error says more than a failure to close.
            let _ = storage.close().await;
            return Err(error);
        }
    };
    let shared = Shared::new(engine, clock);
    let handle = SyncHandle::new(shared.clone());
    Ok((handle, Driver { shared, transport: transport.into(), storage: storage.into() }))
}

/// The client's task.
#[must_use = "nothing is stored or sent unless the driver runs"]
pub struct Driver {
    shared: Arc<Shared>,
    transport: Arc<dyn Transport>,
    storage: Arc<dyn Storage>,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// Ends streams and receipts however the task ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(Err("the client's task was stopped".into()));
    }
}

impl Driver {
    /// Runs until the client is closed (or its last handle dropped) and everything is written. Needs a
    /// tokio runtime with timers. If it is dropped before, what was not written yet is lost and every
    /// stream ends.
    pub async fn run(self) {
        let Self { shared, transport, storage } = self;
        let ending = Ending(shared.clone());
        let mut wire = Wire::None;
        // Counts connections, so that nothing of an old one is taken for news of the next.
        let mut attempt = 0;
        let mut farewell: Option<Boxed<()>> = None;
        let mut commit: Option<Boxed<Result<(), StorageError>>> = None;
        let mut failure = None;
        let mut passed_over = 0_u32;
        loop {
            let Work { jobs, results_due, wait, is_closed } = shared.work();
            for job in jobs {
                match job {
                    Job::Connect(number) => {
                        attempt = number;
                        wire = Wire::connect(transport.clone());
                    }
                    Job::Close => farewell = wire.close(farewell.take()),
                    Job::Send(frame) => wire.queue(frame),
                    Job::Persist(batch) => {
                        let storage = storage.clone();
                        commit = Some(Box::pin(async move { storage.commit(batch).await }));
                    }
                }
            }
            if (is_closed || failure.is_some()) && commit.is_none() {
                break;
            }
            wire.flush();
            let sleep = tokio::time::sleep(wait.unwrap_or(Duration::from_secs(3600)));
            passed_over = if results_due { passed_over + 1 } else { 0 };
            if passed_over > PASSED_OVER_MAX {
                passed_over = 0;
                shared.settle();
            }
            tokio::select! {
                biased;
                result = pending(&mut commit) => {
                    commit = None;
                    let input = match result {
                        Ok(()) => Input::Committed,
                        Err(error) => {
                            let message = error.to_string();
                            // While closing there is no later to try again.
                            if shared.step(|engine, _| engine.is_closing()) {
                                failure = Some(Arc::from(message.as_str()));
                            }
                            Input::CommitFailed { message }
                        }
                    };
                    shared.step(|engine, now| engine.handle(now, input));
                }
                inputs = wire.next() => shared.hear(attempt, inputs),
                () = shared.wake.notified() => {}
                // Last of those that are ready: what is to be sent leaves before results are evaluated.
                () = std::future::ready(()), if results_due => shared.settle(),
                () = pending(&mut farewell) => farewell = None,
                () = sleep => shared.step(|engine, now| engine.handle(now, Input::Tick)),
            }
        }
        if let Some(farewell) = wire.close(farewell) {
            farewell.await;
        }
        let closed = storage.close().await.map_err(|error| Arc::from(error.to_string().as_str()));
        shared.end(failure.map_or(closed, Err));
        drop(ending);
    }
}

/// Waits for a future that may not be there.
async fn pending<T>(future: &mut Option<Boxed<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

type Opened = Result<Box<dyn Connection>, TransportError>;
type Sent = (Box<dyn Connection>, Result<(), TransportError>);

/// The connection, and what is under way on it.
enum Wire {
    None,
    Connecting(Boxed<Opened>),
    Open {
        connection: Box<dyn Connection>,
        queued: VecDeque<Frame>,
    },
    /// Sending goes on whatever else happens meanwhile.
    Sending {
        under_way: Boxed<Sent>,
        queued: VecDeque<Frame>,
    },
}

impl Wire {
    fn connect(transport: Arc<dyn Transport>) -> Self {
        Self::Connecting(Box::pin(async move { transport.connect().await }))
    }

    fn queue(&mut self, frame: Frame) {
        match self {
            Self::Open { queued, .. } | Self::Sending { queued, .. } => queued.push_back(frame),
            // Meant for a connection that has ended since.
            Self::None | Self::Connecting(_) => {}
        }
    }

    /// Begins to send what is queued.
    fn flush(&mut self) {
        let Self::Open { queued, .. } = self else { return };
        if queued.is_empty() {
            return;
        }
        let Self::Open { mut connection, queued } = std::mem::replace(self, Self::None) else {
            return;
        };
        let under_way = Box::pin(async move {
            for frame in queued {
                if let Err(error) = connection.send(frame).await {
                    return (connection, Err(error));
                }
            }
            (connection, Ok(()))
        });
        *self = Self::Sending { under_way, queued: VecDeque::new() };
    }

    /// Ends the connection; the returned future does it politely.
    fn close(&mut self, before: Option<Boxed<()>>) -> Option<Boxed<()>> {
        match std::mem::replace(self, Self::None) {
            Self::Open { mut connection, .. } => Some(Box::pin(async move {
                if let Some(before) = before {
                    before.await;
                }
                // A peer that does not answer is left to notice by itself.
                let _ = tokio::time::timeout(FAREWELL_MAX, connection.close()).await;
            })),
            // Dropping the future ends the connection as well.
            Self::None | Self::Connecting(_) | Self::Sending { .. } => before,
        }
    }

    /// What happens on the connection next. Cancel-safe.
    async fn next(&mut self) -> Vec<Input> {
        match self {
            Self::None => std::future::pending().await,
            Self::Connecting(opening) => match opening.await {
                Ok(connection) => {
                    *self = Self::Open { connection, queued: VecDeque::new() };
                    vec![Input::Connected]
                }
                Err(error) => self.lost(&error),
            },
            Self::Open { connection, .. } => {
                let mut inputs = Vec::new();
                let mut received = connection.receive().await;
                loop {
                    match received {
                        Ok(frame) => inputs.push(Input::Frame(frame)),
                        Err(error) => {
                            inputs.extend(self.lost(&error));
                            return inputs;
                        }
                    }
                    if inputs.len() >= FRAMES_MAX {
                        return inputs;
                    }
                    match connection.receive().now_or_never() {
                        Some(next) => received = next,
                        None => return inputs,
                    }
                }
            }
            Self::Sending { under_way, queued } => {
                let (connection, result) = under_way.await;
                match result {
                    Ok(()) => {
                        let queued = std::mem::take(queued);
                        *self = Self::Open { connection, queued };
                        Vec::new()
                    }
                    Err(error) => self.lost(&error),
                }
            }
        }
    }

    fn lost(&mut self, error: &TransportError) -> Vec<Input> {
        *self = Self::None;
        let reason = error.to_string();
        vec![match error {
            TransportError::Closed { code: TOO_LARGE, .. } => Input::TooLarge { reason },
            TransportError::BadAddress { .. } => Input::Disconnected { reason, hopeless: true },
            _ => Input::Disconnected { reason, hopeless: false },
        }]
    }
}
