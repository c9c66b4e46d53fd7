//! From the lines of a backup to facts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use tricedb_core::attr::{Attr, Catalog, InferredType};
use tricedb_core::catalog::Direction;
use tricedb_core::id::{AttrId, EntityId, IdSource, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

use super::error::LineProblem;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entity {
    entity: Map<String, Json>,
    created_at: i64,
}

/// Puts entities into an index, checking each against the schema.
pub(super) struct Loader<'a> {
    index: TripleIndex,
    ids: &'a mut dyn IdSource,
    /// JSON types seen, for attributes that are not the system's.
    inferred: BTreeMap<AttrId, BTreeSet<InferredType>>,
    /// Attributes that the schema did not speak of.
    unknown: Vec<String>,
}

impl<'a> Loader<'a> {
    /// Starts on the attributes of the schema.
    pub(super) fn new(index: TripleIndex, ids: &'a mut dyn IdSource) -> Self {
        Self { index, ids, inferred: BTreeMap::new(), unknown: Vec::new() }
    }

    /// Makes sure that a namespace can hold entities.
    pub(super) fn namespace(&mut self, etype: &str) {
        if self.index.catalog().id_attr(etype).is_none() {
            self.make_attr(etype, "id");
        }
    }

    /// Takes one line.
    pub(super) fn line(&mut self, etype: &str, line: &[u8]) -> Result<(), LineProblem> {
        let Entity { entity: fields, created_at } = serde_json::from_slice(line)?;
        let entity = match fields.get("id") {
            Some(Json::String(id)) => EntityId::parse(id).ok_or(LineProblem::NoId)?,
            _ => return Err(LineProblem::NoId),
        };
        if self.index.exists_in(entity, etype) {
            return Err(LineProblem::Twice(entity.to_string()));
        }
        for (label, json) in fields {
            let named = self.index.catalog().find(etype, &label);
            let found = named.map(|named| (named.attr.clone(), named.direction));
            let (attr, direction) =
                found.unwrap_or_else(|| (self.make_attr(etype, &label), Direction::Forward));
            if attr.is_ref() {
                self.links(etype, &label, entity, created_at, &attr, direction, json)?;
            } else {
                self.value(entity, created_at, &attr, Value::from_json(json))?;
            }
        }
        Ok(())
    }

    /// The index with the types seen in it, and what is worth telling.
    pub(super) fn finish(mut self) -> (TripleIndex, Vec<String>) {
        for (id, types) in &self.inferred {
            if let Some(attr) = self.index.catalog().get(*id) {
                let mut attr = Attr::clone(attr);
                attr.inferred_types = Some(types.iter().copied().collect());
                self.index.put_attr(Arc::new(attr));
            }
        }
        let mut notes = Vec::new();
        if !self.unknown.is_empty() {
            let names = self.unknown.join(", ");
            notes.push(format!("attributes made that the schema does not have: {names}"));
        }
        notes.extend(missing_required(&self.index));
        (self.index, notes)
    }

    fn make_attr(&mut self, etype: &str, label: &str) -> Arc<Attr> {
        let (id, ident) = (AttrId::new(self.ids.next_uuid()), IdentId::new(self.ids.next_uuid()));
        let attr = Arc::new(Attr::blob(id, ident, etype, label));
        self.index.put_attr(attr.clone());
        if label != "id" {
            self.unknown.push(format!("{etype}.{label}"));
        }
        attr
    }

    fn value(
        &mut self,
        entity: EntityId,
        created_at: i64,
        attr: &Arc<Attr>,
        value: Value,
    ) -> Result<(), LineProblem> {
        if let Some(wanted) = attr.checked_data_type.filter(|wanted| !wanted.accepts(&value)) {
            return Err(LineProblem::WrongType {
                etype: attr.etype().to_owned(),
                label: attr.label().to_owned(),
                wanted: wanted.name(),
                found: value.json_type().name(),
            });
        }
        let value = attr.coerce(value);
        if attr.unique && self.index.find_unique(attr.id, &value).is_some() {
            return Err(LineProblem::NotUnique {
                etype: attr.etype().to_owned(),
                label: attr.label().to_owned(),
                value: value.to_json().to_string(),
            });
        }
        if attr.catalog == Catalog::User && !attr.is_id() {
            self.inferred.entry(attr.id).or_default().extend(InferredType::of(&value));
        }
        self.index.insert(&Triple { entity, attr: attr.id, value, created_at });
        Ok(())
    }

    /// Links that a line names by either of their names. A link that both sides name counts once.
    #[expect(clippy::too_many_arguments, reason = "the parts of one field of one line")]
    fn links(
        &mut self,
        etype: &str,
        label: &str,
        entity: EntityId,
        created_at: i64,
        attr: &Arc<Attr>,
        direction: Direction,
        json: Json,
    ) -> Result<(), LineProblem> {
        let targets = targets(json).ok_or_else(|| LineProblem::NotALink {
            etype: etype.to_owned(),
            label: label.to_owned(),
        })?;
        for target in targets {
            let (source, target) = match direction {
                Direction::Forward => (entity, target),
                Direction::Reverse => (target, entity),
            };
            if !self.has_room(attr, source, target) {
                return Err(LineProblem::TooManyTargets {
                    etype: etype.to_owned(),
                    label: label.to_owned(),
                });
            }
            let value = Value::Ref(target);
            self.index.insert(&Triple { entity: source, attr: attr.id, value, created_at });
        }
        Ok(())
    }

    /// Whether a link may be added, or is there already.
    fn has_room(&self, attr: &Attr, source: EntityId, target: EntityId) -> bool {
        use tricedb_core::attr::Cardinality::One;
        let others_of_source =
            || self.index.links(source, attr.id).iter().any(|l| l.target != target);
        let others_of_target = || match (self.index.slot(attr.id), self.index.handle(target)) {
            (Some(slot), Some(handle)) => {
                let sources = self.index.sources(slot, handle);
                sources.iter().any(|held_by| self.index.entity(*held_by) != source)
            }
            _ => false,
        };
        !(attr.cardinality == One && others_of_source() || attr.unique && others_of_target())
    }
}

/// The ids in a link's value; null and an empty list are no links.
fn targets(json: Json) -> Option<Vec<EntityId>> {
    let id = |json: &Json| json.as_str().and_then(EntityId::parse);
    match json {
        Json::Null => Some(Vec::new()),
        Json::Array(items) => items.iter().map(id).collect(),
        single => Some(vec![id(&single)?]),
    }
}

/// Entities without a required value are kept as they are: nobody could repair the backup, and the app can
/// be repaired after the import.
fn missing_required(index: &TripleIndex) -> Vec<String> {
    let mut notes = Vec::new();
    let required = |attr: &&Arc<Attr>| attr.required && attr.catalog == Catalog::User;
    let mut attrs: Vec<_> = index.catalog().all().filter(required).collect();
    attrs.sort_by_key(|attr| (attr.etype().to_owned(), attr.label().to_owned()));
    for attr in attrs {
        let ids = index.catalog().id_attr(attr.etype()).and_then(|id| index.slot(id.id));
        let missing = ids.map_or(0, |slot| {
            let lacks = |entity: EntityId| {
                let value = index.value(entity, attr.id);
                value.is_none_or(Value::is_null) && index.links(entity, attr.id).is_empty()
            };
            index.holders(slot).filter(|handle| lacks(index.entity(*handle))).count()
        });
        if missing > 0 {
            notes.push(format!(
                "{missing} entities of {} lack the required {}",
                attr.etype(),
                attr.label()
            ));
        }
    }
    notes
}
