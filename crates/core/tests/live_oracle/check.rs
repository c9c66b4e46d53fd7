//! Runs a case: after every commit a live query equals an evaluation from scratch.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::id::{AttrId, EntityId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::{
    Change, Delta, LevelId, LiveId, LiveQuery, LiveSet, RowChangeKind,
};
use tricedb_core::query::{self, EvalOptions, Inference, Query, QueryError, QueryResult};
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, execute, parse_steps};
use uuid::Uuid;

use super::cases::Case;

/// What was checked, and how often it went another way than row by row.
#[derive(Default, Debug, Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) commits: u64,
    pub(crate) compared: u64,
    /// Comparisons in which the result had rows.
    pub(crate) filled: u64,
    pub(crate) refused: u64,
    pub(crate) replans: u64,
    pub(crate) refills: u64,
    pub(crate) scans: u64,
    pub(crate) fallbacks: u64,
    /// Queries that a set did not touch.
    pub(crate) passed_over: u64,
    /// Times that a set's query told what became of its facts.
    pub(crate) told_facts: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.commits += other.commits;
        self.compared += other.compared;
        self.filled += other.filled;
        self.refused += other.refused;
        self.replans += other.replans;
        self.refills += other.refills;
        self.scans += other.scans;
        self.fallbacks += other.fallbacks;
        self.passed_over += other.passed_over;
        self.told_facts += other.told_facts;
    }
}

/// Runs a case; what went wrong, if anything did. Panics count as wrong.
pub(crate) fn check(case: &Case) -> Result<Tally, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(case)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panic: {}", text.unwrap_or_default()))
    })
}

fn options(name: &str) -> EvalOptions {
    match name {
        "native" => EvalOptions::native(),
        "socket" => EvalOptions { check: false, ..EvalOptions::socket() },
        "admin" => EvalOptions { check: false, ..EvalOptions::admin_http() },
        _ => EvalOptions::client(),
    }
}

/// A database with a clock and ids of its own.
struct World {
    index: TripleIndex,
    now: i64,
    ids: u128,
}

impl World {
    /// Runs a transaction; `None` if it is refused.
    fn execute(&mut self, steps: &Json) -> Option<Commit> {
        // Several commits share a time, so that ids decide.
        self.now += 1;
        let steps = parse_steps(steps).ok()?;
        let mut ids = || {
            self.ids += 1;
            Uuid::from_u128(99 << 64 | self.ids)
        };
        let mut context = ExecuteContext { now: self.now / 3, ids: &mut ids, actor: Actor::Admin };
        execute(&mut self.index, &steps, &mut context).ok()
    }
}

/// What a result shows, to be compared.
#[derive(PartialEq, Debug)]
struct Shown {
    objects: Json,
    pages: Option<Json>,
    counts: Option<Json>,
    triples: Vec<String>,
}

impl Shown {
    fn of(index: &TripleIndex, result: &QueryResult, evidence: bool) -> Self {
        let mut triples: Vec<String> = match evidence {
            true => result.triples(index).iter().map(|triple| json!(triple).to_string()).collect(),
            false => Vec::new(),
        };
        triples.sort_unstable();
        Self {
            objects: result.to_object(index, Inference::Arrays),
            pages: result.page_info_json(),
            counts: result.aggregate_json(),
            triples,
        }
    }

    fn has_rows(&self) -> bool {
        let mut forms = self.objects.as_object().into_iter().flat_map(|forms| forms.values());
        forms.any(|rows| rows.as_array().is_some_and(|rows| !rows.is_empty()))
    }
}

type Lists = BTreeMap<(LevelId, Option<EntityId>), Vec<EntityId>>;

/// A query that lives, and what somebody who only reads its changes knows.
struct Follower {
    /// The same query in a set.
    id: LiveId,
    query: Query,
    live: LiveQuery,
    shown: Option<Shown>,
    mirror: Lists,
    /// The facts of the set's query, by what is said of them; `None` if it does not tell.
    facts: Option<Facts>,
}

type Facts = BTreeMap<(EntityId, AttrId), Triple>;

