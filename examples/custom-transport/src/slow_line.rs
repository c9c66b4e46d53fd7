//! A transport that makes any other slow, and says what passes through it.

use std::time::Duration;

use async_trait::async_trait;
use tricedb_core::port::{Connection, Frame, Transport, TransportError};

/// Delays every frame, in both directions, on its way through another transport.
pub(crate) struct SlowLine<T> {
    pub(crate) inner: T,
    pub(crate) delay: Duration,
}

#[async_trait]
impl<T: Transport> Transport for SlowLine<T> {
    async fn connect(&self) -> Result<Box<dyn Connection>, TransportError> {
        tokio::time::sleep(self.delay).await;
        let inner = self.inner.connect().await?;
        Ok(Box::new(SlowConnection { inner, delay: self.delay, arrived: None }))
    }
}

struct SlowConnection {
    inner: Box<dyn Connection>,
    delay: Duration,
    /// A frame that arrived and is held back until its time comes. It is kept here because `receive` may
    /// be dropped at any await and must not lose it.
    arrived: Option<(Frame, tokio::time::Instant)>,
}

#[async_trait]
impl Connection for SlowConnection {
    async fn send(&mut self, frame: Frame) -> Result<(), TransportError> {
        tokio::time::sleep(self.delay).await;
        eprintln!("-> {}", shown(&frame));
        self.inner.send(frame).await
    }

    async fn receive(&mut self) -> Result<Frame, TransportError> {
        if self.arrived.is_none() {
            let frame = self.inner.receive().await?;
            self.arrived = Some((frame, tokio::time::Instant::now() + self.delay));
        }
        if let Some((_, due)) = &self.arrived {
            tokio::time::sleep_until(*due).await;
        }
        match self.arrived.take() {
            Some((frame, _)) => {
                eprintln!("<- {}", shown(&frame));
                Ok(frame)
            }
            None => Err(TransportError::Lost { reason: "nothing arrived".to_owned() }),
        }
    }

    async fn close(&mut self) {
        self.inner.close().await;
    }
}

fn shown(frame: &Frame) -> String {
    match frame {
        Frame::Text(text) if text.chars().count() > 100 => {
            format!("{}… ({} bytes)", text.chars().take(100).collect::<String>(), text.len())
        }
        Frame::Text(text) => text.clone(),
        Frame::Binary(bytes) => format!("{} bytes", bytes.len()),
    }
}
