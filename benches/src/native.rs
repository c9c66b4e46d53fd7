//! A raw native session: frames are decoded, nothing is kept of them.

use serde_json::{Value as Json, json};
use tricedb_core::id::TxId;
use tricedb_protocol::native::{Digest, NativeSession, SyncFrame};
use tricedb_protocol::{InitOk, ServerMessage};
use uuid::Uuid;

use crate::error::BenchError;
use crate::socket::{Incoming, Socket, in_time, unexpected};

const PEER: &str = "the server";

/// How the frames of a session are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Encoding {
    /// As JSON.
    Json,
    /// Binary, large parts compressed.
    Binary,
}

/// What a client that returns says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Returning {
    pub(crate) epoch: u64,
    pub(crate) position: TxId,
    pub(crate) set: Digest,
    pub(crate) digest: Digest,
    pub(crate) attrs: Digest,
}

/// An open native session.
#[derive(Debug)]
pub(crate) struct Native {
    socket: Socket,
    /// What the server agreed to.
    pub(crate) agreed: NativeSession,
    /// Bytes received so far, the opening included.
    pub(crate) received: usize,
    /// The position reached.
    pub(crate) position: TxId,
}

impl Native {
    /// Connects and opens a session.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn open(
        address: &str,
        app: Uuid,
        client: Uuid,
        encoding: Encoding,
        returning: Option<Returning>,
    ) -> Result<(Self, InitOk), BenchError> {
        let socket = Socket::connect(PEER, address, "/runtime/session");
        let mut socket = in_time("a connection", socket).await?;
        let is_binary = encoding == Encoding::Binary;
        let mut native =
            json!({"version": 1, "client": client, "binary": is_binary, "zstd": is_binary});
        if let Some(Returning { epoch, position, set, digest, attrs }) = returning {
            native["resume"] = json!({"epoch": epoch, "position": position, "set": set,
                "digest": digest, "attrs": attrs});
        }
        let init = json!({"op": "init", "app-id": app, "versions": {"tricedb": "v0"},
            "native": native, "client-event-id": "init"});
        socket.send(init.to_string()).await?;
        let text = in_time("init-ok", socket.until("init-ok", r#""op":"init-ok""#)).await?;
        let Ok(ServerMessage::InitOk(ok)) = ServerMessage::decode(&text) else {
            return Err(unexpected("init-ok", &text));
        };
        let agreed = ok.native.clone().ok_or_else(|| unexpected("a native session", &text))?;
        let position = agreed.position;
        Ok((Self { socket, agreed, received: text.len(), position }, ok))
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn send(&mut self, message: String) -> Result<(), BenchError> {
        self.socket.send(message).await
    }

    /// Sends messages with one flush.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn send_all(
        &mut self,
        messages: impl IntoIterator<Item = String>,
    ) -> Result<(), BenchError> {
        self.socket.send_all(messages).await
    }

    /// Subscribes; the answer is a part of the next frame.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn subscribe(&mut self, sub: u32, q: &Json) -> Result<(), BenchError> {
        self.send(json!({"op": "subscribe", "sub": sub, "q": q}).to_string()).await
    }

    /// The next frame, and its bytes. Safe to cancel.
    ///
    /// # Errors
    /// [`BenchError`]; an `error` of the server is [`BenchError::Unexpected`].
    pub(crate) async fn frame(&mut self) -> Result<(SyncFrame, usize), BenchError> {
        loop {
            let (frame, len) = match self.socket.incoming().await? {
                Incoming::Ping => continue,
                Incoming::Binary(bytes) => (SyncFrame::decode_binary(&bytes)?, bytes.len()),
                Incoming::Text(text) => match ServerMessage::decode(&text) {
                    Ok(ServerMessage::Sync(frame)) => (frame, text.len()),
                    _ => return Err(unexpected("sync", &text)),
                },
            };
            self.received += len;
            self.position = frame.to;
            return Ok((frame, len));
        }
    }

    /// The next frame's bytes, not decoded. Safe to cancel.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn raw_frame(&mut self) -> Result<usize, BenchError> {
        loop {
            let len = match self.socket.incoming().await? {
                Incoming::Ping => continue,
                Incoming::Binary(bytes) => bytes.len(),
                Incoming::Text(text) => text.len(),
            };
            self.received += len;
            return Ok(len);
        }
    }
}

/// A transaction that gives a fact another value. The value must need no escaping.
pub(crate) fn transact(seq: u64, entity: Uuid, attr: Uuid, value: &str) -> String {
    format!(
        r#"{{"op":"transact","seq":{seq},"tx-steps":[["add-triple","{entity}","{attr}","{value}"]]}}"#
    )
}
