//! The apps of a server: who they are, and where their logs lie.
//!
//! Under the data directory, `tricedb.db` says which apps there are, and `apps/<app id>.db` is one app's
//! log. One process at a time may use a directory; a lock on the file `lock` sees to it.

mod directory;
mod error;
mod table;
mod token;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;
use tricedb_core::id::AppId;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema;
use tricedb_core::tx::{Actor, ExecuteContext, execute};
use uuid::Uuid;

use self::directory::DataDirectory;
use self::table::AppTable;
use crate::app::{AppSettings, SettingsChange};
use crate::clock;
use crate::log::{CommitLog, MemoryLog, SnapshotImage, SqliteLog, SqliteLogOptions};

pub use error::StoreError;
pub use table::AppRecord;
pub use token::AdminToken;

/// Where the apps of a server live.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory: nothing survives the server. For tests and demonstrations.
    Memory,
    /// In this directory, which is made if it is missing.
    Directory(PathBuf),
}

/// An app to be made.
#[derive(Clone, Debug, Default)]
pub struct NewApp {
    /// A name for people.
    pub title: String,
    /// Its id; a fresh one if none is given.
    pub id: Option<AppId>,
    /// Its schema, in InstantDB's schema JSON.
    pub schema: Option<Json>,
    /// When it may be removed, in milliseconds since 1970; never if none.
    pub expires_at: Option<i64>,
}

/// An app that was just made. The only time that its admin token is known.
#[derive(Clone, Debug)]
pub struct CreatedApp {
    /// Its id.
    pub id: AppId,
    /// Its name for people.
    pub title: String,
    /// The secret that gives all rights on it.
    pub admin_token: AdminToken,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it may be removed, in milliseconds since 1970.
    pub expires_at: Option<i64>,
}

/// The apps of a data directory, or of a server in memory.
///
/// Works without a server: this is how a program administers a directory, or imports into it, while no
/// server uses it.
///
/// ```
/// # async fn example(index: tricedb_core::index::TripleIndex) -> Result<(), tricedb_server::StoreError> {
/// use tricedb_server::{AppStore, Storage};
///
/// let store = AppStore::open(&Storage::Directory("tricedb-data".into())).await?;
/// let app = store.import_app(None, "Library", index).await?;
/// println!("{} {}", app.id, app.admin_token.reveal());
/// store.close().await
/// # }
/// ```
#[derive(Debug)]
pub struct AppStore {
    place: Place,
    table: AppTable,
}

#[derive(Debug)]
enum Place {
    /// The logs, which live as long as the store.
    Memory(Mutex<HashMap<AppId, MemoryLog>>),
    Directory(DataDirectory),
}

impl AppStore {
    /// Opens a store and locks its directory against other processes until [`Self::close`] or drop.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process uses the directory; [`StoreError::Io`] and
    /// [`StoreError::Table`] if it cannot be read or written.
    pub async fn open(storage: &Storage) -> Result<Self, StoreError> {
        match storage {
            Storage::Memory => Ok(Self {
                place: Place::Memory(Mutex::default()),
                table: AppTable::in_memory().await?,
            }),
            Storage::Directory(path) => {
                let directory = DataDirectory::open(path)?;
                let table = AppTable::open(&directory.table_path()).await?;
                Ok(Self { place: Place::Directory(directory), table })
            }
        }
    }

    /// Makes an app with the system's attributes and those of its schema, and no data.
    ///
    /// # Errors
    /// [`StoreError::Schema`] and [`StoreError::Attributes`] if the schema is refused, and the errors of
    /// [`Self::import_app`].
    pub async fn create_app(&self, new: NewApp) -> Result<CreatedApp, StoreError> {
        let mut index = TripleIndex::new();
        add_system_attrs(&mut index);
        if let Some(json) = &new.schema {
            add_schema(&mut index, json)?;
        }
        self.add(new.id, new.title, new.expires_at, index).await
    }

    /// Makes an app that begins with these attributes and facts, times included. Attributes of the system
    /// that the index lacks are added.
    ///
    /// Atomic: the data is written to a temporary file, made durable and renamed before the app is
    /// listed, and a failure leaves nothing behind.
    ///
    /// # Errors
    /// [`StoreError::AppExists`] if the id is taken; [`StoreError::Log`], [`StoreError::Io`] and
    /// [`StoreError::Table`] if the disk does not take it.
    pub async fn import_app(
        &self,
        id: Option<AppId>,
        title: &str,
        mut index: TripleIndex,
    ) -> Result<CreatedApp, StoreError> {
        add_system_attrs(&mut index);
        self.add(id, title.to_owned(), None, index).await
    }

