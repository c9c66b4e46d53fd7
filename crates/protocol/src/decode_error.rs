//! Why a client's frame was not understood, and the answer to it.

use serde_json::Value as Json;
use tricedb_core::id::EventId;

use crate::error_message::{ErrorBody, ErrorMessage};

/// What was wrong with a frame.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The text is not JSON, or nests too deeply to be read.
    NotJson {
        /// The parser's word on it.
        reason: String,
    },
    /// The JSON is no object; arrays of messages are not taken from clients.
    NotAnObject,
    /// A required field is absent or null.
    Missing {
        /// Its name on the wire.
        field: &'static str,
    },
    /// A field has the wrong type or form.
    Malformed {
        /// Its name on the wire.
        field: &'static str,
        /// What stood there; null where it must not be echoed.
        input: Json,
    },
    /// The query of `add-query` or `remove-query` is absent or null.
    NullQuery,
}

/// A frame that is no message, with what is known of the message it wanted to be.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[error("{}", self.to_message().body.message)]
pub struct DecodeError {
    pub(crate) kind: Box<DecodeErrorKind>,
    pub(crate) op: Option<String>,
    pub(crate) event: Option<EventId>,
}

impl DecodeError {
    /// What was wrong.
    pub const fn kind(&self) -> &DecodeErrorKind {
        &self.kind
    }

    /// The op, where that much could be read.
    pub fn op(&self) -> Option<&str> {
        self.op.as_deref()
    }

    /// The answer to send.
    pub fn to_message(&self) -> ErrorMessage {
        let op = self.op.as_deref().unwrap_or_default();
        let body = match &*self.kind {
            DecodeErrorKind::NotJson { reason } => ErrorBody::bad_request(
                "param-malformed",
                format!("The message is not JSON: {reason}"),
                serde_json::json!({"in": []}),
            ),
            DecodeErrorKind::NotAnObject => ErrorBody::bad_request(
                "param-malformed",
                "A message is one JSON object",
                serde_json::json!({"in": []}),
            ),
            DecodeErrorKind::Missing { field } => ErrorBody::missing(&[field]),
            DecodeErrorKind::Malformed { field, input } => {
                ErrorBody::malformed(&[field], input.clone())
            }
            DecodeErrorKind::NullQuery => {
                ErrorBody::invalid(op, "Query can not be null.", Json::Null)
            }
        };
        let q = matches!(&*self.kind, DecodeErrorKind::NullQuery).then_some(Json::Null);
        let mut message = ErrorMessage::answering(body, op, self.event.as_ref(), q);
        if self.op.is_none()
            && let Json::Object(original) = &mut message.original_event
        {
            original.remove("op");
        }
        message
    }
}
