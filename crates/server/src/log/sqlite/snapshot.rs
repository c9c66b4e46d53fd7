//! Writing a snapshot in small steps, between which commits go on.

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::mpsc;

use super::chunk;
use crate::log::SnapshotImage;

/// How much one step removes, so that a commit does not wait long behind it.
const OLD_CHUNKS_PER_STEP: i64 = 16;
const COMMITS_PER_STEP: i64 = 2_000;
const OUTCOMES_PER_STEP: i64 = 2_000;

/// A snapshot being written: its chunks first, invisible; then the one row that makes them the snapshot;
/// then the removal of what it covers. A crash leaves at any point either the old snapshot and the whole
/// log or the new one, and some waste that the next snapshot removes.
#[derive(Debug)]
pub(super) struct SnapshotJob {
    position: i64,
    at: i64,
    outcomes_since: i64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Takes chunks from the encoder.
    Write { chunks: mpsc::Receiver<serde_json::Result<Vec<u8>>>, written: i64 },
    /// Removes the chunks of other snapshots.
    DropOld,
    /// Moves outcomes out of the covered commits and removes these.
    Trim,
    /// Removes outcomes that are past their time.
    Forget,
}

/// What to do next.
pub(super) enum Step {
    Chunk(serde_json::Result<Vec<u8>>),
    Publish,
    CleanUp,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[error(transparent)]
    Encode(#[from] serde_json::Error),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    More,
    Done,
}

impl SnapshotJob {
    /// Begins to encode the image, on another thread.
    pub(super) fn begin(position: i64, at: i64, outcomes_since: i64, image: SnapshotImage) -> Self {
        let (send, chunks) = mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let encoded = chunk::encode(&image, |body| send.blocking_send(Ok(body)).is_ok());
            if let Err(error) = encoded {
                // Nobody listening means that the job was given up.
                let _ = send.blocking_send(Err(error));
            }
        });
        Self { position, at, outcomes_since, stage: Stage::Write { chunks, written: 0 } }
    }

    /// Waits for something to do. Cancel-safe.
    pub(super) async fn next(&mut self) -> Step {
        match &mut self.stage {
            Stage::Write { chunks, .. } => chunks.recv().await.map_or(Step::Publish, Step::Chunk),
            Stage::DropOld | Stage::Trim | Stage::Forget => Step::CleanUp,
        }
    }

    /// Does it, atomically.
    pub(super) async fn take(
        &mut self,
        step: Step,
        connection: &mut SqliteConnection,
    ) -> Result<Progress, StepError> {
        let more = match (step, &mut self.stage) {
            (Step::Chunk(body), Stage::Write { written, .. }) => {
                sqlx::query(
                    "INSERT OR REPLACE INTO snapshot (position, chunk, body) VALUES (?, ?, ?)",
                )
                .bind(self.position)
                .bind(*written)
                .bind(body?)
                .execute(connection)
                .await?;
                *written += 1;
                return Ok(Progress::More);
            }
            (Step::Publish, Stage::Write { written, .. }) => {
                sqlx::query("INSERT OR REPLACE INTO state VALUES (1, ?, ?, ?)")
                    .bind(self.position)
                    .bind(self.at)
                    .bind(*written)
                    .execute(connection)
                    .await?;
                self.stage = Stage::DropOld;
                return Ok(Progress::More);
            }
            (_, Stage::DropOld) => self.drop_old(connection).await?,
            (_, Stage::Trim) => self.trim(connection).await?,
            _ => self.forget(connection).await?,
        };
        if more {
            return Ok(Progress::More);
        }
        self.stage = match self.stage {
            Stage::Write { .. } | Stage::DropOld => Stage::Trim,
            Stage::Trim => Stage::Forget,
            Stage::Forget => return Ok(Progress::Done),
        };
        Ok(Progress::More)
    }

    async fn drop_old(&self, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
        let done = sqlx::query(
            "DELETE FROM snapshot WHERE (position, chunk) IN
             (SELECT position, chunk FROM snapshot WHERE position <> ? LIMIT ?)",
        )
        .bind(self.position)
        .bind(OLD_CHUNKS_PER_STEP)
        .execute(connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn trim(&self, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
        let first: Option<i64> =
            sqlx::query_scalar("SELECT min(position) FROM log").fetch_one(&mut *connection).await?;
        let Some(first) = first.filter(|first| *first <= self.position) else { return Ok(false) };
        let last = self.position.min(first + COMMITS_PER_STEP - 1);
        let mut transaction = connection.begin().await?;
        sqlx::query(
            "INSERT INTO outcomes (at, user, event, position) SELECT at, user, event, position
             FROM log WHERE position <= ? AND event IS NOT NULL ORDER BY position",
        )
        .bind(last)
        .execute(&mut *transaction)
        .await?;
        sqlx::query("DELETE FROM log WHERE position <= ?")
            .bind(last)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn forget(&self, connection: &mut SqliteConnection) -> sqlx::Result<bool> {
        // In the order of writing, which is nearly that of time: no index to maintain with every commit.
        let mut transaction = connection.begin().await?;
        // Names of native clients' transactions are numbers, and how far they went stays known.
        sqlx::query(
            "INSERT INTO floors SELECT user, MAX(CAST(event AS INTEGER)) FROM outcomes
             WHERE at < ? AND user LIKE 'client:%' AND number IN
             (SELECT number FROM outcomes ORDER BY number LIMIT ?) GROUP BY user
             ON CONFLICT (client) DO UPDATE SET number = MAX(number, excluded.number)",
        )
        .bind(self.outcomes_since)
        .bind(OUTCOMES_PER_STEP)
        .execute(&mut *transaction)
        .await?;
        let done = sqlx::query(
            "DELETE FROM outcomes WHERE at < ? AND number IN
             (SELECT number FROM outcomes ORDER BY number LIMIT ?)",
        )
        .bind(self.outcomes_since)
        .bind(OUTCOMES_PER_STEP)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}
