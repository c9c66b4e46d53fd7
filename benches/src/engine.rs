//! The engine alone, without a server: for information, to see where the time of the whole goes.

use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tricedb_core::attr::CheckedType;
use tricedb_core::id::{AttrId, EntityId, IdSource as _, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{EvalOptions, Inference, evaluate, parse};
use tricedb_core::triple::Triple;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};
use tricedb_core::value::Value;

use crate::child::resident_bytes;
use crate::error::BenchError;
use crate::figure::{Figure, Samples, Unit};
use crate::programs::Programs;
use crate::todos::{Ids, Todos};

const BENCH: &str = "core";
const ROWS: usize = 100_000;
const CREATES: usize = 50_000;
const LOOKUPS: usize = 20_000;
const LOADS: usize = 5;

/// Runs the benchmark.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn run(programs: &Programs) -> Result<Vec<Figure>, BenchError> {
    let (mut times, mut bytes) = (Samples::default(), Samples::default());
    for _ in 0..LOADS {
        // Memory is told apart only in a fresh process.
        let loaded: Loaded = serde_json::from_str(&programs.output_of_loading()?)?;
        times.push(loaded.millis);
        bytes.push(loaded.bytes as f64 / loaded.triples as f64);
    }
    let (query, row) = lookups()?;
    Ok(vec![
        Figure::new(BENCH, "create of 5 attributes: prepare, apply", Unit::Micros, creates()?),
        Figure::new(BENCH, "row by id", Unit::Micros, row),
        Figure::new(BENCH, "query by id, from JSON to object", Unit::Micros, query),
        Figure::new(BENCH, "load of 100,000 rows, 1 order index", Unit::Millis, times),
        Figure::new(BENCH, "resident per triple", Unit::Bytes, bytes),
    ])
}

/// What [`load_and_report`] prints.
#[derive(Debug, Serialize, Deserialize)]
struct Loaded {
    millis: f64,
    triples: usize,
    bytes: u64,
}

/// Loads the rows and gives what it took as one line of JSON.
///
/// # Errors
/// [`BenchError`].
pub(crate) fn load_and_report() -> Result<String, BenchError> {
    let before = resident_bytes("self")?;
    let start = Instant::now();
    let (index, _) = load();
    let millis = start.elapsed().as_secs_f64() * 1e3;
    let bytes = resident_bytes("self")?.saturating_sub(before);
    Ok(serde_json::to_string(&Loaded { millis, triples: index.triple_count(), bytes })?)
}

/// An index of [`ROWS`] todos, and some of their ids.
fn load() -> (TripleIndex, Vec<EntityId>) {
    let mut ids = Ids::new(7);
    let mut index = TripleIndex::new();
    let [id, title, done, created_at, priority, owner] =
        ["id", "title", "done", "createdAt", "priority", "owner"].map(|label| {
            let (attr, ident) = (AttrId::new(ids.next_uuid()), IdentId::new(ids.next_uuid()));
            let mut blob = tricedb_core::attr::Attr::blob(attr, ident, "todos", label);
            if label == "createdAt" {
                blob.indexed = true;
                blob.checked_data_type = Some(CheckedType::Number);
            }
            index.put_attr(blob.into());
            attr
        });
    let mut some = Vec::new();
    for number in 0..ROWS as i64 {
        let entity = EntityId::new(ids.next_uuid());
        let facts = [
            (id, Value::Ref(entity)),
            (title, Value::from(format!("title {number:07}").as_str())),
            (done, Value::from(number % 4 == 0)),
            (created_at, Value::from(1_795_408_071_705 + number)),
            (priority, Value::from(number % 5)),
            (owner, Value::from(format!("{}@example.com", number % 1_000).as_str())),
        ];
        for (attr, value) in facts {
            index.insert(&Triple { entity, attr, value, created_at: 1_795_408_071_705 + number });
        }
        if number % 5 == 0 {
            some.push(entity);
        }
    }
    (index, some)
}

/// How long it takes to prepare and apply transactions that create one todo each.
///
/// # Errors
/// [`BenchError::Refused`].
pub(crate) fn creates() -> Result<Samples, BenchError> {
    let mut ids = Ids::new(9);
    let todos = Todos::new(&mut ids);
    let mut index = TripleIndex::new();
    let attrs = parse_steps(&todos.attr_steps(&mut ids).into())?;
    let mut context = ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Client };
    execute(&mut index, &attrs, &mut context)?;
    let mut times = Samples::default();
    for number in 0..CREATES {
        let todo = ids.next_uuid();
        let steps = todos.create_steps(todo, &format!("title {number:07}"));
        let steps = parse_steps(&steps.into())?;
        let mut context = ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Client };
        let start = Instant::now();
        let commit = execute(&mut index, &steps, &mut context)?;
        times.push_micros(start.elapsed());
        black_box(commit);
    }
    Ok(times)
}

/// Times of a query by id, and of a look at the row.
fn lookups() -> Result<(Samples, Samples), BenchError> {
    let (index, some) = load();
    let mut ids = Ids::new(3);
    let mut pick = || some[(ids.next_u64() % some.len() as u64) as usize];
    let (mut queries, mut rows) = (Samples::default(), Samples::default());
    let options = EvalOptions::native();
    for _ in 0..LOOKUPS {
        let todo = pick();
        let query = json!({"todos": {"$": {"where": {"id": todo}}}});
        let start = Instant::now();
        let result = parse(&query).and_then(|query| evaluate(&index, &query, &options));
        let object = result?.to_object(&index, Inference::Arrays);
        queries.push_micros(start.elapsed());
        black_box(object);
    }
    for _ in 0..LOOKUPS {
        let todo = pick();
        let start = Instant::now();
        black_box(index.row(todo).cloned());
        rows.push_micros(start.elapsed());
    }
    Ok((queries, rows))
}
