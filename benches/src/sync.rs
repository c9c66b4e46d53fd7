//! Native sessions beside their limits, and the same for official clients where it can be compared.
//!
//! Server, relay and broadcaster run in processes of their own, the clients on one thread of this one.

mod crowd;
mod data;
mod fanout;
mod hydration;
mod pipelined;
mod reconnect;
mod round_trip;

use crate::error::BenchError;
use crate::figure::Figure;
use crate::programs::Programs;

const BENCH: &str = "sync";

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let mut figures = round_trip::run(programs).await?;
    figures.extend(pipelined::run(programs).await?);
    figures.extend(fanout::run(programs).await?);
    figures.extend(hydration::run(programs).await?);
    figures.extend(reconnect::run(programs).await?);
    figures.extend(crowd::run(programs).await?);
    Ok(figures)
}
