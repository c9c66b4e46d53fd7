//! What the data should be: a naive set of facts, by names, with one transaction after the other.
//!
//! It knows nothing of attribute ids, indexes, steps or deltas, and shares no code with what it judges but
//! the type of operations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};
use tricedb_core::index::{Cell, TripleIndex};
use tricedb_core::tx::{Action, EntityKey, LinkTargets, Operation, UpdateMode};
use uuid::Uuid;

/// The one link of the app, from both sides.
const FORWARD: (&str, &str) = ("todos", "tags");
const REVERSE: (&str, &str) = ("tags", "todos");

type Fields = BTreeMap<String, Json>;

/// The data as it should be.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Model {
    entities: BTreeMap<(String, Uuid), Fields>,
    links: BTreeSet<(Uuid, Uuid)>,
}

impl Model {
    /// Applies a transaction that the server accepted. `made` names the entity that a lookup without a match
    /// came to stand for. Fails if no server should have accepted it.
    pub(crate) fn apply(
        &mut self,
        operations: &[Operation],
        made: &dyn Fn(&str, &Json) -> Option<Uuid>,
    ) -> Result<(), String> {
        // Existence is judged by the state before the transaction.
        // A link from an entity is a fact of it.
        let sources = self.links.iter().map(|(from, _)| (FORWARD.0.to_owned(), *from));
        let before = self.entities.keys().cloned().chain(sources).collect::<BTreeSet<_>>();
        for Operation { etype, key, action } in operations {
            let entity = self.entity(etype, key, made)?;
            let place = (etype.to_string(), entity);
            let exists = before.contains(&place);
            if let (EntityKey::Lookup { label, value }, false) = (key, exists) {
                // The one that is made has what was looked for.
                let fields = self.entities.entry(place.clone()).or_default();
                fields.insert(label.to_string(), value.to_json());
            }
            match action {
                Action::Create(fields) => {
                    if exists {
                        return Err(format!("{etype} {entity} was created twice"));
                    }
                    self.write(place, fields, false)?;
                }
                Action::Update(_, UpdateMode::Strict) | Action::Merge(_, UpdateMode::Strict)
                    if !exists =>
                {
                    return Err(format!("{etype} {entity} was updated and is not there"));
                }
                Action::Update(fields, _) => self.write(place, fields, false)?,
                Action::Merge(fields, _) => self.write(place, fields, true)?,
                Action::Link(links) => self.link(etype, entity, links, true, made)?,
                Action::Unlink(links) => self.link(etype, entity, links, false, made)?,
                Action::Delete => {
                    self.entities.remove(&place);
                    self.links.retain(|(from, to)| match &**etype {
                        "todos" => *from != entity,
                        "tags" => *to != entity,
                        _ => true,
                    });
                }
                Action::Expect(_) | Action::RuleParams(_) => {}
            }
        }
        self.unique("todos", "code")?;
        self.unique("tags", "name")
    }

    /// An attribute is gone, and everybody's values with it.
    pub(crate) fn drop_attr(&mut self, etype: &str, label: &str) {
        for ((of, _), fields) in &mut self.entities {
            if of == etype {
                fields.remove(label);
            }
        }
    }

    fn entity(
        &self,
        etype: &str,
        key: &EntityKey,
        made: &dyn Fn(&str, &Json) -> Option<Uuid>,
    ) -> Result<Uuid, String> {
        match key {
            EntityKey::Id(id) => Ok(id.uuid()),
            EntityKey::Lookup { label, value } => {
                let value = value.to_json();
                let found = self
                    .entities
                    .iter()
                    .find(|((of, _), fields)| of == etype && fields.get(&**label) == Some(&value));
                found
                    .map(|((_, id), _)| *id)
                    .or_else(|| made(label, &value))
                    .ok_or_else(|| format!("{etype} with {label} {value} was not made"))
            }
            EntityKey::Invalid(text) => Err(format!("{text} is no entity")),
        }
    }

    fn write(
        &mut self,
        place: (String, Uuid),
        changes: &Map<String, Json>,
        is_merge: bool,
    ) -> Result<(), String> {
        let id = json!(place.1);
        let fields = self.entities.entry(place).or_default();
        fields.insert("id".into(), id);
        for (label, change) in changes {
            let old = fields.get(label).filter(|old| !old.is_null());
            let new = match operator(change) {
                Some((name, by)) => operate(name, by, old)?,
                None if is_merge => Some(merge(old, change)),
                None => Some(change.clone()),
            };
            if let Some(new) = new {
                fields.insert(label.clone(), new);
            }
        }
        Ok(())
    }

