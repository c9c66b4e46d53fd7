//! Benchmarks of TriceDB, each beside its limit measured in the same run: `cargo xtask bench`.
//!
//! Servers, the relay and whatever else is measured run in processes of their own; the clients run in this
//! one. Beside each figure stands what the machine allows for the same thing, so that it can be judged on any
//! machine.
//!
//! Whatever waits for a disk waits for a processor too before it goes on, up to 4 ms on a busy machine. There
//! build first, then run this program ahead of everything else: `chrt -f 1 target/release/tricedb-bench`.

// This program reports on standard output.
#![allow(clippy::print_stdout)]

mod bare_sqlite;
mod child;
mod coldstart;
mod commits;
mod committer;
mod counting;
mod dataset;
mod engine;
mod error;
mod figure;
mod live;
mod memory;
mod native;
mod programs;
mod query;
mod relay;
mod rooms;
mod roundtrip;
mod session;
mod socket;
mod sync;
mod todos;
mod tx;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::sync::oneshot;

use error::{BenchError, io_error};
use figure::Figure;
use programs::Programs;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Benchmarks beside their limits")]
struct Arguments {
    /// Run only these
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Bench>,
    /// Also write the figures to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The `tricedb` program to measure, if not the one beside this program
    #[arg(long, value_name = "PROGRAM")]
    tricedb: Option<PathBuf>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What this program does as a child of itself.
#[derive(Subcommand)]
enum Part {
    /// Pass frames on
    #[command(name = programs::RELAY, hide = true)]
    Relay,
    /// Pass frames of one connection on to all others
    #[command(name = programs::BROADCAST, hide = true)]
    Broadcast,
    /// Store a row for each frame
    #[command(name = programs::COMMITTER, hide = true)]
    Committer,
    /// Load rows and report what it took
    #[command(name = programs::LOAD, hide = true)]
    Load,
}

/// The benchmarks, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Bench {
    /// From one client's send to another's receipt
    Roundtrip,
    /// Durable commits per second
    Commits,
    /// From the start of the server until it listens
    Coldstart,
    /// Resident memory of the server
    Memory,
    /// The engine alone
    Core,
    /// Live queries, without a server
    Live,
    /// Native and plain sessions: round trips, fan-out, hydration, queues, reconnecting
    Sync,
    /// Queries on the index alone, and what the index weighs
    Query,
    /// Transactions: prepared, applied, shown, queued and made durable
    Tx,
    /// Rooms: a change to the last of many members, and moving cursors
    Rooms,
}

impl Bench {
    const fn name(self) -> &'static str {
        match self {
            Self::Roundtrip => "roundtrip",
            Self::Commits => "commits",
            Self::Coldstart => "coldstart",
            Self::Memory => "memory",
            Self::Core => "core",
            Self::Live => "live",
            Self::Sync => "sync",
            Self::Query => "query",
            Self::Tx => "tx",
            Self::Rooms => "rooms",
        }
    }

    fn run(self, programs: &Programs) -> Result<Vec<Figure>, BenchError> {
        match self {
            Self::Roundtrip => run_async(roundtrip::run(programs)),
            Self::Commits => run_async(commits::run(programs)),
            Self::Coldstart => run_async(coldstart::run(programs)),
            Self::Memory => run_async(memory::run(programs)),
            Self::Core => engine::run(programs),
            Self::Live => live::run(),
            Self::Sync => run_async(sync::run(programs)),
            Self::Query => query::run(),
            Self::Tx => run_async(tx::run(programs)),
            Self::Rooms => run_async(rooms::run(programs)),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.part {
        None => run(&arguments),
        Some(Part::Relay) => run_async(relay::serve()).map(|()| ExitCode::SUCCESS),
        Some(Part::Broadcast) => run_async(relay::broadcast()).map(|()| ExitCode::SUCCESS),
        Some(Part::Committer) => run_async(committer::serve()).map(|()| ExitCode::SUCCESS),
        Some(Part::Load) => engine::load_and_report().map(|line| {
            println!("{line}");
            ExitCode::SUCCESS
        }),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            eprintln!("  because: {inner}");
            cause = inner.source();
        }
        ExitCode::FAILURE
    })
}

/// Runs the chosen benchmarks; a missed target makes the exit status 1.
fn run(arguments: &Arguments) -> Result<ExitCode, BenchError> {
    let programs = Programs::find(arguments.tricedb.clone())?;
    println!("{}", machine());
    let mut figures = Vec::new();
    for &bench in Bench::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(&bench) {
            println!("── {} ──", bench.name());
            let found = bench.run(&programs)?;
            println!("{}", figure::to_table(&found));
            figures.extend(found);
        }
    }
    println!("{}", machine());
    let mut object = figure::to_json(&figures);
    object["machine"] = machine().into();
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{object}\n")).map_err(io_error("write the figures"))?;
    }
    let missed: Vec<_> = figures.iter().filter(|figure| figure.is_missed()).collect();
    for figure in &missed {
        println!("missed: {}", figure.name);
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What else there is to know about figures: how many processors shared how much work.
fn machine() -> String {
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let minute = load.split(' ').next().unwrap_or_default();
    format!("{processors} processors, load of the last minute {minute}")
}

/// Runs something to its end on one thread.
fn run_async<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io_error("make a runtime"))?;
    runtime.block_on(work)
}

/// Waits for the end of the standard input: the parent process is gone, or wants this one to end.
async fn input_ended() {
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        // Whatever ends the input, an error included, is its end.
        _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        // Nobody waits if the process is about to end anyway.
        _ = ended.send(());
    });
    _ = end.await;
}
