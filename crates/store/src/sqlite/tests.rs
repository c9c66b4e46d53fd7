use std::sync::{Arc, Mutex, Weak};

use super::*;
use crate::contract::{Backend, everything};
use tempfile::TempDir;
use tricedb_core::port::{OutboxChange, OutboxRow};

/// A directory with a database file, whose storage can be made to fail.
struct Device {
    dir: TempDir,
    last: Mutex<Weak<SqliteStorage>>,
}

impl Device {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), last: Mutex::default() }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("data.db")
    }
}

#[async_trait]
impl Backend for Device {
    async fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
        let storage = Arc::new(SqliteStorage::open(self.file()).await?);
        *self.last.lock().unwrap() = Arc::downgrade(&storage);
        Ok(storage)
    }

    async fn fail_next_commit(&self) -> bool {
        let storage = self.last.lock().unwrap().upgrade().unwrap();
        // Key-values are written last: everything else of the batch has run by then.
        storage
            .raw(
                "CREATE TEMP TRIGGER fail BEFORE INSERT ON key_values WHEN NEW.key = 'fail'
                 BEGIN SELECT RAISE(ABORT, 'told to fail'); END",
            )
            .await;
        true
    }
}

impl SqliteStorage {
    async fn raw(&self, sql: &'static str) {
        let mut slot = self.slot.lock().await;
        let connection = self.connection(&mut slot).await.unwrap();
        sqlx::raw_sql(sql).execute(connection).await.unwrap();
    }
}

crate::storage_contract!(Device::new());

fn queued(seq: u64) -> OutboxRow {
    let batch = everything();
    let Some(OutboxChange::Put(row)) = batch.outbox.into_iter().next() else { panic!() };
    OutboxRow { seq, ..row }
}

#[test]
fn a_batch_is_few_statements_and_a_queued_transaction_is_one() {
    let one = Batch { outbox: vec![OutboxChange::Put(queued(1))], ..Batch::default() };
    assert_eq!(batch::statements(&one).unwrap().len(), 1);

    let mut large = everything();
    let template = large.put_entities[1].clone();
    large.put_entities = vec![template; 10_000];
    large.outbox = (0..10_000).map(|seq| OutboxChange::Put(queued(seq))).collect();
    let count = batch::statements(&large).unwrap().len();
    assert!((5..=8).contains(&count), "{count}");

    assert_eq!(batch::statements(&Batch::default()).unwrap().len(), 0);
}

#[tokio::test]
async fn a_full_disk_fails_the_batch_and_nothing_else() {
    let device = Device::new();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    storage.commit(everything()).await.unwrap();
    let before = storage.load().await.unwrap();
    storage.raw("PRAGMA max_page_count = 60").await;

    let mut large = everything();
    large.key_values.push(("large".into(), Some(vec![7; 1 << 20])));
    let error = storage.commit(large).await.unwrap_err();
    assert!(matches!(error, StorageError::Failed { action: "be written", .. }), "{error:?}");
    assert!(error.to_string().contains("data.db") && error.to_string().contains("full"), "{error}");
    assert_eq!(storage.load().await.unwrap(), before);

    let small = Batch { key_values: vec![("k".into(), Some(vec![1]))], ..Batch::default() };
    storage.commit(small).await.unwrap();
    storage.close().await.unwrap();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    let keys: Vec<String> =
        storage.load().await.unwrap().key_values.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["app", "empty", "k"]);
    storage.close().await.unwrap();
}

#[tokio::test]
async fn a_dropped_commit_leaves_all_or_nothing_and_the_next_one_works() {
    let device = Device::new();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    let full = storage.load().await.unwrap().entities.len();
    assert_eq!(full, 0);
    let mut outcomes = [0, 0];
    for polls in 0..40 {
        let before = storage.load().await.unwrap();
        let mut batch = everything();
        batch.key_values = vec![("round".into(), Some(vec![polls]))];
        batch.outbox = vec![OutboxChange::Put(queued(u64::from(polls) + 10))];
        // Polled a number of times, then dropped: at every await of the commit sooner or later.
        let mut commit = storage.commit(batch);
        let mut left = polls;
        let finished = std::future::poll_fn(|context| {
            if left == 0 {
                return std::task::Poll::Ready(false);
            }
            left -= 1;
            commit.as_mut().poll(context).map(|result| {
                result.unwrap();
                true
            })
        })
        .await;
        drop(commit);
        let after = storage.load().await.unwrap();
        let round = ("round".to_owned(), vec![polls]);
        let applied = after.key_values.contains(&round);
        assert_eq!(after.outbox.iter().any(|row| row.seq == u64::from(polls) + 10), applied);
        if !applied {
            assert_eq!(after, before, "after {polls} polls");
        }
        assert!(applied || !finished);
        outcomes[usize::from(applied)] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "{outcomes:?}");
    storage.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_reported_and_left_alone() {
    let device = Device::new();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    storage.commit(everything()).await.unwrap();
    storage.close().await.unwrap();
    let whole = std::fs::read(device.file()).unwrap();

    // The header overwritten.
    let mut bytes = whole.clone();
    bytes[..100].fill(0xAA);
    check_damaged(&device, &bytes).await;
    // Cut in the middle.
    check_damaged(&device, &whole[..whole.len() / 2]).await;
    // A text file.
    check_damaged(&device, b"These are not the bytes you are looking for.\n".repeat(20).as_slice())
        .await;
    // Every page but the first overwritten.
    let mut bytes = whole.clone();
    bytes[4096..].fill(0x55);
    check_damaged(&device, &bytes).await;

    // As it was, it opens again.
    std::fs::write(device.file(), &whole).unwrap();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    assert_eq!(storage.load().await.unwrap().entities.len(), 4);
    storage.close().await.unwrap();
}

async fn check_damaged(device: &Device, bytes: &[u8]) {
    std::fs::write(device.file(), bytes).unwrap();
    let result = match SqliteStorage::open(device.file()).await {
        Ok(storage) => {
            let result = storage.load().await;
            storage.close().await.unwrap();
            result.map(drop)
        }
        Err(error) => Err(error),
    };
    let error = result.unwrap_err();
    assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("data.db"), "{error}");
    assert_eq!(std::fs::read(device.file()).unwrap(), bytes);
}

