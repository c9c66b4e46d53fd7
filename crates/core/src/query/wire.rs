//! The wire form of a result: one set of triples, from which a client evaluates the query again.

use std::sync::Arc;

use serde::Serialize;

use super::condition::Fact;
use super::plan::{Body, Columns};
use super::result::{Level, QueryResult};
use crate::id::{AttrId, EntityId};
use crate::index::{AttrSlot, Cell, Handle, Row, TripleIndex};
use crate::triple::Triple;
use crate::value::Value;

impl QueryResult {
    /// Writes the `result` array of `add-query-ok`: one node with one row that holds every triple of
    /// the answer once, in no particular order.
    ///
    /// The options must have asked for evidence.
    pub fn write_wire(&self, index: &TripleIndex, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"[{"data":{"datalog-result":{"join-rows":[["#);
        let last = LastId { entity: None, text: [0; uuid::fmt::Hyphenated::LENGTH] };
        let mut writer = WireWriter { out, last, first: true };
        self.visit(index, &mut |entity, attr, value, created_at| {
            writer.triple(entity, attr, value, created_at);
        });
        out.extend_from_slice(b"]]}");
        let mut member = |key: &str, json: Option<serde_json::Value>| {
            if let Some(json) = json {
                out.extend_from_slice(key.as_bytes());
                write(out, &json);
            }
        };
        member(r#","page-info":"#, self.page_info_json());
        member(r#","aggregate":"#, self.aggregate_json());
        out.extend_from_slice(br#"},"child-nodes":[]}]"#);
    }

    /// The triples that [`Self::write_wire`] writes.
    pub fn triples(&self, index: &TripleIndex) -> Vec<Triple> {
        let mut triples = Vec::new();
        self.visit(index, &mut |entity, attr, value, created_at| {
            triples.push(Triple { entity, attr, value: value.clone(), created_at });
        });
        triples
    }

    /// Number of entities in the result, each place counted.
    pub fn row_count(&self) -> usize {
        fn below(level: &Level) -> usize {
            let children = level.children.iter().map(|branch| below(&branch.level));
            level.rows.len() + children.sum::<usize>()
        }
        self.forms.iter().map(|form| below(&form.level)).sum()
    }

    /// Takes the stored rows along, so that the triples can be had elsewhere and later, as they are
    /// now. Costs a reference count for each row.
    pub fn detach(self, index: &TripleIndex) -> DetachedResult {
        let mut sets = Vec::new();
        let mut entities = Vec::new();
        for (form, result) in self.plan.forms.iter().zip(&self.forms) {
            collect_entities(form.body.as_ref(), &result.level, &mut sets, &mut entities);
        }
        let mut handles: Vec<Handle> = entities.into_iter().map(|(handle, _)| handle).collect();
        handles.extend(self.facts.iter().map(|fact| fact.source));
        handles.sort_unstable();
        handles.dedup();
        let row = |handle| Some((handle, index.row_at(handle)?.clone()));
        let rows = handles.into_iter().filter_map(row).collect();
        let mut slots: Vec<AttrSlot> = self.facts.iter().map(|fact| fact.slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let attrs = slots.into_iter().map(|slot| (slot, index.attr_id(slot))).collect();
        DetachedResult { result: self, rows, attrs }
    }

    /// Visits every triple of the answer once.
    fn visit(&self, index: &impl Rows, visit: &mut dyn FnMut(EntityId, AttrId, &Value, i64)) {
        let mut sets: Vec<&Columns> = Vec::new();
        let mut entities: Vec<(Handle, u32)> = Vec::new();
        for (form, result) in self.plan.forms.iter().zip(&self.forms) {
            collect_entities(form.body.as_ref(), &result.level, &mut sets, &mut entities);
        }
        entities.sort_unstable();
        entities.dedup();
        let mut facts = self.facts.as_slice();
        let mut columns: Vec<&Columns> = Vec::new();
        for group in entities.chunk_by(|a, b| a.0 == b.0) {
            let handle = group[0].0;
            let alone = facts.partition_point(|fact| fact.source < handle);
            self.visit_facts(index, &facts[..alone], &[], visit);
            facts = &facts[alone..];
            let own = facts.iter().take_while(|fact| fact.source == handle).count();
            columns.clear();
            columns.extend(group.iter().map(|(_, set)| sets[*set as usize]));
            self.visit_entity(index, handle, &columns, visit);
            self.visit_facts(index, &facts[..own], &columns, visit);
            facts = &facts[own..];
        }
        self.visit_facts(index, facts, &[], visit);
    }

    /// The attributes of an entity that its forms return.
    fn visit_entity(
        &self,
        index: &impl Rows,
        handle: Handle,
        sets: &[&Columns],
        visit: &mut dyn FnMut(EntityId, AttrId, &Value, i64),
    ) {
        let Some(row) = index.row_at(handle) else { return };
        for (at, set) in sets.iter().enumerate() {
            let (before, hidden) = (&sets[..at], &self.hidden);
            for column in set.0.iter() {
                let is_hidden = !hidden.is_empty() && hidden.contains(&(handle, column.slot));
                if !is_hidden && !before.iter().any(|set| set.contains(column.slot)) {
                    visit_cell(row, row.cell(column.slot), column.attr, visit);
                }
            }
        }
    }

    /// Facts beside those in `columns`.
    fn visit_facts(
        &self,
        index: &impl Rows,
        facts: &[Fact],
        columns: &[&Columns],
        visit: &mut dyn FnMut(EntityId, AttrId, &Value, i64),
    ) {
        for fact in facts {
            if columns.iter().any(|columns| columns.contains(fact.slot)) {
                continue;
            }
            let Some(row) = index.row_at(fact.source) else { continue };
            let Some(attr) = index.attr_id(fact.slot) else { continue };
            match fact.target {
                None => visit_cell(row, row.cell(fact.slot), attr, visit),
                Some(target) => {
                    if let Some(link) = row.links(fact.slot).find(target) {
                        visit(row.id(), attr, &Value::Ref(link.target), link.created_at);
                    }
                }
            }
        }
    }
}

fn visit_cell(
    row: &Row,
    cell: Option<Cell<'_>>,
    attr: AttrId,
    visit: &mut dyn FnMut(EntityId, AttrId, &Value, i64),
) {
    match cell {
        None => {}
        Some(Cell::Data { value, created_at }) => visit(row.id(), attr, value, created_at),
        Some(Cell::Links(links)) => {
            for link in links {
                visit(row.id(), attr, &Value::Ref(link.target), link.created_at);
            }
        }
    }
}

fn collect_entities<'a>(
    body: Option<&'a Body>,
    level: &Level,
    sets: &mut Vec<&'a Columns>,
    entities: &mut Vec<(Handle, u32)>,
) {
    let Some(body) = body else { return };
    let set = u32::try_from(sets.len()).unwrap_or(u32::MAX);
    sets.push(&body.columns);
    entities.extend(level.rows.iter().map(|row| (*row, set)));
    for (child, branch) in body.children.iter().zip(&level.children) {
        collect_entities(child.body.as_ref(), &branch.level, sets, entities);
    }
}

/// A result that has its rows with it.
#[derive(Clone, Debug)]
pub struct DetachedResult {
    result: QueryResult,
    /// Sorted.
    rows: Vec<(Handle, Arc<Row>)>,
    /// Sorted.
    attrs: Vec<(AttrSlot, AttrId)>,
}

impl DetachedResult {
    /// As [`QueryResult::triples`] at the time of the detachment.
    pub fn triples(&self) -> Vec<Triple> {
        let mut triples = Vec::new();
        self.result.visit(self, &mut |entity, attr, value, created_at| {
            triples.push(Triple { entity, attr, value: value.clone(), created_at });
        });
        triples
    }

    /// The result that was detached; what of it needs an index must not be asked for any more.
    pub const fn result(&self) -> &QueryResult {
        &self.result
    }
}

/// Where rows are stored.
trait Rows {
    fn row_at(&self, handle: Handle) -> Option<&Arc<Row>>;
    fn attr_id(&self, slot: AttrSlot) -> Option<AttrId>;
}

impl Rows for TripleIndex {
    fn row_at(&self, handle: Handle) -> Option<&Arc<Row>> {
        self.row_at(handle)
    }

    fn attr_id(&self, slot: AttrSlot) -> Option<AttrId> {
        Some(self.attr_id(slot))
    }
}

impl Rows for DetachedResult {
    fn row_at(&self, handle: Handle) -> Option<&Arc<Row>> {
        let at = self.rows.binary_search_by_key(&handle, |(handle, _)| *handle).ok()?;
        Some(&self.rows[at].1)
    }

    fn attr_id(&self, slot: AttrSlot) -> Option<AttrId> {
        let at = self.attrs.binary_search_by_key(&slot, |(slot, _)| *slot).ok()?;
        Some(self.attrs[at].1)
    }
}

/// Writes triples as JSON arrays, separated by commas.
struct WireWriter<'a> {
    out: &'a mut Vec<u8>,
    last: LastId,
    first: bool,
}

/// The text of the entity written last: its triples follow each other.
struct LastId {
    entity: Option<EntityId>,
    text: [u8; uuid::fmt::Hyphenated::LENGTH],
}

impl WireWriter<'_> {
    fn triple(&mut self, entity: EntityId, attr: AttrId, value: &Value, created_at: i64) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        if self.last.entity != Some(entity) {
            entity.uuid().hyphenated().encode_lower(&mut self.last.text);
            self.last.entity = Some(entity);
        }
        self.out.extend_from_slice(b"[\"");
        self.out.extend_from_slice(&self.last.text);
        self.out.extend_from_slice(b"\",");
        write(self.out, &attr);
        self.out.push(b',');
        write(self.out, value);
        self.out.push(b',');
        write(self.out, &created_at);
        self.out.push(b']');
    }
}

/// Writing JSON without maps of odd keys to a vector cannot fail.
fn write(out: &mut Vec<u8>, value: &impl Serialize) {
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok(), "values are JSON");
}
