//! The messages to plain sessions, written by hand around parts that are encoded once and shared.

use std::fmt::Write;

use tricedb_core::id::{EventId, SessionId, TxId};
use tricedb_protocol::native::NativeSession;
use tricedb_protocol::{AppState as Status, ErrorMessage};

use super::fragment::Fragment;
use super::frame::Frame;
use super::state::AppIdentity;

/// Room for the fixed parts of a message.
const ENVELOPE: usize = 160;

pub(super) fn init_ok(
    session: SessionId,
    app: &AppIdentity,
    admin: bool,
    attrs: &str,
    event: Option<&EventId>,
    native: Option<&NativeSession>,
    status: Status,
) -> Frame {
    let mut text = String::with_capacity(attrs.len() + 2 * ENVELOPE);
    let _ = write!(text, r#"{{"op":"init-ok","session-id":"{session}","client-event-id":"#);
    push_event(&mut text, event);
    let _ = write!(text, r#","auth":{{"app":{{"id":"{}","title":"#, app.id);
    push_json_string(&mut text, &app.title);
    text.push_str(r#"},"user":null,"admin?":"#);
    text.push_str(if admin { "true" } else { "null" });
    let _ = write!(text, r#"}},"app-status":{{"status":"{}"}},"attrs":"#, status.name());
    text.push_str(attrs);
    if let Some(native) = native.and_then(|native| serde_json::to_string(native).ok()) {
        text.push_str(r#","native":"#);
        text.push_str(&native);
    }
    text.push('}');
    text.into()
}

pub(super) fn app_status_changed(status: Status) -> Frame {
    format!(r#"{{"op":"app-status-changed","status":"{}"}}"#, status.name()).into()
}

pub(super) fn transact_ok(position: TxId, event: Option<&EventId>) -> Frame {
    let mut text = String::with_capacity(ENVELOPE);
    let _ = write!(text, r#"{{"op":"transact-ok","tx-id":{position},"client-event-id":"#);
    push_event(&mut text, event);
    text.push('}');
    text.into()
}

pub(super) fn add_query_ok(
    q: &str,
    fragment: &Fragment,
    processed: TxId,
    event: Option<&EventId>,
) -> Frame {
    let mut text = String::with_capacity(q.len() + fragment.len() + ENVELOPE);
    text.push_str(r#"{"op":"add-query-ok","q":"#);
    text.push_str(q);
    text.push_str(r#","result":"#);
    text.push_str(fragment.result());
    text.push_str(r#","result-meta":"#);
    text.push_str(fragment.meta());
    let _ = write!(text, r#","processed-tx-id":{processed},"client-event-id":"#);
    push_event(&mut text, event);
    text.push('}');
    text.into()
}

pub(super) fn add_query_exists(q: &str, event: Option<&EventId>) -> Frame {
    about_query("add-query-exists", q, event)
}

pub(super) fn remove_query_ok(q: &str, event: Option<&EventId>) -> Frame {
    about_query("remove-query-ok", q, event)
}

fn about_query(op: &str, q: &str, event: Option<&EventId>) -> Frame {
    let mut text = String::with_capacity(q.len() + ENVELOPE);
    let _ = write!(text, r#"{{"op":"{op}","q":{q},"client-event-id":"#);
    push_event(&mut text, event);
    text.push('}');
    text.into()
}

/// `computations` are pairs of a query's text and its result.
pub(super) fn refresh_ok<'a>(
    computations: impl Iterator<Item = (&'a str, &'a Fragment)> + Clone,
    attrs: Option<&str>,
    processed: TxId,
) -> Frame {
    let size: usize = computations.clone().map(|(q, f)| q.len() + f.len() + ENVELOPE).sum();
    let mut text = String::with_capacity(size + attrs.map_or(0, str::len) + ENVELOPE);
    let _ = write!(text, r#"{{"op":"refresh-ok","processed-tx-id":{processed},"#);
    if let Some(attrs) = attrs {
        text.push_str(r#""attrs":"#);
        text.push_str(attrs);
        text.push(',');
    }
    text.push_str(r#""computations":["#);
    for (at, (q, fragment)) in computations.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(r#"{"instaql-query":"#);
        text.push_str(q);
        text.push_str(r#","instaql-result":"#);
        text.push_str(fragment.result());
        text.push_str(r#","result-meta":"#);
        text.push_str(fragment.meta());
        text.push_str(r#","result-changed?":true}"#);
    }
    text.push_str("]}");
    text.into()
}

/// The `error` message.
pub(crate) fn error(message: &ErrorMessage) -> Frame {
    let mut text = match serde_json::to_string(message) {
        Ok(body) => body,
        // Only maps with keys that are no strings cannot be written, and there are none in it.
        Err(_) => String::from("{}"),
    };
    let rest = text.split_off(1);
    text.push_str(r#""op":"error","#);
    text.push_str(&rest);
    text.into()
}

fn push_event(text: &mut String, event: Option<&EventId>) {
    match event {
        Some(event) => push_json_string(text, event.as_str()),
        None => text.push_str("null"),
    }
}

fn push_json_string(text: &mut String, value: &str) {
    if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        text.push('"');
        text.push_str(value);
        text.push('"');
    } else {
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tricedb_core::id::AppId;
    use tricedb_protocol::{ErrorBody, ServerMessage};

    fn read(frame: &Frame) -> ServerMessage {
        ServerMessage::decode(frame.text().unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_by_hand_is_read_by_the_protocol() {
        let event = EventId::new("odd \"name\"\n\\");
        let fragment = Fragment::new(
            r#"[{"data":{"datalog-result":{"join-rows":[[]]}},"child-nodes":[]}]"#.into(),
            "null".into(),
        );
        let app = AppIdentity { id: AppId(uuid::Uuid::from_u128(1)), title: "a \"b\"".into() };
        let ServerMessage::InitOk(init) = read(&init_ok(
            SessionId(uuid::Uuid::from_u128(2)),
            &app,
            true,
            "[]",
            Some(&event),
            None,
            Status::ReadOnly,
        )) else {
            panic!()
        };
        assert_eq!(init.auth.unwrap().app["title"], "a \"b\"");
        assert_eq!(init.client_event_id.as_ref(), Some(&event));

        let q = r#"{"todos":{}}"#;
        let ServerMessage::AddQueryOk(ok) = read(&add_query_ok(q, &fragment, TxId(7), None)) else {
            panic!()
        };
        assert_eq!((ok.q, ok.processed_tx_id), (json!({"todos": {}}), TxId(7)));

        let parts = [(q, &fragment), (q, &fragment)];
        let ServerMessage::RefreshOk(refresh) =
            read(&refresh_ok(parts.into_iter(), Some("[]"), TxId(8)))
        else {
            panic!()
        };
        assert_eq!((refresh.computations.len(), refresh.attrs.unwrap().len()), (2, 0));
        assert_eq!(read(&refresh_ok([].into_iter(), None, TxId(8))).op(), "refresh-ok");
        assert_eq!(read(&transact_ok(TxId(9), Some(&event))).op(), "transact-ok");
        assert_eq!(read(&add_query_exists(q, None)).op(), "add-query-exists");
        assert_eq!(read(&remove_query_ok(q, None)).op(), "remove-query-ok");

        let message = ErrorMessage::answering(
            ErrorBody::invalid_op("x"),
            "x",
            Some(&event),
            Some(json!({"a": {}})),
        );
        assert_eq!(read(&error(&message)), ServerMessage::Error(message));
    }
}
