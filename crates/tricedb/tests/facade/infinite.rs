//! Lists read page by page, beside what one query without pages gives.

use serde_json::{Value as Json, json};
use tricedb::schema::{AttrDef, Schema};
use tricedb::{
    Client, EntityId, InfiniteError, InfiniteResult, InfiniteSubscription, QueryBuilder,
    QueryFailure, field, query, tx,
};

use crate::world::{World, soon};

const PAGE: usize = 4;

fn schema() -> Schema {
    let attrs = [AttrDef::number("n").indexed().optional(), AttrDef::string("title").optional()];
    Schema::builder().namespace("todos", attrs).build().unwrap()
}

fn ids<'a>(rows: impl IntoIterator<Item = &'a Json>) -> Vec<String> {
    rows.into_iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// Whether a list is the beginning of all rows, and knows whether there are more.
fn begins(list: &InfiniteResult, all: &[String]) -> bool {
    let loaded = ids(list.rows());
    all.starts_with(&loaded) && list.can_load_next() == (all.len() > loaded.len())
}

async fn all_of(db: &Client, query: &QueryBuilder) -> Vec<String> {
    let result = soon("an answer", db.query_once(query.clone())).await.unwrap();
    ids(result.rows("todos"))
}

async fn agrees(
    list: &mut InfiniteSubscription,
    all: &[String],
    least: usize,
    context: &str,
) -> InfiniteResult {
    let mut last = None;
    let fits = |list: &InfiniteResult| {
        let fits = begins(list, all) && list.len() >= least.min(all.len());
        last = Some((ids(list.rows()), list.can_load_next()));
        fits
    };
    match tokio::time::timeout(std::time::Duration::from_secs(30), list.wait_for(fits)).await {
        Ok(list) => list.unwrap(),
        Err(_) => panic!("{context}: shown {last:?}\nof {all:?}"),
    }
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % count
    }
}

#[tokio::test]
async fn pages_stay_one_list_whatever_happens_at_their_borders() {
    let world = World::new(Some(&schema())).await;
    let (reader, writer) = (world.client().await, world.client().await);
    let queries = [
        query("todos").order_by("n"),
        query("todos").order_by_desc("n"),
        query("todos"),
        query("todos").order_by_desc("serverCreatedAt"),
        query("todos").filter(field("n").gt(20)).order_by("n"),
    ];
    let mut lists: Vec<InfiniteSubscription> =
        queries.iter().map(|q| reader.subscribe_infinite(q.clone(), PAGE).unwrap()).collect();
    let mut known: Vec<EntityId> = Vec::new();
    let mut dice = Dice(7);
    for round in 0..60 {
        let mut steps = Vec::new();
        for _ in 0..=dice.below(3) {
            // Few numbers, so that many rows are equal in the order.
            let n = dice.below(40);
            match dice.below(5) {
                0 | 1 => {
                    known.push(writer.id());
                    steps.push(tx("todos", known[known.len() - 1]).create(json!({"n": n})));
                }
                2 if !known.is_empty() => {
                    // The last row of a page, or the first of the next, when it can be told.
                    let all = all_of(&writer, &queries[0]).await;
                    let border = (dice.below(3) * PAGE + dice.below(2)).min(all.len() - 1);
                    let id = EntityId::parse(&all[border]).unwrap();
                    known.retain(|other| *other != id);
                    steps.push(tx("todos", id).delete());
                    break;
                }
                3 if !known.is_empty() => {
                    let id = known[dice.below(known.len())];
                    steps.push(tx("todos", id).update(json!({"n": n})));
                }
                4 if !known.is_empty() => {
                    let id = known[dice.below(known.len())];
                    steps.push(tx("todos", id).update(json!({"n": null})));
                }
                _ => {
                    let more: Vec<EntityId> = (0..PAGE).map(|_| writer.id()).collect();
                    steps.extend(more.iter().map(|id| tx("todos", *id).create(json!({"n": n}))));
                    known.extend(more);
                }
            }
        }
        let receipt = writer.transact(steps).unwrap();
        soon("synced", receipt.synced()).await.unwrap();
        for (number, list) in lists.iter_mut().enumerate() {
            let all = all_of(&writer, &queries[number]).await;
            let context = format!("round {round}, query {number}");
            let shown = agrees(list, &all, 0, &context).await;
            // Each list grows now and then, the second and fourth rarely.
            if dice.below(3 + 5 * (number % 2)) == 0 {
                assert_eq!(list.load_next(), shown.can_load_next(), "{context}");
                agrees(list, &all, shown.len() + PAGE, &context).await;
            }
        }
    }
    for (number, list) in lists.iter_mut().enumerate() {
        let all = all_of(&writer, &queries[number]).await;
        let shown = soon("all of it", list.load_until(usize::MAX)).await.unwrap();
        assert_eq!(ids(shown.rows()), all);
        assert!(!shown.can_load_next() && !list.load_next());
    }
}

