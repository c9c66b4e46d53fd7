//! InstaML vectors: operations, tx-steps, what transactions leave behind, values and schemas.

mod apply;
mod fixtures;
mod forms;
mod operations;
mod schemas;
mod values;

use std::path::Path;

use serde_json::Value as Json;
use tricedb_core::tx::TxError;

use self::fixtures::Fixtures;
use self::forms::Names;
use super::{ConformanceError, Outcome, Report, json_files, read_json};

/// Runs the kinds of a folder.
pub(super) fn run(folder: &Path, report: &mut Report) -> Result<(), ConformanceError> {
    let fixtures = Fixtures::load(&folder.join("fixtures.json"))?;
    for path in json_files(folder)? {
        if path.file_name().is_some_and(|name| name == "fixtures.json") {
            continue;
        }
        let file = read_json(&path)?;
        let shape =
            |problem: &str| ConformanceError::Shape { path: path.clone(), problem: problem.into() };
        let kind = file["kind"].as_str().ok_or_else(|| shape("no kind"))?;
        let cases = file["cases"].as_array().ok_or_else(|| shape("no cases"))?;
        for case in cases {
            let name = case["name"].as_str().ok_or_else(|| shape("a case without a name"))?;
            let id = case["id"].as_str().unwrap_or_default();
            for (part, outcome) in run_case(kind, case, &fixtures) {
                let name =
                    if part.is_empty() { name.to_owned() } else { format!("{name} [{part}]") };
                report.add(&format!("instaml/{kind} {id}"), &name, outcome);
            }
        }
    }
    Ok(())
}

/// The outcomes of a case, one per engine that it speaks of.
fn run_case(kind: &str, case: &Json, fixtures: &Fixtures) -> Vec<(&'static str, Outcome)> {
    if case["quirk"] == true {
        return vec![("", Outcome::Skipped("quirks of the JavaScript client"))];
    }
    let outcome = match kind {
        "apply" => return apply::run(case, fixtures),
        "merge" => return values::merge(case),
        "dates" => return values::dates(case),
        "builder" => operations::builder(case),
        "transform" => operations::transform(case, fixtures),
        "admin-steps" => operations::admin_steps(case, fixtures),
        "step-validation" => operations::step_validation(case, fixtures),
        "validation" => operations::validation(case, fixtures),
        "checked-types" => values::checked_types(case),
        "schema-serialize" => schemas::serialize(case),
        "schema-plan" => schemas::plan(case, fixtures),
        "schema-pull" => schemas::pull(case, fixtures),
        "rewrite" => Outcome::Skipped(
            "steps are not rewritten here: operations by names are expanded again when ids change",
        ),
        "schema-diff" | "lookup-strings" => {
            Outcome::Skipped("concerns tools of the official packages alone")
        }
        "permissions" => Outcome::Skipped("permission rules are not built yet"),
        other => Outcome::Failed(format!("unknown kind {other}")),
    };
    vec![("", outcome)]
}

/// Compares a value with what was expected, up to the names of fresh ids.
fn expect_json(expected: &Json, got: &Json) -> Outcome {
    match Names::default().difference(expected, got) {
        None => Outcome::Passed,
        Some(found) => Outcome::Failed(format!("{found}\nexpected {expected}\ngot      {got}")),
    }
}

/// Compares an error with what was expected: type, message (the order of its sentences is free) and status.
fn expect_error(expected: &Json, got: &TxError) -> Outcome {
    if expected["type"] == "internal" {
        return Outcome::Passed;
    }
    let sentences = |text: &str| {
        let mut parts: Vec<String> = text.split(". ").map(str::to_owned).collect();
        parts.sort();
        parts
    };
    let wanted = expected["message"].as_str().unwrap_or_default();
    let status = expected["status"].as_u64();
    if got.kind().type_name() == expected["type"]
        && sentences(got.message()) == sentences(wanted)
        && status.is_none_or(|status| status == u64::from(got.status()))
    {
        return Outcome::Passed;
    }
    Outcome::Failed(format!(
        "expected the error {} {wanted}\ngot                {} {got}",
        expected["type"],
        got.kind().type_name()
    ))
}

fn failed<T>(text: impl Into<String>) -> Result<T, Outcome> {
    Err(Outcome::Failed(text.into()))
}
