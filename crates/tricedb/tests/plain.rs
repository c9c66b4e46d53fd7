//! What a client promises, over the plain protocol, as against an official server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

#[path = "suite/online.rs"]
mod online;

/// A client that speaks this.
fn builder(app: impl std::fmt::Display) -> tricedb::Builder {
    tricedb::Client::builder(app).native_sessions(false)
}
