//! A WebSocket that takes little memory while it is idle.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame as WireFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::frame_tracker::FrameTracker;
use crate::app::Frame;

/// Bounds and pace of one socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketLimits {
    /// The largest message taken from a client, in bytes; a larger one closes its connection with 1009.
    pub message_bytes_max: usize,
    /// How often a ping is sent.
    pub ping_every: Duration,
    /// Without a sign of life for so long a connection is dropped.
    pub idle_max: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 << 20,
            ping_every: Duration::from_secs(5),
            idle_max: Duration::from_secs(15),
        }
    }
}

/// The read buffer of an idle socket. The codec fills all of it with zeros, so all of it is resident.
const READ_BUFFER: usize = 4 << 10;
/// Frames are gathered up to this size before they are written, or until the flush.
const WRITE_BUFFER: usize = 4 << 10;
/// Messages larger than this are sent in parts, each a frame.
pub(super) const PART: usize = 64 << 10;
/// A message or frame larger than this leaves buffers that are not kept. Making new ones costs about a
/// microsecond.
const KEPT_BUFFER: usize = 4 << 10;
/// How long what a refused peer still sends is read and thrown away, so that it gets to read why: closing
/// under its hands would reset the connection, which discards the farewell. A peer may send a lot before
/// it looks, so that only time bounds it.
const DRAINED_FOR: Duration = Duration::from_secs(2);
/// How much of it is read at a time.
const DRAIN_BUFFER: usize = 16 << 10;

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CloseCode {
    GoingAway = 1001,
    Protocol = 1002,
    NotUtf8 = 1007,
    TooBig = 1009,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Received {
    Text(Utf8Bytes),
    Binary,
    /// A ping or pong: a sign of life.
    Alive,
    /// The peer ended the connection, or it broke.
    Ended,
    /// The peer broke the rules.
    Wrong(CloseCode),
}

/// A piece of a message, sent as a frame of its own.
#[derive(Debug)]
pub(super) struct Part {
    bytes: bytes::Bytes,
    /// The message's kind for its first part.
    data: Data,
    is_last: bool,
}

/// Cuts a message into parts that share its bytes.
pub(super) fn parts(message: Frame) -> impl Iterator<Item = Part> {
    let (data, mut rest) = message.into_data();
    let mut data = Some(data);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let bytes = rest.split_to(rest.len().min(PART));
        let data = data.take().unwrap_or(Data::Continue);
        Some(Part { bytes, data, is_last: rest.is_empty() })
    })
}

#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: WebSocketStream<FrameTracker<S>>,
    message_bytes_max: usize,
    /// Messages taken from the codec.
    taken: u64,
    has_grown: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(io: S, limits: &SocketLimits) -> Self {
        let message_bytes_max = limits.message_bytes_max;
        let stream = open(FrameTracker::new(io), message_bytes_max).await;
        Self { stream, message_bytes_max, taken: 0, has_grown: false }
    }

    /// Waits for the next message. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Received {
        let message = match self.stream.next().await {
            Some(Ok(message)) => message,
            Some(Err(Error::Capacity(_))) => return Received::Wrong(CloseCode::TooBig),
            Some(Err(Error::Utf8(_))) => return Received::Wrong(CloseCode::NotUtf8),
            Some(Err(Error::Protocol(_))) => return Received::Wrong(CloseCode::Protocol),
            Some(Err(_)) | None => return Received::Ended,
        };
        self.taken += 1;
        self.has_grown |= message.len() > KEPT_BUFFER;
        match message {
            Message::Text(text) => Received::Text(text),
            Message::Binary(_) => Received::Binary,
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Received::Alive,
            Message::Close(_) => Received::Ended,
        }
    }

    /// Buffers a message as one frame. To be flushed before more follows if it is not small.
    pub(super) async fn feed(&mut self, message: Frame) -> Result<(), Error> {
        self.has_grown |= message.len() > KEPT_BUFFER;
        let message = match message {
            Frame::Text(text) => Message::Text(text),
            Frame::Binary(bytes) => Message::Binary(bytes),
        };
        self.stream.feed(message).await
    }

    /// Buffers a part of a large message. To be flushed before more follows: then the codec, which copies
    /// what it is given, never holds more than a part, while the message itself is shared by all sockets
    /// that it goes to.
    pub(super) async fn feed_part(&mut self, part: Part) -> Result<(), Error> {
        self.has_grown = true;
        let frame = WireFrame::message(part.bytes, OpCode::Data(part.data), part.is_last);
        self.stream.feed(Message::Frame(frame)).await
    }

    pub(super) async fn feed_ping(&mut self) -> Result<(), Error> {
        self.stream.feed(Message::Ping(bytes::Bytes::new())).await
    }

    /// Writes everything that is buffered. Cancel-safe: what is not written stays buffered.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        self.stream.flush().await
    }

    /// Bytes read so far, those of unfinished messages included.
    pub(super) fn read(&self) -> u64 {
        self.stream.get_ref().read()
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.stream.get_ref().written()
    }

    /// Gives up buffers that a large message left behind, if nothing lies in them. To be called after a
    /// flush.
    pub(super) async fn shrink(self) -> Self {
        if !self.has_grown || !self.stream.get_ref().has_read_exactly(self.taken) {
            return self;
        }
        let Self { stream, message_bytes_max, taken, .. } = self;
        let stream = open(stream.into_inner(), message_bytes_max).await;
        Self { stream, message_bytes_max, taken, has_grown: false }
    }

    /// Whether [`Self::shrink`] may have something to do.
    pub(super) const fn has_grown(&self) -> bool {
        self.has_grown
    }

    /// Ends the connection with a close frame, and reads on for a while so that the peer, which may still
    /// be sending, gets to see it.
    pub(super) async fn close(self, code: CloseCode) {
        let mut io = self.stream.into_inner().into_inner();
        let [high, low] = (code as u16).to_be_bytes();
        let farewell = async {
            io.write_all(&[0x88, 2, high, low]).await?;
            io.flush().await?;
            io.shutdown().await?;
            let mut scratch = vec![0; DRAIN_BUFFER];
            while io.read(&mut scratch).await? > 0 {}
            std::io::Result::Ok(())
        };
        // Whether the peer took it is its own affair.
        let _ = tokio::time::timeout(DRAINED_FOR, farewell).await;
    }
}

async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    io: FrameTracker<S>,
    message_bytes_max: usize,
) -> WebSocketStream<FrameTracker<S>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}