fn facts_of(live: &LiveQuery, index: &TripleIndex) -> Option<Facts> {
    let result = live.result(index).ok().filter(|_| live.tells_facts())?;
    let triples = result.triples(index).into_iter();
    Some(triples.map(|fact| ((fact.entity, fact.attr), fact)).collect())
}

impl Follower {
    /// Follows the facts by what is said of them.
    fn follow_facts(
        &mut self,
        index: &TripleIndex,
        delta: &Delta<'_>,
        live: &LiveQuery,
        change: Option<&Change>,
    ) -> Result<(), String> {
        let now = facts_of(live, index);
        let told = change.filter(|change| !change.renewed);
        let changed = told.and_then(|change| live.facts_changed(index, delta, change));
        match (&mut self.facts, changed) {
            (Some(facts), Some(changed)) => {
                for lost in changed.lost {
                    if facts.remove(&(lost.entity, lost.attr)).as_ref() != Some(&lost) {
                        return Err(format!("{lost:?} was not held"));
                    }
                }
                for put in changed.put {
                    let key = (put.now.entity, put.now.attr);
                    if facts.insert(key, put.now.clone()) != put.before {
                        return Err(format!("{put:?} follows something else"));
                    }
                }
            }
            (facts, _) if change.is_some() => *facts = now.clone(),
            _ => {}
        }
        if self.facts != now {
            return Err(format!("{change:?}\n  the facts are {now:?}\n  not {:?}", self.facts));
        }
        Ok(())
    }
}

/// The shape of a query: the levels below each level.
fn levels(form: &Json, next: &mut u32, shape: &mut BTreeMap<LevelId, Vec<LevelId>>) -> LevelId {
    let level = LevelId(*next);
    *next += 1;
    let children = form.as_object().into_iter().flatten().filter(|(key, _)| *key != "$");
    let below = children.map(|(_, child)| levels(child, next, shape)).collect();
    shape.insert(level, below);
    level
}

impl Follower {
    fn shape(&self) -> (Vec<LevelId>, BTreeMap<LevelId, Vec<LevelId>>) {
        let (mut next, mut shape) = (0, BTreeMap::new());
        let forms = self.query.json().as_object().into_iter().flatten();
        let tops = forms.map(|(_, form)| levels(form, &mut next, &mut shape)).collect();
        (tops, shape)
    }

    /// The lists of the live query that its rows lead to.
    fn lists(&self) -> Lists {
        let (mut open, shape) = self.shape();
        let mut open: Vec<_> = open.drain(..).map(|level| (level, None)).collect();
        let mut lists = Lists::new();
        while let Some((level, parent)) = open.pop() {
            let Some(rows) = self.live.list(level, parent) else { continue };
            for below in &shape[&level] {
                open.extend(rows.iter().map(|row| (*below, Some(*row))));
            }
            lists.insert((level, parent), rows);
        }
        lists
    }

    /// Follows a change by what it says.
    fn follow(&mut self, change: &Change) {
        let mut rows = change.rows.as_slice();
        let mut told = std::mem::take(&mut self.mirror);
        while let [first, ..] = rows {
            let place = (first.level, first.parent);
            let count = rows.iter().take_while(|row| (row.level, row.parent) == place).count();
            let (group, rest) = rows.split_at(count);
            rows = rest;
            let list = told.entry(place).or_default();
            for row in group.iter().filter(|row| row.kind != RowChangeKind::Changed) {
                list.retain(|known| *known != row.entity);
            }
            for row in group {
                if let RowChangeKind::Entered(at) | RowChangeKind::Moved(at) = row.kind {
                    list.insert(at, row.entity);
                }
            }
        }
        // What nothing leads to any more is forgotten.
        let (tops, shape) = self.shape();
        let mut open: Vec<_> = tops.into_iter().map(|level| (level, None)).collect();
        while let Some((level, parent)) = open.pop() {
            let rows = told.remove(&(level, parent)).unwrap_or_default();
            for below in &shape[&level] {
                open.extend(rows.iter().map(|row| (*below, Some(*row))));
            }
            if !rows.is_empty() {
                self.mirror.insert((level, parent), rows);
            }
        }
    }
}

