//! InstaQL vectors: queries over data sets, their results and errors.

mod validation;

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};
use tricedb_core::date;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{self, EvalOptions, Inference, QueryError, Spelling, Windows};
use tricedb_core::value::Value;

use super::compare::{Arrays, difference, lacking};
use super::{ConformanceError, Outcome, Report, data_set, json_files, read_json};

/// One query of a vector.
pub(crate) struct Asked<'a> {
    /// The query as it is written there.
    pub(crate) query: &'a Json,
    /// How to-one links appear.
    pub(crate) inference: Inference,
    /// Whether an administrator asks.
    pub(crate) admin: bool,
    /// Whose answer is wanted.
    pub(crate) side: Side<'a>,
}

/// The two engines that vectors speak of.
#[derive(Clone, Copy)]
pub(crate) enum Side<'a> {
    /// One that validates, pages and holds all data.
    Server,
    /// One over facts that were sent, with the page info that came along.
    Client(&'a Json),
}

/// What an engine made of a query: `data`, and where they apply `pageInfo` and `aggregate`.
pub(crate) type Answer = Result<Map<String, Json>, Refused>;

/// An error as vectors write it.
pub(crate) struct Refused {
    pub(crate) kind: String,
    pub(crate) message: String,
    pub(crate) hint: Json,
}

