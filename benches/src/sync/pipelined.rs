//! Durable transactions of writers that do not wait: each has a bounded number under way.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::BENCH;
use super::data::Filled;
use crate::child::cpu_time;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::native::{Encoding, Native, transact};
use crate::programs::Programs;
use crate::socket::in_time;

const WRITERS: usize = 8;
const EACH: u64 = 10_000;
const WINDOW: u64 = 256;
const ROUNDS: usize = 5;
const TARGET_PER_SECOND: f64 = 40_000.0;
/// What a client that comes back has queued.
const QUEUED: u64 = 1_000;
const QUEUED_TARGET_MS: f64 = 50.0;

pub(super) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let server = programs.server()?;
    let filled = Filled::new(server.address(), WRITERS).await?;
    let (mut rates, mut cpu, mut own_cpu) =
        (Samples::default(), Samples::default(), Samples::default());
    for round in 0..=ROUNDS as u64 {
        let (before, own_before) = (server.cpu_time()?, cpu_time("self")?);
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for (writer, todo) in filled.rows.iter().enumerate() {
            let client = Uuid::from_u128(writer as u128 + 1);
            let opening =
                Native::open(server.address(), filled.app, client, Encoding::Binary, None);
            let (session, _) = opening.await?;
            let (todo, title) = (*todo, filled.todos.title());
            tasks.spawn(in_time("acknowledgements", write(session, todo, title, round * EACH)));
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        let all = (WRITERS as u64 * EACH) as f64;
        let each = |used: Duration| used.as_secs_f64() * 1e6 / all;
        if round > 0 {
            rates.push(all / start.elapsed().as_secs_f64());
            cpu.push(each(server.cpu_time()? - before));
            own_cpu.push(each(cpu_time("self")? - own_before));
        }
    }
    let mut queued = Samples::default();
    for round in 0..=ROUNDS as u64 {
        let client = Uuid::from_u128(1_000 + u128::from(round));
        let start = Instant::now();
        let opening = Native::open(server.address(), filled.app, client, Encoding::Binary, None);
        let (mut session, _) = opening.await?;
        let message = |seq| {
            let value = format!("queued {seq:06}");
            transact(seq, filled.rows[0], filled.todos.title(), &value)
        };
        session.send_all((1..=QUEUED).map(message)).await?;
        in_time("acknowledgements", acknowledged(&mut session, QUEUED)).await?;
        if round > 0 {
            queued.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    server.stop()?;
    Ok(vec![
        Figure::new(BENCH, "durable transactions, 8 pipelining writers", Unit::PerSecond, rates)
            .target(Target::AtLeast(TARGET_PER_SECOND)),
        Figure::new(BENCH, "server CPU per pipelined transaction", Unit::Micros, cpu)
            .beside("CPU per transaction of the clients, which compete", own_cpu),
        Figure::new(
            BENCH,
            "1,000 queued writes acknowledged, connecting included",
            Unit::Millis,
            queued,
        )
        .target(Target::AtMost(QUEUED_TARGET_MS)),
    ])
}

async fn write(mut session: Native, todo: Uuid, title: Uuid, first: u64) -> Result<(), BenchError> {
    let (mut sent, mut answered) = (0, 0);
    while answered < EACH {
        let room = (WINDOW - (sent - answered)).min(EACH - sent);
        if room >= WINDOW / 4 || sent == answered {
            let messages = (sent..sent + room)
                .map(|n| transact(first + n + 1, todo, title, &format!("title {n:07}")));
            session.send_all(messages.collect::<Vec<_>>()).await?;
            sent += room;
        }
        answered += session.frame().await?.0.acks.len() as u64;
    }
    Ok(())
}

async fn acknowledged(session: &mut Native, count: u64) -> Result<(), BenchError> {
    let mut answered = 0;
    while answered < count {
        answered += session.frame().await?.0.acks.len() as u64;
    }
    Ok(())
}
