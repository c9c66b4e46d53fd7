//! The messages of rooms, written by hand around parts that are encoded once and shared.

use serde_json::Value as Json;
use tricedb_core::id::EventId;

use crate::app::Frame;

/// Appends a JSON string.
pub(super) fn push_text(out: &mut String, text: &str) {
    if text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Json::from(text).to_string());
    }
}

fn begin(op: &str, room_id: &str, rest: usize) -> String {
    let mut out = String::with_capacity(op.len() + room_id.len() + rest + 64);
    out.push_str(r#"{"op":""#);
    out.push_str(op);
    out.push_str(r#"","room-id":"#);
    push_text(&mut out, room_id);
    out
}

fn push_event(out: &mut String, event: Option<&EventId>) {
    out.push_str(r#","client-event-id":"#);
    match event {
        Some(event) => push_text(out, event.as_str()),
        None => out.push_str("null"),
    }
}

/// `join-room-ok`, `leave-room-ok` or `set-presence-ok`.
pub(super) fn room_ok(op: &str, room_id: &str, event: Option<&EventId>) -> Frame {
    let mut out = begin(op, room_id, 64);
    push_event(&mut out, event);
    out.push('}');
    out.into()
}

/// Appends what a member is to the others.
pub(super) fn push_entry(out: &mut String, peer: &str, user: &str, data: &str) {
    out.push_str(r#"{"peer-id":""#);
    out.push_str(peer);
    out.push_str(r#"","user":"#);
    out.push_str(user);
    out.push_str(r#","data":"#);
    out.push_str(data);
    out.push('}');
}

/// `members` are pairs of a peer id and an entry.
pub(super) fn refresh_presence<'a>(
    room_id: &str,
    members: impl Iterator<Item = (&'a str, &'a str, &'a str)>,
    size: usize,
) -> Frame {
    let mut out = begin("refresh-presence", room_id, size);
    out.push_str(r#","data":{"#);
    for (at, (peer, user, data)) in members.enumerate() {
        out.push_str(if at > 0 { ",\"" } else { "\"" });
        out.push_str(peer);
        out.push_str("\":");
        push_entry(&mut out, peer, user, data);
    }
    out.push_str("}}");
    out.into()
}

/// `edits` are separated by commas, one after the last as well.
pub(super) fn patch_presence(room_id: &str, edits: &str) -> Frame {
    let mut out = begin("patch-presence", room_id, edits.len());
    out.push_str(r#","edits":["#);
    out.push_str(edits.trim_end_matches(','));
    out.push_str("]}");
    out.into()
}

/// The message to the others and the answer to the sender. `entry` is made by [`push_entry`].
pub(super) fn broadcast(
    room_id: &str,
    topic: &str,
    entry: &str,
    event: Option<&EventId>,
) -> (Frame, Frame) {
    let mut rest = String::with_capacity(topic.len() + entry.len() + 32);
    rest.push_str(r#","topic":"#);
    push_text(&mut rest, topic);
    rest.push_str(r#","data":"#);
    rest.push_str(entry);
    let mut told = begin("server-broadcast", room_id, rest.len());
    told.push_str(&rest);
    told.push('}');
    let mut answer = begin("client-broadcast-ok", room_id, rest.len() + 64);
    answer.push_str(&rest);
    push_event(&mut answer, event);
    answer.push('}');
    (told.into(), answer.into())
}
