//! The main job, end to end and in separate processes: a real backup is imported, a server serves it, and
//! two official JavaScript clients and two Rust clients see each other's writes live.
//!
//! A harness of its own, since the Rust clients are this program again. Needs the sample backup beside the
//! checkout, and Node; without them it skips aloud, except that in CI a missing Node is an error.
#![expect(clippy::print_stdout, reason = "a test that speaks through pipes")]

mod job;
mod peer;
mod process;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

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
    if let Err(reason) = install_official_clients(&clients) {
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

/// Installs the packages of `tests/js` unless they are there for the present list of packages; leaves the
/// same mark as `cargo xtask compat`, which then does not repeat it.
fn install_official_clients(folder: &Path) -> Result<(), Failure> {
    for program in ["node", "npm"] {
        let version = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return Err(format!("`{program}` is missing").into());
        }
    }
    let wanted = std::fs::read(folder.join("package-lock.json"))?;
    let mark = folder.join("node_modules/.installed-for");
    if std::fs::read(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder)
        .status()?;
    if !status.success() {
        return Err("npm cannot install the official clients".into());
    }
    Ok(std::fs::write(mark, wanted)?)
}
