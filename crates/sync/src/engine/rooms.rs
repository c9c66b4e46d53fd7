//! Rooms: which the client is in, what it shows there, and whom it sees.
//!
//! Nothing of it is stored. What the client shows is kept here and sent anew with every session; the peers
//! seen last stay until a new session brings the list of those present, so that a lost connection does not
//! make anybody flicker.

mod edit;
mod report;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::EventId;
use tricedb_protocol::{
    ClientBroadcast, ClientMessage, JoinRoom, LeaveRoom, PatchPresence, PresenceData,
    RefreshPresence, ServerBroadcast, SetPresence,
};

pub use report::{Peer, Peers, RoomError, RoomReport, RoomStatus, TopicMessage};
use room::{Room, Stage};

use super::report::{ServerError, SyncEvent};
use super::{Millis, Output, SyncEngine};

/// The shortest time between two messages about what the client shows in one room: later changes wait and
/// go together.
const PRESENCE_EVERY: Duration = Duration::from_millis(50);

/// What a program may say in a room before it is entered; the oldest make way.
const UNSENT_MAX: usize = 100;

/// Own session ids that are remembered: until the server notices that an old connection is dead, the client
/// would see itself.
const OWN_PEERS_MAX: usize = 16;

/// All rooms of a client, by room id.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: BTreeMap<Arc<str>, Room>,
    /// The ids of this client's sessions, the present one last.
    own_peers: Vec<String>,
}

impl SyncEngine {
    /// Enters a room, or counts one more use of it. Presence is merged over what is shown there already.
    ///
    /// # Errors
    /// [`RoomError`]; nothing happened then.
    pub fn join_room(
        &mut self,
        now: Millis,
        kind: &str,
        id: &Arc<str>,
        presence: PresenceData,
    ) -> Result<(), RoomError> {
        if self.is_closing {
            return Err(RoomError::Closed);
        }
        match self.rooms.rooms.get_mut(id) {
            Some(room) if &*room.kind != kind => {
                return Err(RoomError::IdInUse { id: id.clone(), kind: room.kind.clone() });
            }
            Some(room) => {
                room.uses += 1;
                room.merge(presence);
            }
            None => drop(self.rooms.rooms.insert(id.clone(), Room::new(kind, presence))),
        }
        if self.link.authenticated_since().is_some() {
            self.enter_room(now, id);
        }
        self.advance(now);
        Ok(())
    }

    /// Ends one use of a room; the last one leaves it.
    pub fn leave_room(&mut self, now: Millis, id: &str) {
        let Some(room) = self.rooms.rooms.get_mut(id) else { return };
        room.uses -= 1;
        if room.uses > 0 {
            return;
        }
        let was_told = !matches!(room.stage, Stage::Outside);
        self.rooms.rooms.remove(id);
        if was_told {
            let event = Some(self.next_event());
            self.send(&ClientMessage::LeaveRoom(LeaveRoom {
                room_id: id.to_owned(),
                client_event_id: event,
            }));
        }
        self.advance(now);
    }

