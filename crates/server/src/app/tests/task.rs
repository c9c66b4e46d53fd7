//! The app's task with a log that does what the test says.

use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::*;
use crate::log::{CommitLog, LogError, SnapshotImage};

/// A log whose every append waits for the test's word.
struct ScriptedLog {
    words: mpsc::UnboundedReceiver<Result<(), LogError>>,
    seen: Arc<Mutex<Seen>>,
}

/// What a [`ScriptedLog`] was asked.
#[derive(Default)]
struct Seen {
    /// Appends begun.
    appends: usize,
    entries: usize,
    snapshots: Vec<TxId>,
    closed: bool,
}

#[async_trait]
impl CommitLog for ScriptedLog {
    async fn append(&mut self, _: TxId, entries: &[LogEntry]) -> Result<(), LogError> {
        self.seen.lock().unwrap().appends += 1;
        let word = self.words.recv().await.unwrap_or(Err(LogError::Closed));
        if word.is_ok() {
            self.seen.lock().unwrap().entries += entries.len();
        }
        word
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        Ok(LoadedLog::default())
    }

    async fn snapshot(&mut self, position: TxId, _: SnapshotImage) -> Result<(), LogError> {
        self.seen.lock().unwrap().snapshots.push(position);
        Ok(())
    }

    fn is_volatile(&self) -> bool {
        false
    }

    fn flushes(&self) -> u64 {
        0
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.seen.lock().unwrap().closed = true;
        Ok(())
    }
}

struct Running {
    app: AppHandle,
    words: mpsc::UnboundedSender<Result<(), LogError>>,
    seen: Arc<Mutex<Seen>>,
}

fn start() -> Running {
    let (sender, words) = mpsc::unbounded_channel();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let log = Box::new(ScriptedLog { words, seen: seen.clone() });
    let identity = AppIdentity { id: AppId(Uuid::from_u128(1)), title: "test".into() };
    let loaded =
        LoadedApp { identity, state: LoadedLog::default(), settings: AppSettings::default() };
    Running { app: spawn_app(loaded, log, AppLimits::default()), words: sender, seen }
}

impl Running {
    fn create(&self, n: u32) -> impl Future<Output = Result<TxId, AppError>> + Send + 'static {
        let app = self.app.clone();
        let steps = json!([["create", "todos", id(n), {"title": "x"}]]);
        async move { app.admin_transact(steps, MissingAttrs::Create).await }
    }
}

fn broken() -> Result<(), LogError> {
    Err(LogError::Storage("the disk is full".into()))
}

#[tokio::test]
async fn an_answer_comes_with_the_flush_and_not_before() {
    let server = start();
    let mut first = tokio::spawn(server.create(1));
    // On one thread this lets the call be sent.
    tokio::task::yield_now().await;
    // The second round trip to the task proves that the first was handled.
    let open = OpenSession {
        id: SessionId(Uuid::from_u128(2)),
        features: Features::default(),
        is_admin: false,
        event: None,
        native: None,
    };
    let mut session = server.app.open_session(open).await.unwrap();
    assert!(session.try_next_frame().is_none());
    assert!(!first.is_finished());
    server.words.send(Ok(())).unwrap();
    assert!((&mut first).await.unwrap().is_ok());
    assert!(read(&session.next_frame().await.unwrap()).op() == "init-ok");
}

#[tokio::test]
async fn a_lost_batch_is_an_error_and_the_app_goes_on() {
    let server = start();
    server.words.send(broken()).unwrap();
    let Err(AppError::Refused(body)) = server.create(1).await else { panic!() };
    assert_eq!(body.status, 500);
    server.words.send(Ok(())).unwrap();
    assert!(server.create(1).await.is_ok(), "the first attempt left nothing behind");
}

#[tokio::test]
async fn an_app_that_may_or_may_not_have_committed_says_nothing() {
    let Running { app, words, seen } = start();
    let open = OpenSession {
        id: SessionId(Uuid::from_u128(1)),
        features: Features::default(),
        is_admin: false,
        event: None,
        native: None,
    };
    let mut session = app.open_session(open).await.unwrap();
    session.next_frame().await.unwrap();
    let first = tokio::spawn({
        let app = app.clone();
        let steps = json!([["create", "todos", id(1), {"title": "x"}]]);
        async move { app.admin_transact(steps, MissingAttrs::Create).await }
    });
    words.send(Err(LogError::InDoubt("the disk said no after the write".into()))).unwrap();
    assert_eq!(first.await.unwrap(), Err(AppError::Closed));
    assert_eq!(session.next_frame().await, None, "neither an error nor a refresh");
    assert!(app.is_closed());
    app.shutdown().await;
    while !seen.lock().unwrap().closed {
        tokio::task::yield_now().await;
    }
    assert!(seen.lock().unwrap().snapshots.is_empty());
}

