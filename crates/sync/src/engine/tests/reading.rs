//! Watched, kept and single results.

use super::*;

#[test]
fn confirmed_results_survive_a_restart_and_show_offline() {
    let (mut client, _, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.write();
    assert_eq!(client.disk.outbox, []);
    assert_eq!(client.disk.subscriptions.len(), 1);

    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    again.lose();
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["one"]);
    let shown = again.engine.shown(&key).unwrap();
    assert!(shown.is_complete());
    assert_eq!(shown.position(), TxId(101));
    let other = Query::try_from(json!({"todos": {"$": {"where": {"done": false}}}})).unwrap();
    let local = again.engine.query_local(again.now, &other).unwrap();
    assert_eq!(local.rows("todos").len(), 1);
    assert!(!local.is_complete());
}

#[test]
fn asking_once_needs_a_server_and_leaves_no_subscription() {
    let mut client = Client::new(1);
    client.lose();
    let query = Query::try_from(q()).unwrap();
    let offline = client.engine.query_once(client.now, &query);
    assert_eq!(offline, Err(QueryFailure::Offline));
    client.pass(60_000);
    client.engine.query_once(client.now, &query).unwrap();
    client.open_session();
    assert_eq!(client.ops(), ["add-query"]);
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 100}),
    );
    assert_eq!(client.answers.len(), 1);
    assert_eq!(client.answers[0].as_ref().unwrap().rows("todos").len(), 0);
    assert_eq!(client.ops(), ["add-query", "remove-query"]);
    assert!(client.results.is_empty());

    client.engine.query_once(client.now, &query).unwrap();
    client.drain();
    client.pass(30_000);
    assert!(matches!(client.answers[1], Err(QueryFailure::TimedOut { .. })));
    client.engine.query_once(client.now, &query).unwrap();
    client.drain();
    client.lose();
    assert!(matches!(client.answers[2], Err(QueryFailure::ConnectionLost)));
}

#[test]
fn a_refused_query_is_told_and_asked_again_with_the_next_connection() {
    let mut client = Client::new(1);
    client.open_session();
    client.subscribe(q());
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "original-event": {"op": "add-query", "q": q()}}));
    assert!(matches!(&client.results[0].1, Err(QueryFailure::Refused(e)) if e.message == "no"));
    client.sent.clear();
    client.lose();
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.ops(), ["add-query"]);
}

#[test]
fn an_older_result_does_not_replace_a_newer_one_within_a_session() {
    let (mut client, key, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 99}),
    );
    assert_eq!(client.titles(&key), ["one"]);
    // A new session may follow a restored backup: its word counts.
    client.lose();
    client.pass(60_000);
    client.open_session();
    client
        .say(&json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 7}));
    assert_eq!(client.titles(&key), Vec::<String>::new());
}

#[test]
fn a_result_that_comes_before_its_attributes_is_not_lost() {
    let (_, _, transact) = one_sent();
    let mut client = Client::new(5);
    client.open_session();
    let key = client.subscribe(q());
    let triples = triples_of(&transact, 1_700_000_000_500);
    client.say(&json!({"op": "add-query-ok", "q": q(), "result": result(&triples), "processed-tx-id": 101}));
    assert_eq!(client.titles(&key), Vec::<String>::new());
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    attrs.extend(attrs_of(&transact));
    client.say(
        &json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": []}),
    );
    assert_eq!(client.titles(&key), ["one"]);
}

#[test]
fn results_without_a_watcher_are_kept_within_bounds() {
    let mut client = Client::new(1);
    client.engine.settings.kept_queries_max = 2;
    client.open_session();
    for n in 0..4 {
        let q = json!({"todos": {"$": {"limit": n + 1}}});
        let key = client.subscribe(q.clone());
        client.say(
            &json!({"op": "add-query-ok", "q": q, "result": result(&[]), "processed-tx-id": 100}),
        );
        client.now.0 += 1;
        client.engine.unsubscribe(client.now, &key);
        client.drain();
    }
    client.write();
    assert_eq!(client.disk.subscriptions.len(), 2);
    assert_eq!(client.engine.queries.len(), 2);
}

#[test]
fn two_lists_of_one_kind_both_show_a_change_at_once() {
    let mut server = server::Server::new();
    let mut link = simulation::Line::new(Client::new(1), 0);
    link.connect(&mut server);
    link.exchange(&mut server);
    let open = link.client.subscribe(json!({"todos": {"$": {"where": {"done": false}}}}));
    let done = link.client.subscribe(json!({"todos": {"$": {"where": {"done": true}}}}));
    link.client.transact(todo(1, "one"));
    link.exchange(&mut server);
    assert_eq!(link.client.titles(&open), ["one"]);
    link.client.transact(tx("todos", entity(1)).update(json!({"done": true})));
    assert_eq!(link.client.titles(&open), Vec::<String>::new());
    assert_eq!(link.client.titles(&done), ["one"], "before the server heard of it");
    link.client.results.clear();
    link.exchange(&mut server);
    assert_eq!(link.client.titles(&done), ["one"]);
    assert!(link.client.results.is_empty(), "{:?}", link.client.results);
}

#[test]
fn a_hundred_thousand_facts_that_nobody_watches_are_within_bounds_the_oldest_go() {
    let mut client = Client::new(1);
    client.engine.settings.kept_facts_max = 60_000;
    client.open_session();
    let id = client.engine.names.server().iter().find(|attr| attr.etype() == "$files").unwrap().id;
    for list in 0..4_u128 {
        let q = json!({"$files": {"$": {"limit": list + 1}}});
        let key = client.subscribe(q.clone());
        let fact = |n| json!([entity(list * 25_000 + n), id, "x", 5]);
        let triples: Vec<Json> = (0..25_000).map(fact).collect();
        client.say(&json!({"op": "add-query-ok", "q": q, "result": result(&triples),
            "processed-tx-id": 100}));
        client.now.0 += 1;
        client.engine.unsubscribe(client.now, &key);
        client.drain();
    }
    client.pass(250);
    let batch = client.writing.take().unwrap();
    assert_eq!(client.engine.queries.len(), 2);
    assert_eq!(client.engine.local.view.index().triples().count(), 50_000);
    assert_eq!(batch.put_entities.len(), 50_000);
    let oldest = batch.put_entities.iter().map(|row| row.entity.uuid()).min();
    assert_eq!(oldest, Some(entity(50_000)));
}
