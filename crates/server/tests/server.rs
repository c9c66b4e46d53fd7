//! The server as its clients see it, over real sockets.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

#[expect(unreachable_pub, reason = "seen from this crate only")]
mod support;

use std::time::Duration;

use serde_json::{Value as Json, json};
use support::{Answer, Socket, attr_id, post, request};
use tempfile::TempDir;
use tricedb_core::id::AppId;
use tricedb_server::{
    Config, CreatedApp, Mode, OpenAppLimits, RunningServer, Server, ServerError, Storage,
    StoreError,
};
use uuid::Uuid;

fn directory(dir: &TempDir) -> Config {
    Config { storage: Storage::Directory(dir.path().join("data")), ..Config::default() }
}

async fn start(config: Config) -> RunningServer {
    Server::builder(config).start().await.unwrap()
}

fn schema() -> Json {
    json!({
        "entities": {"todos": {"attrs": {
            "title": {"valueType": "string", "required": false, "config": {"indexed": false, "unique": false}},
            "slug": {"valueType": "string", "required": false, "config": {"indexed": false, "unique": true}},
        }}},
        "links": {},
    })
}

async fn todos(server: &RunningServer, app: &CreatedApp) -> Vec<Json> {
    let query = json!({"query": {"todos": {}}});
    let answer = post(server, "/admin/query", app.id, app.admin_token.reveal(), &query).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["todos"].as_array().unwrap().clone()
}

async fn create(server: &RunningServer, app: &CreatedApp, title: &str) -> Answer {
    let steps = json!({"steps": [["create", "todos", Uuid::new_v4(), {"title": title}]]});
    post(server, "/admin/transact", app.id, app.admin_token.reveal(), &steps).await
}

