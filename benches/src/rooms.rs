//! Rooms: how long a change of presence takes to the last of many members, and what a thousand moving
//! cursors cost, through the server and through a bare broadcast of the same bytes.
//!
//! Members live on one thread of this process, the server and the broadcaster in processes of their own.
//! Their turns alternate, so that whatever else the machine does falls on both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at, sleep};
use uuid::Uuid;

use crate::child::Serving;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::memory::allow_descriptors;
use crate::programs::Programs;
use crate::session::{Session, make_app};
use crate::socket::{Incoming, Socket, in_time};

const BENCH: &str = "rooms";
const SIZES: [usize; 2] = [100, 1_000];
const WARM_UP: u64 = 5;
const CHANGES: u64 = 40;

/// Between two changes: longer than a large room rests after having been told.
const PAUSE: Duration = Duration::from_millis(120);

/// How much longer than the bare broadcast the server may take.
const TIMES_BROADCAST: f64 = 2.0;

const CURSORS: usize = 1_000;
const CURSOR_INTERVAL: Duration = Duration::from_millis(50);
const CURSOR_HERTZ: f64 = 20.0;
const CURSORS_WARM_UP: Duration = Duration::from_secs(3);
const CURSORS_MEASURED: Duration = Duration::from_secs(6);

/// Moves that the broadcaster passes on one by one; what a second's would cost follows from these.
const MOVES_UNFOLDED: u64 = 500;
/// How many of them are under way at a time.
const MOVES_AT_ONCE: u64 = 50;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    allow_descriptors()?;
    let mut figures = Vec::new();
    for size in SIZES {
        figures.extend(change_of_presence(programs, size).await?);
    }
    figures.extend(cursors(programs).await?);
    Ok(figures)
}

