//! Who hears of what.

use super::*;

#[test]
fn identical_queries_are_evaluated_and_encoded_once() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let sessions: Vec<_> = (0..5).map(|_| app.open()).collect();
    for (n, session) in sessions.iter().enumerate() {
        // Keys in another order are the same query.
        let q = if n % 2 == 0 {
            json!({"todos": {"$": {"where": {"title": "one"}, "limit": 3}}})
        } else {
            serde_json::from_str(r#"{"todos": {"$": {"limit": 3, "where": {"title": "one"}}}}"#)
                .unwrap()
        };
        app.add_query(*session, &q);
        assert_eq!(titles(&app.take(*session)[0]), ["one"]);
    }
    assert_eq!((app.state.live_query_count(), app.state.encodings()), (1, 1));
    app.seed(&json!([["update", "todos", id(2), {"title": "one"}]]));
    assert_eq!(app.state.encodings(), 2);
    let frames: Vec<_> = sessions.iter().map(|s| app.take_frames(*s).remove(0)).collect();
    for frame in &frames {
        assert_eq!(frame.text().map(str::as_ptr), frames[0].text().map(str::as_ptr));
    }
    for session in sessions {
        app.state.close_session(session);
    }
    assert_eq!(app.state.live_query_count(), 0);
}

#[test]
fn only_queries_that_read_the_attribute_are_evaluated() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    app.seed(&json!([["create", "notes", id(7), {"text": "n"}]]));
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    app.add_query(a, &json!({"notes": {}}));
    app.take(a);
    let before = app.state.encodings();
    app.seed(&json!([["update", "notes", id(7), {"text": "m"}]]));
    assert_eq!(app.state.encodings(), before + 1);
    let messages = app.take(a);
    let [ServerMessage::RefreshOk(refresh)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(refresh.computations.len(), 1);
    assert_eq!(refresh.computations[0].instaql_query, json!({"notes": {}}));
    assert!(refresh.attrs.is_none());
}

#[test]
fn an_unchanged_result_sends_nothing() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"todos": {"$": {"where": {"title": "one"}}}}));
    app.take(a);
    let before = app.state.encodings();
    app.seed(&json!([["update", "todos", id(2), {"title": "still not one"}]]));
    assert_eq!(app.state.encodings(), before);
    assert!(app.take(a).is_empty());
}

#[test]
fn new_attributes_go_to_every_session_with_or_before_their_triples() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    app.add_query(a, &json!({"todos": {}}));
    app.take(a);
    app.seed(&json!([["update", "todos", id(1), {"done": false}]]));
    for (session, computations) in [(a, 1), (b, 0)] {
        let messages = app.take(session);
        let [ServerMessage::RefreshOk(refresh)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(refresh.computations.len(), computations);
        assert!(refresh.attrs.as_ref().unwrap().iter().any(|attr| attr.label() == "done"));
    }
    app.seed(&json!([["update", "todos", id(1), {"done": true}]]));
    let messages = app.take(a);
    let ServerMessage::RefreshOk(refresh) = &messages[0] else { panic!() };
    assert!(refresh.attrs.is_none());
}

#[test]
fn an_answer_never_uses_attributes_that_the_session_has_not_heard_of() {
    let mut app = Harness::logged();
    let b = app.open();
    // While the first is on its way to the log, the second makes an attribute and nobody is refreshed.
    app.admin(&json!([["create", "todos", id(1), {"title": "one"}]]));
    app.admin(&json!([["update", "todos", id(1), {"done": true}]]));
    app.add_query(b, &json!({"todos": {}}));
    app.flush_all();
    let mut known: Vec<String> = Vec::new();
    let mut facts = 0;
    for message in app.take(b) {
        let triples = match message {
            ServerMessage::RefreshOk(refresh) => {
                let attrs = refresh.attrs.iter().flatten();
                known.extend(attrs.map(|attr| attr.id.to_string()));
                refresh
                    .computations
                    .into_iter()
                    .flat_map(|c| c.instaql_result.into_triples())
                    .collect()
            }
            ServerMessage::AddQueryOk(ok) => ok.result.into_triples(),
            other => panic!("{other:?}"),
        };
        for triple in triples {
            facts += 1;
            assert!(
                known.contains(&triple.attr.to_string()),
                "{triple:?} came before its attribute"
            );
        }
    }
    assert!(facts >= 3);
}

#[test]
fn a_query_on_names_that_do_not_exist_yet_comes_alive_with_them() {
    let mut app = Harness::volatile();
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    assert!(titles(&app.take(a)[0]).is_empty());
    app.seed(&todos());
    assert_eq!(titles(&app.take(a)[0]), ["one", "two"]);
}

