//! `cargo xtask compat`: InstantDB's official JavaScript clients against a server of this
//! workspace.
//!
//! Two collections of cases run, both against one server started for them: the project's own in
//! `tests/js`, and the broader one that may lie beside the repository. Of the latter the names in
//! `compat/required.txt` must pass; a required case that is skipped or gone is a failure.

mod cases;
mod clients;
mod control;
mod server;

use std::process::Command;

use clap::Args;
use serde_json::json;

use crate::console::Console;
use crate::process::{self, ProcessError};
use crate::{Verdict, workspace};
use cases::{Case, Selection, Status};
use clients::ClientsError;
use control::{Control, ControlError};
use server::{Server, ServerError};

pub(crate) use clients::node_is_usable;

/// Arguments of `cargo xtask compat`.
#[derive(Args, Default)]
pub(crate) struct CompatArguments {
    /// Run the cases whose name matches: a part of it, a glob (live/*), a /regular expression/, or
    /// several joined by commas
    #[arg(long, value_name = "PATTERN", conflicts_with = "all")]
    only: Option<String>,
    /// Run all cases there are; those not required are reported and do not count
    #[arg(long)]
    all: bool,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// Arguments of the command that restarts the server of a running `compat`.
#[derive(Args)]
pub(crate) struct RestartArguments {
    /// Where that run listens for the request
    address: String,
}

/// Why the cases could not be run, or the server did not stop as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CompatError {
    /// Node or the official clients are missing.
    #[error("cannot run the official clients")]
    Clients(#[from] ClientsError),
    /// The server under test could not be built.
    #[error("cannot build the server under test")]
    Build(#[source] ProcessError),
    /// Cargo built the server but named no program.
    #[error("cargo reported no executable for the binary `tricedb` of tricedb-cli")]
    NoBinary,
    /// The server under test did not start, or did not stop as it should.
    #[error("the server under test failed")]
    Server(#[from] ServerError),
    /// The restart of the server could not be offered or asked for.
    #[error("cannot restart the server under test")]
    Control(#[from] ControlError),
    /// The official client gives other results than were recorded.
    #[error("the recorded queries do not give what was recorded")]
    Recorded(#[source] ProcessError),
    /// A collection of cases could not be run to its end.
    #[error("the cases did not run to their end")]
    Cases(#[from] cases::CasesError),
}

/// Runs the cases and prints what came of them.
///
/// # Errors
/// [`CompatError`] when they could not be run; failed cases are a [`Verdict`].
pub(crate) fn run(arguments: &CompatArguments) -> Result<Verdict, CompatError> {
    run_in(Console::new(arguments.json), arguments)
}

/// [`run`], on the console of another command.
pub(crate) fn run_in(
    console: Console,
    arguments: &CompatArguments,
) -> Result<Verdict, CompatError> {
    node_is_usable()?;
    let program = build_server(console)?;
    let own = clients::install_own(console)?;
    let shared = clients::install_shared(console)?;
    if arguments.only.is_none() {
        ask_recorded_queries(console, &own)?;
    }

    let server = Server::start(program)?;
    let control = Control::listen(&server)?;
    let session = cases::Session {
        console,
        url: server.url(),
        restart_command: control.command(),
        selection: Selection::of(arguments.only.as_deref(), arguments.all),
    };
    let outcome = run_cases(&session, &own, shared.as_deref());
    let stopped = server.stop();
    if !matches!(outcome, Ok(Verdict::Passed)) || stopped.is_err() {
        console.line("the last lines of the server's output:");
        console.line(&server.log_tail());
    }
    let verdict = outcome?;
    stopped?;
    Ok(verdict)
}

/// Asks the recorded queries through the official client of a server that holds the recorded data.
fn ask_recorded_queries(console: Console, own: &std::path::Path) -> Result<(), CompatError> {
    console.line("the recorded queries, through the official client:");
    let mut command = process::cargo();
    let test = "the_official_client_of_our_server_gives_what_was_recorded";
    command.args(["test", "--package", "tricedb", "--test", "vectors", "--", test]);
    command.env("TRICEDB_OFFICIAL_CLIENT", own);
    process::run(console, &mut command).map_err(CompatError::Recorded)
}

/// Asks a running `compat` to restart its server, and waits until it serves again.
///
/// # Errors
/// [`CompatError::Control`] when nobody listens or the restart failed.
pub(crate) fn request_restart(arguments: &RestartArguments) -> Result<(), CompatError> {
    Ok(control::request(&arguments.address)?)
}

fn run_cases(
    session: &cases::Session,
    own: &std::path::Path,
    shared: Option<&std::path::Path>,
) -> Result<Verdict, CompatError> {
    let console = session.console;
    console.line("official clients, the project's own cases:");
    let mut all = cases::run_own(session, own)?;
    match shared {
        Some(folder) => {
            console.line("official clients, shared cases:");
            all.extend(cases::run_shared(session, folder)?);
        }
        None => console.line("the shared cases are not beside this repository: skipped"),
    }
    Ok(report(console, &session.selection, &all))
}

fn report(console: Console, selection: &Selection, cases: &[Case]) -> Verdict {
    let count = |status: Status| cases.iter().filter(|case| case.status == status).count();
    let (passed, failed, skipped) =
        (count(Status::Passed), count(Status::Failed), count(Status::Skipped));
    let wrong: Vec<_> = cases.iter().filter(|case| selection.counts_against(case)).collect();
    for case in &wrong {
        let reason = case.reason.as_deref().unwrap_or("no reason given");
        console.line(&format!("must pass and did not: {}: {reason}", case.name));
    }
    if cases.is_empty() {
        console.line("no case matches; `--all` runs every case there is and names it");
    }
    console.line(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    let list: Vec<_> = cases.iter().map(Case::to_json).collect();
    console.result(&json!({"passed": passed, "failed": failed, "skipped": skipped, "cases": list}));
    if wrong.is_empty() && !cases.is_empty() { Verdict::Passed } else { Verdict::Failed }
}

/// Builds `tricedb` and gives the path of the program.
fn build_server(console: Console) -> Result<std::path::PathBuf, CompatError> {
    console.line("building the server under test");
    let mut command: Command = process::cargo();
    command.args(["build", "--package", "tricedb-cli", "--bin", "tricedb"]);
    command.arg("--message-format=json-render-diagnostics");
    let messages = process::output(&mut command).map_err(CompatError::Build)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "tricedb")
        .find_map(|message| message["executable"].as_str().map(Into::into))
        .map(|path: std::path::PathBuf| workspace::root().join(path))
        .ok_or(CompatError::NoBinary)
}
