//! The data of the benchmarks inside one process: users and their todos, straight in an index.

use tricedb_core::attr::{Attr, CheckedType, Identity};
use tricedb_core::id::{AttrId, EntityId, IdSource as _, IdentId};
use tricedb_core::index::TripleIndex;
use tricedb_core::triple::Triple;
use tricedb_core::value::Value;

use crate::todos::Ids;

/// How many groups there are: `group` equal to one number is true of 0.5 % of all todos.
pub(crate) const GROUPS: u64 = 200;
/// The time of the first todo.
const START: i64 = 1_795_408_071_705;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many users.
    pub(crate) users: usize,
    /// How many todos; each belongs to one user, in turn.
    pub(crate) todos: usize,
    /// The attributes of todos that are indexed.
    pub(crate) indexed: &'static [&'static str],
    /// Whether `createdAt` is in no relation to the order in which todos were made.
    pub(crate) shuffled: bool,
}

/// Users and todos.
#[derive(Clone, Debug)]
pub(crate) struct Dataset {
    pub(crate) index: TripleIndex,
    pub(crate) users: Vec<EntityId>,
    pub(crate) todos: Vec<EntityId>,
}

impl Dataset {
    /// Makes the data: the same for the same shape.
    ///
    /// Todos hold `id`, `title`, `done` (true of a quarter), `createdAt`, `group` and `note`, and link to
    /// their `owner`; users hold `id`, `name` and, unique, `email`, and reach their `todos`.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut ids = Ids::new(7);
        let mut index = TripleIndex::new();
        let mut data = |etype: &str, label: &str, ids: &mut Ids| {
            let (attr, ident) = (AttrId::new(ids.next_uuid()), IdentId::new(ids.next_uuid()));
            let mut made = Attr::blob(attr, ident, etype, label);
            made.unique = label == "id" || label == "email";
            made.indexed = etype == "todos" && shape.indexed.contains(&label);
            if made.indexed {
                let number = label != "title" && label != "note";
                let kind = if number { CheckedType::Number } else { CheckedType::String };
                made.checked_data_type = Some(kind);
            }
            index.put_attr(made.into());
            attr
        };
        let [id, title, done, created_at, group, note] =
            ["id", "title", "done", "createdAt", "group", "note"]
                .map(|label| data("todos", label, &mut ids));
        let [user_id, name, email] =
            ["id", "name", "email"].map(|label| data("users", label, &mut ids));
        let owner = AttrId::new(ids.next_uuid());
        let mut ident = |etype: &str, label: &str| Identity {
            id: IdentId::new(ids.next_uuid()),
            etype: etype.into(),
            label: label.into(),
        };
        let (forward, reverse) = (ident("todos", "owner"), ident("users", "todos"));
        index.put_attr(Attr::link(owner, forward, reverse).into());

        let mut add = |entity, created_at, facts: &[(AttrId, Value)]| {
            for (attr, value) in facts {
                let (attr, value) = (*attr, value.clone());
                index.insert(&Triple { entity, attr, value, created_at });
            }
        };
        let (mut users, mut todos) = (Vec::new(), Vec::new());
        for number in 0..shape.users {
            let entity = EntityId::new(ids.next_uuid());
            add(
                entity,
                START,
                &[
                    (user_id, Value::Ref(entity)),
                    (name, Value::from(format!("User {number:05}").as_str())),
                    (email, Value::from(format!("{number:05}@example.com").as_str())),
                ],
            );
            users.push(entity);
        }
        for number in 0..shape.todos {
            let entity = EntityId::new(ids.next_uuid());
            let at = START + i64::try_from(number).unwrap_or(i64::MAX);
            let random = ids.next_u64();
            let order = if shape.shuffled { (random >> 20).cast_signed() } else { at };
            add(
                entity,
                at,
                &[
                    (id, Value::Ref(entity)),
                    (title, Value::from(format!("title {number:07}").as_str())),
                    (done, Value::from(random.is_multiple_of(4))),
                    (created_at, Value::Int(order)),
                    (group, Value::Int((random >> 8).rem_euclid(GROUPS).cast_signed())),
                    (note, Value::from(format!("to be done by {}", number % 1_000).as_str())),
                    (owner, Value::Ref(users[number % users.len()])),
                ],
            );
            todos.push(entity);
        }
        Self { index, users, todos }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tricedb_core::query::{AllVisible, EvalOptions, Plan, QueryResult, parse};

    use super::*;

    #[test]
    fn the_shares_are_as_said() {
        let indexed = &["createdAt"];
        let data = Dataset::new(Shape { users: 10, todos: 4_000, indexed, shuffled: false });
        assert_eq!(data.index.triple_count(), 10 * 3 + 4_000 * 7);
        let count = |filter| {
            let query = parse(&json!({"todos": {"$": {"where": filter}}})).unwrap();
            let plan = Arc::new(Plan::new(&data.index, &query, &EvalOptions::native()).unwrap());
            QueryResult::run(&plan, &data.index, &AllVisible).rows("todos").len()
        };
        assert!((900..1_100).contains(&count(json!({"done": true}))));
        assert!((5..40).contains(&count(json!({"group": 7}))));
        assert_eq!(count(json!({"owner": data.users[3]})), 400);
    }
}
