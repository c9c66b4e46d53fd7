//! The contract of commit logs, and what the SQLite one promises beyond it.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId, EventId, IdentId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, execute, parse_steps};
use tricedb_core::value::Value;
use tricedb_server::log::{
    CommitLog, EventKey, LogEntry, LogError, MemoryLog, Outcome, SnapshotImage, SqliteLog,
    SqliteLogOptions, StoredError,
};
use uuid::Uuid;

/// An app whose commits are made as the server makes them.
struct App {
    index: TripleIndex,
    position: TxId,
    id_attr: AttrId,
    title: AttrId,
}

impl App {
    fn new() -> Self {
        let attr = |label| {
            Attr::blob(AttrId::new(Uuid::new_v4()), IdentId::new(Uuid::new_v4()), "posts", label)
        };
        let (id, title) = (attr("id"), attr("title"));
        let mut index = TripleIndex::new();
        let (id_attr, title_attr) = (id.id, title.id);
        index.put_attr(Arc::new(id));
        index.put_attr(Arc::new(title));
        Self { index, position: TxId(1000), id_attr, title: title_attr }
    }

    fn write(&mut self, entity: EntityId, title: &str) -> Commit {
        let steps = json!([
            ["add-triple", entity, self.id_attr, entity],
            ["add-triple", entity, self.title, title],
        ]);
        let mut ids = Uuid::new_v4;
        let mut context = ExecuteContext { now: 5, ids: &mut ids, actor: Actor::Client };
        execute(&mut self.index, &parse_steps(&steps).unwrap(), &mut context).unwrap()
    }

    fn entry(&mut self, event: Option<&str>) -> LogEntry {
        let commit = self.write(EntityId::new(Uuid::new_v4()), "a title");
        self.position = self.position.next();
        LogEntry::Committed {
            position: self.position,
            at: now(),
            event: event.map(key),
            commit: Arc::new(commit),
        }
    }

    fn batch(&mut self, entries: usize) -> (TxId, Vec<LogEntry>) {
        let before = self.position;
        (before, (0..entries).map(|_| self.entry(None)).collect())
    }
}

fn now() -> i64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn key(event: &str) -> EventKey {
    EventKey { user: None, event: EventId::new(event) }
}

fn rejection(event: &str, message: &str) -> LogEntry {
    let error = StoredError::bad_request("validation-failed", message, json!({ "n": 0.1 }));
    LogEntry::Rejected { at: now(), event: key(event), error: Arc::new(error) }
}

fn facts(index: &TripleIndex) -> Vec<Triple> {
    let mut facts: Vec<_> = index.triples().collect();
    facts.sort_by_key(|t| (t.entity, t.attr, t.value.to_json().to_string()));
    facts
}

fn fast() -> SqliteLogOptions {
    SqliteLogOptions { wal_bytes: 64 << 10, ..SqliteLogOptions::default() }
}

/// Opens one and the same log again and again.
enum Bench {
    Memory(MemoryLog),
    Sqlite(TempDir),
}

impl Bench {
    async fn all(app: &App) -> [Self; 2] {
        let dir = TempDir::new().unwrap();
        SqliteLog::create(&dir.path().join("app.db"), SnapshotImage::take(&app.index))
            .await
            .unwrap();
        [Self::Memory(MemoryLog::beginning_with(app.index.clone())), Self::Sqlite(dir)]
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Memory(_) => PathBuf::new(),
            Self::Sqlite(dir) => dir.path().join("app.db"),
        }
    }

    async fn open(&self) -> Box<dyn CommitLog> {
        match self {
            Self::Memory(log) => Box::new(log.clone()),
            Self::Sqlite(_) => Box::new(SqliteLog::open(&self.path(), fast()).await.unwrap()),
        }
    }
}

