//! One row changes: how long until the last of a thousand subscribers has it, and what it costs.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::child::Serving;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::memory::allow_descriptors;
use crate::native::{Encoding, Native};
use crate::programs::Programs;
use crate::session::Session;
use crate::socket::{Socket, in_time};

const SUBSCRIBERS: usize = 1_000;
const ROUNDS: usize = 20;
const WARM_UP: usize = 3;
const BARE_BYTES: usize = 250;
const LARGE: usize = 1_000;
const SMALL: usize = 10;

/// Times the limit that the last subscriber and the server's CPU may take, and bytes for each.
const SHARE: f64 = 1.5;
const BINARY_BYTES: f64 = 200.0;
const JSON_BYTES: f64 = 350.0;

/// What rounds came to.
#[derive(Default)]
struct Told {
    last_ms: Samples,
    cpu_us: Samples,
    bytes: Samples,
}

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    allow_descriptors()?;
    let bare = broadcast(programs).await?;
    let large = native(programs, LARGE, Encoding::Binary).await?;
    let small = native(programs, SMALL, Encoding::Binary).await?;
    let text = native(programs, LARGE, Encoding::Json).await?;
    let plain = official(programs, SMALL).await?;
    let figure = |name: &str, unit, samples| Figure::new(BENCH, name.to_owned(), unit, samples);
    const BARE: &str = "bare broadcast of 250 bytes";
    let last = |name, told: &Told| {
        figure(name, Unit::Millis, told.last_ms.clone()).beside(BARE, bare.last_ms.clone())
    };
    Ok(vec![
        last("last of 1,000 native subscribers, 1,000-row result", &large)
            .target(Target::AtMostTimesLimit(SHARE)),
        figure("server CPU per subscriber, 1,000-row result", Unit::Micros, large.cpu_us)
            .beside(BARE, bare.cpu_us)
            .target(Target::AtMostTimesLimit(SHARE)),
        figure("bytes per subscriber, binary", Unit::Bytes, large.bytes)
            .target(Target::AtMost(BINARY_BYTES)),
        last("last of 1,000 native subscribers, 10-row result", &small),
        last("last of 1,000 native subscribers, JSON, 1,000-row result", &text),
        figure("bytes per subscriber, JSON", Unit::Bytes, text.bytes)
            .target(Target::AtMost(JSON_BYTES)),
        last("last of 1,000 official subscribers, 10-row result", &plain),
        figure("bytes per official subscriber, 10-row result", Unit::Bytes, plain.bytes),
    ])
}

async fn broadcast(programs: &Programs) -> Result<Told, BenchError> {
    const PEER: &str = "the broadcaster";
    let server = programs.broadcaster()?;
    let mut speaker = Socket::connect(PEER, server.address(), "/").await?;
    let mut audience = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        audience.push(Socket::connect(PEER, server.address(), "/").await?);
    }
    let mut told = Told::default();
    for round in 0..WARM_UP + ROUNDS {
        let cpu = server.cpu_time()?;
        let start = Instant::now();
        speaker.send("x".repeat(BARE_BYTES)).await?;
        let mut waiting: FuturesUnordered<_> =
            audience.iter_mut().map(|socket| socket.until("the broadcast", "x")).collect();
        let all = async {
            while let Some(got) = waiting.next().await {
                got?;
            }
            Ok(())
        };
        in_time("the broadcast", all).await?;
        told.take(round, start.elapsed(), server.cpu_time()? - cpu, BARE_BYTES);
    }
    server.stop()?;
    Ok(told)
}

impl Told {
    fn take(&mut self, round: usize, took: Duration, cpu: Duration, bytes: usize) {
        if round >= WARM_UP {
            self.last_ms.push(took.as_secs_f64() * 1e3);
            self.cpu_us.push(cpu.as_secs_f64() * 1e6 / SUBSCRIBERS as f64);
            self.bytes.push(bytes as f64);
        }
    }
}

async fn native(programs: &Programs, rows: usize, encoding: Encoding) -> Result<Told, BenchError> {
    let server = programs.memory_server()?;
    let filled = Filled::new(server.address(), rows).await?;
    let query = json!({"todos": {"$": {"where": {"done": false}}}});
    let mut audience = Vec::with_capacity(SUBSCRIBERS);
    for n in 0..SUBSCRIBERS {
        let client = Uuid::from_u128(n as u128 + 1);
        let opening = Native::open(server.address(), filled.app, client, encoding, None);
        let (mut session, _) = opening.await?;
        session.subscribe(0, &query).await?;
        in_time("the first result", session.raw_frame()).await?;
        audience.push(session);
    }
    let heard = async |session: &mut Native, _: &str| session.raw_frame().await;
    let told = change_rows(&server, filled, &mut audience, heard).await?;
    server.stop()?;
    Ok(told)
}

async fn official(programs: &Programs, rows: usize) -> Result<Told, BenchError> {
    let server = programs.memory_server()?;
    let filled = Filled::new(server.address(), rows).await?;
    let mut audience = Vec::with_capacity(SUBSCRIBERS);
    for _ in 0..SUBSCRIBERS {
        let mut session = Session::open(server.address(), filled.app).await?;
        session.subscribe(r#"{"todos":{"$":{"where":{"done":false}}}}"#).await?;
        audience.push(session);
    }
    let heard = async |session: &mut Session, title: &str| session.seen_bytes(title).await;
    let told = change_rows(&server, filled, &mut audience, heard).await?;
    server.stop()?;
    Ok(told)
}

/// Changes one row after the other; each time all of the audience is to hear of it.
async fn change_rows<S>(
    server: &Serving,
    mut filled: Filled,
    audience: &mut [S],
    heard: impl AsyncFn(&mut S, &str) -> Result<usize, BenchError>,
) -> Result<Told, BenchError> {
    let mut told = Told::default();
    for round in 0..WARM_UP + ROUNDS {
        let cpu = server.cpu_time()?;
        let start = Instant::now();
        let title = format!("changed {round:05}");
        let row = filled.rows[round % filled.rows.len()];
        let text = filled.todos.retitle(row, &title, filled.ids.next_uuid());
        filled.writer.send(text).await?;
        let mut waiting: FuturesUnordered<_> =
            audience.iter_mut().map(|session| heard(session, &title)).collect();
        let all = async {
            let mut bytes = 0;
            while let Some(got) = waiting.next().await {
                bytes = got?;
            }
            Ok(bytes)
        };
        let bytes = in_time("the change", all).await?;
        let took = start.elapsed();
        drop(waiting);
        filled.writer.acknowledged().await?;
        told.take(round, took, server.cpu_time()? - cpu, bytes);
    }
    Ok(told)
}
