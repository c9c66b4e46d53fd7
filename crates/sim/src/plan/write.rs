//! What clients write.

use std::fmt;

use serde_json::{Value as Json, json};
use tricedb_core::tx::{Operation, UpdateMode, lookup, tx};
use uuid::Uuid;

/// The two entities that are always written together, with one value.
const TWINS: [u128; 2] = [0x7001, 0x7002];

/// One part of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// A new to-do, with a rank and perhaps a code, which no other may have.
    Create(u32, i64, Option<u8>),
    /// Another title, for a to-do that is there.
    Rename(u32),
    /// A title, for a to-do that is there or not.
    Upsert(u32),
    /// Done or not.
    Done(u32, bool),
    /// A rank, which moves it between pages.
    Rank(u32, i64),
    /// A merge into an object, at a path.
    Merge(u32, u8, u8),
    /// A code for a to-do.
    Code(u32, u8),
    /// A title for the to-do with a code, made if there is none.
    ByCode(u8),
    /// A label is put on a to-do.
    Tag(u8, u32),
    /// A label is taken off.
    Untag(u8, u32),
    /// A label gets a name, which no other may have.
    NameTag(u8, u8),
    /// A to-do is deleted.
    Delete(u32),
    /// Both twins get the same value.
    Twins,
    /// An amount goes from one account to another.
    Transfer(u8, u8, i64),
    /// An operator on an account's counters.
    Count(u8, u8, i64),
    /// A word on a note: an attribute that nobody may have made yet.
    Note(u8, u8),
}

/// The entity of a to-do.
pub(crate) const fn todo_id(n: u32) -> Uuid {
    Uuid::from_u128(0x1_0000_0000 + n as u128)
}

const fn tag_id(n: u8) -> Uuid {
    Uuid::from_u128(0x2_0000 + n as u128)
}

const fn account_id(n: u8) -> Uuid {
    Uuid::from_u128(0x3_0000 + n as u128)
}

const fn note_id(n: u8) -> Uuid {
    Uuid::from_u128(0x4_0000 + n as u128)
}

/// The value of a path that a merge writes.
fn patch(path: u8, value: Json) -> Json {
    match path {
        0 => json!({ "a": value }),
        1 => json!({ "b": { "x": value } }),
        2 => json!({ "b": { "y": value } }),
        _ => json!({ "c": null }),
    }
}

impl Write {
    /// The operations; `tag` makes titles unlike all others.
    pub(crate) fn operations(&self, tag: u32) -> Vec<Operation> {
        let title = format!("w{tag}");
        let upsert = UpdateMode::Upsert;
        let builder = match *self {
            Self::Create(n, rank, code) => {
                let mut fields = json!({ "title": title, "done": false, "rank": rank });
                if let Some(code) = code {
                    fields["code"] = json!(format!("c{code}"));
                }
                tx("todos", todo_id(n)).create(fields)
            }
            Self::Rename(n) => tx("todos", todo_id(n)).update(json!({ "title": title })),
            Self::Upsert(n) => {
                tx("todos", todo_id(n)).update_with(json!({ "title": title }), upsert)
            }
            Self::Done(n, done) => tx("todos", todo_id(n)).update(json!({ "done": done })),
            Self::Rank(n, rank) => tx("todos", todo_id(n)).update(json!({ "rank": rank })),
            Self::Merge(n, path, value) => {
                tx("todos", todo_id(n)).merge(json!({ "meta": patch(path, json!(value)) }))
            }
            Self::Code(n, code) => {
                tx("todos", todo_id(n)).update(json!({ "code": format!("c{code}") }))
            }
            Self::ByCode(code) => tx("todos", lookup("code", format!("c{code}")))
                .update_with(json!({ "title": title }), upsert),
            Self::Tag(tag, n) => tx("todos", todo_id(n)).link("tags", tag_id(tag)),
            Self::Untag(tag, n) => tx("tags", tag_id(tag)).unlink("todos", todo_id(n)),
            Self::NameTag(tag, name) => tx("tags", tag_id(tag))
                .update_with(json!({ "name": format!("n{name}"), "mark": title }), upsert),
            Self::Delete(n) => tx("todos", todo_id(n)).delete(),
            Self::Twins => {
                let twin = |n: usize| {
                    tx("twins", Uuid::from_u128(TWINS[n])).update(json!({ "value": title }))
                };
                return [twin(0).into_operations(), twin(1).into_operations()].concat();
            }
            Self::Transfer(from, to, amount) => {
                let give = tx("accounts", account_id(from)).increment("balance", -amount);
                let take = tx("accounts", account_id(to)).increment("balance", amount);
                return [give.into_operations(), take.into_operations()].concat();
            }
            Self::Count(account, kind, by) => {
                let account = tx("accounts", account_id(account));
                match kind {
                    0 => account.increment("hits", by),
                    1 => account.decrement("hits", by),
                    2 => account.max("most", by),
                    3 => account.min("least", by),
                    4 => account.push("list", by),
                    5 => account.add_to_set("set", by),
                    6 => account.pull("set", by),
                    _ => account.set_once("first", by),
                }
            }
            Self::Note(note, word) => tx("notes", note_id(note))
                .update_with(json!({ format!("word{word}"): title }), upsert),
        };
        builder.into_operations()
    }

