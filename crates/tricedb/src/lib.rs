//! A local-first, real-time database for Rust programs.
//!
//! A [`Client`] is a database inside the program. Writes apply at once, survive restarts in an SQLite
//! file, queue while offline, and sync over one WebSocket with a TriceDB server (`tricedb serve`) or any
//! other that speaks InstantDB's protocol. Queries are live.
//!
//! ```
//! use serde_json::json;
//! use tricedb::{Client, field, query, tx};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11")
//!     .url("ws://127.0.0.1:8888")
//!     .in_memory() // or .path("todos.db")
//!     # .sync_enabled(false)
//!     .open()
//!     .await?; // works offline, too
//!
//! let mut open = db.subscribe(query("todos").filter(field("done").eq(false)))?;
//! let todo = db.id();
//! let receipt = db.transact(tx("todos", todo).create(json!({"title": "Buy milk", "done": false})))?;
//! receipt.local().await?; // durable on this machine; `synced()` waits for the server
//!
//! let result = open.wait_for(|result| !result.rows("todos").is_empty()).await?;
//! assert_eq!(result.data()["todos"][0]["title"], "Buy milk");
//! db.close().await?;
//! # Ok(()) }
//! ```
//!
//! Read [`Client`] first, then [`Builder`] for how to open one, and [`SyncControl`] for the connection, its events
//! and the queue. A program that brings its own storage or transport implements a trait of [`port`].

mod builder;
mod client;
mod config;
mod infinite;
mod into_query;
mod into_transaction;
mod logging;
mod rooms;
mod sync;
mod typed;

pub use builder::{Builder, OpenError};
pub use client::Client;
pub use config::Config;
pub use infinite::{InfiniteError, InfiniteResult, InfiniteSubscription};
pub use into_query::IntoQuery;
pub use into_transaction::IntoTransaction;
pub use rooms::{
    Cursor, Cursors, MessageAs, MessagesAs, PeerAs, PeersAs, Reaction, ReactionMessages, Reactions,
    Room, RoomDoor, Typing,
};
pub use sync::SyncControl;
pub use typed::{ReadError, TypedSubscription};

/// Rust structs as entities: what `#[derive(Entity)]` makes, and the types of its fields.
pub use tricedb_core::entity;
pub use tricedb_core::entity::{Date, Entity, EntityTx, RowError, tx_of};
pub use tricedb_core::id::{AppId, EntityId, EventId, TxId};
/// The traits that a program implements to bring its own storage or transport, and their row types.
pub use tricedb_core::port;
pub use tricedb_core::query::{
    Access, Explanation, Filter, FormExplanation, LivePath, OrderSource, Path, Query, QueryBuilder,
    QueryError, Seed, SeedKind, all, any, field, query,
};
/// Schemas in Rust and as InstantDB's JSON.
pub use tricedb_core::schema;
pub use tricedb_core::tx::{
    EntityKey, Operation, TxBuilder, TxError, UpdateMode, literal, lookup, parse_operations, tx,
};
pub use tricedb_core::value::Value;
/// Makes a struct the entities of a namespace: its schema, its rows and its transactions.
#[doc = include_str!("derive.md")]
pub use tricedb_derive::Entity;
pub use tricedb_store::SqliteStorage;
pub use tricedb_sync::{
    CloseError, Conflict, ConnectionStatus, Coverage, LocalError, Peer, PeerEvent, PeerEvents,
    Peers, PendingList, PendingState, PendingTransaction, QueryFailure, QueryResultSnapshot,
    QueueError, Receipt, RestoreError, RetryError, RoomError, RoomStatus, ServerError, Shown,
    Subscription, SyncEvent, SyncEvents, SyncedError, TopicMessage, TopicMessages, TransactError,
    UrlError, WebSocketTransport, Winner,
};

/// The examples of the repository's front page compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Those of the guide to transactions, too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/transactions.md")]
struct TransactionsGuide;

/// So do those of the guide to types.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/typed.md")]
struct TypedGuide;

/// Those of the guide to rooms, too.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rooms.md")]
struct RoomsGuide;
