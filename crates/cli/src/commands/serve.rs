//! `tricedb serve`: runs the sync server until it is told to stop.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tricedb_server::{Config, Mode, RunningServer, Server, ServerError, Storage, StoreError};

/// Runs the sync server
#[derive(Args, Debug)]
pub(crate) struct ServeArguments {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8888")]
    listen: SocketAddr,
    /// Where to keep the apps
    #[arg(long, value_name = "DIR", default_value = "tricedb-data")]
    data: PathBuf,
    /// Keep the apps in memory only: nothing survives the end of the server
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    /// For development: make a first app, print its admin token, and let anybody make temporary apps
    #[arg(long)]
    dev: bool,
}

/// Why the server did not run or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeFailure {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot listen for signals, or write to standard output")]
    System(#[from] io::Error),
}

/// Runs until SIGTERM or SIGINT, then ends in order. A second signal ends it at once: everything that was
/// acknowledged is durable anyway.
pub(crate) async fn run(arguments: &ServeArguments) -> Result<ExitCode, ServeFailure> {
    // Before anybody is told that the server is ready.
    let mut stop = StopSignal::new()?;
    let storage = match arguments.memory {
        true => Storage::Memory,
        false => Storage::Directory(arguments.data.clone()),
    };
    let mode = if arguments.dev { Mode::Development } else { Mode::Production };
    let config = Config { listen: arguments.listen, storage, mode, ..Config::default() };
    let server = Server::builder(config).start().await?;
    if arguments.dev {
        first_app(&server).await?;
    }
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {}", server.http_url())?;
    out.flush()?;
    drop(out);
    stop.wait().await;
    tracing::info!(target: "tricedb::server", "shutting down");
    tokio::select! {
        ended = server.shutdown() => ended?,
        () = stop.wait() => return Ok(ExitCode::FAILURE),
    }
    Ok(ExitCode::SUCCESS)
}

/// Makes an app if there is none, and prints it.
async fn first_app(server: &RunningServer) -> Result<(), ServeFailure> {
    if !server.list_apps().await?.is_empty() {
        return Ok(());
    }
    let app = server.create_app("Development", None, None).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "app id       {}", app.id)?;
    writeln!(out, "admin token  {}", app.admin_token.reveal())?;
    Ok(out.flush()?)
}

/// SIGTERM or SIGINT.
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// From now on these signals do not end the process.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
