//! Rooms: who else is here, what they show, and what they tell in passing.

mod cursors;
mod peers_as;
mod reactions;
mod topic_as;
mod typing;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use tokio::sync::watch;
use tricedb_sync::{
    PeerEvents, Peers, RoomError, RoomHandle, RoomStatus, SyncHandle, TopicMessages,
};

pub use cursors::{Cursor, Cursors};
pub use peers_as::{PeerAs, PeersAs};
pub use reactions::{Reaction, ReactionMessages, Reactions};
pub use topic_as::{MessageAs, MessagesAs};
pub use typing::Typing;

/// A room that is not entered yet; from [`crate::Client::room`].
#[derive(Clone, Copy, Debug)]
#[must_use = "a room is entered by `join`"]
pub struct RoomDoor<'a> {
    handle: &'a SyncHandle,
    kind: &'a str,
    id: &'a str,
}

impl<'a> RoomDoor<'a> {
    pub(crate) const fn new(handle: &'a SyncHandle, kind: &'a str, id: &'a str) -> Self {
        Self { handle, kind, id }
    }

    /// Enters the room and shows something there: JSON, or anything of serde's whose JSON is an object. It
    /// returns at once; [`Room::joined`] waits for the server. In a room that this client is in already, the
    /// presence is merged over what it shows there.
    ///
    /// # Errors
    /// [`RoomError`]: the presence is no object, a room of this id but of another type is in use, or the
    /// client is closed.
    pub fn join(self, presence: impl Serialize) -> Result<Room, RoomError> {
        let presence = to_object(presence)?;
        let handle = self.handle.join_room(self.kind, self.id, presence)?;
        Ok(Room { handle: Arc::new(handle) })
    }
}

/// A room that the client is in. Cheap to clone; the client leaves when the last clone of the last `join` is
/// dropped. It does not keep the client open.
///
/// What is shown and told here is not stored. It reaches whoever is in the room of the same type and id of
/// the same app, also by the official JavaScript clients. After a lost connection the room is entered again
/// by itself, with what is shown then; meanwhile the peers seen last stay.
///
/// ```
/// # use std::time::Duration;
/// use serde::{Deserialize, Serialize};
/// use tricedb::{Client, PeerEvent};
///
/// #[derive(Serialize, Deserialize)]
/// struct Visitor { name: String }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tricedb_server::Server::builder(Default::default()).start().await?;
/// # let (url, app_id) = (server.http_url(), server.create_app("Test", None, None).await?.id);
/// # let friend = Client::builder(app_id).url(&url).open().await?;
/// # let hall = friend.room("chat", "lobby").join(Visitor { name: "Bob".into() })?;
/// # hall.joined().await?;
/// let db = Client::builder(app_id).url(&url).open().await?;
/// let room = db.room("chat", "lobby").join(Visitor { name: "Ada".into() })?;
/// room.joined().await?; // only for those who want to wait
///
/// // Who is here: a snapshot that can be watched, or events.
/// let names: Vec<String> =
///     room.peers_as::<Visitor>().current().into_iter().map(|peer| peer.data.name).collect();
/// assert_eq!(names, ["Bob"]);
/// let mut events = room.peer_events();
/// assert!(matches!(events.next().await, Some(PeerEvent::Joined(_))));
///
/// // Keys are merged over those shown already.
/// room.set_presence(serde_json::json!({"mood": "good"}))?;
///
/// // Told in passing, to those who are here now.
/// # let mut heard = hall.subscribe("greeting");
/// room.publish("greeting", "hello")?;
/// # let message = tokio::time::timeout(Duration::from_secs(20), heard.next()).await?.ok_or("closed")?;
/// # assert_eq!(message.data, "hello");
/// drop(room); // leaves
/// # friend.close().await?;
/// # db.close().await?;
/// # server.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "dropping it leaves the room"]
pub struct Room {
    handle: Arc<RoomHandle>,
}

impl Room {
    /// The room's type.
    pub fn kind(&self) -> &str {
        self.handle.kind()
    }

    /// The room's id within its type.
    pub fn id(&self) -> &str {
        self.handle.id()
    }

    /// How the client stands to the room, now and later. It ends when the room is left or the client closed.
    pub fn status(&self) -> watch::Receiver<RoomStatus> {
        self.handle.status()
    }

    /// Waits until the client is in the room and knows who is there. Cancel-safe.
    ///
    /// # Errors
    /// [`RoomError::Refused`] by the server; it is asked again with the next connection.
    /// [`RoomError::Closed`].
    pub async fn joined(&self) -> Result<(), RoomError> {
        self.handle.joined().await
    }

