//! The latest commits, kept to look back: what a client held when it left, and who changed what since.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashSet;
use rustc_hash::FxBuildHasher;
use tricedb_core::id::{AttrId, EntityId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::Commit;
use uuid::Uuid;

/// Most single changes that are kept. Looking back takes back and repeats them, about a microsecond each.
const CHANGES_MAX: usize = 10_000;

#[derive(Debug)]
struct Past {
    position: TxId,
    commit: Arc<Commit>,
    /// The native client whose transaction it was.
    author: Option<Uuid>,
}

/// See the module. The last one is the commit at the app's position.
#[derive(Debug, Default)]
pub(in crate::app) struct Tail {
    commits: VecDeque<Past>,
    changes: usize,
}

impl Tail {
    /// Takes a commit that was applied.
    pub(in crate::app) fn push(
        &mut self,
        position: TxId,
        commit: Arc<Commit>,
        author: Option<Uuid>,
    ) {
        self.changes += commit.len();
        self.commits.push_back(Past { position, commit, author });
        while self.changes > CHANGES_MAX {
            let Some(oldest) = self.commits.pop_front() else { return };
            self.changes -= oldest.commit.len();
        }
    }

    /// The latest commit was taken back.
    pub(in crate::app) fn pop(&mut self, position: TxId) {
        if self.commits.back().is_some_and(|last| last.position == position)
            && let Some(last) = self.commits.pop_back()
        {
            self.changes -= last.commit.len();
        }
    }

    fn since(&self, position: TxId, now: TxId) -> Option<impl DoubleEndedIterator<Item = &Past>> {
        let missing = usize::try_from(now.0.checked_sub(position.0)?).ok()?;
        let start = self.commits.len().checked_sub(missing)?;
        Some(self.commits.range(start..))
    }

    /// Looks at the index as it was at a position. `None` if that lies too far back, or ahead.
    pub(super) fn look_back<R>(
        &self,
        index: &mut TripleIndex,
        position: TxId,
        now: TxId,
        look: impl FnOnce(&TripleIndex) -> R,
    ) -> Option<R> {
        for past in self.since(position, now)?.rev() {
            index.undo(&past.commit);
        }
        let seen = look(index);
        for past in self.since(position, now)? {
            index.apply(&past.commit);
        }
        Some(seen)
    }

    /// The facts that others than a client changed after a position and before a commit. As far back as
    /// is known.
    pub(super) fn changed_by_others(
        &self,
        client: Uuid,
        after: TxId,
        before: TxId,
    ) -> HashSet<(EntityId, AttrId), FxBuildHasher> {
        let others = self.commits.iter().rev().take_while(|past| past.position > after);
        others
            .filter(|past| past.position < before && past.author != Some(client))
            .flat_map(|past| past.commit.facts().map(|fact| (fact.entity, fact.attr)))
            .collect()
    }
}
