//! One query of native sessions: the facts that it needs, and what changed of them lately.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::id::{EntityId, TxId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::LiveId;
use tricedb_core::query::{AllVisible, EvalOptions, Plan, Query, QueryResult, ReadSet};
use tricedb_core::triple::Triple;
use tricedb_protocol::ErrorBody;
use tricedb_protocol::native::{
    Compression, Digest, Encoding, FactDigest, Fragment, PartBody, PartKind,
};

use super::super::live::Rights;
use super::super::refusal::query_refused;
use super::super::sessions::SessionKey;
use super::facts::{FactSet, difference};
use super::tail::Tail;
use super::whole::ROWS_MAX;

/// Deltas kept for readers that fall behind.
const DELTAS_MAX: usize = 256;

/// Touched entities that are remembered one by one.
const TOUCHED_MAX: usize = 4_096;

/// A change of a query's facts, from the version before to this one.
#[derive(Debug)]
struct FactDelta {
    body: PartBody,
    encoded: BTreeMap<u8, Arc<Fragment>>,
}

impl FactDelta {
    fn encode(&mut self, encoding: Encoding) -> Arc<Fragment> {
        let body = &self.body;
        self.encoded
            .entry(encoding_key(encoding))
            .or_insert_with(|| Arc::new(body.encode(encoding)))
            .clone()
    }

    fn size(&self) -> usize {
        self.body.put.len() + self.body.gone.len() + self.body.forget.len() + 1
    }
}

const fn encoding_key(encoding: Encoding) -> u8 {
    match encoding {
        Encoding::Json => 0,
        Encoding::Binary(Compression::None) => 1,
        Encoding::Binary(Compression::Zstd) => 2,
    }
}

/// How a source follows commits.
#[derive(Debug)]
enum Following {
    /// Each row stands for itself: what touched entities had and have is all that counts, and nothing is
    /// kept of the others.
    Rows {
        /// The set's digest, once somebody asked.
        digest: Option<u64>,
        /// Entities touched since the last update.
        touched: Vec<EntityId>,
        /// More were touched than that.
        all: bool,
    },
    /// The whole set is evaluated anew and compared.
    Set(FactSet),
}

/// What a reader is owed.
pub(super) enum Owed {
    /// These parts, in order.
    Parts(Vec<Arc<Fragment>>),
    /// The whole, which is large and not encoded.
    Large(Box<QueryResult>),
}

/// A query that native sessions hold.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) query: Query,
    pub(super) rights: Rights,
    pub(super) reads: ReadSet,
    /// Tells it from others that had its id.
    pub(super) serial: u64,
    plan: Result<Arc<Plan>, ErrorBody>,
    /// Where commits are told apart for it.
    pub(super) route: Option<LiveId>,
    following: Option<Following>,
    pub(super) is_stale: bool,
    /// What it says holds at this position.
    as_of: TxId,
    /// The history that it followed is no more: everybody gets the whole.
    is_lost: bool,
    /// The plan by which the facts as of then were found, if that was another one.
    earlier_plan: Option<Arc<Plan>>,
    /// Grows with every change; 0 before the first evaluation.
    pub(super) version: u64,
    /// The last one leads to `version`.
    deltas: VecDeque<FactDelta>,
    deltas_size: usize,
    /// The whole set as of a version, while readers ask for it.
    whole: BTreeMap<u8, (u64, Arc<Fragment>)>,
    /// Encodings of the whole that are under way.
    pub(super) coming: Vec<Encoding>,
    /// Who holds it, and how often.
    pub(super) readers: BTreeMap<SessionKey, u32>,
}

impl Source {
    pub(super) fn new(index: &TripleIndex, query: Query, rights: Rights, serial: u64) -> Self {
        Self {
            reads: query.reads(index.catalog()),
            plan: plan(index, &query, rights),
            route: None,
            query,
            rights,
            serial,
            following: None,
            is_stale: true,
            as_of: TxId(0),
            is_lost: false,
            earlier_plan: None,
            version: 0,
            deltas: VecDeque::new(),
            deltas_size: 0,
            whole: BTreeMap::new(),
            coming: Vec::new(),
            readers: BTreeMap::new(),
        }
    }

