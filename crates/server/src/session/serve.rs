//! Serving one client's socket from its first byte to its last.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tricedb_core::id::SessionId;
use tricedb_protocol::{ErrorBody, Init};
use uuid::Uuid;

use super::apps::{Apps, OpenAppError};
use super::heartbeat::{Beat, Heartbeat};
use super::opening::{Opening, Step, cannot_open, refuse_init, unknown_admin_token, unknown_user};
use super::socket::{CloseCode, PART, Received, Socket, SocketLimits, parts};
use crate::app::{AppError, Frame, OpenSession, Session, error_frame};

/// Serves an upgraded stream until either side ends it. Dropping the future drops the connection.
///
/// While more waits to be written than the app's limit allows, nothing is read from the client: a slow
/// reader slows only itself. One that takes no byte for the idle time is dropped.
pub async fn serve_socket<S>(stream: S, apps: Arc<dyn Apps>, limits: SocketLimits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let began = Instant::now();
    let mut peer = Peer {
        heartbeat: Heartbeat::new(limits.ping_every, limits.idle_max),
        idle_max: limits.idle_max,
        began,
        opening: Opening::default(),
        session: None,
        apps,
        read: 0,
    };
    let mut socket = Socket::new(stream, &limits).await;
    let beat = sleep_until(began + peer.heartbeat.next_beat());
    tokio::pin!(beat);
    loop {
        let reads = !peer.session.as_ref().is_some_and(Session::is_backed_up);
        let event = tokio::select! {
            biased;
            frame = next_frame(&mut peer.session) => Event::Outgoing(frame),
            received = socket.receive(), if reads => Event::Incoming(received),
            () = &mut beat => Event::Beat,
        };
        let next = match event {
            Event::Outgoing(Some(frame)) => peer.write(&mut socket, frame).await,
            Event::Outgoing(None) => Next::Close(CloseCode::GoingAway),
            Event::Incoming(received) => peer.receive(&mut socket, received).await,
            Event::Beat => {
                let next = Box::pin(peer.beat(&mut socket)).await;
                beat.as_mut().reset(began + peer.heartbeat.next_beat());
                next
            }
        };
        match next {
            // What is rare is boxed: an idle connection's memory is mostly this future.
            Next::GoOn if socket.has_grown() => socket = Box::pin(socket.shrink()).await,
            Next::GoOn => {}
            Next::Close(code) => {
                // The app forgets the session before the farewell.
                drop(peer);
                return Box::pin(socket.close(code)).await;
            }
            Next::Drop => return,
        }
    }
}

enum Event {
    Outgoing(Option<Frame>),
    Incoming(Received),
    Beat,
}

/// How a connection goes on.
enum Next {
    GoOn,
    Close(CloseCode),
    Drop,
}

/// The next frame of the session; never, while there is none.
async fn next_frame(session: &mut Option<Session>) -> Option<Frame> {
    match session {
        Some(session) => session.next_frame().await,
        None => std::future::pending().await,
    }
}

struct Peer {
    heartbeat: Heartbeat,
    idle_max: Duration,
    began: Instant,
    opening: Opening,
    session: Option<Session>,
    apps: Arc<dyn Apps>,
    /// Bytes read up to the last beat.
    read: u64,
}

