//! Transactions: InstaML operations, the tx-steps they become, and their execution on an index.
//!
//! The way of a write: [`Operation`]s (by names, as users write them) are expanded against an attribute
//! catalog into [`TxStep`]s (by attribute ids, as they travel); [`execute`] resolves lookups, checks
//! constraints and applies them to an index, giving a [`Commit`]: plain changes with old and new values,
//! which [`crate::index::TripleIndex::apply`] can repeat anywhere and [`crate::index::TripleIndex::undo`] can take back.

mod commit;
mod error;
mod execute;
mod expand;
mod merge;
mod operation;
mod operation_json;
mod operator;
mod rename;
mod step;
mod step_json;
mod validate;

pub(crate) use commit::Change;
pub use commit::{AttrChange, Commit, FactChange, Stamped};
pub use error::{TxError, TxErrorKind};
pub(crate) use execute::too_large;
pub use execute::{Actor, ExecuteContext, execute, value_lookup};
pub use expand::{Dialect, ExpandOptions, MissingAttrs, expand, expand_with};
pub use merge::deep_merge;
pub use operation::{Action, EntityKey, LinkTargets, Operation, TxBuilder, UpdateMode, lookup, tx};
pub use operation_json::{AdminSteps, parse_operations, parse_operations_as};
pub(crate) use operator::all_data;
pub use operator::{Operator, ValueForm, literal};
pub use rename::rename_attrs;
pub use step::{EntityRef, Mode, TxStep};
pub use step_json::{parse_steps, parse_steps_as, steps_to_json};
pub use validate::{InvalidOperation, validate};
