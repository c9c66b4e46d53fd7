//! A small app in which every kind of attribute exists, and short names for its ids.

use serde_json::{Value as Json, json};
use tricedb_core::index::TripleIndex;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};
use uuid::Uuid;

const ENTITIES: u128 = 0x9000_0000_0000_4000_8000_0000_0000_0000;
const ATTRS: u128 = 0xa000_0000_0000_4000_8000_0000_0000_0000;
const IDENTS: u128 = 0xb000_0000_0000_4000_8000_0000_0000_0000;

/// JSON in which `e0` to `e9`, `a0` to `a9` and `i0` to `i9` stand for ids.
pub(crate) fn with_ids(json: &Json) -> Json {
    match json {
        Json::String(text) => {
            id(text).map_or_else(|| json.clone(), |id| Json::String(id.to_string()))
        }
        Json::Array(items) => items.iter().map(with_ids).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), with_ids(value))).collect()
        }
        other => other.clone(),
    }
}

fn id(text: &str) -> Option<Uuid> {
    let &[kind, digit @ b'0'..=b'9'] = text.as_bytes() else { return None };
    let base = match kind {
        b'e' => ENTITIES,
        b'a' => ATTRS,
        b'i' => IDENTS,
        _ => return None,
    };
    Some(Uuid::from_u128(base + u128::from(digit - b'0')))
}

/// Ids that grow.
pub(crate) fn ids() -> impl FnMut() -> Uuid {
    let mut last = 0;
    move || {
        last += 1;
        Uuid::from_u128(0x7000_0000_0000_4000_8000_0000_0000_0000 + last)
    }
}

/// Two namespaces with a unique, an indexed, a required and a typed attribute, and links of either kind.
pub(crate) fn app() -> TripleIndex {
    let blob = |n: u32, etype: &str, label: &str, flags: Json| {
        let mut attr = json!({
            "id": format!("a{n}"), "forward-identity": [Uuid::from_u128(IDENTS + 100 + u128::from(n)), etype, label],
            "value-type": "blob", "cardinality": "one", "unique?": label == "id", "index?": false,
        });
        for (name, value) in flags.as_object().into_iter().flatten() {
            attr[name] = value.clone();
        }
        json!(["add-attr", attr])
    };
    let link = |n: u32, label: &str, reverse: &str, cardinality: &str, unique: bool| {
        let flags = json!({
            "value-type": "ref", "cardinality": cardinality, "unique?": unique, "on-delete": "cascade",
            "reverse-identity": [Uuid::from_u128(IDENTS + 200 + u128::from(n)), "authors", reverse],
        });
        blob(n, "books", label, flags)
    };
    let steps = json!([
        blob(1, "books", "id", json!({})),
        blob(2, "books", "title", json!({"required?": true})),
        blob(3, "books", "isbn", json!({"unique?": true, "index?": true})),
        blob(4, "books", "meta", json!({})),
        blob(5, "books", "pages", json!({"index?": true, "checked-data-type": "number"})),
        blob(6, "authors", "id", json!({})),
        blob(7, "authors", "at", json!({"index?": true, "checked-data-type": "date"})),
        link(8, "author", "written", "one", false),
        link(0, "editors", "edited", "many", true),
        ["add-triple", "e0", "a1", "e0"],
        ["add-triple", "e0", "a2", "one"],
        ["add-triple", "e0", "a3", "x"],
        ["add-triple", "e0", "a5", 100],
        ["add-triple", "e0", "a8", "e1"],
        ["add-triple", "e1", "a6", "e1"],
        ["add-triple", "e1", "a7", "2024-01-01"],
    ]);
    let mut index = TripleIndex::new();
    let steps = parse_steps(&with_ids(&steps)).unwrap();
    let mut ids = ids();
    execute(&mut index, &steps, &mut ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Admin })
        .unwrap();
    index
}
