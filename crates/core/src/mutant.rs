//! Bugs on purpose, for the simulation to find: compiled only with the feature `mutants`, asleep until one
//! is planted in the present thread.

use std::cell::Cell;

/// One bug.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mutant {
    /// The server answers before its log has what the answer shows.
    AckBeforeFlush,
    /// The server runs a transaction again that is sent again.
    ResendRunsAgain,
    /// The client loses one fact of a change.
    DropFact,
    /// The client does not take back what was rejected.
    KeepRejected,
    /// The client applies a change after the one that follows it.
    OutOfOrder,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::AckBeforeFlush,
        Self::ResendRunsAgain,
        Self::DropFact,
        Self::KeepRejected,
        Self::OutOfOrder,
    ];

    /// Whether this thread has it.
    pub fn is_planted(self) -> bool {
        PLANTED.get() == Some(self)
    }
}

thread_local! {
    static PLANTED: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Plants a bug in this thread in the place of any other, or takes it out.
pub fn plant(mutant: Option<Mutant>) {
    PLANTED.set(mutant);
}
