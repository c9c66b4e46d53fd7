//! The main job, end to end and in separate processes: a real backup is imported, a server serves it, and
//! two official JavaScript clients and two Rust clients see each other's writes live.
//!
//! A harness of its own, since the Rust clients are this program again. Needs the sample backup beside the
//! checkout, and Node; without them it skips aloud, except that in CI a missing Node is an error.
#![expect(clippy::print_stdout, reason = "a test that speaks through pipes")]

mod job;
mod official;
mod peer;
mod process;

use std::path::PathBuf;
use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

const NAME: &str = "the_main_job";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, app, url] = &arguments[..]
        && word == "peer"
    {
        return verdict(peer::run(app, url));
    }
    // As test harnesses do: a filter that does not match runs nothing.
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|a| a == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    verdict(run())
}

fn verdict(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{NAME}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sample = root.join("../shared/samples/zeneca-backup.zip");
    if !sample.exists() {
        println!("SKIPPED {NAME}: the sample backup is not beside this checkout");
        return Ok(());
    }
    let clients = root.join("tests/js");
    if let Err(reason) = official::install(&clients) {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            return Err(reason);
        }
        println!("SKIPPED {NAME}: {reason}");
        return Ok(());
    }
    job::run(&sample, &clients)?;
    println!("test {NAME} ... ok");
    Ok(())
}
