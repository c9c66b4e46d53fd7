//! Headers of every answer: any page may call the API, and none may do odd things with its answers.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

const STATIC: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("script-src 'self'")),
];

/// Answers preflights and adds the headers to all other answers.
pub(super) async fn add(request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let asked = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight { preflight(asked) } else { next.run(request).await };
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !is_preflight {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
    }
    for (name, value) in STATIC {
        headers.insert(name, value);
    }
    response
}

fn preflight(asked: Option<HeaderValue>) -> Response {
    let mut response = Response::new(Body::from("{}"));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    let mut put = |name, value| headers.insert(name, HeaderValue::from_static(value));
    put(header::CONTENT_TYPE, "application/json; charset=utf-8");
    put(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, POST, DELETE");
    put(header::ACCESS_CONTROL_MAX_AGE, "600");
    put(header::CACHE_CONTROL, "public, max-age=600");
    put(header::VARY, "origin, Access-Control-Request-Headers");
    if let Some(asked) = asked {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
    response
}
