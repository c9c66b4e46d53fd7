//! Finding the queries that a commit can touch, for those who keep their results themselves.

use crate::index::TripleIndex;
use crate::query::plan::Plan;

use super::delta::Delta;
use super::route::{Routes, Seat, registrations};
use super::set::LiveId;

/// Plans, and which of them a commit can touch: as in a [`super::LiveSet`], which keeps results too.
#[derive(Debug, Default)]
pub struct Router {
    seats: Vec<Option<Box<[Seat]>>>,
    free: Vec<LiveId>,
    routes: Routes,
}

impl Router {
    /// Enters a plan. It must be entered anew when it is made anew.
    pub fn insert(&mut self, index: &TripleIndex, plan: &Plan) -> LiveId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            LiveId(u32::try_from(self.seats.len() - 1).unwrap_or(u32::MAX))
        });
        self.seats[id.0 as usize] = Some(self.routes.enter(id, registrations(plan, index)));
        id
    }

    /// Removes a plan.
    pub fn remove(&mut self, id: LiveId) {
        if let Some(seats) = self.seats.get_mut(id.0 as usize).and_then(Option::take) {
            self.routes.leave(id, &seats);
            self.free.push(id);
        }
    }

    /// The plans whose results a commit can have changed, in the order of ids. The index is the one after
    /// the commit.
    pub fn touched(&self, index: &TripleIndex, delta: &Delta<'_>) -> Vec<LiveId> {
        let mut found = Vec::new();
        self.routes.touched(index, delta, &mut found);
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether there is no plan.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}