#[tokio::test]
async fn what_was_appended_is_loaded() {
    let app = App::new();
    for bench in Bench::all(&app).await {
        let mut app = App { index: app.index.clone(), ..app };
        let mut log = bench.open().await;
        let loaded = log.load().await.unwrap();
        assert_eq!((loaded.position, loaded.last_at), (TxId(0), 0));
        // The first commit begins an epoch: it follows no other.
        let (_, batch) = app.batch(2);
        log.append(TxId(0), &batch).await.unwrap();
        // One statement, exactly one statement, several statements.
        for size in [1, 3, 64, 65, 200] {
            let (before, batch) = app.batch(size);
            log.append(before, &batch).await.unwrap();
        }
        log.close().await.unwrap();
        assert!(matches!(log.append(app.position, &[]).await, Err(LogError::Closed)));

        let mut log = bench.open().await;
        let loaded = log.load().await.unwrap();
        assert_eq!(loaded.position, app.position);
        assert!(loaded.last_at > 0);
        assert_eq!(facts(&loaded.index), facts(&app.index));
        // The reloaded index finds an entity by its id as the live one does.
        let entity = facts(&app.index)[0].entity;
        assert!(loaded.index.find_unique(app.id_attr, &Value::Ref(entity)).is_some());
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_position_is_taken_once() {
    let app = App::new();
    for bench in Bench::all(&app).await {
        let mut app = App { index: app.index.clone(), ..app };
        let mut log = bench.open().await;
        log.load().await.unwrap();
        let (before, first) = app.batch(2);
        log.append(before, &first).await.unwrap();
        let (_, second) = app.batch(1);
        let error = log.append(before, &second).await.unwrap_err();
        assert!(matches!(error, LogError::Conflict { found, .. } if found == before.next().next()));
        log.append(before.next().next(), &second).await.unwrap();
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_snapshot_replaces_the_commits_it_covers_and_keeps_their_outcomes() {
    let app = App::new();
    for bench in Bench::all(&app).await {
        let mut app = App { index: app.index.clone(), ..app };
        let mut log = bench.open().await;
        log.load().await.unwrap();
        let before = app.position;
        let covered = [app.entry(Some("one")), rejection("no", "because"), app.entry(Some("two"))];
        log.append(before, &covered).await.unwrap();
        let (image, at) = (SnapshotImage::take(&app.index), app.position);
        log.snapshot(at, image).await.unwrap();
        // Goes on while the snapshot may still be under way.
        let later = [app.entry(Some("three")), rejection("no", "another reason")];
        log.append(at, &later).await.unwrap();
        let position = app.position;
        log.append(position, &[rejection("not again", "x")]).await.unwrap();
        log.close().await.unwrap();

        let mut log = bench.open().await;
        let loaded = log.load().await.unwrap();
        assert_eq!(loaded.position, app.position);
        assert_eq!(facts(&loaded.index), facts(&app.index));
        let mut outcomes: Vec<_> =
            loaded.outcomes.into_iter().map(|o| (o.event.event.to_string(), o.outcome)).collect();
        outcomes.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<_> = outcomes.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["no", "not again", "one", "three", "two"]);
        let Outcome::Rejected(error) = &outcomes[0].1 else { panic!("{:?}", outcomes[0]) };
        assert_eq!((error.message.as_str(), &error.hint), ("because", &json!({ "n": 0.1 })));
        assert_eq!(outcomes[2].1, Outcome::Accepted(before.next()));
        log.close().await.unwrap();
    }
}

#[tokio::test]
async fn snapshots_of_many_chunks_and_kinds_of_values_come_back_equal() {
    let mut app = App::new();
    let values = [json!(1), json!(0.1), json!(1e300), json!({"deep": [null, true]}), json!("x")];
    let odd = ["", "é\u{0}\u{1f600}", &"long".repeat(40_000), "\\\"\n"];
    for (n, title) in odd.iter().cycle().take(40).enumerate() {
        let entity = EntityId::new(Uuid::new_v4());
        if title.contains('\0') {
            continue;
        }
        app.write(entity, title);
        let value = Value::from_json(values[n % 5].clone());
        app.index.insert(&Triple { entity, attr: app.title, value, created_at: 7 });
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.db");
    SqliteLog::create(&path, SnapshotImage::take(&app.index)).await.unwrap();
    let mut log = SqliteLog::open(&path, fast()).await.unwrap();
    assert_eq!(facts(&log.load().await.unwrap().index), facts(&app.index));
    // A second snapshot leaves nothing of the first.
    let (before, batch) = app.batch(1);
    log.append(before, &batch).await.unwrap();
    log.snapshot(app.position, SnapshotImage::take(&app.index)).await.unwrap();
    log.close().await.unwrap();
    let mut log = SqliteLog::open(&path, fast()).await.unwrap();
    let loaded = log.load().await.unwrap();
    assert_eq!((loaded.position, facts(&loaded.index)), (app.position, facts(&app.index)));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_batch_costs_one_flush() {
    let mut app = App::new();
    let [_, bench] = Bench::all(&app).await;
    let mut log = bench.open().await;
    log.load().await.unwrap();
    assert!(!log.is_volatile());
    for (done, size) in [1, 64, 300].into_iter().enumerate() {
        assert_eq!(log.flushes(), done as u64);
        let (before, batch) = app.batch(size);
        log.append(before, &batch).await.unwrap();
    }
    assert_eq!(log.flushes(), 3);
    log.close().await.unwrap();
}

/// Copies what is on disk, as a crash would leave it.
fn crash_copy(path: &Path, to: &Path) {
    std::fs::copy(path, to).unwrap();
    let wal = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
    std::fs::copy(wal(path), wal(to)).unwrap();
}

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let mut app = App::new();
    let [_, bench] = Bench::all(&app).await;
    let mut log = bench.open().await;
    log.load().await.unwrap();
    for round in 0..6 {
        let (before, batch) = app.batch(1 + round * 40);
        log.append(before, &batch).await.unwrap();
        if round == 3 {
            log.snapshot(app.position, SnapshotImage::take(&app.index)).await.unwrap();
        }
        let copy = bench.path().with_file_name(format!("crash-{round}.db"));
        crash_copy(&bench.path(), &copy);
        let mut after = SqliteLog::open(&copy, fast()).await.unwrap();
        let loaded = after.load().await.unwrap();
        assert_eq!((loaded.position, facts(&loaded.index)), (app.position, facts(&app.index)));
        after.close().await.unwrap();
    }
    // And a log that was merely dropped.
    drop(log);
    let mut log = bench.open().await;
    let loaded = log.load().await.unwrap();
    assert_eq!((loaded.position, facts(&loaded.index)), (app.position, facts(&app.index)));
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_a_batch_whole() {
    let mut app = App::new();
    let [_, bench] = Bench::all(&app).await;
    let bounded = SqliteLogOptions { file_bytes_max: Some(256 << 10), ..fast() };
    let mut log = SqliteLog::open(&bench.path(), bounded).await.unwrap();
    log.load().await.unwrap();
    let mut known = app.index.clone();
    let mut position = app.position;
    let error = loop {
        let (before, batch) = app.batch(100);
        match log.append(before, &batch).await {
            Ok(()) => {
                known = app.index.clone();
                position = app.position;
            }
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    assert!(error.to_string().contains("app.db"), "{error}");
    drop(log);
    // With room again, exactly the acknowledged batches are there, and the log goes on.
    let mut log = bench.open().await;
    let loaded = log.load().await.unwrap();
    assert_eq!((loaded.position, facts(&loaded.index)), (position, facts(&known)));
    app.index = known;
    app.position = position;
    let (before, batch) = app.batch(100);
    log.append(before, &batch).await.unwrap();
    log.close().await.unwrap();
}

#[tokio::test]
async fn outcomes_are_forgotten_after_their_time() {
    let mut app = App::new();
    let [_, bench] = Bench::all(&app).await;
    let brief = SqliteLogOptions { outcome_retention: Duration::from_millis(1), ..fast() };
    let mut log = SqliteLog::open(&bench.path(), brief).await.unwrap();
    log.load().await.unwrap();
    let before = app.position;
    log.append(before, &[app.entry(Some("old")), rejection("old too", "x")]).await.unwrap();
    while now() <= log.load().await.unwrap().last_at + 2 {
        tokio::task::yield_now().await;
    }
    log.snapshot(app.position, SnapshotImage::take(&app.index)).await.unwrap();
    log.close().await.unwrap();
    let mut log = bench.open().await;
    assert_eq!(log.load().await.unwrap().outcomes, []);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.db");
    let missing = SqliteLog::open(&path, fast()).await.unwrap_err();
    assert!(missing.to_string().contains("app.db"), "{missing}");

    std::fs::write(&path, "this is no database at all, just some text".repeat(100)).unwrap();
    let text = SqliteLog::open(&path, fast()).await.unwrap_err();
    assert!(matches!(&text, LogError::Damaged { reason } if reason.contains("app.db")), "{text}");

    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(dir.path().join("app.db-wal")).unwrap_or_default();
    let mut app = App::new();
    SqliteLog::create(&path, SnapshotImage::take(&app.index)).await.unwrap();
    let mut log = SqliteLog::open(&path, fast()).await.unwrap();
    log.load().await.unwrap();
    for _ in 0..20 {
        let (before, batch) = app.batch(100);
        log.append(before, &batch).await.unwrap();
    }
    log.close().await.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let error = match SqliteLog::open(&path, fast()).await {
        Ok(mut log) => log.load().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(&error, LogError::Damaged { reason } if reason.contains("app.db")), "{error}");
}
