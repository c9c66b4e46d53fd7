//! Data sets: attributes and triples with exact ids and times, loaded straight into an index.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

use super::{ConformanceError, read_json};

/// Loads a data set of a folder by name.
pub(super) fn load(folder: &Path, name: &str) -> Result<TripleIndex, ConformanceError> {
    let path = folder.join(format!("{name}.json"));
    let json = read_json(&path)?;
    let shape =
        |problem: &str| ConformanceError::Shape { path: path.clone(), problem: problem.into() };
    let attrs: Vec<Attr> = serde_json::from_value(json["attrs"].clone())
        .map_err(|source| ConformanceError::Json { path: path.clone(), source })?;
    let mut index = TripleIndex::new();
    for attr in attrs {
        index.put_attr(Arc::new(attr));
    }
    if let Some(base) = json["triples_from"].as_str() {
        let base = read_json(&folder.join(format!("{base}.json")))?;
        insert(&mut index, &base["triples"]).map_err(|problem| shape(&problem))?;
    }
    insert(&mut index, &json["triples"]).map_err(|problem| shape(&problem))?;
    Ok(index)
}

/// An index with the attributes of another one and no facts.
pub(super) fn emptied(index: &TripleIndex) -> TripleIndex {
    let mut empty = TripleIndex::new();
    for attr in index.catalog().all() {
        empty.put_attr(attr.clone());
    }
    empty
}

/// Adds triples in their wire form; a missing creation time counts as the beginning of time.
pub(super) fn insert(index: &mut TripleIndex, triples: &Json) -> Result<(), String> {
    for json in triples.as_array().into_iter().flatten() {
        let triple = triple(json).ok_or_else(|| format!("{json} is no triple"))?;
        if !index.insert(&triple) {
            return Err(format!("{json} is of no known attribute"));
        }
    }
    Ok(())
}

fn triple(json: &Json) -> Option<Triple> {
    let [entity, attr, value, rest @ ..] = json.as_array()?.as_slice() else { return None };
    Some(Triple {
        entity: EntityId::parse(entity.as_str()?)?,
        attr: AttrId::parse(attr.as_str()?)?,
        value: Value::from_json(value.clone()),
        created_at: match rest.first() {
            None => 0,
            Some(time) => time.as_i64()?,
        },
    })
}
