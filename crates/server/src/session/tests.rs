//! Real WebSocket bytes over pipes in memory, against an app with a log in memory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, frame::coding::CloseCode};
use tricedb_core::id::AppId;
use tricedb_core::query::Inference;
use tricedb_core::tx::MissingAttrs;
use tricedb_protocol::ServerMessage;

use super::*;
use crate::app::{AppHandle, AppIdentity, AppLimits, AppSettings, LoadedApp, spawn_app};
use crate::log::{LoadedLog, MemoryLog};

const APP: &str = "11111111-2222-4333-8444-555555555555";

/// One app and its admin token, "let me in".
struct OneApp(AppHandle);

#[async_trait]
impl Apps for OneApp {
    async fn open(&self, app: AppId) -> Result<AppHandle, OpenAppError> {
        if app == self.0.app() { Ok(self.0.clone()) } else { Err(OpenAppError::NotFound(app)) }
    }

    async fn check_admin_token(&self, _: AppId, token: &str) -> bool {
        token == "let me in"
    }
}

struct Server {
    app: AppHandle,
    limits: SocketLimits,
}

impl Server {
    fn start() -> Self {
        Self::with(AppLimits::default())
    }

    fn with(limits: AppLimits) -> Self {
        let identity = AppIdentity { id: AppId::parse(APP).unwrap(), title: "test".into() };
        let app =
            LoadedApp { identity, state: LoadedLog::default(), settings: AppSettings::default() };
        let app = spawn_app(app, Box::new(MemoryLog::new()), limits);
        Self { app, limits: SocketLimits { message_bytes_max: 1 << 20, ..SocketLimits::default() } }
    }

    /// A raw client stream and the task that serves it.
    fn pipe(&self) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(64 << 10);
        let apps = Arc::new(OneApp(self.app.clone()));
        (client, tokio::spawn(serve_socket(server, apps, self.limits.clone())))
    }

    async fn connect(&self) -> Client {
        let (stream, task) = self.pipe();
        let stream = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Client { stream, _task: task }
    }

    /// A client whose `init` was accepted.
    async fn session(&self) -> Client {
        let mut client = self.connect().await;
        client.send(&init()).await;
        assert_eq!(client.message().await.op(), "init-ok");
        client
    }

    async fn seed(&self, steps: Json) {
        self.app.admin_transact(steps, MissingAttrs::Create).await.unwrap();
    }
}

struct Client {
    stream: WebSocketStream<DuplexStream>,
    _task: JoinHandle<()>,
}

impl Client {
    async fn send(&mut self, message: &Json) {
        self.send_text(message.to_string()).await;
    }

    async fn send_text(&mut self, text: impl Into<String>) {
        self.stream.send(Message::text(text.into())).await.unwrap();
    }

