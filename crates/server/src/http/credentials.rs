//! Who calls, and for which app.

use axum::http::{HeaderMap, Uri, header};
use serde_json::{Value as Json, json};
use tricedb_core::id::{AppId, parse_uuid};
use tricedb_protocol::ErrorBody;

use super::Site;
use super::problem::Problem;
use crate::session::OpenAppError;

/// With whose rights a request acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Caller {
    /// The app's admin: rules do not apply.
    Admin,
    /// Nobody in particular.
    Guest,
}

/// The app that a request of the admin API names, and the rights that it comes with.
pub(super) async fn authorize(
    site: &Site,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(AppId, Caller), Problem> {
    let app = app_id(headers, uri)?;
    if headers.contains_key("as-token") || headers.contains_key("as-email") {
        let message = "Acting as a user (as-token, as-email) is not supported by this server yet.";
        return Err(ErrorBody::invalid("headers", message, Json::Null).into());
    }
    if headers.contains_key("as-guest") {
        return Ok((app, Caller::Guest));
    }
    require_admin(site, headers, app).await?;
    Ok((app, Caller::Admin))
}

/// Refuses a request without the app's admin token.
pub(super) async fn require_admin(
    site: &Site,
    headers: &HeaderMap,
    app: AppId,
) -> Result<(), Problem> {
    const PLACE: &[&str] = &["headers", "authorization"];
    let token = match bearer(headers) {
        Some(token) if parse_uuid(token).is_some() => token,
        // The token is not repeated: answers end up in logs.
        Some(_) => return Err(ErrorBody::malformed(PLACE, Json::Null).into()),
        None => return Err(ErrorBody::missing(PLACE).into()),
    };
    match site.registry.record(app).await {
        Ok(record) if record.is_admin_token(token) => Ok(()),
        // Whether the app exists is nobody's business who has no token for it.
        Ok(_) | Err(OpenAppError::NotFound(_)) => {
            let args = json!([{ "app-id": app }]);
            Err(ErrorBody::not_found("app-admin-token", args).into())
        }
        Err(error) => Err(error.into()),
    }
}

/// The header `app-id`, else the parameter `app_id`.
fn app_id(headers: &HeaderMap, uri: &Uri) -> Result<AppId, ErrorBody> {
    let (text, place) = match headers.get("app-id") {
        Some(value) => (value.to_str().ok(), ["headers", "app-id"]),
        None => match parameter(uri, "app_id") {
            Some(value) => (Some(value), ["params", "app_id"]),
            None => {
                let missing = ErrorBody::missing(&["headers", "app-id"]);
                let places = json!([["headers", "app-id"], ["params", "app_id"]]);
                let hint = json!({ "in": ["headers", "app-id"], "possible-ins": places });
                return Err(ErrorBody { hint, ..missing });
            }
        },
    };
    text.and_then(|text| AppId::parse(text.trim()))
        .ok_or_else(|| ErrorBody::malformed(&place, text.into()))
}

/// A query parameter whose value needs no decoding, as ids do not.
fn parameter<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
}

/// The last word of the header `Authorization`; what JavaScript makes of no token is no token.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_whitespace().last()?;
    (!matches!(token, "undefined" | "null" | "Bearer")).then_some(token)
}