    /// The others in the room, by the ids of their sessions, now and later; this client is not among them. It
    /// ends when the room is left or the client closed.
    pub fn peers(&self) -> watch::Receiver<Arc<Peers>> {
        self.handle.peers()
    }

    /// The others in the room whose presence is of type `T`.
    pub fn peers_as<T: DeserializeOwned + 'static>(&self) -> PeersAs<T> {
        PeersAs::new(self.handle.peers(), |peer| {
            T::deserialize(serde::de::value::MapDeserializer::new(
                peer.data.iter().map(|(key, value)| (key.as_str(), value)),
            ))
            .ok()
        })
    }

    /// Who enters, changes and leaves, as a stream; first everyone who is there. A slow reader gets the
    /// differences to what it knows.
    pub fn peer_events(&self) -> PeerEvents {
        self.handle.peer_events()
    }

    /// What this client shows.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn presence(&self) -> Result<Arc<Map<String, Json>>, RoomError> {
        self.handle.presence()
    }

    /// Changes what the others see: the keys of `changes` (JSON, or serde's) take the place of those before.
    /// The others get it at most twenty times a second, always the newest; offline it is kept until the
    /// room is entered again. A presence that the server refuses (by default above 64 KiB) shows in
    /// [`SyncEvent::RoomRefused`](crate::SyncEvent::RoomRefused).
    ///
    /// # Errors
    /// [`RoomError::NotJson`] if it is no object, [`RoomError::Closed`].
    pub fn set_presence(&self, changes: impl Serialize) -> Result<(), RoomError> {
        self.handle.set_presence(to_object(changes)?)
    }

    /// Like [`Self::set_presence`], but the keys go by themselves after a while unless they are set again.
    ///
    /// # Errors
    /// As [`Self::set_presence`].
    pub fn set_presence_for(
        &self,
        changes: impl Serialize,
        span: Duration,
    ) -> Result<(), RoomError> {
        self.handle.set_presence_for(to_object(changes)?, span)
    }

    /// Takes keys out of what the others see.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn remove_presence(&self, keys: &[&str]) -> Result<(), RoomError> {
        self.handle.remove_presence(keys)
    }

    /// Tells the others something under a topic: JSON, or serde's. Nobody gets it who is not there, and it
    /// may be lost with the connection; before the room is entered, up to 100 messages wait for that.
    ///
    /// # Errors
    /// [`RoomError::NotJson`] if it has no form as JSON, [`RoomError::Closed`].
    pub fn publish(&self, topic: &str, data: impl Serialize) -> Result<(), RoomError> {
        self.handle.publish(topic, to_json(data)?)
    }

    /// How many messages that waited for the room to be entered had to make way for later ones.
    pub fn unsent_dropped(&self) -> u64 {
        self.handle.unsent_dropped()
    }

    /// What the others tell under a topic from now on, in order for each of them.
    pub fn subscribe(&self, topic: &str) -> TopicMessages {
        self.handle.subscribe(topic)
    }

    /// What the others tell under a topic from now on, read as `T`.
    pub fn subscribe_as<T: DeserializeOwned>(&self, topic: &str) -> MessagesAs<T> {
        MessagesAs::new(self.handle.subscribe(topic))
    }

    /// The cursors of this room, as the official React components share them.
    pub fn cursors(&self) -> Cursors {
        let space = format!("cursors-space-default--{}-{}", self.kind(), self.id());
        self.cursors_in(&space)
    }

    /// The cursors of one of several areas of this room; its name is the `spaceId` of the official React
    /// components.
    pub fn cursors_in(&self, space: &str) -> Cursors {
        Cursors::new(self.clone(), space)
    }

    /// Who is typing into an input of this name.
    pub fn typing(&self, input: &str) -> Typing {
        Typing::new(self.clone(), input)
    }

    /// Reactions: told in passing, shown for a moment.
    pub fn reactions(&self) -> Reactions {
        Reactions::new(self.clone())
    }
}

fn to_json(data: impl Serialize) -> Result<Json, RoomError> {
    serde_json::to_value(data).map_err(|error| RoomError::NotJson { reason: error.to_string() })
}

/// Nothing at all counts as an empty object.
fn to_object(presence: impl Serialize) -> Result<Map<String, Json>, RoomError> {
    match to_json(presence)? {
        Json::Object(map) => Ok(map),
        Json::Null => Ok(Map::new()),
        other => Err(RoomError::NotJson {
            reason: format!("presence is an object of JSON, not `{other:.40}`"),
        }),
    }
}
