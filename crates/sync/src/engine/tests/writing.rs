//! From the call to the acknowledgement, or back.

use super::*;

#[test]
fn an_acknowledgement_before_the_refresh_never_lets_the_write_flicker() {
    let (mut client, key, transact) = one_sent();
    client.results.clear();
    client.say(&ack(&transact, 101));
    assert_eq!(client.settled, [(1, Ok(TxId(101)))]);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Synced]);
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [], "the result contains it: nothing is pending");
    assert!(client.results.is_empty(), "nothing changed on screen: {:?}", client.results);
}

#[test]
fn a_refresh_before_the_acknowledgement_never_lets_the_write_flicker() {
    let (mut client, key, transact) = one_sent();
    client.results.clear();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    assert_eq!(client.titles(&key), ["one"]);
    client.say(&ack(&transact, 101));
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), []);
    assert!(client.results.is_empty(), "{:?}", client.results);
}

#[test]
fn an_acknowledged_write_stays_until_a_result_contains_it_or_none_comes() {
    let (mut client, key, transact) = one_sent();
    client.say(&ack(&transact, 101));
    client.pass(5_000);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Synced]);
    // The server's result came out the same as before, so that it sent none: somebody deleted it again. But
    // on a connection that is silently gone it may as well be lost.
    client.pass(6_000);
    assert_eq!(client.ops(), ["remove-query"]);
    client.pass(60_000);
    assert_eq!(client.titles(&key), ["one"]);
    client.say(&json!({"op": "remove-query-ok", "q": {}}));
    assert_eq!(client.kinds(), []);
    assert_eq!(client.titles(&key), Vec::<String>::new());
}

#[test]
fn a_cancelled_write_goes_while_the_first_answer_is_awaited() {
    let mut client = Client::new(1);
    let key = client.subscribe(q());
    client.transact(todo(1, "one"));
    assert_eq!(client.titles(&key), ["one"]);
    let id = client.engine.pending(client.now)[0].id.clone();
    client.engine.cancel(client.now, &id).unwrap();
    client.drain();
    assert_eq!(client.titles(&key), Vec::<String>::new());
}

#[test]
fn a_deleted_entity_is_not_lent_back_by_other_queries() {
    let (mut client, key, transact) = one_sent();
    client.say(&ack(&transact, 101));
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    let q_open = json!({"todos": {"$": {"where": {"done": false}}}});
    let open = client.subscribe(q_open.clone());
    let held = result(&triples_of(&transact, 1_700_000_000_500));
    client.say(&json!({"op": "add-query-ok", "q": q_open, "result": held, "processed-tx-id": 101}));
    assert_eq!(client.titles(&open), ["one"]);
    client.transact(tx("todos", entity(1)).delete());
    client.transact(tx("todos", entity(1)).update(json!({"done": false})));
    for query in [&key, &open] {
        let shown = client.shows(query);
        assert_eq!(shown["todos"], json!([{"id": entity(1), "done": false}]));
    }
}

#[test]
fn an_acknowledged_write_is_not_lost_from_a_result_that_nobody_watches_meanwhile() {
    let (mut client, key, transact) = one_sent();
    client.engine.unsubscribe(client.now, &key);
    client.drain();
    client.say(&ack(&transact, 101));
    assert!(client.sent.is_empty(), "it is still kept up to date");
    client.lose();
    let key = client.subscribe(q());
    assert_eq!(client.titles(&key), ["one"], "offline, before any result contained it");
    client.engine.unsubscribe(client.now, &key);
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.ops(), ["add-query"]);
    let attrs = json!(client.engine.names.server());
    client.say(&json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": [
        {"instaql-query": q(), "instaql-result": result(&triples_of(&transact, 1_700_000_000_500))}]}));
    assert_eq!(client.ops(), ["add-query", "remove-query"], "now its data contain it");
    assert_eq!(client.kinds(), []);
    let key = client.subscribe(q());
    assert_eq!(client.titles(&key), ["one"]);
}

