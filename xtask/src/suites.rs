//! `cargo xtask test`: every suite in order, each with its time, and a verdict over all of them.
//!
//! A failed suite does not keep the later ones from running. All builds use the `dev` profile.

use std::error::Error;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::compat::{self, CompatArguments};
use crate::conformance;
use crate::console::Console;
use crate::process::{self, ProcessError};
use crate::{Verdict, fuzz, sim, workspace};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArguments {
    /// Run only these suites
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Suite>,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// The suites, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Formatting
    Format,
    /// Lints over all targets, warnings denied
    Clippy,
    /// Unit, integration and documentation tests
    Tests,
    /// The documentation builds without a warning
    Docs,
    /// Conformance vectors against the library
    Conformance,
    /// Official JavaScript clients against the server
    Compat,
    /// The fuzzer on hostile steps and queries
    Fuzz,
    /// Simulated clients, network, disks and server, and bugs on purpose that this must find
    Simulation,
}

impl Suite {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Clippy => "clippy",
            Self::Tests => "tests",
            Self::Docs => "docs",
            Self::Conformance => "conformance",
            Self::Compat => "compat",
            Self::Fuzz => "fuzz",
            Self::Simulation => "simulation",
        }
    }

    fn run(self, console: Console) -> Result<Outcome, Box<dyn Error>> {
        match self {
            Self::Format => cargo(console, &["fmt", "--all", "--check"], None)?,
            Self::Clippy => {
                let words = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
                cargo(console, &words, None)?;
            }
            Self::Tests => {
                cargo(console, &["test", "--workspace", "--no-fail-fast"], None)?;
            }
            Self::Docs => {
                let words = ["doc", "--workspace", "--no-deps"];
                cargo(console, &words, Some(("RUSTDOCFLAGS", "-D warnings")))?;
            }
            Self::Conformance => return run_conformance(console),
            Self::Compat => return run_compat(console),
            Self::Fuzz => match fuzz::missing() {
                Some(reason) => return Ok(Outcome::Skipped(reason.to_owned())),
                None => fuzz::run(console)?,
            },
            Self::Simulation => sim::smoke(console)?,
        }
        Ok(Outcome::Passed)
    }
}

#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs the suites and prints the summary.
///
/// # Errors
/// None at present: a suite that cannot run is a failed suite.
pub(crate) fn run(arguments: &TestArguments) -> Result<Verdict, Box<dyn Error>> {
    let console = Console::new(arguments.json);
    let mut results = Vec::new();
    for &suite in Suite::value_variants() {
        if !arguments.only.is_empty() && !arguments.only.contains(&suite) {
            continue;
        }
        console.line(&format!("── {} ──", suite.name()));
        let start = Instant::now();
        let outcome = suite.run(console).unwrap_or_else(|error| Outcome::Failed(chain(&*error)));
        let elapsed = start.elapsed();
        console.line(&line(suite, &outcome, elapsed));
        results.push((suite, outcome, elapsed));
    }
    Ok(summarise(console, &results))
}

fn summarise(console: Console, results: &[(Suite, Outcome, Duration)]) -> Verdict {
    console.line("── summary ──");
    for (suite, outcome, elapsed) in results {
        console.line(&line(*suite, outcome, *elapsed));
    }
    let failed = results.iter().filter(|(_, o, _)| matches!(o, Outcome::Failed(_))).count();
    let passed = results.iter().filter(|(_, o, _)| matches!(o, Outcome::Passed)).count();
    console.line(&format!("{passed} passed, {failed} failed"));
    let suites: Vec<_> = results
        .iter()
        .map(|(suite, outcome, elapsed)| {
            let (status, reason) = match outcome {
                Outcome::Passed => ("passed", None),
                Outcome::Failed(reason) => ("failed", Some(reason)),
                Outcome::Skipped(reason) => ("skipped", Some(reason)),
            };
            let seconds = elapsed.as_secs_f64();
            json!({"name": suite.name(), "status": status, "reason": reason, "seconds": seconds})
        })
        .collect();
    console.result(&json!({"passed": passed, "failed": failed, "suites": suites}));
    if failed == 0 { Verdict::Passed } else { Verdict::Failed }
}

fn line(suite: Suite, outcome: &Outcome, elapsed: Duration) -> String {
    let (name, seconds) = (suite.name(), elapsed.as_secs_f64());
    match outcome {
        Outcome::Passed => format!("{name:11} passed   {seconds:7.1} s"),
        Outcome::Failed(reason) => format!("{name:11} FAILED   {seconds:7.1} s  {reason}"),
        Outcome::Skipped(reason) => format!("{name:11} skipped  {seconds:7.1} s  {reason}"),
    }
}

fn run_conformance(console: Console) -> Result<Outcome, Box<dyn Error>> {
    let report = conformance::run_in(console, None)?;
    Ok(match report.is_good() {
        true if report.is_empty() => Outcome::Skipped("there are no vectors".to_owned()),
        true => Outcome::Passed,
        false => Outcome::Failed(report.summary()),
    })
}

fn run_compat(console: Console) -> Result<Outcome, Box<dyn Error>> {
    if let Err(missing) = compat::node_is_usable() {
        if workspace::in_ci() {
            return Err(missing.into());
        }
        return Ok(Outcome::Skipped(chain(&missing)));
    }
    match compat::run_in(console, &CompatArguments::default())? {
        Verdict::Passed => Ok(Outcome::Passed),
        Verdict::Failed => Ok(Outcome::Failed("see the failed cases above".to_owned())),
    }
}

fn cargo(
    console: Console,
    words: &[&str],
    variable: Option<(&str, &str)>,
) -> Result<(), ProcessError> {
    let mut command = process::cargo();
    command.args(words).envs(variable);
    process::run(console, &mut command)
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