/// One member changes what it shows; the others wait for it.
async fn change_of_presence(programs: &Programs, size: usize) -> Result<Vec<Figure>, BenchError> {
    let server = programs.memory_server()?;
    let app = make_app(server.address()).await?;
    let mut served = Audience::new(size);
    for _ in 0..size {
        let mut session = Session::open(server.address(), app).await?;
        enter(&mut session, r#"{"name":"somebody who listens"}"#).await?;
        served.tasks.spawn(listen(Member::Session(session), served.report.clone()));
    }

    let broadcaster = programs.broadcaster()?;
    let connect = || Socket::connect("the broadcaster", broadcaster.address(), "/");
    let mut bare_speaker = connect().await?;
    let mut bare = Audience::new(size);
    for _ in 0..size {
        let socket = connect().await?;
        bare.tasks.spawn(listen(Member::Bare(socket), bare.report.clone()));
    }

    // Last, for nobody answers its pings until it speaks.
    let mut speaker = Session::open(server.address(), app).await?;
    enter(&mut speaker, &presence(0)).await?;

    let (mut times, mut bare_times) = (Samples::default(), Samples::default());
    let mut cpu = [Duration::ZERO; 2];
    // The frame that members get of a change, with the server's peer id in it.
    let mut frame = String::new();
    for change in 1..=WARM_UP + CHANGES {
        if change == WARM_UP + 1 {
            cpu = [server.cpu_time()?, broadcaster.cpu_time()?];
        }
        sleep(PAUSE).await;
        let set = format!(
            r#"{{"op":"set-presence","room-id":"r","data":{},"client-event-id":"set"}}"#,
            presence(change)
        );
        let start = Instant::now();
        speaker.send(set).await?;
        frame = in_time("a change of presence", served.all_have(change, frame)).await?;
        let time = start.elapsed();
        // The answer and what was said to the speaker itself.
        speaker.until("set-presence-ok", r#""op":"set-presence-ok""#).await?;

        let text = frame.clone();
        let start = Instant::now();
        bare_speaker.send(text).await?;
        in_time("a broadcast", bare.all_have(change, String::new())).await?;
        let bare_time = start.elapsed();
        if change > WARM_UP {
            times.push_micros(time);
            bare_times.push_micros(bare_time);
        }
    }
    let each = |before: Duration, now: Duration| {
        let delivered = CHANGES as f64 * size as f64;
        Samples::one((now - before).as_secs_f64() * 1e6 / delivered)
    };
    let served_cpu = each(cpu[0], server.cpu_time()?);
    let bare_cpu = each(cpu[1], broadcaster.cpu_time()?);
    drop((speaker, served));
    server.stop()?;
    Ok(vec![
        Figure::new(BENCH, format!("presence to the last of {size} peers"), Unit::Micros, times)
            .beside("bare tokio-tungstenite broadcast of the same bytes", bare_times)
            .target(Target::AtMostTimesLimit(TIMES_BROADCAST)),
        Figure::new(
            BENCH,
            format!("processor time per update delivered, {size} peers"),
            Unit::Micros,
            served_cpu,
        )
        .beside("the bare broadcaster", bare_cpu),
    ])
}

/// What the speaker shows; as long for every change.
fn presence(change: u64) -> String {
    let (x, y) = (100 + change % 800, 900 - change % 800);
    format!(
        r#"{{"name":"somebody who speaks","color":"tomato","cursor":{{"x":{x},"y":{y}}},"move":"move-{change:08}"}}"#
    )
}

/// The number of the change in a frame.
fn change_in(frame: &str) -> Option<u64> {
    let (_, rest) = frame.split_once("move-")?;
    rest.get(..8)?.parse().ok()
}

async fn enter(session: &mut Session, presence: &str) -> Result<(), BenchError> {
    let join = format!(
        r#"{{"op":"join-room","room-type":"bench","room-id":"r","data":{presence},"client-event-id":"join"}}"#
    );
    session.send(join).await?;
    in_time("join-room-ok", session.until("join-room-ok", r#""op":"join-room-ok""#)).await
}

/// Somebody who listens.
enum Member {
    Session(Session),
    Bare(Socket),
}

/// Reports the changes that a member is told of.
async fn listen(
    mut member: Member,
    report: mpsc::UnboundedSender<(u64, Option<String>)>,
) -> Result<(), BenchError> {
    loop {
        let incoming = match &mut member {
            Member::Session(session) => session.incoming().await?,
            Member::Bare(socket) => socket.incoming().await?,
        };
        let Incoming::Text(text) = incoming else { continue };
        let Some(change) = change_in(&text) else { continue };
        // The first change shows what a frame looks like.
        let frame = (change <= WARM_UP).then(|| text.to_string());
        if report.send((change, frame)).is_err() {
            return Ok(());
        }
    }
}

/// Members that listen, each in a task of its own.
struct Audience {
    size: usize,
    tasks: JoinSet<Result<(), BenchError>>,
    report: mpsc::UnboundedSender<(u64, Option<String>)>,
    reports: mpsc::UnboundedReceiver<(u64, Option<String>)>,
}

impl Audience {
    fn new(size: usize) -> Self {
        let (report, reports) = mpsc::unbounded_channel();
        Self { size, tasks: JoinSet::new(), report, reports }
    }

    /// Waits until all have been told of a change; gives the frame that told it, made from that of an
    /// earlier one if need be.
    async fn all_have(&mut self, change: u64, last: String) -> Result<String, BenchError> {
        let mut count = 0;
        let mut frame = last.replace(
            &format!("move-{:08}", change.saturating_sub(1)),
            &format!("move-{change:08}"),
        );
        while count < self.size {
            tokio::select! {
                Some((told, text)) = self.reports.recv() => {
                    count += usize::from(told == change);
                    if let Some(text) = text.filter(|text| told == change && text.contains(r#""op":"patch"#)) {
                        frame = text;
                    }
                }
                Some(ended) = self.tasks.join_next() => ended??,
            }
        }
        Ok(frame)
    }
}

/// What members of a room with moving cursors get.
#[derive(Default)]
struct Received {
    bytes: AtomicU64,
    frames: AtomicU64,
    moves: AtomicU64,
    /// The longest that any member waited for news, in microseconds.
    longest: AtomicU64,
}

/// A thousand members move their cursors, and all are told.
async fn cursors(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let server = programs.memory_server()?;
    let app = make_app(server.address()).await?;
    let received = Arc::new(Received::default());
    let mut tasks = JoinSet::new();
    for number in 0..CURSORS {
        let mut session = Session::open(server.address(), app).await?;
        enter(&mut session, &cursor(0)).await?;
        tasks.spawn(move_cursor(session, number, received.clone()));
    }
    let watched = async {
        sleep(CURSORS_WARM_UP).await;
        received.longest.store(0, Ordering::Relaxed);
        let before = Measured::now(&server, &received)?;
        sleep(CURSORS_MEASURED).await;
        let after = Measured::now(&server, &received)?;
        Ok::<_, BenchError>((before, after))
    };
    let (before, after) = tokio::select! {
        measured = watched => measured?,
        Some(ended) = tasks.join_next() => {
            ended??;
            return Err(BenchError::Closed { peer: "the server" });
        }
    };
    let longest = received.longest.load(Ordering::Relaxed);
    drop(tasks);
    server.stop()?;
    let seconds = (after.at - before.at).as_secs_f64();
    let per_second =
        |count: fn(&Measured) -> u64| (count(&after) - count(&before)) as f64 / seconds;
    let each = |count| per_second(count) / CURSORS as f64;
    let cpu = (after.cpu - before.cpu).as_secs_f64() / seconds;

    let unfolded = unfolded(programs).await?;
    let one = Samples::one;
    Ok(vec![
        Figure::new(
            BENCH,
            "1,000 cursors: moves taken",
            Unit::PerSecond,
            one(per_second(|m| m.moves)),
        )
        .beside("20 a second of each", one(CURSORS as f64 * CURSOR_HERTZ)),
        Figure::new(
            BENCH,
            "1,000 cursors: bytes to each member in a second",
            Unit::Kilobytes,
            one(each(|m| m.bytes) / 1e3),
        )
        .beside("without folding: each move by itself to each member", one(unfolded.bytes / 1e3)),
        Figure::new(
            BENCH,
            "1,000 cursors: messages to each member in a second",
            Unit::PerSecond,
            one(each(|m| m.frames)),
        ),
        Figure::new(
            BENCH,
            "1,000 cursors: processor time of a second",
            Unit::Millis,
            one(cpu * 1e3),
        )
        .beside(
            "without folding, by the cost of 500 moves broadcast bare",
            one(unfolded.cpu * 1e3),
        ),
        Figure::new(
            BENCH,
            "1,000 cursors: longest that any member waits for news",
            Unit::Millis,
            one(longest as f64 / 1e3),
        ),
    ])
}

fn cursor(step: u64) -> String {
    format!(r#"{{"cursor":{{"x":{},"y":{}}}}}"#, 100 + step % 800, 900 - step % 800)
}

/// Moves a cursor twenty times a second, and counts what comes.
async fn move_cursor(
    mut session: Session,
    number: usize,
    received: Arc<Received>,
) -> Result<(), BenchError> {
    let offset = CURSOR_INTERVAL * u32::try_from(number).unwrap_or(0) / CURSORS as u32;
    let mut ticks = interval_at(tokio::time::Instant::now() + offset, CURSOR_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut step = number as u64;
    let mut last = Instant::now();
    loop {
        tokio::select! {
            incoming = session.incoming() => {
                let Incoming::Text(text) = incoming? else { continue };
                if !text.contains("-presence\",\"room-id") {
                    continue;
                }
                received.bytes.fetch_add(text.len() as u64, Ordering::Relaxed);
                received.frames.fetch_add(1, Ordering::Relaxed);
                let waited = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
                received.longest.fetch_max(waited, Ordering::Relaxed);
                last = Instant::now();
            }
            _ = ticks.tick() => {
                step += 1;
                let set = format!(
                    r#"{{"op":"set-presence","room-id":"r","data":{},"client-event-id":"set"}}"#,
                    cursor(step)
                );
                session.send(set).await?;
                received.moves.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

struct Measured {
    at: Instant,
    cpu: Duration,
    bytes: u64,
    frames: u64,
    moves: u64,
}

impl Measured {
    fn now(server: &Serving, received: &Received) -> Result<Self, BenchError> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Ok(Self {
            at: Instant::now(),
            cpu: server.cpu_time()?,
            bytes: read(&received.bytes),
            frames: read(&received.frames),
            moves: read(&received.moves),
        })
    }
}

/// What a second of a thousand cursors would cost if each move went to each member by itself.
struct Unfolded {
    /// To each member.
    bytes: f64,
    /// Processor time, in seconds.
    cpu: f64,
}

async fn unfolded(programs: &Programs) -> Result<Unfolded, BenchError> {
    let broadcaster = programs.broadcaster()?;
    let connect = || Socket::connect("the broadcaster", broadcaster.address(), "/");
    let mut speaker = connect().await?;
    let mut audience = Audience::new(CURSORS);
    for _ in 0..CURSORS {
        let socket = connect().await?;
        audience.tasks.spawn(listen(Member::Bare(socket), audience.report.clone()));
    }
    let peer = Uuid::from_u128(7);
    let frame = |number: u64| {
        format!(
            r#"{{"op":"patch-presence","room-id":"r","edits":[[["{peer}","data"],"r",{}]],"n":"move-{number:08}"}}"#,
            cursor(number)
        )
    };
    // Only what the server would send counts.
    let bytes = frame(0).len() - r#","n":"move-00000000""#.len();
    let mut before = Duration::ZERO;
    let first = WARM_UP + 1;
    for round in 0..=MOVES_UNFOLDED / MOVES_AT_ONCE {
        if round == 1 {
            before = broadcaster.cpu_time()?;
        }
        let last = first + (round + 1) * MOVES_AT_ONCE - 1;
        for number in first + round * MOVES_AT_ONCE..=last {
            speaker.send(frame(number)).await?;
        }
        in_time("moves", audience.all_have(last, String::new())).await?;
    }
    let cpu = (broadcaster.cpu_time()? - before).as_secs_f64();
    let in_a_second = CURSORS as f64 * CURSOR_HERTZ;
    Ok(Unfolded {
        bytes: bytes as f64 * in_a_second,
        cpu: cpu / MOVES_UNFOLDED as f64 * in_a_second,
    })
}