#[test]
fn a_rejected_write_is_undone_and_later_ones_stand() {
    let (mut client, key, transact) = one_sent();
    // The first made attributes: nothing follows it until it is answered.
    client.transact(todo(2, "two"));
    assert!(client.sent.is_empty());
    assert_eq!(client.titles(&key), ["one", "two"]);
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    assert_eq!(client.titles(&key), ["two"]);
    let (seq, outcome) = client.settled.pop().unwrap();
    assert_eq!(seq, 1);
    assert_eq!(outcome.unwrap_err().unwrap().kind, "permission-denied");
    assert!(client.events.iter().any(|e| matches!(e, SyncEvent::Rejected { .. })));
    assert_eq!(client.kinds(), [PendingState::Rejected, PendingState::Sent]);
    // The second brings the attributes itself now.
    assert_eq!(client.ops(), ["transact"]);
    assert_eq!(attrs_of(&client.sent[0]).len(), 3);

    client.write();
    assert_eq!(client.disk.outbox.len(), 2);
    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    assert_eq!(again.kinds(), [PendingState::Rejected, PendingState::Queued]);
    let id = again.engine.pending(again.now)[0].id.clone();
    again.engine.dismiss(&id).unwrap();
    again.write();
    assert_eq!(again.disk.outbox.len(), 1);
}

#[test]
fn writes_made_offline_show_persist_and_leave_in_order() {
    let mut client = Client::new(1);
    client.lose();
    let key = client.subscribe(q());
    assert_eq!(client.shows(&key), json!({"todos": []}), "offline, what there is shows");
    client.transact(todo(1, "one"));
    client.transact(tx("todos", entity(1)).update(json!({"title": "uno"})));
    client.transact(todo(2, "two"));
    assert_eq!(client.titles(&key), ["uno", "two"]);
    client.write();
    assert_eq!(client.stored, [1, 2, 3]);
    assert_eq!(client.disk.outbox.len(), 3);

    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["uno", "two"], "a restart shows them at once");
    assert!(!again.engine.shown(&key).unwrap().is_complete());
    again.open_session();
    assert_eq!(again.ops(), ["add-query", "transact"]);
    let first = again.sent[1].clone();
    assert_eq!(first["client-event-id"], json!(client.disk.outbox[0].event.as_str()));
    again.sent.clear();
    again.say(&ack(&first, 101));
    assert_eq!(again.ops(), ["transact", "transact"]);
    // The update of what was visible is strict.
    assert_eq!(again.sent[0]["tx-steps"][0][4]["mode"], "update");
}

#[test]
fn an_acknowledged_write_is_not_sent_again_after_a_restart() {
    let (mut client, _, transact) = one_sent();
    client.say(&ack(&transact, 101));
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["one"]);
    again.open_session();
    assert_eq!(again.ops(), ["add-query"]);
}

#[test]
fn an_attribute_that_another_client_made_first_is_taken_over() {
    let (mut client, key, transact) = one_sent();
    // Somebody else made all three under other ids and wrote a todo.
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    for (n, attr) in attrs_of(&transact).into_iter().enumerate() {
        let mut other = attr;
        other["id"] =
            json!(uuid::Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n as u128));
        attrs.push(other);
    }
    client.say(&json!({"op": "error", "status": 400, "type": "record-not-unique",
        "message": "`title` already exists on `todos`",
        "hint": {"record-type": "ident", "etype": "todos", "label": "title"},
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    assert_eq!(client.titles(&key), ["one"], "it stays: the race is to be run again");
    assert!(client.sent.is_empty());
    client.say(
        &json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": []}),
    );
    assert_eq!(client.ops(), ["transact"]);
    assert_eq!(attrs_of(&client.sent[0]), Vec::<Json>::new());
    assert_ne!(client.sent[0]["client-event-id"], transact["client-event-id"]);
    assert!(client.sent[0]["tx-steps"][0][2].as_str().unwrap().starts_with("aaaa"));
    assert_eq!(client.titles(&key), ["one"]);
    let again = client.sent.remove(0);
    client.say(&ack(&again, 102));
    assert_eq!(client.settled, [(1, Ok(TxId(102)))], "the receipt is the first one's");
}

#[test]
fn a_write_that_contradicts_local_knowledge_is_refused_at_the_call() {
    let (mut client, key, _) = one_sent();
    let again = client.engine.transact(client.now, todo(1, "again").into_operations());
    assert!(matches!(again, Err(TransactError::Invalid(_))), "{again:?}");
    client.drain();
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Sent]);
    assert!(matches!(client.engine.transact(client.now, Vec::new()), Err(TransactError::Empty)));
}

