//! What transactions promise, between clients and a real server: seen whole or not at all, and operators
//! that count once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tricedb::{
    AppId, Client, QueryResultSnapshot, Subscription, SyncedError, TransactError, TxBuilder, query,
    tx,
};
use tricedb_server::{Config, RunningServer, Server};

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// Each is written by two steps.
const ROWS: usize = 500;
const ROUNDS: u64 = 8;

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

struct World {
    server: RunningServer,
    app: AppId,
}

impl World {
    async fn new() -> Self {
        Self::with_schema(None).await
    }

    async fn with_schema(schema: Option<Json>) -> Self {
        let server = Server::builder(Config::default()).start().await.unwrap();
        let app = server.create_app("Test", schema.as_ref(), None).await.unwrap().id;
        Self { server, app }
    }

    async fn client(&self, native: bool) -> Client {
        let builder = Client::builder(self.app).url(self.server.http_url());
        builder.native_sessions(native).open().await.unwrap()
    }
}

/// The round that all rows of a result tell; they must agree, and be all there.
fn round(result: &QueryResultSnapshot) -> Option<u64> {
    let rows = result.rows("todos");
    let rounds: BTreeSet<u64> =
        rows.iter().filter_map(|row| row.get("round").and_then(Json::as_u64)).collect();
    assert!(rounds.len() <= 1, "half of a transaction: rounds {rounds:?}");
    assert!(rows.is_empty() || rows.len() == ROWS, "half of a transaction: {} rows", rows.len());
    rounds.first().copied()
}

/// Looks at every result until the last round; gives how many rounds it saw.
async fn watch(mut shown: Subscription) -> usize {
    let mut seen = BTreeSet::new();
    while seen.last() != Some(&ROUNDS) {
        let result = soon("the last round", shown.next()).await.expect("open").unwrap();
        seen.extend(round(&result));
    }
    seen.len()
}

