//! The interned triple index: every fact of an app, found from any side.
//!
//! Entities are interned to [`Handle`]s, attributes to [`AttrSlot`]s. The facts of an entity live in one
//! shared, copy-on-write [`Row`]; results and snapshots hold rows and never copy them. Beside the rows,
//! every attribute has a column: which entities hold it, its values in order (where indexed), its
//! values by equality (where unique), and for links the way back from target to source.

mod column;
mod row;
mod run;
mod shape;
mod sort_key;
mod store;

pub use column::{Members, Ordered};
pub use row::{AttrSlot, Cell, Handle, Link, Links, LinksIter, Row};
pub use run::Walk;
pub use sort_key::SortKey;
pub use store::TripleIndex;
