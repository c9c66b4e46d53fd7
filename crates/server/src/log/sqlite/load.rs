//! Reading the state back.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use tokio::sync::mpsc;
use tricedb_core::id::{EventId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::Commit;
use uuid::Uuid;

use super::chunk::Rebuild;
use super::file::{damaged, storage_error};
use crate::log::{EventKey, LoadedLog, LogError, LoggedOutcome, Outcome};

/// What the state is rebuilt from, in order.
enum Part {
    Chunk(Vec<u8>),
    Commit(TxId, Vec<u8>),
}

/// Reads everything, and the snapshot's position. The index is built on another thread, so that opening a large app does not hold up
/// the small ones.
pub(super) async fn load(
    path: &Path,
    connection: &mut SqliteConnection,
    outcomes_since: i64,
) -> Result<(LoadedLog, TxId), LogError> {
    let (parts, inbox) = mpsc::channel(16);
    let builder = tokio::task::spawn_blocking(move || rebuild(inbox));
    let read = Reader { path, connection }.read(parts, outcomes_since).await;
    // The reader has dropped its end by now, so the builder comes to an end.
    let built = builder.await.map_err(|error| LogError::Storage(Box::new(error)))?;
    let index = built.map_err(|reason| damaged(path, &reason))?;
    let (loaded, snapshot) = read?;
    Ok((LoadedLog { index, ..loaded }, snapshot))
}

fn rebuild(mut parts: mpsc::Receiver<Part>) -> Result<TripleIndex, String> {
    let mut rebuild = Rebuild::default();
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Chunk(body) => {
                rebuild
                    .take(&body)
                    .map_err(|error| format!("its snapshot cannot be read: {error}"))?;
            }
            Part::Commit(position, changes) => {
                let commit: Commit = serde_json::from_slice(&changes)
                    .map_err(|error| format!("commit {position} cannot be read: {error}"))?;
                rebuild.index.apply(&commit);
            }
        }
    }
    Ok(rebuild.index)
}

/// For native clients the number up to which outcomes are forgotten.
type Floors = HashMap<Uuid, u64>;

/// Gathers outcomes: those of the retention time, and of older ones the highest numbers.
struct Named<'a> {
    since: i64,
    outcomes: &'a mut Vec<LoggedOutcome>,
    floors: &'a mut Floors,
}

impl Named<'_> {
    fn take(&mut self, outcome: LoggedOutcome) {
        if outcome.at >= self.since {
            self.outcomes.push(outcome);
        } else if let Some((client, seq)) = outcome.event.number() {
            let floor = self.floors.entry(client).or_default();
            *floor = seq.max(*floor);
        }
    }
}

struct Reader<'a> {
    path: &'a Path,
    connection: &'a mut SqliteConnection,
}

