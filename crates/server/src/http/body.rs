//! JSON in and out. What is large is read and written on another thread, so that it does not hold up the
//! sockets.

use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tricedb_protocol::ErrorBody;

use super::problem::Problem;

/// Bodies longer than this are parsed elsewhere: about a millisecond's work.
const PARSED_HERE_BYTES: usize = 256 << 10;
/// Answers of more values than this are written elsewhere.
const WRITTEN_HERE_VALUES: usize = 10_000;

/// Reads a request's body as a JSON object.
pub(super) async fn read_object(
    body: Result<Bytes, BytesRejection>,
) -> Result<Map<String, Json>, Problem> {
    let bytes = body.map_err(|rejection| {
        let status = rejection.status().as_u16();
        let body = ErrorBody::bad_request(
            "param-malformed",
            rejection.body_text(),
            json!({"in": ["body"]}),
        );
        ErrorBody { status, ..body }
    })?;
    let parsed = if bytes.len() > PARSED_HERE_BYTES {
        let parsing = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes));
        parsing.await.map_err(|_| ErrorBody::internal("The request could not be read."))?
    } else {
        serde_json::from_slice(&bytes)
    };
    match parsed {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) => Err(wrong_body("The body must be a JSON object.").into()),
        Err(error) => Err(wrong_body(&format!("The body is not JSON: {error}.")).into()),
    }
}

fn wrong_body(message: &str) -> ErrorBody {
    let message = format!("Malformed parameter: [\"body\"]. {message}");
    ErrorBody::bad_request("param-malformed", message, json!({ "in": ["body"] }))
}

/// Answers 200 with something that may be large.
pub(super) async fn answer(json: Json) -> Response {
    let mut room = WRITTEN_HERE_VALUES;
    if fits(&json, &mut room) {
        return json_response(StatusCode::OK, &json);
    }
    let writing = tokio::task::spawn_blocking(move || json_response(StatusCode::OK, &json));
    writing.await.unwrap_or_else(|_| {
        let body = json!({ "type": "unknown", "message": "The answer could not be written." });
        json_response(StatusCode::INTERNAL_SERVER_ERROR, &body)
    })
}

/// Whether there are at most `room` values, without counting further.
fn fits(json: &Json, room: &mut usize) -> bool {
    if *room == 0 {
        return false;
    }
    *room -= 1;
    match json {
        Json::Array(items) => items.iter().all(|item| fits(item, room)),
        Json::Object(members) => members.values().all(|member| fits(member, room)),
        _ => true,
    }
}

/// An answer with a JSON body.
pub(super) fn json_response(status: StatusCode, json: &Json) -> Response {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    let json_type = HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json_type);
    response
}
