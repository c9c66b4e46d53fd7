//! Following a WebSocket's bytes, to know when nothing of it lies in a codec's buffers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that notes how many whole messages have been read through it, and whether the last byte read
/// ended one.
///
/// A codec's buffers only ever grow; to be rid of them it is replaced, which loses what it has buffered.
/// This is how to know that there is nothing.
#[derive(Debug)]
pub(super) struct FrameTracker<S> {
    io: S,
    frames: Frames,
    read: u64,
    written: u64,
}

/// Where in the sequence of frames the reading stands.
#[derive(Debug)]
struct Frames {
    header: [u8; HEADER_MAX],
    header_len: usize,
    payload_left: u64,
    /// Whether the frame being read ends a message. Control frames always do.
    ends_message: bool,
    /// A message has begun of which more frames are to come.
    is_fragmented: bool,
    messages: u64,
}

/// Two bytes, a length of eight, a mask of four.
const HEADER_MAX: usize = 14;

impl Frames {
    const fn new() -> Self {
        Self {
            header: [0; HEADER_MAX],
            header_len: 0,
            payload_left: 0,
            ends_message: false,
            is_fragmented: false,
            messages: 0,
        }
    }

    fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let taken =
                    bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= taken as u64;
                bytes = &bytes[taken..];
                if self.payload_left == 0 {
                    self.frame_ends();
                }
                continue;
            }
            self.header[self.header_len] = bytes[0];
            self.header_len += 1;
            bytes = &bytes[1..];
            if self.header_len >= 2 && self.header_len == self.header_size() {
                self.header_ends();
            }
        }
    }

    /// Known from the second byte on.
    const fn header_size(&self) -> usize {
        let length = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.header[1] & 0x80 == 0 { 0 } else { 4 }
    }

    fn header_ends(&mut self) {
        let extended = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b));
        self.payload_left = match self.header[1] & 0x7f {
            126 => extended(&self.header[2..4]),
            127 => extended(&self.header[2..10]),
            short => u64::from(short),
        };
        let is_final = self.header[0] & 0x80 != 0;
        let is_control = self.header[0] & 0x08 != 0;
        self.ends_message = is_final;
        if !is_control {
            self.is_fragmented = !is_final;
        }
        self.header_len = 0;
        if self.payload_left == 0 {
            self.frame_ends();
        }
    }

    const fn frame_ends(&mut self) {
        if self.ends_message {
            self.messages += 1;
        }
    }

    const fn is_between_messages(&self) -> bool {
        self.header_len == 0 && self.payload_left == 0 && !self.is_fragmented
    }
}

impl<S> FrameTracker<S> {
    pub(super) const fn new(io: S) -> Self {
        Self { io, frames: Frames::new(), read: 0, written: 0 }
    }

    /// Whether exactly so many messages, control frames included, and not a byte more were read.
    pub(super) const fn has_read_exactly(&self, messages: u64) -> bool {
        self.frames.is_between_messages() && self.frames.messages == messages
    }

    /// Bytes read so far.
    pub(super) const fn read(&self) -> u64 {
        self.read
    }

    /// Bytes written so far.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn into_inner(self) -> S {
        self.io
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameTracker<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let received = &buf.filled()[before..];
        self.read += received.len() as u64;
        self.frames.advance(received);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameTracker<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = &result {
            self.written += *written as u64;
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match len {
            0..126 => bytes.push(0x80 | len as u8),
            126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((len as u16).to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend((len as u64).to_be_bytes());
            }
        }
        bytes.extend([0xff; 4]);
        bytes.extend(vec![0x81; len]);
        bytes
    }

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        // Whole, empty, long, a ping within a fragmented message, and its end.
        for (first, len, ends_message) in [
            (0x81, 5, true),
            (0x81, 0, true),
            (0x81, 300, true),
            (0x82, 70_000, true),
            (0x01, 9, false),
            (0x89, 3, false),
            (0x80, 9, true),
        ] {
            bytes.extend(frame(first, len));
            if ends_message {
                ends.push(bytes.len());
            }
        }
        for step in [1, 2, 3, 7, 1_000, bytes.len()] {
            let mut frames = Frames::new();
            let mut at = 0;
            for piece in bytes.chunks(step) {
                frames.advance(piece);
                at += piece.len();
                assert_eq!(frames.is_between_messages(), ends.contains(&at), "{step} {at}");
            }
            assert_eq!(frames.messages, 6);
        }
    }
}
