//! Rooms: who is present, with what, and what members tell each other in passing.

use std::collections::BTreeMap;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;
use tricedb_core::id::EventId;

use crate::server_message::null_is_default;

/// `join-room`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct JoinRoom {
    /// The room's id within its type.
    pub room_id: String,
    /// The room's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// What the others are to see at first; an object.
    pub data: PresenceData,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// `leave-room`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LeaveRoom {
    /// The room.
    pub room_id: String,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// `set-presence`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SetPresence {
    /// The room.
    pub room_id: String,
    /// All that the others are to see from now on; an object.
    pub data: PresenceData,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// `client-broadcast`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientBroadcast {
    /// The room.
    pub room_id: String,
    /// The room's type; camel case on the wire, unlike every other field.
    #[serde(rename = "roomType", skip_serializing_if = "Option::is_none")]
    pub room_type: Option<String>,
    /// The topic.
    pub topic: String,
    /// What is told.
    pub data: Json,
    /// The message's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_event_id: Option<EventId>,
}

/// What a member shows to the others: a JSON object.
pub type PresenceData = serde_json::Map<String, Json>;

/// `join-room-ok`, `leave-room-ok` or `set-presence-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RoomOk {
    /// The room.
    pub room_id: String,
    /// The name of the message that this answers.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `join-room-error`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JoinRoomError {
    /// The room.
    pub room_id: String,
    /// Why: an object with `type`, `message` and `hint`, or a text.
    #[serde(default)]
    pub error: Json,
    /// The name of the `join-room`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `refresh-presence`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RefreshPresence {
    /// The room.
    pub room_id: String,
    /// Everyone in it, by peer id: objects with `peer-id`, `user` and `data`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub data: BTreeMap<String, Json>,
}

/// `patch-presence`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PatchPresence {
    /// The room.
    pub room_id: String,
    /// What to do, in order, to the map that `refresh-presence` gave.
    #[serde(default, deserialize_with = "null_is_default")]
    pub edits: Vec<PresenceEdit>,
}

/// `client-broadcast-ok`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClientBroadcastOk {
    /// The room.
    pub room_id: String,
    /// The topic.
    #[serde(default, deserialize_with = "null_is_default")]
    pub topic: String,
    /// What the others got.
    #[serde(default)]
    pub data: Json,
    /// The name of the `client-broadcast`.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
}

/// `server-broadcast`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerBroadcast {
    /// The room.
    pub room_id: String,
    /// The topic.
    pub topic: String,
    /// What was told, and by whom.
    pub data: Told,
}

/// What one member told the others.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Told {
    /// The session that told it.
    pub peer_id: String,
    /// An object with the `id` of its user; null for anonymous sessions.
    #[serde(default)]
    pub user: Json,
    /// What it told.
    #[serde(default)]
    pub data: Json,
}

/// One step into an object or an array.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PathPart {
    /// An index of an array.
    Index(usize),
    /// A key of an object.
    Key(String),
}

/// One change of a presence map. On the wire an array: path, sign, value.
#[derive(Clone, PartialEq, Debug)]
pub struct PresenceEdit {
    /// Where; the first part is a peer id.
    pub path: Vec<PathPart>,
    /// What.
    pub change: EditKind,
}

/// What an edit does at its path.
#[derive(Clone, PartialEq, Debug)]
pub enum EditKind {
    /// `+`: sets a key of an object; inserts before an index of an array.
    Add(Json),
    /// `r`: sets.
    Replace(Json),
    /// `-`: removes a key; removes from an array and closes the gap.
    Remove,
}

