//! The `tricedb` program.

mod commands;
mod import;
mod logging;
mod remote;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::app::{self as app_command, AppArguments};
use commands::demo::{self as demo_command, DemoArguments};
use commands::import::{self as import_command, ImportArguments};
use commands::query::{self as query_command, QueryArguments};
use commands::schema::{self as schema_command, SchemaArguments};
use commands::serve::{self as serve_command, ServeArguments};
use commands::transact::{self as transact_command, TransactArguments};

/// A sync server for local-first programs, and the tools around it
#[derive(Parser)]
#[command(name = "tricedb", version)]
struct Arguments {
    /// Say more on standard error; RUST_LOG chooses what exactly
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(DemoArguments),
    Serve(ServeArguments),
    App(AppArguments),
    Schema(SchemaArguments),
    Query(QueryArguments),
    Transact(TransactArguments),
    Import(ImportArguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Arguments { verbose, command } = Arguments::parse();
    logging::begin(verbose);
    let outcome: Result<ExitCode, Box<dyn Error>> = match command {
        Command::Demo(arguments) => finished(demo_command::run(&arguments).await),
        Command::Serve(arguments) => serve_command::run(&arguments).await.map_err(Into::into),
        Command::App(arguments) => finished(app_command::run(&arguments).await),
        Command::Schema(arguments) => finished(schema_command::run(&arguments).await),
        Command::Query(arguments) => finished(query_command::run(&arguments).await),
        Command::Transact(arguments) => finished(transact_command::run(&arguments).await),
        Command::Import(arguments) => finished(import_command::run(&arguments).await),
    };
    outcome.unwrap_or_else(|error| {
        report(&*error);
        ExitCode::FAILURE
    })
}

/// A command that succeeds or fails and knows no third way to end.
fn finished<E: Error + 'static>(outcome: Result<(), E>) -> Result<ExitCode, Box<dyn Error>> {
    outcome.map(|()| ExitCode::SUCCESS).map_err(Into::into)
}

/// Prints an error and what caused it, leaving out causes that the text before them already tells.
fn report(error: &dyn Error) {
    let mut told = error.to_string();
    eprintln!("error: {told}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !told.contains(&text) {
            eprintln!("  because: {text}");
            told = text;
        }
        cause = inner.source();
    }
}
