//! Temporary apps, as the official tools make and delete them, and what an app turns on beyond InstantDB.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};
use tricedb_core::id::AppId;
use tricedb_protocol::{AppState, ErrorBody};

use super::Site;
use super::body::{answer, read_object};
use super::credentials::require_admin;
use super::problem::Problem;
use crate::accounts::NewApp;
use crate::app::SettingsChange;
use crate::clock::{iso_seconds, now_ms};
use crate::config::Mode;
use crate::session::Apps as _;

/// How long a temporary app lives.
const LIFE: Duration = Duration::from_secs(14 * 24 * 3600);

/// `POST /dash/apps/ephemeral`.
pub(super) async fn make_ephemeral(
    State(site): State<Arc<Site>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    if site.mode != Mode::Development {
        let message = "This server does not make apps for everybody. Its operator makes them with \
                       `tricedb app create`, or starts it with --dev.";
        return Err(ErrorBody::bad_request("app-creation-disabled", message, json!({})).into());
    }
    let body = read_object(body).await?;
    let title = title(&body)?;
    refuse_rules(body.get("rules"))?;
    let schema = match body.get("schema") {
        None | Some(Json::Null) => None,
        Some(schema) => Some(schema.clone()),
    };
    let life_ms = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
    let expires_at = now_ms() + life_ms;
    let new = NewApp { title, id: None, schema, expires_at: Some(expires_at) };
    let app = site.registry.store().create_app(new).await?;
    Ok(answer(json!({
        "app": {
            "id": app.id,
            "title": app.title,
            "created_at": iso_seconds(app.created_at),
            "admin-token": app.admin_token.reveal(),
        },
        "expires_ms": expires_at,
    }))
    .await)
}

/// `DELETE /superadmin/apps/:id`, for temporary apps, with the app's admin token.
pub(super) async fn delete(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = app_in_path(&id)?;
    require_admin(&site, &headers, id).await?;
    let record = site.registry.record(id).await?;
    if record.expires_at.is_none() {
        let message = "Permission denied: only temporary apps are deleted this way. Use                        `tricedb app delete`.";
        let hint = json!({ "input": ["app", id], "expected": "ephemeral?" });
        return Err(ErrorBody::bad_request("permission-denied", message, hint).into());
    }
    site.registry.delete(id).await?;
    let created_at = iso_seconds(record.created_at);
    let app = json!({ "id": id, "title": record.title, "created_at": created_at });
    Ok(answer(json!({ "app": app })).await)
}

/// `GET /dash/apps/:id/settings`, ours alone.
pub(super) async fn settings(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = app_in_path(&id)?;
    require_admin(&site, &headers, id).await?;
    let record = site.registry.record(id).await?;
    Ok(answer(json!({ "settings": record.settings })).await)
}

/// `POST /dash/apps/:id/settings`: changes those that the body names, and answers with all.
pub(super) async fn change_settings(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let id = app_in_path(&id)?;
    require_admin(&site, &headers, id).await?;
    let body = Json::Object(read_object(body).await?);
    let change = serde_json::from_value::<SettingsChange>(body.clone())
        .map_err(|error| ErrorBody::invalid("settings", &error.to_string(), body))?;
    let settings = site.registry.change_settings(id, &change).await?;
    Ok(answer(json!({ "settings": settings })).await)
}

/// `POST /dash/apps/ephemeral/:id/status`, for temporary apps, with the admin token in the body.
pub(super) async fn set_ephemeral_status(
    State(site): State<Arc<Site>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let id = app_in_path(&id)?;
    let body = read_object(body).await?;
    let token = body.get("admin-token").and_then(Json::as_str).unwrap_or_default();
    let may = site.registry.check_admin_token(id, token).await;
    if !may || site.registry.record(id).await?.expires_at.is_none() {
        return Err(ErrorBody::not_found("app", json!({ "app-id": id })).into());
    }
    let status = body.get("status").cloned().unwrap_or_default();
    let status = serde_json::from_value::<AppState>(status.clone())
        .map_err(|_| ErrorBody::malformed(&["body", "status"], status))?;
    let change = SettingsChange { status: Some(status), ..SettingsChange::default() };
    site.registry.change_settings(id, &change).await?;
    Ok(answer(json!({ "status": status })).await)
}

fn app_in_path(id: &str) -> Result<AppId, ErrorBody> {
    AppId::parse(id).ok_or_else(|| ErrorBody::malformed(&["params", "id"], id.into()))
}

fn title(body: &Map<String, Json>) -> Result<String, ErrorBody> {
    const PLACE: &[&str] = &["body", "title"];
    match body.get("title") {
        None | Some(Json::Null) => Err(ErrorBody::missing(PLACE)),
        Some(Json::String(title)) if !title.trim().is_empty() => Ok(title.trim().to_owned()),
        Some(other) => Err(ErrorBody::malformed(PLACE, other.clone())),
    }
}

/// Rules are not enforced yet, and an app that asked for them must not be served without.
pub(super) fn refuse_rules(rules: Option<&Json>) -> Result<(), ErrorBody> {
    let code = rules.map(|rules| rules.get("code").unwrap_or(rules));
    match code {
        None | Some(Json::Null) => Ok(()),
        Some(Json::Object(code)) if code.is_empty() => Ok(()),
        Some(code) => {
            let message = "This server does not enforce permission rules yet, so it refuses apps that \
                           have some rather than serve them without.";
            Err(ErrorBody::invalid("rule", message, code.clone()))
        }
    }
}
