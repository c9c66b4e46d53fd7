//! The live queries of plain sessions: each is kept up to date and encoded once for all who hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::{self, LiveSet};
use tricedb_core::query::{EvalOptions, Inference, Query, QueryError, QueryResult, ReadSet};
use tricedb_core::tx::Commit;
use tricedb_protocol::{ErrorBody, ReturnType};

use super::fragment::{Fragment, FragmentDigest};
use super::refusal::query_refused;
use super::sessions::SessionKey;

/// With whose rights a query is evaluated. Permission rules will add users here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Rights {
    /// Anybody's.
    Anonymous,
    /// The app's admin's, who may also aggregate.
    Admin,
}

/// What makes two subscriptions share one evaluation.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LiveKey {
    pub(super) canonical: Arc<str>,
    pub(super) form: ReturnType,
    pub(super) rights: Rights,
}

/// A place in [`LiveQueries`]; taken again by another query once the last subscriber is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct LiveId(u32);

/// One query with its present answer.
#[derive(Debug)]
pub(super) struct LiveQuery {
    pub(super) key: LiveKey,
    /// The query as the first subscriber wrote it.
    pub(super) echo: Arc<str>,
    /// Its rows; an error if it cannot be run, and then its subscriptions end.
    rows: Result<live::LiveId, QueryError>,
    /// What it depends on, if somebody wants to hear of every commit that may have touched it.
    reads: Option<Box<ReadSet>>,
    answer: Option<Kept>,
    /// Grows whenever the answer changes; 0 before the first.
    pub(super) version: u64,
    /// The answer is that of an earlier state.
    is_stale: bool,
    pub(super) subscribers: BTreeSet<SessionKey>,
}

#[derive(Debug)]
enum Kept {
    Whole {
        fragment: Arc<Fragment>,
        stamp: Stamp,
    },
    /// The encoding was given up for its bytes.
    Digest(FragmentDigest),
}

/// The answer of a query at the index's present state.
#[derive(Clone, Debug)]
pub(super) struct Fresh {
    pub(super) fragment: Arc<Fragment>,
    pub(super) version: u64,
}

/// All live queries of an app.
#[derive(Debug)]
pub(super) struct LiveQueries {
    by_key: HashMap<LiveKey, LiveId, FxBuildHasher>,
    slots: Vec<Option<LiveQuery>>,
    free: Vec<LiveId>,
    /// The rows of all queries.
    set: LiveSet,
    /// By the id of its rows, the query.
    of_rows: Vec<LiveId>,
    /// Queries of which somebody wants to hear with every commit that may have touched them.
    attended: BTreeSet<LiveId>,
    stale: Vec<LiveId>,
    changed: Vec<LiveId>,
    kept: KeptFragments,
    /// How many answers were encoded.
    encodings: u64,
    /// Whether the app understands what InstaQL does not have.
    pub(super) extensions: bool,
}

/// What a subscriber wants to hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hears {
    /// Of changed results.
    Changes,
    /// Of every commit that may have touched the result.
    EveryTouch,
}

/// When a fragment was encoded, in the order of all encodings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stamp(u64);

/// Which queries hold their fragment, oldest encoding first, and how much that is. Every entry names a query
/// that holds a fragment with this stamp.
#[derive(Debug)]
struct KeptFragments {
    bytes: usize,
    bytes_max: usize,
    last: Stamp,
    order: BTreeMap<Stamp, LiveId>,
}

impl KeptFragments {
    const fn new(bytes_max: usize) -> Self {
        Self { bytes: 0, bytes_max, last: Stamp(0), order: BTreeMap::new() }
    }

    fn enter(&mut self, id: LiveId, fragment: Arc<Fragment>) -> Kept {
        self.last.0 += 1;
        self.bytes += fragment.len();
        self.order.insert(self.last, id);
        Kept::Whole { fragment, stamp: self.last }
    }

    /// The answer is replaced, given up, or goes with its query.
    fn leave(&mut self, kept: &Kept) {
        if let Kept::Whole { fragment, stamp } = kept {
            self.bytes -= fragment.len();
            self.order.remove(stamp);
        }
    }

    /// The query whose fragment is given up next, while there are too many bytes of them.
    fn surplus(&self) -> Option<LiveId> {
        let oldest = self.order.first_key_value().map(|(_, id)| *id);
        oldest.filter(|_| self.bytes > self.bytes_max)
    }
}

impl LiveQueries {
    pub(super) fn new(fragment_bytes_max: usize) -> Self {
        Self {
            by_key: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            set: LiveSet::default(),
            of_rows: Vec::new(),
            attended: BTreeSet::new(),
            stale: Vec::new(),
            changed: Vec::new(),
            kept: KeptFragments::new(fragment_bytes_max),
            encodings: 0,
            extensions: false,
        }
    }

