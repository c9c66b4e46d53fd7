//! Queries on the index alone: by order and limit, nested, by id; and what the index weighs.
//!
//! Hot runs repeat a query; before each cold one the caches are filled with something else.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value as Json, json};
use tricedb_core::id::EntityId;
use tricedb_core::index::{Row, TripleIndex};
use tricedb_core::query::{Access, AllVisible, EvalOptions, Plan, QueryResult, parse};

use crate::counting::allocated_bytes;
use crate::dataset::{Dataset, Shape};
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::todos::Ids;

const BENCH: &str = "query";
const TODOS: usize = 100_000;
const USERS: usize = 1_000;
const HOT: usize = 400;
const COLD: usize = 30;
const LOOKUPS: usize = 20_000;

/// The targets.
const FREQUENT_MICROS: f64 = 10.0;
const RARE_MICROS: f64 = 150.0;
const OF_SCAN: f64 = 1.3;
const SCAN_MICROS: f64 = 5_000.0;
const NESTED_MICROS: f64 = 250.0;
const LOOKUP_MICROS: f64 = 0.5;
const BYTES: f64 = 80.0;

/// More than any cache holds.
const POLLUTION_BYTES: usize = 96 << 20;
const CACHE_LINE: usize = 64;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn run() -> Result<Vec<Figure>, BenchError> {
    let mut caches = Caches(vec![0; POLLUTION_BYTES]);
    let mut figures = pages(&mut caches)?;
    figures.extend(nested(&mut caches)?);
    for todos in [1_000, 10_000, 100_000, 1_000_000] {
        figures.extend(lookups(todos)?);
    }
    figures.extend(weight());
    Ok(figures)
}

/// Something else that caches can hold.
struct Caches(Vec<u8>);

impl Caches {
    fn spoil(&mut self) {
        for at in (0..self.0.len()).step_by(CACHE_LINE) {
            self.0[at] = self.0[at].wrapping_add(1);
        }
        black_box(&self.0);
    }
}

/// A query that is ready to run.
struct Prepared<'a> {
    index: &'a TripleIndex,
    plan: Arc<Plan>,
}

impl<'a> Prepared<'a> {
    fn new(index: &'a TripleIndex, query: &Json) -> Result<Self, BenchError> {
        // As a client asks: a server would refuse the order that no index serves, which the scan needs.
        let plan = Plan::new(index, &parse(query)?, &EvalOptions::client())?;
        Ok(Self { index, plan: Arc::new(plan) })
    }

    /// Runs it into shared rows.
    fn run(&self) -> Vec<Arc<Row>> {
        QueryResult::run(&self.plan, self.index, &AllVisible).shared_rows(self.index)
    }

    fn time(&self) -> f64 {
        let start = Instant::now();
        black_box(self.run());
        start.elapsed().as_secs_f64() * 1e6
    }

    fn hot(&self) -> Samples {
        let mut times = Samples::default();
        black_box(self.run());
        let start = Instant::now();
        while times.len() < HOT && start.elapsed().as_secs() < 2 {
            times.push(self.time());
        }
        times
    }

    fn cold(&self, caches: &mut Caches) -> Samples {
        let mut times = Samples::default();
        for _ in 0..COLD {
            caches.spoil();
            times.push(self.time());
        }
        times
    }

    /// How it is answered, and what it looks at.
    fn path(&self) -> String {
        let explanation = self.plan.explain(self.index);
        let access = match explanation.forms.first().map(|form| &form.access) {
            Some(Access::Walk { .. }) => "walk",
            Some(Access::Index { .. }) => "index",
            Some(Access::Scan { .. }) => "scan",
            Some(Access::Link { .. } | Access::Nothing) | None => "none",
        };
        format!("{access}, {} probes", explanation.touched)
    }
}

/// The newest 50 todos that pass a filter.
fn page(filter: &Json) -> Json {
    json!({"todos": {"$": {"where": filter, "order": {"createdAt": "desc"}, "limit": 50}}})
}

fn pages(caches: &mut Caches) -> Result<Vec<Figure>, BenchError> {
    let data = |indexed, shuffled| {
        Dataset::new(Shape { users: USERS, todos: TODOS, indexed, shuffled }).index
    };
    let ordered = data(&["createdAt"], false);
    let plain = data(&[], false);
    let both = data(&["createdAt", "group"], false);
    let shuffled = data(&["createdAt"], true);
    let unordered = data(&[], true);
    let (frequent, rare, none) =
        (json!({"done": true}), json!({"group": 7}), json!({"group": 1_000}));
    let cases: [(&str, &TripleIndex, &TripleIndex, &Json, Target); 6] = [
        ("25 %", &ordered, &plain, &frequent, Target::AtMost(FREQUENT_MICROS)),
        ("0.5 %", &ordered, &plain, &rare, Target::AtMost(RARE_MICROS)),
        ("0.5 %, value index", &both, &plain, &rare, Target::AtMost(RARE_MICROS)),
        ("0.5 %, unrelated order", &shuffled, &unordered, &rare, Target::TimesLimit(OF_SCAN)),
        ("no match", &ordered, &plain, &none, Target::TimesLimit(OF_SCAN)),
        ("no match, unrelated order", &shuffled, &unordered, &none, Target::TimesLimit(OF_SCAN)),
    ];
    let mut figures = Vec::new();
    for (name, index, scanned, filter, target) in cases {
        let query = Prepared::new(index, &page(filter))?;
        let scan = Prepared::new(scanned, &page(filter))?;
        let path = query.path();
        for (how, times, limit) in
            [("hot", query.hot(), scan.hot()), ("cold", query.cold(caches), scan.cold(caches))]
        {
            let name = format!("50 of 100,000 by order, {name}, {how} ({path})");
            let figure = Figure::new(BENCH, name, Unit::Micros, times);
            figures.push(figure.beside("the scan", limit).target(target));
        }
    }
    let scan = Prepared::new(&plain, &page(&frequent))?;
    let path = scan.path();
    let floor = |index: &TripleIndex| {
        let mut times = Samples::default();
        for _ in 0..COLD {
            let start = Instant::now();
            black_box(index.rows().map(|row| row.id().uuid().as_u64_pair().0).max());
            times.push_micros(start.elapsed());
        }
        times
    };
    for (how, times) in [("hot", scan.hot()), ("cold", scan.cold(caches))] {
        let name = format!("50 of 100,000 by scan, 25 %, {how} ({path})");
        let figure = Figure::new(BENCH, name, Unit::Micros, times);
        let figure = figure.beside("a look at each row", floor(&plain));
        figures.push(figure.target(Target::AtMost(SCAN_MICROS)));
    }
    let mut times = Samples::default();
    for _ in 0..HOT {
        let query = page(&frequent);
        let start = Instant::now();
        black_box(Prepared::new(&ordered, &query)?.run());
        times.push_micros(start.elapsed());
    }
    let name = "50 of 100,000 by order, 25 %, hot, parsed and planned each time";
    figures.push(Figure::new(BENCH, name, Unit::Micros, times));
    Ok(figures)
}

