//! JSON to forms: shapes only, names are looked up later.

use std::cell::OnceCell;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::aggregate::{self, Aggregate};
use super::error::{Fault, QueryError, shown};
use super::form::{
    Case, Comparison, Condition, Differs, Edge, Form, Operator, Options, Page, PathCondition,
    Query, RULE_PARAMS, Sense, cursor,
};
use crate::id::AttrId;
use crate::value::Value;

/// Deeper nesting of forms or conditions is refused.
const DEPTH_MAX: usize = 100;

/// What may stand under `$`.
pub(super) const OPTIONS: [&str; 12] = [
    "where",
    "order",
    "limit",
    "first",
    "last",
    "offset",
    "after",
    "afterInclusive",
    "before",
    "beforeInclusive",
    "fields",
    "aggregate",
];

const UNKNOWN_OPTION: &str =
    "We only support `where`, `order`, `limit`, `offset`, `before`, and `after` clauses.";
const TOP_LEVEL_ONLY: &str = "We currently only support `offset`, `before`, and `after` clauses on the \
     top-level field. Limit fields will be ignored";

/// Reads a query; attributes are not looked up yet.
///
/// # Errors
/// The server's error for the first part that has the wrong shape.
pub fn parse(json: &Json) -> Result<Query, QueryError> {
    forms(json, &[])
        .map(|forms| Query::new(json.clone(), forms))
        .map_err(|fault| fault.into_error(json))
}

type Parsed<T> = Result<T, Fault>;
type Place<'a> = &'a [Json];

fn place(base: Place<'_>, more: &[&str]) -> Vec<Json> {
    base.iter().cloned().chain(more.iter().map(|part| Json::from(*part))).collect()
}

fn forms(json: &Json, base: Place<'_>) -> Parsed<Vec<Form>> {
    let map = json.as_object().ok_or_else(|| Fault::shape("map?", base.to_vec()))?;
    // A query's own shape comes before what its forms hold.
    for (label, body) in map {
        if !body.is_object() {
            return Err(Fault::shape("map?", place(base, &[label])));
        }
    }
    map.iter()
        .filter(|(label, _)| *label != RULE_PARAMS)
        .enumerate()
        .map(|(at, (label, body))| form(label, body, base, at))
        .collect()
}

fn form(label: &str, body: &Json, base: Place<'_>, at: usize) -> Parsed<Form> {
    let here = place(base, &[label]);
    if here.len() > DEPTH_MAX {
        return Err(Fault::refused("depth?", here, "The query is nested too deeply.".into()));
    }
    let empty = Map::new();
    let body = body.as_object().unwrap_or(&empty);
    for (key, child) in body {
        if key != "$" && !child.is_object() {
            return Err(Fault::shape("map?", place(&here, &[key])));
        }
    }
    let options = match body.get("$") {
        Some(Json::Object(map)) => {
            OptionsReader { map, here: place(&here, &["$"]), top: base.is_empty(), at }.read()?
        }
        None | Some(Json::Null) => Options::default(),
        // A client ignores it, a server does not.
        Some(_) => Options {
            ignored: Some(Fault::shape("map?", place(&here, &["$"]))),
            ..Options::default()
        },
    };
    let children = body
        .iter()
        .filter(|(key, _)| *key != "$")
        .enumerate()
        .map(|(at, (key, child))| form(key, child, &here, at))
        .collect::<Parsed<Vec<_>>>()?;
    if options.aggregate.is_some() && !children.is_empty() {
        let message = "You can not combine aggregates with child queries at this time.";
        return Err(Fault::refused(
            "valid-aggregate?",
            place(&here, &["$", "aggregate"]),
            message.into(),
        ));
    }
    Ok(Form { label: label.into(), options, children })
}

struct OptionsReader<'a> {
    map: &'a Map<String, Json>,
    here: Vec<Json>,
    top: bool,
    /// The form's place among its siblings.
    at: usize,
}

