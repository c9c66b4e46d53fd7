//! The client's sync engine and its WebSocket transport.
//!
//! [`SyncEngine`] is a state machine that speaks InstantDB's plain protocol without doing any I/O.
//! [`start`] gives it a [`Transport`](tricedb_core::port::Transport) and a
//! [`Storage`](tricedb_core::port::Storage) and returns the [`SyncHandle`] that a program uses and the
//! [`Driver`] that moves bytes, to be run as one task. Most programs use the `tricedb` crate, which wires
//! all of this; those that bring their own transport and want nothing else begin here.
//!
//! This crate knows no SQL and not which storage it has.

mod clock;
mod driver;
mod engine;
mod handle;
mod mailbox;
mod receipt;
mod rooms;
mod shared;
mod watching;
mod websocket;

pub use driver::{Driver, StartError, start};
pub use engine::{
    Conflict, ConnectionStatus, Coverage, Input, Millis, OnceId, Output, Peer, Peers, PendingState,
    PendingTransaction, QueryFailure, QueryResultSnapshot, QueueError, Queued, RestoreError,
    RetryError, RoomError, RoomReport, RoomStatus, ServerError, Settings, SyncEngine, SyncEvent,
    TopicMessage, TransactError, Winner,
};
pub use handle::{CloseError, PendingList, SyncHandle};
pub use mailbox::SyncEvents;
pub use receipt::{LocalError, Receipt, SyncedError};
pub use rooms::{PeerEvent, PeerEvents, RoomHandle, TopicMessages};
pub use watching::{Shown, Subscription, watch_stream};
pub use websocket::{UrlError, WebSocketTransport};
