//! The live queries of an app: each is evaluated and encoded once for all sessions that hold it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use tricedb_core::id::AttrId;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{
    AllVisible, EvalOptions, Inference, Plan, Query, QueryError, QueryResult, ReadSet,
};
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
    query: Query,
    /// The query as the first subscriber wrote it.
    pub(super) echo: Arc<str>,
    reads: ReadSet,
    plan: Result<Arc<Plan>, QueryError>,
    answer: Option<Kept>,
    /// Grows whenever the answer changes; 0 before the first.
    pub(super) version: u64,
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
    /// Which queries read an attribute.
    readers: HashMap<AttrId, BTreeSet<LiveId>, FxBuildHasher>,
    stale: Vec<LiveId>,
    changed: Vec<LiveId>,
    kept: KeptFragments,
    /// How many evaluations were made.
    evaluations: u64,
    /// Whether the app understands what InstaQL does not have.
    pub(super) extensions: bool,
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
            readers: HashMap::default(),
            stale: Vec::new(),
            changed: Vec::new(),
            kept: KeptFragments::new(fragment_bytes_max),
            evaluations: 0,
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
            && self.readers.is_empty()
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

    pub(super) const fn evaluations(&self) -> u64 {
        self.evaluations
    }

    /// Enters a subscriber; the query is made live if it is not.
    pub(super) fn subscribe(
        &mut self,
        index: &TripleIndex,
        query: Query,
        form: ReturnType,
        rights: Rights,
        session: SessionKey,
    ) -> LiveId {
        let key = LiveKey { canonical: query.canonical(), form, rights };
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => self.insert(index, query, key),
        };
        if let Some(live) = self.get_mut(id) {
            live.subscribers.insert(session);
        }
        id
    }

    fn insert(&mut self, index: &TripleIndex, query: Query, key: LiveKey) -> LiveId {
        let reads = query.reads(index.catalog());
        let live = LiveQuery {
            echo: query.json().to_string().into(),
            plan: self.plan(index, &query, &key),
            query,
            key: key.clone(),
            reads,
            answer: None,
            version: 0,
            is_stale: true,
            subscribers: BTreeSet::new(),
        };
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
        self.by_key.insert(key, id);
        self.enter_reads(id);
        id
    }

    fn enter_reads(&mut self, id: LiveId) {
        let Some(live) = self.slots[id.0 as usize].as_ref() else { return };
        for attr in live.reads.attrs() {
            self.readers.entry(attr).or_default().insert(id);
        }
    }

    fn leave_reads(&mut self, id: LiveId) {
        let Some(live) = self.slots[id.0 as usize].as_ref() else { return };
        for attr in live.reads.attrs() {
            if let Some(readers) = self.readers.get_mut(&attr) {
                readers.remove(&id);
                if readers.is_empty() {
                    self.readers.remove(&attr);
                }
            }
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
        self.leave_reads(id);
        if let Some(live) = self.slots[id.0 as usize].take() {
            live.answer.iter().for_each(|kept| self.kept.leave(kept));
            self.by_key.remove(&live.key);
            // Lists may still name the id; what they mean for a later query at its place is harmless.
            self.free.push(id);
        }
    }

    /// Marks the queries that a commit touches. The index is the one after the commit.
    pub(super) fn feel(&mut self, commit: &Commit, index: &TripleIndex) {
        if commit.attrs().next().is_some() {
            self.feel_attrs(commit, index);
            return;
        }
        let mut last = None;
        for fact in commit.facts().filter(|fact| last.replace(fact.attr) != Some(fact.attr)) {
            for id in self.readers.get(&fact.attr).into_iter().flatten() {
                if let Some(live) = self.slots[id.0 as usize].as_mut()
                    && !live.is_stale
                {
                    live.is_stale = true;
                    self.stale.push(*id);
                }
            }
        }
    }

    /// After a change of attributes the touched queries are planned anew.
    fn feel_attrs(&mut self, commit: &Commit, index: &TripleIndex) {
        let touched: Vec<LiveId> = self
            .ids()
            .filter(|id| {
                self.get(*id).is_some_and(|live| live.reads.touches(commit, index.catalog()))
            })
            .collect();
        for id in touched {
            self.replan(id, index);
        }
    }

    fn plan(
        &self,
        index: &TripleIndex,
        query: &Query,
        key: &LiveKey,
    ) -> Result<Arc<Plan>, QueryError> {
        let mut options = EvalOptions::socket();
        options.admin = key.rights == Rights::Admin;
        options.extensions = self.extensions;
        Plan::new(index, query, &options).map(Arc::new)
    }

    fn ids(&self) -> impl Iterator<Item = LiveId> + use<> {
        (0..u32::try_from(self.slots.len()).unwrap_or(u32::MAX)).map(LiveId)
    }

    fn replan(&mut self, id: LiveId, index: &TripleIndex) {
        self.leave_reads(id);
        let plan = self.get(id).map(|live| self.plan(index, &live.query, &live.key));
        if let (Some(live), Some(plan)) = (self.get_mut(id), plan) {
            live.reads = live.query.reads(index.catalog());
            live.plan = plan;
            if !live.is_stale {
                live.is_stale = true;
                self.stale.push(id);
            }
        }
        self.enter_reads(id);
    }

    /// Plans and evaluates everything anew, when next asked for: after changes were taken back.
    pub(super) fn feel_everything(&mut self, index: &TripleIndex) {
        for id in self.ids() {
            if self.get(id).is_some() {
                self.replan(id, index);
            }
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

    /// The answer at the index's present state; evaluated only if it may differ from the one before.
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
        self.evaluations += 1;
        let fragment = Arc::new(live.render(index)?);
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
    fn render(&self, index: &TripleIndex) -> Result<Fragment, ErrorBody> {
        let plan = self.plan.as_ref().map_err(query_refused)?;
        let result = QueryResult::run(plan, index, &AllVisible);
        Ok(match self.key.form {
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
}