/// Something that answers queries over a data set.
pub(crate) trait Engine {
    /// Answers one query.
    fn answer(&self, data: &TripleIndex, asked: &Asked<'_>) -> Answer;
}

/// The library itself. For a server's answers it also sees to it that the triples that would be sent
/// give a client the same tree.
pub(crate) struct Library;

impl Engine for Library {
    fn answer(&self, data: &TripleIndex, asked: &Asked<'_>) -> Answer {
        let query = query::parse(asked.query).map_err(refused)?;
        let options = match asked.side {
            Side::Server => EvalOptions { admin: asked.admin, ..EvalOptions::socket() },
            Side::Client(page_info) => {
                EvalOptions::client().with_windows(Windows::from_wire(page_info))
            }
        };
        let result = query::evaluate(data, &query, &options).map_err(refused)?;
        let object = result.to_object(data, asked.inference);
        if matches!(asked.side, Side::Server) {
            let mut wire = Vec::new();
            result.write_wire(data, &mut wire);
            let rebuilt = rebuild(data, &query, &wire, asked.inference);
            if let Some(found) = difference(&object, &rebuilt, Arrays::Ordered) {
                let message = format!("the triples sent do not give the same tree: {found}");
                return Err(Refused { kind: "wire".into(), message, hint: Json::Null });
            }
        }
        let mut answer = Map::new();
        answer.insert("data".into(), object);
        if let Some(page_info) = result.page_info(Spelling::User) {
            answer.insert("pageInfo".into(), page_info);
        }
        if let Some(aggregate) = result.aggregate_json() {
            answer.insert("aggregate".into(), aggregate);
        }
        Ok(answer)
    }
}

/// What a client makes of a result that was sent to it.
fn rebuild(data: &TripleIndex, query: &query::Query, wire: &[u8], inference: Inference) -> Json {
    let Ok(wire) = serde_json::from_slice::<Json>(wire) else {
        return "the wire form is no JSON".into();
    };
    let mut store = data_set::emptied(data);
    if let Err(problem) = collect(&mut store, &wire) {
        return problem.into();
    }
    let windows = Windows::from_wire(&wire[0]["data"]["page-info"]);
    // The server sends all children, whatever the limits of nested forms.
    let options = EvalOptions { nested_limits: false, ..EvalOptions::client() };
    match query::evaluate(&store, query, &options.with_windows(windows)) {
        Ok(result) => result.to_object(&store, inference),
        Err(error) => error.message().into(),
    }
}

/// Takes the triples of all rows of all nodes, duplicates and child nodes included.
fn collect(store: &mut TripleIndex, nodes: &Json) -> Result<(), String> {
    for node in nodes.as_array().into_iter().flatten() {
        for row in node["data"]["datalog-result"]["join-rows"].as_array().into_iter().flatten() {
            data_set::insert(store, row)?;
        }
        collect(store, &node["child-nodes"])?;
    }
    Ok(())
}

fn refused(error: QueryError) -> Refused {
    Refused {
        kind: error.kind().into(),
        message: error.message().into(),
        hint: error.hint().clone(),
    }
}

/// Client cases without a server's answer beside them in which we follow the server all the same.
const OURS: [(&str, &str, &str); 1] = [(
    "local_sparse",
    "number $gte 0",
    "the JavaScript client takes null for zero; we never match null, as the server does",
)];

/// Runs the groups of a folder.
pub(super) fn run(
    folder: &Path,
    data_sets: &Path,
    engine: &dyn Engine,
    report: &mut Report,
) -> Result<(), ConformanceError> {
    let mut loaded: HashMap<String, TripleIndex> = HashMap::new();
    for path in json_files(folder)? {
        let file = read_json(&path)?;
        let shape =
            |problem: &str| ConformanceError::Shape { path: path.clone(), problem: problem.into() };
        let group = file["group"].as_str().ok_or_else(|| shape("no group"))?;
        let cases = file["cases"].as_array().ok_or_else(|| shape("no cases"))?;
        let schema = match group {
            "client_validation" => Some(validation::read_schema(&path)?),
            _ => None,
        };
        for case in cases {
            let name = case["name"].as_str().ok_or_else(|| shape("a case without a name"))?;
            if let Some(schema) = &schema {
                report.add("instaql/client_validation", name, validation::run(case, schema));
                continue;
            }
            let data = case["dataset"].as_str().or(file["dataset"].as_str()).unwrap_or("none");
            if data != "none" && !loaded.contains_key(data) {
                loaded.insert(data.into(), data_set::load(data_sets, data)?);
            }
            let outcome = run_case(group, case, loaded.get(data), engine);
            report.add(&format!("instaql/{group}"), name, outcome);
        }
    }
    Ok(())
}

fn run_case(group: &str, case: &Json, data: Option<&TripleIndex>, engine: &dyn Engine) -> Outcome {
    if case["quirk"] == true {
        return Outcome::Skipped("quirks of the JavaScript client");
    }
    if let Some((_, _, why)) = OURS.iter().find(|ours| ours.0 == group && case["name"] == ours.1) {
        return Outcome::Skipped(why);
    }
    match (group, case["kind"].as_str()) {
        (_, Some("datalog")) => {
            return Outcome::Skipped("pattern queries are no part of the library");
        }
        (_, Some("coerce_date")) => return coerce_date(case),
        _ => {}
    }
    if case["options"]["useDateObjects"] == true {
        return Outcome::Skipped("date objects are made where objects become native values");
    }
    let Some(data) = data else { return Outcome::Failed("no data set".into()) };
    let inference = match case["options"]["cardinalityInference"] == true {
        true => Inference::Singular,
        false => Inference::Arrays,
    };
    let client = case["engine"] == "client";
    let mut asked = Asked {
        query: &case["query"],
        inference,
        admin: case["options"]["admin"] == true,
        side: Side::Server,
    };
    let answer = match case["kind"].as_str() {
        Some("wire") => {
            let mut store = data_set::emptied(data);
            if let Err(problem) = collect(&mut store, &case["result"]) {
                return Outcome::Failed(problem);
            }
            asked.side = Side::Client(&case["result"][0]["data"]["page-info"]);
            engine.answer(&store, &asked)
        }
        _ if client => {
            let mut store = data.clone();
            if let Err(problem) = data_set::insert(&mut store, &case["extra_triples"]) {
                return Outcome::Failed(problem);
            }
            asked.side = Side::Client(&case["page_info"]);
            engine.answer(&store, &asked)
        }
        _ => engine.answer(data, &asked),
    };
    judge(case, client, answer)
}

fn judge(case: &Json, client: bool, answer: Answer) -> Outcome {
    let arrays = if case["ordered"] == true { Arrays::Ordered } else { Arrays::Unordered };
    let found = match (case.get("error"), answer) {
        (None, Err(refused)) => {
            Some(format!("expected a result, got the error: {}", refused.message))
        }
        (None, Ok(answer)) => {
            let expected = &case["expect"];
            let mut keys = vec!["data"];
            // A client only repeats the page info that it was given.
            if !client {
                keys.extend(["pageInfo", "aggregate"]);
            }
            keys.into_iter().find_map(|key| {
                let (expected, got) = (expected.get(key)?, answer.get(key).unwrap_or(&Json::Null));
                let found = difference(expected, got, arrays)?;
                Some(format!("{key} {found}"))
            })
        }
        (Some(error), Ok(answer)) => {
            let data = answer.get("data").map(Json::to_string).unwrap_or_default();
            Some(format!("expected the error {}, got {data}", error["message"]))
        }
        (Some(error), Err(refused)) => wrong_error(error, &refused),
    };
    match found {
        None => Outcome::Passed,
        Some(found) => Outcome::Failed(format!("query {}\n{found}", case["query"])),
    }
}

fn wrong_error(expected: &Json, got: &Refused) -> Option<String> {
    let message = expected["message"].as_str().unwrap_or_default();
    let is_crash = message.starts_with("Cannot read") || message.ends_with("is not iterable");
    if is_crash {
        return None;
    }
    let fits = match expected["match"].as_str() {
        Some("prefix") => got.message.starts_with(message),
        _ => got.message == message,
    };
    if !fits {
        return Some(format!("expected the error {message}\ngot                {}", got.message));
    }
    if expected["type"].as_str().is_some_and(|kind| kind != got.kind) {
        return Some(format!("expected the type {}, got {}", expected["type"], got.kind));
    }
    let found = lacking(expected.get("hint")?, &got.hint)?;
    Some(format!("hint {found}"))
}

fn coerce_date(case: &Json) -> Outcome {
    let expected = match (case.get("error"), case["expect"].get("ms")) {
        (Some(error), _) => json!({"error": error["message"]}),
        (None, ms) => json!({"ms": ms}),
    };
    let got = match date::coerce_client(&Value::from_json(case["input"].clone())) {
        Ok(ms) => json!({"ms": ms}),
        Err(error) => json!({"error": error.to_string()}),
    };
    difference(&expected, &got, Arrays::Ordered).map_or(Outcome::Passed, Outcome::Failed)
}
