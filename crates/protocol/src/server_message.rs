//! What servers send.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tricedb_core::attr::Attr;
use tricedb_core::id::{EventId, SessionId, TxId};

use crate::error_message::ErrorMessage;
use crate::native::{NativeSession, SyncFrame};
use crate::query_result::QueryAnswer;
use crate::rooms::{
    ClientBroadcastOk, JoinRoomError, PatchPresence, RefreshPresence, RoomOk, ServerBroadcast,
};

/// One message from a server. Serialises to its wire form.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum ServerMessage {
    /// The session is open.
    InitOk(InitOk),
    /// The first result of a query.
    AddQueryOk(AddQueryOk),
    /// The session has the query already.
    AddQueryExists(AddQueryExists),
    /// A subscription ended.
    RemoveQueryOk(RemoveQueryOk),
    /// Changed results.
    RefreshOk(RefreshOk),
    /// A transaction was committed.
    TransactOk(TransactOk),
    /// A room was entered.
    JoinRoomOk(RoomOk),
    /// A room was not entered.
    JoinRoomError(JoinRoomError),
    /// A room was left.
    LeaveRoomOk(RoomOk),
    /// The session's presence in a room was taken.
    SetPresenceOk(RoomOk),
    /// Everyone in a room.
    RefreshPresence(RefreshPresence),
    /// What changed among those in a room.
    PatchPresence(PatchPresence),
    /// What the session told the others in a room was taken.
    ClientBroadcastOk(ClientBroadcastOk),
    /// What another in a room told.
    ServerBroadcast(ServerBroadcast),
    /// The app may be used otherwise than before.
    AppStatusChanged(AppStatus),
    /// What changed, in a native session.
    Sync(SyncFrame),
    /// Something failed.
    Error(ErrorMessage),
    /// A message with an op that this side does not know; to be ignored.
    #[serde(skip)]
    Unknown {
        /// The op.
        op: String,
    },
}

/// `init-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InitOk {
    /// The id of this connection, also its peer id in rooms. Text: a server may send anything.
    pub session_id: String,
    /// All attributes of the app.
    pub attrs: Vec<Attr>,
    /// Whether the app may be used.
    #[serde(default, deserialize_with = "null_is_default")]
    pub app_status: AppStatus,
    /// Who the session acts as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// The name of the `init`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
    /// The session is native.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeSession>,
}

impl InitOk {
    /// The session id as a UUID, if it is one.
    pub fn session(&self) -> Option<SessionId> {
        SessionId::parse(&self.session_id)
    }
}

/// Whether an app may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AppStatus {
    /// The state.
    #[serde(default)]
    pub status: AppState,
}

/// The states of an app.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppState {
    /// Reads and writes.
    #[default]
    Active,
    /// Reads only.
    ReadOnly,
    /// Nothing.
    Disabled,
}

impl AppState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::ReadOnly => "read-only",
            Self::Disabled => "disabled",
        }
    }
}

/// Who a session acts as.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Auth {
    /// What of the app is public: `id`, `title`.
    #[serde(default)]
    pub app: Json,
    /// The user's entity; null for anonymous sessions.
    #[serde(default)]
    pub user: Json,
    /// Whether permission checks are lifted.
    #[serde(rename = "admin?", default)]
    pub admin: Option<bool>,
}

/// `add-query-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddQueryOk {
    /// The query, unchanged in value.
    pub q: Json,
    /// The result.
    pub result: QueryAnswer,
    /// Every transaction up to this one is contained in the result.
    #[serde(default, deserialize_with = "null_is_default")]
    pub processed_tx_id: TxId,
    /// Page info and aggregates of tree results.
    #[serde(default)]
    pub result_meta: Option<Json>,
    /// The name of the `add-query`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `add-query-exists`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddQueryExists {
    /// The query, unchanged in value.
    pub q: Json,
    /// The name of the `add-query`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `remove-query-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemoveQueryOk {
    /// The query, unchanged in value.
    pub q: Json,
    /// The name of the `remove-query`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `refresh-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefreshOk {
    /// The changed queries with their full new results.
    pub computations: Vec<Computation>,
    /// Holds for every computation.
    #[serde(default, deserialize_with = "null_is_default")]
    pub processed_tx_id: TxId,
    /// All attributes, if any changed since they were last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attrs: Option<Vec<Attr>>,
}

/// One changed query.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Computation {
    /// The query, unchanged in value.
    pub instaql_query: Json,
    /// The full new result.
    pub instaql_result: QueryAnswer,
    /// Page info and aggregates of tree results.
    #[serde(default)]
    pub result_meta: Option<Json>,
}

