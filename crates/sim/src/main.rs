//! `tricedb-sim`: runs seeds and tells of the first that breaks a promise.

// This program reports on standard output.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use serde_json::json;
use tricedb_sim::{Plan, Population, run, run_seeds, shrink, story};

/// Runs of a failing plan that are spent on making it short.
const SHRINKING_RUNS_MAX: usize = 250;

#[derive(Parser)]
#[command(name = "tricedb-sim", about = "Simulates clients, a network, disks and a server")]
struct Arguments {
    /// How many seeds to run
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    start: u64,
    /// Actions of each seed
    #[arg(long, default_value_t = 500)]
    steps: usize,
    /// Which clients there are
    #[arg(long, value_enum, default_value_t = Clients::Plain)]
    clients: Clients,
    /// Do not require that every situation occurred
    #[arg(long)]
    any_coverage: bool,
    /// Print what a failing seed did without cutting it down
    #[arg(long)]
    whole: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// Which clients there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Clients {
    /// Clients that speak the plain protocol
    Plain,
    /// Clients with native sessions
    Native,
    /// Both together
    Mixed,
}

impl From<Clients> for Population {
    fn from(clients: Clients) -> Self {
        match clients {
            Clients::Plain => Self::Plain,
            Clients::Native => Self::Native,
            Clients::Mixed => Self::Mixed,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a broken promise and is reported as one.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let Arguments { seeds, start, steps, clients, .. } = arguments;
    let population = clients.into();
    let (coverage, ran, hash, failure) = run_seeds(start, seeds, steps, population, threads);
    let seconds = began.elapsed().as_secs_f64();
    let has_native =
        (start..start + seeds).any(|seed| Plan::of(seed, steps, population).has_native());
    let missing = match arguments.any_coverage || failure.is_some() {
        true => Vec::new(),
        false => coverage.missing(has_native),
    };
    let say = |line: &str| match arguments.json {
        true => eprintln!("{line}"),
        false => println!("{line}"),
    };
    say(&format!(
        "{ran} seeds from {start} with {steps} steps each in {seconds:.1} s, hash {hash:016x}"
    ));
    say(&format!("met: {coverage}"));
    if let Some(failure) = &failure {
        let plan = Plan::of(failure.seed, steps, population);
        say(&format!("FAILED at seed {}: {}", failure.seed, failure.violation));
        let kind = format!("{clients:?}").to_lowercase();
        say(&format!(
            "replay with `cargo xtask sim --start {} --seeds 1 --clients {kind}`",
            failure.seed
        ));
        let again = run(&plan);
        if again.violation.as_ref() != Some(&failure.violation) {
            say("the replay went another way: the simulation is not deterministic");
        }
        let short = match arguments.whole {
            true => plan,
            false => shrink(&plan, failure.violation.promise, SHRINKING_RUNS_MAX),
        };
        let (told, lines) = story(&short);
        say(&format!("the story, with {} actions of {steps}:", short.steps.len()));
        lines.iter().for_each(|line| say(line));
        if let Some(violation) = told.violation {
            say(&format!("  then: {violation}"));
        }
    }
    if !missing.is_empty() {
        say(&format!("FAILED: these situations never occurred: {}", missing.join(", ")));
    }
    let passed = failure.is_none() && missing.is_empty();
    if arguments.json {
        let counts: serde_json::Map<_, _> =
            coverage.counts().into_iter().map(|(name, n)| (name.to_owned(), json!(n))).collect();
        let failure =
            failure.map(|f| json!({"seed": f.seed, "violation": f.violation.to_string()}));
        println!(
            "{}",
            json!({"passed": passed, "seeds": ran, "start": start, "steps": steps,
                "seconds": seconds, "hash": format!("{hash:016x}"), "coverage": counts,
                "missing": missing, "failure": failure})
        );
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
