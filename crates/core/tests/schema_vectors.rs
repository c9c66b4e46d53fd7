//! The recorded `schema-plan` and `schema-pull` vectors: what the original's server makes of a schema.
//!
//! Reads `../shared/conformance/instaml` beside the repository; skips aloud without it. Steps are compared
//! as a set: their order within a group follows the order of keys in the JSON, which says nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::index::TripleIndex;
use tricedb_core::schema::{self, SchemaStep};
use uuid::Uuid;

fn vectors(file: &str) -> Option<Json> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/conformance/instaml");
    let text = std::fs::read_to_string(dir.join(file)).ok();
    if text.is_none() {
        eprintln!("SKIPPED: {file} is not beside this checkout");
    }
    serde_json::from_str(&text?).ok()
}

fn load(attrs: &Json) -> TripleIndex {
    let mut index = TripleIndex::new();
    for attr in attrs.as_array().into_iter().flatten() {
        let attr: Attr = serde_json::from_value(attr.clone()).expect("an attribute");
        index.put_attr(Arc::new(attr));
    }
    index
}

/// A step without what is fresh in each run, and with what may be left out.
fn comparable(step: &Json) -> String {
    let mut step = step.clone();
    let is_new = step[0] == "add-attr";
    let body = step[1].as_object_mut().expect("the body of a step");
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
    step.to_string()
}

#[test]
fn plans_are_those_of_the_original() {
    let Some(file) = vectors("schema-plan.json") else { return };
    let cases = file["cases"].as_array().expect("cases");
    let planned = cases.iter().find_map(|case| case["attrs"].as_array()).expect("attributes");
    let mut run = 0;
    for case in cases {
        run += 1;
        let id = &case["id"];
        let attrs = if case["attrs"] == "empty" { json!([]) } else { json!(planned) };
        let index = load(&attrs);
        let mut last = 0;
        let mut ids = || {
            last += 1;
            Uuid::from_u128(last)
        };
        let plan = schema::parse(&case["defs"]).and_then(|s| s.plan(index.catalog(), &mut ids));
        match plan {
            Ok(steps) => {
                let steps: Vec<SchemaStep> = match case["backgroundUpdates"] == true {
                    true => schema::in_background(steps, index.catalog()),
                    false => steps.into_iter().map(Into::into).collect(),
                };
                let wanted = case["steps"].as_array().unwrap_or_else(|| panic!("{id}: an error"));
                let mut wanted: Vec<_> = wanted.iter().map(comparable).collect();
                let mut steps: Vec<_> = steps.iter().map(|s| comparable(&s.to_json())).collect();
                wanted.sort();
                steps.sort();
                assert_eq!(steps, wanted, "{id}");
            }
            Err(error) => {
                assert_eq!(json!(error.message()), case["error"]["message"], "{id}");
                assert_eq!(error.hint(), case["error"]["hint"], "{id}");
            }
        }
    }
    assert!(run > 60, "{run} cases");
}

#[test]
fn pulls_are_those_of_the_original() {
    let (Some(fixtures), Some(file)) = (vectors("fixtures.json"), vectors("schema-pull.json"))
    else {
        return;
    };
    for case in file["cases"].as_array().expect("cases") {
        let attrs = match case["attrs"].as_str() {
            Some(name) => &fixtures["attrs"][name],
            None => &case["attrs"],
        };
        assert_eq!(schema::from_catalog(load(attrs).catalog()), case["defs"], "{}", case["id"]);
    }
}
