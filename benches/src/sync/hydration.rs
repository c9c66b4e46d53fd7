//! A client takes 100,000 rows: until they can be queried, in how many bytes, and what others feel of it.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;
use tricedb_core::index::TripleIndex;
use tricedb_protocol::ServerMessage;
use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::child::Serving;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::native::{Encoding, Native, transact};
use crate::programs::Programs;
use crate::session::Session;
use crate::socket::{Socket, in_time};

const ROWS: usize = 100_000;
const ROUNDS: usize = 7;
const NATIVE_TARGET_MS: f64 = 250.0;
const PLAIN_TARGET_MS: f64 = 1_000.0;
const ROW_TARGET_BYTES: f64 = 45.0;
/// How much worse others' 99th percentile may become.
const NEIGHBOUR_SHARE: f64 = 3.0;
/// Round trips of the neighbour before, as the limit.
const CALM_ROUNDS: usize = 3_000;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let server = programs.memory_server()?;
    let filled = Filled::new(server.address(), ROWS).await?;
    let (mut native_ms, mut bytes, mut plain_ms) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 0..=ROUNDS {
        let (took, received) = hydrate(&server, &filled, round).await?;
        let plain = hydrate_plain(&server, &filled).await?;
        if round > 0 {
            native_ms.push(took);
            bytes.push(received as f64 / ROWS as f64);
            plain_ms.push(plain);
        }
    }
    let (calm, busy) = neighbour(&server, &filled).await?;
    server.stop()?;
    let figure = |name: &str, unit, samples| Figure::new(BENCH, name.to_owned(), unit, samples);
    Ok(vec![
        figure("100,000 rows hydrated and indexed, native", Unit::Millis, native_ms)
            .target(Target::AtMost(NATIVE_TARGET_MS)),
        figure("bytes per row, native", Unit::Bytes, bytes)
            .target(Target::AtMost(ROW_TARGET_BYTES)),
        figure("100,000 rows hydrated and indexed, plain", Unit::Millis, plain_ms)
            .target(Target::AtMost(PLAIN_TARGET_MS)),
        figure("p99 of a neighbour's round trip while rows are hydrated", Unit::Micros, busy)
            .beside("its usual p99", calm)
            .target(Target::AtMostTimesLimit(NEIGHBOUR_SHARE)),
    ])
}

/// Milliseconds until all rows are in an index, and bytes received.
async fn hydrate(
    server: &Serving,
    filled: &Filled,
    round: usize,
) -> Result<(f64, usize), BenchError> {
    let client = Uuid::from_u128(round as u128 + 1);
    let opening = Native::open(server.address(), filled.app, client, Encoding::Binary, None);
    let (mut session, init) = opening.await?;
    let before = session.received;
    let start = Instant::now();
    session.subscribe(0, &json!({"todos": {}})).await?;
    let mut index = TripleIndex::new();
    init.attrs.into_iter().for_each(|attr| index.put_attr(attr.into()));
    let frame = async {
        loop {
            let (frame, _) = session.frame().await?;
            if !frame.parts.is_empty() {
                return Ok(frame);
            }
        }
    };
    let frame = in_time("the rows", frame).await?;
    frame.parts.iter().flat_map(|part| &part.body.put).for_each(|fact| {
        index.insert(fact);
    });
    let took = start.elapsed().as_secs_f64() * 1e3;
    check(&index)?;
    Ok((took, session.received - before))
}