#[test]
fn old_clients_get_attributes_always_and_empty_refreshes_too() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let old = app.open_with(Features::default());
    app.take(old);
    app.add_query(old, &json!({"todos": {"$": {"where": {"title": "one"}}}}));
    app.take(old);
    app.seed(&json!([["update", "todos", id(2), {"title": "still not one"}]]));
    let messages = app.take(old);
    let [ServerMessage::RefreshOk(refresh)] = &messages[..] else { panic!("{messages:?}") };
    assert!(refresh.computations.is_empty() && refresh.attrs.is_some());
}

#[test]
fn a_rejected_write_that_a_refresh_met_is_healed() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    app.take(a);
    let bad = app.update_title(9, "nine");
    // No refresh has gone out: nothing can be wrong on screen.
    app.transact(a, "bad1", &bad);
    app.flush();
    assert_eq!(app.ops(a), ["error"]);
    app.seed(&json!([["update", "todos", id(1), {"title": "uno"}]]));
    app.take(a);
    app.transact(a, "bad2", &bad);
    app.flush();
    let messages = app.take(a);
    assert_eq!(messages[0].op(), "error");
    assert_eq!(titles(&messages[1]), ["two", "uno"]);
}

#[test]
fn a_slow_reader_is_healed_when_it_has_caught_up() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    app.seed(&json!([["update", "todos", id(1), {"title": "uno"}]]));
    app.take(a);
    app.state.pause(a);
    let bad = app.update_title(9, "nine");
    app.transact(a, "bad", &bad);
    assert_eq!(app.ops(a), ["error"]);
    app.take(a);
    app.state.resume(a);
    app.settle();
    assert_eq!(titles(&app.take(a)[0]), ["two", "uno"]);
}

#[test]
fn a_second_subscription_exists_and_a_removed_one_is_silent() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    let q = json!({"todos": {}});
    app.add_query(a, &q);
    app.add_query(a, &q);
    app.send(a, &json!({"op": "remove-query", "q": q, "client-event-id": "r"}));
    app.send(a, &json!({"op": "remove-query", "q": {"never": {}}, "client-event-id": "r"}));
    assert_eq!(
        app.ops(a),
        ["add-query-ok", "add-query-exists", "remove-query-ok", "remove-query-ok"]
    );
    let ServerMessage::RemoveQueryOk(ok) = app.take(a).remove(2) else { panic!() };
    assert_eq!(ok.q, q);
    app.seed(&json!([["update", "todos", id(1), {"title": "uno"}]]));
    assert!(app.take(a).is_empty());
    app.add_query(a, &q);
    assert_eq!(app.ops(a), ["add-query-ok"]);
}

#[test]
fn a_query_can_come_and_go_as_often_as_it_likes() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    let q = json!({"todos": {}});
    // Each time it takes the place that it left: what was noted about that place must not pile up.
    for _ in 0..100 {
        app.add_query(a, &q);
        app.send(a, &json!({"op": "remove-query", "q": q, "client-event-id": "r"}));
        assert_eq!(app.ops(a), ["add-query-ok", "remove-query-ok"]);
        app.take(a);
    }
}

