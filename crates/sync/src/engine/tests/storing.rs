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
