use serde_json::json;

use super::*;
use crate::native::{Digest, Have, ResumeOffer, SubId};

const APP: &str = "11111111-2222-4333-8444-555555555555";

fn error(text: &str) -> Json {
    serde_json::to_value(ClientMessage::decode(text).unwrap_err().to_message()).unwrap()
}

#[test]
fn frames_of_the_official_client_are_read() {
    let init = format!(
        r#"{{"client-event-id":"eda2f28b","op":"init","app-id":"{APP}","refresh-token":"0b0b","versions":{{"@instantdb/core":"v1.0.67"}}}}"#
    );
    let ClientMessage::Init(init) = ClientMessage::decode(&init).unwrap() else { panic!() };
    assert_eq!(init.app_id.to_string(), APP);
    assert_eq!(init.refresh_token.as_deref(), Some("0b0b"));
    assert!(init.versions.features().batch_messages);

    let add = r#"{"client-event-id":"de7d","op":"add-query","q":{"todos":{"$":{"where":{"done":false},"limit":10,"order":{"serverCreatedAt":"desc"}},"goal":{}}}}"#;
    let ClientMessage::AddQuery(add) = ClientMessage::decode(add).unwrap() else { panic!() };
    assert_eq!(add.q["todos"]["$"]["limit"], 10);
    assert_eq!(add.return_type, ReturnType::JoinRows);

    let tx = r#"{"client-event-id":"b8c2","op":"transact","tx-steps":[["add-triple","2d24","a0","new"]],"created":1795408071705,"order":1}"#;
    let ClientMessage::Transact(tx) = ClientMessage::decode(tx).unwrap() else { panic!() };
    assert_eq!(tx.tx_steps, json!([["add-triple", "2d24", "a0", "new"]]));
    assert_eq!(tx.client_event_id.unwrap().as_str(), "b8c2");
}

