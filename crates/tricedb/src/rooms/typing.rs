//! Who is typing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tricedb_sync::{Peer, RoomError};

use super::{PeersAs, Room};

/// How long somebody counts as typing after a key, as with the official React hook.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Who is typing into one input of a room; from [`Room::typing`]. It keeps the client in the room. The
/// official React hook `useTypingIndicator` with the same input name sees it and is seen.
///
/// ```
/// # use tricedb::Client;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tricedb_server::Server::builder(Default::default()).start().await?;
/// # let (url, app_id) = (server.http_url(), server.create_app("Test", None, None).await?.id);
/// # let db = Client::builder(app_id).url(&url).open().await?;
/// # let friend = Client::builder(app_id).url(&url).open().await?;
/// # let theirs = friend.room("chat", "1").join(())?.typing("message");
/// # theirs.set_active(true)?;
/// let typing = db.room("chat", "1").join(())?.typing("message");
/// typing.keystroke()?; // on each key; a second after the last one it is over
/// let mut others = typing.peers();
/// let busy = others.wait_for(|peers| !peers.is_empty()).await.ok_or("closed")?;
/// assert_eq!(busy.len(), 1);
/// typing.set_active(false)?; // the message was sent
/// # friend.close().await?;
/// # db.close().await?;
/// # server.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "dropping it may leave the room"]
pub struct Typing {
    room: Room,
    input: Arc<str>,
    timeout: Duration,
}

impl Typing {
    pub(super) fn new(room: Room, input: &str) -> Self {
        Self { room, input: input.into(), timeout: TIMEOUT }
    }

    /// With another time after which a [`Self::keystroke`] counts no more; by default one second.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// A key was pressed: shows that this client is typing, until the time-out after the last one.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn keystroke(&self) -> Result<(), RoomError> {
        self.room.set_presence_for(json!({ &*self.input: true }), self.timeout)
    }

    /// Shows that this client is typing, until it says otherwise, or that it is not.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn set_active(&self, is_active: bool) -> Result<(), RoomError> {
        if is_active {
            self.room.set_presence(json!({ &*self.input: true }))
        } else {
            self.room.remove_presence(&[&self.input])
        }
    }

    /// The others who are typing, live.
    pub fn peers(&self) -> PeersAs<()> {
        let input = self.input.clone();
        PeersAs::new(self.room.peers(), move |peer: &Peer| {
            (peer.data.get(&*input) == Some(&Json::Bool(true))).then_some(())
        })
    }

    /// The room.
    pub const fn room(&self) -> &Room {
        &self.room
    }
}
