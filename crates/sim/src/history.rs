//! Every state that was ever durable on the server, and what queries show of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use serde_json::Value as Json;
use tricedb_core::id::TxId;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{EvalOptions, Inference, Query, Spelling, evaluate};
use tricedb_core::schema::system_attrs;
use tricedb_core::tx::Commit;

/// What a query shows.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Shown {
    pub(crate) data: Json,
    pub(crate) page_info: Option<Json>,
}

struct Version {
    position: TxId,
    index: TripleIndex,
    /// By query, the version whose result this one has still.
    same_as: Vec<usize>,
}

/// The states, oldest first.
pub(crate) struct History {
    queries: Vec<Query>,
    versions: Vec<Version>,
    shown: HashMap<(usize, usize), Arc<Result<Shown, String>>, FxBuildHasher>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "History({} versions)", self.versions.len())
    }
}

impl History {
    pub(crate) fn new(queries: Vec<Query>) -> Self {
        let mut index = TripleIndex::new();
        for attr in system_attrs() {
            index.put_attr(attr);
        }
        let same_as = vec![0; queries.len()];
        let first = Version { position: TxId(0), index, same_as };
        Self { queries, versions: vec![first], shown: HashMap::default() }
    }

    pub(crate) const fn queries(&self) -> &[Query] {
        self.queries.as_slice()
    }

    pub(crate) fn position(&self) -> TxId {
        self.last().position
    }

    pub(crate) fn index(&self) -> &TripleIndex {
        &self.last().index
    }

    /// The number of the newest version.
    pub(crate) const fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    fn last(&self) -> &Version {
        // There is a first one, and none ever goes.
        &self.versions[self.versions.len() - 1]
    }

    pub(crate) fn push(&mut self, position: TxId, commit: &Commit) {
        let mut index = self.index().clone();
        index.apply(commit);
        let number = self.versions.len();
        let changes_attrs = commit.attrs().next().is_some();
        let touched: BTreeSet<&str> = commit
            .facts()
            .filter_map(|fact| index.catalog().get(fact.attr))
            .flat_map(|attr| {
                let reverse = attr.reverse_identity.as_ref().map(|name| &*name.etype);
                [Some(attr.etype()), reverse]
            })
            .flatten()
            .collect();
        let same_as = self
            .queries
            .iter()
            .zip(&self.last().same_as)
            .map(|(query, before)| {
                let is_touched = changes_attrs
                    || query_etypes(query).iter().any(|e| touched.contains(e.as_str()));
                if is_touched { number } else { *before }
            })
            .collect();
        self.versions.push(Version { position, index, same_as });
    }

    /// What a query shows at a version.
    pub(crate) fn shown(&mut self, query: usize, version: usize) -> Arc<Result<Shown, String>> {
        let version = self.versions[version].same_as[query];
        let (queries, versions) = (&self.queries, &self.versions);
        let shown = self.shown.entry((query, version)).or_insert_with(|| {
            let index = &versions[version].index;
            Arc::new(match evaluate(index, &queries[query], &EvalOptions::client()) {
                Ok(result) => Ok(Shown {
                    data: result.to_object(index, Inference::Arrays),
                    page_info: result.page_info(Spelling::User),
                }),
                Err(error) => Err(error.to_string()),
            })
        });
        shown.clone()
    }

    /// The first version from `from` on in which a query shows this.
    pub(crate) fn find(&mut self, query: usize, from: usize, data: &Json) -> Option<usize> {
        let mut tried = usize::MAX;
        for version in from..self.versions.len() {
            let same_as = self.versions[version].same_as[query];
            if same_as == tried {
                continue;
            }
            tried = same_as;
            if matches!(&*self.shown(query, version), Ok(shown) if shown.data == *data) {
                return Some(version);
            }
        }
        None
    }
}

/// The namespaces that a query of the workload speaks of: the labels of its links are their names.
fn query_etypes(query: &Query) -> BTreeSet<String> {
    fn collect(json: &Json, found: &mut BTreeSet<String>) {
        for (key, inner) in json.as_object().into_iter().flatten() {
            if key == "$" {
                let filters = inner.get("where").and_then(Json::as_object);
                let paths =
                    filters.into_iter().flatten().filter_map(|(path, _)| path.split_once('.'));
                found.extend(paths.map(|(label, _)| label.to_owned()));
            } else {
                found.insert(key.clone());
                collect(inner, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    collect(query.json(), &mut found);
    found
}
