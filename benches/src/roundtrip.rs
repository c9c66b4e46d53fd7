//! From one client's send to another client's receipt, through the server and through a bare relay.
//!
//! Both clients live on one thread of this process, the server or relay in a process of its own. The paths
//! take turns batch by batch, so that whatever else the machine does falls on all of them.

use std::time::Instant;

use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use crate::bare_sqlite::BareLog;
use crate::child::Serving;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::Programs;
use crate::session::{Session, make_app};
use crate::socket::{Socket, in_time};
use crate::todos::{Ids, Todos};

const BENCH: &str = "roundtrip";
const BATCHES: usize = 60;
const ROUNDS_PER_BATCH: usize = 100;
const WARM_UP_BATCHES: usize = 5;

/// What the server may add to the relay's median, in microseconds.
const MARGIN_MICROS: f64 = 30.0;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let relay = programs.relay()?;
    let memory = programs.memory_server()?;
    let durable = programs.server()?;
    // First, for it takes a while, and a server gives sessions up that do not answer its pings.
    let mut bare = BareLog::create(&programs.directory()?).await?;
    let mut relayed = Relayed::connect(&relay).await?;
    let mut in_memory = Served::connect(&memory, 1).await?;
    let mut logged = Served::connect(&durable, 2).await?;
    let mut times: [Samples; 4] = Default::default();
    for batch in 0..WARM_UP_BATCHES + BATCHES {
        let round = [
            in_time("a batch through the relay", relayed.batch()).await?,
            in_time("a batch through the server", in_memory.batch()).await?,
            in_time("a durable batch", logged.batch()).await?,
            in_time("a batch of bare commits", bare_batch(&mut bare)).await?,
        ];
        if batch >= WARM_UP_BATCHES {
            for (all, of_batch) in times.iter_mut().zip(round) {
                all.extend(of_batch);
            }
        }
    }
    drop((in_memory, logged));
    for server in [memory, durable] {
        server.stop()?;
    }
    let [relay, in_memory, durable, flush] = times;
    Ok(vec![
        Figure::new(BENCH, "round trip A → B, log in memory", Unit::Micros, in_memory)
            .beside("bare tokio-tungstenite relay, same processes", relay)
            .target(Target::AtMostAboveLimit(MARGIN_MICROS)),
        Figure::new(BENCH, "round trip A → B, durable", Unit::Micros, durable)
            .beside("one commit of bare SQLite: a flush", flush),
    ])
}

/// Two clients of the relay.
#[derive(Debug)]
struct Relayed {
    a: Socket,
    b: Socket,
    ids: Ids,
    todos: Todos,
    todo: Uuid,
    count: u64,
}

impl Relayed {
    async fn connect(relay: &Serving) -> Result<Self, BenchError> {
        const PEER: &str = "the relay";
        let a = Socket::connect(PEER, relay.address(), "/").await?;
        let b = Socket::connect(PEER, relay.address(), "/").await?;
        let mut ids = Ids::new(0);
        let todos = Todos::new(&mut ids);
        let todo = ids.next_uuid();
        Ok(Self { a, b, ids, todos, todo, count: 0 })
    }

    async fn batch(&mut self) -> Result<Samples, BenchError> {
        let mut times = Samples::default();
        for _ in 0..ROUNDS_PER_BATCH {
            self.count += 1;
            let title = title(self.count);
            let text = self.todos.retitle(self.todo, &title, self.ids.next_uuid());
            let start = Instant::now();
            self.a.send(text).await?;
            self.b.until("the relayed frame", &title).await?;
            times.push_micros(start.elapsed());
        }
        Ok(times)
    }
}

/// A client that writes a todo and a client that watches it.
#[derive(Debug)]
struct Served {
    a: Session,
    b: Session,
    ids: Ids,
    todos: Todos,
    todo: Uuid,
    count: u64,
}

impl Served {
    async fn connect(server: &Serving, seed: u64) -> Result<Self, BenchError> {
        let app = make_app(server.address()).await?;
        let mut ids = Ids::new(seed);
        let todos = Todos::new(&mut ids);
        let mut a = Session::open(server.address(), app).await?;
        a.make_attrs(&todos, &mut ids).await?;
        let todo = a.create(&todos, &mut ids).await?;
        let mut b = Session::open(server.address(), app).await?;
        b.subscribe(r#"{"todos":{"$":{"where":{"done":false}}}}"#).await?;
        Ok(Self { a, b, ids, todos, todo, count: 0 })
    }

    async fn batch(&mut self) -> Result<Samples, BenchError> {
        let mut times = Samples::default();
        for _ in 0..ROUNDS_PER_BATCH {
            self.count += 1;
            let title = title(self.count);
            let text = self.todos.retitle(self.todo, &title, self.ids.next_uuid());
            let start = Instant::now();
            self.a.send(text).await?;
            self.b.seen(&title).await?;
            times.push_micros(start.elapsed());
            self.a.acknowledged().await?;
        }
        Ok(times)
    }
}

/// Single commits of bare SQLite: each is one flush.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn bare_batch(bare: &mut BareLog) -> Result<Samples, BenchError> {
    let mut times = Samples::default();
    for _ in 0..ROUNDS_PER_BATCH {
        let start = Instant::now();
        bare.append(1).await?;
        times.push_micros(start.elapsed());
    }
    Ok(times)
}

/// A title that no other round has, of constant length.
fn title(count: u64) -> String {
    format!("title {:07}", count)
}
