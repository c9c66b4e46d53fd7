//! What keeps a client's data on its device.
//!
//! [`SqliteStorage`] is the one for programs; [`MemoryStorage`] keeps nothing after the process and can
//! be told to fail, which tests use. Both implement [`tricedb_core::port::Storage`] and meet the same
//! `contract` (a feature), a suite that the tests of any other implementation can run as well.
//!
//! This crate knows neither the protocol nor the sync engine: it moves rows, whole and atomically.

#[cfg(feature = "contract")]
pub mod contract;
mod memory;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use memory::{MemoryDisk, MemoryStorage};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStorage;
