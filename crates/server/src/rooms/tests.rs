//! Rooms driven by hand, with members that apply what they get as official clients do.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tricedb_core::id::SessionId;
use tricedb_protocol::{
    ClientMessage, EditKind, ErrorBody, PathPart, PresenceEdit, ServerMessage, Told,
};
use uuid::Uuid;

use super::*;
use crate::app::SessionKey;

/// What one official client knows of its rooms.
#[derive(Default)]
struct View {
    /// By room id, then peer.
    peers: BTreeMap<String, BTreeMap<String, Json>>,
    told: Vec<(String, Told)>,
    answers: Vec<String>,
    refreshes: usize,
    patches: usize,
    bytes: usize,
}

impl View {
    fn take(&mut self, text: &str) {
        self.bytes += text.len();
        match ServerMessage::decode(text).unwrap() {
            ServerMessage::RefreshPresence(refresh) => {
                self.refreshes += 1;
                self.peers.insert(refresh.room_id, refresh.data);
            }
            ServerMessage::PatchPresence(patch) => {
                self.patches += 1;
                assert!(!patch.edits.is_empty(), "a patch without edits");
                let peers = self.peers.get_mut(&patch.room_id).expect("a patch before the list");
                let mut map = Json::Object(std::mem::take(peers).into_iter().collect());
                for edit in patch.edits {
                    apply(&mut map, &edit);
                }
                let Json::Object(map) = map else { panic!() };
                *peers = map.into_iter().collect();
            }
            ServerMessage::ServerBroadcast(told) => self.told.push((told.topic, told.data)),
            other => self.answers.push(other.op().to_owned()),
        }
    }
}

/// As the official client does it: what is left empty by a removal is removed as well.
fn apply(root: &mut Json, edit: &PresenceEdit) {
    assert!(!edit.path.is_empty(), "an empty path is ignored by official clients");
    let keys: Vec<&str> = edit
        .path
        .iter()
        .map(|part| match part {
            PathPart::Key(key) => key.as_str(),
            PathPart::Index(_) => panic!("arrays are replaced as a whole"),
        })
        .collect();
    match &edit.change {
        EditKind::Add(value) | EditKind::Replace(value) => {
            let mut at = root;
            for key in &keys {
                at = at.as_object_mut().unwrap().entry(*key).or_insert_with(|| json!({}));
            }
            *at = value.clone();
        }
        EditKind::Remove => remove(root, &keys),
    }
}

fn remove(at: &mut Json, keys: &[&str]) {
    let map = at.as_object_mut().unwrap();
    if keys.len() == 1 {
        map.remove(keys[0]);
    } else if let Some(child) = map.get_mut(keys[0]) {
        remove(child, &keys[1..]);
        if child.as_object().is_some_and(serde_json::Map::is_empty) {
            map.remove(keys[0]);
        }
    }
}

struct Harness {
    rooms: Rooms,
    now: Duration,
    views: HashMap<u64, View>,
    old: Vec<u64>,
}

fn peer(session: u64) -> String {
    SessionId(Uuid::from_u128(session.into())).to_string()
}

impl Harness {
    fn new() -> Self {
        Self::with(RoomLimits::default())
    }

    fn with(limits: RoomLimits) -> Self {
        Self {
            rooms: Rooms::new(limits),
            now: Duration::from_secs(1),
            views: HashMap::new(),
            old: Vec::new(),
        }
    }

    fn say(&mut self, session: u64, message: &Json) -> Result<(), ErrorBody> {
        let entrant = Entrant {
            session: SessionKey(session),
            id: SessionId(Uuid::from_u128(session.into())),
            user: None,
            is_admin: false,
            takes_patches: !self.old.contains(&session),
        };
        let key = SessionKey(session);
        let result = match ClientMessage::decode(&message.to_string()).unwrap() {
            ClientMessage::JoinRoom(m) => self.rooms.join(&entrant, &m),
            ClientMessage::LeaveRoom(m) => {
                self.rooms.leave(key, &m);
                Ok(())
            }
            ClientMessage::SetPresence(m) => self.rooms.set(key, &m),
            ClientMessage::ClientBroadcast(m) => self.rooms.broadcast(key, &m),
            other => panic!("{other:?}"),
        };
        self.collect();
        result
    }

    fn join(&mut self, session: u64, room: &str, data: &Json) {
        let message = json!({"op": "join-room", "room-type": "t", "room-id": room, "data": data});
        self.say(session, &message).unwrap();
    }

    fn set(&mut self, session: u64, room: &str, data: &Json) {
        self.say(session, &json!({"op": "set-presence", "room-id": room, "data": data})).unwrap();
    }

    fn tell(&mut self, session: u64, room: &str, data: &Json) {
        let message =
            json!({"op": "client-broadcast", "room-id": room, "topic": "n", "data": data});
        self.say(session, &message).unwrap();
    }

