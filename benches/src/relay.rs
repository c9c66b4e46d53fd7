//! The limit of a round trip: a process that does nothing but pass frames on.

use std::io::Write as _;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::child::ANNOUNCEMENT;
use crate::error::{BenchError, io_error};
use crate::socket;

const PEER: &str = "a client of the relay";

/// Serves on a free port until its standard input ends: every text frame of the first connection goes to
/// the second as it is; all further ones are read, and their frames dropped.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn serve() -> Result<(), BenchError> {
    let listener = listen().await?;
    tokio::select! {
        served = accept_all(&listener) => served,
        () = crate::input_ended() => Ok(()),
    }
}

/// Listens on a free port and tells the parent process where.
///
/// # Errors
/// [`BenchError::Io`].
pub(crate) async fn listen() -> Result<TcpListener, BenchError> {
    let listener =
        TcpListener::bind("127.0.0.1:0").await.map_err(io_error("listen on a free port"))?;
    let address = listener.local_addr().map_err(io_error("learn the port"))?;
    announce(&address.to_string())?;
    Ok(listener)
}

fn announce(address: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout();
    writeln!(out, "{ANNOUNCEMENT}{address}")
        .and_then(|()| out.flush())
        .map_err(io_error("write to standard output"))
}

async fn accept_all(listener: &TcpListener) -> Result<(), BenchError> {
    let from = accept(listener).await?;
    let to = accept(listener).await?;
    tokio::spawn(forward(from, to));
    loop {
        let mut socket = accept(listener).await?;
        tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
    }
}

/// The next connection.
///
/// # Errors
/// [`BenchError::Io`], [`BenchError::Socket`].
pub(crate) async fn accept(
    listener: &TcpListener,
) -> Result<WebSocketStream<TcpStream>, BenchError> {
    let (stream, _) = listener.accept().await.map_err(io_error("accept a connection"))?;
    stream.set_nodelay(true).map_err(io_error("set TCP_NODELAY"))?;
    tokio_tungstenite::accept_async_with_config(stream, Some(socket::config()))
        .await
        .map_err(|source| BenchError::Socket { peer: PEER, source: Box::new(source) })
}

/// Serves on a free port until its standard input ends: every frame of the first connection goes to all
/// later ones as it is, each of which has a task and a queue of its own.
///
/// # Errors
/// [`BenchError`].
pub(crate) async fn broadcast() -> Result<(), BenchError> {
    let listener = listen().await?;
    tokio::select! {
        served = accept_audience(&listener) => served,
        () = crate::input_ended() => Ok(()),
    }
}

async fn accept_audience(listener: &TcpListener) -> Result<(), BenchError> {
    let mut speaker = accept(listener).await?;
    let mut audience: Vec<mpsc::UnboundedSender<Message>> = Vec::new();
    loop {
        tokio::select! {
            biased;
            said = speaker.next() => match said {
                Some(Ok(message)) if message.is_text() || message.is_binary() => {
                    audience.retain(|listener| listener.send(message.clone()).is_ok());
                }
                Some(Ok(_)) => {}
                _ => return Ok(()),
            },
            socket = accept(listener) => {
                let (sender, mut told) = mpsc::unbounded_channel();
                audience.push(sender);
                let mut socket = socket?;
                tokio::spawn(async move {
                    loop {
                        tokio::select! {
                            message = told.recv() => {
                                let Some(message) = message else { return };
                                if socket.send(message).await.is_err() {
                                    return;
                                }
                            }
                            heard = socket.next() => match heard {
                                Some(Ok(_)) => {}
                                _ => return,
                            },
                        }
                    }
                });
            }
        }
    }
}

async fn forward(mut from: WebSocketStream<TcpStream>, mut to: WebSocketStream<TcpStream>) {
    while let Some(Ok(message)) = from.next().await {
        if message.is_text() && to.send(message).await.is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Socket, in_time};

    #[tokio::test]
    async fn frames_of_the_first_connection_reach_the_second_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let relay = tokio::spawn(async move { accept_all(&listener).await });
        let connect = || Socket::connect("the relay", &address, "/");
        let mut a = in_time("a connection", connect()).await.unwrap();
        let mut b = in_time("a connection", connect()).await.unwrap();
        let mut c = in_time("a connection", connect()).await.unwrap();
        c.send("dropped").await.unwrap();
        b.send("dropped too").await.unwrap();
        for text in ["one", "two"] {
            a.send(text).await.unwrap();
            let got = in_time("the frame", b.until("the frame", "")).await.unwrap();
            assert_eq!(got.as_str(), text);
        }
        relay.abort();
    }
}
