//! Queries that a client checks against a schema before it sends them.

use std::fmt;
use std::fs;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;
use tricedb_core::attr::{Cardinality, CheckedType};
use tricedb_core::query;
use tricedb_core::schema::{AttrDef, LinkDef, LinkSide, Namespace, Schema};

use super::super::{ConformanceError, Outcome};

/// A JSON object in the order in which it is written, which messages show.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Reader(PhantomData))
    }
}

#[derive(serde::Deserialize)]
struct File {
    schema: Written,
}

/// A schema as these vectors write it: attributes as their type and what modifies it.
#[derive(serde::Deserialize)]
struct Written {
    entities: Pairs<Pairs<Vec<String>>>,
    links: Pairs<Ends>,
}

#[derive(serde::Deserialize)]
struct Ends {
    forward: End,
    reverse: End,
}

#[derive(serde::Deserialize)]
struct End {
    on: String,
    has: String,
    label: String,
}

/// Reads the schema of a file of vectors.
pub(super) fn read_schema(path: &Path) -> Result<Schema, ConformanceError> {
    let text = fs::read_to_string(path)
        .map_err(|source| ConformanceError::Read { path: path.to_owned(), source })?;
    let file: File = serde_json::from_str(&text)
        .map_err(|source| ConformanceError::Json { path: path.to_owned(), source })?;
    let Written { entities, links } = file.schema;
    let namespaces = entities.0.into_iter().map(|(etype, attrs)| Namespace {
        etype: etype.into(),
        attrs: attrs.0.into_iter().map(|(label, words)| attr(&label, &words)).collect(),
    });
    let links = links.0.into_iter().map(|(name, ends)| LinkDef {
        name: name.into(),
        forward: side(ends.forward),
        reverse: side(ends.reverse),
        required: false,
    });
    Ok(Schema { namespaces: namespaces.collect(), links: links.collect() })
}

fn attr(label: &str, words: &[String]) -> AttrDef {
    let has = |word: &str| words.iter().any(|known| known == word);
    let kinds = [CheckedType::String, CheckedType::Number, CheckedType::Boolean, CheckedType::Date];
    AttrDef {
        label: label.into(),
        checked_type: kinds.into_iter().find(|kind| has(kind.name())),
        unique: has("unique"),
        indexed: has("indexed"),
        required: !has("optional"),
    }
}

fn side(end: End) -> LinkSide {
    let has = if end.has == "one" { Cardinality::One } else { Cardinality::Many };
    LinkSide { etype: end.on.into(), label: end.label.into(), has, cascade: false }
}

/// Runs one case.
pub(super) fn run(case: &Json, schema: &Schema) -> Outcome {
    let schema = (case["schema"] == true).then_some(schema);
    let got = match query::validate(&case["query"], schema, false) {
        Ok(()) => "valid".to_owned(),
        Err(error) => error.to_string(),
    };
    let expected = case["error"]["message"].as_str().unwrap_or("valid");
    match got == expected {
        true => Outcome::Passed,
        false => {
            Outcome::Failed(format!("query {}\nexpected {expected}\ngot      {got}", case["query"]))
        }
    }
}