impl OptionsReader<'_> {
    fn read(&self) -> Parsed<Options> {
        if self.map.keys().any(|key| !OPTIONS.contains(&key.as_str())) {
            return Err(self.unsupported(UNKNOWN_OPTION.into()));
        }
        if !self.top && ["offset", "before", "after"].iter().any(|key| self.map.contains_key(*key))
        {
            return Err(self.unsupported(TOP_LEVEL_ONLY.into()));
        }
        let mut extension = None;
        Ok(Options {
            conditions: self.conditions(&mut extension)?,
            order: self.order()?,
            page: self.page()?,
            fields: self.fields()?,
            aggregate: self.aggregate(&mut extension)?,
            ignored: None,
            extension,
        })
    }

    fn unsupported(&self, message: String) -> Fault {
        Fault::refused("supported-options?", self.here.clone(), message)
    }

    fn conditions(&self, extension: &mut Option<Fault>) -> Parsed<Vec<Condition>> {
        let Some(json) = self.map.get("where") else { return Ok(Vec::new()) };
        let here = place(&self.here, &["where"]);
        let map = json.as_object().ok_or_else(|| Fault::shape("map?", here.clone()))?;
        let reader = WhereReader { form: self.at, dollar: &self.here, extension: OnceCell::new() };
        let conditions = reader.all(map, &here, 0)?;
        *extension = reader.extension.into_inner();
        Ok(conditions)
    }

    fn order(&self) -> Parsed<Option<(Arc<str>, Sense)>> {
        let Some(json) = self.map.get("order").filter(|order| !order.is_null()) else {
            return Ok(None);
        };
        let here = place(&self.here, &["order"]);
        let map = json.as_object().ok_or_else(|| Fault::shape("map?", here.clone()))?;
        if map.len() > 1 {
            let keys: Vec<&str> = map.keys().map(String::as_str).collect();
            let keys = keys.join(",");
            let message =
                format!("We only support a single key in the `order` clause. Got {keys}.");
            return Err(Fault::refused("single-key-map?", here, message));
        }
        let Some((label, sense)) = map.iter().next() else { return Ok(None) };
        let sense = match sense.as_str() {
            Some("asc") => Sense::Ascending,
            Some("desc") => Sense::Descending,
            _ => {
                let message = format!(
                    "We only support \"asc\" or \"desc\" in the `order` clause. Got {}.",
                    shown(sense)
                );
                return Err(Fault::refused("valid-direction?", place(&here, &[label]), message));
            }
        };
        Ok(Some((label.as_str().into(), sense)))
    }

    fn page(&self) -> Parsed<Page> {
        let limits: Vec<&str> = ["limit", "first", "last"]
            .into_iter()
            .filter(|key| self.map.contains_key(*key))
            .collect();
        if limits.len() > 1 {
            let names: Vec<String> = limits.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("Only provide one of {}.", names.join(" or "));
            return Err(self.unsupported(message));
        }
        let limit = match limits.first() {
            Some(key) => Some(self.count(key, 1, "a positive")?),
            None => None,
        };
        let offset = match self.map.contains_key("offset") {
            true => Some(self.count("offset", 0, "a non-negative")?),
            false => None,
        };
        Ok(Page {
            limit,
            last: limits.first() == Some(&"last"),
            offset,
            after: self.edge("after", "afterInclusive")?.map(Box::new),
            before: self.edge("before", "beforeInclusive")?.map(Box::new),
        })
    }

    fn count(&self, key: &str, least: i64, which: &str) -> Parsed<usize> {
        let json = self.map.get(key).unwrap_or(&Json::Null);
        match Value::from_json(json.clone()) {
            Value::Int(n) if n >= least => Ok(usize::try_from(n).unwrap_or(usize::MAX)),
            _ => {
                let message =
                    format!("The {key} field must be {which} integer. Got {}.", shown(json));
                Err(Fault::refused("supported-options?", place(&self.here, &[key]), message))
            }
        }
    }

    fn edge(&self, key: &str, inclusive_key: &str) -> Parsed<Option<Edge>> {
        let inclusive = match self.map.get(inclusive_key) {
            None | Some(Json::Null) => false,
            Some(Json::Bool(inclusive)) => *inclusive,
            Some(_) => return Err(Fault::shape("boolean?", place(&self.here, &[inclusive_key]))),
        };
        let Some(json) = self.map.get(key).filter(|json| !json.is_null()) else { return Ok(None) };
        let fault = |what: &str, got: &Json| {
            let message = format!("Expected a join row {what}, got {}.", shown(got));
            Fault::refused("join-row?", place(&self.here, &[key]), message)
        };
        let items = json.as_array().ok_or_else(|| fault("for the cursor", json))?;
        let [entity, attr, value, created_at] = items.as_slice() else {
            return Err(fault("with 4 items for the cursor", json));
        };
        let attr = attr.as_str().and_then(AttrId::parse);
        let attr = attr
            .ok_or_else(|| fault("with a uuid attribute id in the second position", &items[1]))?;
        let Value::Int(created_at) = Value::from_json(created_at.clone()) else {
            return Err(fault("with an integer created_at in the last position", created_at));
        };
        let cursor = entity
            .as_str()
            .and_then(|entity| cursor(entity, attr, Value::from_json(value.clone()), created_at))
            .ok_or_else(|| fault("for the cursor", json))?;
        Ok(Some(Edge { cursor, inclusive }))
    }

    fn fields(&self) -> Parsed<Option<Vec<Arc<str>>>> {
        match self.map.get("fields") {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Array(names)) => {
                Ok(Some(names.iter().filter_map(Json::as_str).map(Arc::from).collect()))
            }
            Some(_) => {
                let message = "The `fields` property should be an array of field names.";
                Err(Fault::refused("array?", place(&self.here, &["fields"]), message.into()))
            }
        }
    }

    fn aggregate(&self, extension: &mut Option<Fault>) -> Parsed<Option<Aggregate>> {
        let json = match self.map.get("aggregate") {
            None | Some(Json::Null) => return Ok(None),
            Some(json) => json,
        };
        let refuse = |message| {
            Fault::refused("supported-options?", place(&self.here, &["aggregate"]), message)
        };
        if !self.top {
            return Err(refuse("Aggregates can only be used on the top-level field.".into()));
        }
        let only_count =
            || refuse(format!("The aggregate field only accepts \"count\", got {}.", shown(json)));
        match json {
            Json::String(name) if name == "count" => {
                Ok(Some(Aggregate { counts: true, ..Aggregate::default() }))
            }
            Json::Object(asked) => {
                extension.get_or_insert_with(only_count);
                let beside =
                    self.map.keys().find(|key| !["where", "aggregate"].contains(&key.as_str()));
                match beside {
                    None => aggregate::read(asked).map(Some).map_err(refuse),
                    Some(key) => Err(refuse(format!(
                        "An aggregate is about all matches: `{key}` cannot be used beside it."
                    ))),
                }
            }
            _ => Err(only_count()),
        }
    }
}

