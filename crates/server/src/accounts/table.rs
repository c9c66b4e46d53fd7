//! The table of apps.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use tokio::sync::Mutex;
use tricedb_core::id::AppId;
use uuid::Uuid;

use super::StoreError;
use super::token::TokenHash;
use crate::app::AppSettings;

const FORMAT: i64 = 2;

const TABLES: &str = "
    CREATE TABLE apps (
        id BLOB PRIMARY KEY,
        title TEXT NOT NULL,
        token_hash BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER,
        settings TEXT NOT NULL DEFAULT '{}'
    ) STRICT, WITHOUT ROWID;
    PRAGMA user_version = 2;
";

/// From format 1, which knew no settings.
const ADD_SETTINGS: &str = "
    ALTER TABLE apps ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
    PRAGMA user_version = 2;
";

/// What is known about an app.
#[derive(Clone, Debug)]
pub struct AppRecord {
    /// Its id.
    pub id: AppId,
    /// Its name for people.
    pub title: String,
    /// When it was made, in milliseconds since 1970.
    pub created_at: i64,
    /// When it may be removed, in milliseconds since 1970; never if none.
    pub expires_at: Option<i64>,
    /// What it turns on beyond InstantDB.
    pub settings: AppSettings,
    pub(crate) token_hash: TokenHash,
}

impl AppRecord {
    /// Whether this is the app's admin token. Takes the same time wherever a wrong one differs.
    pub fn is_admin_token(&self, token: &str) -> bool {
        self.token_hash.matches(token)
    }
}

/// The file that says which apps there are.
#[derive(Debug)]
pub(super) struct AppTable {
    path: PathBuf,
    connection: Mutex<SqliteConnection>,
}

impl AppTable {
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        Self::connect(path.into(), options).await
    }

    pub(super) async fn in_memory() -> Result<Self, StoreError> {
        Self::connect(":memory:".into(), SqliteConnectOptions::new().in_memory(true)).await
    }

    async fn connect(path: PathBuf, options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let opening = async {
            let mut connection = options
                .pragma("cache_size", "-256")
                .statement_cache_capacity(8)
                .thread_name(|_| "apps".into())
                .disable_statement_logging()
                .connect()
                .await?;
            let format: i64 =
                sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await?;
            match format {
                0 | 1 => {
                    let sql = if format == 0 { TABLES } else { ADD_SETTINGS };
                    let mut transaction = connection.begin().await?;
                    sqlx::raw_sql(sql).execute(&mut *transaction).await?;
                    transaction.commit().await?;
                }
                FORMAT => {}
                other => {
                    let reason =
                        format!("its format is {other}, not {FORMAT}: another version wrote it");
                    return Err(sqlx::Error::Configuration(reason.into()));
                }
            }
            Ok(connection)
        };
        match opening.await {
            Ok(connection) => Ok(Self { path, connection: Mutex::new(connection) }),
            Err(source) => Err(StoreError::Table { path, source }),
        }
    }

    pub(super) async fn insert(&self, app: &AppRecord) -> Result<(), StoreError> {
        let insert = sqlx::query("INSERT INTO apps VALUES (?, ?, ?, ?, ?, ?)")
            .bind(key(app.id))
            .bind(app.title.clone())
            .bind(app.token_hash.0.to_vec())
            .bind(app.created_at)
            .bind(app.expires_at)
            .bind(json(&app.settings).map_err(|error| self.failed(error))?);
        match insert.execute(&mut *self.connection.lock().await).await {
            Ok(_) => Ok(()),
            Err(error) if error.as_database_error().is_some_and(|e| e.is_unique_violation()) => {
                Err(StoreError::AppExists(app.id))
            }
            Err(error) => Err(self.failed(error)),
        }
    }

    pub(super) async fn find(&self, id: AppId) -> Result<Option<AppRecord>, StoreError> {
        let row = sqlx::query("SELECT * FROM apps WHERE id = ?")
            .bind(key(id))
            .fetch_optional(&mut *self.connection.lock().await)
            .await;
        let record = row.and_then(|row| row.map(|row| record(&row)).transpose());
        record.map_err(|error| self.failed(error))
    }

    pub(super) async fn list(&self) -> Result<Vec<AppRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM apps ORDER BY created_at, id")
            .fetch_all(&mut *self.connection.lock().await)
            .await;
        let records = rows.and_then(|rows| rows.iter().map(record).collect());
        records.map_err(|error| self.failed(error))
    }

    pub(super) async fn set_settings(
        &self,
        id: AppId,
        settings: &AppSettings,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE apps SET settings = ? WHERE id = ?")
            .bind(json(settings).map_err(|error| self.failed(error))?)
            .bind(key(id))
            .execute(&mut *self.connection.lock().await)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    pub(super) async fn remove(&self, id: AppId) -> Result<bool, StoreError> {
        let done = sqlx::query("DELETE FROM apps WHERE id = ?")
            .bind(key(id))
            .execute(&mut *self.connection.lock().await)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(done.rows_affected() > 0)
    }

    pub(super) async fn close(self) -> Result<(), StoreError> {
        let Self { path, connection } = self;
        let closed = connection.into_inner().close().await;
        closed.map_err(|source| StoreError::Table { path, source })
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::Table { path: self.path.clone(), source }
    }
}

fn key(id: AppId) -> Vec<u8> {
    id.uuid().as_bytes().to_vec()
}

fn json(settings: &AppSettings) -> sqlx::Result<String> {
    serde_json::to_string(settings).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}

fn record(row: &SqliteRow) -> sqlx::Result<AppRecord> {
    let decode = |error: uuid::Error| sqlx::Error::Decode(Box::new(error));
    let id: Vec<u8> = row.try_get("id")?;
    let hash: Vec<u8> = row.try_get("token_hash")?;
    let hash = <[u8; 32]>::try_from(hash)
        .map_err(|_| sqlx::Error::Decode("a token hash is not 32 bytes long".into()))?;
    let settings: String = row.try_get("settings")?;
    let settings =
        serde_json::from_str(&settings).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(AppRecord {
        settings,
        id: AppId::new(Uuid::from_slice(&id).map_err(decode)?),
        title: row.try_get("title")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        token_hash: TokenHash(hash),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_of_the_first_format_gets_settings_that_then_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tricedb.db");
        let mut old = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .connect()
            .await
            .unwrap();
        let before = "
            CREATE TABLE apps (
                id BLOB PRIMARY KEY, title TEXT NOT NULL, token_hash BLOB NOT NULL,
                created_at INTEGER NOT NULL, expires_at INTEGER
            ) STRICT, WITHOUT ROWID;
            INSERT INTO apps VALUES (zeroblob(16), 'old', zeroblob(32), 1, NULL);
            PRAGMA user_version = 1;
        ";
        sqlx::raw_sql(before).execute(&mut old).await.unwrap();
        old.close().await.unwrap();

        let id = AppId::new(Uuid::nil());
        let table = AppTable::open(&path).await.unwrap();
        let record = table.find(id).await.unwrap().unwrap();
        assert_eq!((&*record.title, &record.settings), ("old", &AppSettings::default()));
        let settings = AppSettings { operators: true, ..AppSettings::default() };
        table.set_settings(id, &settings).await.unwrap();
        table.close().await.unwrap();

        let table = AppTable::open(&path).await.unwrap();
        assert_eq!(table.list().await.unwrap()[0].settings, settings);
        table.close().await.unwrap();
    }
}
