//! Acknowledgements held against the flushes of a log on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use tricedb_core::index::TripleIndex;

use super::*;
use crate::log::{CommitLog, LogError, SnapshotImage, SqliteLog, SqliteLogOptions};

/// What has been flushed, as the log's owner saw it when the append returned.
#[derive(Clone, Default)]
struct Flushed {
    count: Arc<AtomicU64>,
    position: Arc<AtomicU64>,
}

/// A log on disk that tells what it has flushed.
struct ObservedLog {
    log: SqliteLog,
    flushed: Flushed,
}

#[async_trait]
impl CommitLog for ObservedLog {
    async fn append(&mut self, expected: TxId, entries: &[LogEntry]) -> Result<(), LogError> {
        self.log.append(expected, entries).await?;
        self.flushed.count.store(self.log.flushes(), Ordering::SeqCst);
        if let Some(last) = entries.iter().rev().find_map(LogEntry::position) {
            self.flushed.position.store(last.0, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<LoadedLog, LogError> {
        self.log.load().await
    }

    async fn snapshot(&mut self, position: TxId, image: SnapshotImage) -> Result<(), LogError> {
        self.log.snapshot(position, image).await
    }

    fn is_volatile(&self) -> bool {
        self.log.is_volatile()
    }

    fn flushes(&self) -> u64 {
        self.log.flushes()
    }

    async fn close(&mut self) -> Result<(), LogError> {
        self.log.close().await
    }
}

/// An app on disk.
struct Disk {
    app: AppHandle,
    flushed: Flushed,
    _folder: TempDir,
}

impl Disk {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("app.db");
        SqliteLog::create(&path, SnapshotImage::take(&TripleIndex::new())).await.unwrap();
        let log = SqliteLog::open(&path, SqliteLogOptions::default()).await.unwrap();
        let flushed = Flushed::default();
        let mut log = ObservedLog { log, flushed: flushed.clone() };
        let state = log.load().await.unwrap();
        let identity = AppIdentity { id: AppId(Uuid::from_u128(1)), title: "test".into() };
        let app = spawn_app(
            LoadedApp { identity, state, settings: AppSettings::default() },
            Box::new(log),
            AppLimits::default(),
        );
        app.admin_transact(todos(), MissingAttrs::Create).await.unwrap();
        Self { app, flushed, _folder: folder }
    }

    async fn writer(&self) -> Writer {
        let open = OpenSession {
            id: SessionId(Uuid::new_v4()),
            features: Features::of("1.0.67"),
            is_admin: false,
            event: None,
            native: None,
        };
        let mut session = self.app.open_session(open).await.unwrap();
        let frame = session.next_frame().await.unwrap();
        let ServerMessage::InitOk(ok) = read(&frame) else { panic!() };
        let title = ok.attrs.iter().find(|a| (a.etype(), a.label()) == ("todos", "title"));
        Writer { session, title: title.unwrap().id.to_string(), flushed: self.flushed.clone() }
    }
}

struct Writer {
    session: Session,
    title: String,
    flushed: Flushed,
}

impl Writer {
    /// Writes, waits for the acknowledgement, and holds it against what was flushed when it came.
    async fn write(&mut self, n: usize) {
        let message = json!({"op": "transact", "client-event-id": Uuid::new_v4(),
            "tx-steps": [["add-triple", id(1), self.title, format!("title {n}")]]});
        let message = ClientMessage::decode(&message.to_string()).unwrap();
        self.session.send(message, 200).await.unwrap();
        let frame = self.session.next_frame().await.unwrap();
        let acknowledged = tx_id(&read(&frame));
        let flushed = self.flushed.position.load(Ordering::SeqCst);
        assert!(acknowledged.0 <= flushed, "{acknowledged} is acknowledged, {flushed} flushed");
    }
}

#[tokio::test]
async fn each_acknowledgement_of_one_writer_costs_a_flush() {
    let disk = Disk::start().await;
    let mut writer = disk.writer().await;
    for n in 0..40 {
        let before = disk.flushed.count.load(Ordering::SeqCst);
        writer.write(n).await;
        assert!(disk.flushed.count.load(Ordering::SeqCst) > before);
    }
    disk.app.shutdown().await;
}

#[tokio::test]
async fn many_writers_share_flushes() {
    const WRITERS: usize = 64;
    const WRITES: usize = 10;
    let disk = Disk::start().await;
    let before = disk.flushed.count.load(Ordering::SeqCst);
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let mut writer = disk.writer().await;
        writers.push(tokio::spawn(async move {
            for n in 0..WRITES {
                writer.write(n).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let flushes = usize::try_from(disk.flushed.count.load(Ordering::SeqCst) - before).unwrap();
    let transactions = WRITERS * WRITES;
    assert!(flushes >= WRITES, "nobody waits for less than a flush: {flushes}");
    assert!(flushes <= transactions / 4, "{flushes} flushes of {transactions} transactions");
    disk.app.shutdown().await;
}