/// `transact-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransactOk {
    /// The transaction's position.
    #[serde(default, deserialize_with = "null_is_default")]
    pub tx_id: TxId,
    /// The name of the `transact`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// Why a server's frame was not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The text is not JSON, or not an object or array of objects with an `op`.
    #[error("the frame holds no messages: {0}")]
    NotMessages(#[source] serde_json::Error),
    /// A message of a known op lacks a field or has one of the wrong type.
    #[error("the server sent a malformed `{op}`: {source}")]
    Malformed {
        /// The op.
        op: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
struct OpOnly<'a> {
    #[serde(borrow)]
    op: std::borrow::Cow<'a, str>,
}

impl ServerMessage {
    /// Reads one frame's text: one message or an array of them. An empty array is no message.
    ///
    /// # Errors
    /// [`FrameError`]; of an array, the first wrong message decides.
    pub fn decode_frame(text: &str) -> Result<Vec<Self>, FrameError> {
        if text.trim_start().starts_with('[') {
            let parts: Vec<&RawValue> =
                serde_json::from_str(text).map_err(FrameError::NotMessages)?;
            parts.into_iter().map(|part| Self::decode(part.get())).collect()
        } else {
            Self::decode(text).map(|message| vec![message])
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(text: &str) -> Result<Self, FrameError> {
        // A first pass finds the op, a second reads the message straight into its type: buffering a large
        // result to find out what it is would cost far more than scanning it twice.
        let op = serde_json::from_str::<OpOnly<'_>>(text).map_err(FrameError::NotMessages)?.op;
        let message = match &*op {
            "init-ok" => serde_json::from_str(text).map(Self::InitOk),
            "add-query-ok" => serde_json::from_str(text).map(Self::AddQueryOk),
            "add-query-exists" => serde_json::from_str(text).map(Self::AddQueryExists),
            "remove-query-ok" => serde_json::from_str(text).map(Self::RemoveQueryOk),
            "refresh-ok" => serde_json::from_str(text).map(Self::RefreshOk),
            "transact-ok" => serde_json::from_str(text).map(Self::TransactOk),
            "join-room-ok" => serde_json::from_str(text).map(Self::JoinRoomOk),
            "join-room-error" => serde_json::from_str(text).map(Self::JoinRoomError),
            "leave-room-ok" => serde_json::from_str(text).map(Self::LeaveRoomOk),
            "set-presence-ok" => serde_json::from_str(text).map(Self::SetPresenceOk),
            "refresh-presence" => serde_json::from_str(text).map(Self::RefreshPresence),
            "patch-presence" => serde_json::from_str(text).map(Self::PatchPresence),
            "client-broadcast-ok" => serde_json::from_str(text).map(Self::ClientBroadcastOk),
            "server-broadcast" => serde_json::from_str(text).map(Self::ServerBroadcast),
            "app-status-changed" => serde_json::from_str(text).map(Self::AppStatusChanged),
            "sync" => serde_json::from_str(text).map(Self::Sync),
            "error" => serde_json::from_str(text).map(Self::Error),
            _ => Ok(Self::Unknown { op: op.clone().into_owned() }),
        };
        message.map_err(|source| FrameError::Malformed { op: op.into_owned(), source })
    }

    /// The name of the message's kind.
    pub fn op(&self) -> &str {
        match self {
            Self::InitOk(_) => "init-ok",
            Self::AddQueryOk(_) => "add-query-ok",
            Self::AddQueryExists(_) => "add-query-exists",
            Self::RemoveQueryOk(_) => "remove-query-ok",
            Self::RefreshOk(_) => "refresh-ok",
            Self::TransactOk(_) => "transact-ok",
            Self::JoinRoomOk(_) => "join-room-ok",
            Self::JoinRoomError(_) => "join-room-error",
            Self::LeaveRoomOk(_) => "leave-room-ok",
            Self::SetPresenceOk(_) => "set-presence-ok",
            Self::RefreshPresence(_) => "refresh-presence",
            Self::PatchPresence(_) => "patch-presence",
            Self::ClientBroadcastOk(_) => "client-broadcast-ok",
            Self::ServerBroadcast(_) => "server-broadcast",
            Self::AppStatusChanged(_) => "app-status-changed",
            Self::Sync(_) => "sync",
            Self::Error(_) => "error",
            Self::Unknown { op } => op,
        }
    }
}

/// Reads null as the default: on the wire, null and absent mean the same.
pub(crate) fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
