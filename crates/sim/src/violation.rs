//! A promise that did not hold.

/// The promises of the design that the simulation checks, by their numbers there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Promise {
    /// 1: what is told to be durable survives every crash.
    Durable,
    /// 2: a transaction is applied once or, if rejected, never, and the client learns which.
    Once,
    /// 3: nobody sees half of a transaction.
    Atomic,
    /// 4: own writes show at once and do not flicker.
    OwnWrites,
    /// 5: commits are seen in order.
    Order,
    /// 6: at quiet, equal queries show equal results.
    Convergence,
    /// 7: the rules of concurrent writes.
    Conflicts,
    /// 8: a rejected write is taken back completely.
    Rollback,
    /// 10: a queue makes progress.
    Liveness,
    /// Rooms: at quiet all members see the same peers; broadcasts keep their order.
    Rooms,
    /// Nothing panics, and nothing says what cannot be.
    Sanity,
}

/// A promise that did not hold, and how that showed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{promise:?}: {what}")]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How it showed.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(promise: Promise, what: impl Into<String>) -> Self {
        Self { promise, what: what.into() }
    }
}

/// Fails with a violation unless a condition holds.
macro_rules! hold {
    ($condition:expr, $promise:ident, $($what:tt)+) => {
        if !$condition {
            return Err($crate::violation::Violation::new(
                $crate::violation::Promise::$promise,
                format!($($what)+),
            ));
        }
    };
}
pub(crate) use hold;
