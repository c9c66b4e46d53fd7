//! Entities of Rust types.

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tricedb::entity::Date;
use tricedb::schema::Schema;
use tricedb::{Client, Entity, EntityId, QueryFailure, ReadError, SyncedError, query, tx, tx_of};

use crate::world::{World, soon};

#[derive(Entity, Clone, PartialEq, Debug)]
struct User {
    id: EntityId,
    #[entity(unique)]
    email: String,
    name: Option<String>,
    #[entity(reverse_of = "author")]
    posts: Vec<Post>,
    #[entity(reverse_of = "owner")]
    profile: Option<Profile>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Draft,
    Public,
}

#[derive(Entity, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
struct Post {
    #[entity(id)]
    key: PostId,
    title: String,
    #[entity(indexed)]
    like_count: u32,
    #[entity(type = "string")]
    state: State,
    #[entity(indexed)]
    published_at: Option<Date>,
    #[serde(default)]
    tags: Vec<String>,
    meta: Json,
    #[serde(rename = "body")]
    text: Option<String>,
    #[serde(default = "seven", with = "as_text")]
    #[entity(type = "string")]
    rank: i64,
    #[serde(skip)]
    seen: bool,
    #[entity(link(reverse = "posts"))]
    author: Option<Box<User>>,
}

#[derive(Entity, Clone, PartialEq, Debug)]
struct Profile {
    id: EntityId,
    bio: String,
    #[entity(link(reverse = "profile", reverse_has = "one", cascade))]
    owner: Box<User>,
}

/// An id that cannot be taken for that of something else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PostId(EntityId);

impl From<EntityId> for PostId {
    fn from(id: EntityId) -> Self {
        Self(id)
    }
}

impl From<PostId> for EntityId {
    fn from(id: PostId) -> Self {
        id.0
    }
}

fn seven() -> i64 {
    7
}

mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(super) fn serialize<S: Serializer>(n: &i64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&n.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

fn schema() -> Schema {
    Schema::builder().entity::<User>().entity::<Post>().entity::<Profile>().build().unwrap()
}

fn user(db: &Client, email: &str) -> User {
    User { id: db.id(), email: email.into(), name: None, posts: Vec::new(), profile: None }
}

fn post(db: &Client, title: &str) -> Post {
    Post {
        key: PostId(db.id()),
        title: title.into(),
        like_count: 0,
        state: State::Draft,
        published_at: None,
        tags: Vec::new(),
        meta: json!({"$increment": 1}),
        text: None,
        rank: 3,
        seen: true,
        author: None,
    }
}

#[test]
fn types_give_the_schema() {
    let json = schema().to_json();
    let attr = |entity: &str, label: &str| json["entities"][entity]["attrs"][label].clone();
    let told = |attr: Json| {
        let config = &attr["config"];
        (
            attr["valueType"].clone(),
            attr["required"] == true,
            config["indexed"] == true,
            config["unique"] == true,
        )
    };
    assert_eq!(told(attr("users", "email")), (json!("string"), true, false, true));
    assert_eq!(told(attr("users", "name")), (json!("string"), false, false, false));
    assert_eq!(told(attr("posts", "likeCount")), (json!("number"), true, true, false));
    assert_eq!(told(attr("posts", "state")), (json!("string"), true, false, false));
    assert_eq!(told(attr("posts", "publishedAt")), (json!("date"), false, true, false));
    assert_eq!(told(attr("posts", "tags")), (json!("json"), true, false, false));
    assert_eq!(told(attr("posts", "body")), (json!("string"), false, false, false));
    assert_eq!(attr("posts", "seen"), Json::Null);
    assert_eq!(attr("posts", "id"), Json::Null);
    let link = &json["links"]["postsAuthor"];
    assert_eq!(link["forward"], json!({"on": "posts", "label": "author", "has": "one"}));
    assert_eq!(link["reverse"], json!({"on": "users", "label": "posts", "has": "many"}));
    let link = &json["links"]["profilesOwner"];
    assert_eq!(link["forward"]["required"], true);
    assert_eq!(link["forward"]["onDelete"], "cascade");
    assert_eq!(link["reverse"]["has"], "one");
    assert_eq!(tricedb::schema::parse(&json).unwrap().to_json(), json, "it can be pushed");
}

#[test]
fn types_that_disagree_about_a_link_are_told() {
    #[derive(Entity)]
    struct Tag {
        id: EntityId,
        #[entity(reverse_of = "tag")]
        notes: Option<Note>,
    }

    #[derive(Entity)]
    struct Note {
        id: EntityId,
        #[entity(link(reverse = "notes"))]
        tag: Option<Box<Tag>>,
    }

    let told = |built: Result<Schema, tricedb::schema::SchemaError>| built.unwrap_err().to_string();
    let both = told(Schema::builder().entity::<Tag>().entity::<Note>().build());
    assert!(both.contains("`notes` of `tags` links to one by its type, and to many"), "{both}");
    let alone = told(Schema::builder().entity::<Note>().build());
    assert!(alone.contains("leads to `tags`, which is not part of the schema"), "{alone}");
    let twice = told(Schema::builder().entity::<Note>().entity::<Note>().build());
    assert!(twice.contains("`notes` is defined twice"), "{twice}");
}

#[tokio::test]
async fn entities_travel_with_their_links() {
    let world = World::new(Some(&schema())).await;
    let (one, two) = (world.client().await, world.client().await);
    let posts = Post::query().order_by(Post::like_count()).with(
        Post::author().include().with(User::profile().include().with(Profile::owner().include())),
    );
    let mut seen = two.subscribe_as::<Post>(posts).unwrap();
    assert_eq!(soon("nothing", seen.next()).await, Some(Ok(Vec::new())));

    let ada = user(&one, "ada@example.com");
    let profile = Profile { id: one.id(), bio: "Counts".into(), owner: Box::new(ada.clone()) };
    let first = Post {
        tags: vec!["a".into()],
        published_at: Some(Date::from_millis(5)),
        author: Some(Box::new(ada.clone())),
        ..post(&one, "First")
    };
    let second = post(&one, "Second");
    let receipt = one
        .transact((
            User::create(&ada),
            [Post::create(&first), Post::create(&second)],
            Profile::create(&profile),
            tx("users", ada.id).update(json!({"name": "Ada"})),
        ))
        .unwrap();
    soon("synced", receipt.synced()).await.unwrap();
    let found = soon("both", seen.wait_for(|posts| posts.len() == 2)).await.unwrap();
    let got = found.iter().find(|post| post.title == "First").unwrap();
    let author = got.author.as_deref().unwrap();
    assert_eq!(author.name.as_deref(), Some("Ada"));
    assert_eq!(author.posts, [], "not asked for");
    assert_eq!(author.profile.as_ref().unwrap().owner.id, ada.id);
    assert_eq!(got.meta, json!({"$increment": 1}), "data, whatever it looks like");
    assert_eq!((got.rank, got.seen, got.published_at), (3, false, Some(Date::from_millis(5))));
    let expected = Post { seen: false, ..second };
    assert_eq!(found.iter().find(|post| post.title == "Second"), Some(&expected));
}

#[tokio::test]
async fn conditions_and_changes_are_typed() {
    let world = World::new(Some(&schema())).await;
    let db = world.client().await;
    let (ada, bob) = (user(&db, "ada@example.com"), user(&db, "bob@example.com"));
    let (one, two) = (post(&db, "100 %"), post(&db, "Two"));
    db.transact((
        [User::create(&ada), User::create(&bob)],
        [Post::create(&one).link(Post::author(), &ada), Post::create(&two)],
    ))
    .unwrap();
    let receipt = db
        .transact((
            tx_of(&one).expect(Post::like_count(), 0).expect_none(Post::text()).update([
                Post::like_count().increment(4),
                Post::like_count().multiply(3),
                Post::state().set(State::Public),
                Post::tags().push("x"),
                Post::tags().add_to_set("x"),
                Post::meta().merge(json!({"deep": {"a": 1}})),
                Post::published_at().server_time(),
                Post::rank().set_once(9),
                Post::text().set("words"),
            ]),
            Post::tx(two.key.0)
                .update(Post::like_count().max(5))
                .update([Post::text().set_option(Some("gone".into())), Post::text().clear()])
                .link(Post::author(), User::email().lookup("bob@example.com")),
        ))
        .unwrap();
    soon("synced", receipt.synced()).await.unwrap();

    let find = async |filter| {
        let query = Post::query().filter(filter).with(Post::author().include());
        let mut posts = soon("an answer", db.query_once_as::<Post>(query)).await.unwrap();
        assert!(posts.len() < 2);
        posts.pop()
    };
    let found = find(Post::like_count().gt(10)).await.unwrap();
    assert_eq!(found.like_count, 12);
    assert_eq!((found.state, found.text.as_deref()), (State::Public, Some("words")));
    assert_eq!(found.tags, ["x"]);
    assert_eq!(found.meta, json!({"$increment": 1, "deep": {"a": 1}}));
    assert!(found.published_at > Some(Date::from_millis(1_000_000_000_000)));
    assert_eq!(found.rank, 3);
    let second = find(Post::like_count().lte(5)).await.unwrap();
    assert_eq!((second.like_count, second.text), (5, None));
    assert_eq!(second.author.unwrap().id, bob.id);
    for filter in [
        Post::author().is(&ada),
        Post::author().is(User::email().lookup("ada@example.com")),
        Post::author().then(User::email()).eq("ada@example.com"),
        Post::state().eq(State::Public),
        Post::title().is_in(["100 %", "Three"]),
        Post::published_at().is_not_null(),
        Post::id_field_is(one.key.0),
    ] {
        let title = find(filter.clone()).await.map(|post| post.title);
        assert_eq!(title.as_deref(), Some("100 %"), "{filter:?}");
    }
    let stale = db.transact(tx_of(&one).expect(Post::like_count(), 1).delete());
    let refused = match stale {
        Ok(receipt) => {
            let error = soon("an answer", receipt.synced()).await.unwrap_err();
            matches!(error, SyncedError::Rejected(_))
        }
        Err(_) => true,
    };
    assert!(refused, "the assumption does not hold");
    let gone = db.transact(tx_of(&one).unlink(Post::author(), &ada).delete()).unwrap();
    soon("synced", gone.synced()).await.unwrap();
    assert_eq!(find(Post::like_count().gt(10)).await, None);
}

impl Post {
    fn id_field_is(id: EntityId) -> tricedb::Filter {
        Self::key().eq(id)
    }
}

#[tokio::test]
async fn a_row_that_does_not_fit_is_named_and_does_not_end_the_stream() {
    let world = World::new(None).await;
    let db = world.client().await;
    let mut seen = db.subscribe_as::<User>(User::query().with(User::posts().include())).unwrap();
    let (ada, bad) = (db.id(), db.id());
    db.transact(tx("users", ada).create(json!({"email": 7}))).unwrap();
    let error = loop {
        match soon("an item", seen.next()).await.unwrap() {
            Err(ReadError::Row(error)) => break error,
            other => assert_eq!(other, Ok(Vec::new())),
        }
    };
    assert_eq!(
        (error.namespace, error.entity, error.field.as_str()),
        ("users", Some(ada), "email")
    );
    assert!(error.reason.contains("expected a string"), "{error}");
    db.transact(tx("users", ada).update(json!({"email": "ada@example.com"}))).unwrap();
    let users = soon("a row that fits", seen.wait_for(|users| users.len() == 1)).await.unwrap();
    assert_eq!(users[0].email, "ada@example.com");

    db.transact([
        tx("posts", bad).create(json!({"title": "t", "likeCount": -1, "state": "draft"})),
        tx("users", ada).link("posts", bad),
    ])
    .unwrap();
    let error = loop {
        if let Err(ReadError::Row(error)) = soon("an item", seen.next()).await.unwrap() {
            break error;
        }
    };
    assert_eq!(
        (error.namespace, error.entity, error.field.as_str()),
        ("posts", Some(bad), "likeCount")
    );
    assert_eq!(error.through, ["posts"]);
    assert!(seen.current().unwrap().is_err());
    assert!(seen.snapshot().is_some());
    db.transact(tx("posts", bad).delete()).unwrap();
    soon("a row that fits", seen.wait_for(|users| users[0].posts.is_empty())).await.unwrap();

    let asked = db.subscribe_as::<User>(query("posts"));
    assert!(matches!(asked, Err(ReadError::NotAsked { namespace: "users" })));
    db.close().await.unwrap();
    let closed = soon("the end", seen.wait_for(|_| false)).await;
    assert_eq!(closed, Err(ReadError::Query(QueryFailure::Closed)));
    assert_eq!(soon("the end", StreamExt::next(&mut seen)).await, None);
}

#[tokio::test]
async fn a_link_to_one_takes_one() {
    let world = World::new(None).await;
    let db = world.client().await;
    // Without a schema links are to many, and a new one leads to the namespace of its own name.
    #[derive(Entity, Debug)]
    struct Song {
        id: EntityId,
        #[entity(link(reverse = "songs"))]
        artists: Option<Artist>,
    }

    #[derive(Entity, Debug)]
    struct Artist {
        id: EntityId,
        name: String,
    }

    let artist = |name: &str| Artist { id: db.id(), name: name.into() };
    let (ada, bob) = (artist("Ada"), artist("Bob"));
    let song = Song { id: db.id(), artists: None };
    db.transact(([Artist::create(&ada), Artist::create(&bob)], Song::create(&song))).unwrap();
    let songs = || db.query_local_as::<Song>(Song::query().with(Song::artists().include()));
    assert!(songs().unwrap()[0].artists.is_none());
    db.transact(tx_of(&song).link(Song::artists(), &ada)).unwrap();
    assert_eq!(songs().unwrap()[0].artists.as_ref().unwrap().name, "Ada");
    db.transact(tx_of(&song).link(Song::artists(), &bob)).unwrap();
    let error = songs().unwrap_err().to_string();
    assert!(error.contains("2 entities are linked"), "{error}");
}

#[tokio::test]
async fn the_newest_result_can_be_watched() {
    let world = World::new(None).await;
    let db = world.client().await;
    let mut rows = db.subscribe(json!({"users": {}})).unwrap().watch();
    let mut users = db.subscribe_as::<User>(User::query()).unwrap().watch();
    let ada = user(&db, "ada@example.com");
    db.transact(User::create(&ada)).unwrap();
    let shown = soon(
        "a row",
        rows.wait_for(|rows| {
            rows.as_ref().is_some_and(|rows| rows.as_ref().unwrap().rows("users").len() == 1)
        }),
    )
    .await
    .unwrap()
    .clone();
    assert!(shown.is_some());
    let has_ada = |users: &Option<Result<std::sync::Arc<[User]>, ReadError>>| {
        users.as_ref().is_some_and(|users| **users.as_ref().unwrap() == [ada.clone()])
    };
    soon("a user", users.wait_for(has_ada)).await.unwrap();
    db.transact(User::create(&user(&db, "bob@example.com"))).unwrap();
    soon("a user", users.wait_for(|users| users.as_ref().unwrap().as_ref().unwrap().len() == 2))
        .await
        .unwrap();
    db.close().await.unwrap();
    let last = |users: &Option<Result<std::sync::Arc<[User]>, ReadError>>| {
        matches!(users, Some(Err(ReadError::Query(QueryFailure::Closed))))
    };
    soon("the reason", users.wait_for(last)).await.unwrap();
    assert!(soon("the end", users.changed()).await.is_err());
}
