use std::io::{Cursor, Write};
use std::path::Path;

use serde_json::{Value as Json, json};
use uuid::Uuid;
use zip::write::SimpleFileOptions;

use super::*;

const OPEN: Choices = Choices { rules: Rules::None, files: Files::Keep };
const U1: &str = "1c774801-bdb5-459b-bb04-07f7964a7e77";
const U2: &str = "3f2ad28e-440e-493b-a855-d43fa69566ed";
const P1: &str = "0e12d1fc-a1cf-412a-8ee6-d6d64677d7b1";

fn zip(files: &[(&str, String)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn read(bytes: &[u8], limits: Limits, choices: Choices) -> Result<Backup, ImportError> {
    let mut last = 0;
    let backup = read_backup(Cursor::new(bytes), limits, choices, &mut Uuid::new_v4, &mut |p| {
        assert!(last <= p.done && p.done <= p.total);
        last = p.done;
    })?;
    Ok(backup)
}

/// Reads a backup of two users and a post, after changing its files.
fn check(change: impl FnOnce(&mut Json, &mut Vec<(&str, String)>)) -> Result<Backup, ImportError> {
    let mut config = json!({
        "counts": { "users": 2, "posts": 1 },
        "tripleCount": 9,
        "schema": {
            "entities": {
                "users": { "attrs": {
                    "email": { "valueType": "string", "config": { "unique": true, "indexed": true } },
                    "age": { "valueType": "number", "config": { "unique": false, "indexed": true } },
                } },
                "posts": { "attrs": { "title": { "valueType": "any", "required": true } } },
            },
            "links": {
                "postsAuthor": {
                    "forward": { "on": "posts", "label": "author", "has": "one" },
                    "reverse": { "on": "users", "label": "posts", "has": "many" },
                },
                "usersProfile": {
                    "forward": { "on": "users", "label": "best", "has": "many" },
                    "reverse": { "on": "users", "label": "bestOf", "has": "one" },
                },
            },
        },
        "rules": null,
        "title": "blog",
    });
    let user =
        |id: &str, rest: &str| format!(r#"{{"entity":{{"id":"{id}"{rest}}},"createdAt":17}}"#);
    let mut files = vec![
        ("entities/posts.jsonl", user(P1, &format!(r#","title":"hi","author":"{U1}""#)) + "\n"),
        (
            "entities/users.jsonl",
            user(U1, r#","email":"a@b.c","age":null"#)
                + "\n"
                + &user(U2, r#","email":"d@e.f","age":3"#),
        ),
    ];
    change(&mut config, &mut files);
    files.push(("config.json", config.to_string()));
    read(&zip(&files), Limits::default(), OPEN)
}

fn refused(change: impl FnOnce(&mut Json, &mut Vec<(&str, String)>)) -> String {
    check(change).unwrap_err().to_string()
}

#[test]
fn facts_links_and_times_come_over() {
    let backup = check(|_, _| {}).unwrap();
    assert_eq!(backup.title, "blog");
    assert_eq!(backup.namespaces["users"], NamespaceCount { entities: 2, triples: 6 });
    assert_eq!(backup.namespaces["posts"], NamespaceCount { entities: 1, triples: 3 });
    assert_eq!(backup.notes, Vec::<String>::new());
    let author = backup.index.catalog().forward("posts", "author").unwrap().id;
    let links = backup.index.links(P1.parse().unwrap(), author);
    let link = links.first().unwrap();
    assert_eq!((link.target, link.created_at), (U1.parse().unwrap(), 17));
    let title = backup.index.catalog().forward("posts", "title").unwrap();
    assert_eq!(title.inferred_types.as_deref().unwrap().len(), 1);
}

#[test]
fn a_link_named_from_both_sides_counts_once() {
    let backup = check(|_, files| {
        files[1].1 =
            files[1].1.replacen(r#""age":null"#, &format!(r#""age":null,"posts":["{P1}"]"#), 1);
    })
    .unwrap();
    assert_eq!(backup.index.triple_count(), 9);
}

#[test]
fn a_link_named_from_the_other_side_alone_comes_over() {
    let backup = check(|_, files| {
        files[0].1 = files[0].1.replace(&format!(r#","author":"{U1}""#), "");
        files[1].1 =
            files[1].1.replacen(r#""age":null"#, &format!(r#""age":null,"posts":["{P1}"]"#), 1);
    })
    .unwrap();
    let author = backup.index.catalog().forward("posts", "author").unwrap().id;
    assert_eq!(
        backup.index.links(P1.parse().unwrap(), author).first().unwrap().target,
        U1.parse().unwrap()
    );
}

#[test]
fn what_the_schema_does_not_know_is_made() {
    let backup = check(|config, files| {
        config["schema"] = Json::Null;
        config["counts"] = json!({ "posts": 1, "users": 2 });
        files[0].1 = files[0].1.replace("author", "writer");
    })
    .unwrap();
    let writer = backup.index.catalog().forward("posts", "writer").unwrap();
    assert!(!writer.is_ref());
    assert!(backup.index.catalog().id_attr("users").unwrap().unique);
    assert!(backup.notes[0].contains("posts.writer"), "{:?}", backup.notes);
}

#[test]
fn rules_are_never_dropped_in_silence() {
    let choices = Choices { rules: Rules::FromBackup, files: Files::Keep };
    for (rules, word) in
        [(Json::Null, "--no-rules"), (json!({ "posts": {} }), "cannot be enforced")]
    {
        let config = json!({ "counts": {}, "tripleCount": 0, "rules": rules }).to_string();
        let bytes = zip(&[("config.json", config)]);
        let error = read(&bytes, Limits::default(), choices).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let opened = read(&bytes, Limits::default(), OPEN).unwrap();
        assert_eq!(opened.notes.len(), usize::from(!rules.is_null()));
    }
}

#[test]
fn stored_files_are_refused_unless_left_out_on_purpose() {
    let config = json!({ "counts": {}, "tripleCount": 0 }).to_string();
    let bytes = zip(&[("config.json", config), ("files/abc", "blob".into())]);
    let error = read(&bytes, Limits::default(), OPEN).unwrap_err().to_string();
    assert!(error.contains("1 stored files") && error.contains("--skip-files"), "{error}");
    let skip = Choices { files: Files::Skip, ..OPEN };
    assert_eq!(read(&bytes, Limits::default(), skip).unwrap().notes.len(), 1);
}

#[test]
fn counts_that_do_not_hold_are_refused() {
    let error = refused(|config, _| config["tripleCount"] = 10.into());
    assert!(error.contains("should have 10 triples") && error.ends_with("has 9"), "{error}");
    let error = refused(|config, _| config["counts"]["users"] = 3.into());
    assert!(error.contains("`users` should have 3 entities but has 2"), "{error}");
    let error = refused(|config, _| config["counts"]["books"] = 1.into());
    assert!(error.contains("`entities/books.jsonl` is missing"), "{error}");
    let error = refused(|config, _| {
        config["counts"].as_object_mut().unwrap().remove("posts");
    });
    assert!(error.contains("no count for `entities/posts.jsonl`"), "{error}");
}

#[test]
fn a_bad_line_is_named_by_file_and_line() {
    let second = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        refused(move |_, files| {
            let text = files[1].1.clone();
            let (first, last) = text.split_once('\n').unwrap();
            assert!(last.contains(&from), "{last}");
            files[1].1 = format!("{first}\n\n{}", last.replace(&from, &to));
        })
    };
    for (from, to, word) in [
        ("17}", "17", "not an entity"),
        ("\"createdAt\":17", "\"x\":1", "createdAt"),
        (U2, "nobody", "no `id`"),
        (U2, U1, "comes twice"),
        ("d@e.f", "a@b.c", "unique"),
        ("\"age\":3", "\"age\":\"3\"", "must be a number but is a string"),
        ("\"age\":3", "\"posts\":7", "`users.posts` must be an entity id"),
        ("\"age\":3", "\"posts\":[\"x\"]", "`users.posts` must be an entity id"),
        (
            "\"age\":3",
            "\"posts\":[\"0e12d1fc-a1cf-412a-8ee6-d6d64677d7b1\"]",
            "`users.posts` leads to at most one entity",
        ),
        (
            "\"age\":3",
            "\"bestOf\":[\"1c774801-bdb5-459b-bb04-07f7964a7e77\",\"3f2ad28e-440e-493b-a855-d43fa69566ed\"]",
            "`users.bestOf` leads to at most one entity",
        ),
    ] {
        let error = second(from, to);
        assert!(error.starts_with("`entities/users.jsonl`, line 3: "), "{error}");
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn missing_required_values_are_told() {
    let backup = check(|config, files| {
        config["tripleCount"] = 8.into();
        files[0].1 = files[0].1.replace(r#""title":"hi","#, "");
    })
    .unwrap();
    assert_eq!(backup.notes, ["1 entities of posts lack the required title"]);
}

#[test]
fn other_and_broken_archives_are_refused() {
    let is_not_zip =
        |bytes: &[u8]| matches!(read(bytes, Limits::default(), OPEN), Err(ImportError::NotZip(_)));
    assert!(is_not_zip(b""));
    assert!(is_not_zip(b"{\"counts\":{}}"));
    let other = zip(&[("readme.txt", "hi".into())]);
    assert!(matches!(read(&other, Limits::default(), OPEN), Err(ImportError::NoConfig)));
    let config = json!({ "counts": { "a": 1 }, "tripleCount": 2 }).to_string();
    let line = format!(r#"{{"entity":{{"id":"{U1}","text":"some text to flip"}},"createdAt":1}}"#);
    let good = zip(&[("config.json", config), ("entities/a.jsonl", line)]);
    read(&good, Limits::default(), OPEN).unwrap();
    // Every cut and every flipped byte either still gives the same data or is refused; none panics.
    for end in 0..good.len() {
        assert!(read(&good[..end], Limits::default(), OPEN).is_err(), "cut at {end}");
    }
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        if let Ok(backup) = read(&bad, Limits::default(), OPEN) {
            assert_eq!(backup.index.triple_count(), 2, "flipped at {at}");
        }
    }
    let broken = zip(&[("config.json", "{\"counts\":".into())]);
    assert!(matches!(read(&broken, Limits::default(), OPEN), Err(ImportError::Config(_))));
    let schema = json!({ "counts": {}, "tripleCount": 0, "schema": { "entities": 3 } }).to_string();
    let broken = zip(&[("config.json", schema)]);
    assert!(matches!(read(&broken, Limits::default(), OPEN), Err(ImportError::Schema(_))));
}

#[test]
fn an_archive_that_unpacks_to_too_much_is_refused() {
    let limits = Limits { config: 1_000, line: 1_000, free: 2_000, ratio: 10 };
    let config = json!({ "counts": { "a": 1 }, "tripleCount": 1 }).to_string();
    let big = zip(&[("config.json", " ".repeat(5_000))]);
    assert!(matches!(read(&big, limits, OPEN), Err(ImportError::TooLarge { .. })));
    let long = zip(&[("config.json", config.clone()), ("entities/a.jsonl", " ".repeat(5_000))]);
    let error = read(&long, limits, OPEN).unwrap_err().to_string();
    assert!(error.contains("line 1: longer than 1000 bytes"), "{error}");
    let bomb = zip(&[("config.json", config), ("entities/a.jsonl", "\n".repeat(500_000))]);
    assert!(matches!(read(&bomb, limits, OPEN), Err(ImportError::TooLarge { .. })));
}

#[test]
fn the_sample_backup_comes_over_whole() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/samples/zeneca-backup.zip");
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: the sample backup is not beside this checkout");
        return;
    };
    let backup = read(&bytes, Limits::default(), OPEN).unwrap();
    assert_eq!(backup.index.triple_count(), 2_855);
    let entities: Vec<_> =
        backup.namespaces.iter().map(|(name, count)| (name.as_str(), count.entities)).collect();
    assert_eq!(entities, [("$users", 4), ("books", 392), ("bookshelves", 45), ("users", 4)]);
    assert_eq!(backup.notes, Vec::<String>::new());
    let both: EntityIds = ids(&backup.index, "$users");
    assert_eq!(both, ids(&backup.index, "users"), "an id may live in two namespaces");
}

type EntityIds = std::collections::BTreeSet<tricedb_core::id::EntityId>;

fn ids(index: &TripleIndex, etype: &str) -> EntityIds {
    let slot = index.slot(index.catalog().id_attr(etype).unwrap().id).unwrap();
    index.holders(slot).map(|handle| index.entity(handle)).collect()
}