    /// Changes what the others in a room see: keys of `changes` take the place of those before.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn set_presence(
        &mut self,
        now: Millis,
        id: &str,
        changes: PresenceData,
    ) -> Result<(), RoomError> {
        self.open_room(id)?.merge(changes);
        self.advance(now);
        Ok(())
    }

    /// Like [`Self::set_presence`], but the keys of `changes` go by themselves after a while, unless they are
    /// set again.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn set_presence_for(
        &mut self,
        now: Millis,
        id: &str,
        changes: PresenceData,
        span: Duration,
    ) -> Result<(), RoomError> {
        self.open_room(id)?.merge_until(now.plus(span), changes);
        self.advance(now);
        Ok(())
    }

    /// Takes keys out of what the others in a room see.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn remove_presence(
        &mut self,
        now: Millis,
        id: &str,
        keys: &[&str],
    ) -> Result<(), RoomError> {
        self.open_room(id)?.remove(keys.iter().copied());
        self.advance(now);
        Ok(())
    }

    /// What the client shows in a room.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn presence(&self, id: &str) -> Result<Arc<PresenceData>, RoomError> {
        self.rooms.rooms.get(id).map(|room| room.presence.clone()).ok_or(RoomError::Closed)
    }

    /// Tells the others in a room something. Before the room is entered it waits; nobody who is not there
    /// when it is sent gets it, and it may be lost with the connection.
    ///
    /// # Errors
    /// [`RoomError`].
    pub fn publish(
        &mut self,
        now: Millis,
        id: &str,
        topic: &str,
        data: Json,
    ) -> Result<(), RoomError> {
        let room = self.open_room(id)?;
        room.unsent.push_back((topic.into(), data));
        if room.unsent.len() > UNSENT_MAX {
            room.unsent.pop_front();
            room.unsent_dropped += 1;
        }
        if room.stage == Stage::Inside {
            self.send_unsent(id);
        }
        self.advance(now);
        Ok(())
    }

    /// Whom the client sees in a room.
    pub fn peers(&self, id: &str) -> Arc<Peers> {
        self.rooms.rooms.get(id).map(|room| room.peers.clone()).unwrap_or_default()
    }

    /// How the client stands to a room.
    pub fn room_status(&self, id: &str) -> RoomStatus {
        self.rooms.rooms.get(id).map_or(RoomStatus::Offline, |room| room.status.clone())
    }

    /// How many messages that waited for a room to be entered had to make way for later ones.
    pub fn unsent_dropped(&self, id: &str) -> u64 {
        self.rooms.rooms.get(id).map_or(0, |room| room.unsent_dropped)
    }

    fn open_room(&mut self, id: &str) -> Result<&mut Room, RoomError> {
        if self.is_closing {
            return Err(RoomError::Closed);
        }
        self.rooms.rooms.get_mut(id).ok_or(RoomError::Closed)
    }

    /// Enters all rooms on a new session.
    pub(super) fn rooms_connected(&mut self, now: Millis, own_peer: &str) {
        self.rooms.own_peers.push(own_peer.to_owned());
        if self.rooms.own_peers.len() > OWN_PEERS_MAX {
            self.rooms.own_peers.remove(0);
        }
        let ids: Vec<Arc<str>> = self.rooms.rooms.keys().cloned().collect();
        for id in ids {
            self.enter_room(now, &id);
        }
    }

    fn enter_room(&mut self, now: Millis, id: &Arc<str>) {
        let event = self.next_event();
        let Some(room) = self.rooms.rooms.get_mut(id) else { return };
        if !matches!(room.stage, Stage::Outside) {
            return;
        }
        room.lapse(now);
        room.stage = Stage::Entering { event: event.clone() };
        room.is_listed = false;
        room.sent_at = Some(now);
        room.is_changed = false;
        let join = JoinRoom {
            room_id: id.to_string(),
            room_type: Some(room.kind.to_string()),
            data: PresenceData::clone(&room.presence),
            client_event_id: Some(event),
        };
        self.send(&ClientMessage::JoinRoom(join));
        self.room_status_is(id, RoomStatus::Joining);
    }

    /// The session is gone, and its rooms with it; what was seen stays on screen.
    pub(super) fn rooms_disconnected(&mut self) {
        let ids: Vec<Arc<str>> = self.rooms.rooms.keys().cloned().collect();
        for id in ids {
            if let Some(room) = self.rooms.rooms.get_mut(&id) {
                room.stage = Stage::Outside;
            }
            self.room_status_is(&id, RoomStatus::Offline);
        }
    }

    pub(super) fn room_joined(&mut self, id: &str, event: Option<&EventId>) {
        let Some((id, room)) = self.rooms.rooms.get_key_value(id) else { return };
        // The answer to a join that was taken back since is not one to the present.
        let is_answer =
            matches!(&room.stage, Stage::Entering { event: asked } if Some(asked) == event);
        if is_answer {
            let id = id.clone();
            self.room_is_open(&id);
        }
    }

    fn room_is_open(&mut self, id: &Arc<str>) {
        if let Some(room) = self.rooms.rooms.get_mut(id) {
            room.stage = Stage::Inside;
            self.tell_if_joined(id);
            self.send_unsent(id);
        }
    }

    /// The answer to a join and the list of those present come in either order; a program that is told that
    /// it has joined can rely on both.
    fn tell_if_joined(&mut self, id: &str) {
        let room = self.rooms.rooms.get(id);
        if room.is_some_and(|room| room.is_listed && room.stage == Stage::Inside) {
            self.room_status_is(id, RoomStatus::Joined);
        }
    }

    fn send_unsent(&mut self, id: &str) {
        let Some(room) = self.rooms.rooms.get_mut(id) else { return };
        let kind = room.kind.clone();
        for (topic, data) in std::mem::take(&mut room.unsent) {
            let event = self.next_event();
            self.send(&ClientMessage::ClientBroadcast(ClientBroadcast {
                room_id: id.to_owned(),
                room_type: Some(kind.to_string()),
                topic: topic.to_string(),
                data,
                client_event_id: Some(event),
            }));
        }
    }

    pub(super) fn room_refused(
        &mut self,
        id: Option<&str>,
        event: Option<&EventId>,
        error: &ServerError,
    ) {
        let is_meant = |(other, room): &(&Arc<str>, &mut Room)| match &room.stage {
            Stage::Entering { event: asked } => {
                event == Some(asked) || (event.is_none() && id == Some(&***other))
            }
            Stage::Outside | Stage::Inside | Stage::Refused => false,
        };
        let Some((id, room)) = self.rooms.rooms.iter_mut().find(is_meant) else { return };
        room.stage = Stage::Refused;
        let id = id.clone();
        self.event(SyncEvent::RoomRefused { room: id.clone(), error: error.clone() });
        self.room_status_is(&id, RoomStatus::Refused(error.clone()));
    }

    /// The server did not take what the client shows or tells in a room.
    pub(super) fn room_message_refused(&mut self, id: Option<&str>, error: ServerError) {
        let Some((id, _)) = id.and_then(|id| self.rooms.rooms.get_key_value(id)) else { return };
        let room = id.clone();
        self.event(SyncEvent::RoomRefused { room, error });
    }

    fn room_status_is(&mut self, id: &str, status: RoomStatus) {
        let rooms = &mut self.rooms.rooms;
        let Some(id) = rooms.get_key_value(id).map(|(id, _)| id.clone()) else { return };
        let Some(room) = rooms.get_mut(&id) else { return };
        if room.status != status {
            room.status = status.clone();
            self.outputs.push_back(Output::Room { id, report: RoomReport::Status(status) });
        }
    }

    /// Sends what the client shows, where that changed and is due.
    pub(super) fn send_presence(&mut self, now: Millis) {
        for room in self.rooms.rooms.values_mut() {
            room.lapse(now);
        }
        let due: Vec<Arc<str>> = self
            .rooms
            .rooms
            .iter()
            .filter(|(_, room)| room.presence_due().is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let event = Some(self.next_event());
            let Some(room) = self.rooms.rooms.get_mut(&id) else { continue };
            room.is_changed = false;
            room.sent_at = Some(now);
            let data = PresenceData::clone(&room.presence);
            let room_id = id.to_string();
            self.send(&ClientMessage::SetPresence(SetPresence {
                room_id,
                data,
                client_event_id: event,
            }));
        }
    }

    pub(super) fn rooms_deadline(&self) -> Option<Millis> {
        let rooms = self.rooms.rooms.values();
        rooms.flat_map(|room| [room.presence_due(), room.lapses_at()]).flatten().min()
    }

    pub(super) fn presence_refreshed(&mut self, refresh: RefreshPresence) {
        let Some((id, room)) = self.rooms.rooms.get_key_value(&*refresh.room_id) else { return };
        if matches!(room.stage, Stage::Outside | Stage::Refused) {
            return;
        }
        let id = id.clone();
        if let Some(room) = self.rooms.rooms.get_mut(&id) {
            let touched: BTreeSet<String> =
                room.entries.keys().chain(refresh.data.keys()).cloned().collect();
            room.entries = refresh.data;
            room.is_listed = true;
            self.show_peers(&id, touched, true);
            self.tell_if_joined(&id);
        }
    }

    pub(super) fn presence_patched(&mut self, patch: &PatchPresence) {
        let Some((id, room)) = self.rooms.rooms.get_key_value(&*patch.room_id) else { return };
        if matches!(room.stage, Stage::Outside | Stage::Refused) {
            return;
        }
        let id = id.clone();
        if let Some(room) = self.rooms.rooms.get_mut(&id) {
            let touched = edit::apply_all(&mut room.entries, &patch.edits);
            self.show_peers(&id, touched, false);
        }
    }

    fn show_peers(&mut self, id: &Arc<str>, touched: BTreeSet<String>, is_all: bool) {
        let Self { rooms: Rooms { rooms, own_peers }, outputs, .. } = self;
        let Some(room) = rooms.get_mut(id) else { return };
        if room.show(touched, is_all, own_peers) {
            let report = RoomReport::Peers(room.peers.clone());
            outputs.push_back(Output::Room { id: id.clone(), report });
        }
    }

    pub(super) fn topic_message(&mut self, broadcast: ServerBroadcast) {
        let Some((id, room)) = self.rooms.rooms.get_key_value(&*broadcast.room_id) else { return };
        let told = broadcast.data;
        let message = TopicMessage {
            topic: broadcast.topic.into(),
            peer: room.peers.get(&*told.peer_id).cloned(),
            peer_id: told.peer_id.into(),
            data: told.data,
        };
        let report = RoomReport::Message(message);
        self.outputs.push_back(Output::Room { id: id.clone(), report });
    }
}
