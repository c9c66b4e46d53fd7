//! Many live queries, of which a commit touches few.

use std::sync::Arc;

use crate::index::TripleIndex;
use crate::query::error::QueryError;
use crate::query::form::Query;
use crate::query::options::EvalOptions;
use crate::query::plan::Column;
use crate::tx::Commit;

use super::change::Change;
use super::delta::Delta;
use super::live_query::LiveQuery;
use super::route::{Routes, Seat, registrations};

/// A query of a [`LiveSet`]. Given again after the query was removed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LiveId(pub u32);

/// What a commit did to one query of a [`LiveSet`].
#[derive(Debug)]
pub struct Touched {
    /// The query.
    pub id: LiveId,
    /// What changed, if anything; an error if the query does not fit the attributes any more. It stays in the
    /// set, refused, until they change again.
    pub change: Result<Change, QueryError>,
}

/// Live queries of readers who may see everything. A commit costs what it touches, however many queries
/// there are.
///
/// Whoever keeps a set makes equal queries one. A commit that is taken back is followed as
/// [`Commit::inverse`].
///
/// ```
/// # use tricedb_core::index::TripleIndex;
/// # use tricedb_core::query::{EvalOptions, live::LiveSet, query};
/// # use tricedb_core::tx::Commit;
/// # let (mut index, commit) = (TripleIndex::new(), Commit::default());
/// let mut set = LiveSet::default();
/// let todos = set.insert(&index, &query("todos").build()?, &EvalOptions::native())?;
/// index.apply(&commit);
/// for touched in set.apply(&index, &commit) {
///     println!("{:?}: {:?}", touched.id, touched.change);
/// }
/// set.remove(todos);
/// # Ok::<(), tricedb_core::query::QueryError>(())
/// ```
#[derive(Debug, Default)]
pub struct LiveSet {
    slots: Vec<Option<Box<Member>>>,
    free: Vec<LiveId>,
    routes: Routes,
    /// What plans return, each list once.
    columns: Vec<Arc<[Column]>>,
    len: usize,
}

#[derive(Debug)]
struct Member {
    live: LiveQuery,
    seats: Box<[Seat]>,
}

impl LiveSet {
    /// Adds a query and evaluates it.
    ///
    /// # Errors
    /// As [`crate::query::evaluate`].
    pub fn insert(
        &mut self,
        index: &TripleIndex,
        query: &Query,
        options: &EvalOptions,
    ) -> Result<LiveId, QueryError> {
        Ok(self.adopt(index, LiveQuery::new(index, query, options)?))
    }

    /// Adds a live query that stands where the index does.
    pub fn adopt(&mut self, index: &TripleIndex, mut live: LiveQuery) -> LiveId {
        live.share_columns(&mut self.columns);
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            LiveId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        });
        let seats = self.routes.enter(id, registrations(live.plan(), index));
        self.slots[id.0 as usize] = Some(Box::new(Member { live, seats }));
        self.len += 1;
        id
    }

    /// Removes a query; gives it back if it was there.
    pub fn remove(&mut self, id: LiveId) -> Option<LiveQuery> {
        let member = self.slots.get_mut(id.0 as usize)?.take()?;
        self.routes.leave(id, &member.seats);
        self.free.push(id);
        self.len -= 1;
        if self.len == 0 {
            self.columns = Vec::new();
        }
        Some(member.live)
    }

    /// A query.
    pub fn get(&self, id: LiveId) -> Option<&LiveQuery> {
        self.slots.get(id.0 as usize)?.as_ref().map(|member| &member.live)
    }

    /// Number of queries.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no query.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every query, in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (LiveId, &LiveQuery)> {
        let slots = (0..).map(LiveId).zip(&self.slots);
        slots.filter_map(|(id, slot)| Some((id, &slot.as_ref()?.live)))
    }

    /// Follows a commit; the index is the one after it. Gives the queries that felt it, in the order of ids.
    pub fn apply(&mut self, index: &TripleIndex, commit: &Commit) -> Vec<Touched> {
        self.apply_delta(index, commit, &Delta::new(index, commit))
    }

    /// As [`Self::apply`], with the commit's [`Delta`] made before.
    pub fn apply_delta(
        &mut self,
        index: &TripleIndex,
        commit: &Commit,
        delta: &Delta<'_>,
    ) -> Vec<Touched> {
        let mut replanned = Vec::new();
        if commit.changes_attrs() {
            let named = self.iter().filter(|(_, live)| live.names(index, commit));
            replanned = named.map(|(id, _)| id).collect();
        }
        let mut ids = Vec::new();
        self.routes.touched(index, delta, &mut ids);
        ids.sort_unstable();
        ids.dedup();
        let mut touched = Vec::new();
        for id in ids {
            if replanned.binary_search(&id).is_err()
                && let Some(Some(member)) = self.slots.get_mut(id.0 as usize)
            {
                let change = member.live.follow(index, delta);
                if !matches!(&change, Ok(change) if change.is_empty() && !change.evidence) {
                    touched.push(Touched { id, change });
                }
            }
        }
        for id in replanned {
            touched.extend(self.replan(index, id).map(|change| Touched { id, change }));
        }
        touched.sort_by_key(|touched| touched.id);
        touched
    }

    fn replan(&mut self, index: &TripleIndex, id: LiveId) -> Option<Result<Change, QueryError>> {
        let member = self.slots.get_mut(id.0 as usize)?.as_mut()?;
        self.routes.leave(id, &member.seats);
        let change = member.live.replan(index);
        self.columns.retain(|columns| Arc::strong_count(columns) > 1);
        member.live.share_columns(&mut self.columns);
        // A refused query fits again only after attributes change.
        let found =
            if change.is_ok() { registrations(member.live.plan(), index) } else { Vec::new() };
        member.seats = self.routes.enter(id, found);
        Some(change)
    }

    /// Plans and evaluates every query anew: after the index was changed in ways that no commit tells.
    pub fn renew(&mut self, index: &TripleIndex) -> Vec<Touched> {
        let ids: Vec<LiveId> = self.iter().map(|(id, _)| id).collect();
        let renew = |id| Some(Touched { id, change: self.replan(index, id)? });
        ids.into_iter().filter_map(renew).collect()
    }

    /// Whether nothing remains of queries that came and went, but places to be taken again.
    pub fn holds_nothing(&self) -> bool {
        self.len == 0 && self.routes.is_empty()
    }
}
