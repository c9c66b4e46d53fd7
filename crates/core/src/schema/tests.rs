use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::*;
use crate::attr::{Attr, Catalog, OnDelete};
use crate::catalog::AttrCatalog;
use crate::tx::{TxError, TxStep};

fn counter() -> impl FnMut() -> Uuid {
    let mut last = 0_u128;
    move || {
        last += 1;
        Uuid::from_u128(last)
    }
}

fn catalog(schema: &Json) -> AttrCatalog {
    let mut catalog = AttrCatalog::default();
    for step in parse(schema).unwrap().to_attr_steps(&catalog, &mut counter()).unwrap() {
        let TxStep::AddAttr(attr) = step else { panic!("{step:?}") };
        catalog.put(attr);
    }
    catalog
}

fn plan(catalog: &AttrCatalog, schema: &Json) -> Result<Vec<PlanStep>, SchemaError> {
    let mut next = 1_000_u128;
    let mut ids = move || {
        next += 1;
        Uuid::from_u128(next)
    };
    parse(schema)?.plan(catalog, &mut ids)
}

fn blog() -> Json {
    json!({
        "entities": {
            "posts": { "attrs": {
                "title": { "valueType": "string", "required": true, "config": { "indexed": true, "unique": false } },
                "slug": { "valueType": "string", "required": false, "config": { "indexed": true, "unique": true } },
                "extra": { "valueType": "json", "required": false, "config": { "indexed": false, "unique": false } },
            }, "links": { "author": { "entityName": "users", "cardinality": "one" } } },
            "users": { "attrs": { "name": { "valueType": "string", "required": true } } },
        },
        "links": {
            "postsAuthor": {
                "forward": { "on": "posts", "label": "author", "has": "one", "required": true, "onDelete": "cascade" },
                "reverse": { "on": "users", "label": "posts", "has": "many" },
            },
            "usersPinned": {
                "forward": { "on": "users", "label": "pinned", "has": "many" },
                "reverse": { "on": "posts", "label": "pinner", "has": "one", "onDelete": "cascade" },
            },
        },
        "rooms": { "chat": { "presence": { "attrs": {} } } },
    })
}

#[test]
fn a_new_app_gets_ids_then_data_then_links_with_all_flags() {
    let steps =
        parse(&blog()).unwrap().to_attr_steps(&AttrCatalog::default(), &mut counter()).unwrap();
    let attrs: Vec<Arc<Attr>> = steps
        .into_iter()
        .map(|step| match step {
            TxStep::AddAttr(attr) => attr,
            other => panic!("{other:?}"),
        })
        .collect();
    let names: Vec<String> = attrs.iter().map(|a| format!("{}.{}", a.etype(), a.label())).collect();
    assert_eq!(names[..2], ["posts.id", "users.id"]);
    assert_eq!(names.len(), 8);
    assert_eq!(names[6..], ["posts.author", "users.pinned"]);
    let find = |name: &str| attrs[names.iter().position(|n| n == name).unwrap()].clone();
    let title = find("posts.title");
    assert!(title.required && title.indexed && !title.unique);
    assert_eq!(title.checked_data_type, Some(CheckedType::String));
    assert!(find("posts.slug").unique);
    assert_eq!(find("posts.extra").checked_data_type, None);
    let author = find("posts.author");
    assert_eq!(
        (author.cardinality, author.unique, author.required),
        (Cardinality::One, false, true)
    );
    assert_eq!((author.on_delete, author.on_delete_reverse), (Some(OnDelete::Cascade), None));
    let pinned = find("users.pinned");
    assert_eq!((pinned.cardinality, pinned.unique), (Cardinality::Many, true));
    assert_eq!((pinned.on_delete, pinned.on_delete_reverse), (None, Some(OnDelete::Cascade)));
    let ids: hashbrown::HashSet<_> = attrs.iter().map(|a| a.id).collect();
    assert_eq!(ids.len(), attrs.len());
}