    pub(super) fn get(&self, id: LiveId) -> Option<&LiveQuery> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// Whether nothing remains of queries that came and went, but places to be taken again.
    #[cfg(test)]
    pub(super) fn holds_nothing(&self) -> bool {
        self.by_key.is_empty()
            && self.set.holds_nothing()
            && self.attended.is_empty()
            && self.slots.iter().all(Option::is_none)
            && self.free.len() == self.slots.len()
            && self.stale.is_empty()
            && self.changed.is_empty()
            && self.kept.order.is_empty()
            && self.kept.bytes == 0
    }

    fn get_mut(&mut self, id: LiveId) -> Option<&mut LiveQuery> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Number of distinct queries.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) const fn encodings(&self) -> u64 {
        self.encodings
    }

    /// Enters a subscriber; the query is made live if it is not.
    pub(super) fn subscribe(
        &mut self,
        index: &TripleIndex,
        query: &Query,
        form: ReturnType,
        rights: Rights,
        (session, hears): (SessionKey, Hears),
    ) -> LiveId {
        let key = LiveKey { canonical: query.canonical(), form, rights };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => self.insert(index, query, key),
        };
        if let Some(live) = self.get_mut(id) {
            live.subscribers.insert(session);
            if hears == Hears::EveryTouch {
                live.reads = Some(Box::new(query.reads(index.catalog())));
                self.attended.insert(id);
            }
        }
        id
    }

    fn insert(&mut self, index: &TripleIndex, query: &Query, key: LiveKey) -> LiveId {
        let live = LiveQuery {
            echo: query.text(),
            rows: self.set.insert(index, query, &self.options(key.rights)),
            key: key.clone(),
            reads: None,
            answer: None,
            version: 0,
            is_stale: true,
            subscribers: BTreeSet::new(),
        };
        let rows = live.rows.as_ref().ok().copied();
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id.0 as usize] = Some(live);
                id
            }
            None => {
                self.slots.push(Some(live));
                LiveId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.enter_rows(rows, id);
        self.by_key.insert(key, id);
        id
    }

    fn options(&self, rights: Rights) -> EvalOptions {
        let mut options = EvalOptions::socket();
        options.admin = rights == Rights::Admin;
        options.extensions = self.extensions;
        options
    }

    fn enter_rows(&mut self, rows: Option<live::LiveId>, id: LiveId) {
        let Some(at) = rows.map(|rows| rows.0 as usize) else { return };
        self.of_rows.resize(self.of_rows.len().max(at + 1), id);
        self.of_rows[at] = id;
    }

    /// Evaluates every query anew, by what the app understands now.
    pub(super) fn insert_anew(&mut self, index: &TripleIndex) {
        for id in (0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)).map(LiveId) {
            let Some(live) = self.get(id) else { continue };
            let (text, options) = (live.echo.clone(), self.options(live.key.rights));
            if let Ok(rows) = live.rows {
                self.set.remove(rows);
            }
            let Some(query) = parsed(&text) else { continue };
            let rows = self.set.insert(index, &query, &options);
            self.enter_rows(rows.as_ref().ok().copied(), id);
            if let Some(live) = self.get_mut(id) {
                live.rows = rows;
            }
            mark_stale(&mut self.slots, id, &mut self.stale);
        }
    }

    /// Removes a subscriber; the query goes with its last one.
    pub(super) fn unsubscribe(&mut self, id: LiveId, session: SessionKey) {
        let Some(live) = self.get_mut(id) else { return };
        live.subscribers.remove(&session);
        if live.subscribers.is_empty() {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: LiveId) {
        self.attended.remove(&id);
        if let Some(live) = self.slots[id.0 as usize].take() {
            if let Ok(rows) = live.rows {
                self.set.remove(rows);
            }
            live.answer.iter().for_each(|kept| self.kept.leave(kept));
            self.by_key.remove(&live.key);
            // Lists may still name the id; what they mean for a later query at its place is harmless.
            self.free.push(id);
        }
    }

    /// Follows a commit that was applied, or the inverse of one that was taken back. The index is the one
    /// after it.
    pub(super) fn follow(&mut self, commit: &Commit, index: &TripleIndex) {
        for touched in self.set.apply(index, commit) {
            if let Some(id) = self.of_rows.get(touched.id.0 as usize) {
                mark_stale(&mut self.slots, *id, &mut self.stale);
            }
        }
        for id in &self.attended {
            let live = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut);
            let Some(live) = live.filter(|live| live.may_feel(commit, index)) else { continue };
            if commit.changes_attrs()
                && let Some(query) = parsed(&live.echo)
            {
                // Names may have come to mean something.
                live.reads = Some(Box::new(query.reads(index.catalog())));
            }
            mark_stale(&mut self.slots, *id, &mut self.stale);
        }
    }

    /// The queries touched since the last call.
    pub(super) fn take_stale(&mut self) -> Vec<LiveId> {
        std::mem::take(&mut self.stale)
    }

    /// The queries whose answers changed since the last call, first answers aside.
    pub(super) fn take_changed(&mut self) -> Vec<LiveId> {
        std::mem::take(&mut self.changed)
    }

    /// Whether a query fits the attributes.
    pub(super) fn can_run(&self, id: LiveId) -> bool {
        let rows = self.get(id).and_then(|live| live.rows.as_ref().ok());
        rows.and_then(|rows| self.set.get(*rows)).is_some_and(|rows| rows.refusal().is_none())
    }

    /// The answer at the index's present state; encoded only if it may differ from the one before.
    ///
    /// # Errors
    /// The query cannot be run on the present attributes.
    pub(super) fn fresh(&mut self, id: LiveId, index: &TripleIndex) -> Result<Fresh, ErrorBody> {
        let Some(live) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return Err(ErrorBody::internal("the query is gone"));
        };
        if let (false, Some(Kept::Whole { fragment, .. })) = (live.is_stale, &live.answer) {
            return Ok(Fresh { fragment: fragment.clone(), version: live.version });
        }
        let rows = live.rows.as_ref().map_err(query_refused)?;
        let result = self.set.get(*rows).map(|rows| rows.result(index));
        let result = result.ok_or_else(|| ErrorBody::internal("the query is gone"))?;
        self.encodings += 1;
        let fragment =
            Arc::new(encode(live.key.form, &result.map_err(|e| query_refused(&e))?, index)?);
        live.is_stale = false;
        let is_equal = match &live.answer {
            None => false,
            Some(Kept::Whole { fragment: before, .. }) => *before == fragment,
            Some(Kept::Digest(before)) => *before == fragment.digest(),
        };
        if !is_equal {
            if live.version > 0 {
                self.changed.push(id);
            }
            live.version += 1;
        }
        live.answer.iter().for_each(|kept| self.kept.leave(kept));
        live.answer = Some(self.kept.enter(id, fragment.clone()));
        Ok(Fresh { fragment, version: live.version })
    }

    /// Gives up the oldest encodings while there are too many bytes of them. Done once everybody has been
    /// told: an encoding that is larger than all the room is shared among those who hear of it together.
    pub(super) fn evict(&mut self) {
        while let Some(id) = self.kept.surplus() {
            let live = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut);
            let Some(answer) = live.and_then(|live| live.answer.as_mut()) else { return };
            self.kept.leave(answer);
            if let Kept::Whole { fragment, .. } = &*answer {
                *answer = Kept::Digest(fragment.digest());
            }
        }
    }
}

