//! Opening and closing many times leaves no descriptor and no thread behind. Alone in its program, since
//! it counts those of the whole process.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use tricedb_core::port::{Batch, Storage};
use tricedb_store::SqliteStorage;

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

#[tokio::test]
async fn a_hundred_rounds_leave_nothing_open() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.db");
    let mut before = None;
    for round in 0..100_u8 {
        let storage = SqliteStorage::open(&file).await.unwrap();
        let batch =
            Batch { key_values: vec![("round".into(), Some(vec![round]))], ..Batch::default() };
        storage.commit(batch).await.unwrap();
        assert_eq!(storage.load().await.unwrap().key_values, [("round".to_owned(), vec![round])]);
        if round % 3 == 2 {
            // Dropped instead: the next round's opening waits for the file's release.
            drop(storage);
        } else {
            storage.close().await.unwrap();
        }
        if round == 0 {
            before = Some((count("fd"), count("task")));
        }
    }
    SqliteStorage::open(&file).await.unwrap().close().await.unwrap();
    let (descriptors, threads) = before.unwrap();
    // The threads have nothing left to do, but ending takes a moment; those that wait for the runtime's
    // blocking work are bounded by what opening needs at once.
    let deadline = Instant::now() + Duration::from_secs(30);
    while count("fd") > descriptors || count("task") > threads + 2 {
        assert!(
            Instant::now() < deadline,
            "{descriptors} descriptors and {threads} threads became {} and {}",
            count("fd"),
            count("task")
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "only the database is left");
}
