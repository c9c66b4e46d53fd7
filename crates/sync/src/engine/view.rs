//! Facts with pending transactions laid over them.

use tricedb_core::id::{EntityId, IdSource};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::ReadSet;
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, TxError, execute};

use super::facts::{drop_fact, fact_of, put_fact, triple_of};
use super::pending::Pending;

/// Confirmed facts, and over them pending transactions in order. What is laid over can be lifted off
/// again, last first, to change what is below.
#[derive(Debug, Default)]
pub(crate) struct View {
    index: TripleIndex,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    seq: u64,
    /// Of the pending transaction's steps.
    revision: u32,
    /// What it changed; `None` if it does not apply here and shows nothing.
    commit: Option<Commit>,
    /// Facts from elsewhere that it needed.
    borrowed: Vec<Triple>,
    /// Whether it may have changed what is read of the view.
    is_felt: bool,
}

/// Knows confirmed facts of entities that a view does not hold.
pub(crate) trait Lender {
    /// Trustworthy facts of an entity.
    fn lend(&self, entity: EntityId) -> Vec<Triple>;

    /// The entities that a pending transaction is about.
    fn touched(&self, pending: &Pending) -> Vec<EntityId>;
}

impl View {
    pub(crate) const fn new(index: TripleIndex) -> Self {
        Self { index, layers: Vec::new() }
    }

    /// Everything, pending transactions included.
    pub(crate) const fn index(&self) -> &TripleIndex {
        &self.index
    }

    /// The confirmed facts, after lifting everything off.
    pub(crate) fn base(&mut self) -> &mut TripleIndex {
        self.lift(0);
        &mut self.index
    }

    /// What is laid over, in order.
    pub(crate) fn commits(&self) -> impl DoubleEndedIterator<Item = &Commit> {
        self.layers.iter().filter_map(|layer| layer.commit.as_ref())
    }

    fn lift(&mut self, keep: usize) {
        while self.layers.len() > keep {
            let Some(layer) = self.layers.pop() else { return };
            if let Some(commit) = &layer.commit {
                self.index.undo(commit);
            }
            for triple in layer.borrowed.iter().rev() {
                if let Some(fact) = fact_of(&self.index, triple) {
                    drop_fact(&mut self.index, &fact);
                }
            }
        }
    }

    /// Lays exactly these transactions over, in this order. Returns whether `reads` may have felt it.
    pub(crate) fn align(
        &mut self,
        wanted: &[&Pending],
        reads: Option<&ReadSet>,
        lender: Option<&dyn Lender>,
        ids: &mut dyn IdSource,
    ) -> bool {
        let same = self
            .layers
            .iter()
            .zip(wanted)
            .take_while(|(layer, pending)| {
                layer.seq == pending.seq && layer.revision == pending.revision
            })
            .count();
        let mut felt = self.layers[same..].iter().any(|layer| layer.is_felt);
        self.lift(same);
        for pending in &wanted[same..] {
            // A transaction that does not apply here shows nothing; whether it stands, the server says.
            let _ = self.lay(pending, reads, lender, ids);
            felt |= self.layers.last().is_some_and(|layer| layer.is_felt);
        }
        felt
    }

    /// Whether a transaction is laid over and may have changed what is read of the view.
    pub(crate) fn shows(&self, seq: u64) -> bool {
        self.layers.iter().any(|layer| layer.seq == seq && layer.is_felt)
    }

    /// Lays one more transaction over the others.
    ///
    /// # Errors
    /// Why it does not apply; it shows nothing then.
    pub(crate) fn lay(
        &mut self,
        pending: &Pending,
        reads: Option<&ReadSet>,
        lender: Option<&dyn Lender>,
        ids: &mut dyn IdSource,
    ) -> Result<(), TxError> {
        let borrowed = lender.map(|lender| self.borrow(pending, lender)).unwrap_or_default();
        // Later than anything that a server wrote: own new rows come last until the server places them.
        let now = pending.created_at.saturating_mul(10);
        let mut context = ExecuteContext { now, ids, actor: Actor::Optimistic };
        let outcome = execute(&mut self.index, &pending.steps, &mut context);
        let (commit, result) = match outcome {
            Ok(commit) => (Some(commit), Ok(())),
            Err(error) => (None, Err(error)),
        };
        let catalog = self.index.catalog();
        let touches = |commit: &Commit| reads.is_none_or(|reads| reads.touches(commit, catalog));
        let is_felt = !borrowed.is_empty() || commit.as_ref().is_some_and(touches);
        let Pending { seq, revision, .. } = *pending;
        self.layers.push(Layer { seq, revision, commit, borrowed, is_felt });
        result
    }

    /// What the latest transaction changed, if it applies.
    pub(crate) fn last_commit(&self) -> Option<&Commit> {
        self.layers.last()?.commit.as_ref()
    }

    /// Takes the latest transaction off again.
    pub(crate) fn lift_last(&mut self) {
        let keep = self.layers.len().saturating_sub(1);
        self.lift(keep);
    }

    fn borrow(&mut self, pending: &Pending, lender: &dyn Lender) -> Vec<Triple> {
        let mut borrowed = Vec::new();
        for entity in lender.touched(pending) {
            for triple in lender.lend(entity) {
                let Some(fact) = fact_of(&self.index, &triple) else { continue };
                if triple_of(&self.index, &fact).is_none() && put_fact(&mut self.index, &triple) {
                    borrowed.push(triple);
                }
            }
        }
        borrowed
    }
}
