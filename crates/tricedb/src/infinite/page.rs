//! The queries of pages, and lists put together from them.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};
use tricedb_core::entity::{Entity, RowError};
use tricedb_core::query::{Query, QueryError};
use tricedb_sync::QueryResultSnapshot;

/// Rows that the server has not placed yet stand behind all others: at ten times the time of their making, in
/// milliseconds. No server gives such a time before the year 2286.
const UNPLACED_FROM: i64 = 10_000_000_000_000;

/// Why a query cannot be read page by page.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InfiniteError {
    /// It is malformed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It asks for several namespaces, or none.
    #[error("a list is read page by page from one namespace, and the query asks for {count}")]
    Namespaces {
        /// How many.
        count: usize,
    },
    /// It cuts a page itself.
    #[error("the query has `{option}`, and pages are cut here: leave it out")]
    Paged {
        /// The option that does it.
        option: &'static str,
    },
    /// A page of no rows.
    #[error("a page has at least one row")]
    EmptyPages,
}

/// A query, and how its pages are cut.
#[derive(Debug)]
pub(super) struct Paging {
    etype: Arc<str>,
    query: Map<String, Json>,
    page_size: usize,
    /// Whether rows are ordered by the time of their making.
    by_creation: bool,
}

impl Paging {
    pub(super) fn new(query: &Query, page_size: usize) -> Result<Self, InfiniteError> {
        let etypes: Vec<&str> = query.etypes().collect();
        let [etype] = etypes.as_slice() else {
            return Err(InfiniteError::Namespaces { count: etypes.len() });
        };
        if page_size == 0 {
            return Err(InfiniteError::EmptyPages);
        }
        let json = query.json().as_object().cloned().unwrap_or_default();
        let options = json.get(*etype).and_then(|form| form.get("$"));
        let cuts = [
            "limit",
            "first",
            "last",
            "offset",
            "after",
            "before",
            "afterInclusive",
            "beforeInclusive",
            "aggregate",
        ];
        for option in cuts {
            if options.is_some_and(|options| options.get(option).is_some()) {
                return Err(InfiniteError::Paged { option });
            }
        }
        let order = options.and_then(|options| options.get("order")).and_then(Json::as_object);
        let by_creation = order.is_none_or(|order| order.contains_key("serverCreatedAt"));
        Ok(Self { etype: (*etype).into(), query: json, page_size, by_creation })
    }

    pub(super) const fn page_size(&self) -> usize {
        self.page_size
    }

    /// So many rows, from the beginning or behind a cursor.
    pub(super) fn open(&self, after: Option<&Json>, limit: usize) -> Result<Query, QueryError> {
        self.cut(&[("after", after), ("limit", Some(&limit.into()))])
    }

    /// All rows up to a cursor's, that one included, from the beginning or behind another.
    pub(super) fn closed(&self, after: Option<&Json>, before: &Json) -> Result<Query, QueryError> {
        self.cut(&[
            ("after", after),
            ("before", Some(before)),
            ("beforeInclusive", Some(&true.into())),
        ])
    }

    fn cut(&self, options: &[(&str, Option<&Json>)]) -> Result<Query, QueryError> {
        let mut query = self.query.clone();
        let form = query.entry(&*self.etype).or_insert_with(|| json!({}));
        for (key, value) in options {
            if let Some(value) = value {
                form["$"][*key] = (*value).clone();
            }
        }
        Json::Object(query).try_into()
    }

    /// Whether a cursor names a place that the server gave.
    pub(super) fn is_placed(&self, cursor: &Json) -> bool {
        let created_at = cursor.get(3).and_then(Json::as_i64);
        !self.by_creation || created_at.is_some_and(|time| time < UNPLACED_FROM)
    }

    /// The list of these pages.
    pub(super) fn result(&self, pages: Vec<Arc<QueryResultSnapshot>>) -> InfiniteResult {
        InfiniteResult::new(self.etype.clone(), pages)
    }
}

/// A list of pages at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InfiniteResult {
    etype: Arc<str>,
    pages: Arc<[Arc<QueryResultSnapshot>]>,
    /// Page and place of each row.
    places: Arc<[(u32, u32)]>,
}

impl InfiniteResult {
    fn new(etype: Arc<str>, pages: Vec<Arc<QueryResultSnapshot>>) -> Self {
        let mut places: Vec<Option<(u32, u32)>> = Vec::new();
        // A row that moves from one page to another may for a moment be in both: the newer word counts.
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (number, page) in pages.iter().enumerate() {
            for (place, row) in page.rows(&etype).iter().enumerate() {
                let Some(id) = row["id"].as_str() else { continue };
                let here = (as_u32(number), as_u32(place));
                if let Some(before) = seen.get(id).copied() {
                    let other = places[before].map(|(page, _)| pages[page as usize].position());
                    if other.is_some_and(|other| other >= page.position()) {
                        continue;
                    }
                    places[before] = None;
                }
                seen.insert(id, places.len());
                places.push(Some(here));
            }
        }
        Self { places: places.into_iter().flatten().collect(), pages: pages.into(), etype }
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &Json> + ExactSizeIterator {
        self.places
            .iter()
            .map(|(page, place)| &self.pages[*page as usize].rows(&self.etype)[*place as usize])
    }

    /// The rows as entities of type `E`, in order.
    ///
    /// # Errors
    /// A row that does not fit.
    pub fn entities<E: Entity>(&self) -> Result<Vec<E>, RowError> {
        self.rows().map(E::from_row).collect()
    }

    /// How many rows are loaded.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the server gave all of it.
    pub fn is_complete(&self) -> bool {
        self.pages.iter().all(|page| page.is_complete())
    }

    /// Whether there are rows behind the last.
    pub fn can_load_next(&self) -> bool {
        self.info("hasNextPage").and_then(Json::as_bool).unwrap_or_default()
    }

    pub(super) fn end_cursor(&self) -> Option<&Json> {
        self.info("endCursor").filter(|cursor| cursor.is_array())
    }

    fn info(&self, name: &str) -> Option<&Json> {
        self.pages.last()?.page_info()?.get(&*self.etype)?.get(name)
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.pages.len() == other.pages.len()
            && self.pages.iter().zip(&*other.pages).all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// Results are far smaller.
fn as_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
