//! Why a store could not do as asked.

use std::io;
use std::path::PathBuf;

use tricedb_core::id::AppId;
use tricedb_core::schema::SchemaError;
use tricedb_core::tx::TxError;

use crate::log::LogError;

/// Why the store of apps could not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process uses the directory.
    #[error(
        "the data directory {} is in use by another tricedb process: stop it, talk to it with --url, or \
         choose another directory with --data",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as in "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The table of apps cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Table {
        /// Its file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// The id of a new app is taken.
    #[error("there is an app {0} already")]
    AppExists(AppId),
    /// There is no such app.
    #[error("there is no app {0}")]
    NoSuchApp(AppId),
    /// The schema of a new app is malformed or contradicts itself.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The attributes of the schema cannot be made.
    #[error(transparent)]
    Attributes(#[from] TxError),
    /// An app's log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
}
