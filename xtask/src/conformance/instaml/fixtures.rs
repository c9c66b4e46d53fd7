//! The named data of `fixtures.json`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;

use super::super::{ConformanceError, Outcome, read_json};
use super::failed;

/// Attributes, triples and schemas by name.
pub(super) struct Fixtures {
    json: Json,
}

impl Fixtures {
    /// Reads the file.
    pub(super) fn load(path: &Path) -> Result<Self, ConformanceError> {
        Ok(Self { json: read_json(path)? })
    }

    /// What a name (or the thing itself) stands for, in the given table.
    pub(super) fn named<'a>(&'a self, table: &str, reference: &'a Json) -> &'a Json {
        match reference.as_str() {
            Some(name) => &self.json[table][name],
            None => reference,
        }
    }

    /// An index with these attributes (a name or a list) and the system's, where a case has those.
    pub(super) fn index(&self, attrs: &Json, system: bool) -> Result<TripleIndex, Outcome> {
        let mut index = TripleIndex::new();
        if system {
            for attr in tricedb_core::schema::system_attrs() {
                index.put_attr(attr);
            }
        }
        for attr in self.named("attrs", attrs).as_array().into_iter().flatten() {
            match serde_json::from_value::<Attr>(attr.clone()) {
                Ok(attr) => index.put_attr(Arc::new(attr)),
                Err(error) => return failed(format!("{attr} is no attribute: {error}")),
            }
        }
        Ok(index)
    }

    /// Adds the triples of a name, or a list of triples; those of unknown attributes are as good as absent.
    pub(super) fn insert(&self, index: &mut TripleIndex, triples: &Json) -> Result<(), Outcome> {
        for triple in self.named("triples", triples).as_array().into_iter().flatten() {
            insert(index, triple)?;
        }
        Ok(())
    }
}

/// Adds one triple as the fixtures write it.
pub(super) fn insert(index: &mut TripleIndex, triple: &Json) -> Result<(), Outcome> {
    match serde_json::from_value::<Triple>(json!([triple[0], triple[1], triple[2], 1])) {
        Ok(triple) => {
            index.insert(&triple);
            Ok(())
        }
        Err(error) => failed(format!("{triple} is no triple: {error}")),
    }
}
