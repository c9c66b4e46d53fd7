//! What clients send.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use tricedb_core::id::{AppId, EventId, TxId};

use crate::decode_error::{DecodeError, DecodeErrorKind};
use crate::native::{NativeOffer, Subscribe, Unsubscribe};
use crate::rooms::{ClientBroadcast, JoinRoom, LeaveRoom, PresenceData, SetPresence};
use crate::versions::Versions;

/// One message from a client. Serialises to its wire form.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum ClientMessage {
    /// Opens the session; the first message on every connection.
    Init(Init),
    /// Subscribes to a query.
    AddQuery(AddQuery),
    /// Ends a subscription.
    RemoveQuery(RemoveQuery),
    /// Subscribes to a query, in a native session.
    Subscribe(Subscribe),
    /// Ends a subscription, in a native session.
    Unsubscribe(Unsubscribe),
    /// One atomic transaction.
    Transact(Transact),
    /// Enters a room.
    JoinRoom(JoinRoom),
    /// Leaves a room.
    LeaveRoom(LeaveRoom),
    /// Changes what the others in a room see.
    SetPresence(SetPresence),
    /// Tells the others in a room something.
    ClientBroadcast(ClientBroadcast),
    /// A message with an op that this side does not know.
    #[serde(skip)]
    Unknown {
        /// The op; of a long one its beginning.
        op: String,
        /// The message's name.
        client_event_id: Option<EventId>,
    },
}

/// `init`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Init {
    /// The app.
    pub app_id: AppId,
    /// The user's refresh token; none is anonymous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// The client's libraries.
    pub versions: Versions,
    /// The app's admin token; lifts permission checks for the whole session.
    #[serde(rename = "__admin-token", skip_serializing_if = "Option::is_none")]
    pub admin_token: Option<String>,
    /// The client speaks native sessions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<NativeOffer>,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// The form of a query's result.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReturnType {
    /// Triples.
    #[default]
    JoinRows,
    /// Nested objects.
    Tree,
}

/// `add-query`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AddQuery {
    /// The query; identified by its value.
    pub q: Json,
    /// The form of the result; sent only where it is not the default.
    #[serde(skip_serializing_if = "is_join_rows")]
    pub return_type: ReturnType,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_join_rows(return_type: &ReturnType) -> bool {
    *return_type == ReturnType::JoinRows
}

/// `remove-query`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemoveQuery {
    /// The query.
    pub q: Json,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// `transact`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Transact {
    /// The steps, as they travel; null if the message had none. `tricedb_core::tx::parse_steps` reads them.
    pub tx_steps: Json,
    /// Names the transaction across resends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
    /// The client's clock when it was made, in milliseconds; servers ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// The client's own sequence; servers ignore it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// In a native session its number, by which the transaction runs once however often it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// In a native session the position on which the client based it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<TxId>,
}

impl ClientMessage {
    /// Reads one frame's text.
    ///
    /// # Errors
    /// Text that is not a JSON object, or a message with a required field missing or of the wrong type.
    /// An unknown op is no error here: see [`Self::Unknown`].
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        Fields::read(text)?.into_message()
    }

    /// The name of the message's kind.
    pub fn op(&self) -> &str {
        match self {
            Self::Init(_) => "init",
            Self::AddQuery(_) => "add-query",
            Self::RemoveQuery(_) => "remove-query",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Transact(_) => "transact",
            Self::JoinRoom(_) => "join-room",
            Self::LeaveRoom(_) => "leave-room",
            Self::SetPresence(_) => "set-presence",
            Self::ClientBroadcast(_) => "client-broadcast",
            Self::Unknown { op, .. } => op,
        }
    }

    /// The message's name, which its answer repeats.
    pub const fn client_event_id(&self) -> Option<&EventId> {
        match self {
            Self::Init(m) => m.client_event_id.as_ref(),
            Self::AddQuery(m) => m.client_event_id.as_ref(),
            Self::RemoveQuery(m) => m.client_event_id.as_ref(),
            Self::Subscribe(m) => m.client_event_id.as_ref(),
            Self::Unsubscribe(m) => m.client_event_id.as_ref(),
            Self::Transact(m) => m.client_event_id.as_ref(),
            Self::JoinRoom(m) => m.client_event_id.as_ref(),
            Self::LeaveRoom(m) => m.client_event_id.as_ref(),
            Self::SetPresence(m) => m.client_event_id.as_ref(),
            Self::ClientBroadcast(m) => m.client_event_id.as_ref(),
            Self::Unknown { client_event_id, .. } => client_event_id.as_ref(),
        }
    }
}