fn run(case: &Case) -> Result<Tally, String> {
    let mut world = World { index: TripleIndex::new(), now: 0, ids: 0 };
    for attr in &case.attrs {
        let attr: Attr = serde_json::from_value(attr.clone()).map_err(|e| e.to_string())?;
        world.index.put_attr(Arc::new(attr));
    }
    for steps in &case.before {
        world.execute(steps);
    }
    let options = options(&case.options);
    let mut tally = Tally::default();
    let mut followers = Vec::new();
    let mut set = LiveSet::default();
    for query in &case.queries {
        let Ok(query) = query::parse(query) else { continue };
        let scratch = query::evaluate(&world.index, &query, &options);
        let live = LiveQuery::new(&world.index, &query, &options);
        let live = match (live, scratch) {
            (Ok(live), Ok(_)) => live,
            (Err(a), Err(b)) if a.to_string() == b.to_string() => {
                tally.refused += 1;
                continue;
            }
            (live, scratch) => {
                return Err(format!("begins with {:?}, not {:?}", live.err(), scratch.err()));
            }
        };
        let id = set.insert(&world.index, &query, &options).map_err(|e| e.to_string())?;
        let facts = facts_of(&live, &world.index).filter(|_| options.evidence);
        let (shown, mirror) = (None, Lists::new());
        let mut follower = Follower { id, query, live, shown, mirror, facts };
        follower.mirror = follower.lists();
        follower.mirror.retain(|_, rows| !rows.is_empty());
        compare(&world.index, &mut follower, &options, None, &mut tally)
            .map_err(|error| format!("at first: {error}"))?;
        followers.push(follower);
    }
    for (at, steps) in case.commits.iter().enumerate() {
        let Some(commit) = world.execute(steps) else { continue };
        tally.commits += 1;
        set_follows(&mut world, &commit, &mut followers, &mut set, &options, &mut tally)
            .map_err(|error| format!("commit {at}: {error}"))?;
        for follower in &mut followers {
            let change = follower.live.apply(&world.index, &commit);
            compare(&world.index, follower, &options, Some(change), &mut tally)
                .map_err(|error| format!("commit {at}, {}: {error}", follower.query))?;
        }
    }
    for follower in &followers {
        let counters = follower.live.counters();
        tally.replans += counters.replans;
        tally.refills += counters.refills;
        tally.scans += counters.scans;
        tally.fallbacks += counters.fallbacks;
        if counters.fallbacks > 0 {
            return Err(format!("{} fell back to whole evaluations", follower.query));
        }
    }
    Ok(tally)
}