    /// All apps, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub async fn list_apps(&self) -> Result<Vec<AppRecord>, StoreError> {
        self.table.list().await
    }

    /// One app; none if there is no such app or its time is over.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub async fn app(&self, id: AppId) -> Result<Option<AppRecord>, StoreError> {
        let record = self.table.find(id).await?;
        Ok(record.filter(|record| record.expires_at.is_none_or(|at| at > clock::now_ms())))
    }

    /// Changes what an app turns on beyond InstantDB, and returns all its settings; none if there is no such
    /// app. The app must not be in use (a server tells it).
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub async fn change_settings(
        &self,
        id: AppId,
        change: &SettingsChange,
    ) -> Result<Option<AppSettings>, StoreError> {
        let Some(record) = self.app(id).await? else { return Ok(None) };
        let settings = record.settings.changed(change);
        self.table.set_settings(id, &settings).await?;
        Ok(Some(settings))
    }

    /// Removes an app and its data. The app must not be in use (a server closes it first). Returns whether
    /// there was one.
    ///
    /// # Errors
    /// [`StoreError::Table`], [`StoreError::Io`].
    pub async fn delete_app(&self, id: AppId) -> Result<bool, StoreError> {
        let existed = self.table.remove(id).await?;
        match &self.place {
            Place::Memory(logs) => {
                logs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
            Place::Directory(directory) => directory.remove_log(id)?,
        }
        Ok(existed)
    }

    /// Opens the log of an app.
    ///
    /// # Errors
    /// [`StoreError::Log`], naming the file.
    pub async fn open_log(
        &self,
        id: AppId,
        options: &SqliteLogOptions,
    ) -> Result<Box<dyn CommitLog>, StoreError> {
        match &self.place {
            Place::Memory(logs) => {
                let logs = logs.lock().unwrap_or_else(PoisonError::into_inner);
                let log = logs.get(&id).cloned().ok_or(StoreError::NoSuchApp(id))?;
                Ok(Box::new(log))
            }
            Place::Directory(directory) => {
                Ok(Box::new(SqliteLog::open(&directory.log_path(id), options.clone()).await?))
            }
        }
    }

    /// Frees the directory for other processes. Everything was durable before.
    ///
    /// # Errors
    /// [`StoreError::Table`].
    pub async fn close(self) -> Result<(), StoreError> {
        self.table.close().await
    }

    async fn add(
        &self,
        id: Option<AppId>,
        title: String,
        expires_at: Option<i64>,
        index: TripleIndex,
    ) -> Result<CreatedApp, StoreError> {
        let id = id.unwrap_or_else(|| AppId::new(Uuid::new_v4()));
        if self.table.find(id).await?.is_some() {
            return Err(StoreError::AppExists(id));
        }
        let admin_token = AdminToken::generate();
        let record = AppRecord {
            id,
            title: title.clone(),
            created_at: clock::now_ms(),
            expires_at,
            token_hash: admin_token.hash(),
            settings: AppSettings::default(),
        };
        match &self.place {
            Place::Memory(logs) => {
                self.table.insert(&record).await?;
                let log = MemoryLog::beginning_with(index);
                logs.lock().unwrap_or_else(PoisonError::into_inner).insert(id, log);
            }
            Place::Directory(directory) => {
                let unfinished = directory.unfinished_log(id);
                SqliteLog::create(unfinished.path(), SnapshotImage::take(&index)).await?;
                let log = unfinished.finish()?;
                self.table.insert(&record).await?;
                log.keep();
            }
        }
        let created_at = record.created_at;
        Ok(CreatedApp { id, title, admin_token, created_at, expires_at })
    }
}

fn add_system_attrs(index: &mut TripleIndex) {
    for attr in schema::system_attrs() {
        if index.catalog().get(attr.id).is_none() {
            index.put_attr(attr);
        }
    }
}

fn add_schema(index: &mut TripleIndex, json: &Json) -> Result<(), StoreError> {
    let mut ids = Uuid::new_v4;
    let steps = schema::parse(json)?.to_attr_steps(index.catalog(), &mut ids)?;
    let mut context = ExecuteContext { now: clock::now_ms(), ids: &mut ids, actor: Actor::Admin };
    execute(index, &steps, &mut context)?;
    Ok(())
}