#[tokio::test]
async fn an_app_whose_log_is_taken_ends() {
    let server = start();
    let conflict = LogError::Conflict { expected: TxId(1), found: TxId(2) };
    server.words.send(Err(conflict)).unwrap();
    let Err(AppError::Refused(body)) = server.create(1).await else { panic!() };
    assert_eq!(body.status, 500);
    server.app.shutdown().await;
    assert_eq!(server.create(2).await, Err(AppError::Closed));
    let seen = server.seen.lock().unwrap();
    assert!(seen.closed && seen.snapshots.is_empty());
}

#[tokio::test]
async fn an_app_whose_log_fails_again_and_again_ends() {
    let server = start();
    for n in 0..3 {
        server.words.send(broken()).unwrap();
        assert!(matches!(server.create(n).await, Err(AppError::Refused(_))));
    }
    server.app.shutdown().await;
    assert!(server.app.is_closed());
}

#[tokio::test]
async fn a_shutdown_answers_what_was_asked_before_it() {
    let server = start();
    let asked: Vec<_> = (0..20).map(|n| tokio::spawn(server.create(n))).collect();
    let app = server.app.clone();
    let ended = tokio::spawn(async move { app.shutdown().await });
    // One batch with what came first, one with the rest.
    for _ in 0..20 {
        let _ = server.words.send(Ok(()));
    }
    let mut last = TxId(0);
    for answer in asked {
        last = answer.await.unwrap().unwrap().max(last);
    }
    ended.await.unwrap();
    let seen = server.seen.lock().unwrap();
    assert!(seen.closed);
    assert_eq!((seen.entries, &seen.snapshots[..]), (20, &[last][..]));
}

#[tokio::test]
async fn what_waits_for_one_session_is_bounded_however_much_it_asks_for() {
    const ASKED: usize = 400;
    let limits = AppLimits { outbound_bytes_max: 500_000, ..AppLimits::default() };
    let (words, inbox) = mpsc::unbounded_channel();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let log = Box::new(ScriptedLog { words: inbox, seen: seen.clone() });
    let identity = AppIdentity { id: AppId(Uuid::from_u128(1)), title: "test".into() };
    let app = spawn_app(
        LoadedApp { identity, state: LoadedLog::default(), settings: AppSettings::default() },
        log,
        limits.clone(),
    );
    words.send(Ok(())).unwrap();
    let title = "x".repeat(100_000);
    let large = json!([["create", "todos", id(1), {"title": title}]]);
    app.admin_transact(large, MissingAttrs::Create).await.unwrap();
    let open = OpenSession {
        id: SessionId(Uuid::from_u128(1)),
        features: Features::of("1.0.67"),
        is_admin: false,
        event: None,
        native: None,
    };
    let mut session = app.open_session(open).await.unwrap();
    let first = session.next_frame().await.unwrap();
    session.written(first.len());
    // The log is at work for as long as the test likes: every answer is held.
    let small = json!([["create", "todos", id(2), {"title": "y"}]]);
    let writing = tokio::spawn({
        let app = app.clone();
        async move { app.admin_transact(small, MissingAttrs::Create).await }
    });
    while seen.lock().unwrap().appends < 2 {
        tokio::task::yield_now().await;
    }
    for n in 0..ASKED {
        let op = ["add-query", "remove-query"][n % 2];
        let message = json!({"op": op, "q": {"todos": {}}, "client-event-id": n.to_string()});
        session.send(ClientMessage::decode(&message.to_string()).unwrap(), 100).await.unwrap();
    }
    while !session.is_backed_up() {
        tokio::task::yield_now().await;
    }
    assert!(session.try_next_frame().is_none(), "nothing leaves before the flush");
    words.send(Ok(())).unwrap();
    writing.await.unwrap().unwrap();

    let mut answers = 0;
    while answers < ASKED {
        let mut waiting = vec![session.next_frame().await.unwrap()];
        waiting.extend(std::iter::from_fn(|| session.try_next_frame()));
        let bytes: usize = waiting.iter().map(|frame| frame.len()).sum();
        assert!(bytes <= limits.outbound_bytes_max + 110_000, "{bytes} bytes wait");
        for frame in &waiting {
            let message = read(frame);
            assert_ne!(message.op(), "error");
            answers += usize::from(message.op() != "refresh-ok");
        }
        session.written(bytes);
    }
    words.send(Ok(())).unwrap();
    app.shutdown().await;
}
