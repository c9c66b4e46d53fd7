//! The TriceDB sync server as a library.
//!
//! One task per app owns its state; its rules are plain state machines ([`app`], [`session`]) that know no
//! clock, no randomness and no sockets. Around them lies the rim that does.

mod accounts;
pub mod app;
mod clock;
mod config;
mod connections;
mod http;
pub mod log;
mod registry;
pub mod rooms;
mod server;
pub mod session;

pub use accounts::{AdminToken, AppRecord, AppStore, CreatedApp, NewApp, Storage, StoreError};
pub use config::{Config, HttpLimits, Mode, OpenAppLimits};
pub use registry::{OpenAppReport, Registry};
pub use server::{RunningServer, Server, ServerBuilder, ServerError};
