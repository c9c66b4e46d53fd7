//! The job itself.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::Failure;
use crate::process::Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tricedb");
/// For one change to be seen everywhere; generous, for machines under load.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(sample: &Path, official: &Path) -> Result<(), Failure> {
    let data = tempfile::tempdir()?;
    let app = import(sample, data.path())?;
    let (server, address) = serve(data.path())?;
    let mut peers = Vec::new();
    for name in ["js one", "js two"] {
        let mut command = Command::new("node");
        command
            .arg("peer.mjs")
            .args([&app, &format!("http://{address}")])
            .arg(format!("ws://{address}/runtime/session"))
            .current_dir(official);
        peers.push(Peer::start(name, &mut command)?);
    }
    for name in ["rust one", "rust two"] {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["peer", &app, &format!("ws://{address}")]);
        peers.push(Peer::start(name, &mut command)?);
    }
    let subscribe = json!({ "cmd": "subscribe", "id": "all", "query": { "users": { "bookshelves": { "books": {} } } } });
    for peer in &mut peers {
        peer.process.send(&subscribe)?;
    }
    for peer in &mut peers {
        peer.wait("everything", |data| count(data) == (4, 45, 392))?;
    }
    let before = equal_views(&peers)?;
    for writer in 0..peers.len() {
        every_kind_of_write(&mut peers, writer)?;
    }
    let after = equal_views(&peers)?;
    if before != after {
        return Err("what was made and deleted again has left something behind".into());
    }
    for peer in peers {
        peer.process.close()?;
    }
    server.terminate()
}

