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
const ROUNDS: usize = 25;
const ROUND: Duration = Duration::from_millis(200);
const WRITERS: usize = 64;

/// The share of the limit to be reached with many writers.
const SHARE: f64 = 0.5;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let server = programs.server()?;
    let committer = programs.committer()?;
    let mut bare = BareLog::create(&programs.directory()?).await?;
    let mut figures = Vec::new();
    for count in [1, WRITERS] {
        let mut writers = connect(server.address(), count).await?;
        let mut bare_writers = connect_bare(committer.address(), count).await?;
        let (mut served, mut grouped, mut acknowledged) =
            (Series::default(), Series::default(), Series::default());
        let (mut server_cpu, mut client_cpu) = (Samples::default(), Samples::default());
        // The first round of each is warm-up.
        for round in 0..=ROUNDS {
            let (server_before, own_before) = (server.cpu_time()?, cpu_time("self")?);
            let through_server = write_at_once(&mut writers).await?;
            let (server_used, own_used) =
                (server.cpu_time()? - server_before, cpu_time("self")? - own_before);
            let (log, through_log) = through_bare_log(bare, count).await?;
            bare = log;
            let through_bare_server = write_at_once(&mut bare_writers).await?;
            if round > 0 {
                let each = |used: Duration| {
                    used.as_secs_f64() * 1e6 / through_server.latencies.len() as f64
                };
                server_cpu.push(each(server_used));
                client_cpu.push(each(own_used));
                served.take(through_server);
                grouped.take(through_log);
                acknowledged.take(through_bare_server);
            }
        }
        let name = if count == 1 { "1 writer".to_owned() } else { format!("{count} writers") };
        let figure = |name: String, unit, samples| Figure::new(BENCH, name, unit, samples);
        let rate = |samples| figure(format!("durable commits, {name}"), Unit::PerSecond, samples);
        let beside_log = rate(served.rates.clone()).beside(BARE_LOG, grouped.rates);
        let target = (count == WRITERS).then_some(Target::ShareOfLimit(SHARE));
        figures.push(Figure { target, ..beside_log });
        let beside_server = rate(served.rates).beside(BARE_SERVER, acknowledged.rates);
        let other_name = format!("durable commits, {name}, of a bare server's");
        figures.push(Figure { name: other_name, ..beside_server });
        figures.push(
            figure(format!("commit latency, {name}"), Unit::Micros, served.latencies)
                .beside(BARE_SERVER, acknowledged.latencies),
        );
        figures.push(
            figure(format!("server CPU per commit, {name}"), Unit::Micros, server_cpu)
                .beside("CPU per commit of the clients, which compete", client_cpu),
        );
    }
    server.stop()?;
    Ok(figures)
}

const BARE_LOG: &str = "bare SQLite through sqlx, one statement for whatever waits";
const BARE_SERVER: &str = "the same behind bare WebSockets in a process of its own";

/// What the rounds of one way came to.
#[derive(Debug, Default)]
struct Series {
    rates: Samples,
    latencies: Samples,
}

impl Series {
    fn take(&mut self, done: Done) {
        self.rates.push(done.commits_per_second);
        self.latencies.extend(done.latencies);
    }
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

async fn connect_bare(address: &str, count: usize) -> Result<Vec<Writer>, BenchError> {
    let mut ids = Ids::new(1);
    let todos = Todos::new(&mut ids);
    let mut writers = Vec::new();
    for seed in 0..count {
        let session = Session::unopened("the bare server", address).await?;
        let (todo, ids) = (ids.next_uuid(), Ids::new(1_000 + seed as u64));
        writers.push(Writer { session, todos: todos.clone(), todo, ids, count: 0 });
    }
    Ok(writers)
}

/// Has all writers write for a round.
async fn write_at_once(writers: &mut Vec<Writer>) -> Result<Done, BenchError> {
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
pub(crate) type Wish = oneshot::Sender<()>;

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
        if !wish(wishes).await {
            // The log failed, and its error is what is reported.
            break;
        }
        let now = Instant::now();
        latencies.push_micros(now - start);
        start = now;
    }
    latencies
}

/// Has a row written; whether it was.
pub(crate) async fn wish(wishes: &mpsc::Sender<Wish>) -> bool {
    let (wish, granted) = oneshot::channel();
    wishes.send(wish).await.is_ok() && granted.await.is_ok()
}

/// Writes whatever waits, again and again, until nobody can wait any more.
///
/// # Errors
/// [`BenchError::Sqlite`].
pub(crate) async fn group(
    log: &mut BareLog,
    mut inbox: mpsc::Receiver<Wish>,
) -> Result<(), BenchError> {
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