impl Peer {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Writes a frame of the session and those that wait behind it.
    async fn write<S>(&mut self, socket: &mut Socket<S>, first: Frame) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            let bytes = frame.len();
            if !self.feed(socket, frame).await {
                return Next::Drop;
            }
            if let Some(session) = &mut self.session {
                session.written(bytes);
                next = session.try_next_frame();
            }
        }
        if !self.flush(socket).await {
            return Next::Drop;
        }
        if self.session.as_ref().is_some_and(Session::is_backed_up) {
            // Nothing is read meanwhile: that it takes something is its only sign of life.
            self.heartbeat.heard(self.now());
        }
        Next::GoOn
    }

    /// Writes an answer that the app has no part in.
    async fn answer<S>(&mut self, socket: &mut Socket<S>, frame: Frame) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let is_written = self.feed(socket, frame).await && self.flush(socket).await;
        if is_written { Next::GoOn } else { Next::Drop }
    }

    /// Buffers a message; writes a large one. Whether the peer is still there.
    async fn feed<S>(&mut self, socket: &mut Socket<S>, frame: Frame) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if frame.len() > PART {
            return Box::pin(self.feed_parts(socket, frame)).await;
        }
        let is_large = frame.len() > LARGE_FRAME;
        let fed = tokio::time::timeout(self.idle_max, socket.feed(frame)).await;
        matches!(fed, Ok(Ok(()))) && (!is_large || self.flush(socket).await)
    }

    async fn feed_parts<S>(&mut self, socket: &mut Socket<S>, frame: Frame) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        for part in parts(frame) {
            let fed = tokio::time::timeout(self.idle_max, socket.feed_part(part)).await;
            if !matches!(fed, Ok(Ok(()))) || !self.flush(socket).await {
                return false;
            }
        }
        true
    }

    /// Flushes, for as long as the peer takes anything. Whether it took all.
    async fn flush<S>(&mut self, socket: &mut Socket<S>) -> bool
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            let before = socket.written();
            match tokio::time::timeout(self.idle_max, socket.flush()).await {
                Ok(result) => return result.is_ok(),
                Err(_) if socket.written() > before => self.heartbeat.heard(self.now()),
                Err(_) => return false,
            }
        }
    }

    async fn receive<S>(&mut self, socket: &mut Socket<S>, received: Received) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.heartbeat.heard(self.now());
        match received {
            Received::Text(text) => self.text(socket, &text).await,
            Received::Binary => {
                let body = ErrorBody::bad_request(
                    "param-malformed",
                    "Messages are text frames",
                    serde_json::json!({"in": []}),
                );
                let answer = tricedb_protocol::ErrorMessage {
                    body,
                    client_event_id: None,
                    original_event: serde_json::json!({}),
                    trace_id: None,
                };
                Box::pin(self.answer(socket, error_frame(&answer))).await
            }
            // Pongs that answer pings are written by the codec with the next flush.
            Received::Alive => {
                if self.flush(socket).await {
                    Next::GoOn
                } else {
                    Next::Drop
                }
            }
            Received::Ended => {
                // The codec has the answering close frame ready, if one is due.
                let _ = tokio::time::timeout(Duration::from_secs(1), socket.flush()).await;
                Next::Drop
            }
            Received::Wrong(code) => Next::Close(code),
        }
    }

    async fn text<S>(&mut self, socket: &mut Socket<S>, text: &str) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.opening.receive(text) {
            Step::Reply(frame) => Box::pin(self.answer(socket, frame)).await,
            Step::Open(init) => match Box::pin(self.open(&init)).await {
                Ok(session) => {
                    self.session = Some(session);
                    self.opening.opened();
                    Next::GoOn
                }
                Err(body) => {
                    Box::pin(self.answer(socket, error_frame(&refuse_init(&init, body)))).await
                }
            },
            Step::Forward(message) => match &self.session {
                Some(session) => match session.send(message, text.len()).await {
                    Ok(()) => Next::GoOn,
                    Err(_) => Next::Close(CloseCode::GoingAway),
                },
                None => Next::Close(CloseCode::GoingAway),
            },
        }
    }

    async fn open(&self, init: &Init) -> Result<Session, ErrorBody> {
        let app_id = init.app_id;
        // An app may be parked between being found and being used; then it is opened again.
        for _ in 0..OPEN_ATTEMPTS {
            let app = self.apps.open(app_id).await.map_err(|error| {
                if let OpenAppError::Unavailable(cause) = &error {
                    tracing::error!(app = %app_id, %cause, "an app cannot be opened");
                }
                cannot_open(app_id, &error)
            })?;
            if init.refresh_token.is_some() {
                return Err(unknown_user());
            }
            if let Some(token) = &init.admin_token
                && !self.apps.check_admin_token(app_id, token).await
            {
                return Err(unknown_admin_token(app_id));
            }
            let open = OpenSession {
                id: SessionId(Uuid::new_v4()),
                features: init.versions.features(),
                is_admin: init.admin_token.is_some(),
                event: init.client_event_id.clone(),
                native: init.native.clone(),
            };
            match app.open_session(open).await {
                Ok(session) => return Ok(session),
                Err(AppError::Refused(body)) => return Err(body),
                Err(AppError::Closed) => {}
            }
        }
        Err(ErrorBody::internal("The app cannot be opened at the moment."))
    }

    async fn beat<S>(&mut self, socket: &mut Socket<S>) -> Next
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if socket.read() > self.read {
            // A large message on a slow line is a sign of life before it is whole.
            self.read = socket.read();
            self.heartbeat.heard(self.now());
        }
        match self.heartbeat.beat(self.now()) {
            Beat::Wait => Next::GoOn,
            Beat::GiveUp => Next::Drop,
            Beat::Ping => {
                let fed = tokio::time::timeout(self.idle_max, socket.feed_ping()).await;
                let is_fed = matches!(fed, Ok(Ok(())));
                if is_fed && self.flush(socket).await { Next::GoOn } else { Next::Drop }
            }
        }
    }
}

/// How often an app that closes under a new session is opened again.
const OPEN_ATTEMPTS: usize = 3;

/// Frames larger than this are flushed one by one, so that the codec never holds several of them.
const LARGE_FRAME: usize = 16 << 10;
