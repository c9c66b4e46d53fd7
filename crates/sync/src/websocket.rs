//! The WebSocket transport.

mod line;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tricedb_core::id::AppId;
use tricedb_core::port::{Connection, Frame, Transport, TransportError};

use line::Line;

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

/// Longest time without a byte moving while a frame leaves.
const STUCK_AFTER: Duration = Duration::from_secs(60);

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
        let (stream, _) = client_async_with_config(&self.url, Line::new(stream), Some(config))
            .await
            .map_err(|error| self.unreachable(error))?;
        Ok(Box::new(WebSocketConnection::new(stream)))
    }
}

struct WebSocketConnection {
    stream: WebSocketStream<Line>,
    /// Read while sending.
    ahead: VecDeque<Message>,
    /// When the peer was last asked for a sign of life.
    asked: Option<Instant>,
}

fn lost(error: &Error) -> TransportError {
    TransportError::Lost { reason: error.to_string() }
}

fn ended() -> TransportError {
    TransportError::Lost { reason: "the server closed the connection".to_owned() }
}

/// The peer's farewell.
fn closed(frame: Option<CloseFrame>) -> TransportError {
    frame.map_or_else(ended, |frame| TransportError::Closed {
        code: frame.code.into(),
        reason: frame.reason.as_str().to_owned(),
    })
}

#[expect(clippy::disallowed_methods, reason = "silence on the wire is the transport's matter")]
fn now() -> Instant {
    Instant::now()
}

impl WebSocketConnection {
    const fn new(stream: WebSocketStream<Line>) -> Self {
        Self { stream, ahead: VecDeque::new(), asked: None }
    }

    async fn message(&mut self) -> Result<Message, TransportError> {
        if let Some(message) = self.ahead.pop_front() {
            return Ok(message);
        }
        loop {
            let heard = self.stream.get_ref().heard;
            let is_asked = self.asked.is_some_and(|asked| asked > heard);
            let until = heard + if is_asked { DEAD_AFTER } else { PING_AFTER };
            tokio::select! {
                biased;
                message = self.stream.next() => return match message {
                    Some(Ok(message)) => Ok(message),
                    Some(Err(error)) => Err(lost(&error)),
                    None => Err(ended()),
                },
                () = sleep_until(until) => {}
            }
            if self.stream.get_ref().heard > heard {
                // Part of a message came.
                continue;
            }
            if is_asked {
                let reason = format!("nothing heard for {} seconds", DEAD_AFTER.as_secs());
                return Err(TransportError::Lost { reason });
            }
            self.asked = Some(now());
            self.stream.send(Message::Ping(Vec::new().into())).await.map_err(|e| lost(&e))?;
        }
    }

    /// Hands a message over, reading meanwhile: a peer that waits for us to read would never take it.
    async fn hand_over(&mut self, message: Message) -> Result<(), TransportError> {
        self.stream.get_mut().moved = now();
        self.stream.feed(message).await.map_err(|error| lost(&error))?;
        loop {
            let moved = self.stream.get_ref().moved;
            match timeout_at(moved + STUCK_AFTER, self.flush_and_read()).await {
                Ok(result) => return result,
                Err(_) if self.stream.get_ref().moved > moved => {}
                Err(_) => {
                    let reason = format!("nothing left for {} seconds", STUCK_AFTER.as_secs());
                    return Err(TransportError::Lost { reason });
                }
            }
        }
    }

