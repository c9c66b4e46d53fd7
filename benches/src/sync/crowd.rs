//! Ten thousand connections that do nothing.

use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::memory::{allow_many_descriptors, settled};
use crate::native::{Encoding, Native};
use crate::programs::Programs;

const CONNECTIONS: usize = 10_000;
const TARGET_KB: f64 = 16.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    if !allow_many_descriptors(CONNECTIONS as u64 + 500)? {
        println!("skipped: this process may not open {CONNECTIONS} connections");
        return Ok(Vec::new());
    }
    let server = programs.server()?;
    let filled = Filled::new(server.address(), 1).await?;
    let before = settled(&server).await?;
    let mut sessions = Vec::with_capacity(CONNECTIONS);
    for n in 0..CONNECTIONS {
        let client = Uuid::from_u128(n as u128 + 1);
        let opening = Native::open(server.address(), filled.app, client, Encoding::Binary, None);
        sessions.push(opening.await?.0);
    }
    let after = server.resident_bytes()?;
    drop(sessions);
    server.stop()?;
    let each = (after as f64 - before as f64) / CONNECTIONS as f64 / 1e3;
    Ok(vec![
        Figure::new(
            BENCH,
            "per idle native session, of 10,000",
            Unit::Kilobytes,
            Samples::one(each),
        )
        .target(Target::AtMost(TARGET_KB)),
    ])
}
