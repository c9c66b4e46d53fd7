//! The WebSocket transport.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tricedb_core::id::AppId;
use tricedb_core::port::{Connection, Frame, Transport, TransportError};

/// The path of the session's endpoint, where an address has none.
const SESSION_PATH: &str = "/runtime/session";

/// The library's own default alone would cost 128 KiB for each connection.
const READ_BUFFER_LEN: usize = 8 * 1024;

/// The largest message taken; on the plain protocol a whole result is one message.
const MESSAGE_LEN_MAX: usize = 128 * 1024 * 1024;

/// Silence after which the peer is asked for a sign of life.
const PING_AFTER: Duration = Duration::from_secs(10);

/// Silence after which the connection counts as dead. Servers ping every five seconds.
const DEAD_AFTER: Duration = Duration::from_secs(25);

/// Longest time for one frame to leave.
const SEND_MAX: Duration = Duration::from_secs(60);

/// Frames read ahead while sending.
const READ_AHEAD_MAX: usize = 64;

/// Why an address cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the address {url} is not usable: {reason}")]
pub struct UrlError {
    /// The address.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Connects to a server's session endpoint over `ws://`.
///
/// Small read buffers, no Nagle delay; a peer that is silent for 25 seconds counts as gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketTransport {
    url: String,
    host: String,
    port: u16,
}

impl WebSocketTransport {
    /// For an address such as `ws://127.0.0.1:8888`. Without a path the official one is taken; the app's id
    /// is added as the official clients do.
    ///
    /// # Errors
    /// An address that is none, or asks for TLS, which this version does not speak.
    pub fn new(url: &str, app: AppId) -> Result<Self, UrlError> {
        let wrong = |reason| UrlError { url: url.to_owned(), reason };
        let uri: Uri = url.trim().parse().map_err(|_| wrong("it is not a URL"))?;
        match uri.scheme_str() {
            Some("ws") => {}
            Some("wss") => return Err(wrong("this version speaks ws:// only, not wss://")),
            _ => return Err(wrong("it must begin with ws://")),
        }
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        let path = match uri.path() {
            "" | "/" => SESSION_PATH,
            path => path,
        };
        let query = match uri.query() {
            Some(query) if query.contains("app_id=") => query.to_owned(),
            Some(query) => format!("{query}&app_id={app}"),
            None => format!("app_id={app}"),
        };
        Ok(Self {
            url: format!("ws://{authority}{path}?{query}"),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(80),
        })
    }

    /// The complete address.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn unreachable(
        &self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> TransportError {
        TransportError::Unreachable { target: self.url.clone(), source: source.into() }
    }
}

#[async_trait]
impl Transport for WebSocketTransport {
    async fn connect(&self) -> Result<Box<dyn Connection>, TransportError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.unreachable(error))?;
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_LEN)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE_LEN_MAX))
            .max_frame_size(Some(MESSAGE_LEN_MAX));
        let (stream, _) = client_async_with_config(&self.url, stream, Some(config))
            .await
            .map_err(|error| self.unreachable(error))?;
        Ok(Box::new(WebSocketConnection::new(stream)))
    }
}

struct WebSocketConnection {
    stream: WebSocketStream<TcpStream>,
    /// Read while sending.
    ahead: VecDeque<Message>,
    heard: Instant,
    is_asked: bool,
}

fn lost(error: &Error) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}

fn ended() -> TransportError {
    TransportError::Lost { reason: "the server closed the connection".to_owned() }
}

#[expect(clippy::disallowed_methods, reason = "silence on the wire is the transport's matter")]
fn now() -> Instant {
    Instant::now()
}

impl WebSocketConnection {
    fn new(stream: WebSocketStream<TcpStream>) -> Self {
        Self { stream, ahead: VecDeque::new(), heard: now(), is_asked: false }
    }

    async fn message(&mut self) -> Result<Message, TransportError> {
        if let Some(message) = self.ahead.pop_front() {
            return Ok(message);
        }
        loop {
            let until = self.heard + if self.is_asked { DEAD_AFTER } else { PING_AFTER };
            tokio::select! {
                biased;
                message = self.stream.next() => {
                    self.heard = now();
                    self.is_asked = false;
                    return match message {
                        Some(Ok(message)) => Ok(message),
                        Some(Err(error)) => Err(lost(&error)),
                        None => Err(ended()),
                    };
                }
                () = sleep_until(until) => {
                    if self.is_asked {
                        let reason = format!("nothing heard for {} seconds", DEAD_AFTER.as_secs());
                        return Err(TransportError::Lost { reason });
                    }
                    self.is_asked = true;
                    self.stream.send(Message::Ping(Vec::new().into())).await.map_err(|e| lost(&e))?;
                }
            }
        }
    }

    /// Hands a message over, reading meanwhile: a peer that waits for us to read would never take it.
    async fn hand_over(&mut self, message: Message) -> Result<(), TransportError> {
        let Self { stream, ahead, heard, is_asked } = self;
        stream.feed(message).await.map_err(|error| lost(&error))?;
        poll_fn(|context| {
            if let Poll::Ready(result) = stream.poll_flush_unpin(context) {
                return Poll::Ready(result.map_err(|error| lost(&error)));
            }
            while ahead.len() < READ_AHEAD_MAX {
                match stream.poll_next_unpin(context) {
                    Poll::Ready(Some(Ok(message))) => {
                        ahead.push_back(message);
                        *heard = now();
                        *is_asked = false;
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(lost(&error))),
                    Poll::Ready(None) => return Poll::Ready(Err(ended())),
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[async_trait]
impl Connection for WebSocketConnection {
    async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        let message = match frame {
            Frame::Text(text) => Message::Text(text.into()),
            Frame::Binary(bytes) => Message::Binary(bytes.into()),
        };
        match timeout(SEND_MAX, self.hand_over(message)).await {
            Ok(result) => result,
            Err(_) => {
                let reason = format!("a frame did not leave within {} seconds", SEND_MAX.as_secs());
                Err(TransportError::Lost { reason })
            }
        }
    }

    async fn receive(&mut self) -> Result<Frame, TransportError> {
        loop {
            match self.message().await? {
                Message::Text(text) => return Ok(Frame::Text(text.as_str().to_owned())),
                Message::Binary(bytes) => return Ok(Frame::Binary(bytes.to_vec())),
                Message::Close(_) => return Err(ended()),
                // The library answers pings by itself.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn close(&mut self) {
        // The connection is over either way.
        let _ = self.stream.close(None).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_the_official_path_and_the_app() {
        let app = AppId::parse("11111111-2222-4333-8444-555555555555").unwrap();
        let url = |text: &str| WebSocketTransport::new(text, app).map(|t| (t.url, t.host, t.port));
        let full = format!("ws://localhost:8888/runtime/session?app_id={app}");
        let expected = (full, "localhost".to_owned(), 8888);
        assert_eq!(url("ws://localhost:8888").unwrap(), expected);
        assert_eq!(url("ws://localhost:8888/").unwrap(), expected);
        assert_eq!(url("ws://localhost:8888/runtime/session").unwrap(), expected);
        assert_eq!(
            url("ws://[::1]:9/x?y=1").unwrap().0,
            format!("ws://[::1]:9/x?y=1&app_id={app}")
        );
        assert_eq!(url("ws://[::1]:9/x").unwrap().1, "::1");
        for wrong in ["", "http://localhost", "wss://x.y", "ws://", "localhost:8888"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
