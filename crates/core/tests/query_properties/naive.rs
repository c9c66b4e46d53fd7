//! An evaluation as naive as it can be: every choice of entities for every variable, no index.

use serde_json::{Map, Value as Json, json};
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;

use super::samples::{ENTITIES, entity};

enum Wanted {
    Path(String, Json),
    All(Vec<Self>),
    Any(Vec<Self>),
}

/// The conditions of a `where`, groups of one unwrapped and groups of a kind joined.
fn conditions(all: &Json) -> Vec<Wanted> {
    let each = all.as_object().unwrap().iter().map(|(key, value)| match value {
        Json::Array(items) => {
            let mut parts = Vec::new();
            for item in items {
                let mut inner = conditions(item);
                let one = if inner.len() == 1 { inner.remove(0) } else { Wanted::All(inner) };
                match one {
                    Wanted::Any(inner) if key == "or" => parts.extend(inner),
                    Wanted::All(inner) if key == "and" && !inner.is_empty() => parts.extend(inner),
                    other => parts.push(other),
                }
            }
            if key == "or" {
                merge(&mut parts);
            }
            match (parts.len(), key.as_str()) {
                (1, _) => parts.remove(0),
                (_, "or") => Wanted::Any(parts),
                _ => Wanted::All(parts),
            }
        }
        condition => Wanted::Path(key.clone(), condition.clone()),
    });
    each.collect()
}

fn values(condition: &Json) -> Option<Vec<Json>> {
    match condition {
        Json::Object(operators) if operators.len() == 1 => {
            operators.get("$in")?.as_array().cloned()
        }
        Json::Object(_) => None,
        scalar => Some(vec![scalar.clone()]),
    }
}

fn merge(parts: &mut Vec<Wanted>) {
    let mut at = 0;
    while at < parts.len() {
        let joined = parts[..at].iter().position(|part| match (part, &parts[at]) {
            (Wanted::Path(a, x), Wanted::Path(b, y)) => {
                a == b && values(x).is_some() && values(y).is_some()
            }
            _ => false,
        });
        let Some(joined) = joined else {
            at += 1;
            continue;
        };
        let Wanted::Path(_, more) = parts.remove(at) else { unreachable!() };
        let Wanted::Path(_, all) = &mut parts[joined] else { unreachable!() };
        let mut list = values(all).unwrap();
        list.extend(values(&more).unwrap());
        *all = json!({"$in": list});
    }
}

pub(crate) struct Data<'a> {
    pub(crate) index: &'a TripleIndex,
    pub(crate) triples: Vec<Triple>,
}

type Var = (&'static str, usize);

fn etype(name: &str) -> &'static str {
    if name == "users" { "users" } else { "posts" }
}

