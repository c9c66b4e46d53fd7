//! Running plans.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::coverage::Coverage;
use crate::plan::{Plan, Population};
use crate::trace::Trace;
use crate::violation::{Promise, Violation};
use crate::world::World;

/// How a run went.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The promise that it broke, if any.
    pub violation: Option<Violation>,
    /// What it met.
    pub coverage: Coverage,
    /// Equal for runs in which the same happened.
    pub hash: u64,
    /// Number of events.
    pub events: u64,
}

/// A seed whose plan broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The promise.
    pub violation: Violation,
}

/// Carries out a plan.
pub fn run(plan: &Plan) -> Ran {
    go(plan, false).0
}

/// Carries out a plan and tells what happened, line by line.
pub fn story(plan: &Plan) -> (Ran, Vec<String>) {
    let (ran, trace) = go(plan, true);
    (ran, trace.into_lines())
}

fn go(plan: &Plan, tells: bool) -> (Ran, Trace) {
    let mut world = match World::new(plan, tells) {
        Ok(world) => world,
        Err(violation) => {
            let coverage = Coverage::default();
            let ran = Ran { violation: Some(violation), coverage, hash: 0, events: 0 };
            return (ran, Trace::new(false));
        }
    };
    // A panic of what is simulated is a broken promise like any other; the world is not used after it.
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run(plan)));
    let violation = match outcome {
        Ok(outcome) => outcome.err(),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            Some(Violation::new(Promise::Sanity, format!("a panic: {text}")))
        }
    };
    let coverage = *world.coverage();
    let trace = world.into_trace();
    (Ran { violation, coverage, hash: trace.hash(), events: trace.events() }, trace)
}

/// Runs seeds on several threads; each run is single-threaded. Stops at the first failure; of several
/// the one with the smallest seed is told. Gives the coverage, the number of seeds run, and the sum of all
/// trace hashes.
pub fn run_seeds(
    start: u64,
    count: u64,
    steps: usize,
    population: Population,
    threads: usize,
) -> (Coverage, u64, u64, Option<Failure>) {
    let next = AtomicU64::new(start);
    let end = start.saturating_add(count);
    let found: Mutex<(Coverage, u64, u64, Option<Failure>)> = Mutex::default();
    let worker = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let ran = run(&Plan::of(seed, steps, population));
            let Ok(mut found) = found.lock() else { return };
            found.0.add(&ran.coverage);
            found.1 += 1;
            found.2 = found.2.wrapping_add(ran.hash);
            if let Some(violation) = ran.violation {
                next.store(end, Ordering::Relaxed);
                if found.3.as_ref().is_none_or(|failure| seed < failure.seed) {
                    found.3 = Some(Failure { seed, violation });
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(worker);
        }
    });
    found.into_inner().unwrap_or_default()
}
