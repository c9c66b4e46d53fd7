//! Nothing leaves before it is durable; each named transaction runs once.

use super::*;
use crate::log::{EventKey, LoggedOutcome, Outcome};

#[test]
fn an_acknowledgement_and_its_refresh_wait_for_the_flush() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    app.add_query(b, &json!({"todos": {}}));
    app.take(b);
    let steps = app.set_title(3, "three");
    app.transact(a, "e", &steps);
    assert!(app.take(a).is_empty() && app.take(b).is_empty());
    let position = app.state.position();
    let batch = app.flush();
    assert!(matches!(&batch[..], [LogEntry::Committed { position: p, .. }] if *p == position));
    assert_eq!(tx_id(&app.take(a)[0]), position);
    let refresh = app.take(b);
    assert_eq!(titles(&refresh[0]), ["one", "three", "two"]);
    let ServerMessage::RefreshOk(ok) = &refresh[0] else { panic!() };
    assert_eq!(ok.processed_tx_id, position);
}

#[test]
fn answers_that_show_what_is_not_durable_wait_too() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    let steps = app.set_title(3, "three");
    app.transact(a, "e", &steps);
    app.add_query(a, &json!({"todos": {}}));
    let ticket = app.ticket();
    app.state.admin_query(ticket, &json!({"todos": {}}), Inference::Arrays);
    app.settle();
    let b = app.open_with(Features::of("1.0.67"));
    assert!(app.ops(a).is_empty() && app.ops(b).is_empty() && app.answers.is_empty());
    app.flush();
    assert_eq!(app.ops(a), ["transact-ok", "add-query-ok"]);
    assert_eq!(app.ops(b), ["init-ok"]);
    assert!(app.answers[&ticket].is_ok());
}

#[test]
fn what_comes_during_a_flush_is_one_batch_and_one_refresh() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"todos": {}}));
    app.take(a);
    for n in 3..6 {
        let steps = app.set_title(n, &format!("t{n}"));
        app.transact(a, &format!("e{n}"), &steps);
    }
    assert_eq!(app.flush().len(), 1);
    assert_eq!(app.ops(a), ["transact-ok", "refresh-ok"]);
    app.take(a);
    assert_eq!(app.flush().len(), 2);
    let messages = app.take(a);
    let ops: Vec<_> = messages.iter().map(ServerMessage::op).collect();
    assert_eq!(ops, ["transact-ok", "transact-ok", "refresh-ok"]);
    assert_eq!(titles(&messages[2]), ["one", "t3", "t4", "t5", "two"]);
}

#[test]
fn positions_begin_with_the_wall_clock_and_grow_by_one() {
    let mut app = Harness::logged();
    let first = app.seed(&todos());
    assert_eq!(first.0, ((NOW as u64 / 1_000) << 20) + 1);
    assert!(first.0 < 1 << 53);
    let second = app.seed(&json!([["update", "todos", id(1), {"title": "x"}]]));
    assert_eq!(second, first.next());
}

#[test]
fn a_failed_flush_takes_everything_back() {
    let mut app = Harness::logged();
    let position = app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    app.add_query(b, &json!({"todos": {}}));
    app.take(b);
    let steps = app.set_title(3, "three");
    app.transact(a, "e3", &steps);
    // Gathers behind the batch that will fail, and shows what is lost.
    let steps = app.set_title(4, "four");
    app.transact(a, "e4", &steps);
    app.add_query(a, &json!({"todos": {}}));
    let late = app.open_with(Features::of("1.0.67"));
    let ticket = app.ticket();
    app.state.admin_query(ticket, &json!({"todos": {}}), Inference::Arrays);
    app.settle();
    app.fail_flush();
    assert_eq!(app.state.position(), position);
    // Attributes go out on their own where an answer could need them.
    let says_nothing = |message: &ServerMessage| matches!(message, ServerMessage::RefreshOk(ok) if ok.computations.is_empty());
    let mut messages = app.take(a);
    messages.retain(|message| !says_nothing(message));
    for (at, event) in [(0, "e3"), (1, "e4")] {
        assert_eq!(error(&messages[at]).body.status, 500);
        assert_eq!(error(&messages[at]).client_event_id.as_ref().unwrap().as_str(), event);
    }
    assert_eq!(titles(&messages[2]), ["one", "two"]);
    assert_eq!(app.ops(late), ["init-ok"]);
    assert_eq!(app.answers[&ticket].as_ref().unwrap_err().status, 500);
    // The other session had been sent nothing of it, and what it is sent now is the truth.
    for refresh in app.take(b).iter().filter(|message| !says_nothing(message)) {
        assert_eq!(titles(refresh), ["one", "two"]);
    }
    // A resend is not bound by the lost outcome, and the app goes on.
    let steps = app.set_title(3, "three");
    app.transact(a, "e3", &steps);
    app.flush();
    assert_eq!(tx_id(&app.take(a)[0]), position.next());
    assert_eq!(titles(&app.take(b)[0]), ["one", "three", "two"]);
}

