//! The HTTP side: the admin API, making temporary apps, health, and the way to the socket.
//!
//! Success is exactly status 200 with a JSON body, and every error has the shape that official clients
//! read; permission and "not found" errors are 400.

mod admin;
mod apps;
mod body;
mod credentials;
mod headers;
mod health;
mod problem;
mod schema;
mod sockets;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use serde_json::json;

use self::body::json_response;
use crate::config::{HttpLimits, Mode};
use crate::registry::Registry;
use crate::session::{SocketLimits, upgrade};

pub(crate) use sockets::Sockets;

/// What every request may use.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) registry: Arc<Registry>,
    pub(crate) mode: Mode,
    pub(crate) limits: HttpLimits,
    pub(crate) sockets: Sockets,
}

/// All routes.
pub(crate) fn router(site: Arc<Site>) -> Router {
    let body_bytes_max = site.limits.body_bytes_max;
    Router::new()
        .route("/", get(health::greeting))
        .route("/health", get(health::health))
        .route("/health/system", get(health::system))
        .route("/runtime/session", get(session))
        .route("/admin/query", post(admin::query))
        .route("/admin/explain", post(admin::explain))
        .route("/admin/transact", post(admin::transact))
        .route("/dash/apps/ephemeral", post(apps::make_ephemeral))
        .route("/dash/apps/ephemeral/{id}/status", post(apps::set_ephemeral_status))
        .route("/dash/apps/{id}/settings", get(apps::settings).post(apps::change_settings))
        .route("/superadmin/apps/{id}", delete(apps::delete).get(schema::app))
        .merge(schema::routes())
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_route)
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .layer(middleware::from_fn(headers::add))
        .with_state(site)
}

async fn no_such_route() -> Response {
    let body = json!({ "message": "Oops! We couldn't match this route." });
    json_response(axum::http::StatusCode::NOT_FOUND, &body)
}

/// Turns the connection into a client's socket.
async fn session(State(site): State<Arc<Site>>, request: Request) -> Response {
    let message_bytes_max = site.limits.message_bytes_max;
    let limits = SocketLimits { message_bytes_max, ..SocketLimits::default() };
    match upgrade(request, site.registry.clone(), limits) {
        Ok(accepted) => {
            site.sockets.spawn(accepted.socket);
            accepted.response
        }
        Err(refusal) => refusal.into_response(),
    }
}
