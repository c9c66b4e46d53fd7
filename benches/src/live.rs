//! Live queries, without a server: one update while a thousand of them live, and what each takes.

use std::hint::black_box;
use std::time::Instant;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, CheckedType};
use tricedb_core::id::{AttrId, EntityId, IdSource as _, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::live::LiveSet;
use tricedb_core::query::{EvalOptions, Query, parse};
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, Commit, ExecuteContext, execute, parse_steps};
use tricedb_core::value::Value;

use crate::counting::allocated_bytes;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Target, Unit};
use crate::todos::Ids;

const BENCH: &str = "live";
const QUERIES: usize = 1_000;
const ROWS: usize = 10_000;
/// Sizes at which the cost of one update is shown.
const SIZES: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
const UPDATES: usize = 4_000;
const ROUNDS: usize = 200;
const SET_UPS: usize = 7;
/// Rows of each query's page.
const PAGE: usize = 10;
const START: i64 = 1_795_408_071_705;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn run() -> Result<Vec<Figure>, BenchError> {
    let mut figures = vec![set_up()?, memory()?];
    for rows in SIZES {
        let mut world = World::new(rows)?;
        let mut set = world.by_owner()?;
        let name = format!("retitle one of {rows} rows, 1 of 1,000 queries affected");
        let mut figure = Figure::new(BENCH, name, Unit::Micros, world.retitle(&mut set, UPDATES)?);
        if rows == ROWS {
            figure = figure.target(Target::AtMost(10.0));
        }
        figures.push(figure);
    }
    let mut world = World::new(ROWS)?;
    let mut set = world.by_owner()?;
    let moved = world.change_owner(&mut set, UPDATES)?;
    let name = "give one row to another owner, 2 of 1,000 queries affected";
    figures.push(Figure::new(BENCH, name, Unit::Micros, moved));
    let mut set = world.by_priority()?;
    let name = "retitle a row that all 1,000 queries show";
    figures.push(
        Figure::new(BENCH, name, Unit::Millis, world.retitle_all(&mut set)?)
            .target(Target::AtMost(2.0)),
    );
    let (left, entered) = world.leave_all(&mut set)?;
    let name = "take a row out of 1,000 queries, each finds another";
    figures.push(Figure::new(BENCH, name, Unit::Millis, left).target(Target::AtMost(2.0)));
    let name = "put a row into 1,000 queries";
    figures.push(Figure::new(BENCH, name, Unit::Millis, entered).target(Target::AtMost(2.0)));
    Ok(figures)
}

fn set_up() -> Result<Figure, BenchError> {
    let world = World::new(ROWS)?;
    let mut times = Samples::default();
    for _ in 0..SET_UPS {
        let queries = world.owner_queries()?;
        let start = Instant::now();
        let set = world.set(&queries)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        black_box(set);
    }
    let name = "set up 1,000 queries over 10,000 rows";
    Ok(Figure::new(BENCH, name, Unit::Millis, times).target(Target::AtMost(50.0)))
}

fn memory() -> Result<Figure, BenchError> {
    let world = World::new(ROWS)?;
    let before = allocated_bytes();
    let queries = world.owner_queries()?;
    let set = world.set(&queries)?;
    drop(queries);
    let each = allocated_bytes().saturating_sub(before) as f64 / QUERIES as f64;
    black_box(set);
    let name = "memory per live query with a 10-row result";
    Ok(Figure::new(BENCH, name, Unit::Bytes, Samples::one(each)).target(Target::AtMost(1_024.0)))
}

/// Todos of as many owners as there are queries, ordered by an indexed time.
struct World {
    index: TripleIndex,
    ids: Ids,
    rows: Vec<EntityId>,
    title: AttrId,
    owner: AttrId,
    done: AttrId,
    now: i64,
}

impl World {
    fn new(rows: usize) -> Result<Self, BenchError> {
        let mut ids = Ids::new(11);
        let mut index = TripleIndex::new();
        let [id, title, done, created_at, priority, owner] =
            ["id", "title", "done", "createdAt", "priority", "owner"].map(|label| {
                let (attr, ident) = (AttrId::new(ids.next_uuid()), IdentId::new(ids.next_uuid()));
                let mut blob = Attr::blob(attr, ident, "todos", label);
                blob.checked_data_type = match label {
                    "createdAt" | "priority" => Some(CheckedType::Number),
                    "owner" => Some(CheckedType::String),
                    _ => None,
                };
                blob.indexed = blob.checked_data_type.is_some();
                index.put_attr(blob.into());
                attr
            });
        let mut todos = Vec::with_capacity(rows);
        for number in 0..rows as i64 {
            let entity = EntityId::new(ids.next_uuid());
            let owner_of = (number as usize) % QUERIES;
            let facts = [
                (id, Value::Ref(entity)),
                (title, Value::from(format!("title {number:07}").as_str())),
                (done, Value::from(false)),
                (created_at, Value::from(START + number)),
                (priority, Value::from(number % 5)),
                (owner, Value::from(owner_name(owner_of).as_str())),
            ];
            for (attr, value) in facts {
                index.insert(&Triple { entity, attr, value, created_at: START + number });
            }
            todos.push(entity);
        }
        Ok(Self { index, ids, rows: todos, title, owner, done, now: START + rows as i64 })
    }

