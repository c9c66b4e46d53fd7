//! Taking over the connection of an HTTP request as a WebSocket.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::apps::Apps;
use super::serve::serve_socket;
use super::socket::SocketLimits;

/// An accepted upgrade: the answer to send, and the life of the socket, which begins once it is sent.
pub struct Upgrade {
    /// `101 Switching Protocols`.
    pub response: Response,
    /// To be spawned; dropping it drops the connection.
    pub socket: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl std::fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

/// Accepts a WebSocket upgrade with any query string and without subprotocol or extensions.
///
/// The stream is driven here and not by axum's own socket, because only so can the buffers that a large
/// message leaves behind be given up.
///
/// # Errors
/// The answer to a request that is no WebSocket upgrade of version 13.
#[expect(clippy::result_large_err, reason = "the caller returns it as it is")]
pub fn upgrade(
    mut request: Request,
    apps: Arc<dyn Apps>,
    limits: SocketLimits,
) -> Result<Upgrade, Response> {
    let headers = request.headers();
    let is_upgrade = request.method() == Method::GET
        && has_token(headers, header::CONNECTION, "upgrade")
        && has_token(headers, header::UPGRADE, "websocket");
    if !is_upgrade {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "this is a WebSocket: send an upgrade request",
        ));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response =
            refuse(StatusCode::UPGRADE_REQUIRED, "only WebSocket version 13 is spoken");
        let version = HeaderValue::from_static("13");
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, version);
        return Err(response);
    }
    let accept = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    let Some(accept) = accept else {
        return Err(refuse(StatusCode::BAD_REQUEST, "the header Sec-WebSocket-Key is missing"));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    let socket = Box::pin(async move {
        match upgraded.await {
            Ok(stream) => serve_socket(TokioIo::new(stream), apps, limits).await,
            Err(error) => tracing::debug!(%error, "a connection ended before its upgrade"),
        }
    });
    Ok(Upgrade { response, socket })
}

fn has_token(headers: &HeaderMap, name: header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

fn refuse(status: StatusCode, message: &'static str) -> Response {
    let mut response = Response::new(Body::from(format!("{{\"message\":\"{message}\"}}")));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
