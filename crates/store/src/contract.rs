//! What every [`Storage`] must do, as tests.
//!
//! A backend implements [`Backend`] for something that stands for one device, and calls
//! [`storage_contract!`](crate::storage_contract) in its tests:
//!
//! ```
//! use std::sync::Arc;
//! use tricedb_core::port::{Storage, StorageError};
//! use tricedb_store::MemoryDisk;
//! use tricedb_store::contract::Backend;
//!
//! struct Memory(MemoryDisk);
//!
//! #[async_trait::async_trait]
//! impl Backend for Memory {
//!     async fn open(&self) -> Result<Arc<dyn Storage>, StorageError> {
//!         Ok(Arc::new(self.0.open()?))
//!     }
//! }
//!
//! tricedb_store::storage_contract!(Memory(MemoryDisk::new()));
//! ```
//!
//! Each case may also be called by itself; all of them panic where the contract is broken.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test suite fails by panicking")]

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use tricedb_core::attr::{Attr, CheckedType, Identity, InferredType};
use tricedb_core::id::{AttrId, EntityId, EventId, IdentId, TxId};
use tricedb_core::port::{
    Batch, EntityRow, HeldFact, OutboxChange, OutboxRow, OutboxState, Snapshot, Storage,
    StorageError, SubscriptionChange, SubscriptionRow,
};
use tricedb_core::triple::Triple;
use tricedb_core::tx::tx;
use tricedb_core::value::Value;
use uuid::Uuid;

/// One device with a storage on it, empty at first.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Opens the storage that is on the device: the same contents every time.
    ///
    /// # Errors
    /// As the backend has them; [`StorageError::InUse`] while the last one opened is still open.
    async fn open(&self) -> Result<Arc<dyn Storage>, StorageError>;

    /// Makes the next commit that sets the key `"fail"` fail after as much of it as possible was
    /// written. A backend that cannot returns `false`, and the case that needs it says so.
    async fn fail_next_commit(&self) -> bool {
        false
    }
}

/// Defines a test for each case of the contract; the argument makes a fresh [`Backend`].
///
/// Needs `tokio` with `macros` and `rt` among the dev-dependencies.
#[macro_export]
macro_rules! storage_contract {
    ($fresh:expr) => {
        $crate::storage_contract!(@cases $fresh;
            starts_empty
            gives_back_everything
            replaces_and_removes
            applies_changes_in_order
            keeps_everything_across_closing
            keeps_everything_across_dropping
            refuses_calls_after_closing
            refuses_a_second_owner
            applies_all_or_nothing
            holds_ten_thousand_queued_transactions
            holds_ten_thousand_entities_from_one_batch
        );
    };
    (@cases $fresh:expr; $($case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::contract::$case(&$fresh).await;
            }
        )*
    };
}

/// A new storage holds nothing, and an empty batch changes nothing.
pub async fn starts_empty(backend: &dyn Backend) {
    let storage = open(backend).await;
    assert_eq!(storage.load().await.unwrap(), Snapshot::default());
    storage.commit(Batch::default()).await.unwrap();
    assert_eq!(storage.load().await.unwrap(), Snapshot::default());
    storage.close().await.unwrap();
}

/// Every kind of row and value comes back exactly as it was given.
pub async fn gives_back_everything(backend: &dyn Backend) {
    let storage = open(backend).await;
    storage.commit(everything()).await.unwrap();
    check_everything(&*storage).await;
    storage.close().await.unwrap();
}

/// A put replaces a row as a whole; a removal removes it; neither touches others.
pub async fn replaces_and_removes(backend: &dyn Backend) {
    let storage = open(backend).await;
    storage.commit(everything()).await.unwrap();
    let renamed = row(1, "posts", vec![fact(1, 11, Value::from("renamed"))]);
    let batch = Batch {
        put_entities: vec![renamed.clone()],
        remove_entities: vec![(entity(2), "posts".into()), (entity(99), "posts".into())],
        attrs: Some(vec![Arc::new(attrs().remove(1))]),
        outbox: vec![OutboxChange::Remove(1), OutboxChange::Remove(77)],
        subscriptions: vec![
            SubscriptionChange::Remove(subscription(1).query),
            SubscriptionChange::Remove("{}".into()),
        ],
        key_values: vec![("app".into(), None), ("nothing".into(), None)],
    };
    storage.commit(batch).await.unwrap();

    let mut expected = sorted(snapshot_of(everything()));
    expected.entities.retain(|row| !(row.entity == entity(2) && &*row.etype == "posts"));
    for row in &mut expected.entities {
        if row.entity == entity(1) && &*row.etype == "posts" {
            *row = renamed.clone();
        }
    }
    expected.attrs.remove(0);
    expected.outbox.retain(|row| row.seq != 1);
    expected.subscriptions.retain(|row| row.query != subscription(1).query);
    expected.key_values.retain(|(key, _)| key != "app");
    assert_eq!(loaded(&*storage).await, expected);
    storage.close().await.unwrap();
}

