//! The data of the benchmarks: todos with five attributes, written as official clients write them.

use serde_json::{Value as Json, json};
use tricedb_core::id::IdSource;
use uuid::Uuid;

/// Names of the attributes beside `id`.
const LABELS: [&str; 5] = ["title", "done", "createdAt", "priority", "owner"];

/// Ids from a seed: the same in every run, different for every seed.
#[derive(Clone, Debug)]
pub(crate) struct Ids(u64);

impl Ids {
    /// A source that begins at a seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next of a sequence of well-mixed numbers (splitmix64).
    pub(crate) const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl IdSource for Ids {
    fn next_uuid(&mut self) -> Uuid {
        let (high, low) = (self.next_u64(), self.next_u64());
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

/// The attributes of the namespace `todos`.
#[derive(Clone, Debug)]
pub(crate) struct Todos {
    id: Uuid,
    attrs: [Uuid; LABELS.len()],
}

impl Todos {
    /// Attributes with new ids.
    pub(crate) fn new(ids: &mut Ids) -> Self {
        Self { id: ids.next_uuid(), attrs: std::array::from_fn(|_| ids.next_uuid()) }
    }

    /// The attribute `title`.
    pub(crate) const fn title(&self) -> Uuid {
        self.attrs[0]
    }

    /// The steps that make the attributes.
    pub(crate) fn attr_steps(&self, ids: &mut Ids) -> Vec<Json> {
        let names = std::iter::once((self.id, "id")).chain(self.attrs.into_iter().zip(LABELS));
        names
            .map(|(id, label)| {
                json!(["add-attr", {
                    "id": id,
                    "forward-identity": [ids.next_uuid(), "todos", label],
                    "value-type": "blob",
                    "cardinality": "one",
                    "unique?": label == "id",
                    "index?": false,
                }])
            })
            .collect()
    }

    /// The steps that create a todo.
    pub(crate) fn create_steps(&self, todo: Uuid, title: &str) -> Vec<Json> {
        let [title_attr, done, created_at, priority, owner] = self.attrs;
        vec![
            json!(["add-triple", todo, self.id, todo]),
            json!(["add-triple", todo, title_attr, title]),
            json!(["add-triple", todo, done, false]),
            json!(["add-triple", todo, created_at, 1_795_408_071_705_i64]),
            json!(["add-triple", todo, priority, 3]),
            json!(["add-triple", todo, owner, "somebody@example.com"]),
        ]
    }

    /// The steps that give a todo another title.
    pub(crate) fn retitle_steps(&self, todo: Uuid, title: &str) -> Vec<Json> {
        let [attr, ..] = self.attrs;
        vec![json!(["add-triple", todo, attr, title, {"mode": "update"}])]
    }

    /// The message that gives a todo another title. The title must need no escaping.
    pub(crate) fn retitle(&self, todo: Uuid, title: &str, event: Uuid) -> String {
        let [attr, ..] = self.attrs;
        format!(
            r#"{{"client-event-id":"{event}","op":"transact","tx-steps":[["add-triple","{todo}","{attr}","{title}",{{"mode":"update"}}]],"created":1795408071705,"order":1}}"#
        )
    }
}

/// The message of a transaction.
pub(crate) fn transact(steps: &[Json], event: Uuid) -> String {
    json!({
        "op": "transact",
        "client-event-id": event,
        "tx-steps": steps,
        "created": 1_795_408_071_705_i64,
        "order": 1,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use tricedb_core::index::TripleIndex;
    use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};

    use super::*;

    #[test]
    fn the_steps_are_accepted() {
        let mut ids = Ids::new(1);
        let todos = Todos::new(&mut ids);
        let todo = ids.next_uuid();
        let mut steps = todos.attr_steps(&mut ids);
        steps.extend(todos.create_steps(todo, "one"));
        let mut index = TripleIndex::new();
        let mut run = |steps: Vec<Json>| {
            let steps = parse_steps(&Json::from(steps)).unwrap();
            let mut context = ExecuteContext { now: 1, ids: &mut ids, actor: Actor::Client };
            execute(&mut index, &steps, &mut context).unwrap()
        };
        assert_eq!(run(steps).facts().count(), 6);
        assert_eq!(run(todos.retitle_steps(todo, "two")).facts().count(), 1);
    }

    #[test]
    fn the_message_written_by_hand_is_the_same() {
        let mut ids = Ids::new(1);
        let todos = Todos::new(&mut ids);
        let (todo, event) = (ids.next_uuid(), ids.next_uuid());
        let by_hand: Json = serde_json::from_str(&todos.retitle(todo, "two", event)).unwrap();
        let steps = todos.retitle_steps(todo, "two");
        let by_serde: Json = serde_json::from_str(&transact(&steps, event)).unwrap();
        assert_eq!(by_hand, by_serde);
    }

    #[test]
    fn ids_do_not_repeat() {
        let mut ids = Ids::new(1);
        let (a, b) = (ids.next_uuid(), ids.next_uuid());
        assert_ne!(a, b);
        assert_ne!(a, Ids::new(2).next_uuid());
        assert_eq!(a.get_version_num(), 4);
    }
}