    fn leave(&mut self, session: u64, room: &str) {
        self.say(session, &json!({"op": "leave-room", "room-id": room})).unwrap();
    }

    /// Lets time pass, without missing a deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.rooms.flush(self.now);
        while let Some(at) = self.rooms.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.rooms.flush(self.now);
        }
        self.now = end;
        self.collect();
    }

    fn quiet(&mut self) {
        self.pass(Duration::from_secs(60));
        assert_eq!(self.rooms.deadline(), None);
    }

    fn collect(&mut self) {
        while let Some((session, frame)) = self.rooms.poll() {
            self.views.entry(session.0).or_default().take(frame.text().unwrap());
        }
    }

    fn view(&self, session: u64) -> &View {
        &self.views[&session]
    }

    /// The presence that a session sees in a room, by session.
    fn seen(&self, session: u64, room: &str) -> BTreeMap<String, Json> {
        let peers = &self.view(session).peers[room];
        peers.iter().map(|(id, entry)| (id.clone(), entry["data"].clone())).collect()
    }
}

fn everyone(pairs: &[(u64, Json)]) -> BTreeMap<String, Json> {
    pairs.iter().map(|(session, data)| (peer(*session), data.clone())).collect()
}

#[test]
fn the_sequence_of_the_reference() {
    let mut h = Harness::new();
    h.join(1, "r", &json!({"name": "one"}));
    h.pass(Duration::ZERO);
    assert_eq!(h.view(1).answers, ["join-room-ok"]);
    assert_eq!(h.seen(1, "r"), everyone(&[(1, json!({"name": "one"}))]));
    h.set(1, "r", &json!({"name": "one"}));
    h.quiet();
    assert_eq!((h.view(1).patches, h.view(1).refreshes), (0, 1), "nothing changed");
    h.join(2, "r", &json!(null));
    h.pass(Duration::ZERO);
    let both = everyone(&[(1, json!({"name": "one"})), (2, json!({}))]);
    assert_eq!((h.seen(1, "r"), h.seen(2, "r")), (both.clone(), both));
    assert_eq!((h.view(1).refreshes, h.view(2).refreshes), (1, 1));
    h.set(1, "r", &json!({"name": "one", "x": 1}));
    h.quiet();
    assert_eq!(h.seen(1, "r"), h.seen(2, "r"));
    assert_eq!(h.seen(2, "r")[&peer(1)], json!({"name": "one", "x": 1}));
    h.tell(1, "r", &json!({"k": "fire"}));
    assert_eq!(h.view(1).told, []);
    let (topic, told) = &h.view(2).told[0];
    assert_eq!((&**topic, &told.peer_id, &told.data), ("n", &peer(1), &json!({"k": "fire"})));
    assert_eq!(told.user, Json::Null);
    h.leave(2, "r");
    h.leave(2, "r");
    h.quiet();
    assert_eq!(h.seen(1, "r").len(), 1);
    assert_eq!(
        h.view(2).answers[h.view(2).answers.len() - 2..],
        ["leave-room-ok", "leave-room-ok"]
    );
    h.rooms.forget(SessionKey(1));
    assert_eq!((h.rooms.len(), h.rooms.deadline()), (0, None));
}

#[test]
fn a_second_join_keeps_what_is_shown() {
    let mut h = Harness::new();
    h.join(1, "r", &json!({"a": 1}));
    h.join(1, "r", &json!({"b": 1}));
    h.quiet();
    assert_eq!(h.seen(1, "r"), everyone(&[(1, json!({"a": 1}))]));
}

#[test]
fn rooms_of_different_types_do_not_meet() {
    let mut h = Harness::new();
    h.join(1, "r", &json!({"a": 1}));
    h.say(2, &json!({"op": "join-room", "room-type": "other", "room-id": "r"})).unwrap();
    h.say(3, &json!({"op": "join-room", "room-id": "r"})).unwrap();
    h.quiet();
    for session in [1, 2, 3] {
        assert_eq!(h.seen(session, "r").keys().collect::<Vec<_>>(), [&peer(session)]);
    }
    let twice = h.say(1, &json!({"op": "join-room", "room-type": "other", "room-id": "r"}));
    assert!(twice.unwrap_err().message.contains("of type \"t\""));
}

#[test]
fn the_last_key_goes_without_the_peer() {
    let mut h = Harness::new();
    for session in [1, 2] {
        h.join(session, "r", &json!({"a": 1, "o": {"p": 1}}));
    }
    h.quiet();
    for data in [json!({"a": 1, "o": {}}), json!({"b": 2}), json!({}), json!({"a": 1})] {
        h.set(1, "r", &data);
        h.quiet();
        assert_eq!(h.seen(2, "r")[&peer(1)], data);
    }
}

