//! Queries each of whose rows stands for itself: what a change of some entities does to the result follows
//! from these entities alone.

use std::sync::Arc;

use super::condition::{Cond, Scope, Way};
use super::evaluate::Evaluation;
use super::plan::Plan;
use super::result::{FormResult, QueryResult};
use super::visibility::Visibility;
use crate::attr::Cardinality;
use crate::catalog::Direction;
use crate::id::{AttrId, EntityId};
use crate::index::{AttrSlot, Handle, TripleIndex};

impl Plan {
    /// If every fact of the result belongs to a row of it and depends on that entity's own facts only: the
    /// attributes of these facts, all of one value. None if rows depend on each other (pages, page
    /// info, aggregates), on other entities, or on links of many.
    pub fn row_local(&self, index: &TripleIndex) -> Option<Vec<AttrId>> {
        let [form] = &*self.forms else { return None };
        if form.aggregate.is_some() || form.paged {
            return None;
        }
        // A name that does not exist yet: no rows, and no facts.
        let Some(body) = &form.body else { return Some(Vec::new()) };
        let page = &body.page;
        let is_cut = page.limit.is_some() || page.offset.is_some();
        let is_page = is_cut || page.after.is_some() || page.before.is_some();
        if is_page || !body.children.is_empty() {
            return None;
        }
        let mut slots: Vec<AttrSlot> = body.columns.0.iter().map(|column| column.slot).collect();
        slots.push(body.space);
        if let Some(filter) = &body.filter
            && !own(filter, &mut slots)
        {
            return None;
        }
        slots.sort_unstable();
        slots.dedup();
        let single = |slot: AttrSlot| {
            let attr = index.catalog().get(index.attr_id(slot))?;
            (!attr.is_ref() || attr.cardinality == Cardinality::One).then_some(attr.id)
        };
        slots.into_iter().map(single).collect()
    }
}

/// Whether a condition looks at the entity's own facts only; gathers their attributes.
fn own(cond: &Cond, slots: &mut Vec<AttrSlot>) -> bool {
    match cond {
        Cond::IdPrefix(_) => true,
        Cond::All(conds) | Cond::Any(conds) => conds.iter().all(|cond| own(cond, slots)),
        Cond::Exists(Scope { vars }) => {
            let [var] = vars.as_slice() else { return false };
            slots.extend(var.space);
            slots.extend(var.leaves.iter().map(|leaf| leaf.slot));
            var.leaves.iter().all(|leaf| match leaf.way {
                Way::Data => true,
                Way::Link(step) => step.direction == Direction::Forward,
            })
        }
    }
}

impl QueryResult {
    /// Runs a [`Plan::row_local`] plan as if these entities were all there are, in no particular order.
    pub fn run_on<V: Visibility>(
        plan: &Arc<Plan>,
        index: &TripleIndex,
        visibility: &V,
        entities: &[EntityId],
    ) -> Self {
        let mut evaluation = Evaluation::new(plan, index, visibility);
        let forms = plan.forms.iter().map(|form| {
            let Some(body) = &form.body else { return FormResult::absent(form) };
            let mut rows: Vec<Handle> =
                entities.iter().filter_map(|entity| index.handle(*entity)).collect();
            rows.sort_unstable();
            rows.dedup();
            rows.retain(|row| evaluation.reader.admits(body, *row));
            FormResult { level: evaluation.level(body, rows), page: None, totals: None }
        });
        let forms = forms.collect();
        evaluation.finish(forms)
    }
}