impl Data<'_> {
    fn linked(&self, etype: &str, label: &str, entity: EntityId) -> Vec<EntityId> {
        let named = self.index.catalog().find(etype, label).unwrap();
        let forward = named.direction == tricedb_core::catalog::Direction::Forward;
        let pairs = self.triples.iter().filter(|triple| triple.attr == named.attr.id);
        let pairs = pairs.map(|triple| (triple.entity, triple.value.as_entity().unwrap()));
        let ends = pairs.map(|(a, b)| if forward { (a, b) } else { (b, a) });
        ends.filter(|(from, _)| *from == entity).map(|(_, to)| to).collect()
    }

    fn value(&self, etype: &str, label: &str, entity: EntityId) -> Option<&Triple> {
        let attr = self.index.catalog().forward(etype, label)?;
        self.triples.iter().find(|triple| (triple.entity, triple.attr) == (entity, attr.id))
    }

    fn is_member(&self, etype: &str, entity: EntityId) -> bool {
        self.value(etype, "id", entity).is_some()
    }

    /// Whether one value, or none, passes an operator.
    fn passes(operator: &str, operand: &Json, value: Option<&Json>) -> bool {
        let value = value.filter(|value| !value.is_null());
        let order = |value: &Json| match (value, operand) {
            (Json::String(a), Json::String(b)) => Some(tricedb_core::collation::compare(a, b)),
            (Json::Number(a), Json::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            _ => None,
        };
        match operator {
            "$eq" => value == Some(operand),
            "$in" => value.is_some_and(|value| operand.as_array().unwrap().contains(value)),
            "$ne" => value != Some(operand),
            "$isNull" => value.is_none() == (operand == true),
            "$exists" => value.is_some() == (operand == true),
            "$nin" => !operand.as_array().unwrap().contains(value.unwrap_or(&Json::Null)),
            "$contains" => match (value, operand) {
                (Some(Json::String(text)), Json::String(part)) => text.contains(part),
                (Some(Json::Array(items)), part) => items.contains(part),
                _ => false,
            },
            "$size" => value.and_then(size).is_some_and(|size| match operand {
                Json::Object(bounds) => {
                    bounds.iter().all(|(name, bound)| Self::passes(name, bound, Some(&json!(size))))
                }
                exact => json!(size) == *exact,
            }),
            "$lt" => value.and_then(order).is_some_and(|order| order.is_lt()),
            "$gt" => value.and_then(order).is_some_and(|order| order.is_gt()),
            "$gte" => value.and_then(order).is_some_and(|order| order.is_ge()),
            "$lte" => value.and_then(order).is_some_and(|order| order.is_le()),
            "$like" => value.and_then(Json::as_str).is_some_and(|text| text.ends_with('b')),
            other => panic!("{other}"),
        }
    }

    /// Whether what an entity holds at the end of a path passes all operators.
    fn leaf(&self, at: &str, label: &str, condition: &Json, entity: EntityId) -> bool {
        let plain = Map::from_iter([("$eq".to_owned(), condition.clone())]);
        let operators = condition.as_object().unwrap_or(&plain);
        let held: Vec<Json> = match self.index.catalog().find(at, label) {
            Some(named) if named.attr.is_ref() => {
                self.linked(at, label, entity).into_iter().map(|id| json!(id)).collect()
            }
            _ => self
                .value(at, label, entity)
                .map(|triple| triple.value.to_json())
                .into_iter()
                .collect(),
        };
        let fits = |value: Option<&Json>| {
            operators.iter().all(|(operator, operand)| Self::passes(operator, operand, value))
        };
        match held.is_empty() {
            true => self.is_member(at, entity) && fits(None),
            false => held.iter().any(|value| fits(Some(value))),
        }
    }

    /// Whether entities exist for all variables of some paths that start at one entity.
    fn exist(&self, at: &'static str, entity: EntityId, paths: &[(Vec<&str>, &Json)]) -> bool {
        let mut vars: Vec<Var> = vec![(at, 0)];
        let mut links: Vec<(Var, &str, Var)> = Vec::new();
        let mut ends: Vec<Var> = Vec::new();
        for (labels, _) in paths {
            let mut from = (at, 0);
            for label in &labels[..labels.len() - 1] {
                let named = self.index.catalog().find(from.0, label).unwrap();
                let to = (etype(named.leads_to().unwrap()), from.1 + 1);
                links.push((from, label, to));
                if !vars.contains(&to) {
                    vars.push(to);
                }
                from = to;
            }
            ends.push(from);
        }
        let mut chosen = vec![(0, entity)];
        self.choose(&vars, &links, &ends, paths, &mut chosen)
    }

    fn choose(
        &self,
        vars: &[Var],
        links: &[(Var, &str, Var)],
        ends: &[Var],
        paths: &[(Vec<&str>, &Json)],
        chosen: &mut Vec<(usize, EntityId)>,
    ) -> bool {
        let open = chosen.len();
        if open < vars.len() {
            return (0..ENTITIES).any(|number| {
                chosen.push((open, entity(vars[open].0, number)));
                let fits = self.choose(vars, links, ends, paths, chosen);
                chosen.pop();
                fits
            });
        }
        let of = |var: &Var| chosen[vars.iter().position(|known| known == var).unwrap()].1;
        links.iter().all(|(from, label, to)| self.linked(from.0, label, of(from)).contains(&of(to)))
            && paths.iter().zip(ends).all(|((labels, condition), end)| {
                self.leaf(end.0, labels.last().unwrap(), condition, of(end))
            })
    }

    fn path(&self, at: &'static str, entity: EntityId, key: &str, condition: &Json) -> bool {
        let labels: Vec<&str> = key.split('.').collect();
        if !negates(condition) {
            return self.exist(at, entity, &[(labels, condition)]);
        }
        let missing = json!({"$isNull": true});
        self.exist(at, entity, &[(labels.clone(), condition)])
            || (1..labels.len())
                .any(|until| self.exist(at, entity, &[(labels[..until].to_vec(), &missing)]))
    }

    fn holds(&self, at: &'static str, entity: EntityId, condition: &Wanted) -> bool {
        match condition {
            Wanted::Path(key, condition) => self.path(at, entity, key, condition),
            Wanted::All(all) => all.iter().all(|one| self.holds(at, entity, one)),
            Wanted::Any(all) => all.iter().any(|one| self.holds(at, entity, one)),
        }
    }

    fn meets(&self, at: &'static str, entity: EntityId, all: &[Wanted]) -> bool {
        let shared: Vec<_> = all
            .iter()
            .filter_map(|one| match one {
                Wanted::Path(key, condition) if !negates(condition) => {
                    Some((key.split('.').collect(), condition))
                }
                _ => None,
            })
            .collect();
        self.exist(at, entity, &shared)
            && all.iter().all(|one| match one {
                Wanted::Path(_, condition) if !negates(condition) => true,
                other => self.holds(at, entity, other),
            })
    }

    /// The objects of a form among some entities.
    pub(crate) fn form(&self, at: &'static str, form: &Json, among: Vec<EntityId>) -> Json {
        let options = &form["$"];
        let all = options.get("where").map(conditions).unwrap_or_default();
        let mut found: Vec<EntityId> = among
            .into_iter()
            .filter(|entity| self.is_member(at, *entity) && self.meets(at, *entity, &all))
            .collect();
        let order = options["order"].as_object().and_then(|order| order.iter().next());
        found.sort_by(|a, b| self.by(at, order.map(|(label, _)| label.as_str()), *a, *b));
        if order.is_some_and(|(_, sense)| sense == "desc") {
            found.reverse();
        }
        let limit =
            |name: &str| options[name].as_u64().map(|limit| usize::try_from(limit).unwrap());
        found.drain(..limit("offset").unwrap_or(0).min(found.len()));
        found.truncate(limit("limit").unwrap_or(found.len()));
        found.drain(..found.len() - limit("last").unwrap_or(found.len()).min(found.len()));
        found.into_iter().map(|entity| self.object(at, form, entity)).collect()
    }

    fn by(&self, at: &str, label: Option<&str>, a: EntityId, b: EntityId) -> std::cmp::Ordering {
        let key = |entity| match label {
            None | Some("serverCreatedAt") => {
                (json!(self.value(at, "id", entity).unwrap().created_at), entity)
            }
            Some(label) => {
                let value = self.value(at, label, entity).map(|triple| triple.value.to_json());
                (value.unwrap_or_default(), entity)
            }
        };
        let ((x, a), (y, b)) = (key(a), key(b));
        let values = match (&x, &y) {
            (Json::Null, Json::Null) => std::cmp::Ordering::Equal,
            (Json::Null, _) => std::cmp::Ordering::Less,
            (_, Json::Null) => std::cmp::Ordering::Greater,
            (Json::String(x), Json::String(y)) => tricedb_core::collation::compare(x, y),
            (x, y) => x.as_f64().partial_cmp(&y.as_f64()).unwrap(),
        };
        values.then(a.cmp(&b))
    }

    fn object(&self, at: &'static str, form: &Json, entity: EntityId) -> Json {
        let mut object = Map::new();
        for label in ["id", "name", "age", "note"] {
            let wanted = form["$"]["fields"]
                .as_array()
                .is_none_or(|fields| label == "id" || fields.iter().any(|field| field == label));
            if let Some(triple) = self.value(at, label, entity).filter(|_| wanted) {
                object.insert(label.into(), triple.value.to_json());
            }
        }
        for (label, child) in form.as_object().unwrap().iter().filter(|(label, _)| *label != "$") {
            let named = self.index.catalog().find(at, label).unwrap();
            let children = self.linked(at, label, entity);
            let child = self.form(etype(named.leads_to().unwrap()), child, children);
            object.insert(label.clone(), child);
        }
        object.into()
    }
}

fn negates(condition: &Json) -> bool {
    condition.as_object().is_some_and(|operators| {
        operators.iter().all(|(name, operand)| match name.as_str() {
            "$ne" => true,
            "$isNull" => operand == true,
            "$exists" => operand == false,
            "$nin" => !operand.as_array().unwrap().contains(&Json::Null),
            _ => false,
        })
    })
}

fn size(value: &Json) -> Option<usize> {
    match value {
        Json::String(text) => Some(text.chars().count()),
        Json::Array(items) => Some(items.len()),
        _ => None,
    }
}
