//! From one native client's send to another's decoded frame, beside a relay of the same bytes.

use std::time::Instant;

use serde_json::json;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::bare_sqlite::BareLog;
use crate::child::Serving;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::native::{Encoding, Native, transact};
use crate::programs::Programs;
use crate::roundtrip::bare_batch;
use crate::socket::{Socket, in_time};

const BATCHES: usize = 40;
const ROUNDS_PER_BATCH: usize = 100;
const WARM_UP_BATCHES: usize = 4;

/// What the server may add to the relay's median, without and with a commit, in microseconds.
const MARGIN_MICROS: f64 = 25.0;
const DURABLE_MARGIN_MICROS: f64 = 75.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let relay = programs.relay()?;
    let (memory, durable) = (programs.memory_server()?, programs.server()?);
    let mut bare = BareLog::create(&programs.directory()?).await?;
    let mut relayed = Relayed::connect(&relay).await?;
    let mut in_memory = Pair::connect(&memory).await?;
    let mut logged = Pair::connect(&durable).await?;
    let mut times: [Samples; 4] = Default::default();
    for batch in 0..WARM_UP_BATCHES + BATCHES {
        let round = [
            in_time("a batch through the relay", relayed.batch()).await?,
            in_time("a batch through the server", in_memory.batch()).await?,
            in_time("a durable batch", logged.batch()).await?,
            in_time("a batch of bare commits", bare_batch(&mut bare)).await?,
        ];
        if batch >= WARM_UP_BATCHES {
            times.iter_mut().zip(round).for_each(|(all, of_batch)| all.extend(of_batch));
        }
    }
    drop((in_memory, logged));
    memory.stop()?;
    durable.stop()?;
    let [relay, in_memory, durable, commit] = times;
    let both = Samples::one(relay.p50() + commit.p50());
    Ok(vec![
        Figure::new(BENCH, "native round trip A → B, log in memory", Unit::Micros, in_memory)
            .beside("bare tokio-tungstenite relay, same processes", relay)
            .target(Target::AtMostAboveLimit(MARGIN_MICROS)),
        Figure::new(BENCH, "native round trip A → B, durable", Unit::Micros, durable)
            .beside("the relay and one commit of bare SQLite", both)
            .target(Target::AtMostAboveLimit(DURABLE_MARGIN_MICROS)),
    ])
}

struct Relayed {
    a: Socket,
    b: Socket,
    entity: Uuid,
    count: u64,
}

impl Relayed {
    async fn connect(relay: &Serving) -> Result<Self, BenchError> {
        const PEER: &str = "the relay";
        let a = Socket::connect(PEER, relay.address(), "/").await?;
        let b = Socket::connect(PEER, relay.address(), "/").await?;
        Ok(Self { a, b, entity: Uuid::from_u128(1), count: 0 })
    }

    async fn batch(&mut self) -> Result<Samples, BenchError> {
        let mut times = Samples::default();
        for _ in 0..ROUNDS_PER_BATCH {
            self.count += 1;
            let title = format!("title {:07}", self.count);
            let text = transact(self.count, self.entity, self.entity, &title);
            let start = Instant::now();
            self.a.send(text).await?;
            self.b.until("the relayed frame", &title).await?;
            times.push_micros(start.elapsed());
        }
        Ok(times)
    }
}

/// A client that writes a todo and a client that watches it.
struct Pair {
    a: Native,
    b: Native,
    todo: Uuid,
    title: Uuid,
    seq: u64,
}

impl Pair {
    async fn connect(server: &Serving) -> Result<Self, BenchError> {
        let mut filled = Filled::new(server.address(), 1).await?;
        let open =
            |client| Native::open(server.address(), filled.app, client, Encoding::Binary, None);
        let (a, _) = open(Uuid::from_u128(1)).await?;
        let (mut b, _) = open(Uuid::from_u128(2)).await?;
        b.subscribe(0, &json!({"todos": {"$": {"where": {"done": false}}}})).await?;
        in_time("the first result", b.frame()).await?;
        let (todo, title) = (filled.rows[0], filled.todos.title());
        let _ = filled.ids.next_uuid();
        Ok(Self { a, b, todo, title, seq: 0 })
    }

    async fn batch(&mut self) -> Result<Samples, BenchError> {
        let mut times = Samples::default();
        for _ in 0..ROUNDS_PER_BATCH {
            self.seq += 1;
            let text = transact(self.seq, self.todo, self.title, &format!("title {:07}", self.seq));
            let start = Instant::now();
            self.a.send(text).await?;
            self.b.frame().await?;
            times.push_micros(start.elapsed());
            self.a.frame().await?;
        }
        Ok(times)
    }
}