#[tokio::test]
async fn rows_that_make_no_sense_are_damage() {
    for sql in [
        "UPDATE entities SET triples = x'0501' WHERE etype = '$users'",
        "UPDATE entities SET triples = x'00' WHERE etype = '$users'",
        "UPDATE entities SET entity = x'01' WHERE etype = '$users'",
        "UPDATE attrs SET attr = '{\"id\": 7}' WHERE place = 0",
        "UPDATE outbox SET operations = '[[' WHERE seq = 1",
        "UPDATE outbox SET attempts = -1 WHERE seq = 1",
        "UPDATE outbox SET state = '{}' WHERE seq = 1",
        "UPDATE subscriptions SET held = x'02'",
        "UPDATE subscriptions SET position = -1",
    ] {
        let device = Device::new();
        let storage = SqliteStorage::open(device.file()).await.unwrap();
        storage.commit(everything()).await.unwrap();
        storage.load().await.unwrap();
        storage.raw(sql).await;
        let error = storage.load().await.unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{sql}: {error:?}");
        storage.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let device = Device::new();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    storage.raw("PRAGMA user_version = 99").await;
    storage.close().await.unwrap();
    let before = std::fs::read(device.file()).unwrap();
    let error = SqliteStorage::open(device.file()).await.unwrap_err();
    let supported = open::MIGRATIONS.len() as i64;
    assert!(
        matches!(error, StorageError::TooNew { found: 99, supported: s } if s == supported),
        "{error:?}"
    );
    assert_eq!(std::fs::read(device.file()).unwrap(), before);
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let device = Device::new();
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(device.file()).create_if_missing(true);
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("CREATE TABLE notes (text TEXT)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    check_damaged(&device, &std::fs::read(device.file()).unwrap()).await;
}

#[tokio::test]
async fn a_missing_directory_is_a_clear_failure() {
    let device = Device::new();
    let error = SqliteStorage::open(device.dir.path().join("no/such/data.db")).await.unwrap_err();
    assert!(matches!(error, StorageError::Failed { action: "be opened", .. }), "{error:?}");
    assert!(error.to_string().contains("no/such/data.db"), "{error}");
}

/// What format 1 looked like when it was the newest, with a row of each kind: `fixtures/v1.sql` is never
/// edited.
#[tokio::test]
async fn a_file_of_format_1_opens_with_everything_in_it() {
    let device = Device::new();
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(device.file()).create_if_missing(true);
    let mut old = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(include_str!("../../fixtures/v1.sql")).execute(&mut old).await.unwrap();
    old.close().await.unwrap();

    let storage = SqliteStorage::open(device.file()).await.unwrap();
    let mut found = storage.load().await.unwrap();
    storage.close().await.unwrap();

    let fresh = Device::new();
    let storage = SqliteStorage::open(fresh.file()).await.unwrap();
    storage.commit(everything()).await.unwrap();
    let mut expected = storage.load().await.unwrap();
    storage.close().await.unwrap();
    // The long text is no part of the fixture.
    expected
        .entities
        .retain(|row| row.triples.iter().all(|t| t.value.as_str().is_none_or(|s| s.len() < 1000)));
    for snapshot in [&mut found, &mut expected] {
        snapshot.entities.sort_by(|a, b| (a.entity, &a.etype).cmp(&(b.entity, &b.etype)));
        snapshot.subscriptions.sort_by(|a, b| a.query.cmp(&b.query));
    }
    assert_eq!(found, expected);
}

/// The way from one format to the next, with a second format that exists in this test only.
#[tokio::test]
async fn later_formats_are_reached_step_by_step_or_not_at_all() {
    const GOOD: &[&str] = &[open::MIGRATIONS[0], "ALTER TABLE outbox ADD COLUMN note TEXT"];
    const BAD: &[&str] = &[
        open::MIGRATIONS[0],
        "ALTER TABLE outbox ADD COLUMN note TEXT; ALTER TABLE no_such_table ADD COLUMN x",
    ];
    let device = Device::new();
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    storage.commit(everything()).await.unwrap();
    let before = storage.load().await.unwrap();
    storage.close().await.unwrap();

    // A step that fails leaves the old format, which still opens.
    assert!(open::open_with(&device.file(), BAD).await.is_err());
    let storage = SqliteStorage::open(device.file()).await.unwrap();
    assert_eq!(storage.load().await.unwrap(), before);
    storage.close().await.unwrap();

    let mut connection = open::open_with(&device.file(), GOOD).await.unwrap();
    assert_eq!(load::load(&mut connection, &device.file()).await.unwrap(), before);
    sqlx::raw_sql("UPDATE outbox SET note = 'x'").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    // Open again: the step is not taken twice.
    open::open_with(&device.file(), GOOD).await.unwrap().close().await.unwrap();
    let error = SqliteStorage::open(device.file()).await.unwrap_err();
    assert!(matches!(error, StorageError::TooNew { found: 2, supported: 1 }), "{error:?}");
}
