//! Two official JavaScript clients and two Rust clients in one room, each behind a line that is cut now and
//! then.
//!
//! A harness of its own. Needs Node; without it, it skips aloud, except that in CI that is an error.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test ends where something is wrong"
)]

#[path = "../../../tricedb/tests/rooms/line.rs"]
mod line;
mod member;
#[path = "../main_job/official.rs"]
mod official;
#[path = "../main_job/process.rs"]
#[expect(dead_code, reason = "servers are ended by it elsewhere")]
mod process;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value as Json, json};
use tricedb_server::{Config, Server};

use line::Line;
use member::{Member, ROOM};

type Failure = Box<dyn std::error::Error>;

const NAME: &str = "rooms_of_all_clients";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As test harnesses do: a filter that does not match runs nothing.
    let filters: Vec<_> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|a| a == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let clients = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/js");
    if let Err(reason) = official::install(&clients) {
        if std::env::var("CI").is_ok_and(|ci| ci == "true") {
            eprintln!("{NAME}: {reason}");
            return ExitCode::FAILURE;
        }
        println!("SKIPPED {NAME}: {reason}");
        return ExitCode::SUCCESS;
    }
    match run(&clients) {
        Ok(()) => {
            println!("test {NAME} ... ok");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{NAME}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(official: &Path) -> Result<(), Failure> {
    // The clients' and the server's; this thread only waits.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (server, app) = runtime.block_on(async {
        let server = Server::builder(Config::default()).start().await?;
        let app = server.create_app("Test", None, None).await?.id;
        Ok::<_, Failure>((server, app))
    })?;
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(runtime.block_on(Line::to(server.local_addr())));
    }
    let handle = runtime.handle();
    let app = app.to_string();
    let mut members = vec![
        Member::official("js one", official, &app, lines[0].address())?,
        Member::rust("rust one", handle, &app, lines[1].address())?,
        Member::official("js two", official, &app, lines[2].address())?,
        Member::rust("rust two", handle, &app, lines[3].address())?,
    ];
    everyone_sees_the_others(&mut members)?;
    everyone_is_heard(&mut members)?;
    cursors_and_typing(&mut members)?;
    for (cut, line) in lines.iter().enumerate() {
        line.cut();
        newest_presence_everywhere(&mut members, &[cut])?;
    }
    lines.iter().for_each(Line::cut);
    newest_presence_everywhere(&mut members, &[0, 1, 2, 3])?;
    everyone_is_heard(&mut members)?;
    // Those who leave are gone, whichever way they go.
    while let Some(mut leaver) = members.pop() {
        leaver.leave()?;
        everyone_sees_the_others(&mut members)?;
        leaver.end()?;
    }
    runtime.block_on(server.shutdown())?;
    Ok(())
}

/// Each sees exactly the others, under their names.
fn everyone_sees_the_others(members: &mut [Member]) -> Result<(), Failure> {
    let names: Vec<String> = members.iter().map(|member| member.name().to_owned()).collect();
    for member in members {
        let mut others: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| *name != member.name()).collect();
        others.sort_unstable();
        member.sees("exactly the others", |peers| {
            let mut seen: Vec<&str> = peers.iter().filter_map(|p| p["name"].as_str()).collect();
            seen.sort_unstable();
            seen == others && peers.len() == others.len()
        })?;
    }
    Ok(())
}

/// What each tells comes to all others, with who told it, and not back.
fn everyone_is_heard(members: &mut [Member]) -> Result<(), Failure> {
    for speaker in 0..members.len() {
        let name = members[speaker].name().to_owned();
        for n in 0..3 {
            members[speaker].tell(&json!({ "by": name, "n": n }))?;
        }
        for listener in (0..members.len()).filter(|listener| *listener != speaker) {
            for n in 0..3 {
                let (data, peer) = members[listener].next_told()?;
                if data != json!({ "by": name, "n": n }) || peer["name"] != *name {
                    let who = members[listener].name();
                    return Err(format!("{who} hears {data} of {peer}, not {n} of {name}").into());
                }
            }
        }
    }
    Ok(())
}

/// Helpers of the Rust client say what the official components say.
fn cursors_and_typing(members: &mut [Member]) -> Result<(), Failure> {
    let space = format!("cursors-space-default--chat-{ROOM}");
    members[1].room()?.cursors().show(tricedb::Cursor::at(3.5, 4.25).color("tomato"))?;
    members[0].sees("the cursor", |peers| {
        peers.iter().any(|p| p[&space] == json!({ "x": 3.5, "y": 4.25, "color": "tomato" }))
    })?;
    members[1].room()?.cursors().hide()?;
    members[0].sees("no cursor", |peers| peers.iter().all(|p| p.get(&space).is_none()))?;

    let typing = members[1].room()?.typing("message");
    typing.keystroke()?;
    let is_typing = |peer: &Json| peer["message"] == true;
    members[2].sees("typing", |peers| peers.iter().any(is_typing))?;
    members[2].sees("the end of typing", |peers| !peers.iter().any(is_typing))?;
    // As `useTypingIndicator` does.
    members[0].show(&json!({ "message": true }))?;
    members[1].sees("typing", |peers| peers.iter().any(is_typing))?;
    let names: Vec<Json> =
        typing.peers().current().iter().map(|p| p.peer.data["name"].clone()).collect();
    if names != ["js one"] {
        return Err(format!("{names:?} are typing, not js one").into());
    }
    members[0].show(&json!({ "message": null }))?;
    members[3].sees("the end of typing", |peers| !peers.iter().any(is_typing))
}

/// What some show while their lines are cut is what all see in the end, and nobody twice.
fn newest_presence_everywhere(members: &mut [Member], cut: &[usize]) -> Result<(), Failure> {
    let mark = format!("{cut:?}");
    for who in cut {
        members[*who].show(&json!({ "mark": mark }))?;
    }
    let all = members.len();
    for (at, member) in members.iter_mut().enumerate() {
        let expected = cut.iter().filter(|who| **who != at).count();
        member.sees(&format!("everyone, and the newest of {mark}"), |peers| {
            let marked = peers.iter().filter(|p| p["mark"] == *mark);
            peers.len() == all - 1 && marked.count() == expected
        })?;
    }
    everyone_sees_the_others(members)
}
