//! The client without a disk: from a write to whoever watches, and queueing while offline.

use std::time::Instant;

use serde_json::json;
use tricedb::{Client, Config, EntityId, query, tx};
use tricedb_core::id::IdSource as _;

use super::BENCH;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::Programs;
use crate::socket::unexpected;
use crate::todos::Ids;

/// Rows of the live query.
const ROWS: usize = 100;
const UPDATES: usize = 5_000;
const QUEUED: usize = 10_000;
const QUEUED_MANY: usize = 100_000;
const ROUNDS: usize = 3;

/// The targets.
const NOTIFIED_MICROS: f64 = 20.0;
const QUEUED_MILLIS: f64 = 500.0;
/// How much of its speed a queue ten times as long must keep.
const LINEAR: f64 = 0.8;

/// Any app: nothing connects.
const APP: &str = "8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11";

/// Measures both.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let notified =
        Figure::new(BENCH, "local write to notified subscriber", Unit::Micros, notified().await?)
            .target(Target::AtMost(NOTIFIED_MICROS));
    let (mut times, mut few, mut many) =
        (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..ROUNDS {
        let seconds = queue(programs, QUEUED).await?;
        times.push(seconds * 1e3);
        few.push(QUEUED as f64 / seconds);
        many.push(QUEUED_MANY as f64 / queue(programs, QUEUED_MANY).await?);
    }
    let name = "10,000 writes queued offline and stored";
    let queued =
        Figure::new(BENCH, name, Unit::Millis, times).target(Target::AtMost(QUEUED_MILLIS));
    let linear = Figure::new(BENCH, "100,000 writes queued offline", Unit::PerSecond, many)
        .beside("10,000 of them", few)
        .target(Target::ShareOfLimit(LINEAR));
    Ok(vec![notified, queued, linear])
}

/// A client that nothing connects, with its own file or none.
///
/// # Errors
/// [`BenchError`].
pub(super) async fn client(path: Option<std::path::PathBuf>) -> Result<Client, BenchError> {
    let mut config = Config::default();
    config.sync_enabled = false;
    config.pending_max = 2 * QUEUED_MANY;
    config.path = path;
    Client::builder(APP).config(config).open().await.map_err(client_failed)
}

/// For `map_err`.
pub(super) fn client_failed(error: impl std::error::Error) -> BenchError {
    unexpected("a working client", &error.to_string())
}

/// What a new todo holds.
pub(super) fn todo(number: usize) -> serde_json::Value {
    json!({
        "title": format!("title {number:07}"), "done": false, "createdAt": 1_795_408_071_705_i64,
        "priority": 3, "owner": "somebody@example.com",
    })
}

/// Microseconds from the call of `transact` until the subscriber has the new result in hand.
async fn notified() -> Result<Samples, BenchError> {
    let mut ids = Ids::new(5);
    let db = client(None).await?;
    let rows: Vec<EntityId> = (0..ROWS).map(|_| EntityId(ids.next_uuid())).collect();
    let all = rows.iter().enumerate().map(|(number, row)| tx("todos", *row).create(todo(number)));
    let created = db.transact(all.collect::<Vec<_>>()).map_err(client_failed)?;
    created.local().await.map_err(client_failed)?;
    let mut shown = db.subscribe(query("todos")).map_err(client_failed)?;
    let closed = || unexpected("a result", "the end of the subscription");
    shown.wait_for(|result| result.rows("todos").len() == ROWS).await.map_err(client_failed)?;
    let mut times = Samples::default();
    for number in 0..UPDATES {
        let row = rows[(ids.next_u64() % ROWS as u64) as usize];
        let update = tx("todos", row).update(json!({ "title": format!("update {number}") }));
        let start = Instant::now();
        db.transact(update).map_err(client_failed)?;
        let result = shown.next().await.ok_or_else(closed)?.map_err(client_failed)?;
        times.push_micros(start.elapsed());
        if result.rows("todos").len() != ROWS {
            return Err(unexpected("all rows", &result.data().to_string()));
        }
    }
    db.close().await.map_err(client_failed)?;
    Ok(times)
}

/// Seconds until this many creates, one transaction each, are queued, shown and on disk.
async fn queue(programs: &Programs, count: usize) -> Result<f64, BenchError> {
    let db = client(Some(programs.directory()?.join("queue.db"))).await?;
    let mut shown = db.subscribe(query("todos")).map_err(client_failed)?;
    let start = Instant::now();
    let mut last = None;
    for number in 0..count {
        let write = tx("todos", db.id()).create(todo(number));
        last = Some(db.transact(write).map_err(client_failed)?);
    }
    if let Some(receipt) = last {
        receipt.local().await.map_err(client_failed)?;
    }
    let all = shown.wait_for(|result| result.rows("todos").len() == count).await;
    let seconds = start.elapsed().as_secs_f64();
    all.map_err(client_failed)?;
    db.close().await.map_err(client_failed)?;
    Ok(seconds)
}