fn error_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["type"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_write_reaches_every_subscriber_and_the_admin() {
    let dir = TempDir::new().unwrap();
    for config in [Config::default(), directory(&dir)] {
        let server = start(config).await;
        let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
        let (mut writer, ok) = Socket::init(&server, app.id).await;
        let (mut reader, _) = Socket::init(&server, app.id).await;
        let query = json!({"todos": {}});
        reader.send(json!({"op": "add-query", "q": query, "client-event-id": "q"})).await;
        reader.receive("add-query-ok").await;

        let id = Uuid::new_v4();
        let steps = json!([
            ["add-triple", id, attr_id(&ok["attrs"], "todos", "id"), id],
            ["add-triple", id, attr_id(&ok["attrs"], "todos", "title"), "milk"],
        ]);
        writer.send(json!({"op": "transact", "tx-steps": steps, "client-event-id": "t"})).await;
        let transact_ok = writer.receive("transact-ok").await;
        let refresh = reader.receive("refresh-ok").await;
        assert_eq!(refresh["processed-tx-id"], transact_ok["tx-id"]);
        assert!(refresh.to_string().contains("milk"), "{refresh}");
        assert_eq!(todos(&server, &app).await, [json!({"id": id, "title": "milk"})]);
        drop(writer);
        // An orderly end is told to the clients, and waits for them to see it.
        let farewell = async {
            assert!(reader.next().await.is_none());
            drop(reader);
        };
        let (ended, ()) = tokio::join!(server.shutdown(), farewell);
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_restart_keeps_everything() {
    let dir = TempDir::new().unwrap();
    let server = start(directory(&dir)).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let mut positions = Vec::new();
    for n in 0..5 {
        let answer = create(&server, &app, &format!("number {n}")).await;
        positions.push(answer.json()["tx-id"].as_u64().unwrap());
    }
    let before = todos(&server, &app).await;
    assert_eq!(before.len(), 5);
    let resend = json!({"op": "transact", "tx-steps": [], "client-event-id": "once"});
    let (mut socket, _) = Socket::init(&server, app.id).await;
    socket.send(resend.clone()).await;
    let first = socket.receive("transact-ok").await;
    drop(socket);
    server.shutdown().await.unwrap();

    let server = start(directory(&dir)).await;
    assert_eq!(todos(&server, &app).await, before);
    let (mut socket, _) = Socket::init(&server, app.id).await;
    socket.send(resend).await;
    assert_eq!(socket.receive("transact-ok").await["tx-id"], first["tx-id"]);
    drop(socket);
    let next = create(&server, &app, "after").await.json()["tx-id"].as_u64().unwrap();
    assert!(positions.iter().all(|position| *position < next));
    let apps = server.list_apps().await.unwrap();
    assert_eq!((apps.len(), apps[0].id, apps[0].title.as_str()), (1, app.id, "Todos"));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_has_one_server_at_a_time() {
    let dir = TempDir::new().unwrap();
    let server = start(directory(&dir)).await;
    let error = Server::builder(directory(&dir)).start().await.unwrap_err();
    assert!(matches!(error, ServerError::Store(StoreError::InUse { .. })), "{error}");
    assert!(error.to_string().contains("in use by another"), "{error}");
    server.shutdown().await.unwrap();
    start(directory(&dir)).await.shutdown().await.unwrap();
}

/// Headers, path, body, and the type of the error.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);

#[tokio::test]
async fn admin_errors_have_the_shape_that_clients_read() {
    let server = start(Config::default()).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let other = server.create_app("Other", None, None).await.unwrap();
    let (addr, token) = (server.local_addr(), app.admin_token.reveal().to_owned());
    let id = app.id.to_string();
    let bearer = format!("Bearer {token}");
    let as_admin = [("app-id", id.as_str()), ("authorization", bearer.as_str())];
    let query = r#"{"query":{"todos":{}}}"#;

    let cases: [Case<'_>; 8] = [
        (&[("authorization", &bearer)], "/admin/query", query, "param-missing"),
        (
            &[("app-id", "nonsense"), ("authorization", &bearer)],
            "/admin/query",
            query,
            "param-malformed",
        ),
        (&[("app-id", &id)], "/admin/query", query, "param-missing"),
        (
            &[("app-id", &id), ("authorization", "Bearer undefined")],
            "/admin/query",
            query,
            "param-missing",
        ),
        (&as_admin, "/admin/query", r#"{"query": "#, "param-malformed"),
        (&as_admin, "/admin/query", r"{}", "param-missing"),
        (&as_admin, "/admin/transact", r#"{"steps":{}}"#, "param-malformed"),
        (&as_admin, "/admin/query", r#"{"query":{"todos":{"tags":[]}}}"#, "validation-failed"),
    ];
    for (headers, path, body, expected) in cases {
        let answer = request(addr, &format!("POST {path}"), headers, body).await;
        assert_eq!(error_of(&answer), (400, expected.to_owned()), "{headers:?} {body}");
        assert!(answer.json()["message"].is_string());
    }
    for (app_id, token) in
        [(app.id, other.admin_token.reveal()), (AppId::new(Uuid::new_v4()), &*token)]
    {
        let answer = post(&server, "/admin/query", app_id, token, &json!({"query": {}})).await;
        assert_eq!(error_of(&answer), (400, "record-not-found".to_owned()));
        assert_eq!(answer.json()["hint"]["record-type"], "app-admin-token");
        assert!(!answer.text.contains(token), "{answer:?}");
    }
    // The app may be named by parameter too.
    let line = format!("POST /admin/query?app_id={id}");
    let answer = request(addr, &line, &[("authorization", &bearer)], query).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"todos": []})));
    let as_user = [as_admin[0], as_admin[1], ("as-email", "a@example.com")];
    let answer = request(addr, "POST /admin/query", &as_user, query).await;
    assert_eq!(error_of(&answer).0, 400);
    let as_guest = [as_admin[0], ("as-guest", "true")];
    let steps = format!(r#"{{"steps":[["create","todos","{}",{{"title":"x"}}]]}}"#, Uuid::new_v4());
    assert_eq!(request(addr, "POST /admin/transact", &as_guest, &steps).await.status, 200);
    // Having the admin's token too raises nobody's rights.
    let as_guest_with_token = [as_admin[0], as_admin[1], as_guest[1]];
    let steps =
        format!(r#"{{"steps":[["create","$users","{}",{{"email":"a@b.c"}}]]}}"#, Uuid::new_v4());
    let answer = request(addr, "POST /admin/transact", &as_guest_with_token, &steps).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(request(addr, "POST /admin/query", &as_guest, query).await.status, 200);

    let answer = request(addr, "GET /nowhere", &[], "").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json(), json!({"message": "Oops! We couldn't match this route."}));
    assert_eq!(request(addr, "GET /", &[], "").await.status, 200);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn admin_transactions_are_whole_or_not_at_all() {
    let server = start(Config::default()).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let steps = json!({"steps": [
        ["create", "todos", a, {"slug": "same"}],
        ["create", "todos", b, {"slug": "same"}],
    ]});
    let answer = post(&server, "/admin/transact", app.id, app.admin_token.reveal(), &steps).await;
    assert_eq!(error_of(&answer), (400, "record-not-unique".to_owned()));
    assert_eq!(todos(&server, &app).await, [] as [Json; 0]);
    let strict =
        json!({"throw-on-missing-attrs?": true, "steps": [["create", "todos", a, {"color": 1}]]});
    let answer = post(&server, "/admin/transact", app.id, app.admin_token.reveal(), &strict).await;
    assert_eq!(error_of(&answer), (400, "validation-failed".to_owned()));
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn pages_from_anywhere_may_call() {
    let server = start(Config::default()).await;
    let headers = [
        ("Origin", "https://example.com"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,app_id,x-odd"),
    ];
    let answer = request(server.local_addr(), "OPTIONS /admin/query", &headers, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://example.com");
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,app_id,x-odd");
    assert!(answer.headers["access-control-allow-methods"].contains("DELETE"));
    assert_eq!(answer.headers["access-control-max-age"], "600");
    let answer = request(server.local_addr(), "GET /health", &headers[..1], "").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://example.com");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn temporary_apps_are_for_developers() {
    let server = start(Config::default()).await;
    let line = "POST /dash/apps/ephemeral";
    let answer = request(server.local_addr(), line, &[], r#"{"title":"x"}"#).await;
    assert_eq!(error_of(&answer), (400, "app-creation-disabled".to_owned()));
    assert_eq!(server.list_apps().await.unwrap().len(), 0);
    server.shutdown().await.unwrap();

    let server = start(Config { mode: Mode::Development, ..Config::default() }).await;
    let addr = server.local_addr();
    let cases = [
        (json!({}), "param-missing"),
        (
            json!({"title": "x", "rules": {"code": {"todos": {"allow": {"view": "false"}}}}}),
            "validation-failed",
        ),
        (json!({"title": "x", "schema": {"entities": 3}}), "validation-failed"),
    ];
    for (body, expected) in cases {
        let answer = request(addr, line, &[], &body.to_string()).await;
        assert_eq!(error_of(&answer), (400, expected.to_owned()), "{body}");
    }
    assert_eq!(server.list_apps().await.unwrap().len(), 0);
    let body = json!({"title": "Temp", "schema": schema(), "rules": {"code": {}}});
    let made = request(addr, line, &[], &body.to_string()).await.json();
    let (id, token) =
        (made["app"]["id"].as_str().unwrap(), made["app"]["admin-token"].as_str().unwrap());
    assert_eq!(made["app"]["title"], "Temp");
    assert!(made["app"]["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(made["expires_ms"].as_i64().is_some());

    let permanent = server.create_app("Kept", None, None).await.unwrap();
    let line = format!("DELETE /superadmin/apps/{}", permanent.id);
    let bearer = format!("Bearer {}", permanent.admin_token.reveal());
    let answer = request(addr, &line, &[("authorization", &bearer)], "").await;
    assert_eq!(error_of(&answer), (400, "permission-denied".to_owned()));

    // A connected client is sent away when its app is deleted.
    let app: AppId = id.parse().unwrap();
    let (mut socket, _) = Socket::init(&server, app).await;
    let line = format!("DELETE /superadmin/apps/{id}");
    let answer = request(addr, &line, &[("authorization", "Bearer undefined")], "").await;
    assert_eq!(answer.status, 400);
    let bearer = format!("Bearer {token}");
    let answer = request(addr, &line, &[("authorization", &bearer)], "").await;
    assert_eq!((answer.status, &answer.json()["app"]["id"]), (200, &json!(id)));
    assert!(socket.next().await.is_none());
    drop(socket);
    let answer = request(addr, &line, &[("authorization", &bearer)], "").await;
    assert_eq!(error_of(&answer), (400, "record-not-found".to_owned()));
    assert_eq!(server.list_apps().await.unwrap().len(), 1);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn idle_apps_leave_memory_and_come_back() {
    let dir = TempDir::new().unwrap();
    let open_apps =
        OpenAppLimits { idle_max: Duration::from_millis(50), ..OpenAppLimits::default() };
    let server = start(Config { open_apps, ..directory(&dir) }).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let mut positions = Vec::new();
    for round in 1..=3 {
        let answer = create(&server, &app, "again").await;
        positions.push(answer.json()["tx-id"].as_u64().unwrap());
        assert_eq!(todos(&server, &app).await.len(), round);
        assert!(server.flushes(app.id).await.is_none_or(|flushes| flushes == 1));
        while server.flushes(app.id).await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(server.registry().report().len(), 0);
    }
    assert!(positions.is_sorted());
    // An app with a session stays.
    let (mut socket, _) = Socket::init(&server, app.id).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.registry().report().len(), 1);
    socket.send(json!({"op": "add-query", "q": {"todos": {}}, "client-event-id": "q"})).await;
    socket.receive("add-query-ok").await;
    drop(socket);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn only_so_many_apps_stay_open() {
    let dir = TempDir::new().unwrap();
    let open_apps = OpenAppLimits { count_max: 3, ..OpenAppLimits::default() };
    let server = start(Config { open_apps, ..directory(&dir) }).await;
    let mut apps = Vec::new();
    for n in 0..8 {
        let app = server.create_app(&format!("app {n}"), Some(&schema()), None).await.unwrap();
        create(&server, &app, "mine").await;
        apps.push(app);
    }
    while server.registry().report().len() > 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for app in &apps {
        assert_eq!(todos(&server, app).await.len(), 1);
    }
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_app() {
    let dir = TempDir::new().unwrap();
    let server = start(directory(&dir)).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let writes = (0..40).map(|n| {
        let (server, app) = (&server, &app);
        async move { create(server, app, &format!("number {n}")).await.json()["tx-id"].as_u64() }
    });
    let mut positions = futures_util::future::join_all(writes).await;
    positions.sort_unstable();
    positions.dedup();
    assert_eq!(positions.len(), 40);
    assert_eq!(todos(&server, &app).await.len(), 40);
    // Whoever waits together is flushed together.
    let flushes = server.flushes(app.id).await.unwrap();
    assert!((1..=40).contains(&flushes), "{flushes}");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_damaged_app_does_not_hurt_the_others() {
    let dir = TempDir::new().unwrap();
    let server = start(directory(&dir)).await;
    let bad = server.create_app("Bad", None, None).await.unwrap();
    let good = server.create_app("Good", Some(&schema()), None).await.unwrap();
    server.shutdown().await.unwrap();
    let path = dir.path().join("data/apps").join(format!("{}.db", bad.id));
    std::fs::write(&path, "garbage".repeat(4000)).unwrap();

    let server = start(directory(&dir)).await;
    let query = json!({"query": {"todos": {}}});
    let answer = post(&server, "/admin/query", bad.id, bad.admin_token.reveal(), &query).await;
    assert_eq!(answer.status, 500);
    assert_eq!(create(&server, &good, "fine").await.status, 200);
    let mut socket = Socket::connect(&server, bad.id).await;
    socket.send(json!({"op": "init", "app-id": bad.id})).await;
    let refused = socket.next().await.unwrap();
    assert_eq!((&refused["op"], &refused["status"]), (&json!("error"), &json!(500)));
    drop(socket);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn health_tells_when_an_apps_log_fails() {
    let dir = TempDir::new().unwrap();
    let mut config = Config { mode: Mode::Development, ..directory(&dir) };
    config.log.file_bytes_max = Some(200 << 10);
    let server = start(config).await;
    let addr = server.local_addr();
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    create(&server, &app, "small").await;
    let health = request(addr, "GET /health", &[], "").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    assert_eq!(health.json()["apps"][0]["flushes"], 1);
    let refused = create(&server, &app, &"much".repeat(100_000)).await;
    assert_eq!(refused.status, 500, "{refused:?}");
    assert_eq!(todos(&server, &app).await.len(), 1);
    let health = request(addr, "GET /health", &[], "").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("failing")));
    assert_eq!(request(addr, "GET /health/system", &[], "").await.status, 500);
    // The next write that fits makes it well.
    assert_eq!(create(&server, &app, "small").await.status, 200);
    assert_eq!(request(addr, "GET /health", &[], "").await.status, 200);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let mut config = Config::default();
    config.http.body_bytes_max = 1000;
    let server = start(config).await;
    let app = server.create_app("Todos", Some(&schema()), None).await.unwrap();
    let answer = create(&server, &app, &"x".repeat(1000)).await;
    assert_eq!(error_of(&answer), (413, "param-malformed".to_owned()));
    assert_eq!(create(&server, &app, "x").await.status, 200);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_request_that_never_comes_to_an_end_holds_no_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let mut config = Config::default();
    config.http.head_max = Duration::from_millis(50);
    let server = start(config).await;
    let mut stream = tokio::net::TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow:").await.unwrap();
    let mut answer = Vec::new();
    // Ends only when the server closes the connection.
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    server.shutdown().await.unwrap();
}