#[test]
fn messages_round_trip() {
    let messages = [
        ClientMessage::Init(Init {
            app_id: AppId::parse(APP).unwrap(),
            refresh_token: None,
            versions: [("@instantdb/core", "v1.0.67")].into_iter().collect(),
            admin_token: Some("secret".into()),
            native: Some(NativeOffer {
                version: 1,
                client: uuid::Uuid::from_u128(5),
                binary: true,
                zstd: false,
                resume: Some(ResumeOffer {
                    epoch: 3,
                    position: TxId(4),
                    set: Digest(5),
                    digest: Digest(6),
                    attrs: Digest(7),
                }),
            }),
            client_event_id: Some(EventId::new("e1")),
        }),
        ClientMessage::AddQuery(AddQuery {
            q: json!({"todos": {}}),
            return_type: ReturnType::Tree,
            client_event_id: None,
        }),
        ClientMessage::RemoveQuery(RemoveQuery {
            q: json!({"todos": {}}),
            client_event_id: Some(EventId::new("e2")),
        }),
        ClientMessage::Transact(Transact {
            tx_steps: json!([["delete-entity", APP, "todos"]]),
            client_event_id: Some(EventId::new("quo\"ted")),
            created: None,
            order: None,
            seq: Some(7),
            base: Some(TxId(1 << 50)),
        }),
        ClientMessage::Subscribe(Subscribe {
            sub: SubId(3),
            q: json!({"todos": {}}),
            have: Some(Have { position: TxId(9), digest: Digest(10) }),
            client_event_id: Some(EventId::new("e3")),
        }),
        ClientMessage::Unsubscribe(Unsubscribe { sub: SubId(3), client_event_id: None }),
    ];
    for message in messages {
        let text = serde_json::to_string(&message).unwrap();
        assert!(text.contains(&format!(r#""op":"{}""#, message.op())), "{text}");
        assert_eq!(ClientMessage::decode(&text).unwrap(), message);
    }
}

#[test]
fn each_wrong_field_is_named() {
    let missing = error(r#"{"op":"init","client-event-id":"e"}"#);
    assert_eq!(missing["type"], "param-missing");
    assert_eq!(missing["message"], r#"Missing parameter: ["app-id"]"#);
    assert_eq!(missing["hint"], json!({"in": ["app-id"]}));
    assert_eq!(missing["client-event-id"], "e");
    assert_eq!(missing["original-event"], json!({"op": "init", "client-event-id": "e"}));

    let bad = error(r#"{"op":"init","app-id":7}"#);
    assert_eq!(bad["type"], "param-malformed");
    assert_eq!(bad["hint"], json!({"in": ["app-id"], "original-input": 7}));

    let null = error(r#"{"op":"add-query","q":null}"#);
    assert_eq!(null["type"], "validation-failed");
    assert_eq!(null["message"], "Validation failed for add-query: Query can not be null.");

    for (text, field) in [
        (r#"{"op":7}"#.to_owned(), "op"),
        (r#"{"op":"transact","client-event-id":{}}"#.to_owned(), "client-event-id"),
        (format!(r#"{{"op":"init","app-id":"{APP}","versions":[1]}}"#), "versions"),
    ] {
        assert_eq!(error(&text)["hint"]["in"], json!([field]));
    }
    assert_eq!(error("{}")["type"], "param-missing");
}

#[test]
fn a_message_without_an_op_is_answered_by_its_name() {
    for op in ["", r#""op":null,"#, r#""op":5,"#, r#""op":{},"#] {
        let answer = error(&format!(r#"{{{op}"client-event-id":"e"}}"#));
        assert_eq!(answer["client-event-id"], "e", "{op}");
        assert_eq!(answer["original-event"], json!({"client-event-id": "e"}), "{op}");
    }
}

#[test]
fn tokens_are_never_echoed() {
    let text = format!(
        r#"{{"op":"init","app-id":"{APP}","__admin-token":["hush"],"refresh-token":"hush"}}"#
    );
    let answer = error(&text);
    assert_eq!(answer["hint"]["in"], json!(["__admin-token"]));
    assert!(!answer.to_string().contains("hush"));
}

#[test]
fn what_is_no_message_is_malformed() {
    for text in
        ["", "nonsense", "{\"op\":", "[{\"op\":\"init\"}]", "3", "null", "{\"op\":\"init\"} x"]
    {
        let answer = error(text);
        assert_eq!(answer["type"], "param-malformed", "{text}");
        assert_eq!(answer["status"], 400);
    }
}

#[test]
fn little_is_repeated_of_what_is_too_long() {
    let long = "x".repeat(1 << 20);
    let ClientMessage::Unknown { op, .. } =
        ClientMessage::decode(&format!(r#"{{"op":"{long}"}}"#)).unwrap()
    else {
        panic!()
    };
    assert_eq!(op.len(), ECHO_LEN_MAX);
    for text in [
        format!(r#"{{"op":"transact","tx-steps":[],"client-event-id":"{long}"}}"#),
        format!(r#"{{"op":"{long}","client-event-id":5}}"#),
        format!(r#"{{"client-event-id":"{long}"}}"#),
        format!(r#"{{"op":"init","app-id":"{long}"}}"#),
    ] {
        let answer = error(&text);
        assert_eq!(answer["status"], 400);
        assert!(answer.to_string().len() < 3 * ECHO_LEN_MAX, "{text:.40}");
    }
}

#[test]
fn repeated_fields_are_refused() {
    let twice = r#"{"op":"transact","op":"init","client-event-id":"e"}"#;
    assert_eq!(error(twice)["type"], "param-malformed");
    // Within values the last one counts, as in JavaScript.
    let text = r#"{"op":"add-query","q":{"a":{},"a":{"b":{}}}}"#;
    let ClientMessage::AddQuery(add) = ClientMessage::decode(text).unwrap() else { panic!() };
    assert_eq!(add.q, json!({"a": {"b": {}}}));
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let deep =
        format!(r#"{{"op":"add-query","q":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(error(&deep)["type"], "param-malformed");
    let unknown = format!(r#"{{"op":"init","x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(error(&unknown)["type"], "param-missing");
}

#[test]
fn unknown_ops_and_fields_are_no_errors() {
    let text = r#"{"op":"start-sync","q":"r","client-event-id":"e","extra":{}}"#;
    let message = ClientMessage::decode(text).unwrap();
    assert_eq!(message.op(), "start-sync");
    assert_eq!(message.client_event_id().unwrap().as_str(), "e");
}