#[test]
fn what_exists_alike_is_skipped_and_what_is_left_out_stays() {
    let have = catalog(&blog());
    assert_eq!(plan(&have, &blog()), Ok(vec![]));
    assert_eq!(plan(&have, &json!({ "entities": {}, "links": {} })), Ok(vec![]));
}

#[test]
fn changed_flags_become_one_update_and_a_changed_type_is_no_transaction() {
    let have = catalog(&blog());
    let mut wanted = blog();
    wanted["entities"]["posts"]["attrs"]["title"]["config"] =
        json!({ "unique": true, "indexed": false });
    wanted["links"]["postsAuthor"]["forward"]["onDelete"] = Json::Null;
    let steps = plan(&have, &wanted).unwrap();
    let [PlanStep::UpdateAttr(title, fields), PlanStep::UpdateAttr(_, link)] = &steps[..] else {
        panic!("{steps:?}")
    };
    assert_eq!(*title, have.forward("posts", "title").unwrap().id);
    assert_eq!((&fields["unique?"], &fields["index?"]), (&json!(true), &json!(false)));
    assert_eq!(link["on-delete"], Json::Null);
    wanted["entities"]["posts"]["attrs"]["title"]["valueType"] = "number".into();
    let steps = plan(&have, &wanted).unwrap();
    assert!(matches!(steps[1], PlanStep::CheckDataType(_, CheckedType::Number)));
    let error = parse(&wanted).unwrap().to_attr_steps(&have, &mut counter()).unwrap_err();
    assert!(error.detail().starts_with("posts->title: The type"), "{error}");
}

#[test]
fn clashing_names_are_refused_with_the_name() {
    let have = catalog(&blog());
    let link = |from: [&str; 3], to: [&str; 3]| {
        json!({ "links": { "x": {
            "forward": { "on": from[0], "label": from[1], "has": from[2] },
            "reverse": { "on": to[0], "label": to[1], "has": to[2] },
        } } })
    };
    for (schema, start) in [
        (link(["posts", "title", "one"], ["users", "x", "many"]), "posts->title: Duplicate entry"),
        (
            link(["posts", "author", "one"], ["users", "x", "many"]),
            "posts->author: Duplicate entry",
        ),
        (
            link(["posts", "editor", "one"], ["users", "posts", "many"]),
            "users->posts: Duplicate entry",
        ),
        (link(["posts", "x", "one"], ["posts", "x", "many"]), "posts->x: Duplicate entry"),
        (
            link(["users", "posts", "many"], ["posts", "author", "one"]),
            "users->posts: Conflicting link",
        ),
        (link(["posts", "x", "one"], ["$magicCodes", "y", "one"]), "$ is reserved"),
        (
            json!({ "entities": { "posts": { "attrs": { "author": { "valueType": "any" } } } } }),
            "posts->author: Duplicate entry",
        ),
        (
            json!({ "entities": { "$codes": { "attrs": { "a": { "valueType": "any" } } } } }),
            "$ is reserved",
        ),
        (
            json!({ "entities": { "$users": { "attrs": { "a": { "valueType": "any", "required": true } } } } }),
            "$users->a: You can't create a required",
        ),
    ] {
        let error = plan(&have, &schema).unwrap_err();
        assert!(error.detail().starts_with(start), "{start}: {error}");
    }
    for side in ["forward", "reverse"] {
        let mut schema = link(["posts", "f", "many"], ["users", "r", "many"]);
        schema["links"]["x"][side]["onDelete"] = "cascade".into();
        let error = plan(&have, &schema).unwrap_err();
        assert!(error.detail().contains("Cascade delete is only possible"), "{error}");
    }
}

