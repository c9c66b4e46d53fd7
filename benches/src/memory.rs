//! Resident memory of the server: idle, with a thousand idle sessions, and after a large message on each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use crate::child::Serving;
use crate::error::{BenchError, io_error};
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::Programs;
use crate::session::{Session, make_app};
use crate::socket::{Incoming, Socket, in_time};
use crate::todos::{Ids, Todos};

const BENCH: &str = "memory";
const CONNECTIONS: usize = 1_000;
const LARGE_BYTES: usize = 100_000;
/// Large messages on one session before the others come, so that what the app itself keeps of large values
/// is not counted as the sessions'.
const LARGE_BEFORE: usize = 50;
/// How many large messages are under way at a time.
const LARGE_AT_ONCE: usize = 4;
/// Descriptors for the connections and all else.
const DESCRIPTORS: u64 = CONNECTIONS as u64 + 500;

const IDLE_TARGET_MB: f64 = 30.0;
const CONNECTION_TARGET_KB: f64 = 16.0;
const LARGE_TARGET_KB: f64 = 40.0;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    allow_descriptors()?;
    let relay = programs.relay()?;
    let relay_idle = settled(&relay).await?;
    let (relay_each, relay_large_each) = hold_relay(&relay).await?;
    drop(relay);

    let server = programs.server()?;
    let idle = settled(&server).await?;
    let each = Crowd::gather(&server, 0).await?.bytes_each(&server).await?;
    server.stop()?;

    // In a process of its own: memory that the large messages leave free would hide what sessions take.
    let server = programs.server()?;
    let mut crowd = Crowd::gather(&server, LARGE_BEFORE).await?;
    crowd.send_large().await?;
    let large_each = crowd.bytes_each(&server).await?;
    drop(crowd);
    server.stop()?;

    let megabytes = |bytes: u64| Samples::one(bytes as f64 / 1e6);
    let kilobytes = |bytes: f64| Samples::one(bytes / 1e3);
    Ok(vec![
        Figure::new(BENCH, "resident, idle after start", Unit::Megabytes, megabytes(idle))
            .beside("the bare relay", megabytes(relay_idle))
            .target(Target::AtMost(IDLE_TARGET_MB)),
        Figure::new(BENCH, "per idle session, of 1,000", Unit::Kilobytes, kilobytes(each))
            .beside("per idle connection of the bare relay", kilobytes(relay_each))
            .target(Target::AtMost(CONNECTION_TARGET_KB)),
        Figure::new(
            BENCH,
            "per session after a 100 kB message",
            Unit::Kilobytes,
            kilobytes(large_each),
        )
        .beside("per connection of the bare relay after one", kilobytes(relay_large_each))
        .target(Target::AtMost(LARGE_TARGET_KB)),
    ])
}

/// Raises this process's limit of descriptors for a thousand connections; children inherit it.
///
/// # Errors
/// [`BenchError::Io`].
pub(crate) fn allow_descriptors() -> Result<(), BenchError> {
    allow_many_descriptors(DESCRIPTORS).map(drop)
}

/// Raises this process's limit of descriptors; children inherit it. Whether that is allowed.
///
/// # Errors
/// [`BenchError::Io`].
pub(crate) fn allow_many_descriptors(wanted: u64) -> Result<bool, BenchError> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limits = getrlimit(Resource::Nofile);
    if limits.maximum.is_some_and(|maximum| maximum < wanted) {
        return Ok(false);
    }
    if limits.current.is_some_and(|current| current < wanted) {
        limits.current = Some(wanted);
        setrlimit(Resource::Nofile, limits)
            .map_err(|error| io_error("raise the limit of open descriptors")(error.into()))?;
    }
    Ok(true)
}

/// What a connection of the relay takes, idle and after a large message, in bytes.
async fn hold_relay(relay: &Serving) -> Result<(f64, f64), BenchError> {
    let mut sockets = Vec::with_capacity(CONNECTIONS);
    // Two connections pass frames on; what they cost is not counted.
    for _ in 0..2 {
        sockets.push(Socket::connect("the relay", relay.address(), "/").await?);
    }
    let before = settled(relay).await?;
    for _ in 0..CONNECTIONS {
        sockets.push(Socket::connect("the relay", relay.address(), "/").await?);
    }
    let idle = settled(relay).await?;
    let text = "x".repeat(LARGE_BYTES);
    for socket in &mut sockets[2..] {
        socket.send(text.clone()).await?;
    }
    let after = settled(relay).await?;
    let each = |now: u64| (now as f64 - before as f64) / CONNECTIONS as f64;
    Ok((each(idle), each(after)))
}