#[test]
fn failures_of_the_server_postpone_a_write_for_as_long_as_they_last() {
    let (mut client, key, transact) = one_sent();
    client.transact(todo(2, "two"));
    let failure = json!({"op": "error", "status": 500, "type": "operation-timed-out", "message": "slow",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}});
    for sends in 1..50 {
        client.say(&failure);
        assert_eq!(client.sent, Vec::<Json>::new(), "not at once, and nothing overtakes it");
        assert_eq!(client.kinds(), [PendingState::Queued; 2]);
        let error = client.engine.pending(client.now)[0].last_error.clone();
        assert_eq!(error.map(|error| error.kind).as_deref(), Some("operation-timed-out"));
        client.pass(30_000);
        assert_eq!(client.ops(), ["transact"], "after {sends} failures");
        assert_eq!(client.sent[0]["client-event-id"], transact["client-event-id"]);
        client.sent.clear();
    }
    let postponed = |event: &&SyncEvent| matches!(event, SyncEvent::Postponed { .. });
    assert_eq!(client.events.iter().filter(postponed).count(), 49);
    assert_eq!(client.titles(&key), ["one", "two"]);
    client.say(&ack(&transact, 101));
    assert_eq!(client.settled, [(1, Ok(TxId(101)))]);
}

#[test]
fn cancel_takes_back_only_what_was_never_sent() {
    let mut client = Client::new(1);
    client.lose();
    let key = client.subscribe(q());
    let one = client.transact(todo(1, "one"));
    let two = client.transact(todo(2, "two"));
    client.engine.cancel(client.now, &one.id).unwrap();
    client.drain();
    assert_eq!(client.titles(&key), ["two"]);
    assert_eq!(client.settled, [(one.seq, Err(None))]);
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.engine.cancel(client.now, &two.id), Err(QueueError::AlreadySent));
    assert_eq!(client.engine.cancel(client.now, &EventId::new("x")), Err(QueueError::Unknown));
    assert_eq!(client.engine.dismiss(&two.id), Err(QueueError::NotRejected));
}

#[test]
fn a_rejected_write_can_be_tried_again_under_a_new_name() {
    let (mut client, key, transact) = one_sent();
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    let id = client.engine.pending(client.now)[0].id.clone();
    let queued = client.engine.retry(client.now, &id).unwrap();
    client.drain();
    assert_ne!(queued.id, id);
    assert_eq!(client.kinds(), [PendingState::Sent]);
    assert_eq!(client.titles(&key), ["one"]);
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    assert_eq!(client.disk.outbox[0].event, queued.id);
}

fn lost_race(transact: &Json) -> Json {
    json!({"op": "error", "status": 400, "type": "record-not-unique",
        "message": "`title` already exists on `todos`",
        "hint": {"record-type": "ident", "etype": "todos", "label": "title"},
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}})
}

/// The server's attributes after somebody else made those of this transaction under other ids.
fn others_attrs(client: &Client, transact: &Json) -> Vec<Json> {
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    for (n, mut attr) in attrs_of(transact).into_iter().enumerate() {
        attr["id"] =
            json!(uuid::Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n as u128));
        attrs.push(attr);
    }
    attrs
}

#[test]
fn a_crash_after_a_lost_race_leads_to_the_same_second_name() {
    let (mut client, _, transact) = one_sent();
    client.write();
    let disk = client.disk.clone();
    client.say(&lost_race(&transact));
    let attrs = others_attrs(&client, &transact);
    client.say(
        &json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": []}),
    );
    let second = client.sent.pop().unwrap()["client-event-id"].clone();
    assert_ne!(second, transact["client-event-id"]);

    // Killed before the second name was written; the server may have committed it.
    let mut again = Client::on(7, disk, client.engine.settings.clone());
    again.handle(Input::Connected);
    again.sent.clear();
    again.say(&json!({"op": "init-ok", "session-id": "s", "attrs": attrs}));
    assert_eq!(again.sent[0]["client-event-id"], transact["client-event-id"]);
    assert_eq!(attrs_of(&again.sent[0]), Vec::<Json>::new());
    let first = again.sent.remove(0);
    again.say(&lost_race(&first));
    assert_eq!(again.kinds(), [PendingState::Sent], "not refused, and not new to the server");
    assert_eq!(again.sent[0]["client-event-id"], second);
}

