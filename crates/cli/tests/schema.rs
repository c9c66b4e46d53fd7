//! `tricedb schema` as its users run it, on a data directory and on a running server.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]

mod program;

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use program::{Server, failure, result, run, text};

const IDS: [&str; 3] = [
    "11111111-1111-4111-8111-111111111111",
    "22222222-2222-4222-8222-222222222222",
    "33333333-3333-4333-8333-333333333333",
];

/// An app, and where it is.
struct App<'a> {
    dir: &'a Path,
    id: String,
    place: Vec<String>,
}

impl App<'_> {
    fn run(&self, words: &[&str]) -> std::process::Output {
        let place: Vec<&str> = self.place.iter().map(String::as_str).collect();
        run(self.dir, &[words, &["--app", &self.id], &place].concat())
    }

    fn json(&self, words: &[&str]) -> Json {
        result(&self.run(&[words, &["--json"]].concat()))
    }

    fn write_schema(&self, schema: &Json) {
        std::fs::write(self.dir.join("schema.json"), schema.to_string()).unwrap();
    }

    /// Pushes a schema that nothing stands in the way of.
    fn push(&self, schema: &Json, words: &[&str]) -> Json {
        self.write_schema(schema);
        self.json(&[&["schema", "push", "schema.json"], words].concat())
    }

    /// Pushes a schema that cannot be had in full; gives what it said.
    fn push_in_vain(&self, schema: &Json, words: &[&str]) -> String {
        self.write_schema(schema);
        let output = self.run(&[&["schema", "push", "schema.json"], words].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output.stderr)
    }

    fn transact(&self, steps: &Json) {
        self.json(&["transact", &steps.to_string()]);
    }

    fn posts(&self) -> Json {
        self.json(&["query", r#"{"posts":{}}"#])["posts"].clone()
    }
}

fn attr(kind: &str, required: bool, indexed: bool, unique: bool) -> Json {
    json!({"valueType": kind, "required": required, "config": {"indexed": indexed, "unique": unique}})
}

fn posts(attrs: Json) -> Json {
    json!({"entities": {"posts": {"attrs": attrs}}, "links": {}})
}

/// From an empty app through every change that a schema may make of one that holds data.
fn every_change(app: &App<'_>) {
    let any = attr("json", false, false, false);
    let made = app.push(&posts(json!({"title": any, "slug": any})), &[]);
    assert_eq!(made["steps"].as_array().unwrap().len(), 3, "{made}");
    assert_eq!(made["jobs"], json!([]));
    app.transact(&json!([
        ["create", "posts", IDS[0], {"title": "one", "slug": "a"}],
        ["create", "posts", IDS[1], {"title": 2, "slug": "a"}],
        ["create", "posts", IDS[2], {"slug": "c"}],
    ]));

    // What an app has is what a push makes again.
    let pulled = app.json(&["schema", "pull"]);
    assert_eq!(app.push(&pulled, &[])["steps"], json!([]));
    let plan = app.run(&["schema", "plan", "schema.json"]);
    assert_eq!(text(&plan.stdout), "nothing to change\n");

    // Everything at once; each refusal names who stands in the way, and what nobody minds holds.
    let wanted = posts(json!({
        "title": attr("string", true, false, false), "slug": attr("string", false, true, true),
    }));
    app.write_schema(&wanted);
    let planned = text(&app.run(&["schema", "plan", "schema.json"]).stdout);
    for line in [
        "~ posts.title  becomes a string",
        "~ posts.title  becomes required",
        "~ posts.slug  becomes unique",
        "~ posts.slug  becomes indexed",
    ] {
        assert!(planned.contains(line), "{planned}");
    }
    let told = app.push_in_vain(&wanted, &[]);
    assert!(told.contains("posts.title is as it was, `check-data-type` failed"), "{told}");
    assert!(told.contains(&format!("{}  2", IDS[1])), "{told}");
    assert!(
        told.contains("`required` failed: entities lack a value") && told.contains(IDS[2]),
        "{told}"
    );
    assert!(told.contains("`unique` failed: several entities share a value"), "{told}");
    assert!(told.contains(&format!("{}  \"a\"", IDS[0])), "{told}");
    assert!(!told.contains("`index` failed"), "{told}");

    app.transact(&json!([
        ["update", "posts", IDS[1], {"title": "two", "slug": "b"}],
        ["update", "posts", IDS[2], {"title": "three"}],
    ]));
    let done = app.push(&wanted, &[]);
    let jobs = done["jobs"].as_array().unwrap();
    assert!(jobs.iter().all(|job| job["status"] == "completed"), "{done}");
    assert_eq!(app.push(&wanted, &[])["steps"], json!([]));
    for (steps, why) in [
        (json!([["update", "posts", IDS[0], {"slug": "b"}]]), "unique attribute"),
        (json!([["update", "posts", IDS[0], {"title": 5}]]), "must be a string"),
        (json!([["update", "posts", IDS[0], {"title": null}]]), "Missing required attribute"),
    ] {
        let refused = failure(&app.run(&["transact", &steps.to_string()]), 1);
        assert!(refused.contains(why), "{refused}");
    }

    // A new name keeps the values; a name without its old one is another attribute.
    let renamed = posts(json!({
        "heading": attr("string", true, false, false), "slug": attr("string", false, true, true),
    }));
    let done = app.push(&renamed, &["--rename", "posts.title:posts.heading"]);
    assert_eq!(done["kept"], json!([]));
    assert_eq!(app.posts()[0]["heading"], "one");

    // What the file leaves out stays until somebody insists; then it is out of sight.
    let less = posts(json!({"heading": attr("string", false, false, false)}));
    assert_eq!(app.push(&less, &[])["kept"], json!(["posts.slug"]));
    assert_eq!(app.posts()[0]["slug"], "a");
    let done = app.push(&less, &["--overwrite"]);
    assert_eq!(done["steps"][0][0], "delete-attr", "{done}");
    assert_eq!(app.posts()[0], json!({"id": IDS[0], "heading": "one"}));
    let deleted = done["steps"][0][1].as_str().unwrap();
    let back = app.json(&["schema", "restore", deleted]);
    assert_eq!(back["attr"], "posts.slug");
    assert_eq!(app.posts()[0]["slug"], "a");
    let nothing = failure(&app.run(&["schema", "restore", IDS[0]]), 1);
    assert!(nothing.contains(IDS[0]), "{nothing}");
    app.push(&less, &["--overwrite"]);
    app.transact(&json!([["update", "posts", IDS[0], {"heading": null}]]));

    let wrong = json!({"entities": {"posts": {"attrs": {"heading": attr("colour", true, false, false)}}},
        "links": {"l": {"forward": {"on": "posts", "has": "many", "label": "x", "onDelete": "cascade"},
            "reverse": {"on": "posts", "has": "one", "label": "y"}}}});
    let told = app.push_in_vain(&wrong, &[]);
    assert!(told.contains("posts->x"), "{told}");
}

#[test]
fn a_schema_grows_over_data_in_a_directory() {
    let dir = TempDir::new().unwrap();
    let made = result(&run(dir.path(), &["app", "create", "One", "--json"]));
    let id = made["app_id"].as_str().unwrap().to_owned();
    every_change(&App { dir: dir.path(), id, place: Vec::new() });
}

#[test]
fn a_schema_grows_over_data_on_a_server() {
    let dir = TempDir::new().unwrap();
    let made = result(&run(dir.path(), &["app", "create", "One", "--json"]));
    let (id, token) = (made["app_id"].as_str().unwrap(), made["admin_token"].as_str().unwrap());
    let server = Server::start(dir.path(), &[]);
    let place = ["--url", &server.url, "--token", token].map(str::to_owned).to_vec();
    every_change(&App { dir: dir.path(), id: id.to_owned(), place });
    let strange = ["schema", "pull", "--app", id, "--url", &server.url, "--token", IDS[0]];
    failure(&run(dir.path(), &strange), 1);
    assert_eq!(server.stop(Signal::TERM).0, Some(0));
    // The server wrote it down.
    let pulled = result(&run(dir.path(), &["schema", "pull", "--app", id, "--json"]));
    assert_eq!(
        pulled["entities"]["posts"]["attrs"].as_object().map(|attrs| attrs.len()),
        Some(1),
        "{pulled}"
    );
}
