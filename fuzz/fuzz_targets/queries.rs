//! The text of InstaQL queries, run as `crates/core/tests/hostile` runs them.

#![no_main]
#![allow(clippy::unwrap_used, reason = "the fuzzer looks for panics")]

#[path = "../../crates/core/tests/hostile/app.rs"]
mod app;
#[path = "../../crates/core/tests/hostile/queries.rs"]
mod queries;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(json) = serde_json::from_slice(text) {
        queries::check(&json);
    }
});
