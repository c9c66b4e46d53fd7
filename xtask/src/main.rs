//! The suites of the repository: `cargo xtask <command>`.
//!
//! Names suites and how to run them; holds nothing that belongs to the product. Each command is a
//! module with its own argument type and one `run` function. [`process`] owns every child process,
//! so that none outlives this program.

// This program reports on standard output.
#![allow(clippy::print_stdout)]

mod bench;
mod compat;
mod conformance;
mod console;
mod fuzz;
mod fuzz_queries;
mod process;
mod sim;
mod suites;
#[cfg(test)]
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The suites of the repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every suite, report the time of each, and fail if one failed
    Test(suites::TestArguments),
    /// Run the benchmarks, each beside its limit
    Bench(bench::BenchArguments),
    /// Run the official JavaScript clients against a server of this workspace
    Compat(compat::CompatArguments),
    /// Run the conformance vectors against the library
    Conformance(conformance::ConformanceArguments),
    /// Compare live queries with evaluations from scratch on random cases
    FuzzQueries(fuzz_queries::FuzzArguments),
    /// Simulate clients, a network, disks and a server from seeds
    Sim(sim::SimArguments),
    /// Ask a running `compat` to restart its server; used by the cases themselves
    #[command(hide = true)]
    RestartServer(compat::RestartArguments),
}

fn main() -> ExitCode {
    if let Err(error) = process::stop_children_on_signals() {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    let outcome = match Arguments::parse().command {
        Command::Test(arguments) => suites::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments).map_err(Into::into),
        Command::Compat(arguments) => compat::run(&arguments).map_err(Into::into),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::FuzzQueries(arguments) => fuzz_queries::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments).map_err(Into::into),
        Command::RestartServer(arguments) => {
            compat::request_restart(&arguments).map(|()| Verdict::Passed).map_err(Into::into)
        }
    };
    match outcome {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                eprintln!("  because: {inner}");
                cause = inner.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// What a command that ran to its end found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Everything that had to hold did.
    Passed,
    /// Something did not, and the report says what.
    Failed,
}
