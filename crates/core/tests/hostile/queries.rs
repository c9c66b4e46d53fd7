//! Queries: parsed, planned, evaluated, shown.

use serde_json::Value as Json;
use tricedb_core::query::{EvalOptions, Inference, evaluate, parse};

use super::app::{app, with_ids};

/// Runs JSON as a query, the way sockets and the admin API do.
pub(crate) fn check(json: &Json) {
    let json = with_ids(json);
    let Ok(query) = parse(&json) else { return };
    let index = app();
    for options in [EvalOptions::native(), EvalOptions::admin_http()] {
        if let Ok(result) = evaluate(&index, &query, &options) {
            for inference in [Inference::Arrays, Inference::Singular] {
                let shown = result.to_object(&index, inference);
                assert!(shown.is_object(), "{shown}");
            }
        }
    }
}
