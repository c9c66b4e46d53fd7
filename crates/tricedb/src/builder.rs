//! Opening a client.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;

use tricedb_core::id::AppId;
use tricedb_core::port::{Storage, StorageError, Transport};
use tricedb_core::schema::Schema;
use tricedb_store::{MemoryStorage, SqliteStorage};
use tricedb_sync::{RestoreError, Settings, StartError, UrlError, WebSocketTransport, start};
use uuid::Uuid;

use crate::client::Client;
use crate::config::Config;

/// Where `tricedb serve` listens unless told otherwise.
const DEFAULT_URL: &str = "ws://127.0.0.1:8888";

/// How a client is to be opened; made by [`Client::builder`].
#[must_use = "nothing is opened until `open` is awaited"]
pub struct Builder {
    app: String,
    config: Config,
    refresh_token: Option<String>,
    admin_token: Option<String>,
    schema: Option<Schema>,
    storage: Option<Box<dyn Storage>>,
    transport: Option<Box<dyn Transport>>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("app", &self.app)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a client could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The app's id is no UUID.
    #[error("`{0}` is not an app id: an app id is a UUID")]
    AppId(String),
    /// The server's address cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The local database could not be opened or read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The local database holds something else.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// There is no tokio runtime to run in.
    #[error("a client needs a tokio runtime with timers and I/O")]
    NoRuntime,
}

impl From<StartError> for OpenError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Storage(error) => Self::Storage(error),
            StartError::Restore(error) => Self::Restore(error),
            // Non-exhaustive towards other crates; there is no third kind.
            other => Self::Storage(StorageError::Damaged { what: other.to_string() }),
        }
    }
}

impl Builder {
    pub(crate) fn new(app: impl Display) -> Self {
        Self {
            app: app.to_string(),
            config: Config::default(),
            refresh_token: None,
            admin_token: None,
            schema: None,
            storage: None,
            transport: None,
        }
    }

    /// The server's address, `ws://host:port` or `http://host:port`; the addresses of its WebSocket and its
    /// HTTP interface derive from it. Default: `ws://127.0.0.1:8888`.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        let url = url.into();
        let base = url.trim_end_matches('/');
        let swap = |from: &str, to: &str| base.strip_prefix(from).map(|rest| format!("{to}{rest}"));
        let websocket = swap("http://", "ws://").or_else(|| swap("https://", "wss://"));
        let api = swap("ws://", "http://").or_else(|| swap("wss://", "https://"));
        self.config.websocket_url = Some(websocket.unwrap_or_else(|| base.to_owned()));
        self.config.api_url = Some(api.unwrap_or_else(|| base.to_owned()));
        self
    }

    /// The address of the WebSocket alone.
    pub fn websocket_url(mut self, url: impl Into<String>) -> Self {
        self.config.websocket_url = Some(url.into());
        self
    }

    /// The address of the HTTP interface alone.
    pub fn api_url(mut self, url: impl Into<String>) -> Self {
        self.config.api_url = Some(url.into());
        self
    }

    /// The SQLite file that keeps everything; it is made if there is none.
    pub fn path(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.path = Some(path.into());
        self
    }

    /// Keeps everything in memory only. This is the default.
    pub fn in_memory(mut self) -> Self {
        self.config.path = None;
        self
    }

    /// A storage of one's own, in the place of a file or memory.
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Some(Box::new(storage));
        self
    }

    /// A transport of one's own, in the place of the WebSocket.
    pub fn transport(mut self, transport: impl Transport + 'static) -> Self {
        self.transport = Some(Box::new(transport));
        self
    }

    /// All settings at once, in the place of those set so far.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Whether to synchronise; see [`Config::sync_enabled`].
    pub const fn sync_enabled(mut self, enabled: bool) -> Self {
        self.config.sync_enabled = enabled;
        self
    }

    /// Whether to use native sessions; see [`Config::native_sessions`].
    pub const fn native_sessions(mut self, enabled: bool) -> Self {
        self.config.native_sessions = enabled;
        self
    }

    /// Prints what happens, readably; see [`Config::verbose_logging`].
    pub const fn verbose(mut self, verbose: bool) -> Self {
        self.config.verbose_logging = verbose;
        self
    }

    /// Acts as the user with this refresh token.
    pub fn refresh_token(mut self, token: impl Into<String>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }

    /// Acts with the app's admin token, which lifts permission checks. For programs in safe places only.
    pub fn admin_token(mut self, token: impl Into<String>) -> Self {
        self.admin_token = Some(token.into());
        self
    }

    /// The schema of the program's types. Attributes that a write makes are then as it says, also before it was
    /// pushed to the server and offline; a write to an attribute that neither it nor the server has is refused at
    /// once.
    ///
    /// ```
    /// # use tricedb::{Client, Entity, EntityId, TransactError, schema::Schema};
    /// #[derive(Entity)]
    /// struct Todo {
    ///     id: EntityId,
    ///     title: String,
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let db = Client::builder("8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11")
    ///     .schema(Schema::builder().entity::<Todo>().build()?)
    ///     # .sync_enabled(false)
    ///     .open()
    ///     .await?;
    /// let misspelt = db.create("todos", serde_json::json!({"titel": "Buy milk"}));
    /// assert!(matches!(db.transact(misspelt), Err(TransactError::Invalid(_))));
    /// let number = db.create("todos", serde_json::json!({"title": 7}));
    /// assert!(matches!(db.transact(number), Err(TransactError::Invalid(_))));
    /// # Ok(()) }
    /// ```
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// Opens the client: reads what is kept locally and begins to connect. It does not wait for a
    /// connection and works without one.
    ///
    /// # Errors
    /// [`OpenError`]; nothing stays open then.
    pub async fn open(self) -> Result<Client, OpenError> {
        let Self { app, config, refresh_token, admin_token, schema, storage, transport } = self;
        if config.verbose_logging {
            crate::logging::install();
        }
        let app = AppId::parse(&app).ok_or(OpenError::AppId(app))?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let transport = match transport {
            Some(transport) => transport,
            None => {
                let url = config.websocket_url.as_deref().unwrap_or(DEFAULT_URL);
                Box::new(WebSocketTransport::new(url, app)?)
            }
        };
        let storage: Box<dyn Storage> = match (storage, &config.path) {
            (Some(storage), _) => storage,
            (None, Some(path)) => Box::new(SqliteStorage::open(path).await?),
            (None, None) => Box::new(MemoryStorage::new()),
        };
        let mut settings = Settings::new(app);
        settings.sync_enabled = config.sync_enabled;
        settings.refresh_token = refresh_token;
        settings.admin_token = admin_token;
        settings.schema = schema.map(Arc::new);
        settings.reconnect_min = config.reconnect_min;
        settings.reconnect_max = config.reconnect_max;
        settings.native_sessions = config.native_sessions;
        settings.pending_max = config.pending_max;
        settings.kept_queries_max = config.kept_queries_max;
        settings.kept_facts_max = config.kept_facts_max;
        let (handle, driver) = start(settings, transport, storage, Box::new(Uuid::new_v4)).await?;
        // Owned by the handle: it ends with the last clone, or when the client is closed.
        drop(runtime.spawn(driver.run()));
        Ok(Client::new(app, handle, config))
    }
}
