//! InstaQL: parsing, evaluation on an index, results.
//!
//! The way of a query: [`parse`] checks shapes and gives a [`Query`]; a [`Plan`] looks its names up in
//! the attributes of an index; evaluation finds candidates through an index, filters them, orders and
//! cuts them to a page, and descends into links. The [`QueryResult`] holds handles of the index; it is
//! rendered as objects or as the triples that travel.
//!
//! Where InstantDB's server and client disagree, this engine gives the server's answer.
//!
//! # Beyond the original
//!
//! Several operators in one object all apply: `{"rank": {"$gte": 1, "$lt": 4}}`. The original keeps one.
//!
//! Extensions are understood by a client about its own facts, by native sessions, and by apps that turn
//! them on ([`EvalOptions::extensions`]); elsewhere they give the original's error:
//!
//! | in a `where` | holds for |
//! | --- | --- |
//! | `{"$nin": [a, b]}` | some value that is none of these, or no value, as `$ne`; with null among them only for values |
//! | `{"$exists": true}` | a value that is not null: the opposite of `$isNull` |
//! | `{"$contains": x}` | a string with this part, in this letter case, or a list with this element |
//! | `{"$size": n}`, `{"$size": {"$gte": 1, "$lt": 3}}` | a list with so many elements, or a string with so many characters (code points) |
//!
//! and as `aggregate`, instead of `"count"`, an object of `"count": true` (or `"*"`), of `sum`, `min`, `max`
//! and `avg` with an attribute or a list of them, and of `groupBy` with attributes or links that have one
//! target. An aggregate goes over all matches of a top-level form:
//!
//! ```json
//! {"orders": {"$": {"where": {"paid": true},
//!                   "aggregate": {"count": true, "sum": "price", "max": ["price", "date"], "groupBy": "country"}}}}
//! {"orders": {"groups": [{"key": {"country": "CH"}, "count": 2, "sum": {"price": 7.5},
//!                         "max": {"price": 5, "date": "2025-03-01"}}]}}
//! ```
//!
//! Groups come in the order of their keys, missing values as null. `sum` and `avg` take numbers and pass over
//! anything else; without numbers `sum` is 0, the others are null. Sums are exact and rounded once when
//! they are shown, so that a live aggregate equals one from scratch whatever came and went. A sum that
//! no double can hold is null.

mod aggregate;
mod budget;
mod builder;
mod canonical;
mod check;
mod condition;
mod cut;
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
mod row_local;
mod seed;
mod test;
mod validate;
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
pub use validate::{ValidationError, validate};
pub use visibility::{AllVisible, Visibility};
pub use wire::DetachedResult;
