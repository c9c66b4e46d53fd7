//! `cargo xtask fuzz-queries`: live queries against evaluation from scratch, on random cases.
//!
//! The cases and their check are those of the core's `live_oracle` test, which runs a few thousand of
//! them every time.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::Verdict;
use crate::console::Console;

#[expect(clippy::unwrap_used, reason = "the code of a test, where a panic is a failed case")]
#[path = "../../crates/core/tests/live_oracle/cases.rs"]
mod cases;
#[path = "../../crates/core/tests/live_oracle/check.rs"]
mod check;
#[path = "../../crates/core/tests/live_oracle/shrink.rs"]
mod shrink;

use cases::Case;
use check::Tally;

/// Arguments of `cargo xtask fuzz-queries`.
#[derive(Args)]
pub(crate) struct FuzzArguments {
    /// How many cases to run
    #[arg(long, default_value_t = 10_000)]
    cases: u64,
    /// The first case; the same number always stands for the same case
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run the case in this file, as a failure printed it, instead of random ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "seed"])]
    replay: Option<PathBuf>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// A case that fails, made small.
struct Failure {
    seed: Option<u64>,
    case: Case,
    problem: String,
}

/// Runs cases until one fails or all are through.
pub(crate) fn run(arguments: &FuzzArguments) -> Result<Verdict, Box<dyn Error>> {
    // A panic is a failed case and is reported as one.
    std::panic::set_hook(Box::new(|_| {}));
    let console = Console::new(arguments.json);
    let start = Instant::now();
    let (tally, failure, ran) = match &arguments.replay {
        Some(path) => replay(&serde_json::from_str(&fs::read_to_string(path)?)?)?,
        None => run_seeds(console, arguments.seed, arguments.cases),
    };
    if let Some(Failure { seed, case, problem }) = &failure {
        let seed = seed.map_or_else(String::new, |seed| format!(" seed {seed}:"));
        console.line(&format!("FAILED{seed} {problem}"));
        console.line("the smallest case found, for `cargo xtask fuzz-queries --replay FILE`:");
        console.line(&case.to_json().to_string());
    }
    let seconds = start.elapsed().as_secs_f64();
    let outcome = if failure.is_none() { "all passed" } else { "stopped at a failure" };
    let Tally { commits, compared, filled, replans, refills, scans, fallbacks, .. } = tally;
    console.line(&format!(
        "{ran} cases in {seconds:.1} s, {outcome}: {compared} results compared ({filled} with rows) \
         after {commits} commits; {replans} replans, {refills} refills, {scans} scans, {fallbacks} \
         fallbacks"
    ));
    console.result(&json!({
        "passed": failure.is_none(), "cases": ran, "seconds": seconds, "commits": commits,
        "compared": compared, "filled": filled, "replans": replans, "refills": refills,
        "scans": scans, "fallbacks": fallbacks,
        "failure": failure.as_ref().map(|failure| json!({
            "seed": failure.seed, "problem": failure.problem, "case": failure.case.to_json(),
        })),
    }));
    Ok(if failure.is_none() { Verdict::Passed } else { Verdict::Failed })
}

fn replay(json: &Json) -> Result<(Tally, Option<Failure>, u64), Box<dyn Error>> {
    let case = Case::from_json(json).ok_or("the file holds no case")?;
    Ok(match check::check(&case) {
        Ok(tally) => (tally, None, 1),
        Err(problem) => (Tally::default(), Some(Failure { seed: None, case, problem }), 1),
    })
}

/// Runs cases on all cores. Of several failures the one with the smallest seed is told.
fn run_seeds(console: Console, first: u64, cases: u64) -> (Tally, Option<Failure>, u64) {
    let end = first.saturating_add(cases);
    let next = AtomicU64::new(first);
    let ran = AtomicU64::new(0);
    let found: Mutex<(Tally, Option<(u64, String)>)> = Mutex::default();
    let worker = || {
        let mut tally = Tally::default();
        let mut failed = None;
        while failed.is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                break;
            }
            match check::check(&cases::case(seed)) {
                Ok(one) => tally.add(one),
                Err(problem) => {
                    // Nobody begins another case.
                    next.store(end, Ordering::Relaxed);
                    failed = Some((seed, problem));
                }
            }
            let done = ran.fetch_add(1, Ordering::Relaxed) + 1;
            if done.is_multiple_of(10_000) {
                console.line(&format!("{done} of {cases} cases"));
            }
        }
        let Ok(mut found) = found.lock() else { return };
        found.0.add(tally);
        let earlier = |(seed, _): &(u64, String)| found.1.as_ref().is_none_or(|f| *seed < f.0);
        if failed.as_ref().is_some_and(earlier) {
            found.1 = failed;
        }
    };
    thread::scope(|scope| {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads {
            scope.spawn(worker);
        }
    });
    let (tally, failed) = found.into_inner().unwrap_or_default();
    let failure = failed.map(|(seed, problem)| {
        let (case, problem) = shrink::shrink(&cases::case(seed), problem);
        Failure { seed: Some(seed), case, problem }
    });
    (tally, failure, ran.into_inner())
}
