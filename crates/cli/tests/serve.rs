//! The program as its operator runs it: serving, administering, and how commands end.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod program;

use std::io::Write as _;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use program::{PROGRAM, Server, failure, result, run, text};

const ID: &str = "11111111-1111-4111-8111-111111111111";

#[test]
fn an_app_is_made_written_read_and_deleted_without_a_server() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let missing = failure(&run(dir, &["app", "list"]), 1);
    assert!(missing.contains("tricedb app create"), "{missing}");
    let schema = json!({"entities": {"todos": {"attrs": {"n": {
        "valueType": "number", "required": false, "config": {"indexed": false, "unique": false},
    }}}}, "links": {}});
    std::fs::write(dir.join("schema.json"), schema.to_string()).unwrap();
    let app = result(&run(dir, &["app", "create", "One", "--schema", "schema.json", "--json"]));
    let id = app["app_id"].as_str().unwrap();
    assert_eq!(app["admin_token"].as_str().unwrap().len(), 36);

    let steps = json!([["create", "todos", ID, {"n": 1}]]).to_string();
    let done = result(&run(dir, &["transact", &steps, "--app", id, "--json"]));
    assert!(done["tx_id"].as_u64().unwrap() > 0);
    let todos = result(&run(dir, &["query", r#"{"todos":{}}"#, "--app", id, "--json"]));
    assert_eq!(todos, json!({"todos": [{"id": ID, "n": 1}]}));

    let by_id = json!({"todos": {"$": {"where": {"id": ID}}}}).to_string();
    let explained = run(dir, &["query", &by_id, "--app", id, "--explain"]);
    assert!(text(&explained.stdout).contains("index todos.id (entities by id)"), "{explained:?}");

    let extension = json!({"todos": {"$": {"where": {"n": {"$nin": [2]}}}}}).to_string();
    let sum = json!({"todos": {"$": {"aggregate": {"sum": "n"}}}}).to_string();
    assert!(failure(&run(dir, &["query", &extension, "--app", id]), 1).contains("Validation"));
    let on = result(&run(dir, &["app", "set", id, "--extensions", "on", "--json"]));
    assert_eq!(on["settings"]["extensions"], true);
    assert_eq!(result(&run(dir, &["query", &extension, "--app", id, "--json"])), todos);
    let summed = result(&run(dir, &["query", &sum, "--app", id, "--json"]));
    assert_eq!(summed, json!({"todos": {"sum": {"n": 1}}}));
    assert_eq!(result(&run(dir, &["app", "set", id, "--json"])), on);
    assert!(failure(&run(dir, &["app", "set", ID]), 1).contains("no app"));

    let wrong = json!([["update", "todos", ID, {"n": "one"}]]).to_string();
    assert!(failure(&run(dir, &["transact", &wrong, "--app", id]), 1).contains("number"));
    let unknown = json!([["update", "todos", ID, {"color": "red"}]]).to_string();
    let strict = run(dir, &["transact", &unknown, "--app", id, "--strict"]);
    assert!(failure(&strict, 1).contains("missing"), "{strict:?}");
    assert!(failure(&run(dir, &["query", "not json", "--app", id]), 1).contains("JSON"));
    assert!(failure(&run(dir, &["query", "{}", "--app", ID]), 1).contains("no app"));

    let list = result(&run(dir, &["app", "list", "--json"]));
    assert_eq!(
        (&list["apps"][0]["app_id"], &list["apps"][0]["title"]),
        (&json!(id), &json!("One"))
    );
    assert!(!list.to_string().contains("token"));
    result(&run(dir, &["app", "delete", id, "--json"]));
    assert!(failure(&run(dir, &["app", "delete", id]), 1).contains("no app"));
    assert_eq!(result(&run(dir, &["app", "list", "--json"])), json!({"apps": []}));
    assert_eq!(std::fs::read_dir(dir.join("tricedb-data/apps")).unwrap().count(), 0);
}

#[test]
fn operators_are_data_until_the_app_turns_them_on() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let made = result(&run(dir, &["app", "create", "One", "--json"]));
    let (id, token) = (made["app_id"].as_str().unwrap(), made["admin_token"].as_str().unwrap());
    let steps = json!([["update", "todos", ID, {"n": {"$increment": 2}}]]).to_string();
    let query = ["query", r#"{"todos":{}}"#, "--app", id, "--json"];

    result(&run(dir, &["transact", &steps, "--app", id, "--json"]));
    let todos = result(&run(dir, &query));
    assert_eq!(todos["todos"][0]["n"], json!({"$increment": 2}));
    let reset = json!([["update", "todos", ID, {"n": null}]]).to_string();
    result(&run(dir, &["transact", &reset, "--app", id, "--json"]));

    let set = result(&run(dir, &["app", "set", id, "--operators", "on", "--json"]));
    assert_eq!(
        set,
        json!({"app_id": id, "settings": {"operators": true, "extensions": false, "status": "active"}})
    );
    result(&run(dir, &["transact", &steps, "--app", id, "--json"]));
    result(&run(dir, &["transact", &steps, "--app", id, "--json"]));
    assert_eq!(result(&run(dir, &query))["todos"][0]["n"], 4);
    assert!(failure(&run(dir, &["app", "set", ID, "--operators", "on"]), 1).contains("no app"));

    // A server read it at its start, and takes a change while it runs.
    let server = Server::start(dir, &[]);
    let place = ["--url", &server.url, "--token", token, "--json"];
    let write = [&["transact", &steps, "--app", id][..], &place].concat();
    result(&run(dir, &write));
    let set = [&["app", "set", id, "--operators", "off"][..], &place].concat();
    assert_eq!(result(&run(dir, &set))["settings"]["operators"], false);
    let todos = result(&run(dir, &[&query[..4], &place].concat()));
    assert_eq!(todos["todos"][0]["n"], 6);
    result(&run(dir, &write));
    let todos = result(&run(dir, &[&query[..4], &place].concat()));
    assert_eq!(todos["todos"][0]["n"], json!({"$increment": 2}));
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
    let list = result(&run(dir, &["app", "list", "--json"]));
    assert_eq!(
        list["apps"][0]["settings"],
        json!({"operators": false, "extensions": false, "status": "active"})
    );
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    let dir = TempDir::new().unwrap();
    for arguments in [&["nonsense"][..], &["query", "{}"], &["query", "{}", "--app", "1"], &[]] {
        let output = run(dir.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?} {output:?}");
    }
    // Nothing listens on port 1.
    let arguments = ["query", "{}", "--app", ID, "--url", "http://127.0.0.1:1", "--token", ID];
    let told = failure(&run(dir.path(), &arguments), 1);
    assert!(told.contains("is the server running there?"), "{told}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_server_serves_until_it_is_told_to_stop_and_keeps_what_it_took() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let made = result(&run(dir, &["app", "create", "One", "--json"]));
    let (id, token) = (made["app_id"].as_str().unwrap(), made["admin_token"].as_str().unwrap());
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(dir, &[]);
        assert_eq!(server.printed, [] as [&str; 0]);
        let told = failure(&run(dir, &["app", "list"]), 1);
        assert!(told.contains("in use by another tricedb process"), "{told}");
        let second = run(dir, &["serve", "--listen", "127.0.0.1:0"]);
        assert!(failure(&second, 1).contains("in use by another tricedb process"));

        let place = ["--app", id, "--url", &server.url, "--token", token, "--json"];
        let steps = json!([["update", "todos", ID, {"signal": format!("{signal:?}")}]]).to_string();
        result(&run(dir, &[&["transact", &steps][..], &place].concat()));
        let expected = json!({"todos": [{"id": ID, "signal": format!("{signal:?}")}]});
        let query = ["query", r#"{"todos":{}}"#];
        assert_eq!(result(&run(dir, &[&query[..], &place].concat())), expected);
        let explain = result(&run(dir, &[&query[..], &["--explain"], &place].concat()));
        assert_eq!(explain["forms"][0]["access"]["by"], "walk", "{explain}");
        // Only developers' servers make apps for whoever asks.
        let create = run(dir, &["app", "create", "Two", "--url", &server.url]);
        assert!(failure(&create, 1).contains("--dev"), "{create:?}");
        let (code, said) = server.stop(signal);
        assert_eq!(code, Some(0), "{said}");
        assert!(!said.contains(token), "{said}");
        assert_eq!(result(&run(dir, &[&query[..], &["--app", id, "--json"]].concat())), expected);
    }
}

#[test]
fn a_developers_server_makes_a_first_app_and_temporary_ones() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let server = Server::start(dir, &["--dev"]);
    let [id, token] = &server.printed[..] else { panic!("{:?}", server.printed) };
    let id = id.strip_prefix("app id       ").unwrap();
    let token = token.strip_prefix("admin token  ").unwrap();
    let query = ["query", r#"{"todos":{}}"#, "--json", "--url", &server.url];
    let of_first = [&query[..], &["--app", id, "--token", token]].concat();
    assert_eq!(result(&run(dir, &of_first)), json!({"todos": []}));

    let made = result(&run(dir, &["app", "create", "Temp", "--url", &server.url, "--json"]));
    let (temp, its) = (made["app_id"].as_str().unwrap(), made["admin_token"].as_str().unwrap());
    let of_temp = [&query[..], &["--app", temp, "--token", its]].concat();
    assert_eq!(result(&run(dir, &of_temp)), json!({"todos": []}));
    let others = [&query[..], &["--app", temp, "--token", token]].concat();
    assert!(failure(&run(dir, &others), 1).contains("app-admin-token"));
    let delete = ["app", "delete", temp, "--url", &server.url, "--token", its];
    assert_eq!(run(dir, &delete).status.code(), Some(0));
    assert!(failure(&run(dir, &of_temp), 1).contains("refused"));
    assert_eq!(server.stop(Signal::TERM).0, Some(0));

    // There is a first app now, and its token was shown once.
    let server = Server::start(dir, &["--dev"]);
    assert_eq!(server.printed, [] as [&str; 0]);
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
}

#[test]
fn what_is_in_memory_only_leaves_nothing() {
    let dir = TempDir::new().unwrap();
    let server = Server::start(dir.path(), &["--memory", "--dev"]);
    assert_eq!(server.printed.len(), 2);
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn queries_and_steps_may_come_from_standard_input() {
    let dir = TempDir::new().unwrap();
    let dir = dir.path();
    let made = result(&run(dir, &["app", "create", "One", "--json"]));
    let mut process = Command::new(PROGRAM)
        .args(["query", "-", "--json", "--app", made["app_id"].as_str().unwrap()])
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process.stdin.take().unwrap().write_all(b"{\"todos\": {}}").unwrap();
    assert_eq!(result(&process.wait_with_output().unwrap()), json!({"todos": []}));
}
