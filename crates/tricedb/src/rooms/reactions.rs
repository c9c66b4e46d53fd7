//! Reactions: an emoji that floats by.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tricedb_sync::{Peer, RoomError};

use super::{MessageAs, MessagesAs, Room, to_json};

/// The topic under which reactions are told.
const TOPIC: &str = "reactions";

/// The data of a message: `{"emoji": "🎉", "metadata": {..}}`.
#[derive(Serialize, Deserialize)]
struct Told {
    emoji: String,
    #[serde(default, skip_serializing_if = "Json::is_null")]
    metadata: Json,
}

/// What another member sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Reaction {
    /// The emoji, or whatever else the program shows.
    pub emoji: String,
    /// What came with it, such as a place or the id of a message; null if nothing.
    pub metadata: Json,
    /// The id of the session that sent it.
    pub peer_id: Arc<str>,
    /// What that showed when its reaction came; `None` if it was not seen yet, or not any more.
    pub peer: Option<Arc<Peer>>,
}

/// The reactions of a room; from [`Room::reactions`]. It keeps the client in the room. They are messages of
/// the topic `reactions`, objects with `emoji` and, where there is any, `metadata`.
///
/// ```
/// # use tricedb::Client;
/// # use serde_json::json;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tricedb_server::Server::builder(Default::default()).start().await?;
/// # let (url, app_id) = (server.http_url(), server.create_app("Test", None, None).await?.id);
/// # let db = Client::builder(app_id).url(&url).open().await?;
/// # let friend = Client::builder(app_id).url(&url).open().await?;
/// let reactions = db.room("talk", "1").join(())?.reactions();
/// let mut coming = reactions.subscribe();
/// reactions.send("👍")?;
/// # reactions.room().joined().await?;
/// # let theirs = friend.room("talk", "1").join(())?.reactions();
/// # theirs.send_with("🎉", json!({"x": 10, "y": 20}))?;
/// let reaction = coming.next().await.ok_or("closed")?;
/// assert_eq!((&*reaction.emoji, &reaction.metadata["x"]), ("🎉", &json!(10)));
/// # friend.close().await?;
/// # db.close().await?;
/// # server.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "dropping it may leave the room"]
pub struct Reactions {
    room: Room,
}

impl Reactions {
    pub(super) const fn new(room: Room) -> Self {
        Self { room }
    }

    /// Sends a reaction to those who are there.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn send(&self, emoji: &str) -> Result<(), RoomError> {
        self.send_with(emoji, ())
    }

    /// Sends a reaction with something beside it: JSON, or serde's.
    ///
    /// # Errors
    /// [`RoomError::NotJson`] if that has no form as JSON, [`RoomError::Closed`].
    pub fn send_with(&self, emoji: &str, metadata: impl Serialize) -> Result<(), RoomError> {
        let told = Told { emoji: emoji.to_owned(), metadata: to_json(metadata)? };
        self.room.publish(TOPIC, told)
    }

    /// The reactions of the others from now on.
    pub fn subscribe(&self) -> ReactionMessages {
        ReactionMessages(self.room.subscribe_as(TOPIC))
    }

    /// The room.
    pub const fn room(&self) -> &Room {
        &self.room
    }
}

/// The reactions of the others. Messages of the topic that have another form are passed over.
#[derive(Debug)]
pub struct ReactionMessages(MessagesAs<Told>);

impl ReactionMessages {
    /// Waits for the next reaction; `None` once the room is left or the client closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<Reaction> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    /// How many this reader was too slow for.
    pub fn missed(&self) -> u64 {
        self.0.missed()
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Reaction>> {
        loop {
            return match std::task::ready!(Pin::new(&mut self.0).poll_next(context)) {
                Some(Ok(MessageAs { peer_id, peer, data: Told { emoji, metadata } })) => {
                    Poll::Ready(Some(Reaction { emoji, metadata, peer_id, peer }))
                }
                // Another program's; there is nobody to tell.
                Some(Err(_)) => continue,
                None => Poll::Ready(None),
            };
        }
    }
}

impl Stream for ReactionMessages {
    type Item = Reaction;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Reaction>> {
        self.get_mut().poll(context)
    }
}
