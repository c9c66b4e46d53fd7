//! Schemas as tools push and pull them: over HTTP, with clients connected and data in the way.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

#[expect(
    unreachable_pub,
    dead_code,
    reason = "seen from this crate only, and from its other tests"
)]
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::{Answer, Socket, attr_id, post, request};
use tempfile::TempDir;
use tricedb_core::id::AppId;
use tricedb_server::{Config, CreatedApp, RunningServer, Server, Storage};
use uuid::Uuid;

async fn start(config: Config) -> RunningServer {
    Server::builder(config).start().await.unwrap()
}

async fn send(server: &RunningServer, app: &CreatedApp, path: &str, body: &Json) -> Answer {
    post(server, path, app.id, app.admin_token.reveal(), body).await
}

async fn get(server: &RunningServer, app: &CreatedApp, path: &str) -> Answer {
    let (id, token) = (app.id.to_string(), format!("Bearer {}", app.admin_token.reveal()));
    let headers = [("app-id", id.as_str()), ("authorization", token.as_str())];
    request(server.local_addr(), &format!("GET {path}"), &headers, "").await
}

/// The body of an answer that has to be a success.
fn good(answer: &Answer) -> Json {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Pushes a schema like the platform SDK; the answer once all jobs have ended, with them as they ended.
async fn push(server: &RunningServer, app: &CreatedApp, entities: Json) -> Json {
    let body = json!({
        "schema": {"entities": entities, "links": {}},
        "check_types": true, "supports_background_updates": true,
    });
    let path = format!("/superadmin/apps/{}/schema/push/apply", app.id);
    let answer = good(&send(server, app, &path, &body).await);
    ended(server, app, answer).await
}

async fn ended(server: &RunningServer, app: &CreatedApp, mut answer: Json) -> Json {
    let deadline = Instant::now() + Duration::from_secs(30);
    if let Some(group) = answer["indexing-jobs"]["group-id"].as_str().map(str::to_owned) {
        let path = format!("/dash/apps/{}/indexing-jobs/group/{group}", app.id);
        let is_open =
            |job: &Json| matches!(job["job_status"].as_str(), Some("waiting" | "processing"));
        while answer["indexing-jobs"]["jobs"].as_array().unwrap().iter().any(is_open) {
            assert!(Instant::now() < deadline, "{answer}");
            answer["indexing-jobs"]["jobs"] = good(&get(server, app, &path).await)["jobs"].take();
        }
    }
    answer
}

async fn transact(server: &RunningServer, app: &CreatedApp, steps: &[Json]) -> Answer {
    send(server, app, "/admin/transact", &json!({"steps": steps})).await
}

/// Writes `count` rows; the values of `k` come from the function. Their ids.
async fn rows(
    server: &RunningServer,
    app: &CreatedApp,
    count: usize,
    k: impl Fn(usize) -> Json,
) -> Vec<Uuid> {
    let ids: Vec<_> = (0..count).map(|_| Uuid::new_v4()).collect();
    let steps: Vec<_> = ids
        .iter()
        .enumerate()
        .map(|(n, id)| json!(["update", "rows", id, {"n": n, "k": k(n)}]))
        .collect();
    for chunk in steps.chunks(1_000) {
        good(&transact(server, app, chunk).await);
    }
    ids
}

async fn attr(server: &RunningServer, app: &CreatedApp, etype: &str, label: &str) -> Json {
    let path = format!("/superadmin/apps/{}/schema", app.id);
    good(&get(server, app, &path).await)["schema"]["blobs"][etype][label].take()
}

#[tokio::test]
async fn a_plan_tells_what_a_push_does_and_clients_get_it_live() {
    let server = start(Config::default()).await;
    let app = server.create_app("Posts", None, None).await.unwrap();
    let (mut client, _) = Socket::init(&server, app.id).await;
    let schema = json!({
        "entities": {"posts": {"attrs": {"title": {"valueType": "string", "config": {"indexed": true}}}}},
        "links": {"author": {
            "forward": {"on": "posts", "has": "one", "label": "author"},
            "reverse": {"on": "$users", "has": "many", "label": "posts"},
        }},
    });
    let body = json!({"schema": schema, "check_types": true, "supports_background_updates": true});
    for area in ["dash", "superadmin"] {
        let path = format!("/{area}/apps/{}/schema/push/plan", app.id);
        let plan = good(&send(&server, &app, &path, &body).await);
        let kinds: Vec<_> = plan["steps"].as_array().unwrap().iter().map(|s| &s[0]).collect();
        assert_eq!(kinds, ["add-attr", "add-attr", "add-attr"], "{plan}");
        assert_eq!(plan["new-schema"]["blobs"]["posts"]["title"]["index?"], true);
        assert_eq!(plan["current-schema"]["blobs"]["posts"], Json::Null);
        assert!(plan["new-schema"]["refs"]["posts-author-$users-posts"].is_object());
        assert_eq!(attr(&server, &app, "posts", "title").await, Json::Null, "a plan does nothing");
    }
    let path = format!("/dash/apps/{}/schema/push/apply", app.id);
    let applied = good(&send(&server, &app, &path, &body).await);
    assert_eq!(applied["indexing-jobs"], Json::Null);
    let refresh = client.receive("refresh-ok").await;
    assert_eq!(refresh["processed-tx-id"], applied["transaction"]["id"]);
    attr_id(&refresh["attrs"], "posts", "title");

    let again = good(&send(&server, &app, &path, &body).await);
    assert_eq!((&again["steps"], &again["transaction"]), (&json!([]), &json!({})));
    let pulled = good(&get(&server, &app, &format!("/dash/apps/{}/schema/pull", app.id)).await);
    assert_eq!(pulled["app-title"], "Posts");
    attr_id(&pulled["attrs"], "$users", "email");
    assert_eq!(pulled["schema"]["blobs"]["$files"]["url"]["required?"], true);
    assert_eq!(pulled["schema"]["blobs"]["$files"]["location-id"], Json::Null);
    let by_admin = good(&get(&server, &app, "/admin/schema").await);
    assert_eq!(by_admin["schema"], pulled["schema"]);
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn changes_over_existing_data_name_the_entities_in_the_way() {
    let server = start(Config::default()).await;
    let app = server.create_app("Rows", None, None).await.unwrap();
    let ids = rows(&server, &app, 3, |n| [json!("a"), json!("a"), json!(7)][n].clone()).await;
    let lacking = Uuid::new_v4();
    good(&transact(&server, &app, &[json!(["update", "rows", lacking, {"n": 9}])]).await);
    let k = json!({
        "valueType": "string", "required": true, "config": {"unique": true, "indexed": true},
    });
    let pushed = push(&server, &app, json!({"rows": {"attrs": {"k": k}}})).await;
    let jobs = pushed["indexing-jobs"]["jobs"].as_array().unwrap();
    let job = |kind: &str| jobs.iter().find(|job| job["job_type"] == kind).unwrap();
    let entities = |job: &Json| -> Vec<String> {
        let sample = job["invalid_triples_sample"].as_array().unwrap();
        sample.iter().map(|s| s["entity_id"].as_str().unwrap().to_owned()).collect()
    };
    let unique = job("unique");
    assert_eq!(unique["error"], "triple-not-unique-error");
    assert_eq!(unique["invalid_unique_value"], "a");
    let mut twins = entities(unique);
    twins.sort();
    let mut wanted = [ids[0].to_string(), ids[1].to_string()];
    wanted.sort();
    assert_eq!(twins, wanted);
    let required = job("required");
    assert_eq!(required["error"], "missing-required-error");
    assert_eq!(entities(required), [lacking.to_string()]);
    let typed = job("check-data-type");
    assert_eq!(typed["error"], "invalid-triple-error");
    assert_eq!(typed["invalid_triples_sample"][0]["json_type"], "number");
    assert_eq!(entities(typed), [ids[2].to_string()]);
    assert_eq!(job("index")["job_status"], "completed");
    for (step, job) in pushed["steps"].as_array().unwrap().iter().zip(jobs) {
        assert_eq!(step[1]["job-id"], job["id"]);
    }
    let now = attr(&server, &app, "rows", "k").await;
    assert_eq!(
        (&now["unique?"], &now["required?"], &now["index?"], now.get("checked-data-type")),
        (&json!(false), &json!(false), &json!(true), None)
    );
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn large_indexes_are_built_beside_writes_and_outlive_a_restart() {
    const COUNT: usize = 12_000;
    let dir = TempDir::new().unwrap();
    let config =
        || Config { storage: Storage::Directory(dir.path().join("data")), ..Config::default() };
    let server = start(config()).await;
    let app = server.create_app("Rows", None, None).await.unwrap();
    let ids = rows(&server, &app, COUNT, |n| json!(format!("k{n}"))).await;
    let (mut client, init) = Socket::init(&server, app.id).await;
    let k = attr_id(&init["attrs"], "rows", "k");
    let body = json!({
        "schema": {"entities": {"rows": {"attrs": {"k": {
            "valueType": "string", "required": true, "config": {"unique": true, "indexed": true},
        }}}}, "links": {}},
        "check_types": true, "supports_background_updates": true,
    });
    let path = format!("/dash/apps/{}/schema/push/apply", app.id);
    let answer = good(&send(&server, &app, &path, &body).await);
    assert_eq!(answer["indexing-jobs"]["jobs"].as_array().unwrap().len(), 4);
    let first = answer["indexing-jobs"]["jobs"][0]["job_status"].clone();
    assert_eq!(first, "processing", "{answer}");
    // A write is taken and answered in the meantime.
    let step = json!(["add-triple", ids[5], k, "changed"]);
    client.send(json!({"op": "transact", "tx-steps": [step], "client-event-id": "w"})).await;
    client.receive("transact-ok").await;
    let answer = ended(&server, &app, answer).await;
    for job in answer["indexing-jobs"]["jobs"].as_array().unwrap() {
        assert_eq!(
            (&job["job_status"], &job["error"]),
            (&json!("completed"), &json!(null)),
            "{job}"
        );
        assert_eq!(job["work_completed"], job["work_estimate"]);
    }
    drop(client);
    let query = json!({"query": {"rows": {"$": {"order": {"k": "asc"}, "limit": 1}}}});
    let mut running = Some(server);
    for _ in 0..2 {
        let server = match running.take() {
            Some(server) => server,
            None => start(config()).await,
        };
        let now = attr(&server, &app, "rows", "k").await;
        for flag in ["unique?", "index?", "required?"] {
            assert_eq!(now[flag], true, "{now}");
        }
        for flag in ["indexing?", "setting-unique?", "checking-data-type?"] {
            assert_eq!(now.get(flag), None, "{now}");
        }
        let answer = good(&send(&server, &app, "/admin/query", &query).await);
        assert_eq!(answer["rows"][0]["k"], "changed");
        let step = json!(["update", "rows", ids[0], {"k": "changed"}]);
        let twin = transact(&server, &app, &[step]).await;
        assert_eq!(twin.json()["type"], "record-not-unique");
        server.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn steps_rename_and_delete_and_foreign_hands_change_nothing() {
    let server = start(Config::default()).await;
    let app = server.create_app("Rows", None, None).await.unwrap();
    let other = server.create_app("Other", None, None).await.unwrap();
    let ids = rows(&server, &app, 1, |_| json!("v")).await;
    let pulled = good(&get(&server, &app, &format!("/dash/apps/{}/schema/pull", app.id)).await);
    let of = |etype: &str, label: &str| attr_id(&pulled["attrs"], etype, label);
    let (n, k, email) = (of("rows", "n"), of("rows", "k"), of("$users", "email"));
    let path = format!("/dash/apps/{}/schema/steps/apply", app.id);
    let rename = json!(["update-attr", {"id": k, "forward-identity": [k, "rows", "key"]}]);
    let steps = json!({"steps": [
        rename,
        ["delete-attr", n],
        ["unique", {"attr-id": k, "forward-identity": [k, "rows", "key"]}],
    ]});

    let stranger = post(&server, &path, app.id, other.admin_token.reveal(), &steps).await;
    assert_eq!((stranger.status, &stranger.json()["type"]), (400, &json!("record-not-found")));
    for bad in [
        json!([["unique", {"attr-id": email}]]),
        json!([["unique", {"attr-id": Uuid::new_v4()}]]),
        json!([["unique", {}]]),
        json!([["check-data-type", {"attr-id": k, "checked-data-type": "text"}]]),
        json!([["add-triple", k, k, k]]),
        json!([rename, ["unique", {"attr-id": email}]]),
        json!([7]),
    ] {
        let answer = send(&server, &app, &path, &json!({"steps": bad})).await;
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (400, &json!("validation-failed")),
            "{bad}"
        );
    }
    assert_eq!(attr(&server, &app, "rows", "key").await, Json::Null);

    let answer = good(&send(&server, &app, &path, &steps).await);
    let answer = ended(&server, &app, answer).await;
    assert_eq!(answer["indexing-jobs"]["jobs"][0]["job_status"], "completed");
    assert_eq!(answer["indexing-jobs"]["jobs"][0]["attr_name"], "rows.key");
    let query = json!({"query": {"rows": {}}});
    let answer = good(&send(&server, &app, "/admin/query", &query).await);
    assert_eq!(answer["rows"], json!([{"id": ids[0], "key": "v"}]));
    let unknown = format!("/dash/apps/{}/indexing-jobs/group/{}", app.id, Uuid::new_v4());
    assert_eq!(get(&server, &app, &unknown).await.json()["type"], "record-not-found");
    server.shutdown().await.unwrap();
}

#[tokio::test]
async fn rules_are_refused_while_nothing_enforces_them() {
    let server = start(Config::default()).await;
    let app: CreatedApp = server.create_app("Rows", None, None).await.unwrap();
    let id: AppId = app.id;
    let rules = json!({"code": {"rows": {"allow": {"view": "false"}}}});
    for path in [format!("/dash/apps/{id}/rules"), format!("/superadmin/apps/{id}/perms")] {
        let answer = send(&server, &app, &path, &rules).await;
        assert_eq!(answer.status, 400);
        let error = answer.json();
        assert_eq!(
            (&error["type"], &error["hint"]["data-type"]),
            (&json!("validation-failed"), &json!("rule"))
        );
        good(&send(&server, &app, &path, &json!({"code": {}})).await);
        assert_eq!(send(&server, &app, &path, &json!({})).await.json()["type"], "param-missing");
    }
    for path in [format!("/dash/apps/{id}/perms/pull"), format!("/superadmin/apps/{id}/perms")] {
        assert_eq!(good(&get(&server, &app, &path).await), json!({"perms": null}));
    }
    let shown = good(&get(&server, &app, &format!("/superadmin/apps/{id}")).await);
    assert_eq!((&shown["app"]["id"], &shown["app"]["title"]), (&json!(id), &json!("Rows")));
    server.shutdown().await.unwrap();
}
