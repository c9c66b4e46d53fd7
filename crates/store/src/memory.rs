//! A storage in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tricedb_core::attr::Attr;
use tricedb_core::id::EntityId;
use tricedb_core::port::{
    Batch, EntityRow, OutboxChange, OutboxRow, Snapshot, Storage, StorageError, SubscriptionChange,
    SubscriptionRow,
};

/// What a [`MemoryStorage`] leaves behind when it is closed or dropped, as a disk would.
///
/// Clones share the contents. Opening it twice at once is refused as for a file.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<Contents>>,
}

#[derive(Debug, Default)]
struct Contents {
    tables: Tables,
    open: bool,
    /// Commits that still succeed before one fails.
    fails_after: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    entities: BTreeMap<(EntityId, Arc<str>), EntityRow>,
    attrs: Vec<Attr>,
    outbox: BTreeMap<u64, OutboxRow>,
    subscriptions: BTreeMap<Arc<str>, SubscriptionRow>,
    key_values: BTreeMap<String, Vec<u8>>,
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens what is on the disk.
    ///
    /// # Errors
    /// [`StorageError::InUse`] while another storage has it open.
    pub fn open(&self) -> Result<MemoryStorage, StorageError> {
        let mut contents = self.lock();
        if std::mem::replace(&mut contents.open, true) {
            return Err(StorageError::InUse { path: "(in memory)".to_owned() });
        }
        Ok(MemoryStorage { disk: self.clone(), closed: Mutex::new(false) })
    }

    /// Lets `commits` more commits succeed and the one after them fail, once.
    pub fn fail_commit_after(&self, commits: u64) {
        self.lock().fails_after = Some(commits);
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // A batch is applied to a copy or without anything that can panic: the contents stay whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A [`Storage`] that keeps everything in memory, in a [`MemoryDisk`].
#[derive(Debug)]
pub struct MemoryStorage {
    disk: MemoryDisk,
    closed: Mutex<bool>,
}

impl MemoryStorage {
    /// An empty storage on a disk of its own.
    pub fn new() -> Self {
        let disk = MemoryDisk::new();
        disk.lock().open = true;
        Self { disk, closed: Mutex::new(false) }
    }

    fn is_closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contents(&self) -> Result<MutexGuard<'_, Contents>, StorageError> {
        if *self.is_closed() { Err(StorageError::Closed) } else { Ok(self.disk.lock()) }
    }

    fn release(&self) -> Result<(), StorageError> {
        if std::mem::replace(&mut *self.is_closed(), true) {
            return Err(StorageError::Closed);
        }
        self.disk.lock().open = false;
        Ok(())
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStorage {
    fn drop(&mut self) {
        // Closed already is fine.
        let _ = self.release();
    }
}

/// The failure that [`MemoryDisk::fail_commit_after`] asked for.
#[derive(Debug, thiserror::Error)]
#[error("this commit was told to fail")]
struct Told;

#[async_trait]
impl Storage for MemoryStorage {
    async fn load(&self) -> Result<Snapshot, StorageError> {
        let tables = self.contents()?.tables.clone();
        Ok(Snapshot {
            entities: tables.entities.into_values().collect(),
            attrs: tables.attrs,
            outbox: tables.outbox.into_values().collect(),
            subscriptions: tables.subscriptions.into_values().collect(),
            key_values: tables.key_values.into_iter().collect(),
        })
    }

    async fn commit(&self, batch: Batch) -> Result<(), StorageError> {
        let mut contents = self.contents()?;
        match contents.fails_after {
            Some(0) => {
                contents.fails_after = None;
                return Err(StorageError::Failed { action: "be written", source: Box::new(Told) });
            }
            Some(commits) => contents.fails_after = Some(commits - 1),
            None => {}
        }
        contents.tables.apply(batch);
        Ok(())
    }

    async fn close(&self) -> Result<(), StorageError> {
        self.release()
    }
}

impl Tables {
    fn apply(&mut self, batch: Batch) {
        for key in &batch.remove_entities {
            self.entities.remove(key);
        }
        for row in batch.put_entities {
            self.entities.insert((row.entity, row.etype.clone()), row);
        }
        if let Some(attrs) = batch.attrs {
            self.attrs = attrs.iter().map(|attr| Attr::clone(attr)).collect();
        }
        for change in batch.outbox {
            match change {
                OutboxChange::Put(row) => drop(self.outbox.insert(row.seq, row)),
                OutboxChange::Remove(seq) => drop(self.outbox.remove(&seq)),
            }
        }
        for change in batch.subscriptions {
            match change {
                SubscriptionChange::Put(row) => {
                    self.subscriptions.insert(row.query.clone(), row);
                }
                SubscriptionChange::Remove(query) => drop(self.subscriptions.remove(&query)),
            }
        }
        for (key, value) in batch.key_values {
            match value {
                Some(value) => drop(self.key_values.insert(key, value)),
                None => drop(self.key_values.remove(&key)),
            }
        }
    }
}

#[cfg(all(test, feature = "contract"))]
mod tests {
    use super::*;
    use crate::contract::Backend;

    struct Device(MemoryDisk);

    #[async_trait]
    impl Backend for Device {
        async fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
            Ok(Arc::new(self.0.open()?))
        }

        async fn fail_next_commit(&self) -> bool {
            self.0.fail_commit_after(0);
            true
        }
    }

    crate::storage_contract!(Device(MemoryDisk::new()));

    #[tokio::test]
    async fn exactly_the_chosen_commit_fails() {
        let disk = MemoryDisk::new();
        let storage = disk.open().unwrap();
        disk.fail_commit_after(2);
        for n in 0..5_u8 {
            let batch =
                Batch { key_values: vec![(n.to_string(), Some(vec![n]))], ..Batch::default() };
            assert_eq!(storage.commit(batch).await.is_err(), n == 2, "{n}");
        }
        let keys: Vec<String> =
            storage.load().await.unwrap().key_values.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["0", "1", "3", "4"]);
    }
}