    async fn message(&mut self) -> ServerMessage {
        loop {
            match self.stream.next().await.unwrap().unwrap() {
                Message::Text(text) => return ServerMessage::decode(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn error(&mut self) -> tricedb_protocol::ErrorMessage {
        match self.message().await {
            ServerMessage::Error(error) => error,
            other => panic!("{other:?}"),
        }
    }

    async fn close_code(&mut self) -> CloseCode {
        loop {
            match self.stream.next().await.unwrap().unwrap() {
                Message::Close(frame) => return frame.unwrap().code,
                Message::Text(_) | Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

fn init() -> Json {
    json!({"op": "init", "app-id": APP, "client-event-id": "i", "versions": {"@instantdb/core": "v1.0.67"}})
}

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[tokio::test]
async fn a_write_of_one_client_reaches_another() {
    let server = Server::start();
    server.seed(json!([["create", "todos", id(1), {"title": "one"}]])).await;
    let attrs = server.app.pull_attrs().await.unwrap();
    let title = attrs.iter().find(|a| a.etype() == "todos" && a.label() == "title").unwrap().id;
    let (mut a, mut b) = (server.session().await, server.session().await);
    b.send(&json!({"op": "add-query", "q": {"todos": {}}, "client-event-id": "q"})).await;
    assert_eq!(b.message().await.op(), "add-query-ok");
    a.send(&json!({"op": "transact", "tx-steps": [["add-triple", id(1), title, "uno"]], "client-event-id": "t"})).await;
    let ServerMessage::TransactOk(ok) = a.message().await else { panic!() };
    let ServerMessage::RefreshOk(refresh) = b.message().await else { panic!() };
    assert_eq!(refresh.processed_tx_id, ok.tx_id);
    let tree = server.app.admin_query(json!({"todos": {}}), Inference::Arrays).await.unwrap();
    assert_eq!(tree["todos"][0]["title"], "uno");
}

#[tokio::test]
async fn bad_frames_are_answered_and_the_connection_serves_on() {
    let server = Server::start();
    let mut client = server.session().await;
    for text in ["no json", "[]", "{}", r#"{"op":"fly"}"#, r#"{"op":"add-query"}"#] {
        client.send_text(text).await;
        assert_eq!(client.error().await.body.status, 400, "{text}");
    }
    client.stream.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(client.error().await.body.kind.as_deref(), Some("param-malformed"));
    client.send(&init()).await;
    assert!(client.error().await.body.message.contains("already run"));
    client.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    assert_eq!(client.message().await.op(), "add-query-ok");
}

#[tokio::test]
async fn init_is_refused_in_the_shapes_that_clients_act_on_and_may_be_repeated() {
    let server = Server::start();
    let mut client = server.connect().await;
    client.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    assert!(client.error().await.body.message.contains("has not run"));
    for (field, value, record_type) in [
        ("app-id", id(1), "app"),
        ("refresh-token", id(2), "app-user"),
        ("__admin-token", "hush".into(), "app-admin-token"),
    ] {
        let mut message = init();
        message[field] = value.clone().into();
        client.send(&message).await;
        let error = client.error().await;
        assert_eq!(error.body.kind.as_deref(), Some("record-not-found"));
        assert_eq!(error.body.hint["record-type"], record_type);
        assert_eq!(error.failed_op(), Some("init"));
        let echoed = serde_json::to_string(&error).unwrap().contains(&value);
        assert_eq!(echoed, field == "app-id", "tokens are not echoed");
    }
    let mut message = init();
    message["__admin-token"] = "let me in".into();
    client.send(&message).await;
    let ServerMessage::InitOk(ok) = client.message().await else { panic!() };
    assert_eq!(ok.auth.as_ref().unwrap().admin, Some(true));
    assert!(ok.session().is_some());
    assert!(ok.attrs.iter().any(|attr| attr.etype() == "$users"));
}

#[tokio::test]
async fn a_message_over_the_limit_closes_with_1009() {
    let server = Server::start();
    let (mut big, mut other) = (server.session().await, server.session().await);
    // The server stops reading on purpose; what it has not read must not keep the client from hearing why.
    let text = format!(r#"{{"op":"{}"}}"#, "x".repeat(2 << 20));
    let sent = big.stream.send(Message::text(text)).await;
    assert!(sent.is_ok(), "the rest is read away");
    assert_eq!(big.close_code().await, CloseCode::Size);
    other.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    assert_eq!(other.message().await.op(), "add-query-ok");
}

#[tokio::test]
async fn invalid_utf8_closes_with_1007() {
    let server = Server::start();
    let (mut stream, _task) = server.pipe();
    // A masked text frame of one byte 0xff.
    stream.write_all(&[0x81, 0x81, 0, 0, 0, 0, 0xff]).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x88, 2, 0x03, 0xef]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_dropped() {
    let server = Server::start();
    let (mut stream, task) = server.pipe();
    let began = tokio::time::Instant::now();
    let mut received = Vec::new();
    // Reads and never answers.
    stream.read_to_end(&mut received).await.unwrap();
    task.await.unwrap();
    assert_eq!(received, [0x89, 0, 0x89, 0]);
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_pings_stays() {
    let server = Server::start();
    let mut client = server.session().await;
    let mut pings = 0;
    while pings < 20 {
        if let Message::Ping(_) = client.stream.next().await.unwrap().unwrap() {
            pings += 1;
        }
    }
    client.send(&json!({"op": "remove-query", "q": {"todos": {}}})).await;
    assert_eq!(client.message().await.op(), "remove-query-ok");
}

#[tokio::test]
async fn large_messages_leave_the_connection_whole() {
    let server = Server::start();
    server.seed(json!([["create", "todos", id(1), {"title": "x".repeat(100_000)}]])).await;
    let mut client = server.session().await;
    let padding = "y".repeat(200_000);
    for n in 0..5 {
        // A large message, and at once behind it two small ones and a ping, in one write or many.
        let q = json!({"todos": {"$": {"where": {"title": {"$in": [padding, n]}}}}});
        client
            .stream
            .feed(Message::text(json!({"op": "add-query", "q": q}).to_string()))
            .await
            .unwrap();
        for _ in 0..2 {
            let small = json!({"op": "remove-query", "q": {"never": {}}});
            client.stream.feed(Message::text(small.to_string())).await.unwrap();
        }
        client.stream.feed(Message::Ping(vec![n].into())).await.unwrap();
        client.stream.flush().await.unwrap();
        assert_eq!(client.message().await.op(), "add-query-ok");
        for _ in 0..2 {
            assert_eq!(client.message().await.op(), "remove-query-ok");
        }
        client.send(&json!({"op": "add-query", "q": {"todos": {"$": {"limit": n + 1}}}})).await;
        let ServerMessage::AddQueryOk(ok) = client.message().await else { panic!() };
        assert!(ok.result.triples().any(|t| t.value.as_str().is_some_and(|s| s.len() == 100_000)));
    }
}

#[tokio::test]
async fn sockets_that_break_within_a_frame_leave_nothing_behind() {
    let server = Server::start();
    server.seed(json!([["create", "todos", id(1), {"title": "x"}]])).await;
    let mut bystander = server.session().await;
    bystander.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    assert_eq!(bystander.message().await.op(), "add-query-ok");
    let message = json!({"op": "transact", "tx-steps": [["no-such-step"]]}).to_string();
    // The head of a masked text frame, and what follows.
    let mut frame = vec![0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
    frame.extend(message.as_bytes());
    let mut tasks = Vec::new();
    for cut in 1..frame.len() {
        let mut client = server.session().await;
        client.send(&json!({"op": "add-query", "q": {"todos": {"$": {"limit": cut}}}})).await;
        let Client { stream, _task: task } = client;
        let mut bytes = stream.into_inner();
        bytes.write_all(&frame[..cut]).await.unwrap();
        drop(bytes);
        tasks.push(task);
    }
    for task in tasks {
        task.await.unwrap();
    }
    while server.app.session_count() > 1 {
        tokio::task::yield_now().await;
    }
    server.seed(json!([["update", "todos", id(1), {"title": "y"}]])).await;
    assert_eq!(bystander.message().await.op(), "refresh-ok");
}

#[tokio::test]
async fn large_messages_are_sent_in_small_frames() {
    let server = Server::start();
    let title = "ü".repeat(500_000);
    server.seed(json!([["create", "todos", id(1), {"title": title}]])).await;
    let (stream, _task) = server.pipe();
    let config = WebSocketConfig::default().max_frame_size(Some(64 << 10));
    let stream = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    let mut client = Client { stream, _task };
    client.send(&init()).await;
    assert_eq!(client.message().await.op(), "init-ok");
    client.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    let ServerMessage::AddQueryOk(ok) = client.message().await else { panic!() };
    assert!(ok.result.triples().any(|triple| triple.value.as_str() == Some(&title)));
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_a_sign_of_life() {
    let server = Server::start();
    let (mut stream, task) = server.pipe();
    let text = r#"{"op":"slowly"}"#;
    // A text frame masked with zeros, a byte every four seconds.
    let mut bytes = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    bytes.extend(text.as_bytes());
    for byte in bytes {
        tokio::time::sleep(Duration::from_secs(4)).await;
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut received = vec![0; 4_096];
    let mut answer = String::new();
    while !answer.contains("Invalid op") {
        let n = stream.read(&mut received).await.unwrap();
        assert!(n > 0, "dropped");
        answer.push_str(&String::from_utf8_lossy(&received[..n]));
    }
    drop(stream);
    task.await.unwrap();
}

#[tokio::test]
async fn a_slow_reader_is_conflated_and_catches_up() {
    let server = Server::with(AppLimits { outbound_bytes_max: 100_000, ..AppLimits::default() });
    server.seed(json!([["create", "todos", id(1), {"title": "start"}]])).await;
    let mut slow = server.session().await;
    slow.send(&json!({"op": "add-query", "q": {"todos": {}}})).await;
    assert_eq!(slow.message().await.op(), "add-query-ok");
    // 10 kB each: the pipe and the limit hold some twenty.
    for n in 0..500 {
        let title = format!("{n} {}", "z".repeat(10_000));
        server.seed(json!([["update", "todos", id(1), {"title": title}]])).await;
    }
    let last = server.app.admin_transact(
        json!([["update", "todos", id(1), {"title": "end"}]]),
        MissingAttrs::Create,
    );
    let last = last.await.unwrap();
    let mut refreshes = 0;
    loop {
        let ServerMessage::RefreshOk(refresh) = slow.message().await else { panic!() };
        refreshes += 1;
        if refresh.processed_tx_id == last {
            break;
        }
    }
    assert!(refreshes < 100, "{refreshes} refreshes for 501 commits");
}

#[tokio::test]
async fn sessions_end_with_their_app_and_their_sockets() {
    let server = Server::start();
    let mut client = server.session().await;
    let gone = server.session().await;
    assert_eq!(server.app.session_count(), 2);
    assert!(!server.app.park().await, "an app in use is not parked");
    assert_eq!(server.app.idle_for(), None);
    drop(gone);
    while server.app.session_count() > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.app.shutdown().await;
    assert_eq!(client.close_code().await, CloseCode::Away);
    assert!(server.app.is_closed());
    assert!(server.app.park().await);
}

#[tokio::test]
async fn an_unused_app_is_parked() {
    let server = Server::start();
    server.seed(json!([["create", "todos", id(1), {"title": "x"}]])).await;
    assert!(server.app.idle_for().is_some());
    assert!(server.app.park().await);
    let closed = server.app.admin_query(json!({"todos": {}}), Inference::Arrays).await;
    assert_eq!(closed, Err(crate::app::AppError::Closed));
}
