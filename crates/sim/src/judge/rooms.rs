//! Who is in which room, and what was told there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use tricedb_sync::{Peers, TopicMessage};

use super::Judge;
use crate::violation::{Violation, hold};

/// The rooms as programs use them.
#[derive(Debug)]
pub(crate) struct RoomsJudge {
    /// By client and room, what it shows.
    members: Vec<BTreeMap<u8, u32>>,
    /// What each client has told so far.
    told: Vec<u64>,
    /// By receiver, room and teller's session, what came last.
    heard: Vec<BTreeMap<(String, String), u64>>,
}

impl RoomsJudge {
    pub(super) fn new(clients: usize) -> Self {
        Self {
            members: vec![BTreeMap::new(); clients],
            told: vec![0; clients],
            heard: vec![BTreeMap::new(); clients],
        }
    }

    pub(crate) fn is_in(&self, client: usize, room: u8) -> bool {
        self.members[client].contains_key(&room)
    }

    pub(crate) fn shows(&mut self, client: usize, room: u8, n: u32) {
        self.members[client].insert(room, n);
    }

    pub(crate) fn left(&mut self, client: usize, room: u8) {
        self.members[client].remove(&room);
    }

    /// A client's process died: nobody is anywhere.
    pub(crate) fn crashed(&mut self, client: usize) {
        self.members[client].clear();
        self.heard[client].clear();
    }

    /// The next thing that a client tells.
    pub(crate) fn tells(&mut self, client: usize) -> Json {
        self.told[client] += 1;
        json!({ "who": client, "n": self.told[client] })
    }

    /// What a client shows of itself.
    pub(crate) fn presence(client: usize, n: u32) -> serde_json::Map<String, Json> {
        serde_json::Map::from_iter([("who".into(), json!(client)), ("n".into(), json!(n))])
    }

    pub(crate) fn rooms(&self) -> BTreeSet<u8> {
        self.members.iter().flat_map(|rooms| rooms.keys().copied()).collect()
    }
}

impl Judge {
    /// A client hears what another told in a room. Of two rooms either may be entered first.
    pub(crate) fn hears(
        &mut self,
        client: usize,
        room: &str,
        message: &TopicMessage,
    ) -> Result<(), Violation> {
        self.coverage.broadcasts += 1;
        let n = message.data["n"].as_u64().unwrap_or(0);
        let who = message.data["who"].as_u64();
        hold!(who != Some(client as u64), Rooms, "client {client} hears itself: {message:?}");
        let last = self.rooms.heard[client]
            .entry((room.to_owned(), message.peer_id.to_string()))
            .or_default();
        hold!(n > *last, Rooms, "client {client} hears {n} from client {who:?} after {last}");
        *last = n;
        Ok(())
    }

    /// At quiet a member sees all the others as they are, and nobody else.
    pub(crate) fn quiet_room(
        &mut self,
        client: usize,
        room: u8,
        peers: &Peers,
    ) -> Result<(), Violation> {
        if !self.rooms.is_in(client, room) {
            return Ok(());
        }
        self.coverage.rooms_compared += 1;
        let mut should: Vec<Json> = self
            .rooms
            .members
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != client)
            .filter_map(|(other, rooms)| Some((other, *rooms.get(&room)?)))
            .map(|(other, n)| Json::Object(RoomsJudge::presence(other, n)))
            .collect();
        let mut sees: Vec<Json> = peers.values().map(|peer| json!(peer.data)).collect();
        should.sort_by_key(Json::to_string);
        sees.sort_by_key(Json::to_string);
        hold!(
            sees == should,
            Rooms,
            "client {client} sees in room {room} {}, should see {}",
            json!(sees),
            json!(should)
        );
        Ok(())
    }
}
