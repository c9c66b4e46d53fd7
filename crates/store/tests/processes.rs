//! Two processes and one file. A harness of its own: the second process is this program again.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that speaks through pipes")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use tricedb_core::port::{Batch, Storage, StorageError};
use tricedb_store::SqliteStorage;

/// Tells the program that it is the second process, and which file to open.
const FILE: &str = "TRICEDB_TEST_FILE";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    if let Some(file) = std::env::var_os(FILE) {
        return runtime.block_on(second(Path::new(&file)));
    }
    // Test runners ask what there is; there is one test.
    if std::env::args().any(|arg| arg == "--list") {
        if !std::env::args().any(|arg| arg == "--ignored") {
            println!("one_process_at_a_time: test");
        }
        return ExitCode::SUCCESS;
    }
    runtime.block_on(first());
    println!("test one_process_at_a_time ... ok");
    ExitCode::SUCCESS
}

/// Opens the file, says how that went, and holds it until its input ends.
async fn second(file: &Path) -> ExitCode {
    let storage = SqliteStorage::open(file).await;
    let word = match &storage {
        Ok(_) => "open",
        Err(StorageError::InUse { .. }) => "in use",
        Err(error) => {
            eprintln!("{error}");
            "failed"
        }
    };
    println!("{word}");
    std::io::stdout().flush().unwrap();
    if let Ok(storage) = storage {
        let batch = Batch {
            key_values: vec![("from".into(), Some(b"second".to_vec()))],
            ..Batch::default()
        };
        storage.commit(batch).await.unwrap();
        println!("committed");
        std::io::stdout().flush().unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    ExitCode::SUCCESS
}

async fn first() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data.db");

    // While this process owns the file, the other is refused.
    let storage = SqliteStorage::open(&file).await.unwrap();
    let mut child = start(&file);
    assert_eq!(lines(&mut child, 1), ["in use"]);
    assert!(child.wait().unwrap().success());
    storage.close().await.unwrap();

    // Afterwards it owns the file and this one is refused.
    let mut child = start(&file);
    assert_eq!(lines(&mut child, 2), ["open", "committed"]);
    assert!(matches!(SqliteStorage::open(&file).await, Err(StorageError::InUse { .. })));

    // Killed, it owns nothing any more, and what it committed is there.
    child.kill().unwrap();
    child.wait().unwrap();
    let storage = SqliteStorage::open(&file).await.unwrap();
    let snapshot = storage.load().await.unwrap();
    assert_eq!(snapshot.key_values, [("from".to_owned(), b"second".to_vec())]);
    storage.close().await.unwrap();
}

fn start(file: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let output = child.stdout.take().unwrap();
    BufReader::new(output).lines().take(count).map(Result::unwrap).collect()
}