/// A set follows a commit, its taking back and the commit again, and changes each query as it would alone.
fn set_follows(
    world: &mut World,
    commit: &Commit,
    followers: &mut [Follower],
    set: &mut LiveSet,
    options: &EvalOptions,
    tally: &mut Tally,
) -> Result<(), String> {
    let inverse = commit.inverse();
    for (round, commit) in [commit, &inverse, commit].into_iter().enumerate() {
        if round > 0 {
            world.index.apply(commit);
        }
        let index = &world.index;
        let delta = Delta::new(index, commit);
        let before: Vec<_> = followers
            .iter()
            .map(|follower| set.get(follower.id)?.facts_before(index, &delta))
            .collect();
        let touched = set.apply_delta(index, commit, &delta);
        for (follower, before) in followers.iter_mut().zip(before) {
            if let (Some(before), Some(facts), true) = (before, &follower.facts, options.evidence) {
                let before: Facts =
                    before.into_iter().map(|fact| ((fact.entity, fact.attr), fact)).collect();
                if before != *facts {
                    return Err(format!("round {round}: held {facts:?}, said to be {before:?}"));
                }
            }
            if let Some(live) = set.get(follower.id).filter(|_| options.evidence) {
                let change = touched.iter().find(|touched| touched.id == follower.id);
                let change = change.map(|touched| touched.change.as_ref());
                match change {
                    Some(Err(_)) => follower.facts = None,
                    Some(Ok(change)) => follower.follow_facts(index, &delta, live, Some(change))?,
                    None => follower.follow_facts(index, &delta, live, None)?,
                }
                tally.told_facts += u64::from(follower.facts.is_some());
            }
            let of = |follower: &Follower| touched.iter().find(|touched| touched.id == follower.id);
            let live = set.get(follower.id).ok_or("the set lost a query")?;
            let scratch = query::evaluate(index, &follower.query, options);
            let show = |result: &QueryResult| Shown::of(index, result, options.evidence);
            let (got, expected) = match (live.result(index), scratch) {
                (Ok(got), Ok(expected)) => (show(&got), show(&expected)),
                (Err(a), Err(b)) if a.to_string() == b.to_string() => continue,
                (got, expected) => {
                    let (got, expected) = (got.err(), expected.err());
                    return Err(format!("round {round}: the set has {got:?}, not {expected:?}"));
                }
            };
            let query = &follower.query;
            if got != expected {
                return Err(format!(
                    "round {round}: the set's {query} differs\n  expected {expected:?}\n  got      {got:?}"
                ));
            }
            if round != 0 {
                continue;
            }
            let mut alone = follower.live.clone();
            let alone = alone.apply(index, commit).map_err(|error| error.to_string())?;
            match of(follower) {
                Some(touched) => {
                    let change = touched.change.as_ref().map_err(ToString::to_string)?;
                    if *change != alone {
                        return Err(format!(
                            "the set changes {query} by {change:?}, not {alone:?}"
                        ));
                    }
                }
                None => {
                    tally.passed_over += 1;
                    let is_same = follower.shown.as_ref().is_none_or(|shown| *shown == got);
                    if !alone.is_empty() || !is_same {
                        return Err(format!("the set passes over {query}, which has {alone:?}"));
                    }
                }
            }
        }
    }
    Ok(())
}

fn compare(
    index: &TripleIndex,
    follower: &mut Follower,
    options: &EvalOptions,
    change: Option<Result<Change, QueryError>>,
    tally: &mut Tally,
) -> Result<(), String> {
    tally.compared += 1;
    let scratch = query::evaluate(index, &follower.query, options);
    let (expected, live) = match (scratch, follower.live.result(index)) {
        (Ok(scratch), Ok(live)) => (scratch, live),
        (Err(a), Err(b)) if a.to_string() == b.to_string() => {
            follower.shown = None;
            return Ok(());
        }
        (scratch, live) => {
            return Err(format!("should end as {:?}, ends as {:?}", scratch.err(), live.err()));
        }
    };
    let expected = Shown::of(index, &expected, options.evidence);
    let got = Shown::of(index, &live, options.evidence);
    tally.filled += u64::from(expected.has_rows());
    if got != expected {
        return Err(format!("differs\n  expected {expected:?}\n  got      {got:?}"));
    }
    let change = match change {
        None => Change::default(),
        Some(Err(error)) => return Err(format!("refused: {error}")),
        Some(Ok(change)) => change,
    };
    if change.renewed {
        follower.mirror = follower.lists();
        follower.mirror.retain(|_, rows| !rows.is_empty());
    } else {
        follower.follow(&change);
        let mut lists = follower.lists();
        lists.retain(|_, rows| !rows.is_empty());
        if follower.mirror != lists {
            let mirror = &follower.mirror;
            return Err(format!("{change:?}\n  leads to {mirror:?}\n  not to   {lists:?}"));
        }
    }
    if let (Some(shown), true) = (&follower.shown, change.is_empty()) {
        let same = (&shown.objects, &shown.pages, &shown.counts)
            == (&got.objects, &got.pages, &got.counts);
        if !same || (!change.evidence && shown.triples != got.triples) {
            return Err(format!("changed unsaid\n  from {shown:?}\n  to   {got:?}"));
        }
    }
    follower.shown = Some(got);
    Ok(())
}
