//! Rooms: clients and a real server in one process, over loopback sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

mod line;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tricedb::{
    AppId, Client, Config, Cursor, PeerEvent, PeerEvents, Peers, Room, RoomError, RoomStatus,
    SyncEvent,
};
use tricedb_server::{RunningServer, Server};

use line::Line;

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what}: did not happen"))
}

struct World {
    server: RunningServer,
    app: AppId,
}

impl World {
    async fn new() -> Self {
        let server = Server::builder(tricedb_server::Config::default()).start().await.unwrap();
        let app = server.create_app("Test", None, None).await.unwrap().id;
        Self { server, app }
    }

    async fn client(&self) -> Client {
        Client::builder(self.app).url(self.server.http_url()).open().await.unwrap()
    }

    /// A client behind a line that can be cut; it comes back quickly.
    async fn client_behind(&self, line: &Line) -> Client {
        let mut config = Config::default();
        config.reconnect_min = Duration::from_millis(5);
        config.reconnect_max = Duration::from_millis(20);
        let url = format!("ws://{}", line.address());
        Client::builder(self.app).config(config).url(url).open().await.unwrap()
    }

    async fn end(self, clients: impl IntoIterator<Item = Client>) {
        for client in clients {
            client.close().await.unwrap();
        }
        self.server.shutdown().await.unwrap();
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Visitor {
    name: String,
    #[serde(default)]
    lives: u32,
}

fn visitor(name: &str) -> Visitor {
    Visitor { name: name.into(), lives: 9 }
}

async fn enter(db: &Client, presence: impl Serialize) -> Room {
    let room = db.room("chat", "lobby").join(presence).unwrap();
    soon("entering", room.joined()).await.unwrap();
    room
}

/// Waits until exactly these are the names of the others.
async fn sees(room: &Room, names: &[&str]) -> Arc<Peers> {
    let mut peers = room.peers();
    let seen = |peers: &Arc<Peers>| {
        let mut seen: Vec<_> = peers.values().filter_map(|p| p.data["name"].as_str()).collect();
        seen.sort_unstable();
        seen == names
    };
    soon(&format!("seeing {names:?}"), peers.wait_for(seen)).await.unwrap().clone()
}

async fn next(events: &mut PeerEvents) -> PeerEvent {
    soon("an event", events.next()).await.expect("the room is open")
}

#[tokio::test]
async fn peers_come_change_and_go() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let room = enter(&one, visitor("Ada")).await;
    assert!(room.peers().borrow().is_empty());
    let mut events = room.peer_events();
    let other = enter(&two, visitor("Bob")).await;
    sees(&other, &["Ada"]).await;
    let PeerEvent::Joined(bob) = next(&mut events).await else { panic!() };
    assert_eq!((&bob.data["name"], &bob.user), (&json!("Bob"), &None));

    other.set_presence(json!({"lives": 8, "mood": {"now": "good"}})).unwrap();
    let PeerEvent::Updated { peer, before } = next(&mut events).await else { panic!() };
    assert_eq!(before, bob);
    assert_eq!(json!(peer.data), json!({"name": "Bob", "lives": 8, "mood": {"now": "good"}}));
    assert_eq!(json!(*other.presence().unwrap()), json!(peer.data));
    let typed = room.peers_as::<Visitor>().current();
    assert_eq!(typed[0].data, Visitor { name: "Bob".into(), lives: 8 });

    other.remove_presence(&["mood", "lives", "name"]).unwrap();
    let PeerEvent::Updated { peer, .. } = next(&mut events).await else { panic!() };
    assert!(peer.data.is_empty(), "there, and showing nothing: {peer:?}");
    let mut typed = room.peers_as::<Visitor>();
    assert_eq!((typed.current().len(), typed.unreadable()), (0, 1));

    drop(other);
    assert!(matches!(next(&mut events).await, PeerEvent::Left(left) if left.id == bob.id));
    assert!(room.peers().borrow().is_empty());
    world.end([one, two]).await;
}

#[tokio::test]
async fn the_last_of_several_handles_leaves() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let watching = enter(&one, json!({"name": "Ada"})).await;
    let first = enter(&two, json!({"name": "Bob", "a": 1})).await;
    let second = two.room("chat", "lobby").join(json!({"b": 2})).unwrap();
    let clone = second.clone();
    soon(
        "one presence",
        watching.peers().wait_for(|peers| {
            peers.values().any(|p| json!(p.data) == json!({"name": "Bob", "a": 1, "b": 2}))
        }),
    )
    .await
    .unwrap();
    let wrong = two.room("game", "lobby").join(());
    assert!(matches!(wrong, Err(RoomError::IdInUse { .. })), "{wrong:?}");
    assert!(matches!(two.room("chat", "x").join(7), Err(RoomError::NotJson { .. })));
    drop((first, second));
    clone.set_presence(json!({"name": "still Bob"})).unwrap();
    sees(&watching, &["still Bob"]).await;
    let (mut events, mut heard, mut status) =
        (clone.peer_events(), clone.subscribe("t"), clone.status());
    drop(clone);
    sees(&watching, &[]).await;
    // What came out of the room ends with it.
    while soon("the end of events", events.next()).await.is_some() {}
    assert!(soon("the end of a topic", heard.next()).await.is_none());
    while soon("the end of the status", status.changed()).await.is_ok() {}
    let again = enter(&two, json!({"name": "Bob again"})).await;
    sees(&watching, &["Bob again"]).await;
    drop(again);
    world.end([one, two]).await;
}

