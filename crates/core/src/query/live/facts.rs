//! What a commit did to the facts that a result rests on, for queries whose facts are those of their rows.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::catalog::Direction;
use crate::id::EntityId;
use crate::index::{AttrSlot, Cell, TripleIndex};
use crate::query::condition::{Cond, Reader, Way};
use crate::query::plan::{Body, OrderKey, Plan};
use crate::query::result::Spelling;
use crate::query::visibility::Visibility;
use crate::triple::Triple;
use crate::value::Value;

use super::change::{Change, RowChangeKind};
use super::delta::Delta;
use super::live_query::{LiveQuery, State};

/// The facts of a result that a commit changed.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FactsChange {
    /// Facts that are new in the set, or have another value.
    pub put: Vec<FactPut>,
    /// Facts that are not of the set any more, as they were.
    pub lost: Vec<Triple>,
}

/// A fact of a result that is new or has another value.
#[derive(Clone, PartialEq, Debug)]
pub struct FactPut {
    /// The fact now.
    pub now: Triple,
    /// What the set held in its place.
    pub before: Option<Triple>,
}

/// The attributes of its rows that are a plan's facts, sorted; `None` if others belong to them too.
pub(super) fn fact_slots(plan: &Plan) -> Option<Vec<AttrSlot>> {
    let [form] = &*plan.forms else { return None };
    let body = form.body.as_ref()?;
    if form.aggregate.is_some() || !body.children.is_empty() {
        return None;
    }
    let mut slots: Vec<AttrSlot> = body.columns.0.iter().map(|column| column.slot).collect();
    if let OrderKey::Attr(slot, _) = body.order.by {
        slots.push(slot);
    }
    if let Some(filter) = &body.filter {
        leaves(body, filter, false, &mut slots).then_some(())?;
    }
    slots.sort_unstable();
    slots.dedup();
    Some(slots)
}

/// Adds the attributes that a condition looks at; whether they are of the row itself, and shown whatever
/// way the condition is true.
fn leaves(body: &Body, cond: &Cond, is_optional: bool, slots: &mut Vec<AttrSlot>) -> bool {
    match cond {
        Cond::Exists(scope) => {
            scope.vars.len() == 1
                && scope.vars[0].leaves.iter().all(|leaf| {
                    slots.push(leaf.slot);
                    let is_shown = body.columns.contains(leaf.slot);
                    match leaf.way {
                        Way::Data => is_shown || !is_optional,
                        // A link seen from its far end is a fact of somebody else.
                        Way::Link(step) => is_shown && step.direction == Direction::Forward,
                    }
                })
        }
        Cond::All(conds) => conds.iter().all(|cond| leaves(body, cond, is_optional, slots)),
        Cond::Any(conds) => conds.iter().all(|cond| leaves(body, cond, true, slots)),
        Cond::IdPrefix(_) => true,
    }
}

impl<V: Visibility> LiveQuery<V> {
    /// Whether [`Self::facts_changed`] can tell.
    pub fn tells_facts(&self) -> bool {
        V::ALL && matches!(self.state, State::Rows(_)) && fact_slots(self.plan()).is_some()
    }

