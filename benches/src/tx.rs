//! Writing: the engine, the server's state without a disk, and the client with and without one.
//!
//! Everything runs on one thread of this process, beside bare SQLite where a disk is waited for.

mod durable;
mod local;
mod prepare;

use crate::error::BenchError;
use crate::figure::Figure;
use crate::programs::Programs;

const BENCH: &str = "tx";

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let mut figures = prepare::run()?;
    figures.extend(local::run(programs).await?);
    figures.extend(durable::run(programs).await?);
    Ok(figures)
}