/// Where a batch changes a row more than once, the last change counts.
pub async fn applies_changes_in_order(backend: &dyn Backend) {
    let storage = open(backend).await;
    let tried = OutboxRow { attempts: 3, ..queued(5) };
    let newer = SubscriptionRow { position: TxId(9), held: Vec::new(), ..subscription(1) };
    let batch = Batch {
        outbox: vec![
            OutboxChange::Put(queued(4)),
            OutboxChange::Remove(4),
            OutboxChange::Remove(5),
            OutboxChange::Put(queued(5)),
            OutboxChange::Put(tried.clone()),
        ],
        subscriptions: vec![
            SubscriptionChange::Put(subscription(1)),
            SubscriptionChange::Put(newer.clone()),
            SubscriptionChange::Put(subscription(2)),
            SubscriptionChange::Remove(subscription(2).query),
        ],
        key_values: vec![
            ("a".into(), Some(vec![1])),
            ("a".into(), Some(vec![2])),
            ("b".into(), Some(vec![1])),
            ("b".into(), None),
        ],
        ..Batch::default()
    };
    storage.commit(batch).await.unwrap();
    let found = loaded(&*storage).await;
    assert_eq!(found.outbox, [tried]);
    assert_eq!(found.subscriptions, [newer]);
    assert_eq!(found.key_values, [("a".to_owned(), vec![2])]);
    storage.close().await.unwrap();
}

/// What was committed is there after closing and opening.
pub async fn keeps_everything_across_closing(backend: &dyn Backend) {
    let storage = open(backend).await;
    storage.commit(everything()).await.unwrap();
    storage.close().await.unwrap();
    drop(storage);
    let storage = open(backend).await;
    check_everything(&*storage).await;
    storage.close().await.unwrap();
}

/// What was committed is there after a storage was dropped without being closed, and can be opened
/// right away.
pub async fn keeps_everything_across_dropping(backend: &dyn Backend) {
    for _ in 0..5 {
        let storage = open(backend).await;
        storage.commit(everything()).await.unwrap();
        drop(storage);
    }
    let storage = open(backend).await;
    check_everything(&*storage).await;
    storage.close().await.unwrap();
}

/// After `close` every call says so, and nothing is written any more.
pub async fn refuses_calls_after_closing(backend: &dyn Backend) {
    let storage = open(backend).await;
    storage.close().await.unwrap();
    assert!(matches!(storage.load().await, Err(StorageError::Closed)));
    assert!(matches!(storage.commit(everything()).await, Err(StorageError::Closed)));
    assert!(matches!(storage.commit(Batch::default()).await, Err(StorageError::Closed)));
    assert!(matches!(storage.close().await, Err(StorageError::Closed)));
    let storage = open(backend).await;
    assert_eq!(storage.load().await.unwrap(), Snapshot::default());
    storage.close().await.unwrap();
}

/// Opening twice is refused and leaves the first owner undisturbed.
pub async fn refuses_a_second_owner(backend: &dyn Backend) {
    let storage = open(backend).await;
    assert!(matches!(backend.open().await, Err(StorageError::InUse { .. })));
    storage.commit(everything()).await.unwrap();
    assert!(matches!(backend.open().await, Err(StorageError::InUse { .. })));
    check_everything(&*storage).await;
    storage.close().await.unwrap();
    open(backend).await.close().await.unwrap();
}

/// A commit that fails leaves nothing behind, neither at once nor after opening again, and the storage
/// works on.
pub async fn applies_all_or_nothing(backend: &dyn Backend) {
    let storage = open(backend).await;
    storage.commit(everything()).await.unwrap();
    if !backend.fail_next_commit().await {
        eprintln!("skipped: this backend cannot be made to fail");
        return;
    }
    let doomed = Batch {
        put_entities: vec![row(50, "posts", vec![fact(50, 11, Value::from("never"))])],
        remove_entities: vec![(entity(1), "posts".into())],
        attrs: Some(Vec::new()),
        outbox: vec![OutboxChange::Put(queued(50)), OutboxChange::Remove(1)],
        subscriptions: vec![SubscriptionChange::Put(subscription(3))],
        key_values: vec![("app".into(), None), ("fail".into(), Some(vec![0]))],
    };
    let failure = storage.commit(doomed).await;
    assert!(matches!(failure, Err(StorageError::Failed { .. })), "{failure:?}");
    check_everything(&*storage).await;

    storage
        .commit(Batch { outbox: vec![OutboxChange::Put(queued(60))], ..Batch::default() })
        .await
        .unwrap();
    storage.close().await.unwrap();
    drop(storage);
    let storage = open(backend).await;
    let mut expected = sorted(snapshot_of(everything()));
    expected.outbox.push(queued(60));
    assert_eq!(loaded(&*storage).await, expected);
    storage.close().await.unwrap();
}

