//! Subscribing in a native session.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tricedb_core::id::{EventId, TxId};

use super::digest::Digest;
use super::frame::SubId;

/// `subscribe`: like `add-query`, answered and kept up to date by [`super::SyncFrame`]s.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Subscribe {
    /// The number under which the session knows it from now on; not in use.
    pub sub: SubId,
    /// The query.
    pub q: Json,
    /// What the client holds of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub have: Option<Have>,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// Facts of a query that a client holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Have {
    /// The position that they reflect.
    pub position: TxId,
    /// See [`super::FactDigest`].
    pub digest: Digest,
}

/// `unsubscribe`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unsubscribe {
    /// The subscription.
    pub sub: SubId,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}