#[test]
fn malformed_schemas_say_where() {
    for (schema, path) in [
        (json!([]), "schema"),
        (json!({ "entities": 1 }), "schema.entities"),
        (json!({ "entities": { "a": [] } }), "schema.entities.a"),
        (
            json!({ "entities": { "a": { "attrs": { "x": {} } } } }),
            "schema.entities.a.attrs.x.valueType",
        ),
        (
            json!({ "entities": { "a": { "attrs": { "x": { "valueType": "any", "config": { "unique": 1 } } } } } }),
            "schema.entities.a.attrs.x.config.unique",
        ),
        (json!({ "links": { "l": { "forward": {} } } }), "schema.links.l.forward.has"),
        (
            json!({ "links": { "l": { "forward": { "on": "a", "label": "b", "has": "two" } } } }),
            "schema.links.l.forward.has",
        ),
        (
            json!({ "links": { "l": { "forward": { "on": "a", "label": "b", "has": "one" } } } }),
            "schema.links.l.reverse",
        ),
    ] {
        let error = parse(&schema).unwrap_err();
        assert!(error.detail().starts_with(&format!("`{path}` ")), "{path}: {error}");
        let tx = TxError::from(error);
        assert_eq!(tx.kind().type_name(), "validation-failed");
        assert_eq!(tx.hint()["data-type"], "schema");
        assert_eq!(tx.hint()["errors"][0]["in"][0], "schema");
    }
}

#[test]
fn an_unknown_type_reads_as_json() {
    let schema = json!({ "entities": { "a": { "attrs": { "x": { "valueType": "bigint" } } } } });
    assert_eq!(parse(&schema).unwrap().namespaces[0].attrs[0].checked_type, None);
}

#[test]
fn system_attributes_have_the_ids_of_existing_apps() {
    let mut catalog = AttrCatalog::default();
    for attr in system_attrs().into_iter().chain(hidden_system_attrs()) {
        assert_eq!(attr.catalog, Catalog::System);
        catalog.put(attr);
    }
    for (etype, label, rest) in [
        ("$users", "id", "a4b4-81ffffffffff"),
        ("$users", "email", "a4b4-46010bffffff"),
        ("$users", "type", "a4b5-3cbc9fffffff"),
        ("$users", "imageURL", "a4b4-8600c4a457ff"),
        ("$users", "linkedPrimaryUser", "a4b4-b7d3ffffffff"),
        ("$files", "id", "2a34-81ffffffffff"),
        ("$files", "path", "2a34-f04cffffffff"),
        ("$files", "size", "2a35-24609fffffff"),
        ("$files", "location-id", "2a34-b40fffffffff"),
        ("$files", "url", "2a35-48afffffffff"),
        ("$streams", "id", "94f4-81ffffffffff"),
        ("$streams", "clientId", "94f4-25a08d9a07ff"),
        ("$userRefreshTokens", "id", "a474-81ffffffffff"),
        ("$userRefreshTokens", "$user", "a475-49123fffffff"),
    ] {
        let attr = catalog.forward(etype, label).unwrap();
        assert_eq!(attr.id.to_string(), format!("96653230-13ff-ffff-{rest}"), "{etype}.{label}");
    }
    let ids: hashbrown::HashSet<_> = catalog.all().map(|attr| attr.id).collect();
    assert_eq!(ids.len(), 24);
    let email = catalog.forward("$users", "email").unwrap();
    assert!(email.unique && email.indexed && !email.required);
    let files = catalog.forward("$streams", "$files").unwrap();
    assert_eq!(files.on_delete_reverse, Some(OnDelete::Cascade));
    assert!(files.unique);
}

#[test]
fn what_an_app_has_reads_back_as_the_same_schema() {
    let mut have = catalog(&blog());
    let pulled = from_catalog(&have);
    assert_eq!(pulled["links"]["postsAuthor"]["forward"]["onDelete"], "cascade");
    assert_eq!(pulled["entities"]["posts"]["attrs"]["extra"]["valueType"], "any");
    assert_eq!(plan(&AttrCatalog::default(), &pulled).unwrap().len(), 8);
    assert_eq!(plan(&have, &pulled), Ok(vec![]));
    for attr in system_attrs() {
        have.put(attr);
    }
    let pulled = from_catalog(&have);
    assert!(pulled["entities"]["$files"]["attrs"].get("location-id").is_none());
    assert_eq!(pulled["links"]["$usersLinkedPrimaryUser"]["forward"]["onDelete"], "cascade");
    assert_eq!(plan(&have, &pulled), Ok(vec![]));
}
