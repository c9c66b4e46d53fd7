//! What the index holds of memory, by counting allocations: how much for each fact, and nothing for facts that
//! are gone.

#![allow(clippy::unwrap_used, reason = "a failed test may panic")]
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to write; this one only counts and passes on"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use serde_json::{Value as Json, json};
use tricedb_core::attr::{Attr, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};
use uuid::Uuid;

thread_local! {
    // Less than nothing where a thread frees what another one gave it.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

fn change(before: usize, after: usize) {
    let change = after.cast_signed() - before.cast_signed();
    // What a thread frees after its end is not of interest.
    _ = HELD.try_with(|held| held.set(held.get() + change));
}

/// Runs something and gives the bytes that it took and did not give back.
fn taken<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get();
    let outcome = run();
    (outcome, usize::try_from(HELD.get() - before).unwrap_or(0))
}

// SAFETY: every call is passed on unchanged to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(0, layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        change(layout.size(), 0);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        change(layout.size(), size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Bytes that an index holds besides its rows, which a copy shares.
fn held(index: &TripleIndex) -> usize {
    taken(|| index.clone()).1
}

const fn uuid(kind: u128, number: u128) -> Uuid {
    // Not in the order in which they are made.
    Uuid::from_u128(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) ^ kind << 120)
}

const LABELS: [&str; 6] = ["id", "title", "done", "createdAt", "code", "note"];
const OWNER: u128 = 10;

fn attr(number: u128) -> AttrId {
    AttrId(uuid(1, number))
}

fn empty() -> TripleIndex {
    let mut index = TripleIndex::new();
    for (number, label) in (0..).zip(LABELS) {
        let mut made = Attr::blob(attr(number), IdentId(uuid(2, number)), "todos", label);
        made.unique = label == "id" || label == "code";
        if label == "createdAt" {
            (made.indexed, made.checked_data_type) = (true, Some(CheckedType::Number));
        }
        index.put_attr(made.into());
    }
    index.put_attr(Attr::blob(attr(9), IdentId(uuid(2, 9)), "users", "id").into());
    let name = |kind, etype: &str, label: &str| Identity {
        id: IdentId(uuid(kind, OWNER)),
        etype: etype.into(),
        label: label.into(),
    };
    let (forward, reverse) = (name(2, "todos", "owner"), name(3, "users", "todos"));
    index.put_attr(Attr::link(attr(OWNER), forward, reverse).into());
    index
}

fn user(number: u128) -> EntityId {
    EntityId(uuid(4, number))
}

fn todo(number: u128) -> EntityId {
    EntityId(uuid(5, number))
}

fn creation(number: u128) -> [Json; 7] {
    let id = todo(number);
    let values = [
        json!(id),
        json!(format!("title {number:07}")),
        json!(number.is_multiple_of(4)),
        json!(1_795_408_071_705_u64 + u64::try_from(number).unwrap()),
        json!(number),
        json!(format!("to be done by {}", number % 1_000)),
    ];
    let mut steps = (0..).zip(values).map(|(at, value)| json!(["add-triple", id, attr(at), value]));
    std::array::from_fn(|_| {
        let link = || json!(["add-triple", id, attr(OWNER), user(number % 100)]);
        steps.next().unwrap_or_else(link)
    })
}

fn run(index: &mut TripleIndex, now: i64, steps: Vec<Json>) {
    let mut ids = || uuid(6, 0);
    let mut context = ExecuteContext { now, ids: &mut ids, actor: Actor::Admin };
    execute(index, &parse_steps(&steps.into()).unwrap(), &mut context).unwrap();
}

fn fill(index: &mut TripleIndex, todos: std::ops::Range<u128>) {
    run(index, 1, (0..100).map(|n| json!(["add-triple", user(n), attr(9), user(n)])).collect());
    for number in todos {
        run(index, i64::try_from(number).unwrap(), creation(number).into());
    }
}

fn clear(index: &mut TripleIndex, todos: impl Iterator<Item = u128>) {
    for number in todos {
        run(index, 2, vec![json!(["delete-entity", todo(number), "todos"])]);
    }
}

const TODOS: u128 = 4_000;

#[test]
fn a_fact_takes_few_bytes_with_all_its_indexes() {
    let (index, bytes) = taken(|| {
        let mut index = empty();
        fill(&mut index, 0..TODOS);
        index
    });
    let each = bytes / index.triple_count();
    assert!(each <= 80, "{each} bytes for each of {} facts", index.triple_count());
}

#[test]
fn what_is_gone_takes_nothing() {
    let mut index = empty();
    let start = HELD.get();
    let held = || usize::try_from(HELD.get() - start).unwrap_or(0);
    fill(&mut index, 0..TODOS);
    let full = held();
    // Half of it first, in no order: what stays behind must not keep what went.
    clear(&mut index, (0..TODOS).filter(|number| number * 7_919 % 10 < 5));
    let half = held();
    assert!(half < full * 7 / 10, "{half} of {full} bytes");
    clear(&mut index, (0..TODOS).filter(|number| number * 7_919 % 10 >= 5));
    let users = (0..100).map(|n| json!(["delete-entity", user(n), "users"])).collect();
    run(&mut index, 3, users);
    assert_eq!((index.triple_count(), index.entity_count()), (0, 0));
    // The types that were seen in the values stay noted in their attributes.
    assert!(held() < 4_096, "{} bytes are left", held());
}

#[test]
fn coming_and_going_does_not_add_up() {
    let mut index = empty();
    fill(&mut index, 0..1_000);
    let mut sizes = Vec::new();
    for round in 1..=12_u128 {
        fill(&mut index, round * 1_000..(round + 1) * 1_000);
        clear(&mut index, (round - 1) * 1_000..round * 1_000);
        let retitled = (round * 1_000..(round + 1) * 1_000)
            .map(|number| {
                json!(["add-triple", todo(number), attr(1), format!("again {number:07}")])
            })
            .collect();
        run(&mut index, 4, retitled);
        sizes.push(held(&index));
    }
    let (first, last) = (sizes[1], sizes[11]);
    assert!(last <= first + first / 10, "{sizes:?}");
}