    /// Notes that a commit touched an entity in something that the query reads. Whether it was not stale
    /// before.
    pub(super) fn touch(&mut self, entity: EntityId) -> bool {
        if let Some(Following::Rows { touched, all, .. }) = &mut self.following
            && !*all
            && touched.last() != Some(&entity)
        {
            touched.push(entity);
            *all = touched.len() > TOUCHED_MAX;
        }
        !std::mem::replace(&mut self.is_stale, true)
    }

    /// Plans anew after attributes changed.
    pub(super) fn replan(&mut self, index: &TripleIndex) {
        self.reads = self.query.reads(index.catalog());
        let before = std::mem::replace(&mut self.plan, plan(index, &self.query, self.rights));
        if self.earlier_plan.is_none() {
            self.earlier_plan = before.ok();
        }
        self.is_stale = true;
    }

    /// Plans anew after commits were taken back.
    pub(super) fn lose(&mut self, index: &TripleIndex) {
        self.replan(index);
        self.is_lost = true;
    }

    /// How it is answered, if it can be.
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.plan.as_deref().ok()
    }

    /// Whether the query can be run on the present attributes.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn check(&self) -> Result<(), ErrorBody> {
        self.plan.as_ref().map(drop).map_err(ErrorBody::clone)
    }

    /// Brings it up to date; whether anything changed.
    ///
    /// # Errors
    /// The query cannot be run on the present attributes.
    pub(super) fn update(
        &mut self,
        index: &mut TripleIndex,
        tail: &Tail,
        now: TxId,
    ) -> Result<bool, ErrorBody> {
        let plan = self.plan.clone()?;
        if !self.is_stale {
            return Ok(false);
        }
        let before = self.version;
        let earlier = self.earlier_plan.take();
        match self.following.take() {
            Some(following) if !self.is_lost => {
                let (following, body) = self.follow(following, &plan, earlier, index, tail, now);
                self.following = Some(following);
                match body {
                    Some(body) if body.is_empty() => {}
                    Some(body) => self.push(body),
                    None => self.restart(),
                }
            }
            // The first time, or after its history was undone.
            _ => {
                self.following = Some(match plan.row_local(index) {
                    Some(_) => rows_from(None),
                    None => Following::Set(FactSet::evaluate(&plan, index)),
                });
                self.restart();
            }
        }
        self.is_lost = false;
        self.is_stale = false;
        self.as_of = now;
        Ok(self.version != before)
    }

    /// The way from what holds as of then to what holds now; no part if nobody can tell.
    fn follow(
        &self,
        following: Following,
        plan: &Arc<Plan>,
        earlier: Option<Arc<Plan>>,
        index: &mut TripleIndex,
        tail: &Tail,
        now: TxId,
    ) -> (Following, Option<PartBody>) {
        let is_local = plan.row_local(index).is_some();
        match following {
            Following::Set(mut set) => {
                let body = set.renew(plan, index);
                let next =
                    if is_local { rows_from(Some(set.digest().0)) } else { Following::Set(set) };
                (next, Some(body))
            }
            Following::Rows { digest, mut touched, all: false }
                if is_local && earlier.is_none() =>
            {
                touched.sort_unstable();
                touched.dedup();
                let facts = |index: &TripleIndex| {
                    QueryResult::run_on(plan, index, &AllVisible, &touched).triples(index)
                };
                let before = tail.look_back(index, self.as_of, now, facts);
                let Some(before) = before else { return (rows_from(None), None) };
                let (body, change) = difference(&before, facts(index), index);
                (rows_from(digest.map(|digest| digest.wrapping_add(change))), Some(body))
            }
            // Other attributes, or more entities than are worth a look each: everything is compared.
            Following::Rows { .. } => {
                let earlier = earlier.as_ref().unwrap_or(plan);
                let look = |index: &TripleIndex| FactSet::evaluate(earlier, index);
                let before = tail.look_back(index, self.as_of, now, look);
                let result = QueryResult::run(plan, index, &AllVisible);
                let triples = result.triples(index);
                let set = FactSet::of(&triples, &result, index);
                let body = before.map(|before| before.until(&set, triples, index));
                let next =
                    if is_local { rows_from(Some(set.digest().0)) } else { Following::Set(set) };
                (next, body)
            }
        }
    }

    fn push(&mut self, body: PartBody) {
        self.version += 1;
        let delta = FactDelta { body, encoded: BTreeMap::new() };
        self.deltas_size += delta.size();
        self.deltas.push_back(delta);
        // Deltas are kept only as long as they are few. How large the whole is is known of sets alone.
        let worth = match &self.following {
            Some(Following::Set(set)) => set.len().max(64),
            _ => DELTAS_MAX * 16,
        };
        while self.deltas.len() > DELTAS_MAX || self.deltas_size > worth {
            let Some(oldest) = self.deltas.pop_front() else { return };
            self.deltas_size -= oldest.size();
        }
    }

    /// Nothing leads from earlier versions to this one.
    fn restart(&mut self) {
        self.version += 1;
        self.deltas.clear();
        self.deltas_size = 0;
        self.whole.clear();
    }

    /// The digest of the facts. The source must be up to date.
    pub(super) fn digest(&mut self, index: &TripleIndex) -> Option<Digest> {
        let plan = self.plan.as_ref().ok()?;
        match self.following.as_mut()? {
            Following::Set(set) => Some(set.digest()),
            Following::Rows { digest, .. } => Some(Digest(*digest.get_or_insert_with(|| {
                let triples = QueryResult::run(plan, index, &AllVisible).triples(index);
                triples.iter().collect::<FactDigest>().digest().0
            }))),
        }
    }

    /// What brings a reader from a version to the present one. `sent` is 0 for a reader that holds nothing.
    /// The source must be up to date.
    pub(super) fn owed(&mut self, sent: u64, encoding: Encoding, index: &TripleIndex) -> Owed {
        if let Some(deltas) = self.since_version(sent, encoding).filter(|_| sent > 0) {
            return Owed::Parts(deltas);
        }
        let key = encoding_key(encoding);
        if let Some((version, whole)) = self.whole.get(&key).cloned()
            && let Some(deltas) = self.since_version(version, encoding)
        {
            return Owed::Parts(std::iter::once(whole).chain(deltas).collect());
        }
        let Ok(plan) = &self.plan else { return Owed::Parts(Vec::new()) };
        let result = QueryResult::run(plan, index, &AllVisible);
        if result.row_count() > ROWS_MAX {
            return Owed::Large(Box::new(result));
        }
        let (page, aggregate) = self.around();
        let put = result.triples(index);
        let body = PartBody { kind: PartKind::Reset, put, page, aggregate, ..PartBody::default() };
        let whole = Arc::new(body.encode(encoding));
        self.whole.insert(key, (self.version, whole.clone()));
        Owed::Parts(vec![whole])
    }

    fn since_version(&mut self, version: u64, encoding: Encoding) -> Option<Vec<Arc<Fragment>>> {
        let behind = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let start = self.deltas.len().checked_sub(behind)?;
        Some(self.deltas.range_mut(start..).map(|delta| delta.encode(encoding)).collect())
    }

    /// What else there is to say of the whole.
    pub(super) fn around(&self) -> (Option<Json>, Option<Json>) {
        match &self.following {
            Some(Following::Set(set)) => (set.page().clone(), set.aggregate().clone()),
            _ => (None, None),
        }
    }

    /// The whole as of a version was encoded.
    pub(super) fn encoded(&mut self, encoding: Encoding, version: u64, whole: Arc<Fragment>) {
        self.coming.retain(|coming| *coming != encoding);
        self.whole.insert(encoding_key(encoding), (version, whole));
    }

    /// Gives up the encoded whole if it is large: once everybody who asked has it.
    pub(super) fn evict(&mut self, bytes_max: usize) {
        self.whole.retain(|_, (_, whole)| whole.len() <= bytes_max);
    }

    /// What leads from an earlier set of this query to the present one. The source must be up to date.
    pub(super) fn since(&self, before: &FactSet, index: &TripleIndex) -> Option<PartBody> {
        let plan = self.plan.as_ref().ok()?;
        let result = QueryResult::run(plan, index, &AllVisible);
        let triples: Vec<Triple> = result.triples(index);
        let now = FactSet::of(&triples, &result, index);
        Some(before.until(&now, triples, index))
    }
}

const fn rows_from(digest: Option<u64>) -> Following {
    Following::Rows { digest, touched: Vec::new(), all: false }
}

/// Plans a query for native sessions.
pub(super) fn plan(
    index: &TripleIndex,
    query: &Query,
    rights: Rights,
) -> Result<Arc<Plan>, ErrorBody> {
    let mut options = EvalOptions::native();
    options.admin = rights == Rights::Admin;
    Plan::new(index, query, &options).map(Arc::new).map_err(|error| query_refused(&error))
}
