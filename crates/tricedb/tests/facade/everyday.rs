//! The small things of every day: what the seed of this project shows, each over a real server.

use serde_json::json;
use tricedb::{
    Client, Config, ConnectionStatus, Coverage, PendingState, QueueError, SyncEvent, TransactError,
    tx,
};

use crate::world::{World, soon};

#[tokio::test]
async fn a_client_without_sync_works_and_sends_later() {
    let world = World::new(None).await;
    let config: Config = serde_json::from_value(json!({
        "syncEnabled": false, "websocketUrl": world.server.websocket_url(), "verboseLogging": true,
    }))
    .unwrap();
    let db = Client::builder(world.app).config(config).open().await.unwrap();
    assert_eq!(*db.sync().status().borrow(), ConnectionStatus::Disabled);
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    let receipt = db.transact(db.create("todos", json!({"title": "later"}))).unwrap();
    receipt.local().await.unwrap();
    assert_eq!(seen.current().unwrap().rows("todos").len(), 1);
    assert_eq!(db.sync().pending().current()[0].state, PendingState::Queued);
    db.sync().set_enabled(true);
    soon("synced", receipt.synced()).await.unwrap();
    let all = soon("complete", seen.wait_for(|seen| seen.is_complete())).await.unwrap();
    assert_eq!(all.rows("todos").len(), 1);
}

#[tokio::test]
async fn an_id_alone_is_enough_where_it_is_known_once() {
    let world = World::new(None).await;
    let db = world.client().await;
    // What is written stays known until the server has it, and longer only if a subscription holds it.
    db.sync().disconnect();
    let (once, twice, never) = (db.id(), db.id(), db.id());
    db.transact([
        tx("todos", once).create(json!({"title": "a"})),
        tx("todos", twice).create(json!({"title": "b"})),
        tx("notes", twice).create(json!({"text": "c"})),
    ])
    .unwrap();
    db.transact([db.update(once, json!({"count": {"$increment": 2}})).unwrap()]).unwrap();
    for id in [twice, never] {
        let refused = db.delete(id).unwrap_err();
        assert!(matches!(refused, TransactError::UnknownNamespace { .. }), "{refused}");
    }
    let local = db.query_local(json!({"todos": {}})).unwrap();
    assert_eq!(local.coverage(), Coverage::Partial, "no subscription asked for it");
    let counted = local.rows("todos").iter().find(|row| row["id"] == once.to_string()).unwrap();
    assert_eq!(counted["count"], 2);
    let gone = db.transact(db.delete(once).unwrap()).unwrap();
    db.sync().connect();
    soon("synced", gone.synced()).await.unwrap();
    let mut seen = db.subscribe(json!({"todos": {}})).unwrap();
    soon("one left", seen.wait_for(|r| r.is_complete() && r.rows("todos").len() == 1))
        .await
        .unwrap();
    assert_eq!(db.query_local(json!({"todos": {}})).unwrap().coverage(), Coverage::Complete);
}

#[tokio::test]
async fn what_waits_can_be_cancelled_retried_and_dismissed() {
    let world = World::new(None).await;
    let db = world.client().await;
    let mut events = db.sync().events();
    db.sync().disconnect();
    let todo = db.id();
    let cancelled = db.transact(tx("todos", db.id()).create(json!({"title": "no"}))).unwrap();
    // Strict, and the server will not have it.
    let rejected = db.transact(
        tx("todos", todo).update_with(json!({"title": "early"}), tricedb::UpdateMode::Strict),
    );
    db.sync().cancel(cancelled.event_id()).unwrap();
    assert_eq!(db.sync().cancel(cancelled.event_id()), Err(QueueError::Unknown));
    db.sync().connect();
    if let Ok(rejected) = rejected {
        soon("refused", rejected.synced()).await.unwrap_err();
        let id = loop {
            if let Some(SyncEvent::Rejected { id, .. }) = soon("an event", events.next()).await {
                break id;
            }
        };
        assert_eq!(id, *rejected.event_id());
        let made = db.transact(tx("todos", todo).create(json!({"title": "late"}))).unwrap();
        soon("synced", made.synced()).await.unwrap();
        let again = db.sync().retry(&id).unwrap();
        soon("synced", again.synced()).await.unwrap();
        assert_eq!(db.sync().dismiss(&id), Err(QueueError::Unknown), "it has a new name");
    }
    let result = soon("an answer", db.query_once(json!({"todos": {}}))).await.unwrap();
    assert_eq!(result.rows("todos").len(), 1);
    assert_eq!(result.rows("todos")[0]["title"], "early");
}