fn import(sample: &Path, data: &Path) -> Result<String, Failure> {
    let output = Command::new(PROGRAM)
        .arg("import")
        .arg(sample)
        .args(["--no-rules", "--json", "--data"])
        .arg(data)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() {
        return Err(format!("import: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let report: Json = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let wanted = json!({ "$users": 4, "books": 392, "bookshelves": 45, "users": 4 });
    if report["entities"] != wanted || report["triples"] != 2_855 {
        return Err(format!("import reports {report}").into());
    }
    if report["admin_token"].as_str().is_none_or(str::is_empty) {
        return Err("import gives no admin token".into());
    }
    Ok(report["app_id"].as_str().ok_or("import gives no app id")?.to_owned())
}

fn serve(data: &Path) -> Result<(Process, String), Failure> {
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut server = Process::start("the server", &mut command)?;
    let deadline = Instant::now() + PATIENCE;
    while let Some(line) = server.line(deadline)? {
        if let Some(address) = line.strip_prefix("listening on http://") {
            let address = address.trim_end_matches('/').to_owned();
            return Ok((server, address));
        }
    }
    Err(server.failure("does not say that it listens"))
}

/// One writer makes, changes, merges, links, unlinks and deletes; all see each step.
fn every_kind_of_write(peers: &mut [Peer], writer: usize) -> Result<(), Failure> {
    let (shelf, book) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let user = peers[writer].data["users"][0]["id"].as_str().ok_or("no user")?.to_owned();
    let name = peers[writer].process.name().to_owned();
    let on_shelf = |data: &Json| find(data, &shelf).cloned();

    let made = json!([
        ["create", "bookshelves", shelf, { "name": name, "order": 100 + writer }],
        ["link", "users", user, { "bookshelves": shelf }],
    ]);
    everywhere(peers, writer, "create", &made, |data| {
        on_shelf(data).is_some_and(|s| s["name"] == *name && s["order"] == json!(100 + writer))
    })?;
    let changed = json!([["update", "bookshelves", shelf, { "name": "renamed" }]]);
    everywhere(peers, writer, "update", &changed, |data| {
        on_shelf(data).is_some_and(|s| s["name"] == "renamed" && s["order"] == json!(100 + writer))
    })?;
    let first = json!([["merge", "bookshelves", shelf, { "desc": { "tags": { "old": 1 } } }]]);
    everywhere(peers, writer, "first merge", &first, |data| {
        on_shelf(data).is_some_and(|s| s["desc"] == json!({ "tags": { "old": 1 } }))
    })?;
    let second =
        json!([["merge", "bookshelves", shelf, { "desc": { "tags": { "new": 2 }, "x": [1] } }]]);
    everywhere(peers, writer, "second merge", &second, |data| {
        on_shelf(data)
            .is_some_and(|s| s["desc"] == json!({ "tags": { "old": 1, "new": 2 }, "x": [1] }))
    })?;
    let linked = json!([
        ["create", "books", book, { "title": "Made by a test", "pageCount": 7 }],
        ["link", "bookshelves", shelf, { "books": book }],
    ]);
    everywhere(peers, writer, "link", &linked, |data| {
        on_shelf(data).is_some_and(|s| s["books"][0]["title"] == "Made by a test")
    })?;
    let unlinked = json!([["unlink", "bookshelves", shelf, { "books": book }]]);
    everywhere(peers, writer, "unlink", &unlinked, |data| {
        on_shelf(data).is_some_and(|s| s["books"].as_array().is_some_and(Vec::is_empty))
    })?;
    let deleted = json!([["delete", "bookshelves", shelf], ["delete", "books", book]]);
    everywhere(peers, writer, "delete", &deleted, |data| {
        on_shelf(data).is_none() && count(data) == (4, 45, 392)
    })
}

/// One peer writes; it gets its answer and all see the change.
fn everywhere(
    peers: &mut [Peer],
    writer: usize,
    what: &str,
    ops: &Json,
    seen: impl Fn(&Json) -> bool,
) -> Result<(), Failure> {
    peers[writer].process.send(&json!({ "cmd": "transact", "id": what, "ops": ops }))?;
    let what = format!("the {what} of {}", peers[writer].process.name());
    for peer in peers {
        peer.wait(&what, &seen)?;
    }
    Ok(())
}

/// A client in a process of its own, and the newest result that it has told.
struct Peer {
    process: Process,
    data: Json,
}

impl Peer {
    fn start(name: &str, command: &mut Command) -> Result<Self, Failure> {
        Ok(Self { process: Process::start(name, command)?, data: Json::Null })
    }

    /// Waits until a result fits.
    fn wait(&mut self, what: &str, fits: impl Fn(&Json) -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        while !fits(&self.data) {
            let Some(line) = self.process.line(deadline)? else {
                let seen = count(&self.data);
                return Err(self
                    .process
                    .failure(&format!("does not see {what}; it sees {seen:?}")));
            };
            let event: Json = serde_json::from_str(&line)?;
            match event["event"].as_str() {
                Some("result") => self.data = event["data"].clone(),
                Some("error" | "query-error") => {
                    return Err(self.process.failure(&format!("is refused: {event}")));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What all see, the same for all.
fn equal_views(peers: &[Peer]) -> Result<Json, Failure> {
    let first = sorted(&peers[0].data);
    for peer in &peers[1..] {
        if sorted(&peer.data) != first {
            let (a, b) = (peers[0].process.name(), peer.process.name());
            return Err(format!("{a} and {b} see different data").into());
        }
    }
    Ok(first)
}

/// Lists of entities in order of ids: rows of nested links have no promised order, and clients that made an
/// entity themselves may know another creation time.
fn sorted(data: &Json) -> Json {
    match data {
        Json::Array(items) => {
            let mut items: Vec<Json> = items.iter().map(sorted).collect();
            if items.iter().all(|item| item["id"].is_string()) {
                items.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
            }
            Json::Array(items)
        }
        Json::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        other => other.clone(),
    }
}

/// Users, bookshelves and different books.
fn count(data: &Json) -> (usize, usize, usize) {
    let users = data["users"].as_array().map_or(&[][..], Vec::as_slice);
    let shelves: Vec<&Json> =
        users.iter().flat_map(|u| u["bookshelves"].as_array()).flatten().collect();
    let books: std::collections::BTreeSet<_> = shelves
        .iter()
        .flat_map(|shelf| shelf["books"].as_array())
        .flatten()
        .filter_map(|book| book["id"].as_str())
        .collect();
    (users.len(), shelves.len(), books.len())
}

fn find<'a>(data: &'a Json, shelf: &str) -> Option<&'a Json> {
    let users = data["users"].as_array()?;
    users
        .iter()
        .flat_map(|user| user["bookshelves"].as_array())
        .flatten()
        .find(|found| found["id"] == *shelf)
}
