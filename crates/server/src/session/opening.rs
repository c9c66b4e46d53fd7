//! Who may say what before and after `init`.

use serde_json::{Value as Json, json};
use tricedb_core::id::AppId;
use tricedb_protocol::{ClientMessage, ErrorBody, ErrorMessage, Init};

use super::OpenAppError;
use crate::app::Frame;

/// What to do with a received text.
#[derive(Debug)]
pub enum Step {
    /// Answer with this; nothing else happens.
    Reply(Frame),
    /// Open the app's session, then say so with [`Opening::opened`].
    Open(Box<Init>),
    /// Hand this to the app's session.
    Forward(ClientMessage),
}

/// The protocol around an app's session.
///
/// A connection begins closed to everything but `init`. A failed `init` may be repeated: official clients
/// are refused for good by an answer on a socket that stays open.
#[derive(Debug, Default)]
pub struct Opening {
    is_open: bool,
}

impl Opening {
    /// Takes a received text.
    pub fn receive(&self, text: &str) -> Step {
        match ClientMessage::decode(text) {
            Err(error) => reply(&error.to_message()),
            Ok(ClientMessage::Unknown { op, client_event_id }) => {
                let body = ErrorBody::invalid_op(&op);
                reply(&ErrorMessage::answering(body, &op, client_event_id.as_ref(), None))
            }
            Ok(ClientMessage::Init(init)) if self.is_open => {
                let text = "`init` has already run for this session.";
                reply(&refuse_init(&init, ErrorBody::invalid("init", text, Json::Null)))
            }
            Ok(ClientMessage::Init(init)) => Step::Open(Box::new(init)),
            Ok(message) if self.is_open => Step::Forward(message),
            Ok(message) => reply(&before_init(message)),
        }
    }

    /// The app's session is open.
    pub const fn opened(&mut self) {
        self.is_open = true;
    }
}

fn reply(message: &ErrorMessage) -> Step {
    Step::Reply(crate::app::error_frame(message))
}

fn before_init(message: ClientMessage) -> ErrorMessage {
    let text = "`init` has not run for this session.";
    let body = ErrorBody::invalid("init", text, Json::Null);
    let op = message.op().to_owned();
    let event = message.client_event_id().cloned();
    let q = match message {
        ClientMessage::AddQuery(add) => Some(add.q),
        ClientMessage::RemoveQuery(remove) => Some(remove.q),
        _ => None,
    };
    ErrorMessage::answering(body, &op, event.as_ref(), q)
}

/// The answer to an `init` that cannot be served.
pub(super) fn refuse_init(init: &Init, body: ErrorBody) -> ErrorMessage {
    ErrorMessage::answering(body, "init", init.client_event_id.as_ref(), None)
}

/// An app that cannot be opened, as an answer.
pub(super) fn cannot_open(app: AppId, error: &OpenAppError) -> ErrorBody {
    match error {
        OpenAppError::NotFound(_) => ErrorBody::not_found("app", json!([{ "id": app }])),
        OpenAppError::Unavailable(_) => {
            ErrorBody::internal("The app cannot be opened at the moment.")
        }
    }
}

/// No user has this refresh token. Official clients act on exactly this type and record type: they sign
/// out and come back as nobody.
pub(super) fn unknown_user() -> ErrorBody {
    ErrorBody::not_found("app-user", json!([]))
}

/// The admin token is not this app's.
pub(super) fn unknown_admin_token(app: AppId) -> ErrorBody {
    ErrorBody::not_found("app-admin-token", json!([{ "app-id": app }]))
}

#[cfg(test)]
mod tests {
    use tricedb_protocol::ServerMessage;

    use super::*;

    const APP: &str = "11111111-2222-4333-8444-555555555555";

    fn refused(opening: &Opening, text: &str) -> ErrorMessage {
        let Step::Reply(frame) = opening.receive(text) else { panic!("{text} was not refused") };
        match ServerMessage::decode(frame.text().unwrap()).unwrap() {
            ServerMessage::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nothing_but_init_comes_first() {
        let opening = Opening::default();
        let error =
            refused(&opening, r#"{"op":"add-query","q":{"todos":{}},"client-event-id":"e"}"#);
        assert_eq!(error.body.kind.as_deref(), Some("validation-failed"));
        assert_eq!(
            error.body.message,
            "Validation failed for init: `init` has not run for this session."
        );
        assert_eq!(error.failed_query(), Some(&json!({"todos": {}})));
        assert_eq!(error.client_event_id.unwrap().as_str(), "e");
        let init = format!(r#"{{"op":"init","app-id":"{APP}"}}"#);
        assert!(matches!(opening.receive(&init), Step::Open(_)));
        // A failed `init` may come again.
        assert!(matches!(opening.receive(&init), Step::Open(_)));
    }

    #[test]
    fn init_comes_once_and_the_rest_is_forwarded() {
        let mut opening = Opening::default();
        opening.opened();
        let error = refused(&opening, &format!(r#"{{"op":"init","app-id":"{APP}"}}"#));
        assert_eq!(
            error.body.message,
            "Validation failed for init: `init` has already run for this session."
        );
        let forwarded = opening.receive(r#"{"op":"transact","tx-steps":[]}"#);
        assert!(matches!(forwarded, Step::Forward(ClientMessage::Transact(_))));
    }

    #[test]
    fn what_is_not_understood_is_answered() {
        let mut opening = Opening::default();
        for _ in 0..2 {
            let unknown = refused(&opening, r#"{"op":"refresh","client-event-id":"e"}"#);
            assert_eq!(unknown.body.message, "Invalid op");
            assert_eq!(unknown.body.hint, json!({"op": "refresh"}));
            assert_eq!(refused(&opening, "{").body.kind.as_deref(), Some("param-malformed"));
            opening.opened();
        }
    }
}
