//! Kinds about schemas: their JSON, what an app lacks of one, and what one reads from an app.

use serde_json::{Map, Value as Json, json};
use tricedb_core::schema;
use uuid::Uuid;

use super::super::Outcome;
use super::expect_json;
use super::fixtures::Fixtures;

/// A schema is written as this JSON, and reads back as the same.
pub(super) fn serialize(case: &Json) -> Outcome {
    // Rooms are types of the JavaScript client alone; they never reach a server.
    let data_only = |json: &Json| json!({ "entities": json["entities"], "links": json["links"] });
    let expected = data_only(&case["json"]);
    let schema = match schema::parse(&short_form(&case["description"])) {
        Ok(schema) => schema,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let written = schema.to_json();
    match schema::parse(&written) {
        Ok(back) if back.to_json() == written => {}
        other => return Outcome::Failed(format!("reads back as {other:?}")),
    }
    let outcome = expect_json(&expected, &data_only(&written));
    let Outcome::Passed = outcome else { return outcome };
    let reparsed = &case["reparsed"];
    if reparsed == "same" {
        outcome
    } else {
        expect_json(&data_only(reparsed), &data_only(&written))
    }
}

/// A description, whose attributes are lists of a type and modifiers, in the shorter JSON form.
fn short_form(description: &Json) -> Json {
    let mut entities = Map::new();
    for (etype, attrs) in description["entities"].as_object().into_iter().flatten() {
        let attrs = attrs.as_object().into_iter().flatten().map(|(label, words)| {
            let has =
                |word: &str| words.as_array().is_some_and(|words| words.contains(&json!(word)));
            let def = json!({
                "valueType": words[0],
                "required": !has("optional") && !has("clientRequired"),
                "config": { "indexed": has("indexed"), "unique": has("unique") },
            });
            (label.clone(), def)
        });
        entities.insert(etype.clone(), json!({ "attrs": attrs.collect::<Map<_, _>>() }));
    }
    json!({ "entities": entities, "links": description.get("links").unwrap_or(&json!({})) })
}

/// What has to be done to an app with these attributes.
pub(super) fn plan(case: &Json, fixtures: &Fixtures) -> Outcome {
    let index = match fixtures.index(&case["attrs"], false) {
        Ok(index) => index,
        Err(outcome) => return outcome,
    };
    let mut last = 0;
    let mut ids = || {
        last += 1;
        Uuid::from_u128(last)
    };
    let in_background = case["backgroundUpdates"] == true;
    let plan = schema::parse(&case["defs"])
        .and_then(|schema| schema.plan(index.catalog(), &mut ids))
        .map(|plan| match in_background {
            true => schema::in_background(plan, index.catalog()),
            false => plan.into_iter().map(Into::into).collect(),
        });
    match (case.get("error"), plan) {
        (None, Ok(steps)) => {
            let expected = case["steps"].as_array().into_iter().flatten();
            // The order within a group follows the order of keys in the JSON, which says nothing.
            let mut expected: Vec<String> = expected.map(comparable).collect();
            let mut got: Vec<String> =
                steps.iter().map(|step| comparable(&step.to_json())).collect();
            expected.sort();
            got.sort();
            expect_json(&json!(expected), &json!(got))
        }
        (None, Err(error)) => Outcome::Failed(format!("refused: {error}")),
        (Some(error), Ok(_)) => Outcome::Failed(format!("should fail with {}", error["message"])),
        (Some(error), Err(got)) => expect_json(&error["message"], &json!(got.message())),
    }
}

/// A step without what is fresh in each run, and with what may be left out.
fn comparable(step: &Json) -> String {
    let mut step = step.clone();
    let is_new = step[0] == "add-attr";
    if let Some(Json::Object(body)) = step.get_mut(1) {
        body.remove("catalog");
        body.remove("inferred-types");
        if is_new {
            body.remove("id");
            for identity in ["forward-identity", "reverse-identity"] {
                if let Some(identity) = body.get_mut(identity) {
                    identity[0] = Json::Null;
                }
            }
            body.entry("required?").or_insert(json!(false));
        }
        body.retain(|_, value| !value.is_null());
    }
    step.to_string()
}

/// The schema that an app has.
pub(super) fn pull(case: &Json, fixtures: &Fixtures) -> Outcome {
    match fixtures.index(&case["attrs"], false) {
        Ok(index) => expect_json(&case["defs"], &schema::from_catalog(index.catalog())),
        Err(outcome) => outcome,
    }
}