struct WhereReader<'a> {
    form: usize,
    /// Where the options stand.
    dollar: Place<'a>,
    /// What the original says to the first extension.
    extension: OnceCell<Fault>,
}

/// The two kinds of lists of conditions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    All,
    Any,
}

impl WhereReader<'_> {
    /// The conditions of a `where` object, in the order of its keys.
    fn all(
        &self,
        map: &Map<String, Json>,
        here: Place<'_>,
        depth: usize,
    ) -> Parsed<Vec<Condition>> {
        if depth > DEPTH_MAX {
            let message = "The `where` clause is nested too deeply.".into();
            return Err(Fault::refused("depth?", here.to_vec(), message));
        }
        map.iter()
            .enumerate()
            .map(|(at, (key, json))| match (key.as_str(), json) {
                ("or", Json::Array(items)) => self.group(Group::Any, items, here, depth),
                ("and", Json::Array(items)) => self.group(Group::All, items, here, depth),
                ("$entityIdStartsWith", Json::String(prefix)) => {
                    Ok(Condition::IdPrefix(prefix.as_str().into()))
                }
                _ => self.path(key, json, here, at).map(Condition::Path),
            })
            .collect()
    }

    /// A list of conditions, without needless nesting: which paths share entities follows what remains.
    fn group(
        &self,
        group: Group,
        items: &[Json],
        here: Place<'_>,
        depth: usize,
    ) -> Parsed<Condition> {
        let name = if group == Group::Any { "or" } else { "and" };
        if items.is_empty() {
            let message = format!("The list of `{name}` conditions can't be empty.");
            return Err(Fault::refused("non-empty-list?", place(self.dollar, &[name]), message));
        }
        let mut parts = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let mut here = place(here, &[name]);
            here.push(at.into());
            let map = item.as_object().ok_or_else(|| Fault::shape("map?", here.clone()))?;
            let mut all = self.all(map, &here, depth + 1)?;
            let one = if all.len() == 1 { all.pop() } else { None };
            match (group, one.unwrap_or(Condition::All(all))) {
                (Group::Any, Condition::Any(inner)) | (Group::All, Condition::All(inner))
                    if !inner.is_empty() =>
                {
                    parts.extend(inner);
                }
                (_, other) => parts.push(other),
            }
        }
        if group == Group::Any {
            parts = merge_equalities(parts);
        }
        let one = if parts.len() == 1 { parts.pop() } else { None };
        Ok(one.unwrap_or(match group {
            Group::Any => Condition::Any(parts),
            Group::All => Condition::All(parts),
        }))
    }

    fn path(&self, key: &str, json: &Json, here: Place<'_>, at: usize) -> Parsed<PathCondition> {
        let operators = match json {
            Json::Object(map) if !map.is_empty() => {
                let mut all = Vec::with_capacity(map.len());
                for (name, operand) in map {
                    match self.operator(name, operand, at)? {
                        Some(operator) => all.push(operator),
                        None => self.extension(name, operand, at, &mut all)?,
                    }
                }
                all
            }
            _ => {
                vec![Operator::Equals(self.scalar(json, self.coerced(at, &[]), "where-value?")?)]
            }
        };
        Ok(PathCondition {
            key: key.into(),
            labels: key.split('.').map(Arc::from).collect(),
            operators,
            place: place(here, &[key]).into(),
        })
    }

    /// An operator of the original; `None` if it has none of this name.
    fn operator(&self, name: &str, operand: &Json, at: usize) -> Parsed<Option<Operator>> {
        let here = || self.coerced(at, &[name]);
        let compare = |how| {
            let with = self.scalar(operand, here(), "comparison-value?")?;
            Ok(Operator::Compare { how, with })
        };
        let like =
            |case| Ok(Operator::Like { case, pattern: self.scalar(operand, here(), "string?")? });
        let differs = |spelling| {
            let from = self.scalar(operand, here(), "where-value?")?;
            Ok(Operator::Differs { spelling, from })
        };
        if let Some(how) = Comparison::named(name) {
            return compare(how).map(Some);
        }
        match name {
            "$in" | "in" => self.list(operand, here()).map(Operator::In),
            "$ne" => differs(Differs::Ne),
            "$not" => differs(Differs::Not),
            "$isNull" => self.flag(operand, here()).map(Operator::IsNull),
            "$like" => like(Case::Sensitive),
            "$ilike" => like(Case::Folded),
            _ => return Ok(None),
        }
        .map(Some)
    }

    /// An operator that the original does not have.
    fn extension(
        &self,
        name: &str,
        operand: &Json,
        at: usize,
        operators: &mut Vec<Operator>,
    ) -> Parsed<()> {
        let unknown = || {
            let expected = "instant.db.instaql/where-value-valid-keys?";
            Fault::condition(expected, self.coerced(at, &[]))
        };
        let here = || self.coerced(at, &[name]);
        match name {
            "$nin" => operators.push(Operator::NotIn(self.list(operand, here())?)),
            "$exists" => operators.push(Operator::IsNull(!self.flag(operand, here())?)),
            "$contains" => {
                operators.push(Operator::Contains(self.scalar(operand, here(), "where-value?")?));
            }
            "$size" => {
                let size = |how, json: &Json| match json.as_u64() {
                    Some(to) => Ok(Operator::Size { how, to }),
                    None => Err(Fault::condition("nat-int?", here())),
                };
                match operand {
                    Json::Object(bounds) if !bounds.is_empty() => {
                        for (name, bound) in bounds {
                            let how = Comparison::named(name).ok_or_else(unknown)?;
                            operators.push(size(Some(how), bound)?);
                        }
                    }
                    exact => operators.push(size(None, exact)?),
                }
            }
            _ => return Err(unknown()),
        }
        self.extension.get_or_init(unknown);
        Ok(())
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn flag(&self, json: &Json, here: Vec<Json>) -> Parsed<bool> {
        json.as_bool().ok_or_else(|| Fault::condition("boolean?", here))
    }

    fn list(&self, json: &Json, here: Vec<Json>) -> Parsed<Vec<Value>> {
        let items = json.as_array().ok_or_else(|| Fault::condition("vector?", here.clone()))?;
        if items.iter().any(|item| item.is_array() || item.is_object()) {
            return Err(Fault::condition("where-value?", here));
        }
        Ok(items.iter().cloned().map(Value::from_json).collect())
    }

    #[expect(clippy::unused_self, reason = "reads like its siblings")]
    fn scalar(&self, json: &Json, here: Vec<Json>, expected: &'static str) -> Parsed<Value> {
        match json {
            Json::Null | Json::Array(_) | Json::Object(_) => Err(Fault::condition(expected, here)),
            scalar => Ok(Value::from_json(scalar.clone())),
        }
    }

    /// A place in the form that the original gives queries before it checks conditions.
    fn coerced(&self, at: usize, more: &[&str]) -> Vec<Json> {
        let base =
            [self.form.into(), "option-map".into(), "where-conds".into(), at.into(), 1.into()];
        place(&base, more)
    }
}