#[tokio::test]
async fn what_is_told_comes_in_order_to_the_others_and_not_to_oneself() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let (room, other) = (enter(&one, visitor("Ada")).await, enter(&two, visitor("Bob")).await);
    sees(&other, &["Ada"]).await;
    let mut own = room.subscribe("n");
    let mut typed = other.subscribe_as::<u32>("n");
    let mut plain = other.subscribe("n");
    for n in 0..100 {
        room.publish("n", n).unwrap();
    }
    room.publish("other", "elsewhere").unwrap();
    room.publish("n", "no number").unwrap();
    for n in 0..100 {
        let message = soon("a number", typed.next()).await.unwrap().unwrap();
        assert_eq!(message.data, n);
        assert_eq!(message.peer.unwrap().data["name"], "Ada");
        assert_eq!(soon("the same", plain.next()).await.unwrap().data, n);
    }
    let wrong = soon("the other form", typed.next()).await.unwrap();
    assert!(matches!(wrong, Err(RoomError::NotJson { .. })), "{wrong:?}");
    other.publish("n", 7).unwrap();
    assert_eq!(soon("an answer", own.next()).await.unwrap().data, 7);
    assert_eq!((typed.missed(), plain.missed(), own.missed()), (0, 0, 0));
    world.end([one, two]).await;
}

#[tokio::test]
async fn a_slow_listener_misses_the_oldest_and_knows_how_many() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let (room, other) = (enter(&one, visitor("Ada")).await, enter(&two, visitor("Bob")).await);
    sees(&other, &["Ada"]).await;
    let (mut slow, mut done) = (other.subscribe("n"), other.subscribe("done"));
    for n in 0..300 {
        room.publish("n", n).unwrap();
    }
    room.publish("done", ()).unwrap();
    soon("the last message", done.next()).await.unwrap();
    assert_eq!(slow.missed(), 44);
    assert_eq!(soon("the oldest kept", slow.next()).await.unwrap().data, 44);
    world.end([one, two]).await;
}

#[tokio::test]
async fn after_a_cut_nobody_flickers_and_the_newest_presence_is_there() {
    let world = World::new().await;
    let line = Line::to(world.server.local_addr()).await;
    let (cut, other) = (world.client_behind(&line).await, world.client().await);
    let seen_by = enter(&other, json!({"name": "Bob"})).await;
    let room = enter(&cut, json!({"name": "Ada", "n": 0})).await;
    let mut events = room.peer_events();
    let PeerEvent::Joined(bob) = next(&mut events).await else { panic!() };
    let mut status = room.status();
    for n in 1..=5 {
        line.cut();
        soon("the cut", status.wait_for(|s| *s != RoomStatus::Joined)).await.unwrap();
        room.set_presence(json!({ "n": n })).unwrap();
        assert!(room.peers().borrow().contains_key(&bob.id), "seen last, and kept");
        soon("coming back", room.joined()).await.unwrap();
        let shows = |peers: &Arc<Peers>| {
            peers.len() == 1 && peers.values().all(|p| p.data["n"] == n && p.data["name"] == "Ada")
        };
        soon("the newest presence", seen_by.peers().wait_for(shows)).await.unwrap();
    }
    seen_by.set_presence(json!({"mood": "good"})).unwrap();
    // No leave and no join between the first and this.
    let PeerEvent::Updated { peer, .. } = next(&mut events).await else { panic!() };
    assert_eq!((&peer.id, &peer.data["mood"]), (&bob.id, &json!("good")));
    world.end([cut, other]).await;
}

#[tokio::test]
async fn a_room_joined_offline_is_entered_later_with_what_was_told_meanwhile() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let watching = enter(&one, json!({"name": "Ada"})).await;
    let mut heard = watching.subscribe("n");
    two.sync().disconnect();
    let room = two.room("chat", "lobby").join(json!({"name": "Bob"})).unwrap();
    assert_eq!(*room.status().borrow(), RoomStatus::Offline);
    for n in 0..103 {
        room.publish("n", n).unwrap();
    }
    assert_eq!(room.unsent_dropped(), 3);
    two.sync().connect();
    sees(&watching, &["Bob"]).await;
    for n in 3..103 {
        assert_eq!(soon("a message", heard.next()).await.unwrap().data, n);
    }
    world.end([one, two]).await;
}

