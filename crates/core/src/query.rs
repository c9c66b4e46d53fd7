//! InstaQL: parsing, evaluation on an index, results.
//!
//! The way of a query: [`parse`] checks shapes and gives a [`Query`]; a [`Plan`] looks its names up in
//! the attributes of an index; evaluation finds candidates through an index, filters them, orders and
//! cuts them to a page, and descends into links. The [`QueryResult`] holds handles of the index; it is
//! rendered as objects or as the triples that travel.
//!
//! Where InstantDB's server and client disagree, this engine gives the server's answer.

mod builder;
mod canonical;
mod check;
mod condition;
mod error;
mod evaluate;
mod explain;
mod form;
pub mod live;
mod options;
mod parse;
mod pattern;
mod plan;
mod reads;
mod result;
mod seed;
mod test;
mod visibility;
mod window;
mod wire;

pub use builder::{Filter, Path, QueryBuilder, all, any, field, query};
pub use canonical::canonical_json;
pub use error::QueryError;
pub use evaluate::{evaluate, evaluate_as};
pub use explain::{Access, Explanation, FormExplanation, LivePath, OrderSource, Seed, SeedKind};
pub use form::{Cursor, Query};
pub use options::{EvalOptions, Windows};
pub use parse::parse;
pub use plan::Plan;
pub use reads::ReadSet;
pub use result::{Inference, QueryResult, Spelling};
pub use visibility::{AllVisible, Visibility};
