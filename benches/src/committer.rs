//! The limit of durable commits over sockets: a process that stores a row for each frame and says so, with
//! no engine in between.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::bare_sqlite::{BareLog, ROWS_MAX};
use crate::commits::{Wish, group, wish};
use crate::error::BenchError;
use crate::relay;

/// The answer to every frame, as long as the server's.
const ACKNOWLEDGEMENT: &str = r#"{"op":"transact-ok","tx-id":1882613710200832,"client-event-id":"9f6e6800-cfae-4749-8cae-9a3e4e3e0b2c"}"#;

/// Serves on a free port until the standard input ends; rows go to the present directory.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn serve() -> Result<(), BenchError> {
    let mut log = BareLog::create(".".as_ref()).await?;
    let listener = relay::listen().await?;
    let (wishes, inbox) = mpsc::channel(ROWS_MAX);
    tokio::select! {
        served = accept_all(&listener, wishes) => served,
        ended = group(&mut log, inbox) => ended,
        () = crate::input_ended() => Ok(()),
    }
}

async fn accept_all(listener: &TcpListener, wishes: mpsc::Sender<Wish>) -> Result<(), BenchError> {
    loop {
        let socket = relay::accept(listener).await?;
        tokio::spawn(acknowledge(socket, wishes.clone()));
    }
}

async fn acknowledge(mut socket: WebSocketStream<TcpStream>, wishes: mpsc::Sender<Wish>) {
    while let Some(Ok(message)) = socket.next().await {
        if !message.is_text() {
            continue;
        }
        let is_granted = wish(&wishes).await;
        if !is_granted || socket.send(Message::text(ACKNOWLEDGEMENT)).await.is_err() {
            break;
        }
    }
}
