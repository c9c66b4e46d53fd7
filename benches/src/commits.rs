//! Durable commits per second: writers that await each acknowledgement before they write again.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use crate::bare_sqlite::{BareLog, ROWS_MAX};
use crate::child::cpu_time;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::programs::Programs;
use crate::session::{Session, make_app};
use crate::socket::in_time;
use crate::todos::{Ids, Todos};

const BENCH: &str = "commits";
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);
const WRITERS: usize = 64;

/// The share of the limit to be reached with many writers.
const SHARE: f64 = 0.5;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    const LIMIT: &str = "bare SQLite through sqlx, one statement for whatever waits";
    let server = programs.server()?;
    let mut bare = BareLog::create(&programs.directory()?).await?;
    let mut figures = Vec::new();
    for count in [1, WRITERS] {
        let mut writers = connect(server.address(), count).await?;
        let mut rates: [Samples; 2] = Default::default();
        let mut latencies: [Samples; 2] = Default::default();
        let mut processor: [Samples; 2] = Default::default();
        // The first round of each is warm-up.
        for round in 0..=ROUNDS {
            let (server_before, own_before) = (server.cpu_time()?, cpu_time("self")?);
            let served = through_server(&mut writers).await?;
            let used = [server.cpu_time()? - server_before, cpu_time("self")? - own_before];
            let (log, grouped) = through_bare_log(bare, count).await?;
            bare = log;
            if round > 0 {
                for (samples, time) in processor.iter_mut().zip(used) {
                    samples.push(time.as_secs_f64() * 1e6 / served.latencies.len() as f64);
                }
                for (at, done) in [served, grouped].into_iter().enumerate() {
                    rates[at].push(done.commits_per_second);
                    latencies[at].extend(done.latencies);
                }
            }
        }
        let [rate, rate_limit] = rates;
        let [latency, latency_limit] = latencies;
        let name = if count == 1 { "1 writer".to_owned() } else { format!("{count} writers") };
        let figure =
            Figure::new(BENCH, format!("durable commits, {name}"), Unit::CommitsPerSecond, rate);
        let figure = figure.beside(LIMIT, rate_limit);
        let target = (count == WRITERS).then_some(Target::ShareOfLimit(SHARE));
        figures.push(Figure { target, ..figure });
        let figure = Figure::new(BENCH, format!("commit latency, {name}"), Unit::Micros, latency);
        figures.push(figure.beside(LIMIT, latency_limit));
        let [of_server, of_clients] = processor;
        let figure =
            Figure::new(BENCH, format!("server CPU per commit, {name}"), Unit::Micros, of_server);
        figures.push(figure.beside("CPU per commit of the clients, which compete", of_clients));
    }
    server.stop()?;
    Ok(figures)
}

/// What a round of writing came to.
#[derive(Debug)]
struct Done {
    commits_per_second: f64,
    latencies: Samples,
}

impl Done {
    fn new(latencies: Samples, elapsed: Duration) -> Self {
        Self { commits_per_second: latencies.len() as f64 / elapsed.as_secs_f64(), latencies }
    }
}

/// A client with a todo of its own.
#[derive(Debug)]
struct Writer {
    session: Session,
    todos: Todos,
    todo: Uuid,
    ids: Ids,
    count: u64,
}

impl Writer {
    async fn write_until(&mut self, end: Instant) -> Result<Samples, BenchError> {
        let mut latencies = Samples::default();
        let mut start = Instant::now();
        while start < end {
            self.count += 1;
            let title = format!("title {:07}", self.count);
            let text = self.todos.retitle(self.todo, &title, self.ids.next_uuid());
            self.session.commit(text).await?;
            let now = Instant::now();
            latencies.push_micros(now - start);
            start = now;
        }
        Ok(latencies)
    }
}

async fn connect(address: &str, count: usize) -> Result<Vec<Writer>, BenchError> {
    let app = make_app(address).await?;
    let mut ids = Ids::new(1);
    let todos = Todos::new(&mut ids);
    let mut writers = Vec::new();
    for seed in 0..count {
        let mut session = Session::open(address, app).await?;
        if seed == 0 {
            session.make_attrs(&todos, &mut ids).await?;
        }
        let todo = session.create(&todos, &mut ids).await?;
        let ids = Ids::new(1_000 + seed as u64);
        writers.push(Writer { session, todos: todos.clone(), todo, ids, count: 0 });
    }
    Ok(writers)
}

async fn through_server(writers: &mut Vec<Writer>) -> Result<Done, BenchError> {
    let start = Instant::now();
    let end = start + ROUND;
    let mut tasks = JoinSet::new();
    for mut writer in writers.drain(..) {
        tasks.spawn(async move {
            let latencies = in_time("transact-ok", writer.write_until(end)).await;
            latencies.map(|latencies| (writer, latencies))
        });
    }
    let mut all = Samples::default();
    while let Some(ended) = tasks.join_next().await {
        let (writer, latencies) = ended??;
        writers.push(writer);
        all.extend(latencies);
    }
    Ok(Done::new(all, start.elapsed()))
}

/// A bare writer's wish to have one row written, and where to say that it is.
type Wish = oneshot::Sender<()>;

/// The same number of writers with nothing between them and the log: a task groups what waits.
async fn through_bare_log(mut log: BareLog, count: usize) -> Result<(BareLog, Done), BenchError> {
    let start = Instant::now();
    let end = start + ROUND;
    let (wishes, inbox) = mpsc::channel::<Wish>(ROWS_MAX);
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        let wishes = wishes.clone();
        tasks.spawn(async move { wish_until(end, &wishes).await });
    }
    drop(wishes);
    group(&mut log, inbox).await?;
    let mut all = Samples::default();
    while let Some(latencies) = tasks.join_next().await {
        all.extend(latencies?);
    }
    Ok((log, Done::new(all, start.elapsed())))
}

async fn wish_until(end: Instant, wishes: &mpsc::Sender<Wish>) -> Samples {
    let mut latencies = Samples::default();
    let mut start = Instant::now();
    while start < end {
        let (wish, granted) = oneshot::channel();
        if wishes.send(wish).await.is_err() || granted.await.is_err() {
            // The log failed, and its error is what is reported.
            break;
        }
        let now = Instant::now();
        latencies.push_micros(now - start);
        start = now;
    }
    latencies
}

async fn group(log: &mut BareLog, mut inbox: mpsc::Receiver<Wish>) -> Result<(), BenchError> {
    let mut waiting = Vec::with_capacity(ROWS_MAX);
    while inbox.recv_many(&mut waiting, ROWS_MAX).await > 0 {
        log.append(waiting.len()).await?;
        for wish in waiting.drain(..) {
            // A writer that is gone needs no answer.
            _ = wish.send(());
        }
    }
    Ok(())
}
