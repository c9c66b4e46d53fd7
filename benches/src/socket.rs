//! WebSocket connections of the benchmarks: plain tungstenite, without Nagle's delay, small buffers.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use crate::error::{BenchError, io_error};

/// The library's default of 128 KiB is resident memory of every connection.
const READ_BUFFER_BYTES: usize = 4096;

/// How long a peer may take for anything.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The settings that every connection of this program has, on both ends of the relay too.
pub(crate) fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(0)
}

/// What came in.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary frame.
    Binary(Bytes),
    /// A ping; it is answered with the next read.
    Ping,
}

/// A connection to a peer.
#[derive(Debug)]
pub(crate) struct Socket {
    peer: &'static str,
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Connects to `path` at `address`.
    ///
    /// # Errors
    /// [`BenchError::Io`], [`BenchError::Socket`].
    pub(crate) async fn connect(
        peer: &'static str,
        address: &str,
        path: &str,
    ) -> Result<Self, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(io_error("connect to a server"))?;
        stream.set_nodelay(true).map_err(io_error("set TCP_NODELAY"))?;
        let url = format!("ws://{address}{path}");
        let (stream, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config()))
            .await
            .map_err(|source| BenchError::Socket { peer, source: Box::new(source) })?;
        Ok(Self { peer, stream })
    }

    /// Sends a text frame.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), BenchError> {
        let sent = self.stream.send(Message::Text(text.into())).await;
        sent.map_err(|source| BenchError::Socket { peer: self.peer, source: Box::new(source) })
    }

    /// Sends text frames together, with one flush.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn send_all(
        &mut self,
        texts: impl IntoIterator<Item = String>,
    ) -> Result<(), BenchError> {
        let wrap = |source| BenchError::Socket { peer: self.peer, source: Box::new(source) };
        for text in texts {
            self.stream.feed(Message::Text(text.into())).await.map_err(wrap)?;
        }
        self.stream.flush().await.map_err(wrap)
    }

    /// The next frame or ping. Safe to cancel.
    ///
    /// # Errors
    /// [`BenchError::Socket`], [`BenchError::Closed`].
    pub(crate) async fn incoming(&mut self) -> Result<Incoming, BenchError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => return Ok(Incoming::Text(text)),
                Some(Ok(Message::Binary(bytes))) => return Ok(Incoming::Binary(bytes)),
                Some(Ok(Message::Ping(_))) => return Ok(Incoming::Ping),
                Some(Ok(Message::Close(_))) | None => {
                    return Err(BenchError::Closed { peer: self.peer });
                }
                Some(Ok(_)) => {}
                Some(Err(source)) => {
                    return Err(BenchError::Socket { peer: self.peer, source: Box::new(source) });
                }
            }
        }
    }

    /// Reads until a text frame holds `mark`, and gives that frame.
    ///
    /// # Errors
    /// [`BenchError::Unexpected`] if the peer reports an error first, those of [`Self::incoming`].
    pub(crate) async fn until(
        &mut self,
        wanted: &'static str,
        mark: &str,
    ) -> Result<Utf8Bytes, BenchError> {
        loop {
            if let Incoming::Text(text) = self.incoming().await? {
                if text.contains(mark) {
                    return Ok(text);
                }
                if text.contains(r#""op":"error""#) {
                    return Err(unexpected(wanted, &text));
                }
            }
        }
    }
}

/// An error that quotes the beginning of an answer.
pub(crate) fn unexpected(wanted: &'static str, got: &str) -> BenchError {
    const QUOTED_CHARS: usize = 400;
    BenchError::Unexpected { wanted, got: got.chars().take(QUOTED_CHARS).collect() }
}

/// Waits for something from a peer, for at most [`ANSWER_LIMIT`].
///
/// # Errors
/// [`BenchError::TooSlow`], or what the waiting ended in.
pub(crate) async fn in_time<T>(
    wanted: &'static str,
    waiting: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, BenchError> {
    tokio::time::timeout(ANSWER_LIMIT, waiting)
        .await
        .map_err(|_| BenchError::TooSlow { wanted, limit: ANSWER_LIMIT })?
}
