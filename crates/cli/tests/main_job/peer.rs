//! A Rust client in a process of its own, with the commands and events of `tests/js/peer.mjs`.

use std::io::{BufRead as _, Write as _};

use serde_json::{Value as Json, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tricedb::Client;

use crate::Failure;

/// Serves commands from standard input until it ends.
pub(crate) fn run(app: &str, url: &str) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(app, url))
}

async fn serve(app: &str, url: &str) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let client = Client::builder(app).url(url).path(folder.path().join("client.db")).open().await?;
    let mut commands = commands();
    while let Some(line) = commands.recv().await {
        let command: Json = serde_json::from_str(&line)?;
        let id = command["id"].clone();
        if let Err(error) = begin(&client, &command) {
            emit(&json!({ "event": "error", "id": id, "message": error.to_string() }))?;
        }
    }
    client.close().await?;
    Ok(())
}

/// Does what a command says; what comes of it is told later.
fn begin(client: &Client, command: &Json) -> Result<(), Failure> {
    let id = command["id"].clone();
    match command["cmd"].as_str() {
        Some("subscribe") => {
            let mut results = client.subscribe(&command["query"])?;
            tokio::spawn(async move {
                while let Some(shown) = results.next().await {
                    let event = match shown {
                        Ok(shown) => json!({ "event": "result", "id": id, "data": shown.data() }),
                        Err(tricedb::QueryFailure::Closed) => break,
                        Err(e) => {
                            json!({ "event": "query-error", "id": id, "message": e.to_string() })
                        }
                    };
                    if emit(&event).is_err() {
                        break;
                    }
                }
            });
        }
        Some("transact") => {
            let receipt = client.transact(&command["ops"])?;
            tokio::spawn(async move {
                let event = match receipt.synced().await {
                    Ok(_) => json!({ "event": "transacted", "id": id, "status": "synced" }),
                    Err(tricedb::SyncedError::Closed) => return,
                    Err(e) => json!({ "event": "error", "id": id, "message": e.to_string() }),
                };
                // Nobody listens any more if this fails.
                let _ = emit(&event);
            });
        }
        _ => return Err(format!("unknown command {command}").into()),
    }
    Ok(())
}

/// The lines of standard input, read where reading may block.
fn commands() -> UnboundedReceiver<String> {
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}

fn emit(event: &Json) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{event}")?;
    out.flush()
}
