//! `cargo xtask bench`: benchmarks beside their limits, on release builds.
//!
//! The benchmarks are a program of their own (`benches/`); this builds it and the server, and runs it.

use std::path::PathBuf;
use std::process::Command;

use clap::Args;

use crate::console::Console;
use crate::process::{self, ProcessError};
use crate::{Verdict, workspace};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArguments {
    /// Run only these: roundtrip, commits, coldstart, memory, core, sync, query, tx
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Also write the figures to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why the benchmarks did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BenchError {
    /// A build failed.
    #[error("cannot build the benchmarks")]
    Build(#[source] ProcessError),
    /// The benchmarks could not be started or watched.
    #[error("cannot run the benchmarks")]
    Run(#[source] ProcessError),
}

/// Builds and runs the benchmarks. A missed target is [`Verdict::Failed`].
///
/// # Errors
/// [`BenchError`].
pub(crate) fn run(arguments: &BenchArguments) -> Result<Verdict, BenchError> {
    let mut build = process::cargo();
    build.args(["build", "--release", "--package", "tricedb-cli", "--package", "tricedb-bench"]);
    process::run(Console::Text, &mut build).map_err(BenchError::Build)?;
    let mut bench = Command::new(workspace::target().join("release").join("tricedb-bench"));
    if !arguments.only.is_empty() {
        bench.arg("--only").arg(arguments.only.join(","));
    }
    if let Some(file) = &arguments.json {
        bench.arg("--json").arg(file);
    }
    match process::run(Console::Text, &mut bench) {
        Ok(()) => Ok(Verdict::Passed),
        // It has said itself what was missed or went wrong.
        Err(ProcessError::Failed { .. }) => Ok(Verdict::Failed),
        Err(error) => Err(BenchError::Run(error)),
    }
}
