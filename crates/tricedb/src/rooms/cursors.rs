//! Cursors of a room.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tricedb_sync::{Peer, RoomError};

use super::{PeersAs, Room, to_json};

/// Where a peer points. On the wire it has the form of the official React components, which draw by the
/// percentages.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cursor {
    /// From the left, in the program's own unit.
    pub x: f64,
    /// From the top, in the program's own unit.
    pub y: f64,
    /// From the left, in percent of the area's width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x_percent: Option<f64>,
    /// From the top, in percent of the area's height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y_percent: Option<f64>,
    /// A colour in CSS notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

impl Cursor {
    /// At a place, without anything else.
    pub fn at(x: f64, y: f64) -> Self {
        Self { x, y, ..Self::default() }
    }

    /// With the place in percent of an area of this size.
    #[must_use]
    pub fn in_area(mut self, width: f64, height: f64) -> Self {
        self.x_percent = Some(self.x / width * 100.0);
        self.y_percent = Some(self.y / height * 100.0);
        self
    }

    /// With a colour in CSS notation.
    #[must_use]
    pub fn color(mut self, color: impl Into<String>) -> Self {
        self.color = Some(color.into());
        self
    }
}

/// The cursors of one area of a room; from [`Room::cursors`]. It keeps the client in the room.
///
/// ```
/// # use tricedb::{Client, Cursor};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let server = tricedb_server::Server::builder(Default::default()).start().await?;
/// # let (url, app_id) = (server.http_url(), server.create_app("Test", None, None).await?.id);
/// # let db = Client::builder(app_id).url(&url).open().await?;
/// # let friend = Client::builder(app_id).url(&url).open().await?;
/// # let theirs = friend.room("canvas", "1").join(())?.cursors();
/// # theirs.show(Cursor::at(3.0, 4.0))?;
/// let cursors = db.room("canvas", "1").join(())?.cursors();
/// cursors.show(Cursor::at(120.0, 80.0).color("tomato"))?; // as often as the mouse moves
/// let mut others = cursors.peers();
/// let seen = others.wait_for(|cursors| !cursors.is_empty()).await.ok_or("closed")?;
/// assert_eq!(seen[0].data, Cursor::at(3.0, 4.0));
/// cursors.hide()?; // the mouse has left
/// # friend.close().await?;
/// # db.close().await?;
/// # server.shutdown().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "dropping it may leave the room"]
pub struct Cursors {
    room: Room,
    space: Arc<str>,
}

impl Cursors {
    pub(super) fn new(room: Room, space: &str) -> Self {
        Self { room, space: space.into() }
    }

    /// Shows this client's cursor. May be called as often as it moves: the others get the newest place, at
    /// most twenty times a second.
    ///
    /// # Errors
    /// [`RoomError::NotJson`] for a place that is not finite, [`RoomError::Closed`].
    pub fn show(&self, cursor: Cursor) -> Result<(), RoomError> {
        if ![cursor.x, cursor.y].iter().all(|n| n.is_finite()) {
            let reason = format!("a cursor at ({}, {})", cursor.x, cursor.y);
            return Err(RoomError::NotJson { reason });
        }
        let cursor = to_json(cursor)?;
        self.room
            .set_presence(Json::Object([(self.space.to_string(), cursor)].into_iter().collect()))
    }

    /// Shows this client's cursor no more.
    ///
    /// # Errors
    /// [`RoomError::Closed`].
    pub fn hide(&self) -> Result<(), RoomError> {
        self.room.remove_presence(&[&self.space])
    }

    /// The cursors of the others, live.
    pub fn peers(&self) -> PeersAs<Cursor> {
        let space = self.space.clone();
        PeersAs::new(self.room.peers(), move |peer: &Peer| {
            Cursor::deserialize(peer.data.get(&*space)?).ok()
        })
    }

    /// The room.
    pub const fn room(&self) -> &Room {
        &self.room
    }
}
