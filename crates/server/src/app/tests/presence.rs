//! Rooms of an app whose log is at work.

use serde_json::json;

use super::*;

fn join(room: &str) -> Json {
    json!({"op": "join-room", "room-type": "t", "room-id": room, "data": {"a": 1}, "client-event-id": "j"})
}

impl Harness {
    /// Tells rooms at a time in seconds.
    fn tell_rooms(&mut self, at: u64) {
        self.state.tell_rooms(std::time::Duration::from_secs(at));
        self.settle();
    }
}

#[test]
fn presence_does_not_wait_for_the_log() {
    let mut app = Harness::logged();
    app.seed(&todos());
    let (a, b) = (app.open(), app.open());
    app.send(a, &join("r"));
    app.tell_rooms(1);
    assert_eq!(app.ops(a), ["join-room-ok", "refresh-presence"]);
    app.take(a);
    app.transact(a, "e", &app.set_title(1, "new"));
    app.add_query(a, &json!({"todos": {}}));
    assert_eq!(app.ops(a), [""; 0], "held until the flush");
    app.send(b, &join("r"));
    app.tell_rooms(2);
    assert_eq!(app.ops(a), ["patch-presence"]);
    app.send(b, &json!({"op": "client-broadcast", "room-id": "r", "topic": "t"}));
    assert_eq!(app.ops(a), ["patch-presence", "server-broadcast"]);
    assert_eq!(app.ops(b), ["join-room-ok", "refresh-presence", "client-broadcast-ok"]);
    app.flush();
    assert_eq!(app.ops(a)[2..], ["transact-ok", "add-query-ok"]);
    app.state.close_session(b);
    app.take(a);
    app.tell_rooms(3);
    assert_eq!(app.ops(a), ["patch-presence"]);
    app.state.close_session(a);
    assert_eq!(app.state.room_count(), 0);
}

#[test]
fn nothing_comes_before_init_ok() {
    let mut app = Harness::logged();
    let a = app.open();
    app.seed(&todos());
    app.transact(a, "e", &app.set_title(1, "new"));
    let b = app.open_with(Features::of("1.0.67"));
    app.send(b, &join("r"));
    app.tell_rooms(4);
    assert_eq!(app.ops(b), [""; 0]);
    app.flush_all();
    let ops = app.ops(b);
    assert_eq!((&*ops[0], &*ops[ops.len() - 1]), ("init-ok", "error"));
    app.take(b);
    app.send(b, &join("r"));
    assert_eq!(app.ops(b), ["join-room-ok"]);
}

#[test]
fn a_refused_join_is_told_twice() {
    let mut app = Harness::volatile();
    let a = app.open();
    app.send(a, &join(&"r".repeat(1_000)));
    let messages = app.take(a);
    let ServerMessage::JoinRoomError(refusal) = &messages[0] else { panic!() };
    assert_eq!(refusal.error["type"], "validation-failed");
    let refusal = error(&messages[1]);
    assert_eq!(refusal.original_event["op"], "join-room");
    assert_eq!(refusal.original_event["room-id"].as_str().unwrap().len(), 1_000);
    assert_eq!(refusal.client_event_id.as_ref().unwrap().as_str(), "j");
}
