//! Refusals of the core as the answers that clients know.

use serde_json::{Value as Json, json};
use tricedb_core::query::QueryError;
use tricedb_core::tx::TxError;
use tricedb_protocol::ErrorBody;

/// A query's refusal.
pub(super) fn query_refused(error: &QueryError) -> ErrorBody {
    ErrorBody::bad_request(error.kind(), error.message(), error.hint().clone())
}

/// A transaction's refusal. It is remembered, so it is kept short whatever the transaction held.
pub(super) fn tx_refused(error: &TxError) -> ErrorBody {
    ErrorBody {
        status: error.status(),
        kind: Some(error.kind().type_name().to_owned()),
        message: shorten(error.message(), MESSAGE_MAX),
        hint: bounded(error.hint()),
    }
}

/// A transaction of too many steps.
pub(super) fn too_many_steps(data_type: &str, count_max: usize) -> ErrorBody {
    let message = format!("A transaction may have at most {count_max} steps.");
    ErrorBody::invalid(data_type, &message, Json::Null)
}

/// Characters of a message at most.
const MESSAGE_MAX: usize = 2_000;
/// Bytes of a hint as JSON, beyond which its parts are cut.
const HINT_MAX: usize = 8 << 10;
/// Characters that remain of a text in a hint that is too large.
const TEXT_MAX: usize = 200;

fn bounded(hint: &Json) -> Json {
    if hint.to_string().len() <= HINT_MAX {
        return hint.clone();
    }
    let cut = cut(hint);
    if cut.to_string().len() <= HINT_MAX { cut } else { json!({ "data-type": hint["data-type"] }) }
}

/// Cuts long texts, and drops what else is large.
fn cut(json: &Json) -> Json {
    match json {
        Json::String(text) => shorten(text, TEXT_MAX).into(),
        Json::Array(items) => items.iter().take(20).map(cut).collect(),
        Json::Object(map) => map.iter().take(20).map(|(k, v)| (k.clone(), cut(v))).collect(),
        scalar => scalar.clone(),
    }
}

fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_hints_stay_and_large_ones_are_cut() {
        let small = json!({"input": ["todos", 1, null], "text": "x".repeat(1_000)});
        assert_eq!(bounded(&small), small);
        let large = json!({"value": "é".repeat(100_000), "attr-id": "a", "n": 7});
        let cut = bounded(&large);
        assert_eq!((&cut["attr-id"], &cut["n"]), (&json!("a"), &json!(7)));
        assert_eq!(cut["value"].as_str().unwrap().chars().count(), TEXT_MAX + 3);
        let mut deep = json!("x".repeat(300));
        for _ in 0..3 {
            deep = Json::Array(vec![deep; 20]);
        }
        let deep = json!({"data-type": "tx-steps", "input": deep});
        assert_eq!(bounded(&deep), json!({"data-type": "tx-steps"}));
    }
}
