//! Clients and a real server in one process, over loopback sockets. Run in native and in plain sessions.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tricedb::{
    AppId, Client, ConnectionStatus, PendingState, QueryFailure, QueryResultSnapshot, Subscription,
    SyncEvent, SyncedError, field, lookup, query, tx,
};
use tricedb_server::{Config, RunningServer, Server};

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(20);

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

    async fn client(&self) -> Client {
        super::builder(self.app).url(self.server.http_url()).open().await.unwrap()
    }
}

fn unique_email() -> Json {
    json!({"links": {}, "entities": {"users": {"attrs": {"email": {
        "valueType": "string", "config": {"unique": true, "indexed": true}}}}}})
}

async fn online(db: &Client) {
    let mut status = db.sync().status();
    soon("online", status.wait_for(|status| status.is_online())).await.unwrap();
}

async fn shows(
    subscription: &mut Subscription,
    what: &str,
    condition: impl FnMut(&QueryResultSnapshot) -> bool,
) -> std::sync::Arc<QueryResultSnapshot> {
    soon(what, subscription.wait_for(condition)).await.expect("the client is open")
}

fn titles(result: &QueryResultSnapshot) -> Vec<&str> {
    result.rows("todos").iter().map(|row| row["title"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_transaction_larger_than_the_server_takes_is_refused_and_those_behind_it_go_on() {
    let mut config = Config::default();
    config.http.message_bytes_max = 256 * 1024;
    let server = Server::builder(config).start().await.unwrap();
    let app = server.create_app("Test", None, None).await.unwrap().id;
    let db = super::builder(app).url(server.http_url()).open().await.unwrap();
    let write =
        |title: &str| db.transact(tx("todos", db.id()).create(json!({"title": title}))).unwrap();
    let (before, large) = (write("before"), write(&"x".repeat(1 << 20)));
    let behind: Vec<_> = (0..20).map(|_| write("behind")).collect();
    soon("before", before.synced()).await.unwrap();
    let refused = soon("refused", large.synced()).await.unwrap_err();
    assert!(
        matches!(&refused, SyncedError::Rejected(e) if e.kind == "message-too-large"),
        "{refused}"
    );
    for receipt in behind {
        soon("those behind", receipt.synced()).await.unwrap();
    }
    db.close().await.unwrap();
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_write_in_one_client_appears_in_the_other() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let mut seen = two.subscribe(query("todos").order_by("serverCreatedAt")).unwrap();
    let todo = one.id();
    let receipt = one.transact(one.create("todos", json!({"id": todo, "title": "milk"}))).unwrap();
    receipt.local().await.unwrap();
    let tx_id = soon("synced", receipt.synced()).await.unwrap();
    assert!(tx_id.0 > 0);
    let result = shows(&mut seen, "the write", |r| titles(r) == ["milk"]).await;
    assert!(result.is_complete());

    let mut back = one.subscribe(json!({"todos": {}})).unwrap();
    shows(&mut back, "the first result", |r| titles(r) == ["milk"]).await;
    two.transact(two.update(todo, json!({"title": "oat milk"})).unwrap()).unwrap();
    shows(&mut back, "the answer", |r| titles(r) == ["oat milk"]).await;
    one.transact(tx("todos", todo).delete()).unwrap();
    shows(&mut seen, "the deletion", |r| r.rows("todos").is_empty()).await;
    one.close().await.unwrap();
    two.close().await.unwrap();
    world.server.shutdown().await.unwrap();
}

#[tokio::test]
async fn links_merges_and_lookups_travel() {
    let world = World::with_schema(Some(unique_email())).await;
    let (one, two) = (world.client().await, world.client().await);
    let mut seen = two.subscribe(json!({"users": {"posts": {}}})).unwrap();
    let (post, other) = (one.id(), one.id());
    let ada = lookup("email", "ada@example.com");
    one.transact([
        tx("users", ada.clone()).update(json!({"meta": {"a": 1, "b": 2}})),
        tx("posts", post).create(json!({"title": "First"})),
        tx("posts", other).create(json!({"title": "Second"})),
    ])
    .unwrap();
    one.transact([
        tx("users", ada.clone()).link("posts", post).link("posts", other),
        tx("users", ada.clone()).merge(json!({"meta": {"b": null, "c": 3}})),
    ])
    .unwrap();
    let result = shows(&mut seen, "both posts", |r| {
        r.rows("users").first().and_then(|u| u["posts"].as_array()).is_some_and(|p| p.len() == 2)
    })
    .await;
    assert_eq!(result.rows("users")[0]["meta"], json!({"a": 1, "c": 3}));
    assert_eq!(result.rows("users")[0]["email"], "ada@example.com");
    one.transact(tx("users", ada).unlink("posts", post)).unwrap();
    let result = shows(&mut seen, "one post", |r| {
        r.rows("users")[0]["posts"].as_array().is_some_and(|p| p.len() == 1)
    })
    .await;
    assert_eq!(result.rows("users")[0]["posts"][0]["title"], "Second");
}

#[tokio::test]
async fn a_rejected_write_is_taken_back_with_the_reason() {
    let world = World::with_schema(Some(unique_email())).await;
    let (one, two) = (world.client().await, world.client().await);
    online(&one).await;
    online(&two).await;
    let taken = one.transact(one.create("users", json!({"email": "a@x"}))).unwrap();
    soon("synced", taken.synced()).await.unwrap();

    let mut events = two.sync().events();
    let mut seen = two.subscribe(query("users").filter(field("name").eq("Bob"))).unwrap();
    let bob = two.id();
    // The first client's user is not known here, so that only the server can tell.
    let refused =
        two.transact(tx("users", bob).create(json!({"email": "a@x", "name": "Bob"}))).unwrap();
    let stands =
        two.transact(tx("users", two.id()).create(json!({"email": "b@x", "name": "Bob"}))).unwrap();
    let error = soon("an answer", refused.synced()).await.unwrap_err();
    let SyncedError::Rejected(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind, "record-not-unique");
    soon("synced", stands.synced()).await.unwrap();
    shows(&mut seen, "one Bob", |r| {
        r.rows("users").len() == 1 && r.rows("users")[0]["email"] == "b@x"
    })
    .await;
    let rejected = loop {
        if let SyncEvent::Rejected { id, .. } = soon("an event", events.next()).await.unwrap() {
            break id;
        }
    };
    assert_eq!(rejected, *refused.event_id());
    let listed = two.sync().pending().current();
    assert_eq!(listed[0].state, PendingState::Rejected);
    two.sync().dismiss(&rejected).unwrap();
    assert!(two.sync().pending().current().iter().all(|p| p.state != PendingState::Rejected));
}

#[tokio::test]
async fn offline_edits_on_both_sides_converge() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let (mut a, mut b) = (
        one.subscribe(json!({"todos": {}})).unwrap(),
        two.subscribe(json!({"todos": {}})).unwrap(),
    );
    let todo = one.id();
    one.transact(one.create("todos", json!({"id": todo, "title": "t", "done": false}))).unwrap();
    shows(&mut b, "the first write", |r| titles(r) == ["t"]).await;
    for db in [&one, &two] {
        db.sync().disconnect();
        assert_eq!(*db.sync().status().borrow(), ConnectionStatus::Closed);
    }
    one.transact(one.update(todo, json!({"title": "by one"})).unwrap()).unwrap();
    one.transact(one.create("todos", json!({"title": "from one"}))).unwrap();
    two.transact(two.update(todo, json!({"done": true})).unwrap()).unwrap();
    two.transact(two.create("todos", json!({"title": "from two"}))).unwrap();
    assert_eq!(a.current().unwrap().rows("todos").len(), 2);
    assert_eq!(b.current().unwrap().rows("todos").len(), 2);
    one.sync().connect();
    two.sync().connect();
    let whole = |r: &QueryResultSnapshot| {
        r.rows("todos").len() == 3
            && r.rows("todos").iter().any(|t| t["title"] == "by one" && t["done"] == true)
    };
    shows(&mut a, "convergence", whole).await;
    shows(&mut b, "convergence", whole).await;
    soon("settled", one.sync().pending().settled()).await;
    soon("settled", two.sync().pending().settled()).await;
    let (a, b) = (a.current().unwrap(), b.current().unwrap());
    assert_eq!(a.data(), b.data());
}

#[tokio::test]
async fn clients_that_invent_the_same_attributes_offline_both_get_through() {
    let world = World::new().await;
    let mut dbs = Vec::new();
    for _ in 0..3 {
        let db = super::builder(world.app)
            .url(world.server.http_url())
            .sync_enabled(false)
            .open()
            .await
            .unwrap();
        db.transact(tx("notes", db.id()).create(json!({"text": "x", "stars": 1}))).unwrap();
        dbs.push(db);
    }
    let mut seen = dbs[0].subscribe(json!({"notes": {}})).unwrap();
    for db in &dbs {
        db.sync().set_enabled(true);
    }
    for db in &dbs {
        soon("settled", db.sync().pending().settled()).await;
        assert!(db.sync().pending().current().iter().all(|p| p.state != PendingState::Rejected));
    }
    shows(&mut seen, "three notes", |r| r.rows("notes").len() == 3 && r.is_complete()).await;
}

#[tokio::test]
async fn query_once_asks_the_server_and_fails_offline() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let receipt = one.transact(one.create("todos", json!({"title": "milk"}))).unwrap();
    soon("synced", receipt.synced()).await.unwrap();
    let result = soon("an answer", two.query_once(json!({"todos": {}}))).await.unwrap();
    assert_eq!(titles(&result), ["milk"]);
    assert!(result.is_complete());
    two.sync().disconnect();
    let offline = two.query_once(json!({"todos": {}})).await;
    assert_eq!(offline, Err(QueryFailure::Offline));
    let local = two.query_local(json!({"todos": {}})).unwrap();
    assert_eq!(titles(&local), ["milk"], "what was learnt stays");
    let refused = one.query_once(json!({"todos": {"$": {"limit": 0}}})).await;
    assert!(matches!(refused, Err(QueryFailure::Invalid(_))), "{refused:?}");
}

#[tokio::test]
async fn pages_show_what_the_server_says() {
    let world = World::new().await;
    let db = world.client().await;
    online(&db).await;
    let all: Vec<_> =
        (0..7).map(|n| tx("todos", db.id()).create(json!({"title": format!("{n}")}))).collect();
    for one in all {
        db.transact(one).unwrap();
    }
    soon("settled", db.sync().pending().settled()).await;
    let second = query("todos").limit(3).offset(3);
    let mut seen = db.subscribe(second).unwrap();
    let result = shows(&mut seen, "the second page", |r| r.rows("todos").len() == 3).await;
    let all = soon("an answer", db.query_once(json!({"todos": {}}))).await.unwrap();
    assert_eq!(titles(&result), titles(&all)[3..6]);
    let info = &result.page_info().unwrap()["todos"];
    assert_eq!(info["hasNextPage"], true);
    assert_eq!(info["hasPreviousPage"], true);
    assert!(info["endCursor"].is_array());
}

#[tokio::test]
async fn a_restarted_server_is_met_again_and_what_waited_gets_through() {
    let dir = tempfile::tempdir().unwrap();
    let config = |listen: Option<std::net::SocketAddr>| {
        let mut config = Config::default();
        config.storage = tricedb_server::Storage::Directory(dir.path().to_owned());
        config.listen = listen.unwrap_or(config.listen);
        config
    };
    let server = Server::builder(config(None)).start().await.unwrap();
    let app = server.create_app("Test", None, None).await.unwrap().id;
    let address = server.local_addr();
    let db = super::builder(app).url(server.http_url()).open().await.unwrap();
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    let first = db.transact(db.create("todos", json!({"title": "before"}))).unwrap();
    soon("synced", first.synced()).await.unwrap();
    server.shutdown().await.unwrap();
    let mut status = db.sync().status();
    soon("offline", status.wait_for(|status| !status.is_online())).await.unwrap();
    let waits = db.transact(db.create("todos", json!({"title": "meanwhile"}))).unwrap();
    assert_eq!(seen.current().unwrap().rows("todos").len(), 2);

    let server = Server::builder(config(Some(address))).start().await.unwrap();
    soon("synced", waits.synced()).await.unwrap();
    let other = super::builder(app).url(server.http_url()).open().await.unwrap();
    let result = soon("an answer", other.query_once(json!({"todos": {}}))).await.unwrap();
    assert_eq!(result.rows("todos").len(), 2);
    shows(&mut seen, "both", |r| r.rows("todos").len() == 2).await;
}

#[tokio::test]
async fn an_unknown_app_is_told_and_the_client_stays_usable() {
    let world = World::new().await;
    let db = Client::builder("99999999-2222-4333-8444-555555555555")
        .url(world.server.http_url())
        .open()
        .await
        .unwrap();
    let mut events = db.sync().events();
    let mut status = db.sync().status();
    soon("errored", status.wait_for(|s| *s == ConnectionStatus::Errored)).await.unwrap();
    let error = loop {
        let event = soon("an event", events.next()).await.unwrap();
        if let SyncEvent::SessionRefused { error, .. } = event {
            break error;
        }
    };
    assert_eq!(error.kind, "record-not-found");
    db.transact(db.create("todos", json!({"title": "kept"}))).unwrap();
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    shows(&mut seen, "the local write", |r| titles(r) == ["kept"]).await;
}

#[tokio::test]
async fn closing_ends_streams_and_waiting_with_a_reason() {
    let world = World::new().await;
    let db = world.client().await;
    db.sync().disconnect();
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    let mut events = db.sync().events();
    let receipt = db.transact(db.create("todos", json!({"title": "t"}))).unwrap();
    db.close().await.unwrap();
    db.close().await.unwrap();
    receipt.local().await.unwrap();
    assert_eq!(receipt.synced().await, Err(SyncedError::Closed));
    assert_eq!(soon("the end", seen.next()).await, Some(Err(QueryFailure::Closed)));
    assert_eq!(soon("the end", seen.next()).await, None);
    while soon("the end", events.next()).await.is_some() {}
    assert!(matches!(
        db.transact(db.create("todos", json!({}))),
        Err(tricedb::TransactError::Closed)
    ));
    assert_eq!(db.query_once(json!({"todos": {}})).await, Err(QueryFailure::Closed));
}

#[tokio::test]
async fn a_thousand_writes_from_two_clients_all_arrive_once() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let mut seen = one.subscribe(json!({"events": {}})).unwrap();
    for n in 0..500 {
        one.transact(tx("events", one.id()).create(json!({"from": 1, "n": n}))).unwrap();
        two.transact(tx("events", two.id()).create(json!({"from": 2, "n": n}))).unwrap();
    }
    soon("settled", one.sync().pending().settled()).await;
    soon("settled", two.sync().pending().settled()).await;
    let result = shows(&mut seen, "all", |r| r.rows("events").len() == 1000).await;
    for from in [1, 2] {
        let mut numbers: Vec<i64> = result
            .rows("events")
            .iter()
            .filter(|row| row["from"] == from)
            .map(|row| row["n"].as_i64().unwrap())
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_refusal_is_told_to_every_reader_and_takes_nothing_away() {
    let world = World::with_schema(Some(unique_email())).await;
    let db = world.client().await;
    online(&db).await;
    // No index serves this order, so that the server refuses what the client could sort by itself.
    let refused = query("users").order_by("nickname");
    let mut seen = db.subscribe(refused.clone()).unwrap();
    let failure = soon("a refusal", seen.wait_for(|_| false)).await.unwrap_err();
    assert!(matches!(failure, QueryFailure::Refused(_)), "{failure:?}");
    assert_eq!(seen.failure(), Some(failure.clone()));
    let mut second = db.subscribe(refused).unwrap();
    assert_eq!(soon("a refusal", second.wait_for(|_| false)).await, Err(failure.clone()));

    db.sync().disconnect();
    db.transact(db.create("users", json!({"nickname": "Ada"}))).unwrap();
    let result = shows(&mut seen, "the own write", |r| r.rows("users").len() == 1).await;
    assert_eq!(seen.failure(), None);
    assert!(!result.is_complete());
    db.sync().connect();
    assert_eq!(soon("a refusal", seen.wait_for(|_| false)).await, Err(failure));
    assert!(seen.current().is_some(), "what is known stays readable");
    db.close().await.unwrap();
    assert!(seen.current().is_some(), "also at the end");
    assert_eq!(seen.wait_for(|_| false).await, Err(QueryFailure::Closed));
}

#[tokio::test]
async fn a_link_to_one_is_an_object() {
    let side = |on, has, label| json!({"on": on, "has": has, "label": label});
    let schema = json!({"entities": {"users": {"attrs": {}}, "posts": {"attrs": {}}}, "links": {
        "author": {"forward": side("posts", "one", "author"), "reverse": side("users", "many", "posts")}}});
    let world = World::with_schema(Some(schema)).await;
    let db = world.client().await;
    online(&db).await;
    let (ada, post) = (db.id(), db.id());
    let mut seen = db.subscribe(query("posts").with(query("author").with(query("posts")))).unwrap();
    let receipt = db
        .transact([
            tx("users", ada).create(json!({"name": "Ada"})),
            tx("posts", post).create(json!({"title": "First"})).link("author", ada),
            tx("posts", db.id()).create(json!({"title": "Second"})),
        ])
        .unwrap();
    let check = |result: &QueryResultSnapshot| {
        let row = |title| result.rows("posts").iter().find(|row| row["title"] == title).unwrap();
        assert_eq!(row("First")["author"]["name"], "Ada");
        assert_eq!(row("First")["author"]["posts"][0]["title"], "First");
        assert!(row("Second").get("author").is_none());
    };
    check(&seen.current().unwrap());
    soon("synced", receipt.synced()).await.unwrap();
    check(&*shows(&mut seen, "the server's word", |r| r.is_complete()).await);
}

#[tokio::test]
async fn a_watched_query_can_be_asked_once_too() {
    let world = World::new().await;
    let db = world.client().await;
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    let receipt = db.transact(db.create("todos", json!({"title": "milk"}))).unwrap();
    soon("synced", receipt.synced()).await.unwrap();
    shows(&mut seen, "the server's word", |r| r.is_complete() && titles(r) == ["milk"]).await;
    soon("settled", db.sync().pending().settled()).await;
    let result = soon("an answer", db.query_once(json!({"todos": {}}))).await.unwrap();
    assert_eq!(titles(&result), ["milk"]);
    let refused = query("todos").order_by("title");
    let mut unserved = db.subscribe(refused.clone()).unwrap();
    let failure = soon("a refusal", unserved.wait_for(|_| false)).await.unwrap_err();
    assert_eq!(soon("a refusal", db.query_once(refused)).await, Err(failure));
}
