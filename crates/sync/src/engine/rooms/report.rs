//! What the engine tells of rooms.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_protocol::PresenceData;

use crate::engine::ServerError;

/// Another member of a room.
#[derive(Clone, PartialEq, Debug)]
pub struct Peer {
    /// The id of its session. A client has another one after each lost connection.
    pub id: Arc<str>,
    /// The id of its user; `None` for anonymous sessions.
    pub user: Option<Arc<str>>,
    /// What it shows.
    pub data: PresenceData,
}

/// The other members of a room, by id. This client itself is not among them.
pub type Peers = BTreeMap<Arc<str>, Arc<Peer>>;

/// What another member told.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// The id of the session that told it.
    pub peer_id: Arc<str>,
    /// What that showed when its message came; `None` if it was not seen yet, or not any more.
    pub peer: Option<Arc<Peer>>,
    /// What it told.
    pub data: Json,
}

/// How a client stands to a room.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub enum RoomStatus {
    /// There is no session; peers are those seen last. The room is entered with the next session.
    #[default]
    Offline,
    /// The server was asked and has not answered yet.
    Joining,
    /// The client is in the room.
    Joined,
    /// The server refused; it is asked again with the next session.
    Refused(ServerError),
}

/// Why something cannot be done in a room.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// The client is closed, or has left the room.
    #[error("the client is closed or has left the room")]
    Closed,
    /// The server did not let the client in. It is asked again with the next connection.
    #[error("the server refused the room: {0}")]
    Refused(#[source] ServerError),
    /// A room of this id and another type is in use: on the wire, rooms are known by their id alone.
    #[error("room `{id}` is in use with type `{kind}`; leave that first")]
    IdInUse {
        /// The id.
        id: Arc<str>,
        /// The type in use.
        kind: Arc<str>,
    },
    /// What was to be shown or told has no form as JSON, or presence is no JSON object.
    #[error("no JSON of the needed form: {reason}")]
    NotJson {
        /// What is wrong.
        reason: String,
    },
}

/// Something new in a room.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum RoomReport {
    /// How the client stands to it.
    Status(RoomStatus),
    /// The other members.
    Peers(Arc<Peers>),
    /// What one of them told.
    Message(TopicMessage),
}
