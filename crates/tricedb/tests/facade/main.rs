//! What the crate adds to the engine, over a real server: types, pages, and the small things of every day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test ends where something is wrong"
)]

mod everyday;
mod infinite;
mod typed;
mod world;
