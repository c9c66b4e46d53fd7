//! Reading everything back.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tricedb_core::attr::Attr;
use tricedb_core::id::{EntityId, EventId, TxId};
use tricedb_core::port::{EntityRow, OutboxRow, Snapshot, StorageError, SubscriptionRow};
use uuid::Uuid;

use super::encoding::{read_held, read_triples};
use super::failure::{Action, classify};

/// Reads the whole database. Its owner is the only writer, so that no transaction is needed.
pub(super) async fn load(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<Snapshot, StorageError> {
    let mut reader = Reader { connection, path };
    let mut etypes = HashSet::new();
    Ok(Snapshot {
        entities: reader
            .rows("SELECT entity, etype, triples FROM entities", |row| entity(row, &mut etypes))
            .await?,
        attrs: reader.rows("SELECT attr FROM attrs ORDER BY place", attr).await?,
        outbox: reader
            .rows(
                "SELECT seq, event, operations, created_at, attempts, state FROM outbox ORDER BY seq",
                outbox,
            )
            .await?,
        subscriptions: reader
            .rows("SELECT query, position, used_at, held, extra FROM subscriptions", subscription)
            .await?,
        key_values: reader
            .rows("SELECT key, value FROM key_values", |row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .await?,
    })
}

struct Reader<'a> {
    connection: &'a mut SqliteConnection,
    path: &'a Path,
}

/// Why a row could not be read.
#[derive(Debug, thiserror::Error)]
enum RowError {
    #[error("{0}")]
    Column(#[from] sqlx::Error),
    #[error("{what} of {of}: {why}")]
    Content { what: &'static str, of: String, why: String },
}

impl RowError {
    fn content(what: &'static str, of: impl Display, why: impl Display) -> Self {
        Self::Content { what, of: of.to_string(), why: why.to_string() }
    }
}

impl Reader<'_> {
    async fn rows<T>(
        &mut self,
        sql: &'static str,
        mut read: impl FnMut(&SqliteRow) -> Result<T, RowError>,
    ) -> Result<Vec<T>, StorageError> {
        let mut found = Vec::new();
        let mut rows = sqlx::query(sql).fetch(&mut *self.connection);
        let at = |error| classify(Action::Read, self.path, error);
        while let Some(row) = rows.try_next().await.map_err(at)? {
            found.push(read(&row).map_err(|error| StorageError::Damaged {
                what: format!("{}: {error}", self.path.display()),
            })?);
        }
        Ok(found)
    }
}

fn entity(row: &SqliteRow, etypes: &mut HashSet<Arc<str>>) -> Result<EntityRow, RowError> {
    let id: &[u8] = row.try_get(0)?;
    let id =
        Uuid::from_slice(id).map_err(|error| RowError::content("the id", "an entity", error))?;
    let entity = EntityId::new(id);
    let name: &str = row.try_get(1)?;
    // A database has few namespaces and many entities.
    let etype = match etypes.get(name) {
        Some(etype) => etype.clone(),
        None => {
            let etype: Arc<str> = name.into();
            etypes.insert(etype.clone());
            etype
        }
    };
    let triples = read_triples(row.try_get(2)?, entity)
        .map_err(|error| RowError::content("the facts", format!("{etype} {entity}"), error))?;
    if triples.is_empty() {
        return Err(RowError::content("the facts", format!("{etype} {entity}"), "there are none"));
    }
    Ok(EntityRow { entity, etype, triples })
}

fn attr(row: &SqliteRow) -> Result<Attr, RowError> {
    json("the definition", "an attribute", row.try_get(0)?)
}

fn outbox(row: &SqliteRow) -> Result<OutboxRow, RowError> {
    let seq: i64 = row.try_get(0)?;
    let of = format!("queued transaction {seq}");
    Ok(OutboxRow {
        seq: unsigned("the place", &of, seq)?,
        event: EventId::new(row.try_get::<&str, _>(1)?),
        operations: json("the operations", &of, row.try_get(2)?)?,
        created_at: row.try_get(3)?,
        attempts: u32::try_from(row.try_get::<i64, _>(4)?)
            .map_err(|error| RowError::content("the attempts", &of, error))?,
        state: json("the state", &of, row.try_get(5)?)?,
    })
}

fn subscription(row: &SqliteRow) -> Result<SubscriptionRow, RowError> {
    let query: &str = row.try_get(0)?;
    Ok(SubscriptionRow {
        query: query.into(),
        position: TxId(unsigned("the position", query, row.try_get(1)?)?),
        used_at: row.try_get(2)?,
        held: read_held(row.try_get(3)?)
            .map_err(|error| RowError::content("the held facts", query, error))?,
        extra: row.try_get(4)?,
    })
}

fn json<T: DeserializeOwned>(
    what: &'static str,
    of: impl Display,
    text: &str,
) -> Result<T, RowError> {
    serde_json::from_str(text).map_err(|error| RowError::content(what, of, error))
}

fn unsigned(what: &'static str, of: impl Display, number: i64) -> Result<u64, RowError> {
    u64::try_from(number).map_err(|error| RowError::content(what, of, error))
}
