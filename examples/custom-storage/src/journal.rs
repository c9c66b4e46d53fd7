//! A storage in a text file: every committed batch is one line of JSON.
//!
//! A line is complete when its newline is on the disk. One that a crash cut short was never
//! acknowledged, and is ignored. Opening reads all lines and replaces the file by a single one with
//! what is left, so that it grows within a session only.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId, EventId, TxId};
use tricedb_core::port::{
    Batch, EntityRow, HeldFact, OutboxChange, OutboxRow, OutboxState, Snapshot, Storage,
    StorageError, SubscriptionChange, SubscriptionRow,
};
use tricedb_core::triple::Triple;
use tricedb_core::tx::Operation;
use tricedb_core::value::Value;

/// A [`Storage`] in one file of JSON lines.
#[derive(Debug)]
pub(crate) struct JournalStorage {
    /// `None` once closed.
    journal: Arc<Mutex<Option<Journal>>>,
}

impl JournalStorage {
    /// Opens or creates the file. A second file beside it, `<path>.lock`, marks the owner.
    ///
    /// # Errors
    /// [`StorageError::InUse`], [`StorageError::Damaged`] and [`StorageError::Failed`].
    pub(crate) async fn open(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        let journal = blocking("be opened", move || Journal::open(&path)).await?;
        Ok(Self { journal: Arc::new(Mutex::new(Some(journal))) })
    }

    /// Runs `work` on the open journal, off the async threads. It runs to its end even if the caller is
    /// dropped: a batch is never half written.
    async fn with<T: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&mut Journal) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let journal = self.journal.clone();
        blocking(action, move || {
            let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
            work(journal.as_mut().ok_or(StorageError::Closed)?)
        })
        .await
    }
}

#[async_trait]
impl Storage for JournalStorage {
    async fn load(&self) -> Result<Snapshot, StorageError> {
        self.with("be read", |journal| Ok(journal.read()?.0.into_snapshot())).await
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        self.with("be written", move |journal| {
            if batch.is_empty() { Ok(()) } else { journal.append(&Line::from(batch)) }
        })
        .await
    }

    async fn close(&self) -> Result<(), StorageError> {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropping it closes the file and releases the lock; every line was synchronised already.
        journal.take().map(drop).ok_or(StorageError::Closed)
    }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    let failed = |error| StorageError::Failed { action, source: Box::new(error) };
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    /// Length of the complete lines, in bytes.
    complete: u64,
    /// Held until dropped.
    _lock: File,
    /// Makes the next append stop in the middle, as a full disk would.
    #[cfg(test)]
    tears_next: bool,
}

