//! A session in a room.

use std::sync::Arc;

use tricedb_core::id::SessionId;
use tricedb_protocol::PresenceData;

use crate::app::SessionKey;

/// A session that enters a room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entrant {
    pub(crate) session: SessionKey,
    /// What the others know it by.
    pub(crate) id: SessionId,
    /// The id of its user; `None` for anonymous sessions.
    pub(crate) user: Option<Arc<str>>,
    /// Whether permission checks are lifted for it.
    pub(crate) is_admin: bool,
    /// Whether its client understands `patch-presence`.
    pub(crate) takes_patches: bool,
}

/// What a member shows, and the same as JSON. Clones share both.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    pub(super) data: Arc<PresenceData>,
    pub(super) text: Arc<str>,
}

/// What a member has been told of its room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    /// What the room told last; differences to that are enough.
    Current,
    /// Nothing, or something older: it needs all.
    Stale,
}

/// One member of a room.
#[derive(Debug)]
pub(super) struct Member {
    /// Its peer id.
    pub(super) peer: Arc<str>,
    pub(super) user: Option<Arc<str>>,
    /// Its user as JSON.
    pub(super) user_text: Arc<str>,
    pub(super) is_admin: bool,
    pub(super) takes_patches: bool,
    pub(super) view: View,
    /// What it shows.
    pub(super) shown: Presence,
    /// What the room last told of it; `None` before that.
    pub(super) told: Option<Presence>,
}

impl Member {
    pub(super) fn new(entrant: &Entrant, shown: Presence) -> Self {
        let user_text = match &entrant.user {
            Some(user) => serde_json::json!({ "id": &**user }).to_string().into(),
            None => "null".into(),
        };
        Self {
            peer: entrant.id.to_string().into(),
            user: entrant.user.clone(),
            user_text,
            is_admin: entrant.is_admin,
            takes_patches: entrant.takes_patches,
            view: View::Stale,
            shown,
            told: None,
        }
    }
}