fn nested(caches: &mut Caches) -> Result<Vec<Figure>, BenchError> {
    let data = Dataset::new(Shape { users: 50, todos: 10_000, indexed: &[], shuffled: false });
    let query = Prepared::new(&data.index, &json!({"users": {"todos": {}}}))?;
    let path = query.path();
    let clones = || -> Vec<Arc<Row>> { data.index.rows().cloned().collect() };
    let mut figures = Vec::new();
    for (how, times) in [("hot", query.hot()), ("cold", query.cold(caches))] {
        let mut limit = Samples::default();
        for _ in 0..COLD {
            if how == "cold" {
                caches.spoil();
            }
            let start = Instant::now();
            black_box(clones());
            limit.push_micros(start.elapsed());
        }
        let name = format!("50 users and their 10,000 todos, {how} ({path})");
        let figure = Figure::new(BENCH, name, Unit::Micros, times);
        let figure = figure.beside("a reference to each row", limit);
        figures.push(figure.target(Target::AtMost(NESTED_MICROS)));
    }
    Ok(figures)
}

/// Rows by their ids, in random order, with a hash map as the limit; and a query by id.
fn lookups(todos: usize) -> Result<Vec<Figure>, BenchError> {
    let data = Dataset::new(Shape { users: 100, todos, indexed: &["createdAt"], shuffled: false });
    let index = &data.index;
    let bare: HashMap<EntityId, Arc<Row>> =
        index.rows().map(|row| (row.id(), row.clone())).collect();
    let mut ids = Ids::new(3);
    let mut pick = || data.todos[(ids.next_u64() % todos as u64) as usize];
    let (mut rows, mut limit) = (Samples::default(), Samples::default());
    // One look is shorter than the clock is exact.
    const TOGETHER: usize = 20;
    for _ in 0..LOOKUPS / TOGETHER {
        let wanted: [EntityId; TOGETHER] = std::array::from_fn(|_| pick());
        let start = Instant::now();
        for id in wanted {
            black_box(index.row(id).cloned());
        }
        rows.push(start.elapsed().as_secs_f64() * 1e6 / TOGETHER as f64);
        let wanted: [EntityId; TOGETHER] = std::array::from_fn(|_| pick());
        let start = Instant::now();
        for id in wanted {
            black_box(bare.get(&id).cloned());
        }
        limit.push(start.elapsed().as_secs_f64() * 1e6 / TOGETHER as f64);
    }
    drop(bare);
    let mut queries = Samples::default();
    for _ in 0..LOOKUPS / 20 {
        let query = Prepared::new(index, &json!({"todos": {"$": {"where": {"id": pick()}}}}))?;
        queries.push(query.time());
    }
    Ok(vec![
        Figure::new(BENCH, format!("row by id of {todos}"), Unit::Micros, rows)
            .beside("std's HashMap", limit)
            .target(Target::AtMost(LOOKUP_MICROS)),
        Figure::new(BENCH, format!("query by id of {todos}, planned"), Unit::Micros, queries)
            .target(Target::AtMost(LOOKUP_MICROS)),
    ])
}

/// What the index of 100,000 todos holds of memory.
fn weight() -> Vec<Figure> {
    let mut figures = Vec::new();
    for (what, indexed, target) in [
        ("1 order index", &["createdAt"][..], Some(BYTES)),
        ("4 order indexes, 2 of them text", &["createdAt", "group", "title", "note"][..], None),
    ] {
        let shape = Shape { users: USERS, todos: TODOS, indexed, shuffled: false };
        let before = allocated_bytes();
        let Dataset { index, users, todos } = Dataset::new(shape);
        drop((users, todos));
        let triples = index.triple_count() as f64;
        let bytes = (allocated_bytes() - before) as f64 / triples;
        let name = format!("allocated per triple of {triples}, {what}");
        let mut figure = Figure::new(BENCH, name, Unit::Bytes, Samples::one(bytes));
        if let Some(target) = target {
            figure = figure.target(Target::AtMost(target));
        }
        figures.push(figure);
    }
    figures
}