#[tokio::test]
async fn a_large_transaction_is_seen_whole_or_not_at_all() {
    let world = World::new().await;
    let writer = world.client(true).await;
    let mut readers = Vec::new();
    let mut clients = vec![writer.clone()];
    for native in [true, false] {
        let client = world.client(native).await;
        readers.push(tokio::spawn(watch(client.subscribe(query("todos")).unwrap())));
        // A window sees what comes in at one end and leaves at the other.
        let mut odd = client.subscribe(json!({"todos": {"$": {"where": {"odd": true}}}})).unwrap();
        readers.push(tokio::spawn(async move {
            let last = |result: &QueryResultSnapshot| {
                round(result);
                result.rows("todos").first().is_some_and(|row| row["round"] == ROUNDS - 1)
            };
            soon("the last odd round", odd.wait_for(last)).await.expect("open");
            1
        }));
        clients.push(client);
    }
    readers.push(tokio::spawn(watch(writer.subscribe(query("todos")).unwrap())));
    let rows: Vec<_> = (0..ROWS).map(|_| writer.id()).collect();
    for round in 1..=ROUNDS {
        let values = json!({"round": round, "odd": round % 2 == 1});
        let all = rows.iter().map(|row| tx("todos", *row).update(values.clone()));
        let receipt = writer.transact(all.collect::<Vec<_>>()).unwrap();
        soon("the acknowledgement", receipt.synced()).await.unwrap();
    }
    for reader in readers {
        assert!(reader.await.unwrap() >= 1);
    }
    for client in clients {
        client.close().await.unwrap();
    }
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn increments_of_several_clients_made_offline_are_all_counted() {
    let world = World::new().await;
    let one = world.client(true).await;
    let post = one.id();
    let made = one.transact(tx("posts", post).create(json!({"likes": 1, "tags": ["a"]}))).unwrap();
    soon("the post", made.synced()).await.unwrap();
    let others = [one, world.client(true).await, world.client(true).await];
    let mut receipts = Vec::new();
    for (number, db) in others.iter().enumerate() {
        let mut shown = db.subscribe(query("posts")).unwrap();
        soon("the post", shown.wait_for(|r| !r.rows("posts").is_empty())).await.expect("open");
        db.sync().disconnect();
        for _ in 0..10 {
            let chain =
                json!({"likes": {"$increment": 2}, "tags": {"$addToSet": format!("t{number}")}});
            receipts.push(db.transact(tx("posts", post).update(chain)).unwrap());
        }
        let own = soon("its own", shown.wait_for(|r| r.rows("posts")[0]["likes"] == 21)).await;
        assert_eq!(own.expect("open").rows("posts")[0]["tags"], json!(["a", format!("t{number}")]));
    }
    for db in &others {
        db.sync().connect();
    }
    for receipt in &receipts {
        soon("an acknowledgement", receipt.synced()).await.unwrap();
    }
    for db in &others {
        let mut shown = db.subscribe(query("posts")).unwrap();
        let all = soon("all", shown.wait_for(|r| r.rows("posts")[0]["likes"] == 61)).await;
        let mut tags: Vec<String> =
            serde_json::from_value(all.expect("open").rows("posts")[0]["tags"].clone()).unwrap();
        tags.sort();
        assert_eq!(tags, ["a", "t0", "t1", "t2"]);
        db.close().await.unwrap();
    }
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn one_of_two_that_compare_and_set_wins() {
    let world = World::new().await;
    let (one, two) = (world.client(true).await, world.client(true).await);
    let seat = one.id();
    let made = one.transact(tx("seats", seat).create(json!({"taken": "nobody"}))).unwrap();
    soon("the seat", made.synced()).await.unwrap();
    let mut receipts = Vec::new();
    let mut views = Vec::new();
    for (name, db) in [("one", &one), ("two", &two)] {
        let mut shown = db.subscribe(query("seats")).unwrap();
        soon("the seat", shown.wait_for(|r| !r.rows("seats").is_empty())).await.expect("open");
        db.sync().disconnect();
        let take = tx("seats", seat).expect("taken", "nobody").update(json!({"taken": name}));
        receipts.push(db.transact(take).unwrap());
        views.push(shown);
    }
    one.sync().connect();
    soon("the first", receipts[0].synced()).await.unwrap();
    two.sync().connect();
    let refused = soon("the second", receipts[1].synced()).await.unwrap_err();
    let SyncedError::Rejected(error) = refused else { panic!("{refused:?}") };
    assert!(error.message.contains("Expected `seats.taken`"), "{error}");
    for shown in &mut views {
        let won = |r: &QueryResultSnapshot| r.rows("seats")[0]["taken"] == "one";
        soon("the winner", shown.wait_for(won)).await.expect("open");
    }
    for db in [one, two] {
        db.close().await.unwrap();
    }
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_a_client_can_decide_it_refuses_at_once_in_the_servers_words() {
    let attr = |kind: &str, required: bool, unique: bool| json!({"valueType": kind, "required": required, "config": {"unique": unique, "indexed": unique}});
    let users = json!({"email": attr("string", true, true), "age": attr("number", false, false)});
    let schema = json!({"entities": {"users": {"attrs": users}}, "links": {}});
    let world = World::with_schema(Some(schema)).await;
    let (knows, stranger) = (world.client(true).await, world.client(true).await);
    let ada = knows.id();
    let mut shown = knows.subscribe(query("users")).unwrap();
    let made = knows.transact(tx("users", ada).create(json!({"email": "a@b.c"}))).unwrap();
    soon("ada", made.synced()).await.unwrap();
    soon("ada", shown.wait_for(|r| r.is_complete() && !r.rows("users").is_empty()))
        .await
        .expect("open");
    // It needs the attributes, not the facts.
    soon("the attributes", stranger.query_once(query("nothing"))).await.unwrap();

    let at_once = |db: &Client, write: TxBuilder| match db.transact(write).unwrap_err() {
        TransactError::Invalid(error) => (error.message().to_owned(), error.hint().clone()),
        other => panic!("{other:?}"),
    };
    let someone = knows.id();
    let taken = || tx("users", someone).create(json!({"email": "a@b.c"}));
    let wrong = || tx("users", ada).update(json!({"age": "old"}));
    let empty = || tx("users", someone).create(json!({"age": 1}));
    let (message, hint) = at_once(&knows, taken());
    assert!(message.starts_with("`email` is a unique attribute on `users`"), "{message}");
    assert!(at_once(&knows, wrong()).0.starts_with("Invalid value type for users.age."));
    let missing = at_once(&knows, empty());
    assert!(missing.0.starts_with("Missing required attribute `users/email`"), "{missing:?}");
    // Nothing of it stays.
    assert_eq!(shown.current().unwrap().rows("users").len(), 1);
    assert!(knows.sync().pending().current().is_empty());

    // Who does not hold the value cannot know, and is told the same by the server.
    assert_eq!(at_once(&stranger, empty()), missing);
    let receipt = stranger.transact(taken()).unwrap();
    let later =
        stranger.transact(tx("users", stranger.id()).create(json!({"email": "d@e.f"}))).unwrap();
    match soon("the refusal", receipt.synced()).await.unwrap_err() {
        SyncedError::Rejected(error) => assert_eq!((error.message, error.hint), (message, hint)),
        other => panic!("{other:?}"),
    }
    soon("the one behind it", later.synced()).await.unwrap();
    let two = |r: &QueryResultSnapshot| r.rows("users").len() == 2;
    soon("both", shown.wait_for(two)).await.expect("open");
    for db in [knows, stranger] {
        db.close().await.unwrap();
    }
    world.server.shutdown().await.unwrap();
}
