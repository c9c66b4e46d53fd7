//! The client on a disk: creates that are each waited for, and such that are not.

use std::path::Path;
use std::time::Instant;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use tricedb::{Client, tx};
use tricedb_core::id::IdSource as _;

use super::BENCH;
use super::local::{client, client_failed, todo};
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::Programs;
use crate::todos::Ids;

/// Creates of all rounds together.
const CREATES: usize = 10_000;
const ROUNDS: usize = 20;
const BULK_ROUNDS: usize = 7;

/// The targets.
const SHARE: f64 = 0.8;
const BULK_PER_SECOND: f64 = 50_000.0;

const BARE: &str = "bare SQLite through sqlx: a row and a flush for each, overwriting its log";

/// Measures both.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let db = client(Some(programs.directory()?.join("client.db"))).await?;
    let mut bare = BareRows::create(&programs.directory()?).await?;
    let count = CREATES / ROUNDS;
    let (mut rates, mut limits) = (Samples::default(), Samples::default());
    let (mut times, mut bare_times) = (Samples::default(), Samples::default());
    for round in 0..ROUNDS {
        // Whoever comes second finds the disk busier: turns are taken.
        for own in [round % 2 == 0, round % 2 != 0] {
            if own {
                rates.push(creates(&db, count, &mut times).await?);
            } else {
                limits.push(bare.writes(count, &mut bare_times).await?);
            }
        }
    }
    db.close().await.map_err(client_failed)?;
    let mut bulk = Samples::default();
    for _ in 0..BULK_ROUNDS {
        let db = client(Some(programs.directory()?.join("client.db"))).await?;
        bulk.push(creates_at_once(&db).await?);
        db.close().await.map_err(client_failed)?;
    }
    let rate = |name, samples| Figure::new(BENCH, name, Unit::PerSecond, samples);
    Ok(vec![
        rate("durable creates, each waited for", rates)
            .beside(BARE, limits)
            .target(Target::ShareOfLimit(SHARE)),
        Figure::new(BENCH, "durable create, latency", Unit::Micros, times).beside(BARE, bare_times),
        rate("durable creates, 10,000 at once", bulk).target(Target::AtLeast(BULK_PER_SECOND)),
    ])
}

/// Creates per second, each waited for until it is on disk.
async fn creates(db: &Client, count: usize, times: &mut Samples) -> Result<f64, BenchError> {
    let begin = Instant::now();
    for number in 0..count {
        let start = Instant::now();
        let write = tx("todos", db.id()).create(todo(number));
        let receipt = db.transact(write).map_err(client_failed)?;
        receipt.local().await.map_err(client_failed)?;
        times.push_micros(start.elapsed());
    }
    Ok(count as f64 / begin.elapsed().as_secs_f64())
}

/// Creates per second, waiting for all of them together.
async fn creates_at_once(db: &Client) -> Result<f64, BenchError> {
    let begin = Instant::now();
    let mut receipts = Vec::with_capacity(CREATES);
    for number in 0..CREATES {
        let write = tx("todos", db.id()).create(todo(number));
        receipts.push(db.transact(write).map_err(client_failed)?);
    }
    for receipt in &receipts {
        receipt.local().await.map_err(client_failed)?;
    }
    Ok(CREATES as f64 / begin.elapsed().as_secs_f64())
}

/// Bare rows of a queue.
struct BareRows {
    connection: SqliteConnection,
    ids: Ids,
    seq: i64,
}

const TABLE: &str = "
    CREATE TABLE outbox (
        seq INTEGER PRIMARY KEY,
        event TEXT NOT NULL,
        operations TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT;
";

/// Fills the write-ahead log once, so that commits overwrite it, which takes half the time.
const LAY_OUT: &str = "
    CREATE TABLE filler (body BLOB);
    INSERT INTO filler VALUES (zeroblob(16000000));
    DROP TABLE filler;
    PRAGMA wal_checkpoint(RESTART);
";

impl BareRows {
    async fn create(folder: &Path) -> Result<Self, BenchError> {
        let mut connection = SqliteConnectOptions::new()
            .filename(folder.join("bare.sqlite"))
            .create_if_missing(true)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        for sql in [TABLE, LAY_OUT] {
            sqlx::raw_sql(sql).execute(&mut connection).await?;
        }
        Ok(Self { connection, ids: Ids::new(3), seq: 0 })
    }

    /// Rows per second, each on disk before the next.
    async fn writes(&mut self, count: usize, times: &mut Samples) -> Result<f64, BenchError> {
        let begin = Instant::now();
        for number in 0..count {
            let start = Instant::now();
            self.seq += 1;
            let operations =
                format!(r#"[["create","todos","{}",{}]]"#, self.ids.next_uuid(), todo(number));
            sqlx::query("INSERT INTO outbox VALUES (?, ?, ?, ?, ?, ?)")
                .bind(self.seq)
                .bind(self.ids.next_uuid().to_string())
                .bind(operations)
                .bind(1_795_408_071_705_i64)
                .bind(0_i64)
                .bind(r#"{"state":"queued"}"#)
                .execute(&mut self.connection)
                .await?;
            times.push_micros(start.elapsed());
        }
        Ok(count as f64 / begin.elapsed().as_secs_f64())
    }
}
