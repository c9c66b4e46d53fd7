//! What `local()` promised survives a killed process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

use std::io::BufRead;
use std::process::{Command, Stdio};

use serde_json::json;
use tricedb::{Client, PendingState};

const APP: &str = "8a4f2f5c-7d0e-4a4b-9a5e-0f6a5f0c2b11";
const CHILD: &str = "write-until-killed";
const KILLS: usize = 5;

/// Nobody listens there: port 9 is refused at once on loopback.
const NO_SERVER: &str = "ws://127.0.0.1:9";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, mode, path] if mode == CHILD => write_until_killed(path).await,
        _ => {
            kill_and_look().await;
            println!("killed: ok");
        }
    }
}

/// Transacts without end, saying each number once it is durable.
async fn write_until_killed(path: &str) {
    let db = Client::builder(APP).url(NO_SERVER).path(path).open().await.unwrap();
    let first = db.query_local(json!({"todos": {}})).unwrap().rows("todos").len();
    for n in first.. {
        let receipt = db.transact(db.create("todos", json!({"n": n}))).unwrap();
        receipt.local().await.unwrap();
        println!("{n}");
    }
}

async fn kill_and_look() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("todos.db");
    let mut promised = 0;
    for kill in 1..=KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([CHILD, path.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 3 * kill;
        for line in lines.take(wanted) {
            promised = line.unwrap().parse::<usize>().unwrap() + 1;
        }
        // SIGKILL: nothing of the process gets to run.
        child.kill().unwrap();
        child.wait().unwrap();

        let db = Client::builder(APP).url(NO_SERVER).path(&path).open().await.unwrap();
        let todos = db.subscribe(json!({"todos": {}})).unwrap();
        let shown = db.query_local(json!({"todos": {}})).unwrap();
        let mut numbers: Vec<u64> =
            shown.rows("todos").iter().map(|row| row["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert!(numbers.len() >= promised, "{promised} were promised, {} are there", numbers.len());
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "in order, none twice");
        let pending = db.sync().pending().current();
        assert_eq!(pending.len(), numbers.len());
        assert!(pending.iter().all(|p| p.state == PendingState::Queued));
        drop(todos);
        db.close().await.unwrap();
    }
    assert!(promised >= 3 * KILLS);
}