    /// The to-do whose title this writes, if it does nothing else and the to-do's absence is its only
    /// way to fail.
    pub(crate) const fn sure_title(&self) -> Option<u32> {
        match *self {
            Self::Rename(n) | Self::Upsert(n) => Some(n),
            _ => None,
        }
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What the app holds at the beginning, as the steps of an admin's transaction.
pub(crate) fn beginning() -> Json {
    let mut steps = Vec::new();
    for twin in TWINS {
        steps.push(json!(["update", "twins", Uuid::from_u128(twin), { "value": "w0" }]));
    }
    for n in 0..4 {
        let fields = json!({ "balance": 100, "hits": 0 });
        steps.push(json!(["update", "accounts", account_id(n), fields]));
    }
    for n in 0..4 {
        let fields = json!({ "title": "w0", "done": false, "rank": n });
        steps.push(json!(["update", "todos", todo_id(n), fields]));
    }
    Json::Array(steps)
}

/// What the app's schema is at the beginning.
pub(crate) fn schema() -> Json {
    let attr = |kind: &str, unique: bool, indexed: bool| {
        json!({ "valueType": kind, "required": false,
            "config": { "unique": unique, "indexed": indexed } })
    };
    json!({
        "entities": {
            "todos": { "attrs": {
                "title": attr("string", false, false),
                "done": attr("boolean", false, true),
                "rank": attr("number", false, true),
                "meta": attr("json", false, false),
                "code": attr("string", true, true),
            }},
            "tags": { "attrs": {
                "name": attr("string", true, true),
                "mark": attr("string", false, false),
            }},
            "twins": { "attrs": { "value": attr("string", false, false) }},
            "accounts": { "attrs": {
                "balance": attr("number", false, false),
                "hits": attr("number", false, false),
                "most": attr("number", false, false),
                "least": attr("number", false, false),
                "list": attr("json", false, false),
                "set": attr("json", false, false),
                "first": attr("number", false, false),
            }},
            "notes": { "attrs": {} },
        },
        "links": { "todoTags": {
            "forward": { "on": "todos", "has": "many", "label": "tags" },
            "reverse": { "on": "tags", "has": "many", "label": "todos" },
        }},
    })
}

/// The queries that clients watch.
pub(crate) fn queries() -> Vec<Json> {
    vec![
        json!({ "todos": {} }),
        json!({ "twins": {} }),
        json!({ "accounts": {} }),
        json!({ "todos": { "$": { "where": { "done": false } } } }),
        json!({ "todos": { "$": { "order": { "rank": "asc" }, "limit": 4 } } }),
        json!({ "todos": { "$": { "order": { "rank": "desc" }, "limit": 3, "offset": 2 } } }),
        json!({ "todos": { "$": { "order": { "serverCreatedAt": "desc" }, "first": 5 } } }),
        json!({ "todos": { "tags": {} } }),
        json!({ "tags": { "todos": {} } }),
        json!({ "notes": {} }),
        json!({ "todos": { "$": { "where": { "tags.name": "n1" } }, "tags": {} } }),
        json!({ "twins": {}, "todos": { "$": { "where": { "rank": { "$gt": 8 } } } } }),
    ]
}
