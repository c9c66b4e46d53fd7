//! The connection's life, and what is said again on the next.

use super::*;

#[test]
fn what_was_not_answered_is_sent_again_in_order_under_the_same_names_after_the_queries() {
    let (mut client, key, first) = one_sent();
    client.transact(todo(2, "two"));
    client.transact(todo(3, "three"));
    client.say(&ack(&first, 101));
    assert_eq!(client.ops(), ["transact", "transact"]);
    let names: Vec<Json> = client.sent.iter().map(|m| m["client-event-id"].clone()).collect();
    client.sent.clear();
    client.lose();
    assert_eq!(client.titles(&key), ["one", "two", "three"]);
    client.pass(30_000);
    assert_eq!(client.connects, 2);
    client.open_session();
    assert_eq!(client.ops(), ["add-query", "transact", "transact"]);
    let again: Vec<Json> = client.sent[1..].iter().map(|m| m["client-event-id"].clone()).collect();
    assert_eq!(again, names);
    assert_eq!(client.engine.pending(client.now)[1].attempts, 2);
}

#[test]
fn the_status_tells_the_connections_life() {
    use ConnectionStatus::{Authenticated, Closed, Connecting, Disabled, Errored, Opened};
    let mut client = Client::new(1);
    assert_eq!(client.engine.status(), Connecting);
    client.open_session();
    client.lose();
    client.pass(60_000);
    client.handle(Input::Connected);
    client.say(&json!({"op": "error", "status": 400, "type": "record-not-found",
        "message": "Record not found: app", "hint": {"record-type": "app"}, "original-event": {"op": "init"}}));
    assert!(matches!(client.events.last(), Some(SyncEvent::SessionRefused { error, .. })
        if error.kind == "record-not-found"));
    assert_eq!(client.closes, 1);
    // Long before the usual delay is over, nothing happens.
    client.pass(5_000);
    assert_eq!(client.connects, 2);
    client.engine.set_sync_enabled(false, client.now);
    client.drain();
    client.pass(600_000);
    assert_eq!(client.connects, 2, "disabled means quiet");
    client.engine.set_sync_enabled(true, client.now);
    client.drain();
    assert_eq!(client.connects, 3);
    client.engine.disconnect(client.now);
    client.drain();
    client.pass(600_000);
    let [lost, refused] =
        [[Opened, Authenticated, Closed, Connecting], [Opened, Errored, Disabled, Connecting]];
    assert_eq!(client.statuses, [&[Connecting][..], &lost, &refused, &[Closed]].concat());
}

#[test]
fn a_silent_server_and_malformed_frames_end_the_connection() {
    let mut client = Client::new(1);
    client.pass(15_000);
    assert_eq!(client.closes, 1, "no connection in time");
    client.pass(20_000);
    client.handle(Input::Connected);
    client.pass(15_000);
    assert_eq!(client.closes, 2, "no answer to init");
    client.pass(20_000);
    client.sent.clear();
    client.open_session();
    client.subscribe(q());
    client.pass(60_000);
    assert_eq!(client.closes, 3, "no answer to a query");
    client.pass(20_000);
    client.sent.clear();
    client.open_session();
    client.handle(Input::Frame(Frame::Text("{\"op\": \"refresh-ok\"}".into())));
    assert_eq!(client.closes, 4);
    client.say(&json!({"op": "of-tomorrow"}));
}

#[test]
fn unknown_messages_and_arrays_are_fine() {
    let mut client = Client::new(1);
    client.open_session();
    client.say(&json!([]));
    client.say(&json!([{"op": "of-tomorrow", "x": null}, {"op": "remove-query-ok", "q": q()}]));
    assert_eq!(client.engine.status(), ConnectionStatus::Authenticated);
}

#[test]
fn a_failed_refresh_makes_the_client_ask_again() {
    let (mut client, _, _) = one_sent();
    client.say(&json!({"op": "error", "status": 500, "type": "timeout", "message": "slow",
        "original-event": {"op": "refresh"}}));
    assert_eq!(client.ops(), ["remove-query", "add-query"]);
}

#[test]
fn an_answer_counts_after_a_failed_refresh_whatever_position_it_claims() {
    let (mut client, key, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.say(&json!({"op": "error", "status": 500, "type": "timeout", "message": "slow",
        "original-event": {"op": "refresh"}}));
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 100}),
    );
    assert_eq!(client.titles(&key), Vec::<String>::new());
    client.pass(120_000);
    assert_eq!(client.closes, 0, "nothing is awaited any more");
}

#[test]
fn a_queue_waits_while_the_app_is_read_only_and_queries_fail_while_it_is_disabled() {
    let mut client = Client::new(1);
    client.open_session();
    let key = client.subscribe(json!({"todos": {}}));
    let todo = tricedb_core::id::EntityId(uuid::Uuid::from_u128(7));
    client.transact(tx("todos", todo).update(json!({"title": "before"})));
    client.lose();
    client.pass(60_000);
    client.handle(Input::Connected);
    client.sent.clear();
    let attrs = client.engine.names.server().to_vec();
    client.say(&json!({"op": "init-ok", "session-id": "s", "attrs": attrs,
        "app-status": {"status": "read-only"}}));
    let sent = |client: &Client| client.sent.iter().filter(|m| m["op"] == "transact").count();
    assert_eq!(sent(&client), 0);
    let refused = client
        .engine
        .transact(client.now, tx("todos", todo).update(json!({"title": "now"})).into_operations());
    assert!(matches!(refused, Err(TransactError::AppStatus { status: "read-only" })));
    client.say(&json!({"op": "app-status-changed", "status": "active"}));
    assert_eq!(sent(&client), 1);
    client.say(&json!({"op": "app-status-changed", "status": "disabled"}));
    let failed = client.results.iter().any(|(query, result)| {
        *query == key && matches!(result, Err(QueryFailure::Refused(e)) if e.kind == "app-disabled")
    });
    assert!(failed);
    let closes = client.closes;
    client.say(&json!({"op": "app-status-changed", "status": "active"}));
    assert_eq!(client.closes, closes + 1, "everything begins anew");
}