/// A thousand sessions of one app, each held by a task that answers pings.
struct Crowd {
    tasks: JoinSet<Result<(), BenchError>>,
    /// One unit for each ping that a session has had, and for each acknowledged large message.
    progress: mpsc::UnboundedReceiver<Progress>,
    speak: watch::Sender<bool>,
    /// The server's resident memory before.
    before: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Progress {
    Pinged,
    Acknowledged,
}

impl Crowd {
    async fn gather(server: &Serving, large_before: usize) -> Result<Self, BenchError> {
        let address = server.address();
        let app = make_app(address).await?;
        let mut ids = Ids::new(1);
        let todos = Todos::new(&mut ids);
        let mut first = Session::open(address, app).await?;
        first.make_attrs(&todos, &mut ids).await?;
        let todo = first.create(&todos, &mut ids).await?;
        let text = Arc::new("x".repeat(LARGE_BYTES));
        for _ in 0..large_before {
            in_time("transact-ok", first.commit(todos.retitle(todo, &text, ids.next_uuid())))
                .await?;
        }
        let before = settled(server).await?;
        let (report, progress) = mpsc::unbounded_channel();
        let (speak, may_speak) = watch::channel(false);
        let few = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let session = Session::open(address, app).await?;
            let speech = Speech {
                todos: todos.clone(),
                todo,
                text: text.clone(),
                event: ids.next_uuid(),
                few: few.clone(),
            };
            tasks.spawn(attend(session, may_speak.clone(), speech, report.clone()));
        }
        let mut crowd = Self { tasks, progress, speak, before };
        // A ping goes through every part of a session, so it may take memory that an unused one does not.
        crowd.wait_for(Progress::Pinged).await?;
        Ok(crowd)
    }

    /// Has every session commit one large value.
    async fn send_large(&mut self) -> Result<(), BenchError> {
        // Failed sessions have no receiver; they are reported by what follows.
        _ = self.speak.send(true);
        self.wait_for(Progress::Acknowledged).await
    }

    /// Waits until as many reports of this kind have come as there are sessions.
    async fn wait_for(&mut self, kind: Progress) -> Result<(), BenchError> {
        let mut count = 0;
        let counting = async {
            while count < CONNECTIONS {
                tokio::select! {
                    report = self.progress.recv() => count += usize::from(report == Some(kind)),
                    Some(ended) = self.tasks.join_next() => ended??,
                }
            }
            Ok(())
        };
        in_time("a thousand pings or acknowledgements", counting).await
    }

    async fn bytes_each(&self, server: &Serving) -> Result<f64, BenchError> {
        let after = settled(server).await?;
        Ok((after as f64 - self.before as f64) / CONNECTIONS as f64)
    }
}

/// What a session says when it is told to.
struct Speech {
    todos: Todos,
    todo: Uuid,
    text: Arc<String>,
    event: Uuid,
    few: Arc<Semaphore>,
}

async fn attend(
    mut session: Session,
    mut may_speak: watch::Receiver<bool>,
    speech: Speech,
    report: mpsc::UnboundedSender<Progress>,
) -> Result<(), BenchError> {
    let mut has_spoken = false;
    loop {
        tokio::select! {
            incoming = session.incoming() => {
                if matches!(incoming?, Incoming::Ping) {
                    // Reports after the end of the benchmark are for nobody.
                    _ = report.send(Progress::Pinged);
                }
            }
            told = may_speak.changed(), if !has_spoken => {
                if told.is_err() {
                    return Ok(());
                }
                has_spoken = true;
                let _permit = speech.few.acquire().await;
                let text = speech.todos.retitle(speech.todo, &speech.text, speech.event);
                session.commit(text).await?;
                _ = report.send(Progress::Acknowledged);
            }
        }
    }
}

/// A process's resident memory once it has stopped changing.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn settled(process: &Serving) -> Result<u64, BenchError> {
    const LIMIT: Duration = Duration::from_secs(60);
    const INTERVAL: Duration = Duration::from_millis(100);
    const EQUAL_READINGS: usize = 15;
    const TOLERANCE_BYTES: u64 = 64 << 10;
    let start = Instant::now();
    let (mut reference, mut equal) = (process.resident_bytes()?, 0);
    while equal < EQUAL_READINGS {
        if start.elapsed() > LIMIT {
            let wanted = "an end of the changes in a server's memory";
            return Err(BenchError::TooSlow { wanted, limit: LIMIT });
        }
        tokio::time::sleep(INTERVAL).await;
        let now = process.resident_bytes()?;
        if now.abs_diff(reference) <= TOLERANCE_BYTES {
            equal += 1;
        } else {
            (reference, equal) = (now, 0);
        }
    }
    process.resident_bytes()
}
