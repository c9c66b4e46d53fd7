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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::native::{Digest, Have, ResumeOffer, SubId};

    const APP: &str = "11111111-2222-4333-8444-555555555555";

    fn error(text: &str) -> Json {
        serde_json::to_value(ClientMessage::decode(text).unwrap_err().to_message()).unwrap()
    }

    #[test]
    fn frames_of_the_official_client_are_read() {
        let init = format!(
            r#"{{"client-event-id":"eda2f28b","op":"init","app-id":"{APP}","refresh-token":"0b0b","versions":{{"@instantdb/core":"v1.0.67"}}}}"#
        );
        let ClientMessage::Init(init) = ClientMessage::decode(&init).unwrap() else { panic!() };
        assert_eq!(init.app_id.to_string(), APP);
        assert_eq!(init.refresh_token.as_deref(), Some("0b0b"));
        assert!(init.versions.features().batch_messages);

        let add = r#"{"client-event-id":"de7d","op":"add-query","q":{"todos":{"$":{"where":{"done":false},"limit":10,"order":{"serverCreatedAt":"desc"}},"goal":{}}}}"#;
        let ClientMessage::AddQuery(add) = ClientMessage::decode(add).unwrap() else { panic!() };
        assert_eq!(add.q["todos"]["$"]["limit"], 10);
        assert_eq!(add.return_type, ReturnType::JoinRows);

        let tx = r#"{"client-event-id":"b8c2","op":"transact","tx-steps":[["add-triple","2d24","a0","new"]],"created":1795408071705,"order":1}"#;
        let ClientMessage::Transact(tx) = ClientMessage::decode(tx).unwrap() else { panic!() };
        assert_eq!(tx.tx_steps, json!([["add-triple", "2d24", "a0", "new"]]));
        assert_eq!(tx.client_event_id.unwrap().as_str(), "b8c2");
    }

    #[test]
    fn messages_round_trip() {
        let messages = [
            ClientMessage::Init(Init {
                app_id: AppId::parse(APP).unwrap(),
                refresh_token: None,
                versions: [("@instantdb/core", "v1.0.67")].into_iter().collect(),
                admin_token: Some("secret".into()),
                native: Some(NativeOffer {
                    version: 1,
                    client: uuid::Uuid::from_u128(5),
                    binary: true,
                    zstd: false,
                    resume: Some(ResumeOffer {
                        epoch: 3,
                        position: TxId(4),
                        set: Digest(5),
                        digest: Digest(6),
                        attrs: Digest(7),
                    }),
                }),
                client_event_id: Some(EventId::new("e1")),
            }),
            ClientMessage::AddQuery(AddQuery {
                q: json!({"todos": {}}),
                return_type: ReturnType::Tree,
                client_event_id: None,
            }),
            ClientMessage::RemoveQuery(RemoveQuery {
                q: json!({"todos": {}}),
                client_event_id: Some(EventId::new("e2")),
            }),
            ClientMessage::Transact(Transact {
                tx_steps: json!([["delete-entity", APP, "todos"]]),
                client_event_id: Some(EventId::new("quo\"ted")),
                created: None,
                order: None,
                seq: Some(7),
                base: Some(TxId(1 << 50)),
            }),
            ClientMessage::Subscribe(Subscribe {
                sub: SubId(3),
                q: json!({"todos": {}}),
                have: Some(Have { position: TxId(9), digest: Digest(10) }),
                client_event_id: Some(EventId::new("e3")),
            }),
            ClientMessage::Unsubscribe(Unsubscribe { sub: SubId(3), client_event_id: None }),
        ];
        for message in messages {
            let text = serde_json::to_string(&message).unwrap();
            assert!(text.contains(&format!(r#""op":"{}""#, message.op())), "{text}");
            assert_eq!(ClientMessage::decode(&text).unwrap(), message);
        }
    }

    #[test]
    fn each_wrong_field_is_named() {
        let missing = error(r#"{"op":"init","client-event-id":"e"}"#);
        assert_eq!(missing["type"], "param-missing");
        assert_eq!(missing["message"], r#"Missing parameter: ["app-id"]"#);
        assert_eq!(missing["hint"], json!({"in": ["app-id"]}));
        assert_eq!(missing["client-event-id"], "e");
        assert_eq!(missing["original-event"], json!({"op": "init", "client-event-id": "e"}));

        let bad = error(r#"{"op":"init","app-id":7}"#);
        assert_eq!(bad["type"], "param-malformed");
        assert_eq!(bad["hint"], json!({"in": ["app-id"], "original-input": 7}));

        let null = error(r#"{"op":"add-query","q":null}"#);
        assert_eq!(null["type"], "validation-failed");
        assert_eq!(null["message"], "Validation failed for add-query: Query can not be null.");

        for (text, field) in [
            (r#"{"op":7}"#.to_owned(), "op"),
            (r#"{"op":"transact","client-event-id":{}}"#.to_owned(), "client-event-id"),
            (format!(r#"{{"op":"init","app-id":"{APP}","versions":[1]}}"#), "versions"),
        ] {
            assert_eq!(error(&text)["hint"]["in"], json!([field]));
        }
        assert_eq!(error("{}")["type"], "param-missing");
    }

    #[test]
    fn a_message_without_an_op_is_answered_by_its_name() {
        for op in ["", r#""op":null,"#, r#""op":5,"#, r#""op":{},"#] {
            let answer = error(&format!(r#"{{{op}"client-event-id":"e"}}"#));
            assert_eq!(answer["client-event-id"], "e", "{op}");
            assert_eq!(answer["original-event"], json!({"client-event-id": "e"}), "{op}");
        }
    }

    #[test]
    fn tokens_are_never_echoed() {
        let text = format!(
            r#"{{"op":"init","app-id":"{APP}","__admin-token":["hush"],"refresh-token":"hush"}}"#
        );
        let answer = error(&text);
        assert_eq!(answer["hint"]["in"], json!(["__admin-token"]));
        assert!(!answer.to_string().contains("hush"));
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for text in
            ["", "nonsense", "{\"op\":", "[{\"op\":\"init\"}]", "3", "null", "{\"op\":\"init\"} x"]
        {
            let answer = error(text);
            assert_eq!(answer["type"], "param-malformed", "{text}");
            assert_eq!(answer["status"], 400);
        }
    }

    #[test]
    fn little_is_repeated_of_what_is_too_long() {
        let long = "x".repeat(1 << 20);
        let ClientMessage::Unknown { op, .. } =
            ClientMessage::decode(&format!(r#"{{"op":"{long}"}}"#)).unwrap()
        else {
            panic!()
        };
        assert_eq!(op.len(), ECHO_LEN_MAX);
        for text in [
            format!(r#"{{"op":"transact","tx-steps":[],"client-event-id":"{long}"}}"#),
            format!(r#"{{"op":"{long}","client-event-id":5}}"#),
            format!(r#"{{"client-event-id":"{long}"}}"#),
            format!(r#"{{"op":"init","app-id":"{long}"}}"#),
        ] {
            let answer = error(&text);
            assert_eq!(answer["status"], 400);
            assert!(answer.to_string().len() < 3 * ECHO_LEN_MAX, "{text:.40}");
        }
    }

    #[test]
    fn repeated_fields_are_refused() {
        let twice = r#"{"op":"transact","op":"init","client-event-id":"e"}"#;
        assert_eq!(error(twice)["type"], "param-malformed");
        // Within values the last one counts, as in JavaScript.
        let text = r#"{"op":"add-query","q":{"a":{},"a":{"b":{}}}}"#;
        let ClientMessage::AddQuery(add) = ClientMessage::decode(text).unwrap() else { panic!() };
        assert_eq!(add.q, json!({"a": {"b": {}}}));
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let deep =
            format!(r#"{{"op":"add-query","q":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(error(&deep)["type"], "param-malformed");
        let unknown =
            format!(r#"{{"op":"init","x":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(error(&unknown)["type"], "param-missing");
    }

    #[test]
    fn unknown_ops_and_fields_are_no_errors() {
        let text = r#"{"op":"start-sync","q":"r","client-event-id":"e","extra":{}}"#;
        let message = ClientMessage::decode(text).unwrap();
        assert_eq!(message.op(), "start-sync");
        assert_eq!(message.client_event_id().unwrap().as_str(), "e");
    }
}