#[test]
fn a_failed_flush_takes_attributes_back() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    app.add_query(a, &json!({"notes": {}}));
    app.take(a);
    app.admin(&json!([["create", "notes", id(7), {"text": "n"}]]));
    app.fail_flush();
    assert!(app.state.index().catalog().forward("notes", "text").is_none());
    app.take(a);
    app.seed(&json!([["create", "notes", id(8), {"title": "kept"}]]));
    let messages = app.take(a);
    let ServerMessage::RefreshOk(refresh) = &messages[0] else { panic!() };
    assert!(
        refresh
            .attrs
            .as_ref()
            .unwrap()
            .iter()
            .any(|a| a.label() == "title" && a.etype() == "notes")
    );
    assert!(refresh.attrs.as_ref().unwrap().iter().all(|a| a.label() != "text"));
    assert_eq!(titles(&messages[0]), ["kept"]);
}

#[test]
fn a_resent_transaction_gets_its_first_outcome() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    let steps = app.set_title(3, "three");
    app.transact(a, "good", &steps);
    // Resent while the first is not durable yet: held like it.
    app.transact(a, "good", &steps);
    assert!(app.ops(a).is_empty());
    app.flush();
    let messages = app.take(a);
    assert_eq!(messages.len(), 2);
    assert_eq!(tx_id(&messages[0]), tx_id(&messages[1]));

    let steps = app.update_title(9, "nine");
    app.transact(a, "bad", &steps);
    let batch = app.flush();
    assert!(matches!(&batch[..], [LogEntry::Rejected { .. }]));
    let first = app.take(a);
    app.seed(&json!([["create", "todos", id(9), {"title": "there now"}]]));
    let b = app.open();
    app.transact(b, "bad", &steps);
    assert!(app.appended.is_empty());
    assert_eq!(app.take(b), first);
}

#[test]
fn a_rejection_leaves_only_when_it_is_durable() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let a = app.open();
    let steps = app.update_title(9, "nine");
    app.transact(a, "bad", &steps);
    assert!(app.ops(a).is_empty());
    app.flush();
    let messages = app.take(a);
    let refused = error(&messages[0]);
    assert_eq!(refused.body.kind.as_deref(), Some("validation-failed"));
    assert_eq!(refused.original_event, json!({"op": "transact", "client-event-id": "bad"}));
    // Without a name there is nothing to remember, and nothing to wait for.
    app.send(a, &json!({"op": "transact", "tx-steps": steps}));
    assert_eq!(app.ops(a), ["error"]);
}

#[test]
fn outcomes_and_positions_survive_a_restart() {
    let event = tricedb_core::id::EventId::new("before");
    let loaded = LoadedLog {
        position: TxId(77),
        outcomes: vec![LoggedOutcome {
            event: EventKey { user: None, event },
            outcome: Outcome::Accepted(TxId(70)),
            at: NOW,
        }],
        ..LoadedLog::default()
    };
    let mut app = Harness::with(AppLimits::default(), loaded, false);
    let a = app.open();
    app.transact(a, "before", &json!([]));
    assert_eq!(tx_id(&app.take(a)[0]), TxId(70));
    assert_eq!(app.seed(&todos()), TxId(78));
}

#[test]
fn what_was_replayed_at_the_start_is_in_the_last_snapshot() {
    let loaded = LoadedLog { position: TxId(9), commits_after_snapshot: 1, ..LoadedLog::default() };
    let mut app = Harness::with(AppLimits::default(), loaded, false);
    assert_eq!(app.state.final_snapshot().map(|(position, _)| position), Some(TxId(9)));
    let loaded = LoadedLog { position: TxId(9), ..LoadedLog::default() };
    let mut app = Harness::with(AppLimits::default(), loaded, false);
    assert!(app.state.final_snapshot().is_none());
}

#[test]
fn time_does_not_go_back() {
    let mut app = Harness::logged();
    app.seed(&todos());
    app.now = NOW - 60_000;
    let ticket = app.admin(&json!([["create", "todos", id(3), {"title": "x"}]]));
    let batch = app.flush();
    assert!(app.answers[&ticket].is_ok());
    let LogEntry::Committed { at, commit, .. } = &batch[0] else { panic!() };
    assert_eq!(*at, NOW);
    assert!(commit.facts().filter_map(|f| f.new.as_ref()).all(|stamped| stamped.1 == NOW));
}

#[test]
fn a_volatile_log_is_never_waited_for() {
    let mut app = Harness::volatile();
    app.seed(&todos());
    let a = app.open();
    let steps = app.set_title(3, "three");
    app.transact(a, "e", &steps);
    assert_eq!(app.ops(a), ["transact-ok"]);
    assert!(app.appended.is_empty());
}

#[test]
fn snapshots_are_taken_behind_enough_changes() {
    let limits = AppLimits { snapshot_changes_min: 10, ..AppLimits::default() };
    let mut app = Harness::with(limits, LoadedLog::default(), false);
    app.seed(&todos());
    for n in 10..30 {
        app.seed(&json!([["create", "todos", id(n), {"title": "x"}]]));
    }
    assert!((1..=5).contains(&app.snapshots), "{}", app.snapshots);
    app.seed(&json!([["update", "todos", id(10), {"title": "y"}]]));
    let (position, image) = app.state.final_snapshot().unwrap();
    assert_eq!(position, app.state.position());
    assert_eq!(image.triple_count(), app.state.index().triple_count());
    assert_eq!(
        image.entities().map(|(_, triples)| triples.len()).sum::<usize>(),
        image.triple_count()
    );
    assert!(app.state.final_snapshot().is_none());
}
