use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::*;
use crate::attr::CheckedType;
use crate::index::TripleIndex;
use crate::schema::{JobKind, parse, system_attrs};
use crate::tx::{Actor, ExecuteContext, execute};

fn blog() -> Json {
    json!({
        "entities": {
            "posts": { "attrs": {
                "title": { "valueType": "string", "required": true },
                "views": { "valueType": "number", "config": { "indexed": true } },
            } },
            "users": { "attrs": { "name": { "valueType": "string" } } },
        },
        "links": { "author": {
            "forward": { "on": "posts", "label": "author", "has": "one", "onDelete": "cascade" },
            "reverse": { "on": "users", "label": "posts", "has": "many" },
        } },
    })
}

fn ids(from: u128) -> impl FnMut() -> Uuid {
    let mut last = from;
    move || {
        last += 1;
        Uuid::from_u128(last)
    }
}

/// An app with a schema, system attributes included.
fn app(schema: &Json) -> TripleIndex {
    let mut index = TripleIndex::new();
    system_attrs().into_iter().for_each(|attr| index.put_attr(attr));
    push(&mut index, schema, &[]).unwrap();
    index
}

/// Makes an app have a schema, as far as a transaction can; gives the jobs that are left.
fn push(
    index: &mut TripleIndex,
    schema: &Json,
    renames: &[&str],
) -> Result<Vec<(JobKind, AttrId)>, SchemaError> {
    let renames: Vec<Rename> = renames.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let mut ids = ids(index.catalog().len() as u128 * 1_000);
    let (mut steps, mut jobs) = (Vec::new(), Vec::new());
    for step in parse(schema)?.overwrite(index.catalog(), &renames, &mut ids)? {
        match step {
            SchemaStep::Attr(step) => steps.push(step),
            SchemaStep::Job { kind, attr, .. } => jobs.push((kind, attr)),
        }
    }
    let mut context = ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Admin };
    execute(index, &steps, &mut context).unwrap();
    Ok(jobs)
}

fn id(index: &TripleIndex, etype: &str, label: &str) -> Option<AttrId> {
    index.catalog().find(etype, label).map(|named| named.attr.id)
}

#[test]
fn what_is_left_out_is_deleted_and_the_system_stays() {
    let mut index = app(&blog());
    assert_eq!(push(&mut index, &blog(), &[]), Ok(vec![]), "nothing is to be done");
    let mut smaller = blog();
    smaller["entities"]["posts"]["attrs"].as_object_mut().unwrap().remove("views");
    smaller["entities"].as_object_mut().unwrap().remove("users");
    smaller["links"] = json!({});
    assert_eq!(push(&mut index, &smaller, &[]), Ok(vec![]));
    for (etype, label) in
        [("posts", "views"), ("posts", "author"), ("users", "name"), ("users", "id")]
    {
        assert_eq!(id(&index, etype, label), None, "{etype}.{label}");
    }
    assert!(id(&index, "posts", "title").is_some() && id(&index, "posts", "id").is_some());
    assert!(id(&index, "$users", "email").is_some());
}

#[test]
fn a_rename_keeps_the_attribute_and_what_else_changes_is_a_job() {
    let mut index = app(&blog());
    let (views, author) = (id(&index, "posts", "views"), id(&index, "posts", "author"));
    let mut wanted = blog();
    wanted["entities"]["posts"]["attrs"] = json!({
        "title": { "valueType": "string", "required": true },
        "reads": { "valueType": "date" },
    });
    wanted["links"]["author"]["forward"]["label"] = "writer".into();
    wanted["links"]["author"]["reverse"]["label"] = "written".into();
    let renames = ["posts.views:posts.reads", "users.posts:users.written"];
    let jobs = push(&mut index, &wanted, &renames).unwrap();
    assert_eq!(id(&index, "posts", "reads"), views);
    assert_eq!(id(&index, "posts", "writer"), author);
    assert_eq!(id(&index, "users", "written"), author);
    let link = index.catalog().live(author.unwrap()).unwrap();
    assert!(link.on_delete.is_some(), "a rename leaves the cascade");
    let views = views.unwrap();
    assert_eq!(
        jobs,
        [(JobKind::RemoveIndex, views), (JobKind::CheckDataType(CheckedType::Date), views)]
    );
}

#[test]
fn an_attribute_that_becomes_a_link_is_made_anew() {
    let mut index = app(&blog());
    let views = id(&index, "posts", "views");
    let mut wanted = blog();
    wanted["entities"]["posts"]["attrs"].as_object_mut().unwrap().remove("views");
    wanted["links"]["viewers"] = json!({
        "forward": { "on": "posts", "label": "views", "has": "many" },
        "reverse": { "on": "users", "label": "viewed", "has": "many" },
    });
    push(&mut index, &wanted, &[]).unwrap();
    assert_ne!(id(&index, "posts", "views"), views);
    assert!(index.catalog().find("posts", "views").unwrap().attr.is_ref());
}

#[test]
fn renames_that_make_no_sense_are_refused() {
    let mut index = app(&blog());
    for (rename, why) in [
        ("posts.views", "It has to look like"),
        ("posts.views:reads", "It has to look like"),
        ("posts.nothing:posts.views", "no attribute with the old name"),
        ("posts.views:posts.reads", "does not have the new name"),
        ("posts.views:posts.title", "with the new name exists"),
        ("posts.author:posts.writer", "does not have the new name"),
        ("posts.views:users.name", "stays in its namespace"),
        ("$users.email:$users.mail", "not the app's own"),
        ("posts.id:posts.key", "not the app's own"),
    ] {
        let error = push(&mut index, &blog(), &[rename]).unwrap_err();
        let start = format!("Invalid rename command: {rename}. ");
        assert!(error.detail().starts_with(&start) && error.detail().contains(why), "{error}");
    }
}
