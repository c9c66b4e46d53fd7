//! The storage underneath.

use super::*;

#[test]
fn a_storage_failure_is_told_and_tried_again() {
    let mut client = Client::new(1);
    client.lose();
    client.transact(todo(1, "one"));
    client.writing.take().unwrap();
    client.engine.handle(client.now, Input::CommitFailed { message: "disk full".into() });
    let mut failed = Vec::new();
    while let Some(output) = client.engine.poll_output(client.now) {
        match output {
            Output::Stored { seq, result } => failed.push((seq, result)),
            Output::Event(event) => client.events.push(event),
            Output::Persist(_) => panic!("tried again at once"),
            _ => {}
        }
    }
    assert_eq!(failed, [(1, Err("disk full".to_owned()))]);
    client.pass(1_000);
    let batch = client.writing.as_ref().unwrap();
    assert_eq!(batch.outbox.len(), 1);
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    assert!(client.disk.key_values.iter().any(|(key, _)| key == "app"));
}

#[test]
fn a_database_of_another_app_is_not_opened() {
    let mut client = Client::new(1);
    client.write();
    let other = AppId::parse("99999999-2222-4333-8444-555555555555").unwrap();
    let restored = SyncEngine::new(Settings::new(other), client.disk, ids(3), Millis(0));
    assert!(matches!(restored, Err(RestoreError::OtherApp { .. })));
}

#[test]
fn hostile_frames_neither_panic_nor_lose_a_queued_write() {
    let (client, _, transact) = one_sent();
    let frames = [
        ack(&transact, 101),
        refresh(&client, &transact, 101),
        json!({"op": "add-query-ok", "q": q(), "processed-tx-id": 101,
            "result": result(&triples_of(&transact, 5))}),
        json!({"op": "init-ok", "session-id": "s", "attrs": client.engine.names.server()}),
    ];
    let evil = [
        json!(null),
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
        json!(true),
        json!("00000000-0000-0000-0000-000000000000"),
    ];
    fn places(json: &Json, at: String, all: &mut Vec<String>) {
        match json {
            Json::Object(map) => map.iter().for_each(|(k, v)| {
                places(v, format!("{at}/{}", k.replace('~', "~0").replace('/', "~1")), all);
            }),
            // The first few of many are as good as all.
            Json::Array(items) => items.iter().take(4).enumerate().for_each(|(n, v)| {
                places(v, format!("{at}/{n}"), all);
            }),
            _ => {}
        }
        all.push(at);
    }
    let mut tried = 0;
    for frame in &frames {
        let mut all = Vec::new();
        places(frame, String::new(), &mut all);
        for place in all {
            for value in &evil {
                let mut frame = frame.clone();
                *frame.pointer_mut(&place).unwrap() = value.clone();
                let (mut client, _, _) = one_sent();
                client.transact(todo(2, "two"));
                client.say(&frame);
                client.pass(100);
                let listed = client.engine.pending(client.now).len();
                assert!(listed >= 1, "{frame}: the second was never answered");
                tried += 1;
            }
        }
    }
    assert!(tried > 300, "{tried}");
}
