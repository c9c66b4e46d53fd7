//! Recorded queries and their results, asked by clients of a server that holds the recorded data: ours, and
//! the official one.
//!
//! The vectors lie beside the repository; without them there is nothing to run.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test ends where something is wrong"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::AsyncWriteExt as _;
use tricedb::{Client, QueryFailure};
use tricedb_core::catalog::AttrCatalog;
use tricedb_core::index::TripleIndex;
use tricedb_server::{Config, Server};

#[allow(dead_code, reason = "shared with the suite that runs the vectors on the library")]
#[path = "../../../xtask/src/conformance/compare.rs"]
mod compare;
#[allow(dead_code, reason = "shared with the suite that runs the vectors on the library")]
#[path = "../../../xtask/src/conformance/data_set.rs"]
mod data_set;

use compare::{Arrays, difference};

/// Why a data set cannot be loaded.
#[derive(Debug)]
#[allow(dead_code, reason = "read when a test fails")]
enum ConformanceError {
    Json { path: PathBuf, source: serde_json::Error },
    Shape { path: PathBuf, problem: String },
}

fn read_json(path: &Path) -> Result<Json, ConformanceError> {
    let text = fs::read_to_string(path).unwrap();
    serde_json::from_str(&text)
        .map_err(|source| ConformanceError::Json { path: path.to_owned(), source })
}

/// Long enough for anything that happens at all, on a slow machine.
const SOON: Duration = Duration::from_secs(20);

/// The variable that names the folder of the official client.
const OFFICIAL_CLIENT: &str = "TRICEDB_OFFICIAL_CLIENT";

/// Rust clients understand these, so that the original's refusal of them is not theirs.
const EXTENSIONS: [&str; 4] = ["$nin", "$exists", "$contains", "$size"];

/// Whether a case asks for what a Rust client and our server give together.
fn applies(group: &str, case: &Json) -> bool {
    let text = case["query"].to_string();
    let message = case["error"]["message"].as_str().unwrap_or_default();
    case["quirk"] != true
        && case.get("kind").is_none()
        && case["engine"] != "client"
        && group != "client_validation"
        && !EXTENSIONS.iter().any(|name| text.contains(&format!("\"{name}\"")))
        && !message.contains("Aggregates are currently only available")
        && !limits_children(&case["query"])
}

/// Limits of nested forms count for Rust clients; the original sends all children.
fn limits_children(query: &Json) -> bool {
    let limits =
        |form: &Json| ["limit", "first", "last"].iter().any(|key| form["$"].get(key).is_some());
    let below = |form: &Json| {
        let children = form.as_object().into_iter().flatten();
        let children: Vec<Json> =
            children.filter(|(key, _)| *key != "$").map(|(_, child)| child.clone()).collect();
        children
    };
    let mut open: Vec<Json> = below(query).iter().flat_map(&below).collect();
    while let Some(form) = open.pop() {
        if limits(&form) {
            return true;
        }
        open.extend(below(&form));
    }
    false
}

/// Turns links that have one target from the object that a client gives into the array of vectors that
/// know no schema.
fn with_arrays(catalog: &AttrCatalog, etype: &str, form: &Json, rows: &mut Json) {
    for row in rows.as_array_mut().into_iter().flatten() {
        for (label, child) in form.as_object().into_iter().flatten().filter(|(key, _)| *key != "$")
        {
            let Some(named) = catalog.find(etype, label) else { continue };
            if named.is_singular() {
                let one = row.as_object_mut().unwrap().remove(label);
                row[label] = one.into_iter().collect();
            }
            let target = named.leads_to().unwrap_or_default();
            with_arrays(catalog, target, child, &mut row[label]);
        }
    }
}

/// What is wrong with an answer, if anything is.
fn judge(
    case: &Json,
    catalog: &AttrCatalog,
    answer: Result<&tricedb::QueryResultSnapshot, String>,
) -> Option<String> {
    let arrays = if case["ordered"] == true { Arrays::Ordered } else { Arrays::Unordered };
    match (case.get("error"), answer) {
        (Some(error), Err(message)) => {
            let expected = error["message"].as_str().unwrap_or_default();
            let fits = match error["match"] == "prefix" {
                true => message.starts_with(expected),
                false => message == expected,
            };
            (!fits).then(|| format!("expected the error {expected}\ngot                {message}"))
        }
        (Some(error), Ok(answer)) => {
            Some(format!("expected the error {}, got {}", error["message"], answer.data()))
        }
        (None, Err(message)) => Some(format!("expected a result, got the error {message}")),
        (None, Ok(answer)) => {
            let mut data = answer.data().clone();
            if case["options"]["cardinalityInference"] != true {
                for (etype, form) in case["query"].as_object().into_iter().flatten() {
                    if let Some(rows) = data.get_mut(etype) {
                        with_arrays(catalog, etype, form, rows);
                    }
                }
            }
            let got = [
                ("data", Some(&data)),
                ("pageInfo", answer.page_info()),
                ("aggregate", answer.aggregate()),
            ];
            got.into_iter().find_map(|(key, got)| {
                let expected = case["expect"].get(key)?;
                let found = difference(expected, got.unwrap_or(&Json::Null), arrays)?;
                Some(format!("{key} {found}"))
            })
        }
    }
}

