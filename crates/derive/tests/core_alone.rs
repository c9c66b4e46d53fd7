//! The derive without the client: programs that use the core alone.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use serde_json::json;
use tricedb_core::entity::{Entity, tx_of};
use tricedb_core::id::EntityId;
use tricedb_core::schema::Schema;
use tricedb_derive::Entity;

/// Names that the made code uses as well must not get in its way.
#[derive(Entity, Clone, PartialEq, Debug)]
#[entity(crate = "tricedb_core", namespace = "things")]
#[serde(default, rename_all = "SCREAMING_SNAKE_CASE")]
struct Thing {
    #[entity(id)]
    own_id: Id,
    row: String,
    base: f64,
    draft: bool,
    schema: Option<i64>,
    r#type: String,
    #[entity(accessor = "new_field")]
    new: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Id(EntityId);

impl From<EntityId> for Id {
    fn from(id: EntityId) -> Self {
        Self(id)
    }
}

impl From<Id> for EntityId {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl Default for Thing {
    fn default() -> Self {
        Self {
            own_id: Id(EntityId(uuid::Uuid::nil())),
            row: "r".to_owned(),
            base: 1.5,
            draft: true,
            schema: Some(4),
            r#type: "t".to_owned(),
            new: 9,
        }
    }
}

#[test]
fn the_core_is_enough() {
    assert_eq!(Thing::NAMESPACE, "things");
    let id = "6b1f4a52-9d7e-4a43-a6c9-0f5bb5a0a001";
    let row = json!({"id": id, "ROW": "x", "TYPE": "y", "NEW": null});
    let thing = Thing::from_row(&row).unwrap();
    let expected = Thing {
        own_id: Id(EntityId::parse(id).unwrap()),
        row: "x".to_owned(),
        r#type: "y".to_owned(),
        ..Thing::default()
    };
    assert_eq!(thing, expected);
    let operations = Thing::create(&thing).into_operations().unwrap();
    let written = json!([["create", "things", id, {
        "ROW": "x", "BASE": 1.5, "DRAFT": true, "SCHEMA": 4, "TYPE": "y", "NEW": 9,
    }]]);
    assert_eq!(serde_json::to_value(&operations).unwrap(), written);
    let changes = [Thing::r#type().set("z"), Thing::new_field().decrement(1)];
    let operations = tx_of(&thing).update(changes).into_operations().unwrap();
    let written = json!([["update", "things", id, {"TYPE": "z", "NEW": {"$decrement": 1}}]]);
    assert_eq!(serde_json::to_value(&operations).unwrap(), written);
    let query = Thing::query().filter(Thing::r#type().eq("z")).order_by_desc(Thing::base());
    let asked = json!({"things": {"$": {"where": {"TYPE": "z"}, "order": {"BASE": "desc"}}}});
    assert_eq!(*query.build().unwrap().json(), asked);
    let schema = Schema::builder().entity::<Thing>().build().unwrap();
    assert_eq!(schema.attr("things", "SCHEMA").map(|attr| attr.required), Some(false));
}

#[test]
fn what_json_cannot_hold_is_named() {
    use std::collections::BTreeMap;

    #[derive(Entity)]
    #[entity(crate = "tricedb_core")]
    struct Odd {
        id: EntityId,
        map: BTreeMap<Vec<u8>, u8>,
    }

    let odd = Odd { id: EntityId(uuid::Uuid::nil()), map: BTreeMap::from([(vec![1], 2)]) };
    let error = Odd::create(&odd).into_operations().unwrap_err();
    assert_eq!(error.label(), "map");
    let error = tx_of(&odd).update(Odd::map().set(odd.map.clone())).into_operations().unwrap_err();
    assert_eq!(error.label(), "map");
}
