//! People in a room, in the terminal. Start it twice, side by side:
//!
//! ```text
//! tricedb serve --dev                                   # prints an app id
//! cargo run -p tricedb-example-rooms -- APP --name Ada
//! cargo run -p tricedb-example-rooms -- APP --name Bob
//! ```
//!
//! What is typed is told to those who are there, and stored nowhere. `/mood TEXT` changes what this person
//! shows, `/point X Y` moves their cursor, `/react EMOJI` lets one float by, and `/typing` is what a program
//! with a text field would do on each key.

#![expect(clippy::print_stdout, reason = "the terminal is what this program is for")]

use clap::Parser;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tricedb::{Client, Cursor, Peer, PeerAs, PeerEvent, Room, RoomStatus};

/// People in a room.
#[derive(Parser)]
struct Arguments {
    /// The app's id, as `tricedb serve --dev` or `tricedb app create` prints it.
    app: String,
    /// The server.
    #[arg(long, default_value = "ws://127.0.0.1:8888")]
    url: String,
    /// Who is here.
    #[arg(long, default_value = "somebody")]
    name: String,
    /// The room.
    #[arg(long, default_value = "lobby")]
    room: String,
}

/// What a person shows.
#[derive(Serialize, Deserialize)]
struct Person {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mood: Option<String>,
}

/// A part of it that changes by itself.
#[derive(Serialize)]
struct Mood<'a> {
    mood: &'a str,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let db = Client::builder(&arguments.app).url(&arguments.url).open().await?;
    let room =
        db.room("hall", &arguments.room).join(Person { name: arguments.name, mood: None })?;

    let mut status = room.status();
    let mut people = room.peer_events();
    let mut said = room.subscribe_as::<String>("said");
    let mut reactions = room.reactions().subscribe();
    let typing = room.typing("line");
    let mut typists = typing.peers();
    let mut shown_typists = Vec::new();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            Ok(()) = status.changed() => match &*status.borrow_and_update() {
                RoomStatus::Joined => println!("* you are in"),
                RoomStatus::Offline => println!("* offline; these were seen last"),
                RoomStatus::Refused(error) => println!("! {error}"),
                _ => {}
            },
            Some(event) = people.next() => match event {
                PeerEvent::Joined(peer) => println!("+ {}", name(&peer)),
                PeerEvent::Left(peer) => println!("- {}", name(&peer)),
                PeerEvent::Updated { peer, before } if peer.data.get("mood") != before.data.get("mood") => {
                    println!("~ {} is {}", name(&peer), text(&peer, "mood"));
                }
                PeerEvent::Updated { .. } => {}
            },
            Some(now) = typists.next() => {
                let now: Vec<String> = now.iter().map(|PeerAs { peer, .. }| name(peer)).collect();
                if now != shown_typists {
                    println!("… {}", if now.is_empty() { "nobody is typing".into() } else { now.join(", ") });
                    shown_typists = now;
                }
            }
            Some(Ok(message)) = said.next() => {
                println!("{}: {}", message.peer.as_deref().map(name).unwrap_or_default(), message.data);
            }
            Some(reaction) = reactions.next() => {
                println!("{} {}", reaction.emoji, reaction.peer.as_deref().map(name).unwrap_or_default());
            }
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                match line.trim().split_once(' ').unwrap_or((line.trim(), "")) {
                    ("", _) => {}
                    ("/quit", _) => break,
                    ("/typing", _) => typing.keystroke()?,
                    ("/react", emoji) => room.reactions().send(emoji)?,
                    ("/mood", mood) => room.set_presence(Mood { mood })?,
                    ("/point", place) => point(&room, place)?,
                    _ => {
                        typing.set_active(false)?;
                        room.publish("said", line.trim())?;
                    }
                }
            }
        }
    }
    drop(room);
    db.close().await?;
    Ok(())
}

fn point(room: &Room, place: &str) -> Result<(), Failure> {
    let cursors = room.cursors();
    for PeerAs { peer, data } in cursors.peers().current() {
        println!("  {} points at {}, {}", name(&peer), data.x, data.y);
    }
    let mut numbers = place.split_whitespace().map(str::parse::<f64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(x)), Some(Ok(y))) => cursors.show(Cursor::at(x, y))?,
        _ => cursors.hide()?,
    }
    Ok(())
}

fn name(peer: &Peer) -> String {
    text(peer, "name")
}

fn text(peer: &Peer, key: &str) -> String {
    peer.data.get(key).and_then(|value| value.as_str()).unwrap_or("?").to_owned()
}
