//! The fuzzer's targets, for some seconds each.

use std::error::Error;
use std::fs;
use std::process::{Command, Stdio};

use crate::console::Console;
use crate::process;
use crate::workspace;

const TARGETS: [&str; 2] = ["tx_steps", "queries"];
const SECONDS: u32 = 20;

/// Why the fuzzer cannot run here; none if it can.
pub(crate) fn missing() -> Option<&'static str> {
    let mut command = nightly();
    command.args(["fuzz", "--version"]).stderr(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => None,
        _ => Some("needs a nightly compiler and cargo-fuzz; see fuzz/README.md"),
    }
}

/// Feeds every target for a while, from the seeds on.
///
/// # Errors
/// If one cannot be run or found something: then it has said what.
pub(crate) fn run(console: Console) -> Result<(), Box<dyn Error>> {
    for target in TARGETS {
        let seconds = format!("-max_total_time={SECONDS}");
        let mut command = nightly();
        command.args(["fuzz", "run", target]);
        for folder in ["corpus", "seeds"] {
            let folder = format!("fuzz/{folder}/{target}");
            fs::create_dir_all(workspace::root().join(&folder))?;
            command.arg(folder);
        }
        command.args(["--", &seconds]);
        process::run(console, &mut command)?;
    }
    Ok(())
}

/// Cargo of the nightly toolchain; the one that runs this program passes its own on.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    for name in ["CARGO", "RUSTC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command.arg("+nightly").current_dir(workspace::root());
    command
}