/// Turns alternatives that ask one key for equality into one that asks for any of the values.
fn merge_equalities(parts: Vec<Condition>) -> Vec<Condition> {
    let mut merged: Vec<Condition> = Vec::with_capacity(parts.len());
    for part in parts {
        let Some((key, values)) = equality(&part) else {
            merged.push(part);
            continue;
        };
        let same = merged.iter_mut().find_map(|other| match other {
            Condition::Path(path) if path.key == *key => match path.operators.as_mut_slice() {
                [one @ (Operator::Equals(_) | Operator::In(_))] => Some(one),
                _ => None,
            },
            _ => None,
        });
        match same {
            Some(operator) => {
                let mut all = match &*operator {
                    Operator::Equals(value) => vec![value.clone()],
                    Operator::In(values) => values.clone(),
                    _ => Vec::new(),
                };
                all.extend(values);
                *operator = Operator::In(all);
            }
            None => merged.push(part),
        }
    }
    merged
}

fn equality(condition: &Condition) -> Option<(&Arc<str>, Vec<Value>)> {
    let Condition::Path(path) = condition else { return None };
    match path.operators.as_slice() {
        [Operator::Equals(value)] => Some((&path.key, vec![value.clone()])),
        [Operator::In(values)] => Some((&path.key, values.clone())),
        _ => None,
    }
}
