//! Who may do what in a room.

use std::fmt;

use serde_json::Value as Json;
use tricedb_protocol::{ErrorBody, PresenceData};

/// What a session wants to do in a room.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RoomAction<'a> {
    /// Enter, with this presence.
    Join(&'a PresenceData),
    /// Show this to the others.
    SetPresence(&'a PresenceData),
    /// Tell the others something.
    Broadcast {
        /// The topic.
        topic: &'a str,
        /// What.
        data: &'a Json,
    },
}

/// What a [`RoomPolicy`] is asked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RoomRequest<'a> {
    /// The room's type; empty if the client gave none.
    pub room_type: &'a str,
    /// The room's id.
    pub room_id: &'a str,
    /// The session's user; `None` for anonymous sessions.
    pub user: Option<&'a str>,
    /// Whether permission checks are lifted for the session.
    pub is_admin: bool,
    /// What it wants.
    pub action: RoomAction<'a>,
}

/// Decides what sessions may do in rooms. Rules of an app come in here.
pub trait RoomPolicy: fmt::Debug + Send {
    /// Allows or refuses. What was allowed before is not taken back.
    ///
    /// # Errors
    /// The answer to the client.
    fn check(&self, request: &RoomRequest<'_>) -> Result<(), ErrorBody>;
}

/// Any session of the app may do anything in any room, as on official servers without rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl RoomPolicy for AllowAll {
    fn check(&self, _: &RoomRequest<'_>) -> Result<(), ErrorBody> {
        Ok(())
    }
}
