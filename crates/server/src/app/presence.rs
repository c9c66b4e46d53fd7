//! Rooms within the app: who may speak in them, and when they are told.
//!
//! Nothing of rooms is durable and nothing in them depends on what is: their messages go out past those that
//! wait for the log. Only a session's `init-ok` must come before all else.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tricedb_protocol::{ClientMessage, ErrorBody, ErrorMessage};

use super::frame::Frame;
use super::frames;
use super::held::Remedy;
use super::sessions::{SessionKey, SessionState};
use super::state::{AppState, Output};
use crate::rooms::{Entrant, RoomPolicy};

impl AppState {
    /// Lets somebody else than [`AllowAll`](crate::rooms::AllowAll) decide who may do what in rooms.
    pub fn set_room_policy(&mut self, policy: Box<dyn RoomPolicy>) {
        self.rooms.set_policy(policy);
    }

    /// Number of rooms that somebody is in.
    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    /// How many messages of topics slow readers have missed since the start.
    pub const fn dropped_broadcasts(&self) -> u64 {
        self.rooms.dropped()
    }

    /// When [`Self::tell_rooms`] has something to do, on its clock.
    pub fn rooms_deadline(&self) -> Option<Duration> {
        self.rooms.deadline()
    }

    /// Tells the members of rooms what changed, where that is due. `now` is on any clock that does not go
    /// back.
    pub fn tell_rooms(&mut self, now: Duration) {
        self.rooms.flush(now);
        self.release_rooms();
    }

    /// Takes a message about a room.
    pub(super) fn room_message(&mut self, session: SessionKey, message: &ClientMessage) {
        let Some(state) = self.sessions.get(&session) else { return };
        let result = if let Err(body) = self.settings.may_read() {
            Err(body)
        } else if self.pipeline.is_durable(state.opened) {
            let (entrant, is_paused) = (entrant(session, state), state.is_paused);
            self.room_action(session, message, &entrant, is_paused)
        } else {
            let text = "`init` has not run for this session.";
            Err(ErrorBody::invalid("init", text, Json::Null))
        };
        match result {
            Ok(()) => self.release_rooms(),
            Err(body) => self.refuse_room_message(session, message, body),
        }
    }

    fn room_action(
        &mut self,
        session: SessionKey,
        message: &ClientMessage,
        entrant: &Entrant,
        is_paused: bool,
    ) -> Result<(), ErrorBody> {
        match message {
            ClientMessage::JoinRoom(join) => {
                self.rooms.join(entrant, join)?;
                if is_paused {
                    self.rooms.pause(session);
                }
                Ok(())
            }
            ClientMessage::LeaveRoom(leave) => {
                self.rooms.leave(session, leave);
                Ok(())
            }
            ClientMessage::SetPresence(set) => self.rooms.set(session, set),
            ClientMessage::ClientBroadcast(broadcast) => self.rooms.broadcast(session, broadcast),
            other => Err(ErrorBody::invalid_op(other.op())),
        }
    }

    /// Official clients print an `error` about a room and no more; a `join-room-error` they show.
    fn refuse_room_message(
        &mut self,
        session: SessionKey,
        message: &ClientMessage,
        body: ErrorBody,
    ) {
        let event = message.client_event_id();
        if let ClientMessage::JoinRoom(join) = message {
            let refusal = tricedb_protocol::JoinRoomError {
                room_id: join.room_id.clone(),
                error: serde_json::json!({
                    "type": body.kind, "message": body.message, "hint": body.hint,
                }),
                client_event_id: event.cloned(),
            };
            let refusal = tricedb_protocol::ServerMessage::JoinRoomError(refusal);
            if let Ok(text) = serde_json::to_string(&refusal) {
                self.send(session, Frame::from(text), Remedy::Keep);
            }
        }
        let mut error = ErrorMessage::answering(body, message.op(), event, None);
        let room_id = match message {
            ClientMessage::JoinRoom(m) => Some(&m.room_id),
            ClientMessage::LeaveRoom(m) => Some(&m.room_id),
            ClientMessage::SetPresence(m) => Some(&m.room_id),
            ClientMessage::ClientBroadcast(m) => Some(&m.room_id),
            _ => None,
        };
        if let (Json::Object(original), Some(id)) = (&mut error.original_event, room_id) {
            original.insert("room-id".into(), id.as_str().into());
        }
        self.send(session, frames::error(&error), Remedy::Keep);
    }

    pub(super) fn release_rooms(&mut self) {
        while let Some((session, frame)) = self.rooms.poll() {
            self.give_out(Output::Send { session, frame });
        }
    }
}

fn entrant(session: SessionKey, state: &SessionState) -> Entrant {
    Entrant {
        session,
        id: state.open.id,
        user: None::<Arc<str>>,
        is_admin: state.open.is_admin,
        takes_patches: state.open.features.patch_presence,
    }
}
