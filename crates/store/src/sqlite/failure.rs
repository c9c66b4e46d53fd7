//! What went wrong, in the port's terms.

use std::path::Path;

use tricedb_core::port::StorageError;

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Open,
    Read,
    Write,
    Close,
}

impl Action {
    const fn words(self) -> &'static str {
        match self {
            Self::Open => "be opened",
            Self::Read => "be read",
            Self::Write => "be written",
            Self::Close => "be closed",
        }
    }
}

/// A failure that says nothing about the file.
pub(super) fn failed(
    action: Action,
    source: impl std::error::Error + Send + Sync + 'static,
) -> StorageError {
    StorageError::Failed { action: action.words(), source: Box::new(source) }
}

/// A cause with the file it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
struct AtPath {
    path: String,
    source: sqlx::Error,
}

/// Sorts an error of sqlx by who can act on it.
pub(super) fn classify(action: Action, path: &Path, error: sqlx::Error) -> StorageError {
    // Result codes of SQLite; the low byte is the primary one.
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    let path = path.display().to_string();
    match error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok()) {
        Some(code) if matches!(code & 0xff, BUSY | LOCKED) => StorageError::InUse { path },
        Some(code) if matches!(code & 0xff, CORRUPT | NOT_A_DATABASE) => {
            StorageError::Damaged { what: format!("{path}: {error}") }
        }
        _ if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            StorageError::Damaged { what: format!("{path}: {error}") }
        }
        _ => failed(action, AtPath { path, source: error }),
    }
}

/// SQLite found its own connection busy.
#[derive(Debug, thiserror::Error)]
#[error("{path} is busy")]
pub(super) struct Busy {
    pub(super) path: String,
}
