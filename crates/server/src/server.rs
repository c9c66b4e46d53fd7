//! A running server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tricedb_core::id::AppId;
use tricedb_core::index::TripleIndex;

use crate::accounts::{AppRecord, AppStore, CreatedApp, NewApp, StoreError};
use crate::app::{AppSettings, SettingsChange};
use crate::config::Config;
use crate::connections;
use crate::http::{Site, Sockets, router};
use crate::registry::Registry;
use crate::session::OpenAppError;

/// The sync server.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use tricedb_server::{Config, Server};
///
/// let server = Server::builder(Config::default()).start().await?;
/// let app = server.create_app("Todos", None, None).await?;
/// println!("{} serves {}", server.websocket_url(), app.id);
/// server.shutdown().await?;
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Debug)]
pub struct Server(());

impl Server {
    /// A server that will run as configured.
    pub const fn builder(config: Config) -> ServerBuilder {
        ServerBuilder { config }
    }
}

/// A server that does not run yet.
#[derive(Debug)]
pub struct ServerBuilder {
    config: Config,
}

/// Why a server did not start or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServerBuilder {
    /// Starts the server on the current runtime, best a single-threaded one. When this returns it answers.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running.
    pub async fn start(self) -> Result<RunningServer, ServerError> {
        let Self { config } = self;
        let store = AppStore::open(&config.storage).await?;
        let address = config.listen;
        let listening = async {
            let listener = TcpListener::bind(address).await?;
            let local_addr = listener.local_addr()?;
            Ok((listener, local_addr))
        };
        let (listener, local_addr) =
            listening.await.map_err(|source| ServerError::Listen { address, source })?;
        let registry = Arc::new(Registry::new(store, &config));
        let site = Arc::new(Site {
            registry: registry.clone(),
            mode: config.mode,
            limits: config.http,
            sockets: Sockets::new(),
        });
        let (stop, stopping) = watch::channel(false);
        let head_max = site.limits.head_max;
        let accepting = tokio::spawn(connections::serve(
            listener,
            router(site.clone()),
            head_max,
            stopping.clone(),
        ));
        let tidying = tokio::spawn(keep_tidy(registry.clone(), stopping));
        Ok(RunningServer { local_addr, registry, site, stop, accepting, tidying })
    }
}

async fn keep_tidy(registry: Arc<Registry>, mut stopping: watch::Receiver<bool>) {
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = registry.keep_tidy() => {}
    }
}

/// A server that answers. Dropping it stops the accepting of connections and leaves open ones to the
/// runtime; call [`Self::shutdown`] for an orderly end.
#[derive(Debug)]
pub struct RunningServer {
    local_addr: SocketAddr,
    registry: Arc<Registry>,
    site: Arc<Site>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    tidying: JoinHandle<()>,
}

impl RunningServer {
    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The base of its HTTP API (`apiURI` of the official clients), without a slash at the end.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// The address of its socket (`websocketURI` of the official clients).
    pub fn websocket_url(&self) -> String {
        format!("ws://{}/runtime/session", self.local_addr)
    }

    /// Makes an app.
    ///
    /// # Errors
    /// As [`AppStore::create_app`].
    pub async fn create_app(
        &self,
        title: &str,
        schema: Option<&Json>,
        id: Option<AppId>,
    ) -> Result<CreatedApp, StoreError> {
        let (title, schema) = (title.to_owned(), schema.cloned());
        self.registry.store().create_app(NewApp { title, id, schema, expires_at: None }).await
    }

    /// Changes what an app turns on beyond InstantDB, and returns all its settings.
    ///
    /// # Errors
    /// [`OpenAppError`].
    pub async fn change_settings(
        &self,
        app: AppId,
        change: &SettingsChange,
    ) -> Result<AppSettings, OpenAppError> {
        self.registry.change_settings(app, change).await
    }

    /// Makes an app that begins with these attributes and facts.
    ///
    /// # Errors
    /// As [`AppStore::import_app`].
    pub async fn import_app(
        &self,
        id: Option<AppId>,
        title: &str,
        index: TripleIndex,
    ) -> Result<CreatedApp, StoreError> {
        self.registry.store().import_app(id, title, index).await
    }

    /// All apps, oldest first.
    ///
    /// # Errors
    /// As [`AppStore::list_apps`].
    pub async fn list_apps(&self) -> Result<Vec<AppRecord>, StoreError> {
        self.registry.store().list_apps().await
    }

    /// Ends an app's sessions and removes it with all its data. Returns whether there was one.
    ///
    /// # Errors
    /// [`OpenAppError::Unavailable`].
    pub async fn delete_app(&self, id: AppId) -> Result<bool, OpenAppError> {
        self.registry.delete(id).await
    }

    /// How many flushes to disk an app has made since it was opened; none if it is not open.
    pub async fn flushes(&self, id: AppId) -> Option<u64> {
        self.registry.flushes(id).await
    }

    /// The apps in use.
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Ends the server in order: it accepts nothing more, answers what it has received, takes snapshots,
    /// closes sockets and files. Returns when all of that is done and the data directory is free.
    ///
    /// # Errors
    /// [`StoreError::Table`]; everything is durable all the same.
    pub async fn shutdown(self) -> Result<(), StoreError> {
        let Self { registry, site, stop, mut accepting, tidying, .. } = self;
        stop.send_replace(true);
        // A sweep stops where it can: see `Registry::keep_tidy`.
        let _ = tidying.await;
        registry.shutdown().await;
        let drain_max = site.limits.drain_max;
        site.sockets.drain(drain_max).await;
        if tokio::time::timeout(drain_max, &mut accepting).await.is_err() {
            accepting.abort();
            let _ = accepting.await;
        }
        drop(site);
        match Arc::try_unwrap(registry) {
            Ok(registry) => registry.close().await,
            // A connection that is being torn down still holds it; its last holder frees the directory.
            Err(_) => Ok(()),
        }
    }
}