    /// A page of each owner's todos, newest first.
    fn owner_queries(&self) -> Result<Vec<Query>, BenchError> {
        let query = |owner| query_of(&json!({"owner": owner_name(owner)}));
        (0..QUERIES).map(query).collect()
    }

    fn set(&self, queries: &[Query]) -> Result<LiveSet, BenchError> {
        let mut set = LiveSet::default();
        let options = EvalOptions::native();
        for query in queries {
            set.insert(&self.index, query, &options)?;
        }
        Ok(set)
    }

    fn by_owner(&self) -> Result<LiveSet, BenchError> {
        self.set(&self.owner_queries()?)
    }

    /// Queries that all show the newest todos, each with another bound.
    fn by_priority(&self) -> Result<LiveSet, BenchError> {
        let query = |number: usize| {
            let bound = -1.0 - number as f64;
            query_of(&json!({"done": false, "priority": {"$gt": bound}}))
        };
        self.set(&(0..QUERIES).map(query).collect::<Result<Vec<_>, _>>()?)
    }

    fn commit(&mut self, steps: Json) -> Result<Commit, BenchError> {
        self.now += 1;
        let steps = parse_steps(&steps)?;
        let mut context =
            ExecuteContext { now: self.now, ids: &mut self.ids, actor: Actor::Client };
        Ok(execute(&mut self.index, &steps, &mut context)?)
    }

    fn some_row(&mut self) -> EntityId {
        self.rows[(self.ids.next_u64() % self.rows.len() as u64) as usize]
    }

    /// Retitles random rows; how long the queries take to follow.
    fn retitle(&mut self, set: &mut LiveSet, count: usize) -> Result<Samples, BenchError> {
        let (title, mut times) = (self.title, Samples::default());
        for number in 0..count {
            let row = self.some_row();
            let text = format!("anew {number}");
            let commit = self.commit(json!([["add-triple", row, title, text]]))?;
            let start = Instant::now();
            black_box(set.apply(&self.index, &commit));
            times.push_micros(start.elapsed());
        }
        Ok(times)
    }

    fn change_owner(&mut self, set: &mut LiveSet, count: usize) -> Result<Samples, BenchError> {
        let (attr, mut times) = (self.owner, Samples::default());
        for _ in 0..count {
            let row = self.some_row();
            let owner = owner_name((self.ids.next_u64() % QUERIES as u64) as usize);
            let commit = self.commit(json!([["add-triple", row, attr, owner]]))?;
            let start = Instant::now();
            black_box(set.apply(&self.index, &commit));
            times.push_micros(start.elapsed());
        }
        Ok(times)
    }

    fn retitle_all(&mut self, set: &mut LiveSet) -> Result<Samples, BenchError> {
        let (title, mut times) = (self.title, Samples::default());
        let row = self.rows[self.rows.len() - 5];
        for number in 0..ROUNDS {
            let commit = self.commit(json!([["add-triple", row, title, format!("{number}")]]))?;
            let start = Instant::now();
            let touched = set.apply(&self.index, &commit);
            times.push(start.elapsed().as_secs_f64() * 1e3);
            assert_eq!(touched.len(), QUERIES, "every query shows the row");
        }
        Ok(times)
    }

    /// Rows leave all queries one after the other, and come back.
    fn leave_all(&mut self, set: &mut LiveSet) -> Result<(Samples, Samples), BenchError> {
        let done = self.done;
        let (mut left, mut entered) = (Samples::default(), Samples::default());
        for (is_done, times) in [(true, &mut left), (false, &mut entered)] {
            for number in 0..ROUNDS {
                // The newest first, so that the next row is always in view.
                let number = if is_done { number } else { ROUNDS - 1 - number };
                let row = self.rows[self.rows.len() - 1 - number];
                let commit = self.commit(json!([["add-triple", row, done, is_done]]))?;
                let start = Instant::now();
                let touched = set.apply(&self.index, &commit);
                times.push(start.elapsed().as_secs_f64() * 1e3);
                assert_eq!(touched.len(), QUERIES, "every query shows the row");
            }
        }
        Ok((left, entered))
    }
}

fn owner_name(number: usize) -> String {
    format!("{number}@example.com")
}

fn query_of(conditions: &Json) -> Result<Query, BenchError> {
    let options = json!({"where": conditions, "order": {"createdAt": "desc"}, "limit": PAGE});
    Ok(parse(&json!({"todos": {"$": options}}))?)
}
