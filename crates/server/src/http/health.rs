//! Whether the server does its work.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{Html, Response};
use serde_json::{Value as Json, json};

use super::Site;
use super::body::json_response;
use crate::config::Mode;

pub(super) async fn greeting() -> Html<&'static str> {
    Html("<!doctype html><title>TriceDB</title><p>This is a TriceDB server.</p>")
}

/// `{"status":"ok"}`, or 503 and `"failing"` while the log of any app fails or stalls. Tells its developer
/// on this machine more.
pub(super) async fn health(
    State(site): State<Arc<Site>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
) -> Response {
    let is_failing = site.registry.is_in_trouble(site.limits.flush_max);
    let status = if is_failing { "failing" } else { "ok" };
    let mut body = json!({ "status": status, "version": env!("CARGO_PKG_VERSION") });
    if site.mode == Mode::Development && peer.ip().to_canonical().is_loopback() {
        body["sockets"] = site.sockets.count().into();
        body["apps"] = site
            .registry
            .report()
            .iter()
            .map(|app| {
                json!({
                    "id": app.id, "sessions": app.sessions, "rooms": app.rooms,
                    "droppedBroadcasts": app.dropped_broadcasts,
                    "flushes": app.flushes, "facts": app.facts,
                })
            })
            .collect::<Json>();
    }
    json_response(if is_failing { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, &body)
}

/// The original's health check: whether it can still follow its log.
pub(super) async fn system(State(site): State<Arc<Site>>) -> Response {
    if site.registry.is_in_trouble(site.limits.flush_max) {
        json_response(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "wal": "error" }))
    } else {
        json_response(StatusCode::OK, &json!({ "wal": "ok" }))
    }
}