impl Reader<'_> {
    async fn read(
        mut self,
        parts: mpsc::Sender<Part>,
        outcomes_since: i64,
    ) -> Result<(LoadedLog, TxId), LogError> {
        let path = self.path;
        let wrap = |error| storage_error("cannot read", path, error);
        let state: (i64, i64, i64) =
            sqlx::query_as("SELECT snapshot_position, snapshot_at, snapshot_chunks FROM state")
                .fetch_one(&mut *self.connection)
                .await
                .map_err(|error| match error {
                    sqlx::Error::RowNotFound => damaged(path, "its creation was never finished"),
                    other => wrap(other),
                })?;
        let (snapshot, snapshot_at, chunks) = state;
        self.chunks(snapshot, chunks, &parts).await?;
        let epoch: i64 = sqlx::query_scalar("SELECT epoch FROM life")
            .fetch_one(&mut *self.connection)
            .await
            .map_err(wrap)?;
        let mut floors = self.floors().await?;
        let mut outcomes = self.outcomes(outcomes_since, &mut floors).await?;
        let mut loaded = LoadedLog {
            position: position(snapshot),
            last_at: snapshot_at,
            epoch: u64::try_from(epoch).ok(),
            ..LoadedLog::default()
        };
        let mut named =
            Named { since: outcomes_since, outcomes: &mut outcomes, floors: &mut floors };
        self.tail(snapshot, &mut loaded, &mut named, parts).await?;
        outcomes.sort_by_key(|outcome| outcome.at);
        let mut known = HashSet::new();
        outcomes.retain(|outcome| known.insert(outcome.event.clone()));
        loaded.outcomes = outcomes;
        loaded.floors = floors.into_iter().collect();
        Ok((loaded, position(snapshot)))
    }

    async fn chunks(
        &mut self,
        snapshot: i64,
        chunks: i64,
        parts: &mpsc::Sender<Part>,
    ) -> Result<(), LogError> {
        let path = self.path;
        let wrap = |error| storage_error("cannot read", path, error);
        let mut rows = sqlx::query_scalar::<_, Vec<u8>>(
            "SELECT body FROM snapshot WHERE position = ? AND chunk < ? ORDER BY chunk",
        )
        .bind(snapshot)
        .bind(chunks)
        .fetch(&mut *self.connection);
        let mut found = 0;
        while let Some(body) = rows.try_next().await.map_err(wrap)? {
            found += 1;
            if parts.send(Part::Chunk(body)).await.is_err() {
                // The builder failed and will say why.
                break;
            }
        }
        drop(rows);
        if found == chunks || parts.is_closed() {
            Ok(())
        } else {
            Err(damaged(path, &format!("its snapshot has {found} of {chunks} chunks")))
        }
    }

    /// The outcomes of transactions that were rejected or whose commits are trimmed.
    async fn outcomes(
        &mut self,
        since: i64,
        floors: &mut Floors,
    ) -> Result<Vec<LoggedOutcome>, LogError> {
        let path = self.path;
        let wrap = |error| storage_error("cannot read", path, error);
        let mut rows =
            sqlx::query("SELECT at, user, event, position, error FROM outcomes ORDER BY number")
                .fetch(&mut *self.connection);
        let mut outcomes = Vec::new();
        let mut named = Named { since, outcomes: &mut outcomes, floors };
        while let Some(row) = rows.try_next().await.map_err(wrap)? {
            named.take(outcome(path, &row)?);
        }
        Ok(outcomes)
    }

    /// Up to which number the outcomes of native clients were removed.
    async fn floors(&mut self) -> Result<Floors, LogError> {
        let path = self.path;
        let wrap = |error| storage_error("cannot read", path, error);
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT client, number FROM floors")
            .fetch_all(&mut *self.connection)
            .await
            .map_err(wrap)?;
        let floor = |(client, number): (String, i64)| {
            let name = EventKey { user: Some(client), event: EventId::new(number.to_string()) };
            name.number().ok_or_else(|| damaged(path, "a floor belongs to nobody"))
        };
        rows.into_iter().map(floor).collect()
    }

    /// The commits after the snapshot, and the outcomes of all that are not trimmed yet.
    async fn tail(
        &mut self,
        snapshot: i64,
        loaded: &mut LoadedLog,
        named: &mut Named<'_>,
        parts: mpsc::Sender<Part>,
    ) -> Result<(), LogError> {
        let path = self.path;
        let wrap = |error| storage_error("cannot read", path, error);
        let mut rows =
            sqlx::query("SELECT position, at, user, event, changes FROM log ORDER BY position")
                .fetch(&mut *self.connection);
        while let Some(row) = rows.try_next().await.map_err(wrap)? {
            let number: i64 = row.try_get(0).map_err(wrap)?;
            let at: i64 = row.try_get(1).map_err(wrap)?;
            if let Some(event) = event_key(path, &row, 2)? {
                let outcome = Outcome::Accepted(position(number));
                named.take(LoggedOutcome { event, outcome, at });
            }
            if number <= snapshot {
                continue;
            }
            let (here, before) = (position(number), loaded.position);
            if before != TxId(0) && here != before.next() {
                return Err(damaged(path, &format!("commit {here} follows commit {before}")));
            }
            loaded.position = here;
            loaded.last_at = at;
            loaded.commits_after_snapshot += 1;
            let changes = row.try_get(4).map_err(wrap)?;
            if parts.send(Part::Commit(here, changes)).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

fn position(number: i64) -> TxId {
    TxId(number.unsigned_abs())
}

fn event_key(path: &Path, row: &SqliteRow, column: usize) -> Result<Option<EventKey>, LogError> {
    let wrap = |error| storage_error("cannot read", path, error);
    let user = row.try_get(column).map_err(wrap)?;
    let event: Option<String> = row.try_get(column + 1).map_err(wrap)?;
    Ok(event.map(|event| EventKey { user, event: EventId::new(event) }))
}

fn outcome(path: &Path, row: &SqliteRow) -> Result<LoggedOutcome, LogError> {
    let wrap = |error| storage_error("cannot read", path, error);
    let at = row.try_get(0).map_err(wrap)?;
    let event = event_key(path, row, 1)?.ok_or_else(|| damaged(path, "an outcome has no name"))?;
    let accepted: Option<i64> = row.try_get(3).map_err(wrap)?;
    let error: Option<Vec<u8>> = row.try_get(4).map_err(wrap)?;
    let outcome = match (accepted, error) {
        (Some(number), _) => Outcome::Accepted(position(number)),
        (None, Some(error)) => {
            let error = serde_json::from_slice(&error)
                .map_err(|error| damaged(path, &format!("an outcome cannot be read: {error}")))?;
            Outcome::Rejected(Arc::new(error))
        }
        (None, None) => return Err(damaged(path, "an outcome is neither accepted nor rejected")),
    };
    Ok(LoggedOutcome { event, outcome, at })
}