    async fn flush_and_read(&mut self) -> Result<(), TransportError> {
        let Self { stream, ahead, .. } = self;
        poll_fn(|context| {
            let error = match stream.poll_flush_unpin(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => Some(lost(&error)),
                Poll::Pending => None,
            };
            while ahead.len() < READ_AHEAD_MAX || error.is_some() {
                match stream.poll_next_unpin(context) {
                    // Nothing that is sent now would be read.
                    Poll::Ready(Some(Ok(Message::Close(frame)))) => {
                        return Poll::Ready(Err(closed(frame)));
                    }
                    Poll::Ready(Some(Ok(message))) => ahead.push_back(message),
                    // What was said before the line broke may say why.
                    Poll::Ready(_) | Poll::Pending if error.is_some() => break,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(lost(&error))),
                    Poll::Ready(None) => return Poll::Ready(Err(ended())),
                    Poll::Pending => break,
                }
            }
            error.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
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
        self.hand_over(message).await
    }

    async fn receive(&mut self) -> Result<Frame, TransportError> {
        loop {
            match self.message().await? {
                Message::Text(text) => return Ok(Frame::Text(text.as_str().to_owned())),
                Message::Binary(bytes) => return Ok(Frame::Binary(bytes.to_vec())),
                Message::Close(frame) => return Err(closed(frame)),
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
    use tokio::net::TcpListener;
    use tokio_tungstenite::accept_async;

    use super::*;

    /// A connection, and its other end.
    async fn pair() -> (Box<dyn Connection>, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        let app = AppId(uuid::Uuid::nil());
        let transport = WebSocketTransport::new(&url, app).unwrap();
        let accepted = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
        let (ours, theirs) = tokio::join!(transport.connect(), accepted);
        (ours.unwrap(), theirs)
    }

    #[tokio::test]
    async fn frames_go_both_ways_until_the_peer_closes() {
        let (mut ours, mut theirs) = pair().await;
        ours.send(Frame::Text("é".into())).await.unwrap();
        assert_eq!(theirs.next().await.unwrap().unwrap(), Message::text("é"));
        theirs.send(Message::Ping(Vec::new().into())).await.unwrap();
        theirs.send(Message::binary(vec![1, 2])).await.unwrap();
        assert_eq!(ours.receive().await.unwrap(), Frame::Binary(vec![1, 2]));
        theirs.close(None).await.unwrap();
        assert!(matches!(ours.receive().await, Err(TransportError::Lost { .. })));
    }

    #[tokio::test]
    async fn the_peers_reason_to_close_is_told_to_a_reader_and_to_a_sender() {
        use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
        let farewell = || CloseFrame { code: CloseCode::Size, reason: "too large".into() };
        let is_told = |error| matches!(error, TransportError::Closed { code: 1009, reason } if reason == "too large");
        let (mut ours, mut theirs) = pair().await;
        theirs.close(Some(farewell())).await.unwrap();
        assert!(is_told(ours.receive().await.unwrap_err()));
        // While a frame leaves that the peer does not read to its end.
        let (mut ours, mut theirs) = pair().await;
        let large = Frame::Text("x".repeat(64 << 20));
        let (sent, ()) = tokio::join!(ours.send(large), async {
            theirs.close(Some(farewell())).await.unwrap();
        });
        assert!(is_told(sent.unwrap_err()));
    }

    #[tokio::test]
    async fn two_ends_that_send_before_they_read_do_not_block_each_other() {
        let (mut ours, mut theirs) = pair().await;
        let large = "x".repeat(16 << 20);
        let peer = tokio::spawn({
            let large = large.clone();
            async move {
                theirs.send(Message::text(large)).await.unwrap();
                theirs.next().await.unwrap().unwrap().len()
            }
        });
        ours.send(Frame::Text(large.clone())).await.unwrap();
        assert_eq!(ours.receive().await.unwrap(), Frame::Text(large));
        assert_eq!(peer.await.unwrap(), 16 << 20);
    }

    #[tokio::test]
    async fn a_peer_that_says_nothing_counts_as_gone() {
        let (mut ours, theirs) = pair().await;
        // Nobody reads on the other end, so that no pong comes back.
        tokio::time::pause();
        let started = now();
        let TransportError::Lost { reason } = ours.receive().await.unwrap_err() else { panic!() };
        assert!(reason.contains("25 seconds"), "{reason}");
        assert!(started.elapsed() >= DEAD_AFTER);
        drop(theirs);
    }

    #[tokio::test]
    async fn a_frame_that_arrives_slowly_is_a_sign_of_life() {
        use tokio::io::AsyncWriteExt;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut raw, _) = listener.accept().await.unwrap();
        let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
        let stream = WebSocketStream::from_raw_socket(Line::new(tcp), role, None).await;
        let mut ours = WebSocketConnection::new(stream);
        // The header of a text frame of nine bytes, and the first of them.
        raw.write_all(&[0x81, 9, b'x']).await.unwrap();
        tokio::time::pause();
        let slowly = async {
            for _ in 0..8 {
                tokio::time::sleep(DEAD_AFTER / 2).await;
                raw.write_all(b"x").await.unwrap();
            }
        };
        let (frame, ()) = tokio::join!(ours.receive(), slowly);
        assert_eq!(frame.unwrap(), Frame::Text("xxxxxxxxx".into()));
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap());
        drop(listener);
        let transport = WebSocketTransport::new(&url, AppId(uuid::Uuid::nil())).unwrap();
        assert!(matches!(transport.connect().await, Err(TransportError::Unreachable { .. })));
    }

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