#[tokio::test]
async fn typing_is_over_after_its_timeout() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let typing = enter(&one, visitor("Ada")).await.typing("message");
    let other = enter(&two, visitor("Bob")).await;
    let mut others = other.typing("message").peers();
    let typing = typing.timeout(Duration::from_millis(400));
    typing.keystroke().unwrap();
    let busy = soon("typing", others.wait_for(|peers| !peers.is_empty())).await.unwrap();
    assert_eq!(busy[0].peer.data["name"], "Ada");
    soon("the time-out", others.wait_for(<[_]>::is_empty)).await.unwrap();
    typing.set_active(true).unwrap();
    soon("typing", others.wait_for(|peers| !peers.is_empty())).await.unwrap();
    typing.set_active(false).unwrap();
    soon("not typing", others.wait_for(<[_]>::is_empty)).await.unwrap();
    assert!(!typing.room().presence().unwrap().contains_key("message"));
    world.end([one, two]).await;
}

#[tokio::test]
async fn cursors_and_reactions_travel() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let (room, other) = (enter(&one, visitor("Ada")).await, enter(&two, visitor("Bob")).await);
    sees(&other, &["Ada"]).await;
    let mut seen = other.cursors().peers();
    // Far more often than they are sent: the last place arrives.
    for x in 0..1_000 {
        room.cursors().show(Cursor::at(f64::from(x), 1.0).in_area(2_000.0, 10.0)).unwrap();
    }
    let last = soon("the last place", seen.wait_for(|c| c.iter().any(|c| c.data.x == 999.0)));
    let last = last.await.unwrap();
    assert_eq!(last[0].data.y_percent, Some(10.0));
    assert!(other.cursors_in("another").peers().current().is_empty());
    assert!(room.cursors().show(Cursor::at(f64::NAN, 0.0)).is_err());
    room.cursors().hide().unwrap();
    soon("no cursor", seen.wait_for(<[_]>::is_empty)).await.unwrap();

    let mut reactions = other.reactions().subscribe();
    room.reactions().send("👍").unwrap();
    room.publish("reactions", json!({"of": "another form"})).unwrap();
    room.reactions().send_with("🎉", json!({"x": 3})).unwrap();
    let first = soon("a reaction", reactions.next()).await.unwrap();
    assert_eq!((&*first.emoji, &first.metadata), ("👍", &Json::Null));
    let second = soon("a reaction", reactions.next()).await.unwrap();
    assert_eq!((&*second.emoji, &second.metadata["x"]), ("🎉", &json!(3)));
    assert_eq!(second.peer.unwrap().data["name"], "Ada");
    world.end([one, two]).await;
}

#[tokio::test]
async fn refusals_are_told() {
    let world = World::new().await;
    let db = world.client().await;
    let mut events = db.sync().events();
    let much = "x".repeat(70_000);
    let refused = db.room("chat", "a").join(json!({ "much": much })).unwrap();
    let error = soon("the refusal", refused.joined()).await.unwrap_err();
    assert!(matches!(error, RoomError::Refused(_)), "{error}");
    let room = db.room("chat", "b").join(()).unwrap();
    soon("entering", room.joined()).await.unwrap();
    room.set_presence(json!({ "much": much })).unwrap();
    room.publish("topic", &much).unwrap();
    let mut told = Vec::new();
    while told.len() < 3 {
        if let SyncEvent::RoomRefused { room, error } =
            soon("an event", events.next()).await.unwrap()
        {
            told.push((room, error.kind));
        }
    }
    told.sort();
    let rooms: Vec<&str> = told.iter().map(|(room, _)| &**room).collect();
    assert_eq!(rooms, ["a", "b", "b"]);
    world.end([db]).await;
}

#[tokio::test]
async fn closing_ends_everything_of_a_room() {
    let world = World::new().await;
    let (one, two) = (world.client().await, world.client().await);
    let watching = enter(&one, visitor("Ada")).await;
    let room = enter(&two, visitor("Bob")).await;
    sees(&watching, &["Bob"]).await;
    let (mut events, mut heard, mut peers) =
        (room.peer_events(), room.subscribe("t"), room.peers_as::<Visitor>());
    two.close().await.unwrap();
    while soon("the end of events", events.next()).await.is_some() {}
    assert!(soon("the end of a topic", heard.next()).await.is_none());
    while soon("the end of peers", peers.next()).await.is_some() {}
    assert_eq!(room.set_presence(json!({"a": 1})), Err(RoomError::Closed));
    assert_eq!(soon("an answer", room.joined()).await, Err(RoomError::Closed));
    assert!(matches!(two.room("chat", "x").join(()), Err(RoomError::Closed)));
    assert!(soon("nothing", room.peer_events().next()).await.is_none());
    sees(&watching, &[]).await;
    world.end([one]).await;
}