#[test]
fn a_server_that_limits_the_rate_never_loses_a_write() {
    let (mut client, key, transact) = one_sent();
    for _ in 0..30 {
        client.say(
            &json!({"op": "error", "status": 400, "type": "rate-limited", "message": "slow down",
            "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}),
        );
        client.pass(40_000);
        assert_eq!(client.sent.len(), 1);
        client.sent.clear();
    }
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.settled, []);
}

#[test]
fn a_slow_server_that_answers_one_after_another_is_not_given_up() {
    let (mut client, _, first) = one_sent();
    client.say(&ack(&first, 101));
    for n in 2..8 {
        client.transact(todo(n, "more"));
    }
    let sent = std::mem::take(&mut client.sent);
    for (n, transact) in sent.iter().enumerate() {
        client.pass(40_000);
        client.say(&ack(transact, 102 + n as u64));
    }
    assert_eq!(client.closes, 0);
    assert_eq!(client.settled.len(), 7);
}

#[test]
fn the_largest_message_without_an_answer_is_the_one_that_is_too_large() {
    let (mut client, key, first) = one_sent();
    client.say(&ack(&first, 101));
    let refreshed = refresh(&client, &first, 101);
    client.say(&refreshed);
    client.transact(todo(2, "two"));
    let large = client.transact(todo(3, &"x".repeat(10_000)));
    client.transact(todo(4, "four"));
    client.sent.clear();
    client.handle(Input::TooLarge { reason: "closed with 1009".into() });
    assert_eq!(client.settled.last().unwrap().0, large.seq);
    let error = client.settled.last().unwrap().1.clone().unwrap_err().unwrap();
    assert_eq!(error.kind, "message-too-large");
    assert_eq!(client.titles(&key), ["one", "two", "four"]);
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.ops(), ["add-query", "transact", "transact"], "those behind it go on");
    let titled = |n: usize| client.sent[n]["tx-steps"].to_string();
    assert!(titled(1).contains("two") && titled(2).contains("four"));
}

#[test]
fn a_query_that_is_too_large_is_not_asked_again() {
    let mut client = Client::new(1);
    client.open_session();
    let many: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let key = client.subscribe(json!({"todos": {"$": {"where": {"title": {"$in": many}}}}}));
    client.transact(todo(1, "one"));
    client.handle(Input::TooLarge { reason: "closed with 1009".into() });
    assert!(client.settled.is_empty());
    let mut told = client.results.iter().filter(|(query, _)| *query == key);
    assert!(told.any(|(_, result)| matches!(result, Err(QueryFailure::Refused(e)) if e.kind == "message-too-large")));
    client.pass(60_000);
    client.sent.clear();
    client.open_session();
    assert_eq!(client.ops(), ["transact"]);
}

#[test]
fn what_no_server_could_read_is_refused_at_the_call() {
    let (mut client, key, _) = one_sent();
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    for value in [nested(101), json!({"$push": nested(101)})] {
        let write = tx("todos", entity(9)).update(json!({"deep": value}));
        let refused = client.engine.transact(client.now, write.into_operations());
        assert!(matches!(refused, Err(TransactError::Invalid(_))), "{refused:?}");
    }
    client.drain();
    assert_eq!(client.titles(&key), ["one"]);
    client.transact(tx("todos", entity(9)).update(json!({"title": "nine", "deep": nested(60)})));
    assert_eq!(client.titles(&key), ["one", "nine"]);
}

#[test]
fn a_write_that_may_have_been_sent_before_a_crash_cannot_be_cancelled() {
    let mut client = Client::new(1);
    client.lose();
    let queued = client.transact(todo(1, "one"));
    client.write();
    assert_eq!(client.disk.outbox[0].attempts, 0);
    client.open_session();
    // No time passes: what was sent is on its way to the disk.
    client.store();
    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    let id = again.engine.pending(again.now)[0].id.clone();
    assert_eq!(id, queued.id);
    assert_eq!(again.engine.cancel(again.now, &id), Err(QueueError::AlreadySent));
}