/// A long time offline: 10,000 transactions, queued one by one or in bulk, come back in order.
pub async fn holds_ten_thousand_queued_transactions(backend: &dyn Backend) {
    let storage = open(backend).await;
    for seq in 0..100 {
        // Descending, so that order is the storage's doing.
        let batch =
            Batch { outbox: vec![OutboxChange::Put(queued(100 - seq))], ..Batch::default() };
        storage.commit(batch).await.unwrap();
    }
    let rest = (101..=10_000).rev().map(|seq| OutboxChange::Put(queued(seq))).collect();
    storage.commit(Batch { outbox: rest, ..Batch::default() }).await.unwrap();
    storage.close().await.unwrap();
    drop(storage);

    let storage = open(backend).await;
    let found = storage.load().await.unwrap().outbox;
    assert_eq!(found.len(), 10_000);
    assert!(found.iter().zip(1..).all(|(row, seq)| *row == queued(seq)));
    let gone = (1..=10_000).map(OutboxChange::Remove).collect();
    storage.commit(Batch { outbox: gone, ..Batch::default() }).await.unwrap();
    assert_eq!(storage.load().await.unwrap().outbox, []);
    storage.close().await.unwrap();
}

/// A first synchronisation: 10,000 entities in one batch, replaced and removed in one batch each.
pub async fn holds_ten_thousand_entities_from_one_batch(backend: &dyn Backend) {
    let storage = open(backend).await;
    let rows = |generation: i64| -> Vec<EntityRow> {
        let facts = |n: u128| {
            vec![
                fact(n, 11, Value::string(format!("title of {n}"))),
                fact(n, 12, Value::Int(generation)),
                fact(n, 13, Value::Ref(entity(n / 10))),
            ]
        };
        (0..10_000).map(|n| row(n, "posts", facts(n))).collect()
    };
    for generation in 0..2 {
        let batch = Batch { put_entities: rows(generation), ..Batch::default() };
        storage.commit(batch).await.unwrap();
        assert_eq!(loaded(&*storage).await.entities, rows(generation));
    }
    let all = (0..10_000).map(|n| (entity(n), "posts".into())).collect();
    storage.commit(Batch { remove_entities: all, ..Batch::default() }).await.unwrap();
    assert_eq!(storage.load().await.unwrap(), Snapshot::default());
    storage.close().await.unwrap();
}

async fn open(backend: &dyn Backend) -> Arc<dyn Storage> {
    backend.open().await.expect("the device has one owner at a time")
}

/// A batch with every kind of row, change and value.
pub fn everything() -> Batch {
    let values = [
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(i64::MIN),
        Value::Int(9_007_199_254_740_993),
        Value::Float(0.1 + 0.2),
        Value::Float(-1e300),
        Value::from(""),
        Value::from("quote \" backslash \\ newline \n zero \0 accent é emoji 😀"),
        // A string that looks like a reference is still a string.
        Value::string(entity(3).to_string()),
        Value::from_json(json!({"list": [1, 2.5, null, "x"], "deep": {"er": {}}})),
        Value::from_json(json!([0.30000000000000004, 18_446_744_073_709_551_615_u64])),
        Value::Ref(entity(3)),
    ];
    let all_kinds =
        values.into_iter().zip(20..).map(|(value, attr)| fact(1, attr, value)).collect();
    Batch {
        put_entities: vec![
            row(1, "posts", all_kinds),
            row(1, "$users", vec![fact(1, 40, Value::from("the same id in another namespace"))]),
            row(
                2,
                "posts",
                vec![fact(2, 13, Value::Ref(entity(1))), fact(2, 13, Value::Ref(entity(3)))],
            ),
            row(3, "naïve \"space\"", vec![fact(3, 41, Value::string("x".repeat(100_000)))]),
        ],
        remove_entities: Vec::new(),
        attrs: Some(attrs().into_iter().map(Arc::new).collect()),
        outbox: vec![
            OutboxChange::Put(queued(1)),
            OutboxChange::Put(OutboxRow {
                state: OutboxState::Rejected {
                    kind: "record-not-unique".into(),
                    message: "`email` is a unique attribute; \"a@b\" exists".into(),
                },
                attempts: 7,
                ..queued(2)
            }),
        ],
        subscriptions: vec![
            SubscriptionChange::Put(subscription(1)),
            SubscriptionChange::Put(subscription(2)),
        ],
        key_values: vec![
            ("app".into(), Some((0..=255).collect())),
            ("empty".into(), Some(Vec::new())),
        ],
    }
}

