//! What the server's tests speak to it with.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tricedb_core::id::AppId;
use tricedb_server::RunningServer;

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request on its own connection.
pub async fn request(
    server: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let mut text = format!("{line} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    Answer { status, headers, text: body.to_owned() }
}

/// A `POST` of JSON with an app's credentials.
pub async fn post(
    server: &RunningServer,
    path: &str,
    app: AppId,
    token: &str,
    body: &Json,
) -> Answer {
    let (app, token) = (app.to_string(), format!("Bearer {token}"));
    let headers = [("app-id", app.as_str()), ("authorization", token.as_str())];
    request(server.local_addr(), &format!("POST {path}"), &headers, &body.to_string()).await
}

/// A client's socket that speaks raw JSON.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>, Vec<Json>);

impl Socket {
    /// Connects without saying anything.
    pub async fn connect(server: &RunningServer, app: AppId) -> Self {
        let url = format!("{}?app_id={app}", server.websocket_url());
        Self(connect_async(url).await.unwrap().0, Vec::new())
    }

    /// Connects and waits for `init-ok`.
    pub async fn init(server: &RunningServer, app: AppId) -> (Self, Json) {
        let mut socket = Self::connect(server, app).await;
        socket.send(json!({"op": "init", "app-id": app, "client-event-id": "init"})).await;
        let ok = socket.receive("init-ok").await;
        (socket, ok)
    }

    pub async fn send(&mut self, message: Json) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message; none once the server has closed.
    pub async fn next(&mut self) -> Option<Json> {
        loop {
            if !self.1.is_empty() {
                return Some(self.1.remove(0));
            }
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => match serde_json::from_str(&text).unwrap() {
                    Json::Array(messages) => self.1.extend(messages),
                    message => return Some(message),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return None,
            }
        }
    }

    /// The next message with this op; others are skipped, except that an error fails the test.
    pub async fn receive(&mut self, op: &str) -> Json {
        loop {
            let message = self.next().await.unwrap_or_else(|| panic!("closed before {op}"));
            if message["op"] == op {
                return message;
            }
            assert_ne!(message["op"], "error", "{message}");
        }
    }
}

/// The id of a named attribute in a list of them.
pub fn attr_id(attrs: &Json, etype: &str, label: &str) -> Json {
    let found =
        attrs.as_array().unwrap().iter().find(|attr| {
            attr["forward-identity"][1] == etype && attr["forward-identity"][2] == label
        });
    found.unwrap_or_else(|| panic!("no {etype}.{label} in {attrs}"))["id"].clone()
}
