//! How bytes reach a server.

use async_trait::async_trait;

/// One message of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// UTF-8 text: JSON.
    Text(String),
    /// Bytes of a negotiated encoding.
    Binary(Vec<u8>),
}

/// Why a connection could not be made or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No connection could be made; worth another try.
    #[error("could not reach {target}: {source}")]
    Unreachable {
        /// Where to.
        target: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The address itself is wrong; another try cannot help.
    #[error("the address {target} is not usable: {reason}")]
    BadAddress {
        /// Where to.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The peer ended the connection and said why.
    #[error("the server closed the connection with code {code}: {reason}")]
    Closed {
        /// The close code of RFC 6455; 1009 says that a message was too large.
        code: u16,
        /// The peer's reason; may be empty.
        reason: String,
    },
    /// The connection ended.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// What the transport knows of why.
        reason: String,
    },
}

/// Makes connections to one server.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// [`TransportError::Unreachable`] and [`TransportError::BadAddress`].
    async fn connect(&self) -> Result<Box<dyn Connection>, TransportError>;
}

/// One open connection.
#[async_trait]
pub trait Connection: Send {
    /// Hands over one frame; returns when the transport can take another.
    ///
    /// # Errors
    /// [`TransportError::Lost`] and [`TransportError::Closed`]; the frame may or may not have arrived.
    async fn send(&mut self, frame: Frame) -> Result<(), TransportError>;

    /// Waits for the next frame. Cancel-safe: a dropped call loses nothing.
    ///
    /// # Errors
    /// [`TransportError::Lost`] once the connection ended, whoever ended it; [`TransportError::Closed`] if the
    /// peer said why.
    async fn receive(&mut self) -> Result<Frame, TransportError>;

    /// Ends the connection politely. Errors are of no interest any more.
    async fn close(&mut self);
}
