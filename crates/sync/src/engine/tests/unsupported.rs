//! What an official server cannot do is not faked: it is refused before it is sent.

use tricedb_core::tx::{lookup, tx};

use super::*;

fn counted(n: u128) -> TxBuilder {
    tx("todos", entity(n)).update(json!({"count": {"$increment": 1}}))
}

#[test]
fn a_plain_session_refuses_operators_and_preconditions_and_sends_the_rest() {
    let mut client = Client::new(1);
    let key = client.subscribe(q());
    client.transact(counted(1));
    let between = client.transact(todo(2, "two"));
    client.transact(tx("todos", entity(2)).expect("title", "two"));
    client.transact(tx("todos", lookup("code", "a")).update(json!({"count": {"$max": 3}})));
    assert_eq!(client.kinds(), [PendingState::Queued; 4]);

    client.open_session();
    let refused = [PendingState::Rejected; 3];
    // What needs no native session is sent, with the attributes that the first would have made.
    let sent = client.sent.iter().find(|message| message["op"] == "transact").unwrap().clone();
    assert_eq!(sent["client-event-id"], json!(between.id));
    assert_eq!(attrs_of(&sent).len(), 3);
    client.sent.clear();
    client.say(&ack(&sent, 101));
    assert_eq!(client.kinds()[..3], refused);
    assert!(client.sent.is_empty(), "{:?}", client.sent);
    for pending in &client.engine.pending(client.now)[..3] {
        assert_eq!(pending.last_error.as_ref().unwrap().kind, "unsupported");
    }
    let unsupported = client
        .settled
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Err(Some(error)) if error.kind == "unsupported"));
    assert_eq!(unsupported.map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 3, 4]);
    assert_eq!(client.titles(&key), ["two"]);

    // The same on a session that is open already.
    client.sent.clear();
    client.transact(counted(2));
    assert!(client.sent.is_empty(), "{:?}", client.sent);
    assert_eq!(client.kinds()[..4], [PendingState::Rejected; 4]);
}
