//! Errors as answers.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tricedb_protocol::ErrorBody;

use super::body::json_response;
use crate::accounts::StoreError;
use crate::app::AppError;
use crate::session::OpenAppError;

/// Why a request was refused or failed.
#[derive(Debug)]
pub(super) struct Problem(pub(super) ErrorBody);

impl From<ErrorBody> for Problem {
    fn from(body: ErrorBody) -> Self {
        Self(body)
    }
}

impl From<OpenAppError> for Problem {
    fn from(error: OpenAppError) -> Self {
        match error {
            OpenAppError::NotFound(id) => {
                Self(ErrorBody::not_found("app", json!([{ "app-id": id }])))
            }
            OpenAppError::Unavailable(cause) => {
                tracing::error!(target: "tricedb::server", "an app cannot be opened: {cause}");
                Self(ErrorBody::internal("The app cannot be opened at the moment."))
            }
        }
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Refused(body) => Self(body),
            AppError::Closed => Self(ErrorBody::internal(
                "The app was closed while it worked on this; look whether it was done.",
            )),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Schema(error) => Self(ErrorBody::bad_request(
                error.kind().type_name(),
                error.message(),
                error.hint(),
            )),
            StoreError::Attributes(error) => Self(ErrorBody::bad_request(
                error.kind().type_name(),
                error.message(),
                error.hint().clone(),
            )),
            StoreError::AppExists(id) => Self(ErrorBody::bad_request(
                "record-not-unique",
                "An app with this id exists already.",
                json!({ "record-type": "app", "id": id }),
            )),
            other => {
                tracing::error!(target: "tricedb::server", "{other}");
                Self(ErrorBody::internal("The server's storage failed."))
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let ErrorBody { status, kind, message, hint } = self.0;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let kind = kind.unwrap_or_else(|| "unknown".into());
        json_response(status, &json!({ "type": kind, "message": message, "hint": hint }))
    }
}
