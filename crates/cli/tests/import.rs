//! `tricedb import` as a program: what it prints, and what it leaves behind.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value as Json, json};

fn sample() -> Option<PathBuf> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/zeneca-backup.zip");
    if !path.exists() {
        eprintln!("SKIPPED: the sample backup is not beside this checkout");
        return None;
    }
    Some(path)
}

fn import(backup: &Path, data: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tricedb"))
        .arg("import")
        .arg(backup)
        .arg("--data")
        .arg(data)
        .args(options)
        .output()
        .unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_backup_becomes_an_app_once() {
    let Some(backup) = sample() else { return };
    let folder = tempfile::tempdir().unwrap();
    let id = "0190a1b2-3c4d-4e5f-8a9b-0c1d2e3f4a5b";
    let data = folder.path().join("data");
    let output = import(&backup, &data, &["--no-rules", "--json", "--app", id]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Json = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["app_id"], id);
    assert_eq!(report["triples"], 2_855);
    let entities = json!({ "$users": 4, "books": 392, "bookshelves": 45, "users": 4 });
    assert_eq!(report["entities"], entities);
    assert_eq!(report["admin_token"].as_str().unwrap().len(), 36);
    let again = error(&import(&backup, &data, &["--no-rules", "--app", id]));
    assert!(again.contains("there is an app"), "{again}");
    let table = import(&backup, &data, &["--no-rules"]);
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("books              392       2156"), "{text}");
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let Some(backup) = sample() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let bytes = std::fs::read(&backup).unwrap();
    let truncated = folder.path().join("truncated.zip");
    std::fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let damaged = folder.path().join("damaged.zip");
    let mut flipped = bytes;
    for byte in &mut flipped[60_000..60_100] {
        *byte ^= 0xff;
    }
    std::fs::write(&damaged, flipped).unwrap();
    let rules = folder.path().join("rules.json");
    std::fs::write(&rules, "{}").unwrap();
    for (file, options, words) in [
        (&backup, &[][..], "--no-rules"),
        (&backup, &["--rules", rules.to_str().unwrap()][..], "cannot be enforced yet"),
        (&truncated, &["--no-rules"][..], "damaged or truncated"),
        (&damaged, &["--no-rules"][..], "books.jsonl"),
        (&rules, &["--no-rules"][..], "no zip file"),
        (&folder.path().join("none.zip"), &["--no-rules"][..], "cannot open"),
    ] {
        let text = error(&import(file, &data, options));
        assert!(text.contains(words), "{words}: {text}");
        assert!(!data.exists(), "{words}");
    }
}