impl Journal {
    fn open(path: &Path) -> Result<Self, StorageError> {
        let open_failed = |error| failed("be opened", path, error);
        let lock = File::create(beside(path, "lock")).map_err(open_failed)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => StorageError::InUse { path: path.display().to_string() },
            TryLockError::Error(error) => open_failed(error),
        })?;
        let file = append_to(path).map_err(open_failed)?;
        sync_folder(path).map_err(open_failed)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            complete: 0,
            _lock: lock,
            #[cfg(test)]
            tears_next: false,
        };
        let (tables, lines) = journal.read()?;
        if lines > 1 {
            journal.replace(&Line::from(tables))?;
        } else {
            journal.file.set_len(journal.complete).map_err(open_failed)?;
        }
        Ok(journal)
    }

    /// Replays the file; also says how many lines it has.
    fn read(&mut self) -> Result<(Tables, usize), StorageError> {
        let text =
            std::fs::read(&self.path).map_err(|error| failed("be read", &self.path, error))?;
        let mut tables = Tables::default();
        let mut count = 0;
        let mut complete = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            count += 1;
            complete += line.len() as u64;
            let line = serde_json::from_slice(line).map_err(|error| StorageError::Damaged {
                what: format!("{}: line {count}: {error}", self.path.display()),
            })?;
            tables.apply(line);
        }
        self.complete = complete;
        Ok((tables, count))
    }

    fn append(&mut self, line: &Line) -> Result<(), StorageError> {
        let written = encode(line).and_then(|bytes| {
            self.write(&bytes)?;
            Ok(bytes.len() as u64)
        });
        match written {
            Ok(len) => {
                self.complete += len;
                Ok(())
            }
            Err(error) => {
                // What was written of the line goes, so that the next one starts on a fresh line.
                let cleared = self.file.set_len(self.complete);
                Err(failed("be written", &self.path, cleared.err().unwrap_or(error)))
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if std::mem::take(&mut self.tears_next) {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    /// Puts one line in place of all, atomically.
    fn replace(&mut self, line: &Line) -> Result<(), StorageError> {
        let new = beside(&self.path, "new");
        let replaced = || -> io::Result<(File, u64)> {
            let bytes = encode(line)?;
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            std::fs::rename(&new, &self.path)?;
            sync_folder(&self.path)?;
            Ok((append_to(&self.path)?, bytes.len() as u64))
        };
        (self.file, self.complete) =
            replaced().map_err(|error| failed("be compacted", &self.path, error))?;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Makes a file's name as durable as its contents; elsewhere than on Unix the system sees to that.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix) { File::open(folder.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// An input or output error with the file it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct AtPath {
    path: String,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> StorageError {
    let path = path.display().to_string();
    StorageError::Failed { action, source: Box::new(AtPath { path, source }) }
}

/// A batch as it stands in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Line {
    put: Vec<(EntityId, Arc<str>, Vec<Fact>)>,
    remove: Vec<(EntityId, Arc<str>)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attrs: Option<Vec<Arc<Attr>>>,
    outbox: Vec<(u64, Option<Queued>)>,
    subscriptions: Vec<(Arc<str>, Option<Kept>)>,
    key_values: Vec<(String, Option<Vec<u8>>)>,
}

/// Attribute, value, creation time, and whether the value is a reference: in JSON that is a string like
/// any other.
#[derive(Debug, Serialize, Deserialize)]
struct Fact(AttrId, Value, i64, bool);

/// An outbox row without its key.
#[derive(Debug, Serialize, Deserialize)]
struct Queued {
    event: EventId,
    operations: Vec<Operation>,
    created_at: i64,
    attempts: u32,
    state: OutboxState,
}

/// A subscription row without its key.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    position: TxId,
    used_at: i64,
    held: Vec<(EntityId, AttrId, Option<EntityId>)>,
    extra: Option<String>,
}

impl From<Batch> for Line {
    fn from(batch: Batch) -> Self {
        Self {
            put: batch.put_entities.into_iter().map(entity_to_line).collect(),
            remove: batch.remove_entities,
            attrs: batch.attrs,
            outbox: batch
                .outbox
                .into_iter()
                .map(|change| match change {
                    OutboxChange::Put(row) => (row.seq, Some(Queued::from(row))),
                    OutboxChange::Remove(seq) => (seq, None),
                })
                .collect(),
            subscriptions: batch
                .subscriptions
                .into_iter()
                .map(|change| match change {
                    SubscriptionChange::Put(row) => (row.query.clone(), Some(Kept::from(row))),
                    SubscriptionChange::Remove(query) => (query, None),
                })
                .collect(),
            key_values: batch.key_values,
        }
    }
}

fn entity_to_line(row: EntityRow) -> (EntityId, Arc<str>, Vec<Fact>) {
    let facts = row.triples.into_iter().map(|triple| {
        let is_ref = matches!(triple.value, Value::Ref(_));
        Fact(triple.attr, triple.value, triple.created_at, is_ref)
    });
    (row.entity, row.etype, facts.collect())
}

impl From<OutboxRow> for Queued {
    fn from(row: OutboxRow) -> Self {
        let OutboxRow { seq: _, event, operations, created_at, attempts, state } = row;
        Self { event, operations, created_at, attempts, state }
    }
}

impl From<SubscriptionRow> for Kept {
    fn from(row: SubscriptionRow) -> Self {
        let held = row.held.into_iter().map(|fact| (fact.entity, fact.attr, fact.target)).collect();
        Self { position: row.position, used_at: row.used_at, held, extra: row.extra }
    }
}

/// What a number of lines amount to.
#[derive(Debug, Default)]
struct Tables {
    entities: BTreeMap<(EntityId, Arc<str>), Vec<Fact>>,
    attrs: Vec<Arc<Attr>>,
    outbox: BTreeMap<u64, Queued>,
    subscriptions: BTreeMap<Arc<str>, Kept>,
    key_values: BTreeMap<String, Vec<u8>>,
}

impl Tables {
    fn apply(&mut self, line: Line) {
        for key in &line.remove {
            self.entities.remove(key);
        }
        for (entity, etype, facts) in line.put {
            self.entities.insert((entity, etype), facts);
        }
        if let Some(attrs) = line.attrs {
            self.attrs = attrs;
        }
        apply(&mut self.outbox, line.outbox);
        apply(&mut self.subscriptions, line.subscriptions);
        apply(&mut self.key_values, line.key_values);
    }

    fn into_snapshot(self) -> Snapshot {
        Snapshot {
            entities: self.entities.into_iter().map(entity_from_line).collect(),
            attrs: self.attrs.iter().map(|attr| Attr::clone(attr)).collect(),
            outbox: self
                .outbox
                .into_iter()
                .map(|(seq, row)| {
                    let Queued { event, operations, created_at, attempts, state } = row;
                    OutboxRow { seq, event, operations, created_at, attempts, state }
                })
                .collect(),
            subscriptions: self
                .subscriptions
                .into_iter()
                .map(|(query, row)| {
                    let held = row.held.into_iter();
                    let held = held.map(|(entity, attr, target)| HeldFact { entity, attr, target });
                    let Kept { position, used_at, extra, .. } = row;
                    SubscriptionRow { query, position, used_at, held: held.collect(), extra }
                })
                .collect(),
            key_values: self.key_values.into_iter().collect(),
        }
    }
}

impl From<Tables> for Line {
    fn from(tables: Tables) -> Self {
        let entities = tables.entities.into_iter();
        Self {
            put: entities.map(|((entity, etype), facts)| (entity, etype, facts)).collect(),
            remove: Vec::new(),
            attrs: Some(tables.attrs),
            outbox: tables.outbox.into_iter().map(|(seq, row)| (seq, Some(row))).collect(),
            subscriptions: tables
                .subscriptions
                .into_iter()
                .map(|(q, row)| (q, Some(row)))
                .collect(),
            key_values: tables.key_values.into_iter().map(|(k, value)| (k, Some(value))).collect(),
        }
    }
}

fn apply<K: Ord, V>(table: &mut BTreeMap<K, V>, changes: Vec<(K, Option<V>)>) {
    for (key, value) in changes {
        match value {
            Some(value) => drop(table.insert(key, value)),
            None => drop(table.remove(&key)),
        }
    }
}

fn entity_from_line(((entity, etype), facts): ((EntityId, Arc<str>), Vec<Fact>)) -> EntityRow {
    let triples = facts.into_iter().map(|Fact(attr, value, created_at, is_ref)| {
        let value = match value.as_entity() {
            Some(target) if is_ref => Value::Ref(target),
            _ => value,
        };
        Triple { entity, attr, value, created_at }
    });
    EntityRow { entity, etype, triples: triples.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;
    use tempfile::TempDir;
    use tricedb_store::contract::Backend;

    struct Device {
        dir: TempDir,
        last: Mutex<Weak<JournalStorage>>,
    }

    impl Device {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), last: Mutex::default() }
        }

        fn file(&self) -> PathBuf {
            self.dir.path().join("data.jsonl")
        }
    }

    #[async_trait]
    impl Backend for Device {
        async fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
            let storage = Arc::new(JournalStorage::open(self.file()).await?);
            *self.last.lock().unwrap() = Arc::downgrade(&storage);
            Ok(storage)
        }

        async fn fail_next_commit(&self) -> bool {
            let storage = self.last.lock().unwrap().upgrade().unwrap();
            storage.journal.lock().unwrap().as_mut().unwrap().tears_next = true;
            true
        }
    }

    tricedb_store::storage_contract!(Device::new());

    fn key_value(key: &str) -> Batch {
        Batch { key_values: vec![(key.to_owned(), Some(vec![1]))], ..Batch::default() }
    }

    async fn keys(storage: &JournalStorage) -> Vec<String> {
        storage.load().await.unwrap().key_values.into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn a_line_that_a_crash_cut_short_is_ignored() {
        let device = Device::new();
        let storage = JournalStorage::open(device.file()).await.unwrap();
        storage.commit(key_value("whole")).await.unwrap();
        let whole = std::fs::read(device.file()).unwrap();
        storage.commit(key_value("cut")).await.unwrap();
        storage.close().await.unwrap();
        let both = std::fs::read(device.file()).unwrap();
        for len in whole.len()..both.len() {
            std::fs::write(device.file(), &both[..len]).unwrap();
            let storage = JournalStorage::open(device.file()).await.unwrap();
            assert_eq!(keys(&storage).await, ["whole"]);
            storage.commit(key_value("later")).await.unwrap();
            storage.close().await.unwrap();
            let storage = JournalStorage::open(device.file()).await.unwrap();
            assert_eq!(keys(&storage).await, ["later", "whole"]);
            storage.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_line_that_makes_no_sense_is_damage() {
        let device = Device::new();
        std::fs::write(device.file(), "{}\n{\"put\": 7}\n{}\n").unwrap();
        let error = JournalStorage::open(device.file()).await.unwrap_err();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("data.jsonl: line 2"), "{error}");
    }
}
