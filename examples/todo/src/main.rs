//! A to-do list in the terminal. Start it twice, side by side, and watch each other's changes:
//!
//! ```text
//! tricedb serve --dev                                  # prints an app id
//! cargo run -p tricedb-example-todo -- APP --name Ada
//! cargo run -p tricedb-example-todo -- APP --name Bob
//! ```
//!
//! `offline` and `online` show what happens to edits meanwhile; with `--file` the list and unsent edits
//! survive a restart.

#![expect(clippy::print_stdout, reason = "the terminal is what this program is for")]

mod command;

use std::path::PathBuf;

use clap::Parser;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tricedb::{Client, EntityId, QueryResultSnapshot, SyncEvent, query, tx};

use command::Command;

/// A to-do list that several people share.
#[derive(Parser)]
struct Arguments {
    /// The app's id, as `tricedb serve --dev` or `tricedb app create` prints it.
    app: String,
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:8888")]
    url: String,
    /// Who is typing.
    #[arg(long, default_value = "somebody")]
    name: String,
    /// A file that keeps the list; without one it is gone with the program.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Log what happens.
    #[arg(long)]
    verbose: bool,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let mut builder =
        Client::builder(&arguments.app).url(&arguments.url).verbose(arguments.verbose);
    if let Some(file) = &arguments.file {
        builder = builder.path(file);
    }
    let db = builder.open().await?;
    let mut todos = db.subscribe(query("todos").order_by("serverCreatedAt"))?;
    let mut events = db.sync().events();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut shown = None;
    println!("{}", command::HELP);
    loop {
        tokio::select! {
            result = todos.next() => match result {
                Some(Ok(result)) => {
                    print_list(&result);
                    shown = Some(result);
                }
                Some(Err(failure)) => println!("! {failure}"),
                None => break,
            },
            Some(event) = events.next() => print_event(&event),
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let rows = shown.as_ref().map_or(&[][..], |result| result.rows("todos"));
                match Command::parse(&line, rows.len()) {
                    Ok(Some(Command::Quit)) => break,
                    Ok(Some(command)) => {
                        if let Err(failure) = carry_out(&db, command, rows, &arguments.name) {
                            println!("! {failure}");
                        }
                    }
                    Ok(None) => {}
                    Err(reason) => println!("? {reason}"),
                }
            }
        }
    }
    db.close().await?;
    Ok(())
}

fn carry_out(db: &Client, command: Command, rows: &[Json], name: &str) -> Result<(), Failure> {
    let id = |place: usize| -> Result<EntityId, Failure> {
        let id = rows.get(place).and_then(|row| row["id"].as_str()).and_then(EntityId::parse);
        id.ok_or_else(|| "no such line".into())
    };
    match command {
        Command::Add(title) => {
            let todo = json!({"title": title, "done": false, "by": name});
            db.transact(tx("todos", db.id()).create(todo))?;
        }
        Command::Done(place, done) => {
            db.transact(tx("todos", id(place)?).update(json!({"done": done})))?;
        }
        Command::Edit(place, title) => {
            db.transact(tx("todos", id(place)?).update(json!({"title": title})))?;
        }
        Command::Remove(place) => drop(db.transact(tx("todos", id(place)?).delete())?),
        Command::Offline => db.sync().disconnect(),
        Command::Online => db.sync().connect(),
        Command::Pending => {
            let pending = db.sync().pending().current();
            println!("{} pending", pending.len());
            for one in pending {
                println!(
                    "  {:?}, {} operations, {:.1?} old",
                    one.state,
                    one.operations.len(),
                    one.age
                );
            }
        }
        Command::Help => println!("{}", command::HELP),
        Command::Quit => {}
    }
    Ok(())
}

fn print_list(result: &QueryResultSnapshot) {
    let note = if result.is_complete() { "" } else { " (what is known here)" };
    println!("--- {} to do{note}", result.rows("todos").len());
    for (place, todo) in result.rows("todos").iter().enumerate() {
        let tick = if todo["done"] == true { 'x' } else { ' ' };
        let text = |label: &str| todo[label].as_str().unwrap_or_default().to_owned();
        println!("{:>3} [{tick}] {}  ({})", place + 1, text("title"), text("by"));
    }
}

fn print_event(event: &SyncEvent) {
    match event {
        SyncEvent::Connected => println!("* online"),
        SyncEvent::Disconnected { reason, retry_in: None } => println!("* offline: {reason}"),
        SyncEvent::Disconnected { reason, retry_in: Some(wait) } => {
            println!("* offline: {reason}; next try in {wait:.1?}");
        }
        SyncEvent::SessionRefused { error, .. } => println!("* the server refuses: {error}"),
        SyncEvent::Rejected { error, .. } => println!("* taken back: {error}"),
        _ => {}
    }
}