#[test]
fn a_query_right_behind_an_own_commit_leaves_it_to_be_overlaid() {
    let mut app = Harness::logged();
    let seeded = app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    let claimed = |app: &mut Harness, session, q: &Json| {
        app.add_query(session, q);
        app.flush_all();
        match app.take(session).pop() {
            Some(ServerMessage::AddQueryOk(ok)) => ok.processed_tx_id,
            other => panic!("{other:?}"),
        }
    };
    let limited = |limit: u32| json!({"todos": {"$": {"limit": limit}}});
    assert_eq!(claimed(&mut app, a, &limited(1)), seeded);
    app.transact(a, "own", &app.set_title(1, "uno"));
    app.flush_all();
    app.take(a);
    let own = app.state.position();
    assert_eq!(claimed(&mut app, a, &limited(2)), seeded);
    assert_eq!(claimed(&mut app, b, &limited(2)), own);
    // What comes later ends it, for the query that it reaches.
    app.transact(b, "other", &app.set_title(2, "due"));
    app.flush_all();
    let messages = app.take(a);
    let [ServerMessage::RefreshOk(refresh)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(refresh.processed_tx_id, own.next());
    assert_eq!(claimed(&mut app, a, &limited(3)), own.next());
    // A resend commits nothing.
    app.transact(a, "own", &app.set_title(1, "uno"));
    assert_eq!(claimed(&mut app, a, &limited(4)), own.next());
    // A commit that was lost leaves its position to others.
    app.transact(a, "lost", &app.set_title(1, "ein"));
    app.fail_flush();
    app.flush_all();
    app.transact(b, "other again", &app.set_title(2, "zwei"));
    app.flush_all();
    assert_eq!(claimed(&mut app, a, &limited(5)), app.state.position());
}

#[test]
fn an_answer_too_large_to_keep_is_made_once_for_all_who_hear_of_it_together() {
    let limits = AppLimits { fragment_bytes_max: 0, ..AppLimits::default() };
    let mut app = Harness::with(limits, LoadedLog::default(), true);
    app.seed(&todos());
    let sessions: Vec<_> = (0..10).map(|_| app.open()).collect();
    for session in &sessions {
        app.add_query(*session, &json!({"todos": {}}));
        app.add_query(*session, &json!({"todos": {"$": {"limit": 1}}}));
        app.take(*session);
    }
    let before = app.state.encodings();
    app.seed(&json!([["update", "todos", id(1), {"title": "uno"}]]));
    assert_eq!(app.state.encodings(), before + 2);
    assert!(sessions.iter().all(|session| app.ops(*session) == ["refresh-ok"]));
}

#[test]
fn nothing_remains_of_queries_and_sessions_that_are_gone() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    for round in 0..3 {
        let sessions: Vec<_> = (0..20).map(|_| app.open()).collect();
        for (n, session) in sessions.iter().enumerate() {
            for limit in 1..=50 {
                app.add_query(*session, &json!({"todos": {"$": {"limit": limit + 25 * (n % 2)}}}));
            }
        }
        app.seed(&json!([["update", "todos", id(1), {"title": format!("title {round}")}]]));
        assert_eq!(app.state.live_query_count(), 75);
        let (removing, closing) = sessions.split_at(10);
        for (n, session) in removing.iter().enumerate() {
            for limit in 1..=50 {
                let q = json!({"todos": {"$": {"limit": limit + 25 * (n % 2)}}});
                app.send(*session, &json!({"op": "remove-query", "q": q}));
            }
        }
        for session in closing {
            app.state.close_session(*session);
        }
        // Changes touch nothing of them any more.
        let before = app.state.encodings();
        app.seed(&json!([["update", "todos", id(2), {"title": format!("title {round}")}]]));
        assert_eq!(app.state.encodings(), before);
        assert!(app.state.live.holds_nothing(), "{:?}", app.state.live);
        for session in removing {
            app.state.close_session(*session);
        }
        app.settle();
        assert_eq!(app.state.session_count(), 0);
    }
}

#[test]
fn a_million_steps_are_refused_and_remembered_in_few_bytes() {
    let mut app = Harness::logged();
    let a = app.open();
    let steps = Json::Array(vec![json!(["add-triple"]); 1_000_000]);
    for _ in 0..2 {
        app.transact(a, "many", &steps);
        app.flush_all();
        let frames = app.take_frames(a);
        assert!(frames[0].len() < 500, "{:?}", frames[0]);
        let message = read(&frames[0]);
        assert_eq!(error(&message).body.kind.as_deref(), Some("validation-failed"));
    }
    app.seed(&todos());
    app.add_query(a, &json!({"todos": {}}));
    app.flush_all();
    assert_eq!(app.take(a).last().map(titles).unwrap(), ["one", "two"]);
}

#[test]
fn a_slow_reader_gets_one_refresh_for_all_it_missed() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let (slow, quick) = (app.open(), app.open());
    for session in [slow, quick] {
        app.add_query(session, &json!({"todos": {}}));
        app.take(session);
    }
    app.state.pause(slow);
    for n in 10..20 {
        app.seed(&json!([["update", "todos", id(1), {"title": format!("t{n}")}]]));
    }
    app.seed(&json!([["update", "todos", id(1), {"done": true}]]));
    assert!(app.ops(slow).is_empty());
    assert_eq!(app.take(quick).len(), 11);
    app.state.resume(slow);
    app.settle();
    let messages = app.take(slow);
    let [ServerMessage::RefreshOk(refresh)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(titles(&messages[0]), ["t19", "two"]);
    assert!(refresh.attrs.is_some());
    assert_eq!(refresh.processed_tx_id, app.state.position());
}

