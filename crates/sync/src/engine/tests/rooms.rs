//! Rooms: entering them, showing something, and coming back after a cut.

use super::*;

fn object(json: Json) -> serde_json::Map<String, Json> {
    json.as_object().unwrap().clone()
}

fn peer(id: &str, data: &Json) -> Json {
    json!({"peer-id": id, "user": null, "data": data})
}

impl Client {
    fn join(&mut self, kind: &str, data: Json) -> Result<(), RoomError> {
        let result = self.engine.join_room(self.now, kind, &"r".into(), object(data));
        self.drain();
        result
    }

    /// Answers the `join-room` sent last.
    fn let_in(&mut self) -> Json {
        let at = self.sent.iter().position(|m| m["op"] == "join-room").expect("a join");
        let join = self.sent.remove(at);
        let event = &join["client-event-id"];
        self.say(&json!({"op": "join-room-ok", "room-id": "r", "client-event-id": event}));
        join
    }

    fn show(&mut self, data: Json) {
        self.engine.set_presence(self.now, "r", object(data)).unwrap();
        self.drain();
    }

    fn seen(&self) -> Vec<(String, Json)> {
        let peers = self.engine.peers("r");
        peers.values().map(|p| (p.id.to_string(), Json::Object(p.data.clone()))).collect()
    }
}

#[test]
fn presence_is_merged_and_sent_at_most_twenty_times_a_second() {
    let mut client = Client::new(1);
    client.open_session();
    client.sent.clear();
    client.join("chat", json!({"a": 1})).unwrap();
    let join = client.let_in();
    assert_eq!((&join["room-type"], &join["data"]), (&json!("chat"), &json!({"a": 1})));
    for n in 0..10 {
        client.show(json!({ "n": n }));
    }
    assert!(client.sent.is_empty(), "{:?}", client.sent);
    client.pass(50);
    assert_eq!(client.sent.len(), 1);
    assert_eq!(client.sent[0]["data"], json!({"a": 1, "n": 9}));
    client.show(json!({"n": 9}));
    client.pass(1_000);
    assert_eq!(client.sent.len(), 1, "nothing changed");
}

#[test]
fn a_cut_makes_nobody_flicker_and_the_newest_presence_comes_back() {
    let mut client = Client::new(1);
    client.open_session();
    client.join("chat", json!({"n": 0})).unwrap();
    client.let_in();
    let all = json!({"s": peer("s", &json!({"n": 0})), "b": peer("b", &json!({"k": 1}))});
    client.say(&json!({"op": "refresh-presence", "room-id": "r", "data": all}));
    let others = vec![("b".to_owned(), json!({"k": 1}))];
    assert_eq!(client.seen(), others);
    client.rooms.clear();
    client.handle(Input::Disconnected { reason: "cut".into(), hopeless: false });
    client.show(json!({"n": 1}));
    assert_eq!(client.seen(), others);
    client.sent.clear();
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.let_in()["data"], json!({"n": 1}));
    client.say(&json!({"op": "refresh-presence", "room-id": "r", "data": all}));
    assert_eq!(client.seen(), others);
    let reported = |report: &RoomReport| matches!(report, RoomReport::Peers(_));
    assert!(!client.rooms.iter().any(|(_, report)| reported(report)), "{:?}", client.rooms);
    client.say(&json!({"op": "patch-presence", "room-id": "r", "edits": [[["b"], "-"]]}));
    assert_eq!(client.seen(), []);
}

#[test]
fn what_is_published_waits_for_the_room_and_goes_in_order() {
    let mut client = Client::new(1);
    client.join("chat", json!({})).unwrap();
    for n in 0..3 {
        client.engine.publish(client.now, "r", "t", json!(n)).unwrap();
    }
    client.drain();
    client.open_session();
    client.let_in();
    client.sent.retain(|m| m["op"] == "client-broadcast");
    let told: Vec<&Json> = client.sent.iter().map(|m| &m["data"]).collect();
    assert_eq!(told, [&json!(0), &json!(1), &json!(2)]);
    let data = peer("b", &json!("hi"));
    client.say(&json!({"op": "server-broadcast", "room-id": "r", "topic": "t", "data": data}));
    let Some((_, RoomReport::Message(message))) = client.rooms.last() else { panic!() };
    assert_eq!((&*message.peer_id, &message.data), ("b", &json!("hi")));
}