#[tokio::test]
async fn rows_before_the_first_page_and_own_rows_show_at_once() {
    let world = World::new(Some(&schema())).await;
    let db = world.client().await;
    let create = |n: i64| db.transact(tx("todos", db.id()).create(json!({"n": n}))).unwrap();
    for n in 10..20 {
        create(n);
    }
    soon("settled", db.sync().pending().settled()).await;
    let mut list = db.subscribe_infinite(query("todos").order_by("n"), PAGE).unwrap();
    soon("a page", list.wait_for(|list| list.len() == PAGE && list.is_complete())).await.unwrap();
    assert!(list.load_next());
    assert!(list.load_next(), "it is on its way");
    soon("two pages", list.wait_for(|list| list.len() == 2 * PAGE)).await.unwrap();
    let numbers = |list: &InfiniteResult| -> Vec<i64> {
        list.rows().map(|row| row["n"].as_i64().unwrap()).collect()
    };
    create(1);
    create(12);
    let current = list.current().unwrap();
    assert_eq!(numbers(&current), [1, 10, 11, 12, 12, 13, 14, 15, 16, 17]);
    assert!(current.can_load_next());
}

#[tokio::test]
async fn pages_work_offline_on_what_is_held() {
    let world = World::new(Some(&schema())).await;
    let db = world.client().await;
    let all = query("todos");
    let mut held = db.subscribe(all.clone()).unwrap();
    for n in 0..6 {
        db.transact(tx("todos", db.id()).create(json!({"n": n}))).unwrap();
    }
    soon("settled", db.sync().pending().settled()).await;
    soon("all", held.wait_for(|held| held.is_complete() && held.rows("todos").len() == 6))
        .await
        .unwrap();
    db.sync().disconnect();
    for n in 6..15 {
        db.transact(tx("todos", db.id()).create(json!({"n": n}))).unwrap();
    }
    let mut list = db.subscribe_infinite(all.clone(), PAGE).unwrap();
    let shown = soon("everything", list.load_until(usize::MAX)).await.unwrap();
    assert_eq!(ids(shown.rows()), ids(held.current().unwrap().rows("todos")));
    assert_eq!(shown.len(), 15);
    assert!(!shown.is_complete());
    db.sync().connect();
    soon("settled", db.sync().pending().settled()).await;
    let on_server = all_of(&db, &all).await;
    assert_eq!(on_server.len(), 15);
    agrees(&mut list, &on_server, 15, "online again").await;
    let shown = soon("all of it", list.wait_for(InfiniteResult::is_complete)).await.unwrap();
    assert_eq!(ids(shown.rows()), on_server);
}

#[tokio::test]
async fn what_cannot_be_read_by_pages_is_refused_and_the_end_has_a_reason() {
    let world = World::new(Some(&schema())).await;
    let db = world.client().await;
    let refused = |query: Json| db.subscribe_infinite(query, 2).unwrap_err();
    let two = refused(json!({"todos": {}, "users": {}}));
    assert_eq!(two, InfiniteError::Namespaces { count: 2 });
    let paged = refused(json!({"todos": {"$": {"limit": 3}}}));
    assert_eq!(paged, InfiniteError::Paged { option: "limit" });
    assert!(matches!(refused(json!({"todos": 7})), InfiniteError::Query(_)));
    let empty = db.subscribe_infinite(query("todos"), 0).unwrap_err();
    assert_eq!(empty, InfiniteError::EmptyPages);

    let mut unserved = db.subscribe_infinite(query("todos").order_by("title"), 2).unwrap();
    let failure = soon("a refusal", unserved.wait_for(|_| false)).await.unwrap_err();
    assert!(matches!(failure, QueryFailure::Refused(_)), "{failure:?}");
    let mut list = db.subscribe_infinite(query("todos"), 2).unwrap();
    assert!(soon("nothing", list.next()).await.unwrap().unwrap().is_empty());
    assert!(!list.load_next());
    db.close().await.unwrap();
    assert_eq!(soon("the end", list.wait_for(|_| false)).await.unwrap_err(), QueryFailure::Closed);
    assert!(soon("the end", list.next()).await.is_none());
}
