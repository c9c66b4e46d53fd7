//! A storage of one's own, and what core does by itself: an index, transactions, queries.
//!
//! Neither the sync engine nor the facade is here. A program that uses them gives them the storage in
//! the same way: as something that implements `tricedb_core::port::Storage`.
//!
//! `cargo run -p tricedb-example-custom-storage [FILE]`

#![expect(clippy::print_stdout, reason = "the program shows what it does")]

mod journal;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tricedb_core::id::EntityId;
use tricedb_core::index::TripleIndex;
use tricedb_core::port::{Batch, EntityRow, Storage};
use tricedb_core::query::{EvalOptions, Inference, evaluate, field, query};
use tricedb_core::tx::{
    Actor, Commit, EntityKey, ExecuteContext, MissingAttrs, Operation, execute, expand, tx,
};
use uuid::Uuid;

use journal::JournalStorage;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args_os().nth(1) {
        Some(file) => run(Path::new(&file)).await,
        None => {
            // Nothing of a demonstration should stay behind.
            let folder = std::env::temp_dir().join(format!("tricedb-{}", Uuid::new_v4()));
            std::fs::create_dir(&folder)?;
            let result = run(&folder.join("todos.jsonl")).await;
            std::fs::remove_dir_all(&folder)?;
            result
        }
    }
}

async fn run(file: &Path) -> Result<(), Box<dyn Error>> {
    let mut database = Database::open(file).await?;
    println!("opened {} with {} facts", file.display(), database.index.triple_count());

    let [home, milk, book] = [(); 3].map(|()| EntityId::new(Uuid::new_v4()));
    let facts = database
        .transact(
            tx("projects", home)
                .create(json!({"name": "Home"}))
                .into_iter()
                // A link made on the fly leads to the namespace that is called like the link.
                .chain(
                    tx("todos", milk)
                        .create(json!({"title": "Buy milk", "done": false, "tags": ["shop"]}))
                        .link("projects", home),
                )
                .chain(
                    tx("todos", book)
                        .create(json!({"title": "Read a book", "done": false}))
                        .link("projects", home),
                )
                .collect(),
        )
        .await?;
    println!("created a project and two todos: {facts} changes, now on disk");

    let facts = database
        .transact(tx("todos", milk).update(json!({"done": true})).into_operations())
        .await?;
    println!("ticked one off: {facts} change");

    let before = database.open_todos()?;
    if before["todos"][0]["projects"][0]["name"] != "Home" {
        return Err("the open todo lacks its project".into());
    }
    println!("still open:\n{}", serde_json::to_string_pretty(&before)?);

    // A transaction that core refuses changes neither the index nor the disk.
    let refused =
        database.transact(tx("todos", book).create(json!({"title": "Again"})).into_operations());
    match refused.await {
        Ok(_) => return Err("a todo was created twice".into()),
        Err(error) => println!("creating one again is refused: {error}"),
    }

    database.storage.close().await?;
    drop(database);
    let database = Database::open(file).await?;
    println!("opened again with {} facts", database.index.triple_count());
    if database.open_todos()? != before {
        return Err("the reopened database answers differently".into());
    }
    println!("the same query has the same answer");
    database.storage.close().await?;
    Ok(())
}

/// An index in memory and the storage that outlives it.
struct Database {
    index: TripleIndex,
    storage: JournalStorage,
}

impl Database {
    async fn open(file: &Path) -> Result<Self, Box<dyn Error>> {
        let storage = JournalStorage::open(PathBuf::from(file)).await?;
        let snapshot = storage.load().await?;
        let mut index = TripleIndex::new();
        // Attributes first: a fact of an unknown attribute cannot be indexed.
        for attr in snapshot.attrs {
            index.put_attr(Arc::new(attr));
        }
        for triple in snapshot.entities.iter().flat_map(|row| &row.triples) {
            index.insert(triple);
        }
        Ok(Self { index, storage })
    }

    /// Applies operations to the index and makes them durable; returns the number of changes.
    async fn transact(&mut self, operations: Vec<Operation>) -> Result<usize, Box<dyn Error>> {
        let index = &self.index;
        let known = |etype: &str, key: &EntityKey| match key {
            EntityKey::Id(id) => index.exists_in(*id, etype),
            _ => false,
        };
        let mut ids = Uuid::new_v4;
        let steps = expand(&operations, index.catalog(), &known, MissingAttrs::Create, &mut ids)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let mut context = ExecuteContext { now, ids: &mut ids, actor: Actor::Client };
        let commit = execute(&mut self.index, &steps, &mut context)?;
        if let Err(error) = self.storage.commit(rows_of(&commit, &self.index)).await {
            // What is not on disk must not be seen either.
            self.index.undo(&commit);
            return Err(error.into());
        }
        Ok(commit.len())
    }

    fn open_todos(&self) -> Result<Json, Box<dyn Error>> {
        let open = query("todos")
            .filter(field("done").eq(false))
            .order_by("title")
            .with(query("projects"))
            .build()?;
        let result = evaluate(&self.index, &open, &EvalOptions::client())?;
        Ok(result.to_object(&self.index, Inference::Arrays))
    }
}

/// What a commit changed, in the rows that a storage keeps: an entity's facts of one namespace together.
fn rows_of(commit: &Commit, index: &TripleIndex) -> Batch {
    let etype_of = |attr| index.catalog().get(attr).map(|attr| attr.forward_identity.etype.clone());
    let touched: BTreeSet<(EntityId, Arc<str>)> =
        commit.facts().filter_map(|change| Some((change.entity, etype_of(change.attr)?))).collect();
    let mut batch = Batch::default();
    for (entity, etype) in touched {
        let triples: Vec<_> = index
            .row(entity)
            .into_iter()
            .flat_map(|row| index.triples_of(row))
            .filter(|triple| etype_of(triple.attr).as_ref() == Some(&etype))
            .collect();
        if triples.is_empty() {
            batch.remove_entities.push((entity, etype));
        } else {
            batch.put_entities.push(EntityRow { entity, etype, triples });
        }
    }
    if commit.attrs().next().is_some() {
        batch.attrs = Some(index.catalog().all().cloned().collect());
    }
    batch
}
