//! The `error` message and its core, which HTTP answers share.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tricedb_core::id::EventId;

/// What went wrong: the part of an error that sockets and HTTP have in common.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// 400 for the caller's mistakes, 500 for the server's failures (others over HTTP only).
    #[serde(default = "default_status")]
    pub status: u16,
    /// Machine-readable kind; none for unforeseen failures.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// For people.
    #[serde(default, deserialize_with = "crate::server_message::null_is_default")]
    pub message: String,
    /// For programs; null or an object.
    #[serde(default)]
    pub hint: Json,
}

const fn default_status() -> u16 {
    500
}

impl ErrorBody {
    /// A caller's mistake, status 400.
    pub fn bad_request(kind: impl Into<String>, message: impl Into<String>, hint: Json) -> Self {
        Self { status: 400, kind: Some(kind.into()), message: message.into(), hint }
    }

    /// `validation-failed` with one plain message; `data_type` names what was checked.
    pub fn invalid(data_type: &str, message: &str, input: Json) -> Self {
        Self::bad_request(
            "validation-failed",
            format!("Validation failed for {data_type}: {message}"),
            json!({"data-type": data_type, "input": input, "errors": [{"message": message}]}),
        )
    }

    /// `record-not-found`; `record_type` is the wire's name of the kind of record.
    pub fn not_found(record_type: &str, args: Json) -> Self {
        Self::bad_request(
            "record-not-found",
            format!("Record not found: {record_type}"),
            json!({"record-type": record_type, "args": args}),
        )
    }

    /// `param-missing` at a path.
    pub fn missing(path: &[&str]) -> Self {
        Self::bad_request(
            "param-missing",
            format!("Missing parameter: {}", bracketed(path)),
            json!({"in": path}),
        )
    }

    /// `param-malformed` at a path, with what stood there.
    pub fn malformed(path: &[&str], original_input: Json) -> Self {
        Self::bad_request(
            "param-malformed",
            format!("Malformed parameter: {}", bracketed(path)),
            json!({"in": path, "original-input": original_input}),
        )
    }

    /// An op the server does not know, or does not take from clients.
    pub fn invalid_op(op: &str) -> Self {
        Self::bad_request("param-malformed", "Invalid op", json!({"op": op}))
    }

    /// A failure of the server that the caller cannot mend; retrying may help.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { status: 500, kind: None, message: message.into(), hint: Json::Null }
    }
}

/// `["body" "email"]`: the way the protocol spells paths in messages.
fn bracketed(path: &[&str]) -> String {
    let quoted: Vec<String> = path.iter().map(|part| format!("\"{part}\"")).collect();
    format!("[{}]", quoted.join(" "))
}

/// The `error` message: the answer to anything that failed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ErrorMessage {
    /// What went wrong.
    #[serde(flatten)]
    pub body: ErrorBody,
    /// The failed message's event id.
    #[serde(default)]
    pub client_event_id: Option<EventId>,
    /// Enough of the failed message to find it: `op` always, `q` for queries. Never tokens, never steps.
    #[serde(default)]
    pub original_event: Json,
    /// Opaque; official servers add it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

impl ErrorMessage {
    /// The answer to a message known by its op and event id; `q` is the query of query messages.
    pub fn answering(body: ErrorBody, op: &str, event: Option<&EventId>, q: Option<Json>) -> Self {
        let mut original = serde_json::Map::new();
        original.insert("op".into(), op.into());
        if let Some(event) = event {
            original.insert("client-event-id".into(), event.as_str().into());
        }
        if let Some(q) = q {
            original.insert("q".into(), q);
        }
        Self {
            body,
            client_event_id: event.cloned(),
            original_event: Json::Object(original),
            trace_id: None,
        }
    }

    /// The op of the failed message, where the server said it.
    pub fn failed_op(&self) -> Option<&str> {
        self.original_event.get("op")?.as_str()
    }

    /// The query of the failed message, for `add-query`.
    pub fn failed_query(&self) -> Option<&Json> {
        self.original_event.get("q").filter(|q| !q.is_null())
    }
}