/// The known fields of any message, unread: so that each can fail by its own name, and large ones are
/// parsed once.
#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Fields<'a> {
    #[serde(borrow)]
    op: Option<&'a RawValue>,
    client_event_id: Option<&'a RawValue>,
    app_id: Option<&'a RawValue>,
    refresh_token: Option<&'a RawValue>,
    versions: Option<&'a RawValue>,
    #[serde(rename = "__admin-token")]
    admin_token: Option<&'a RawValue>,
    q: Option<&'a RawValue>,
    return_type: Option<&'a RawValue>,
    tx_steps: Option<&'a RawValue>,
    native: Option<&'a RawValue>,
    sub: Option<&'a RawValue>,
    have: Option<&'a RawValue>,
    seq: Option<&'a RawValue>,
    base: Option<&'a RawValue>,
    room_id: Option<&'a RawValue>,
    room_type: Option<&'a RawValue>,
    #[serde(rename = "roomType")]
    broadcast_room_type: Option<&'a RawValue>,
    topic: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, DecodeError> {
        let nameless = |kind| DecodeError { kind: Box::new(kind), op: None, event: None };
        let first = text.bytes().find(|b| !b.is_ascii_whitespace());
        if first != Some(b'{') {
            return Err(nameless(match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => DecodeErrorKind::NotAnObject,
                Err(e) => DecodeErrorKind::NotJson { reason: e.to_string() },
            }));
        }
        serde_json::from_str(text)
            .map_err(|e| nameless(DecodeErrorKind::NotJson { reason: e.to_string() }))
    }

    fn into_message(self) -> Result<ClientMessage, DecodeError> {
        // Read before the op, so that an answer to a message without one still finds its sender.
        // A name is kept and repeated for a long time; the longest that clients use are UUIDs.
        let event = self
            .client_event_id
            .map(|raw| text_of(raw).ok().filter(|name| name.len() <= ECHO_LEN_MAX));
        let name = event.as_ref().and_then(Option::as_ref).map(|name| EventId::new(&**name));
        let opless = |kind| DecodeError { kind: Box::new(kind), op: None, event: name.clone() };
        let Some(raw_op) = self.op else {
            return Err(opless(DecodeErrorKind::Missing { field: "op" }));
        };
        let Ok(op) = text_of(raw_op) else {
            return Err(opless(malformed("op", raw_op)));
        };
        let op: &str = &op;
        let shown_op = || op.chars().take(ECHO_LEN_MAX).collect::<String>();
        if let (Some(raw), Some(None)) = (self.client_event_id, &event) {
            let kind = Box::new(malformed("client-event-id", raw));
            return Err(DecodeError { kind, op: Some(shown_op()), event: None });
        }
        let event = name;
        let result = match op {
            "init" => self.init(event.clone()).map(ClientMessage::Init),
            "add-query" => self.add_query(event.clone()).map(ClientMessage::AddQuery),
            "remove-query" => self.query().map(|q| {
                ClientMessage::RemoveQuery(RemoveQuery { q, client_event_id: event.clone() })
            }),
            "subscribe" => self.subscribe(event.clone()).map(ClientMessage::Subscribe),
            "unsubscribe" => required("sub", self.sub).map(|sub| {
                ClientMessage::Unsubscribe(Unsubscribe { sub, client_event_id: event.clone() })
            }),
            "transact" => self.transact(event.clone()).map(ClientMessage::Transact),
            "join-room" => self.join_room(event.clone()).map(ClientMessage::JoinRoom),
            "leave-room" => self.room_id().map(|room_id| {
                ClientMessage::LeaveRoom(LeaveRoom { room_id, client_event_id: event.clone() })
            }),
            "set-presence" => self.set_presence(event.clone()).map(ClientMessage::SetPresence),
            "client-broadcast" => self.broadcast(event.clone()).map(ClientMessage::ClientBroadcast),
            _ => Ok(ClientMessage::Unknown { op: shown_op(), client_event_id: event.clone() }),
        };
        result.map_err(|kind| DecodeError { kind: Box::new(kind), op: Some(op.to_owned()), event })
    }

    fn init(&self, client_event_id: Option<EventId>) -> Result<Init, DecodeErrorKind> {
        let raw_app = self.app_id.ok_or(DecodeErrorKind::Missing { field: "app-id" })?;
        let app_id = text_of(raw_app)
            .ok()
            .and_then(|text| AppId::parse(&text))
            .ok_or_else(|| malformed("app-id", raw_app))?;
        let versions = match self.versions {
            None => Versions::default(),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| malformed("versions", raw))?,
        };
        let secret = |field, raw: Option<&RawValue>| match raw.map(text_of) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text.into_owned())),
            // Whatever stands in the place of a token may be one: it is not echoed.
            Some(Err(_)) => Err(DecodeErrorKind::Malformed { field, input: Json::Null }),
        };
        Ok(Init {
            app_id,
            refresh_token: secret("refresh-token", self.refresh_token)?,
            versions,
            admin_token: secret("__admin-token", self.admin_token)?,
            native: optional("native", self.native)?,
            client_event_id,
        })
    }

    fn add_query(&self, client_event_id: Option<EventId>) -> Result<AddQuery, DecodeErrorKind> {
        let return_type = match self.return_type.map(text_of) {
            Some(Ok(name)) if name == "tree" => ReturnType::Tree,
            // An unknown form falls back to the default one, as on official servers.
            _ => ReturnType::JoinRows,
        };
        Ok(AddQuery { q: self.query()?, return_type, client_event_id })
    }

    fn subscribe(&self, client_event_id: Option<EventId>) -> Result<Subscribe, DecodeErrorKind> {
        let (sub, have) = (required("sub", self.sub)?, optional("have", self.have)?);
        Ok(Subscribe { sub, q: self.query()?, have, client_event_id })
    }

    fn query(&self) -> Result<Json, DecodeErrorKind> {
        let raw = self.q.ok_or(DecodeErrorKind::NullQuery)?;
        // Well-formed JSON by now; only its depth can still be refused.
        serde_json::from_str(raw.get())
            .map_err(|e| DecodeErrorKind::NotJson { reason: e.to_string() })
    }

    fn transact(&self, client_event_id: Option<EventId>) -> Result<Transact, DecodeErrorKind> {
        let tx_steps = match self.tx_steps {
            None => Json::Null,
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|e| DecodeErrorKind::NotJson { reason: e.to_string() })?,
        };
        let seq = optional("seq", self.seq)?;
        let base = optional("base", self.base)?;
        Ok(Transact { tx_steps, client_event_id, created: None, order: None, seq, base })
    }

    fn join_room(&self, client_event_id: Option<EventId>) -> Result<JoinRoom, DecodeErrorKind> {
        let room_type = self.room_type.map(|raw| text_field("room-type", raw)).transpose()?;
        Ok(JoinRoom {
            room_id: self.room_id()?,
            room_type,
            data: self.presence()?,
            client_event_id,
        })
    }

    fn set_presence(
        &self,
        client_event_id: Option<EventId>,
    ) -> Result<SetPresence, DecodeErrorKind> {
        Ok(SetPresence { room_id: self.room_id()?, data: self.presence()?, client_event_id })
    }

    fn broadcast(
        &self,
        client_event_id: Option<EventId>,
    ) -> Result<ClientBroadcast, DecodeErrorKind> {
        let room_id = self.room_id()?;
        // Nothing depends on the type here: the room was chosen when it was joined.
        let room_type =
            self.broadcast_room_type.and_then(|raw| text_of(raw).ok()).map(Cow::into_owned);
        let topic = self.topic.ok_or(DecodeErrorKind::Missing { field: "topic" })?;
        let topic = text_field("topic", topic)?;
        let data = match self.data {
            None => Json::Null,
            Some(raw) => serde_json::from_str(raw.get())
                .map_err(|e| DecodeErrorKind::NotJson { reason: e.to_string() })?,
        };
        Ok(ClientBroadcast { room_id, room_type, topic, data, client_event_id })
    }

    fn room_id(&self) -> Result<String, DecodeErrorKind> {
        text_field("room-id", self.room_id.ok_or(DecodeErrorKind::Missing { field: "room-id" })?)
    }

    /// Official servers store a null as null, and official clients then show an empty peer: it is `{}`.
    fn presence(&self) -> Result<PresenceData, DecodeErrorKind> {
        match self.data {
            None => Ok(PresenceData::new()),
            Some(raw) => serde_json::from_str(raw.get()).map_err(|_| malformed("data", raw)),
        }
    }
}

fn text_field(field: &'static str, raw: &RawValue) -> Result<String, DecodeErrorKind> {
    text_of(raw).map(Cow::into_owned).map_err(|_| malformed(field, raw))
}

fn text_of(raw: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    /// Borrows where the JSON string holds no escapes.
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).map(|text| text.0)
}

/// The longest part of a wrong field that an answer repeats.
const ECHO_LEN_MAX: usize = 1024;

/// A field of a native session, if it is there.
fn optional<T: serde::de::DeserializeOwned>(
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<Option<T>, DecodeErrorKind> {
    let Some(raw) = raw else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| malformed(field, raw))
}

fn required<T: serde::de::DeserializeOwned>(
    field: &'static str,
    raw: Option<&RawValue>,
) -> Result<T, DecodeErrorKind> {
    optional(field, raw)?.ok_or(DecodeErrorKind::Missing { field })
}

fn malformed(field: &'static str, raw: &RawValue) -> DecodeErrorKind {
    let input = if raw.get().len() <= ECHO_LEN_MAX {
        serde_json::from_str(raw.get()).unwrap_or(Json::Null)
    } else {
        Json::Null
    };
    DecodeErrorKind::Malformed { field, input }
}

#[cfg(test)]
mod tests;
