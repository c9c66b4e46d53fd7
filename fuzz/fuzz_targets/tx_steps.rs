//! The text of tx-steps and of operations, run as `crates/core/tests/hostile` runs them.

#![no_main]
#![allow(clippy::unwrap_used, reason = "the fuzzer looks for panics")]

#[path = "../../crates/core/tests/hostile/app.rs"]
mod app;
#[path = "../../crates/core/tests/hostile/steps.rs"]
mod steps;

libfuzzer_sys::fuzz_target!(|text: &[u8]| {
    if let Ok(json) = serde_json::from_slice(text) {
        steps::check(&json);
    }
});