impl Serialize for PresenceEdit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (sign, value) = match &self.change {
            EditKind::Add(value) => ("+", Some(value)),
            EditKind::Replace(value) => ("r", Some(value)),
            EditKind::Remove => ("-", None),
        };
        let mut tuple = serializer.serialize_tuple(2 + usize::from(value.is_some()))?;
        tuple.serialize_element(&self.path)?;
        tuple.serialize_element(sign)?;
        if let Some(value) = value {
            tuple.serialize_element(value)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for PresenceEdit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = PresenceEdit;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array of a path, a sign and a value")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PresenceEdit, A::Error> {
                let missing = |at| A::Error::invalid_length(at, &self);
                let path = seq.next_element()?.ok_or_else(|| missing(0))?;
                let sign: String = seq.next_element()?.ok_or_else(|| missing(1))?;
                let value: Option<Json> = seq.next_element()?;
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                let change = match &*sign {
                    "+" => EditKind::Add(value.ok_or_else(|| missing(2))?),
                    "r" => EditKind::Replace(value.ok_or_else(|| missing(2))?),
                    "-" => EditKind::Remove,
                    other => return Err(A::Error::custom(format!("an edit with sign `{other}`"))),
                };
                Ok(PresenceEdit { path, change })
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ClientMessage, DecodeErrorKind, ServerMessage};

    #[test]
    fn what_clients_say_is_read_as_it_was_written() {
        for message in [
            json!({"op": "join-room", "room-type": "chat", "room-id": "r", "data": {"name": "me"}, "client-event-id": "e"}),
            json!({"op": "leave-room", "room-id": "r"}),
            json!({"op": "set-presence", "room-id": "r", "data": {"cursor": {"x": 3}}}),
            json!({"op": "client-broadcast", "room-id": "r", "roomType": "chat", "topic": "t", "data": [1]}),
        ] {
            let read = ClientMessage::decode(&message.to_string()).unwrap();
            assert_eq!(read.op(), message["op"]);
            assert_eq!(serde_json::to_value(&read).unwrap(), message);
        }
    }

    #[test]
    fn null_and_absent_presence_is_empty() {
        for text in [
            r#"{"op":"set-presence","room-id":"r"}"#,
            r#"{"op":"set-presence","room-id":"r","data":null}"#,
        ] {
            let ClientMessage::SetPresence(set) = ClientMessage::decode(text).unwrap() else {
                panic!()
            };
            assert!(set.data.is_empty());
        }
    }

    #[test]
    fn wrong_fields_are_named() {
        for (text, kind) in [
            (r#"{"op":"join-room"}"#, DecodeErrorKind::Missing { field: "room-id" }),
            (
                r#"{"op":"leave-room","room-id":null}"#,
                DecodeErrorKind::Missing { field: "room-id" },
            ),
            (
                r#"{"op":"set-presence","room-id":7}"#,
                DecodeErrorKind::Malformed { field: "room-id", input: json!(7) },
            ),
            (
                r#"{"op":"join-room","room-id":"r","data":[1]}"#,
                DecodeErrorKind::Malformed { field: "data", input: json!([1]) },
            ),
            (
                r#"{"op":"client-broadcast","room-id":"r"}"#,
                DecodeErrorKind::Missing { field: "topic" },
            ),
        ] {
            assert_eq!(*ClientMessage::decode(text).unwrap_err().kind(), kind, "{text}");
        }
    }

    #[test]
    fn what_servers_say_is_read_as_it_was_written() {
        let peer = json!({"peer-id": "s", "user": null, "data": {"name": "B"}});
        for message in [
            json!({"op": "join-room-ok", "room-id": "r", "client-event-id": "e"}),
            json!({"op": "join-room-error", "room-id": "r", "error": "full", "client-event-id": null}),
            json!({"op": "leave-room-ok", "room-id": "r", "client-event-id": null}),
            json!({"op": "set-presence-ok", "room-id": "r", "client-event-id": null}),
            json!({"op": "refresh-presence", "room-id": "r", "data": {"s": peer}}),
            json!({"op": "patch-presence", "room-id": "r", "edits": [
                [["s", "data", "l", 0], "r", 9], [["t"], "+", peer], [["s", "data", "n"], "-"]]}),
            json!({"op": "client-broadcast-ok", "room-id": "r", "topic": "t", "data": peer, "client-event-id": null}),
            json!({"op": "server-broadcast", "room-id": "r", "topic": "t", "data": peer}),
        ] {
            let read = ServerMessage::decode(&message.to_string()).unwrap();
            assert_eq!(read.op(), message["op"]);
            assert_eq!(serde_json::to_value(&read).unwrap(), message);
        }
    }

    #[test]
    fn odd_edits_are_errors_and_odd_extras_are_not() {
        let read = |edit: Json| serde_json::from_value::<PresenceEdit>(edit);
        assert!(read(json!([["s"], "+"])).is_err());
        assert!(read(json!([["s"], "*", 1])).is_err());
        assert!(read(json!([])).is_err());
        assert_eq!(read(json!([["s"], "-", null, 7])).unwrap().change, EditKind::Remove);
    }
}
