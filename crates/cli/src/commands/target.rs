//! Where a command finds its app: in a data directory or on a running server.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use hyper::Uri;
use tricedb_core::id::AppId;
use tricedb_server::app::{AppError, AppHandle};
use tricedb_server::session::{Apps as _, OpenAppError};
use tricedb_server::{AppStore, Config, Registry, Storage, StoreError};
use uuid::Uuid;

use crate::remote::{Remote, RemoteError};

/// Where the apps are.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The data directory, while no server uses it
    #[arg(long, value_name = "DIR", default_value = "tricedb-data", conflicts_with = "url")]
    pub(crate) data: PathBuf,
    /// A running server instead, such as http://127.0.0.1:8888
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<Uri>,
    /// The app's admin token, for --url
    #[arg(long, value_name = "TOKEN", env = "TRICEDB_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
}

impl Place {
    /// The server, if one was named.
    pub(crate) fn remote(&self) -> Option<Remote> {
        let url = self.url.clone()?;
        Some(Remote { url, token: self.token.clone() })
    }

    /// Opens the data directory; it must exist, so that a wrong path does not look like an empty one.
    pub(crate) async fn existing_store(&self) -> Result<AppStore, Failure> {
        if !self.data.join("tricedb.db").exists() {
            return Err(Failure::NoData { path: self.data.clone() });
        }
        Ok(AppStore::open(&Storage::Directory(self.data.clone())).await?)
    }
}

/// One app, somewhere.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The app
    #[arg(long, value_name = "ID")]
    app: Uuid,
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Target {
    pub(crate) const fn app(&self) -> AppId {
        AppId::new(self.app)
    }

    /// Opens the app of the data directory without a server.
    pub(crate) async fn open(&self) -> Result<LocalApp, Failure> {
        let store = self.place.existing_store().await?;
        let storage = Storage::Directory(self.place.data.clone());
        let registry = Registry::new(store, &Config { storage, ..Config::default() });
        match registry.open(self.app()).await {
            Ok(handle) => Ok(LocalApp { registry: Arc::new(registry), handle }),
            Err(error) => {
                registry.close().await?;
                Err(error.into())
            }
        }
    }
}

/// An app of a data directory, in use by this program.
pub(crate) struct LocalApp {
    registry: Arc<Registry>,
    pub(crate) handle: AppHandle,
}

impl LocalApp {
    /// Writes what is to be written and frees the directory.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop(self.handle);
        self.registry.shutdown().await;
        match Arc::try_unwrap(self.registry) {
            Ok(registry) => Ok(registry.close().await?),
            Err(_) => Ok(()),
        }
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(
        "{} holds no TriceDB data: name another directory with --data, or make an app with \
         `tricedb app create`",
        path.display()
    )]
    NoData { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Open(#[from] OpenAppError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("cannot use {}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("what came in is not JSON")]
    Input(#[from] serde_json::Error),
    #[error("{0}")]
    Schema(String),
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("cannot read standard input or write standard output")]
    Stream(#[from] io::Error),
}
