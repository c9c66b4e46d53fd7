//! Why a benchmark could not be run to its end.

use std::io;
use std::time::Duration;

/// Why a benchmark could not be run to its end. A missed target is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    /// The system refused something.
    #[error("cannot {action}")]
    Io {
        /// What was tried, as in "read the status of the server".
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A child process ended, or said nothing, before it was ready.
    #[error("{name} did not print `listening on http://ADDR`; its errors:\n{log}")]
    NotReady {
        /// Which child.
        name: &'static str,
        /// The end of what it wrote to standard error.
        log: String,
    },
    /// A WebSocket failed.
    #[error("a connection to {peer} failed")]
    Socket {
        /// Whom it led to.
        peer: &'static str,
        /// Why.
        #[source]
        source: Box<tokio_tungstenite::tungstenite::Error>,
    },
    /// A peer closed its connection.
    #[error("{peer} closed a connection")]
    Closed {
        /// Who.
        peer: &'static str,
    },
    /// The server answered something else than was to be measured.
    #[error("expected {wanted} and got: {got}")]
    Unexpected {
        /// What was to come.
        wanted: &'static str,
        /// What came, cut to a readable length.
        got: String,
    },
    /// Nothing came.
    #[error("{wanted} did not come within {} s", limit.as_secs())]
    TooSlow {
        /// What was waited for.
        wanted: &'static str,
        /// How long.
        limit: Duration,
    },
    /// Bare SQLite failed.
    #[error("bare SQLite failed")]
    Sqlite(#[from] sqlx::Error),
    /// The engine refused a transaction of the benchmark.
    #[error("the engine refused a transaction")]
    Refused(#[from] tricedb_core::tx::TxError),
    /// The engine refused a query of the benchmark.
    #[error("the engine refused a query")]
    Query(#[from] tricedb_core::query::QueryError),
    /// A task of the benchmark ended before its work was done.
    #[error("a task of the benchmark ended early")]
    Task(#[from] tokio::task::JoinError),
    /// A binary frame of the server cannot be read.
    #[error("cannot read a frame")]
    Frame(#[from] tricedb_protocol::native::BinaryError),
    /// What was measured cannot be written as JSON.
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// For `map_err`: an error of the system with what was tried.
pub(crate) fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> BenchError {
    move |source| BenchError::Io { action, source }
}
