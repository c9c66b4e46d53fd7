//! What goes over a session's WebSocket in one message.

use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tricedb_protocol::native::FrameBytes;

/// One message to a session. Clones share the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// JSON.
    Text(Utf8Bytes),
    /// The binary encoding of native sessions.
    Binary(bytes::Bytes),
}

impl Frame {
    /// Bytes of its content.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no content.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its text; none of a binary one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// How WebSockets call its kind, and the content.
    pub(crate) fn into_data(self) -> (Data, bytes::Bytes) {
        match self {
            Self::Text(text) => (Data::Text, text.into()),
            Self::Binary(bytes) => (Data::Binary, bytes),
        }
    }
}

impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<FrameBytes> for Frame {
    fn from(bytes: FrameBytes) -> Self {
        match bytes {
            FrameBytes::Text(text) => text.into(),
            FrameBytes::Binary(bytes) => Self::Binary(bytes.into()),
        }
    }
}
