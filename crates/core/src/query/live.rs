//! Live queries: results kept up to date by what commits change.
//!
//! A [`LiveQuery`] holds its rows in order. A commit is read as a [`Delta`]; changed facts are walked back
//! through links to the rows that they can touch, these rows are judged again, and they are taken out of
//! and put into ordered lists by binary search. No other row is looked at. A page with a limit holds
//! spare rows behind it; when they run out, it is refilled through an index, or if none serves by a scan,
//! which is counted.
//!
//! A [`LiveSet`] holds many live queries and finds those that a commit can touch by the values of the
//! entities that it changed.
//!
//! Evaluation from scratch gives the same result always; what cannot be kept up to date falls back to it,
//! and is counted too (see [`Counters`]).

mod aggregate;
mod branch;
mod change;
mod delta;
mod facts;
mod live_query;
mod ordered;
mod reach;
mod roots;
mod route;
mod router;
mod set;

pub use change::{Change, LevelId, RowChange, RowChangeKind};
pub use delta::Delta;
pub use facts::{FactPut, FactsChange};
pub use live_query::{Counters, LiveQuery};
pub use router::Router;
pub use set::{LiveId, LiveSet, Touched};

pub(in crate::query) use ordered::{Entry, Key};
