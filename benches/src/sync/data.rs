//! An app with todos, filled over a raw session.

use serde_json::Value as Json;
use tricedb_core::id::IdSource as _;
use uuid::Uuid;

use crate::error::BenchError;
use crate::session::{Session, make_app};
use crate::socket::in_time;
use crate::todos::{Ids, Todos, transact};

/// How many todos one transaction makes.
const PER_TRANSACTION: usize = 1_000;

/// An app and what is in it.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) app: Uuid,
    pub(super) todos: Todos,
    pub(super) rows: Vec<Uuid>,
    pub(super) ids: Ids,
    pub(super) writer: Session,
}

impl Filled {
    /// Makes an app with this many todos.
    pub(super) async fn new(address: &str, rows: usize) -> Result<Self, BenchError> {
        let app = make_app(address).await?;
        let mut ids = Ids::new(rows as u64 + 17);
        let todos = Todos::new(&mut ids);
        let mut writer = Session::open(address, app).await?;
        writer.make_attrs(&todos, &mut ids).await?;
        let all: Vec<Uuid> = (0..rows).map(|_| ids.next_uuid()).collect();
        for (chunk, todo_ids) in all.chunks(PER_TRANSACTION).enumerate() {
            let steps: Vec<Json> = (0..)
                .zip(todo_ids)
                .flat_map(|(n, todo)| {
                    let n = chunk * PER_TRANSACTION + n;
                    todos.create_steps(*todo, &format!("todo number {n}"))
                })
                .collect();
            let text = transact(&steps, ids.next_uuid());
            in_time("transact-ok", writer.commit(text)).await?;
        }
        Ok(Self { app, todos, rows: all, ids, writer })
    }
}