impl LiveQuery {
    fn may_feel(&self, commit: &Commit, index: &TripleIndex) -> bool {
        self.reads.as_ref().is_some_and(|reads| reads.touches(commit, index.catalog()))
    }
}

fn mark_stale(slots: &mut [Option<LiveQuery>], id: LiveId, stale: &mut Vec<LiveId>) {
    if let Some(Some(live)) = slots.get_mut(id.0 as usize)
        && !live.is_stale
    {
        live.is_stale = true;
        stale.push(id);
    }
}

fn parsed(text: &str) -> Option<Query> {
    Query::try_from(serde_json::from_str::<serde_json::Value>(text).ok()?).ok()
}

fn encode(
    form: ReturnType,
    result: &QueryResult,
    index: &TripleIndex,
) -> Result<Fragment, ErrorBody> {
    Ok(match form {
        ReturnType::JoinRows => {
            let mut bytes = Vec::with_capacity(256);
            result.write_wire(index, &mut bytes);
            let text = String::from_utf8(bytes)
                .map_err(|_| ErrorBody::internal("the result is not UTF-8"))?;
            Fragment::new(text, "null".into())
        }
        ReturnType::Tree => {
            let empty = || serde_json::json!({});
            let meta = serde_json::json!({
                "page-info": result.page_info_json().unwrap_or_else(empty),
                "aggregate": result.aggregate_json().unwrap_or_else(empty),
            });
            let tree = result.to_object(index, Inference::Arrays);
            Fragment::new(tree.to_string(), meta.to_string())
        }
    })
}
