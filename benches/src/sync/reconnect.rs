//! A client with a hundred subscriptions comes back and nothing has changed.

use std::time::Instant;

use serde_json::json;
use tricedb_core::query::parse;
use tricedb_protocol::native::{FactDigest, attrs_digest, set_digest};
use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::native::{Encoding, Native, Returning};
use crate::programs::Programs;
use crate::socket::{in_time, unexpected};

const SUBSCRIPTIONS: u32 = 100;
const ROUNDS: usize = 20;
const TARGET_BYTES: f64 = 1_000.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let server = programs.server()?;
    let filled = Filled::new(server.address(), SUBSCRIPTIONS as usize).await?;
    let client = Uuid::from_u128(1);
    let open =
        |returning| Native::open(server.address(), filled.app, client, Encoding::Binary, returning);
    let (mut session, init) = open(None).await?;
    let mut queries = Vec::new();
    for sub in 0..SUBSCRIPTIONS {
        let q = json!({"todos": {"$": {"where": {"title": format!("todo number {sub}")}}}});
        session.subscribe(sub, &q).await?;
        queries.push((sub, parse(&q)?.canonical()));
    }
    let mut digest = FactDigest::default();
    let mut answered = 0;
    while answered < SUBSCRIPTIONS {
        let (frame, _) = in_time("the results", session.frame()).await?;
        for part in frame.parts {
            answered += 1;
            let facts = part.body.put.iter().collect::<FactDigest>().digest();
            digest = digest.with(part.sub.0, facts);
        }
    }
    let returning = Returning {
        epoch: session.agreed.epoch,
        position: session.position,
        set: set_digest(queries.iter().map(|(sub, q)| (*sub, &**q))),
        digest: digest.digest(),
        attrs: attrs_digest(&init.attrs),
    };
    drop(session);
    let (mut bytes, mut micros) = (Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let start = Instant::now();
        let (session, _) = open_again(&open, returning).await?;
        if round > 0 {
            micros.push_micros(start.elapsed());
            bytes.push(session.received as f64);
        }
    }
    server.stop()?;
    Ok(vec![
        Figure::new(BENCH, "back with 100 subscriptions, nothing changed", Unit::Micros, micros),
        Figure::new(BENCH, "bytes for that, after the upgrade", Unit::Bytes, bytes)
            .target(Target::AtMost(TARGET_BYTES)),
    ])
}

/// Opens the session again until the server has noticed the end of the one before.
async fn open_again<F, T>(open: &F, returning: Returning) -> Result<(Native, T), BenchError>
where
    F: AsyncFn(Option<Returning>) -> Result<(Native, T), BenchError>,
{
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let opened = open(Some(returning)).await?;
        if opened.0.agreed.resumed {
            return Ok(opened);
        }
    }
    Err(unexpected("a resumed session", "new ones only"))
}
