//! A raw session with a server: frames as text, nothing interpreted that need not be.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use crate::error::{BenchError, io_error};
use crate::socket::{Incoming, Socket, in_time, unexpected};
use crate::todos::{Ids, Todos, transact};

const PEER: &str = "the server";

/// Makes an app on a server that runs with `--dev`, and gives its id.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn make_app(address: &str) -> Result<Uuid, BenchError> {
    in_time("the answer to the making of an app", request_app(address)).await
}

async fn request_app(address: &str) -> Result<Uuid, BenchError> {
    let body = r#"{"title":"bench"}"#;
    let request = format!(
        "POST /dash/apps/ephemeral HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.map_err(io_error("connect to a server"))?;
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(io_error("send a request"))?;
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.map_err(io_error("read an answer"))?;
    let wrong = || unexpected("an app", &answer);
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(wrong)?;
    let body: serde_json::Value = serde_json::from_str(body).map_err(|_| wrong())?;
    let id = body["app"]["id"].as_str().ok_or_else(wrong)?;
    id.parse().map_err(|_| wrong())
}

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Socket,
}

impl Session {
    /// Connects and opens a session of an app.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn open(address: &str, app: Uuid) -> Result<Self, BenchError> {
        let path = format!("/runtime/session?app_id={app}");
        let socket = Socket::connect(PEER, address, &path);
        let mut socket = in_time("a connection", socket).await?;
        let init = format!(
            r#"{{"op":"init","app-id":"{app}","versions":{{"@instantdb/core":"v1.0.67"}},"client-event-id":"init"}}"#
        );
        socket.send(init).await?;
        in_time("init-ok", socket.until("init-ok", r#""op":"init-ok""#)).await?;
        Ok(Self { socket })
    }

    /// Connects to something that acknowledges without having been opened.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn unopened(peer: &'static str, address: &str) -> Result<Self, BenchError> {
        let socket = in_time("a connection", Socket::connect(peer, address, "/")).await?;
        Ok(Self { socket })
    }

    /// Subscribes to a query and waits for its result.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn subscribe(&mut self, query: &str) -> Result<(), BenchError> {
        let text = format!(r#"{{"op":"add-query","q":{query},"client-event-id":"query"}}"#);
        self.socket.send(text).await?;
        let answer = self.socket.until("add-query-ok", r#""op":"add-query-ok""#);
        in_time("add-query-ok", answer).await.map(drop)
    }

    /// Sends a transaction and waits until it is acknowledged.
    ///
    /// # Errors
    /// [`BenchError`]; a refusal is [`BenchError::Unexpected`].
    pub(crate) async fn commit(&mut self, transaction: String) -> Result<(), BenchError> {
        self.socket.send(transaction).await?;
        self.acknowledged().await
    }

    /// Waits for the acknowledgement of a transaction that was sent.
    ///
    /// # Errors
    /// [`BenchError`]; a refusal is [`BenchError::Unexpected`].
    pub(crate) async fn acknowledged(&mut self) -> Result<(), BenchError> {
        self.socket.until("transact-ok", r#""op":"transact-ok""#).await.map(drop)
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// [`BenchError::Socket`].
    pub(crate) async fn send(&mut self, text: String) -> Result<(), BenchError> {
        self.socket.send(text).await
    }

    /// Waits for a frame that holds `mark`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn seen(&mut self, mark: &str) -> Result<(), BenchError> {
        let frame = self.socket.until("refresh-ok", mark).await?;
        if frame.contains(r#""op":"refresh-ok""#) {
            Ok(())
        } else {
            Err(unexpected("refresh-ok", &frame))
        }
    }

    /// Waits for a frame that holds `mark`, and gives its bytes.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn seen_bytes(&mut self, mark: &str) -> Result<usize, BenchError> {
        Ok(self.socket.until("refresh-ok", mark).await?.len())
    }

    /// Waits for a frame that holds `mark`.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn until(
        &mut self,
        wanted: &'static str,
        mark: &str,
    ) -> Result<(), BenchError> {
        self.socket.until(wanted, mark).await.map(drop)
    }

    /// The next frame or ping. Safe to cancel.
    ///
    /// # Errors
    /// [`BenchError::Socket`], [`BenchError::Closed`].
    pub(crate) async fn incoming(&mut self) -> Result<Incoming, BenchError> {
        self.socket.incoming().await
    }

    /// Makes the attributes of the todos.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn make_attrs(
        &mut self,
        todos: &Todos,
        ids: &mut Ids,
    ) -> Result<(), BenchError> {
        let steps = todos.attr_steps(ids);
        let text = transact(&steps, ids.next_uuid());
        in_time("transact-ok", self.commit(text)).await
    }

    /// Creates a todo and gives its id.
    ///
    /// # Errors
    /// [`BenchError`].
    pub(crate) async fn create(
        &mut self,
        todos: &Todos,
        ids: &mut Ids,
    ) -> Result<Uuid, BenchError> {
        let todo = ids.next_uuid();
        let text = transact(&todos.create_steps(todo, "begin"), ids.next_uuid());
        in_time("transact-ok", self.commit(text)).await?;
        Ok(todo)
    }
}