#[test]
fn results_that_are_not_kept_are_encoded_again_and_compared_all_the_same() {
    let limits = AppLimits { fragment_bytes_max: 0, ..AppLimits::default() };
    let mut app = Harness::with(limits, LoadedLog::default(), true);
    app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    for session in [a, b] {
        app.add_query(session, &json!({"todos": {"$": {"where": {"title": "one"}}}}));
        assert_eq!(titles(&app.take(session)[0]), ["one"]);
    }
    app.seed(&json!([["update", "todos", id(2), {"title": "still not one"}]]));
    assert!(app.take(a).is_empty() && app.take(b).is_empty());
    app.seed(&json!([["update", "todos", id(2), {"title": "one"}]]));
    for session in [a, b] {
        assert_eq!(titles(&app.take(session)[0]), ["one", "one"]);
    }
}

#[test]
fn a_tree_is_given_to_who_asks_for_it() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    let message = json!({"op": "add-query", "return-type": "tree",
        "q": {"todos": {"$": {"where": {"title": "one"}}}}});
    app.send(a, &message);
    let messages = app.take(a);
    let ServerMessage::AddQueryOk(ok) = &messages[0] else { panic!() };
    let tree = serde_json::to_value(&ok.result).unwrap();
    assert_eq!(tree, json!({"todos": [{"id": id(1), "title": "one"}]}));
    assert!(ok.result_meta.is_some());
}

#[test]
fn wrong_messages_are_answered_in_shape_and_do_no_harm() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    let q = json!({"todos": {"$": {"limit": "many"}}});
    app.add_query(a, &q);
    let messages = app.take(a);
    let refused = error(&messages[0]);
    assert_eq!(refused.body.kind.as_deref(), Some("validation-failed"));
    assert_eq!((refused.failed_op(), refused.failed_query()), (Some("add-query"), Some(&q)));
    assert_eq!(app.state.live_query_count(), 0);

    for steps in
        [json!(null), json!("x"), json!([["no-such-step"]]), json!([["add-triple", "x", "y", 1]])]
    {
        app.send(a, &json!({"op": "transact", "tx-steps": steps}));
        let messages = app.take(a);
        let refused = error(&messages[0]);
        assert_eq!(refused.body.status, 400, "{steps}");
        assert!(refused.original_event.get("tx-steps").is_none());
    }
    app.send(a, &json!({"op": "start-sync", "q": {}, "client-event-id": "j"}));
    assert_eq!(error(&app.take(a)[0]).body.message, "Invalid op");
}

#[test]
fn limits_refuse_what_is_beyond_them() {
    let limits = AppLimits {
        subscriptions_per_session_max: 1,
        steps_per_transaction_max: 2,
        sessions_max: 1,
        ..AppLimits::default()
    };
    let mut app = Harness::with(limits, LoadedLog::default(), true);
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    app.add_query(a, &json!({"todos": {"$": {"limit": 1}}}));
    assert_eq!(app.ops(a), ["add-query-ok", "error"]);
    app.take(a);
    let step = app.update_title(1, "x")[0].clone();
    app.transact(a, "e", &json!([step, step, step]));
    assert_eq!(app.ops(a)[0], "error");
    let open = OpenSession {
        id: SessionId(Uuid::from_u128(2)),
        features: Features::default(),
        is_admin: false,
        event: None,
        native: None,
    };
    assert!(app.state.open_session(open, NOW).is_err());
}

#[test]
fn a_transaction_may_use_the_attributes_that_it_makes() {
    let mut app = Harness::volatile();
    let (attr, ident) = (id(100), id(101));
    app.seed(&json!([
        ["add-attr", {"id": attr, "forward-identity": [ident, "books", "isbn"], "value-type": "blob",
                      "cardinality": "one", "unique?": true, "index?": true}],
        ["create", "books", ["isbn", "42"], {"title": "b"}]
    ]));
    let tree = app.tree(&json!({"books": {}}));
    assert_eq!(tree["books"][0]["isbn"], "42");
    assert_eq!(tree["books"][0]["title"], "b");
    assert_eq!(app.attr("books", "isbn"), attr);
}

#[test]
fn a_schema_is_pushed_once() {
    let mut app = Harness::volatile();
    let schema = tricedb_core::schema::parse(&json!({
        "entities": {"todos": {"attrs": {"title": {"valueType": "string", "required": false,
            "isIndexed": false, "config": {"indexed": true, "unique": false}}}, "links": {}}},
        "links": {}, "rooms": {}}))
    .unwrap();
    let mut positions = Vec::new();
    for _ in 0..2 {
        let ticket = app.ticket();
        app.state.push_schema(ticket, &schema, app.now);
        app.settle();
        match app.answers.remove(&ticket).unwrap() {
            Ok(Answer::Committed(position)) => positions.push(position),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(positions[0], positions[1]);
    assert!(app.state.index().catalog().forward("todos", "title").unwrap().indexed);
}
