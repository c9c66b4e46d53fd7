//! The async ports that a program implements to bring its own storage or transport.
//!
//! Everything a backend needs is in this crate: the traits and the row types they carry.

mod storage;
mod transport;

pub use storage::{
    Batch, EntityRow, HeldFact, OutboxChange, OutboxRow, OutboxState, Snapshot, Storage,
    StorageError, SubscriptionChange, SubscriptionRow,
};
pub use transport::{Connection, Frame, Transport, TransportError};