    /// What the commit that led to a change did to the facts of the result: those that
    /// [`crate::query::QueryResult::triples`] gives. `None` if that must be found by comparing results.
    ///
    /// The index and the delta are those that [`Self::apply_delta`] was given last.
    pub fn facts_changed(
        &self,
        index: &TripleIndex,
        delta: &Delta<'_>,
        change: &Change,
    ) -> Option<FactsChange> {
        let State::Rows(forms) = &self.state else { return None };
        if change.renewed || !V::ALL {
            return None;
        }
        let slots = fact_slots(self.plan())?;
        let roots = forms.first()?.top.rows()?;
        let body = self.plan().forms.first()?.body.as_ref()?;
        let reader = Reader::new(index, self.visibility());
        let mut changed = FactsChange::default();
        let mut came = BTreeSet::new();
        for row in &change.rows {
            let facts = slots.iter();
            match row.kind {
                RowChangeKind::Left => changed
                    .lost
                    .extend(facts.filter_map(|slot| before(index, delta, row.entity, *slot))),
                RowChangeKind::Entered(_) => {
                    came.insert(row.entity);
                    let now = facts.filter_map(|slot| now(index, row.entity, *slot));
                    changed.put.extend(now.map(|now| FactPut { now, before: None }));
                }
                RowChangeKind::Moved(_) | RowChangeKind::Changed => {}
            }
        }
        for facts in delta.entities() {
            let entity = facts[0].entity;
            if came.contains(&entity) || !roots.shows(&reader, body, entity) {
                continue;
            }
            for fact in facts.chunk_by(|a, b| a.slot == b.slot) {
                let slot = fact[0].slot;
                if slots.binary_search(&slot).is_err() {
                    continue;
                }
                match (before(index, delta, entity, slot), now(index, entity, slot)) {
                    (before, Some(now)) if before.as_ref() != Some(&now) => {
                        changed.put.push(FactPut { now, before });
                    }
                    (Some(before), None) => changed.lost.push(before),
                    _ => {}
                }
            }
        }
        Some(changed)
    }
}

impl<V: Visibility> LiveQuery<V> {
    /// The facts of the result as they were before a commit that the query has not followed yet; the index
    /// and the delta are those after it. `None` unless [`Self::tells_facts`].
    pub fn facts_before(&self, index: &TripleIndex, delta: &Delta<'_>) -> Option<Vec<Triple>> {
        let State::Rows(forms) = &self.state else { return None };
        let slots = fact_slots(self.plan()).filter(|_| V::ALL)?;
        let rows = forms.first()?.top.rows()?.shown();
        let facts = rows.into_iter().flat_map(|row| {
            slots.iter().filter_map(|slot| before(index, delta, row.entity, *slot))
        });
        Some(facts.collect())
    }

    /// Page info as it stands, spelled as on the wire; `None` if nothing is paged.
    pub fn page_info_json(&self, index: &TripleIndex) -> Option<Json> {
        let reader = Reader::new(index, self.visibility());
        let State::Rows(forms) = &self.state else { return None };
        let infos = self.plan().forms.iter().zip(forms).filter_map(|(plan, form)| {
            let page = form.top.rows()?.page(&reader, plan.body.as_ref()?)?;
            Some((plan.key.to_string(), page.to_json(Spelling::Wire)))
        });
        let infos: serde_json::Map<String, Json> = infos.collect();
        (!infos.is_empty()).then_some(Json::Object(infos))
    }
}

fn triple(index: &TripleIndex, entity: EntityId, slot: AttrSlot, value: Value, at: i64) -> Triple {
    Triple { entity, attr: index.attr_id(slot), value, created_at: at }
}

fn now(index: &TripleIndex, entity: EntityId, slot: AttrSlot) -> Option<Triple> {
    match index.row(entity)?.cell(slot)? {
        Cell::Data { value, created_at } => {
            Some(triple(index, entity, slot, value.clone(), created_at))
        }
        Cell::Links(links) => {
            let link = links.first()?;
            Some(triple(index, entity, slot, Value::Ref(link.target), link.created_at))
        }
    }
}

/// What stood there before the delta.
fn before(
    index: &TripleIndex,
    delta: &Delta<'_>,
    entity: EntityId,
    slot: AttrSlot,
) -> Option<Triple> {
    match delta.before(entity, slot) {
        None => now(index, entity, slot),
        Some(before) => {
            let before = before?;
            let attr = index.catalog().get(index.attr_id(slot));
            // A commit that was read back holds ids as text.
            let value = attr.map_or_else(|| before.0.clone(), |attr| attr.coerce(before.0.clone()));
            Some(triple(index, entity, slot, value, before.1))
        }
    }
}