#[test]
fn old_clients_get_everything_each_time() {
    let mut h = Harness::new();
    h.old.push(1);
    h.join(1, "r", &json!({}));
    h.join(2, "r", &json!({"n": 0}));
    h.quiet();
    h.set(2, "r", &json!({"n": 1}));
    h.quiet();
    assert_eq!((h.view(1).patches, h.view(1).refreshes), (0, 2));
    assert_eq!(h.seen(1, "r"), h.seen(2, "r"));
}

#[test]
fn updates_are_folded_per_tick() {
    let mut h = Harness::new();
    for session in 1..=10 {
        h.join(session, "r", &json!({"n": 0}));
    }
    h.quiet();
    let before = h.view(1).patches;
    for n in 1..=100 {
        for session in 1..=10 {
            h.set(session, "r", &json!({"n": n}));
        }
        h.pass(Duration::from_millis(1));
    }
    let patches = h.view(1).patches - before;
    assert!((5..=7).contains(&patches), "{patches} patches in 100 ms");
    h.quiet();
    assert!(h.seen(3, "r").values().all(|data| data["n"] == 100));
}

#[test]
fn many_cursors_stay_within_what_a_room_may_cost() {
    const PER_SECOND: usize = 1 << 20;
    let mut h = Harness::with(RoomLimits {
        presence_bytes_per_second: PER_SECOND as u64,
        ..RoomLimits::default()
    });
    let members = 1..=100;
    for session in members.clone() {
        h.join(session, "r", &json!({"x": 0, "y": 0}));
    }
    h.quiet();
    let patches = |h: &Harness, session| h.view(session).patches;
    let bytes = |h: &Harness| h.views.values().map(|view| view.bytes).sum::<usize>();
    let before = bytes(&h);
    // Two seconds of 20 updates each.
    for n in 0..40 {
        for session in members.clone() {
            h.set(session, "r", &json!({"x": n, "y": n + 1}));
        }
        h.pass(Duration::from_millis(50));
    }
    let answers = 40 * 100 * "set-presence-ok, room and event: less than a hundred".len() * 2;
    let total = bytes(&h) - before;
    assert!(total < 3 * PER_SECOND + answers, "{total} bytes in two seconds");
    h.quiet();
    for session in members {
        assert!(patches(&h, session) >= 2 && patches(&h, session) < 10);
        assert_eq!(patches(&h, session), patches(&h, 1), "nobody is told less than others");
        assert!(h.seen(session, "r").values().all(|data| data["x"] == 39));
    }
}

#[test]
fn slow_members_get_the_latest_and_miss_the_oldest_messages() {
    let mut h = Harness::with(RoomLimits { broadcasts_waiting_max: 3, ..RoomLimits::default() });
    h.join(1, "r", &json!({}));
    h.join(2, "r", &json!({}));
    h.quiet();
    let before = h.view(2).bytes;
    h.rooms.pause(SessionKey(2));
    for n in 0..5 {
        h.set(1, "r", &json!({ "n": n }));
        h.tell(1, "r", &json!(n));
        h.quiet();
    }
    assert_eq!(h.view(2).bytes, before, "told although its reader is slow");
    h.rooms.resume(SessionKey(2));
    h.quiet();
    assert_eq!(h.seen(2, "r")[&peer(1)], json!({"n": 4}));
    assert_eq!(h.view(2).refreshes, 2);
    let told: Vec<&Json> = h.view(2).told.iter().map(|(_, told)| &told.data).collect();
    assert_eq!(told, [&json!(2), &json!(3), &json!(4)]);
    assert_eq!(h.rooms.dropped(), 2);
}

#[test]
fn bounds_are_answered() {
    let mut h = Harness::with(RoomLimits {
        rooms_per_session_max: 2,
        members_per_room_max: 2,
        presence_bytes_max: 20,
        total_presence_bytes_max: 42,
        name_bytes_max: 8,
        broadcast_bytes_max: 10,
        ..RoomLimits::default()
    });
    h.join(1, "a", &json!({}));
    h.join(1, "b", &json!({}));
    let join = |room: &str, data: Json| json!({"op": "join-room", "room-type": "t", "room-id": room, "data": data});
    let text = |result: Result<(), ErrorBody>| result.unwrap_err().message;
    assert!(text(h.say(1, &join("c", json!({})))).contains("at most 2 rooms"));
    h.join(2, "a", &json!({}));
    assert!(text(h.say(3, &join("a", json!({})))).contains("is full"));
    assert!(text(h.say(3, &join("too long a name", json!({})))).contains("at most 8 bytes"));
    let large = json!({"large": "12345678901234567890"});
    assert!(text(h.say(3, &join("c", large.clone()))).contains("at most 20 bytes"));
    h.join(3, "c", &json!({"x": "1234567890"}));
    h.join(4, "c", &json!({"x": "1234567890"}));
    assert_eq!(
        h.say(5, &join("d", json!({"x": 1}))).unwrap_err().kind.as_deref(),
        Some("rate-limited")
    );
    h.rooms.forget(SessionKey(4));
    h.join(5, "d", &json!({"x": 1}));
    let set = json!({"op": "set-presence", "room-id": "a", "data": large});
    assert!(text(h.say(1, &set)).contains("at most 20 bytes"));
    let tell =
        |data: &str| json!({"op": "client-broadcast", "room-id": "a", "topic": "t", "data": data});
    assert!(text(h.say(1, &tell("1234567890"))).contains("at most 10 bytes"));
    for op in ["set-presence", "client-broadcast"] {
        let message = json!({"op": op, "room-id": "z", "topic": "t"});
        let refusal = h.say(1, &message).unwrap_err();
        assert_eq!(
            refusal.message,
            "Validation failed for room: You have not entered this room yet."
        );
    }
}

