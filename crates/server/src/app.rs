//! One app: its data, its sessions and live queries, and the rule that nothing leaves before it is durable.
//!
//! [`AppState`] is the whole of it as a state machine: inputs are method calls that carry the time, outputs
//! are drained with [`AppState::poll`]. It knows no clock, no sockets and no storage. [`spawn_app`] puts one
//! into a task and gives an [`AppHandle`], through which sessions and the admin API reach it.

mod admin;
mod fragment;
mod frame;
mod frames;
mod handle;
mod held;
mod limits;
mod live;
mod native;
mod outcomes;
mod pipeline;
mod presence;
mod refresh;
mod refusal;
mod schema;
mod sessions;
mod settings;
mod state;
mod status;
mod task;

pub use frame::Frame;
pub(crate) use frames::error as error_frame;
pub use handle::{AppError, AppHandle, Session};
pub use limits::AppLimits;
pub use native::{EncodeJob, Encoded};
pub use schema::{JobReport, JobStatus, PushOptions, SchemaApplied, SchemaPlan};
pub use sessions::{OpenSession, SessionKey};
pub use settings::{AppSettings, SettingsChange};
pub use state::{Answer, AppIdentity, AppState, Output, Ticket};
pub use task::{LoadedApp, spawn_app};
pub use tricedb_protocol::AppState as AppStatus;

#[cfg(test)]
mod tests;
