//! The commands of the program, a module each: its arguments and one `run` function.

pub(crate) mod app;
pub(crate) mod demo;
pub(crate) mod import;
pub(crate) mod query;
pub(crate) mod schema;
pub(crate) mod serve;
mod target;
pub(crate) mod transact;
