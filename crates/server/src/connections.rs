//! Accepting connections and serving HTTP on them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service as _;

/// Accepts connections until told to stop, then finishes the requests under way.
///
/// A connection that does not send a request's head within `head_max` is closed: it holds a descriptor
/// for nothing.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    head_max: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let answering = serve_one(stream, peer, router.clone(), head_max, stopping.clone());
                connections.spawn(answering);
            }
            Err(error) => {
                // Most often no descriptor is free. Trying again at once would only burn the processor.
                tracing::warn!(target: "tricedb::server", "cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection until either side ends it, or until it becomes a socket.
async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head_max: Duration,
    mut stopping: watch::Receiver<bool>,
) {
    // Small frames must not wait for each other. Without it the connection still works.
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(move |request: Request<Incoming>| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_max)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = async { stopping.wait_for(|stop| *stop).await.is_ok() } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "tricedb::server", %peer, "a connection ended: {error}");
    }
}

async fn answer(
    mut router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    // A router is always ready.
    router.call(request.map(Body::new)).await
}