    fn link(
        &mut self,
        etype: &str,
        entity: Uuid,
        links: &[LinkTargets],
        add: bool,
        made: &dyn Fn(&str, &Json) -> Option<Uuid>,
    ) -> Result<(), String> {
        for LinkTargets { label, targets } in links {
            let (other, is_forward) = match (etype, &**label) {
                FORWARD => ("tags", true),
                REVERSE => ("todos", false),
                _ => return Err(format!("{etype}.{label} is no link")),
            };
            for target in targets {
                let target = self.entity(other, target, made)?;
                let link = if is_forward { (entity, target) } else { (target, entity) };
                if add {
                    self.links.insert(link);
                } else {
                    self.links.remove(&link);
                }
            }
        }
        Ok(())
    }

    fn unique(&self, etype: &str, label: &str) -> Result<(), String> {
        let mut seen = BTreeSet::new();
        for ((of, id), fields) in &self.entities {
            if let Some(value) = fields.get(label).filter(|_| of == etype)
                && !seen.insert(value.to_string())
            {
                return Err(format!("{etype} {id} shares its {label} {value} with another"));
            }
        }
        Ok(())
    }

    /// Where an index differs, in words.
    pub(crate) fn difference(&self, index: &TripleIndex) -> Option<String> {
        let found = Self::of(index);
        if found == *self {
            return None;
        }
        for (place, fields) in &self.entities {
            match found.entities.get(place) {
                None => return Some(format!("{place:?} is missing")),
                Some(other) if other != fields => {
                    return Some(format!("{place:?} is {other:?}, should be {fields:?}"));
                }
                Some(_) => {}
            }
        }
        if let Some(more) = found.entities.keys().find(|place| !self.entities.contains_key(*place))
        {
            return Some(format!("{more:?} should not be there"));
        }
        Some(format!(
            "links differ: missing {:?}, too many {:?}",
            self.links.difference(&found.links).collect::<Vec<_>>(),
            found.links.difference(&self.links).collect::<Vec<_>>()
        ))
    }

    fn of(index: &TripleIndex) -> Self {
        let mut found = Self::default();
        for row in index.rows() {
            let id = row.id().uuid();
            for (slot, cell) in row.cells() {
                let Some(attr) = index.catalog().live(index.attr_id(slot)) else { continue };
                match cell {
                    // An indexed attribute that was never written is null in the index: the same to users.
                    Cell::Data { value, .. } if value.is_null() => {}
                    Cell::Data { value, .. } => {
                        let place = (attr.etype().to_owned(), id);
                        let fields = found.entities.entry(place).or_default();
                        fields.insert(attr.label().to_owned(), value.to_json());
                    }
                    Cell::Links(links) => {
                        found.links.extend(links.iter().map(|link| (id, link.target.uuid())));
                    }
                }
            }
        }
        found
    }
}

fn operator(value: &Json) -> Option<(&str, &Json)> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.iter().next().filter(|(key, _)| key.starts_with('$')).map(|(key, by)| (&**key, by))
}

fn operate(name: &str, by: &Json, old: Option<&Json>) -> Result<Option<Json>, String> {
    let number = |json: Option<&Json>, neutral| json.map_or(Some(neutral), Json::as_i64);
    let both = |neutral| {
        number(old, neutral)
            .zip(by.as_i64())
            .ok_or_else(|| format!("{name} {by} was applied to {old:?}"))
    };
    let items = || match old {
        None => Ok(Vec::new()),
        Some(Json::Array(items)) => Ok(items.clone()),
        Some(other) => Err(format!("{name} was applied to {other}")),
    };
    Ok(match name {
        "$increment" => both(0).map(|(a, b)| Some(json!(a + b)))?,
        "$decrement" => both(0).map(|(a, b)| Some(json!(a - b)))?,
        "$max" => {
            Some(old.map_or_else(
                || by.clone(),
                |_| both(0).map_or(Json::Null, |(a, b)| json!(a.max(b))),
            ))
        }
        "$min" => {
            Some(old.map_or_else(
                || by.clone(),
                |_| both(0).map_or(Json::Null, |(a, b)| json!(a.min(b))),
            ))
        }
        "$push" => {
            let mut items = items()?;
            items.push(by.clone());
            Some(Json::Array(items))
        }
        "$addToSet" => {
            let mut items = items()?;
            let is_new = !items.contains(by);
            items.push(by.clone());
            is_new.then_some(Json::Array(items))
        }
        "$pull" => {
            let mut items = items()?;
            let before = items.len();
            items.retain(|item| item != by);
            (items.len() < before).then_some(Json::Array(items))
        }
        "$setOnce" => old.is_none().then(|| by.clone()),
        _ => return Err(format!("{name} is no operator of the workload")),
    })
}

fn merge(old: Option<&Json>, change: &Json) -> Json {
    let (Some(Json::Object(old)), Json::Object(change)) = (old, change) else {
        return change.clone();
    };
    let mut merged = old.clone();
    for (key, change) in change {
        if change.is_null() {
            merged.remove(key);
        } else {
            let inner = match merged.get(key) {
                Some(inner @ Json::Object(_)) if change.is_object() => merge(Some(inner), change),
                _ => change.clone(),
            };
            merged.insert(key.clone(), inner);
        }
    }
    Json::Object(merged)
}
