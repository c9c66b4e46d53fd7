//! The least that a storage can be.

use async_trait::async_trait;
use tricedb_core::port::{Batch, Snapshot, Storage, StorageError};

/// Keeps nothing: every start is the first.
pub(crate) struct NothingKept;

#[async_trait]
impl Storage for NothingKept {
    async fn load(&self) -> Result<Snapshot, StorageError> {
        Ok(Snapshot::default())
    }

    async fn commit(&self, _: Batch) -> Result<(), StorageError> {
        Ok(())
    }

    async fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}
