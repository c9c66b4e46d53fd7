//! Results of queries as they travel: nodes of triples, or a tree of objects.

use std::collections::BTreeMap;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

use crate::server_message::null_is_default;

/// The result of a query in either form.
#[derive(Clone, PartialEq, Debug)]
pub enum QueryAnswer {
    /// The `join-rows` form.
    Nodes(Vec<ResultNode>),
    /// The `tree` form: namespace to entities.
    Tree(Map<String, Json>),
}

impl QueryAnswer {
    /// Every triple of every node, children included; empty for the tree form. May hold duplicates.
    pub fn triples(&self) -> impl Iterator<Item = &Triple> {
        let mut stack: Vec<&ResultNode> = match self {
            Self::Nodes(nodes) => nodes.iter().rev().collect(),
            Self::Tree(_) => Vec::new(),
        };
        std::iter::from_fn(move || {
            let node = stack.pop()?;
            stack.extend(node.child_nodes.iter().rev());
            Some(node)
        })
        .flat_map(|node| node.data.triples.iter())
    }

    /// Takes every triple out; see [`Self::triples`].
    pub fn into_triples(self) -> Vec<Triple> {
        fn collect(nodes: Vec<ResultNode>, into: &mut Vec<Triple>) {
            for mut node in nodes {
                if into.is_empty() {
                    *into = std::mem::take(&mut node.data.triples);
                } else {
                    into.append(&mut node.data.triples);
                }
                collect(node.child_nodes, into);
            }
        }
        let mut triples = Vec::new();
        if let Self::Nodes(nodes) = self {
            collect(nodes, &mut triples);
        }
        triples
    }

    /// The page info of the top level, by namespace. Only the first node's counts.
    pub fn page_info(&self) -> Option<&BTreeMap<String, PageInfo>> {
        match self {
            Self::Nodes(nodes) => nodes.first()?.data.page_info.as_ref(),
            Self::Tree(_) => None,
        }
    }
}

impl Serialize for QueryAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nodes(nodes) => nodes.serialize(serializer),
            Self::Tree(tree) => tree.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for QueryAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Not an untagged enum: that would buffer the whole result first.
        struct AnswerVisitor;

        impl<'de> Visitor<'de> for AnswerVisitor {
            type Value = QueryAnswer;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("result nodes or a result tree")
            }

            fn visit_unit<E>(self) -> Result<QueryAnswer, E> {
                Ok(QueryAnswer::Nodes(Vec::new()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<QueryAnswer, A::Error> {
                Vec::deserialize(serde::de::value::SeqAccessDeserializer::new(seq))
                    .map(QueryAnswer::Nodes)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<QueryAnswer, A::Error> {
                Map::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(QueryAnswer::Tree)
            }
        }

        deserializer.deserialize_any(AnswerVisitor)
    }
}

/// One node of a result. Present-day servers send exactly one, without children.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResultNode {
    /// Its triples and what belongs to them.
    #[serde(default, deserialize_with = "null_is_default")]
    pub data: ResultData,
    /// Nodes below.
    #[serde(default, deserialize_with = "null_is_default")]
    pub child_nodes: Vec<Self>,
}

/// The data of a result node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ResultData {
    /// The triples of all rows, in order.
    #[serde(rename = "datalog-result", default, with = "datalog_result")]
    pub triples: Vec<Triple>,
    /// Where pages begin and end, by namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page_info: Option<BTreeMap<String, PageInfo>>,
    /// Aggregates, by namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<BTreeMap<String, Aggregate>>,
}

/// An aggregate over a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Aggregate {
    /// How many entities match.
    pub count: u64,
}

/// Where a page begins and ends. A cursor is the triple of the ordering attribute of a row, kept as JSON
/// because it goes back to the server unchanged; none if the page is empty.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PageInfo {
    /// The first row's cursor.
    #[serde(default)]
    pub start_cursor: Option<Json>,
    /// The last row's cursor.
    #[serde(default)]
    pub end_cursor: Option<Json>,
    /// Whether rows follow.
    #[serde(rename = "has-next-page?", default, deserialize_with = "null_is_default")]
    pub has_next_page: bool,
    /// Whether rows come before.
    #[serde(rename = "has-previous-page?", default, deserialize_with = "null_is_default")]
    pub has_previous_page: bool,
}

/// `{"join-rows": [[triple, ...], ...]}`, flattened.
mod datalog_result {
    use super::{
        Deserialize, Deserializer, Rows, Serialize, SerializeSeq, Serializer, Triple,
        null_is_default,
    };

    #[derive(Deserialize, Default)]
    #[serde(rename_all = "kebab-case")]
    struct DatalogResult {
        #[serde(default, deserialize_with = "null_is_default")]
        join_rows: Rows,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Written<'a> {
        join_rows: OneRow<'a>,
    }

    struct OneRow<'a>(&'a [Triple]);

    impl Serialize for OneRow<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut rows = serializer.serialize_seq(Some(1))?;
            rows.serialize_element(self.0)?;
            rows.end()
        }
    }

    pub(super) fn serialize<S: Serializer>(
        triples: &[Triple],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Written { join_rows: OneRow(triples) }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Triple>, D::Error> {
        Ok(Option::<DatalogResult>::deserialize(deserializer)?.unwrap_or_default().join_rows.0)
    }
}

/// All rows' triples, read without an allocation per row.
#[derive(Default)]
struct Rows(Vec<Triple>);

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowsVisitor;

        impl<'de> Visitor<'de> for RowsVisitor {
            type Value = Rows;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("rows of triples")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
                let mut triples = Vec::new();
                while seq.next_element_seed(RowSeed(&mut triples))?.is_some() {}
                Ok(Rows(triples))
            }
        }

        deserializer.deserialize_seq(RowsVisitor)
    }
}

/// Appends one row's triples.
struct RowSeed<'a>(&'a mut Vec<Triple>);

impl<'de> serde::de::DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a row of triples")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(WireTriple(triple)) = seq.next_element()? {
            self.0.push(triple);
        }
        Ok(())
    }
}

/// A triple whose time may be absent; such a triple gets time 0.
struct WireTriple(Triple);

impl<'de> Deserialize<'de> for WireTriple {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TripleVisitor;

        impl<'de> Visitor<'de> for TripleVisitor {
            type Value = WireTriple;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a triple")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<WireTriple, A::Error> {
                let short = |n| serde::de::Error::invalid_length(n, &"a triple of 3 or 4 elements");
                let entity: EntityId = seq.next_element()?.ok_or_else(|| short(0))?;
                let attr: AttrId = seq.next_element()?.ok_or_else(|| short(1))?;
                let value: Value = seq.next_element()?.ok_or_else(|| short(2))?;
                let created_at: Option<i64> = seq.next_element::<Option<i64>>()?.flatten();
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(WireTriple(Triple { entity, attr, value, created_at: created_at.unwrap_or(0) }))
            }
        }

        deserializer.deserialize_seq(TripleVisitor)
    }
}