async fn check_everything(storage: &dyn Storage) {
    assert_eq!(loaded(storage).await, sorted(snapshot_of(everything())));
}

async fn loaded(storage: &dyn Storage) -> Snapshot {
    sorted(storage.load().await.unwrap())
}

/// What a batch that only puts leaves in an empty storage.
fn snapshot_of(batch: Batch) -> Snapshot {
    Snapshot {
        entities: batch.put_entities,
        attrs: batch.attrs.into_iter().flatten().map(|attr| Attr::clone(&attr)).collect(),
        outbox: batch
            .outbox
            .into_iter()
            .filter_map(|change| match change {
                OutboxChange::Put(row) => Some(row),
                OutboxChange::Remove(_) => None,
            })
            .collect(),
        subscriptions: batch
            .subscriptions
            .into_iter()
            .filter_map(|change| match change {
                SubscriptionChange::Put(row) => Some(row),
                SubscriptionChange::Remove(_) => None,
            })
            .collect(),
        key_values: batch
            .key_values
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect(),
    }
}

/// Sorts what has no order; the outbox and the attributes have one.
fn sorted(mut snapshot: Snapshot) -> Snapshot {
    snapshot.entities.sort_by(|a, b| (a.entity, &a.etype).cmp(&(b.entity, &b.etype)));
    for row in &mut snapshot.subscriptions {
        row.held.sort_unstable();
    }
    snapshot.subscriptions.sort_by(|a, b| a.query.cmp(&b.query));
    snapshot.key_values.sort();
    snapshot
}

fn entity(n: u128) -> EntityId {
    EntityId::new(Uuid::from_u128(n))
}

fn attr(n: u128) -> AttrId {
    AttrId::new(Uuid::from_u128(n << 64))
}

fn fact(of: u128, attribute: u128, value: Value) -> Triple {
    let created_at = 1_700_000_000_000 + (of as i64);
    Triple { entity: entity(of), attr: attr(attribute), value, created_at }
}

fn row(of: u128, etype: &str, triples: Vec<Triple>) -> EntityRow {
    EntityRow { entity: entity(of), etype: etype.into(), triples }
}

fn attrs() -> Vec<Attr> {
    let ident = |n: u128| IdentId::new(Uuid::from_u128(n));
    let mut title = Attr::blob(attr(11), ident(1), "posts", "title");
    title.checked_data_type = Some(CheckedType::String);
    title.inferred_types = Some(vec![InferredType::Number, InferredType::String]);
    title.indexed = true;
    title.required = true;
    title.metadata = Some(json!({"was": [1, null]}));
    title.deletion_marked_at = Some(1_700_000_000_000);
    let name = |n, etype: &str, label: &str| Identity {
        id: ident(n),
        etype: etype.into(),
        label: label.into(),
    };
    let author = Attr::link(attr(13), name(2, "posts", "author"), name(3, "$users", "posts"));
    vec![title, author]
}

fn queued(seq: u64) -> OutboxRow {
    let id = entity(u128::from(seq)).to_string();
    OutboxRow {
        seq,
        event: EventId::new(format!("event {seq}")),
        operations: tx("posts", id.as_str())
            .create(json!({"title": format!("\"{seq}\"\u{0}"), "n": 0.1 + 0.2}))
            .link("author", entity(7))
            .into_operations(),
        created_at: -5 + seq as i64,
        attempts: 0,
        state: OutboxState::Queued,
    }
}

fn subscription(n: u64) -> SubscriptionRow {
    let held = |e: u128, a: u128, target: Option<u128>| HeldFact {
        entity: entity(e),
        attr: attr(a),
        target: target.map(entity),
    };
    SubscriptionRow {
        query: format!("{{\"posts\":{{\"$\":{{\"limit\":{n}}}}}}}").into(),
        position: TxId((1 << 53) - n),
        used_at: 1_700_000_000_000,
        held: vec![held(2, 13, Some(3)), held(1, 11, None), held(2, 13, Some(1))],
        extra: (n == 1).then(|| "{\"page\":null}".to_owned()),
    }
}