#[test]
fn uses_are_counted_and_ids_are_one_room_each() {
    let mut client = Client::new(1);
    client.open_session();
    client.join("chat", json!({"a": 1})).unwrap();
    client.join("chat", json!({"b": 2})).unwrap();
    assert!(matches!(client.join("other", json!({})), Err(RoomError::IdInUse { .. })));
    client.let_in();
    client.sent.clear();
    for left in [0, 1] {
        client.engine.leave_room(client.now, "r");
        client.drain();
        assert_eq!(client.sent.iter().filter(|m| m["op"] == "leave-room").count(), left);
    }
    assert!(client.engine.publish(client.now, "r", "t", json!(1)).is_err());
}

#[test]
fn what_is_shown_for_a_time_goes_by_itself_offline_too() {
    let mut client = Client::new(1);
    client.open_session();
    client.join("chat", json!({"name": "me"})).unwrap();
    client.let_in();
    client.sent.clear();
    let second = Duration::from_secs(1);
    let type_key = |client: &mut Client| {
        let typing = object(json!({"typing": true}));
        client.engine.set_presence_for(client.now, "r", typing, second).unwrap();
        client.drain();
    };
    type_key(&mut client);
    client.pass(600);
    type_key(&mut client);
    client.pass(600);
    let shown = |client: &Client| json!(*client.engine.presence("r").unwrap());
    assert_eq!(shown(&client), json!({"name": "me", "typing": true}), "the second key counts");
    assert_eq!(client.sent.len(), 1, "and says nothing new: {:?}", client.sent);
    client.sent.clear();
    assert!(client.engine.next_deadline().is_some_and(|at| at <= client.now.plus(second)));
    client.pass(400);
    assert_eq!(client.sent[0]["data"], json!({"name": "me"}));

    type_key(&mut client);
    client.engine.set_presence(client.now, "r", object(json!({"typing": true}))).unwrap();
    client.pass(5_000);
    assert_eq!(shown(&client)["typing"], true, "set without a time, it stays");

    type_key(&mut client);
    client.lose();
    client.pass(60_000);
    client.sent.clear();
    client.open_session();
    assert_eq!(client.let_in()["data"], json!({"name": "me"}));
}

#[test]
fn to_have_joined_means_to_know_who_is_there() {
    let mut client = Client::new(1);
    client.open_session();
    client.join("chat", json!({})).unwrap();
    client.let_in();
    assert_eq!(client.engine.room_status("r"), RoomStatus::Joining);
    client.say(&json!({"op": "refresh-presence", "room-id": "r", "data": {}}));
    assert_eq!(client.engine.room_status("r"), RoomStatus::Joined);
    client.lose();
    assert_eq!(client.engine.room_status("r"), RoomStatus::Offline);
    client.pass(60_000);
    client.sent.clear();
    client.open_session();
    client.say(&json!({"op": "refresh-presence", "room-id": "r", "data": {}}));
    assert_eq!(client.engine.room_status("r"), RoomStatus::Joining);
    client.let_in();
    assert_eq!(client.engine.room_status("r"), RoomStatus::Joined);
}

#[test]
fn a_refused_join_is_told_once_and_tried_again_with_the_next_session() {
    let mut client = Client::new(1);
    client.open_session();
    client.join("chat", json!({})).unwrap();
    let event = client.sent.last().unwrap()["client-event-id"].clone();
    client.say(&json!({"op": "join-room-error", "room-id": "r", "error": "full", "client-event-id": event}));
    client
        .say(&json!({"op": "error", "type": "validation-failed", "message": "full", "status": 400,
        "client-event-id": event, "original-event": {"op": "join-room", "room-id": "r"}}));
    let RoomStatus::Refused(error) = client.engine.room_status("r") else { panic!() };
    assert_eq!(error.message, "full");
    let refused = |event: &&SyncEvent| matches!(event, SyncEvent::RoomRefused { .. });
    assert_eq!(client.events.iter().filter(refused).count(), 1);
    client.lose();
    client.pass(60_000);
    client.sent.clear();
    client.open_session();
    client.let_in();
}