async fn hydrate_plain(server: &Serving, filled: &Filled) -> Result<f64, BenchError> {
    let path = format!("/runtime/session?app_id={}", filled.app);
    let mut socket = Socket::connect("the server", server.address(), &path).await?;
    let init = json!({"op": "init", "app-id": filled.app,
        "versions": {"@instantdb/core": "v1.0.67"}});
    socket.send(init.to_string()).await?;
    let text = in_time("init-ok", socket.until("init-ok", r#""op":"init-ok""#)).await?;
    let mut index = TripleIndex::new();
    if let Ok(ServerMessage::InitOk(init)) = ServerMessage::decode(&text) {
        init.attrs.into_iter().for_each(|attr| index.put_attr(attr.into()));
    }
    let start = Instant::now();
    socket.send(json!({"op": "add-query", "q": {"todos": {}}}).to_string()).await?;
    let text = in_time("the rows", socket.until("add-query-ok", "add-query-ok")).await?;
    if let Ok(ServerMessage::AddQueryOk(ok)) = ServerMessage::decode(&text) {
        ok.result.into_triples().iter().for_each(|fact| {
            index.insert(fact);
        });
    }
    let took = start.elapsed().as_secs_f64() * 1e3;
    check(&index)?;
    Ok(took)
}

fn check(index: &TripleIndex) -> Result<(), BenchError> {
    if index.entity_count() == ROWS {
        return Ok(());
    }
    let got = format!("{} rows", index.entity_count());
    Err(BenchError::Unexpected { wanted: "100,000 rows", got })
}

/// The 99th percentiles of a client's round trips through the server, in calm and while others hydrate all
/// rows one after the other.
async fn neighbour(server: &Serving, filled: &Filled) -> Result<(Samples, Samples), BenchError> {
    let open =
        |n| Native::open(server.address(), filled.app, Uuid::from_u128(n), Encoding::Binary, None);
    let ((mut a, _), (mut b, _)) = (open(10_001).await?, open(10_002).await?);
    let mut watched = Session::open(server.address(), filled.app).await?;
    // A row of its own: the others' results do not change with it.
    let note = Uuid::from_u128(77);
    let title = Uuid::from_u128(78);
    let steps = json!([["add-attr", {"id": title, "forward-identity": [Uuid::from_u128(79), "notes", "title"],
        "value-type": "blob", "cardinality": "one", "unique?": false, "index?": false}],
        ["add-attr", {"id": Uuid::from_u128(80), "forward-identity": [Uuid::from_u128(81), "notes", "id"],
        "value-type": "blob", "cardinality": "one", "unique?": true, "index?": false}],
        ["add-triple", note, Uuid::from_u128(80), note]]);
    let message = json!({"op": "transact", "tx-steps": steps, "client-event-id": "notes"});
    in_time("transact-ok", watched.commit(message.to_string())).await?;
    b.subscribe(0, &json!({"notes": {}})).await?;
    in_time("the note", until_part(&mut b)).await?;
    let mut seq = 0;
    let mut calm = Samples::default();
    for _ in 0..CALM_ROUNDS {
        calm.push(trip(&mut a, &mut b, note, title, &mut seq).await?);
    }
    let mut busy = Samples::default();
    let (address, app) = (server.address().to_owned(), filled.app);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for round in 0..ROUNDS as u128 {
            let client = Uuid::from_u128(20_000 + round);
            let (mut session, _) =
                Native::open(&address, app, client, Encoding::Binary, None).await?;
            session.subscribe(0, &json!({"todos": {}})).await?;
            // Not decoded: it is the server that is measured.
            while session.raw_frame().await? < ROWS {}
        }
        Ok::<(), BenchError>(())
    });
    while tasks.try_join_next().is_none() {
        busy.push(trip(&mut a, &mut b, note, title, &mut seq).await?);
    }
    let p99 = |samples: &Samples| Samples::one(samples.quantile(0.99));
    Ok((p99(&calm), p99(&busy)))
}

async fn trip(
    a: &mut Native,
    b: &mut Native,
    note: Uuid,
    title: Uuid,
    seq: &mut u64,
) -> Result<f64, BenchError> {
    *seq += 1;
    let start = Instant::now();
    a.send(transact(*seq, note, title, &format!("title {seq:07}"))).await?;
    in_time("the note", until_part(b)).await?;
    let took = start.elapsed().as_secs_f64() * 1e6;
    in_time("the acknowledgement", a.frame()).await?;
    Ok(took)
}

async fn until_part(session: &mut Native) -> Result<(), BenchError> {
    while session.frame().await?.0.parts.is_empty() {}
    Ok(())
}