async fn ask(db: &Client, case: &Json, catalog: &AttrCatalog) -> Option<String> {
    let answer = match db.query_once(case["query"].clone()).await {
        Ok(answer) => Ok(answer),
        Err(QueryFailure::Refused(error)) => Err(error.message),
        Err(QueryFailure::Invalid(error)) => Err(error.message().to_owned()),
        Err(other) => return Some(format!("no answer: {other}")),
    };
    judge(case, catalog, answer.as_deref().map_err(Clone::clone))
}

/// The cases of all files that a check is about, each with its group and the name of its data set.
fn cases(folder: &Path, about: fn(&str, &Json) -> bool) -> Vec<(String, String, Json)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder.join("instaql")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut all = Vec::new();
    for path in files {
        let file = read_json(&path).unwrap();
        let group = file["group"].as_str().unwrap();
        for case in file["cases"].as_array().unwrap().iter().filter(|case| about(group, case)) {
            if let Some(name) = case["dataset"].as_str().or(file["dataset"].as_str()) {
                all.push((group.to_owned(), name.to_owned(), case.clone()));
            }
        }
    }
    assert!(all.len() > 250, "only {} cases", all.len());
    all
}

/// The vectors beside the repository, if they are there.
fn vectors() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance");
    if folder.join("instaql").is_dir() {
        return Some(folder);
    }
    eprintln!("no vectors beside the repository: nothing to run");
    None
}

fn failure(group: &str, case: &Json, found: &str) -> String {
    format!("{group}: {}\n  query {}\n  {found}", case["name"], case["query"])
}

#[tokio::test]
async fn a_client_of_our_server_gives_what_was_recorded() {
    let Some(folder) = vectors() else { return };
    let server = Server::builder(Config::default()).start().await.unwrap();
    let mut opened: HashMap<String, (Client, TripleIndex)> = HashMap::new();
    let cases = cases(&folder, applies);
    let mut failures = Vec::new();
    for (group, name, case) in &cases {
        if !opened.contains_key(name) {
            let index = data_set::load(&folder.join("datasets"), name).unwrap();
            let app = server.import_app(None, name, index.clone()).await.unwrap().id;
            let db = Client::builder(app).url(server.http_url()).open().await.unwrap();
            let mut status = db.sync().status();
            let online = status.wait_for(|status| status.is_online());
            tokio::time::timeout(SOON, online).await.unwrap().unwrap();
            opened.insert(name.into(), (db, index));
        }
        let (db, index) = &opened[name];
        if let Some(found) = ask(db, case, index.catalog()).await {
            failures.push(failure(group, case, &found));
        }
    }
    for (db, _) in opened.into_values() {
        db.close().await.unwrap();
    }
    server.shutdown().await.unwrap();
    let (count, total) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{count} of {total} cases:\n{}", failures.join("\n"));
}

/// What the official client gives with any server: both engines agree, and no schema is needed.
fn is_for_both(group: &str, case: &Json) -> bool {
    case["quirk"] != true
        && case.get("kind").is_none()
        && case["engine"] == "both"
        && case.get("error").is_none()
        && case.get("options").is_none()
        && group != "client_validation"
}

/// Runs where `cargo xtask compat` says that the official client is installed.
#[tokio::test]
async fn the_official_client_of_our_server_gives_what_was_recorded() {
    let (Some(folder), Some(js)) = (vectors(), std::env::var_os(OFFICIAL_CLIENT)) else {
        eprintln!("{OFFICIAL_CLIENT} names no folder: the official client is not asked");
        return;
    };
    let server = Server::builder(Config::default()).start().await.unwrap();
    let cases = cases(&folder, is_for_both);
    let mut by_set: BTreeMap<&str, Vec<&(String, String, Json)>> = BTreeMap::new();
    for case in &cases {
        by_set.entry(&case.1).or_default().push(case);
    }
    let mut asked = String::new();
    for (name, cases) in &by_set {
        let index = data_set::load(&folder.join("datasets"), name).unwrap();
        let app = server.import_app(None, name, index).await.unwrap().id;
        let queries: Vec<&Json> = cases.iter().map(|(.., case)| &case["query"]).collect();
        asked.push_str(&json!({"app": app, "queries": queries}).to_string());
        asked.push('\n');
    }
    let mut node = tokio::process::Command::new("node")
        .args(["vectors.mjs", &server.http_url(), &server.websocket_url()])
        .current_dir(js)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = node.stdin.take().unwrap();
    let write = async move { input.write_all(asked.as_bytes()).await };
    let run = async { tokio::join!(write, node.wait_with_output()) };
    let (written, output) = tokio::time::timeout(Duration::from_secs(240), run).await.unwrap();
    written.unwrap();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let answers: Vec<Json> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), cases.len());
    let mut failures = Vec::new();
    for ((group, _, case), answer) in by_set.values().flatten().zip(&answers) {
        let arrays = if case["ordered"] == true { Arrays::Ordered } else { Arrays::Unordered };
        let found = match answer.get("error") {
            Some(error) => Some(format!("expected a result, got the error {error}")),
            None => ["data", "pageInfo"].into_iter().find_map(|key| {
                let found = difference(case["expect"].get(key)?, &answer[key], arrays)?;
                Some(format!("{key} {found}"))
            }),
        };
        failures.extend(found.map(|found| failure(group, case, &found)));
    }
    server.shutdown().await.unwrap();
    let (count, total) = (failures.len(), cases.len());
    assert!(failures.is_empty(), "{count} of {total} cases:\n{}", failures.join("\n"));
}
