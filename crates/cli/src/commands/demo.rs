//! `tricedb demo`: a server and three clients in this process, and what they do for each other.

mod person;
mod screen;
mod story;

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tricedb_server::app::AppError;
use tricedb_server::session::OpenAppError;
use tricedb_server::{Config, Server, ServerError, Storage, StoreError};

use super::serve::StopSignal;
use person::PersonError;
use screen::Screen;
use story::{Setting, Stage};

/// Shows live sync, offline edits and their convergence on this machine
#[derive(Args, Debug)]
pub(crate) struct DemoArguments {
    /// Keep the server up afterwards and print its addresses
    #[arg(long)]
    serve: bool,
    /// Where the server listens; a free port of this machine if left out
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Print the result as one JSON object on the last line of standard output
    #[arg(long)]
    json: bool,
}

/// Why the demo did not end as it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoFailure {
    #[error("cannot make a temporary directory, listen for signals, or write to standard output")]
    System(#[from] io::Error),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the server cannot open its app")]
    Open(#[from] OpenAppError),
    #[error("the server cannot answer for its app")]
    App(#[from] AppError),
    #[error(transparent)]
    Person(#[from] PersonError),
    #[error("not as promised: {0}")]
    NotAsPromised(String),
    #[error(
        "not done after {} s, while {stage}: something hangs. Run it again with RUST_LOG=tricedb=debug to \
         see what the clients and the server do",
        TIME_LIMIT.as_secs()
    )]
    TooSlow { stage: Stage },
    #[error("stopped while {stage}")]
    Interrupted { stage: Stage },
}

/// For the whole story; it takes a second or so where nothing is wrong.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// For the server's end after that.
const END_LIMIT: Duration = Duration::from_secs(20);

/// Ends well only if all clients and the server hold the same in the end.
pub(crate) async fn run(arguments: &DemoArguments) -> Result<(), DemoFailure> {
    let mut stop = StopSignal::new()?;
    let watchdog = Watchdog::begin();
    let folder = tempfile::Builder::new().prefix("tricedb-demo-").tempdir()?;
    let config = Config {
        listen: arguments.listen,
        storage: Storage::Directory(folder.path().join("server")),
        ..Config::default()
    };
    let server = Server::builder(config).start().await?;
    let app = server.create_app("Demo", None, None).await?;
    let mut screen = Screen::new(arguments.json);
    let setting = Setting { app: app.id, server: &server, folder: folder.path() };
    let stage = Cell::new(Stage::Opening);
    let told = tokio::select! {
        told = story::tell(&setting, &mut screen, &stage) => told,
        () = tokio::time::sleep(TIME_LIMIT) => Err(DemoFailure::TooSlow { stage: stage.get() }),
        () = stop.wait() => Err(DemoFailure::Interrupted { stage: stage.get() }),
    };
    if let Ok(outcome) = &told {
        let mut result = json!(outcome);
        result["app_id"] = json!(app.id);
        if arguments.serve {
            result["http_url"] = server.http_url().into();
            result["websocket_url"] = server.websocket_url().into();
            screen.addresses(app.id, &server.http_url(), &server.websocket_url())?;
        }
        screen.result(&result)?;
        if arguments.serve {
            watchdog.end();
            stop.wait().await;
        }
    }
    let ended = tokio::time::timeout(END_LIMIT, server.shutdown()).await;
    told?;
    ended
        .map_err(|_| DemoFailure::NotAsPromised("the server ends when it is asked to".into()))??;
    Ok(())
}

/// Ends the process if even its timers hang; until dropped.
struct Watchdog(Sender<()>);

impl Watchdog {
    fn begin() -> Self {
        let (sender, ended) = channel();
        std::thread::spawn(move || {
            let limit = TIME_LIMIT + 2 * END_LIMIT;
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "error: the demo is stuck and does not react any more after {} s",
                    limit.as_secs()
                );
                std::process::exit(1);
            }
        });
        Self(sender)
    }

    fn end(self) {
        drop(self.0);
    }
}
