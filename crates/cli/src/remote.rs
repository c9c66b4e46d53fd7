//! Requests to a running server, over plain HTTP.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::http::uri::Scheme;
use hyper::{Method, Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use tokio::net::TcpStream;
use tricedb_core::id::AppId;

/// How long a server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A running server, given by `--url` and `--token`.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    pub(crate) url: Uri,
    pub(crate) token: Option<String>,
}

/// Why a server did not do as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error("{url} is no server's address: it has to look like http://127.0.0.1:8888")]
    Url { url: Uri },
    #[error("cannot reach {url}: is the server running there?")]
    Connect { url: Uri, source: std::io::Error },
    #[error("the connection to {url} broke")]
    Broken { url: Uri, source: hyper::Error },
    #[error("{url} did not answer within {} s", TIMEOUT.as_secs())]
    Timeout { url: Uri },
    #[error("{url} answered with something that is no TriceDB server's: {status} {text}")]
    Strange { url: Uri, status: StatusCode, text: String },
    #[error("the server refused: {message}")]
    Refused { message: String },
}

impl Remote {
    /// Sends JSON and gives the JSON of a successful answer.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        app: Option<AppId>,
        body: &Json,
    ) -> Result<Json, RemoteError> {
        let exchange = self.exchange(method, path, app, body);
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(result) => result,
            Err(_) => Err(RemoteError::Timeout { url: self.url.clone() }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        app: Option<AppId>,
        body: &Json,
    ) -> Result<Json, RemoteError> {
        let url = || self.url.clone();
        let authority = match (self.url.scheme(), self.url.authority()) {
            (Some(scheme), Some(authority)) if *scheme == Scheme::HTTP => authority.clone(),
            _ => return Err(RemoteError::Url { url: url() }),
        };
        let broken = |source| RemoteError::Broken { url: url(), source };
        // The host of an IPv6 address stands in brackets, which resolving does not want.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
            .await
            .map_err(|source| RemoteError::Connect { url: url(), source })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url.path().trim_end_matches('/')))
            .header(header::HOST, authority.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(app) = app {
            request = request.header("app-id", app.to_string());
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|_| RemoteError::Url { url: url() })?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let bytes = response.into_body().collect().await.map_err(broken)?.to_bytes();
        let answer = serde_json::from_slice::<Json>(&bytes);
        match answer {
            Ok(answer) if status == StatusCode::OK => Ok(answer),
            Ok(Json::Object(error)) if error.get("message").is_some_and(Json::is_string) => {
                let message = error["message"].as_str().unwrap_or_default().to_owned();
                Err(RemoteError::Refused { message })
            }
            _ => {
                let text = String::from_utf8_lossy(&bytes).chars().take(200).collect();
                Err(RemoteError::Strange { url: url(), status, text })
            }
        }
    }
}
