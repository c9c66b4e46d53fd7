//! The `tricedb` program.

mod commands;
mod import;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::import::{self as import_command, ImportArguments};

/// A sync server for local-first programs, and the tools around it
#[derive(Parser)]
#[command(name = "tricedb", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Import(ImportArguments),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome: Result<(), Box<dyn Error>> = match Arguments::parse().command {
        Command::Import(arguments) => import_command::run(&arguments).await.map_err(Into::into),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::FAILURE
        }
    }
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
