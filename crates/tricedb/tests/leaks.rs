//! Opened and closed a hundred times, everything is as before: tasks, threads, descriptors, bytes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

use std::time::Duration;

use serde_json::json;
use tricedb::{Client, tx};
use tricedb_server::{Config, Server};

const ROUNDS: usize = 100;

/// Rounds before measuring begins: allocators and pools reach their size.
const WARM_UP: usize = 20;

/// Rounds that leak a kilobyte or two each, as a client's engine would, go well beyond this.
const GROWTH_MAX_KB: u64 = 2_048;

fn main() {
    if !cfg!(target_os = "linux") {
        println!("leaks: skipped, needs Linux's /proc");
        return;
    }
    // The server has a runtime of its own, so that the clients' tasks can be counted.
    let server_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (server, app) = server_runtime.block_on(async {
        let server = Server::builder(Config::default()).start().await.unwrap();
        let app = server.create_app("Test", None, None).await.unwrap().id;
        (server, app)
    });
    let url = server.http_url();
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Idle threads of the blocking pool end soon enough to be counted.
        .thread_keep_alive(Duration::from_millis(10))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut before = None;
        for round in 0..WARM_UP + ROUNDS {
            if round == WARM_UP {
                before = Some(settled().await);
            }
            let path = dir.path().join(format!("{}.db", round % 2));
            let db = Client::builder(app).url(&url).path(path).open().await.unwrap();
            let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
            let mut events = db.sync().events();
            // One entity, so that the data does not grow.
            let todo = tricedb::EntityId::parse("7d000000-0000-4000-8000-000000000001").unwrap();
            let receipt = db.transact(tx("todos", todo).update(json!({"round": round}))).unwrap();
            receipt.synced().await.unwrap();
            seen.wait_for(|r| r.rows("todos").first().is_some_and(|t| t["round"] == round))
                .await
                .unwrap();
            // Held by the program while the client goes, and left before that.
            let (held, left) = (
                db.room("chat", "held").join(()).unwrap(),
                db.room("chat", "left").join(()).unwrap(),
            );
            held.joined().await.unwrap();
            left.joined().await.unwrap();
            let (mut peers, mut heard) = (held.peer_events(), held.subscribe("topic"));
            drop(left);
            if round % 2 == 0 {
                db.close().await.unwrap();
            } else {
                // The background does the same.
                drop(db);
            }
            while events.next().await.is_some() {}
            while peers.next().await.is_some() {}
            while heard.next().await.is_some() {}
        }
        let before = before.unwrap();
        let after = settled_as(&before).await;
        assert_eq!(after.tasks, before.tasks, "tasks");
        assert_eq!(after.threads, before.threads, "threads");
        assert_eq!(after.descriptors, before.descriptors, "descriptors");
        let growth = after.resident_kb.saturating_sub(before.resident_kb);
        assert!(growth <= GROWTH_MAX_KB, "{growth} kB more after {ROUNDS} rounds");
        println!("leaks: ok, {before:?} before, {after:?} after {ROUNDS} rounds");
    });
    server_runtime.block_on(server.shutdown()).unwrap();
}

#[derive(Debug)]
struct Held {
    tasks: usize,
    threads: usize,
    descriptors: usize,
    resident_kb: u64,
}

fn held() -> Held {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    Held {
        tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        threads: number("Threads:") as usize,
        descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        resident_kb: number("VmRSS:"),
    }
}

/// What is held once it stays the same for a while: closing in the background takes a moment.
async fn settled() -> Held {
    let mut last = held();
    let mut same = 0;
    while same < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = held();
        let is_same = (now.tasks, now.threads, now.descriptors)
            == (last.tasks, last.threads, last.descriptors);
        same = if is_same { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Waits until as little is held as before, for a while.
async fn settled_as(before: &Held) -> Held {
    for _ in 0..500 {
        let now = held();
        if now.tasks <= before.tasks
            && now.threads <= before.threads
            && now.descriptors <= before.descriptors
        {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    held()
}
