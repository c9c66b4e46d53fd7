//! Frames as the reference shows them, read and written back.

use serde_json::json;
use tricedb_core::value::Value;

use super::*;

fn one(json: &Json) -> ServerMessage {
    let mut messages = ServerMessage::decode_frame(&json.to_string()).unwrap();
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

fn uuid(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn attr() -> Json {
    json!({"id": uuid(7),
        "forward-identity": [uuid(8), "goals", "todos"],
        "reverse-identity": [uuid(9), "todos", "goal"],
        "value-type": "ref", "cardinality": "many", "unique?": false, "index?": false,
        "required?": false, "inferred-types": ["string"], "catalog": "user", "on-delete": "cascade"})
}

#[test]
fn init_ok_is_read_with_its_extras_and_without() {
    let full = one(&json!({"op": "init-ok", "session-id": uuid(1), "client-event-id": "a28f",
        "auth": {"app": {"id": uuid(2), "title": "my app"}, "user": null, "admin?": null},
        "attrs": [attr()], "app-status": {"status": "read-only"}, "trace-id": "t"}));
    let ServerMessage::InitOk(init) = full else { panic!() };
    assert!(init.session().is_some());
    assert_eq!(init.attrs.len(), 1);
    assert_eq!(init.app_status.status, AppState::ReadOnly);
    assert_eq!(init.auth.unwrap().app["title"], "my app");

    let bare = one(&json!({"op": "init-ok", "session-id": "x", "attrs": []}));
    let ServerMessage::InitOk(init) = bare else { panic!() };
    assert_eq!(init.app_status.status, AppState::Active);
    assert!(init.session().is_none());
}

#[test]
fn results_give_their_triples() {
    let frame = json!({"op": "add-query-ok", "q": {"todos": {}},
        "result": [{"data": {"datalog-result": {"join-rows": [[
            [uuid(1), uuid(2), uuid(1), 1_700_000_000_000_i64],
            [uuid(1), uuid(3), "hello", 1_700_000_000_001_i64],
            [uuid(1), uuid(4), false]]]}},
            "child-nodes": [{"data": {"datalog-result": {"join-rows": [[[uuid(5), uuid(3), null, 5]], []]}},
                             "child-nodes": []}]}],
        "result-meta": null, "processed-tx-id": 100, "processed-isn": "0/0/1234ABC",
        "client-event-id": "de7d", "trace-id": "t"});
    let ServerMessage::AddQueryOk(ok) = one(&frame) else { panic!() };
    assert_eq!(ok.processed_tx_id, TxId(100));
    let triples: Vec<_> = ok.result.triples().collect();
    assert_eq!(triples.len(), 4);
    assert_eq!(triples[1].value, Value::from("hello"));
    assert_eq!(triples[2].created_at, 0);
    assert_eq!(triples[3].value, Value::Null);
    let owned: Vec<_> = triples.into_iter().cloned().collect();
    assert_eq!(ok.result.into_triples(), owned);
}

#[test]
fn a_result_is_written_as_one_node_with_one_row() {
    let frame = json!({"op": "refresh-ok", "processed-tx-id": 118,
        "computations": [{"instaql-query": {"todos": {}}, "result-meta": null,
            "instaql-result": [{"data": {"datalog-result": {"join-rows": [[]]},
                "page-info": {"todos": {"start-cursor": [uuid(1), uuid(2), uuid(1), 5], "end-cursor": null,
                                        "has-next-page?": true, "has-previous-page?": false}}},
                "child-nodes": []}]}]});
    let message = one(&frame);
    assert_eq!(serde_json::to_value(&message).unwrap(), frame);
    let ServerMessage::RefreshOk(refresh) = message else { panic!() };
    let info = &refresh.computations[0].instaql_result.page_info().unwrap()["todos"];
    assert!(info.has_next_page && info.end_cursor.is_none());
}

#[test]
fn a_tree_result_stays_json() {
    let frame = json!({"op": "add-query-ok", "q": {"todos": {}}, "result": {"todos": [{"id": "x"}]},
        "processed-tx-id": 3, "result-meta": {"page-info": {}}, "client-event-id": null});
    let message = one(&frame);
    assert_eq!(serde_json::to_value(&message).unwrap(), frame);
}

#[test]
fn small_answers_round_trip() {
    for frame in [
        json!({"op": "transact-ok", "tx-id": 101, "client-event-id": "b8c2"}),
        json!({"op": "remove-query-ok", "q": {"todos": {}}, "client-event-id": "b413"}),
        json!({"op": "add-query-exists", "q": {"todos": {}}, "client-event-id": null}),
        json!({"op": "refresh-ok", "computations": [], "processed-tx-id": 7, "attrs": [attr()]}),
        json!({"op": "error", "status": 400, "type": "permission-denied",
            "message": "Permission denied: not perms-pass?",
            "hint": {"input": ["todos", "object"], "expected": "perms-pass?"},
            "client-event-id": "0d5e", "original-event": {"op": "transact", "client-event-id": "0d5e"},
            "trace-id": "t"}),
    ] {
        let written = serde_json::to_value(one(&frame)).unwrap();
        let mut expected = frame;
        if let Some(attrs) = expected.get_mut("attrs") {
            // Optional fields that mean the default are written out.
            *attrs =
                serde_json::to_value(serde_json::from_value::<Vec<Attr>>(attrs.clone()).unwrap())
                    .unwrap();
        }
        assert_eq!(written, expected);
    }
}

#[test]
fn arrays_unknown_ops_and_nulls_are_tolerated() {
    let frame = json!([
        {"op": "transact-ok", "tx-id": null, "client-event-id": null, "isn": "0/0/1"},
        {"op": "stream-append", "topic": "emoji"},
        {"op": "error", "status": 500, "type": null, "message": null, "hint": null, "client-event-id": null}
    ]);
    let messages = ServerMessage::decode_frame(&frame.to_string()).unwrap();
    assert_eq!(messages[0].op(), "transact-ok");
    assert_eq!(messages[1], ServerMessage::Unknown { op: "stream-append".into() });
    let ServerMessage::Error(error) = &messages[2] else { panic!() };
    assert_eq!((error.body.status, error.failed_op()), (500, None));
    assert!(ServerMessage::decode_frame("[]").unwrap().is_empty());
}

#[test]
fn a_broken_frame_is_an_error_that_names_the_op() {
    assert!(matches!(ServerMessage::decode_frame("nonsense"), Err(FrameError::NotMessages(_))));
    assert!(matches!(ServerMessage::decode_frame("{}"), Err(FrameError::NotMessages(_))));
    let error = ServerMessage::decode_frame(r#"{"op":"refresh-ok"}"#).unwrap_err();
    assert!(error.to_string().contains("refresh-ok"), "{error}");
}