#[test]
fn a_policy_may_refuse() {
    #[derive(Debug)]
    struct Quiet;
    impl RoomPolicy for Quiet {
        fn check(&self, request: &RoomRequest<'_>) -> Result<(), ErrorBody> {
            match request.action {
                RoomAction::Broadcast { topic: "loud", .. } => {
                    Err(ErrorBody::bad_request("permission-denied", "quiet", Json::Null))
                }
                _ => Ok(()),
            }
        }
    }
    let mut h = Harness::new();
    h.rooms.set_policy(Box::new(Quiet));
    h.join(1, "r", &json!({}));
    let tell = |topic: &str| json!({"op": "client-broadcast", "room-id": "r", "topic": topic});
    h.say(1, &tell("soft")).unwrap();
    assert_eq!(h.say(1, &tell("loud")).unwrap_err().kind.as_deref(), Some("permission-denied"));
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn data(&mut self) -> Json {
        let mut map = serde_json::Map::new();
        for _ in 0..self.roll(4) {
            let value = match self.roll(5) {
                0 => json!(self.roll(3)),
                1 => json!({ "k": self.roll(2) }),
                2 => json!({}),
                3 => json!([self.roll(2), {}]),
                _ => json!({ "k": { "l": self.roll(2) }, "m": "a \"text\"" }),
            };
            map.insert(["a", "b", "c \"q\""][usize::try_from(self.roll(3)).unwrap()].into(), value);
        }
        Json::Object(map)
    }
}

/// Whatever members do, however slow they are: at quiet those in a room see the same peers, each with what
/// it showed last; nobody who left is there; and what a member told comes in its order, at most once.
#[test]
fn at_quiet_all_members_agree() {
    for seed in 1..=300 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        let mut h =
            Harness::with(RoomLimits { broadcasts_waiting_max: 4, ..RoomLimits::default() });
        h.old.push(3);
        let mut truth: BTreeMap<(&str, u64), Json> = BTreeMap::new();
        let mut said = 0;
        for _ in 0..120 {
            let (session, room) =
                (1 + dice.roll(6), ["r", "s"][usize::try_from(dice.roll(2)).unwrap()]);
            let is_in = truth.contains_key(&(room, session));
            match dice.roll(12) {
                0..=2 if !is_in => {
                    let data = dice.data();
                    h.join(session, room, &data);
                    truth.insert((room, session), data);
                }
                0..=4 if is_in => {
                    let data = dice.data();
                    h.set(session, room, &data);
                    truth.insert((room, session), data);
                }
                5 => {
                    h.leave(session, room);
                    truth.remove(&(room, session));
                }
                6 => {
                    h.rooms.forget(SessionKey(session));
                    truth.retain(|(_, member), _| *member != session);
                }
                7 => h.rooms.pause(SessionKey(session)),
                8 => h.rooms.resume(SessionKey(session)),
                9 if is_in => {
                    said += 1;
                    h.tell(session, room, &json!(said));
                }
                _ => h.pass(Duration::from_millis(dice.roll(30))),
            }
        }
        for session in 1..=6 {
            h.rooms.resume(SessionKey(session));
        }
        h.quiet();
        for (room, session) in truth.keys() {
            let expected: BTreeMap<String, Json> = truth
                .iter()
                .filter(|((other, _), _)| other == room)
                .map(|((_, member), data)| (peer(*member), data.clone()))
                .collect();
            assert_eq!(h.seen(*session, room), expected, "seed {seed}, session {session}");
        }
        for view in h.views.values() {
            let mut last: HashMap<&str, u64> = HashMap::new();
            for (_, told) in &view.told {
                let n = told.data.as_u64().unwrap();
                let before = last.insert(&told.peer_id, n);
                assert!(
                    before.is_none_or(|before| before < n),
                    "seed {seed}: {before:?}, then {n}"
                );
            }
        }
    }
}
