//! A plain server in a few lines: one app in memory, no durability, no time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tricedb_core::attr::Attr;
use tricedb_core::id::TxId;
use tricedb_core::index::TripleIndex;
use tricedb_core::query::{EvalOptions, Query, canonical_json, evaluate};
use tricedb_core::schema::system_attrs;
use tricedb_core::tx::{Actor, ExecuteContext, execute, parse_steps};

/// The app, and what its sessions hold.
pub(super) struct Server {
    pub(super) index: TripleIndex,
    position: u64,
    now: i64,
    next_id: u128,
    pub(super) sessions: BTreeMap<usize, Session>,
    /// First outcomes, as an exactly-once server keeps them; empty when `forgets`.
    outcomes: BTreeMap<String, Json>,
    pub(super) forgets: bool,
    pub(super) commits: usize,
}

#[derive(Default)]
pub(super) struct Session {
    is_open: bool,
    queries: BTreeMap<String, (Json, String)>,
    pub(super) outbox: Vec<String>,
}

impl Server {
    pub(super) fn new() -> Self {
        let mut index = TripleIndex::new();
        for attr in system_attrs() {
            index.put_attr(attr);
        }
        Self {
            index,
            position: 100,
            now: 1_700_000_000_000,
            next_id: 1 << 100,
            sessions: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            forgets: false,
            commits: 0,
        }
    }

    fn attrs(&self) -> Vec<Arc<Attr>> {
        self.index.catalog().live_sorted()
    }

    fn say(&mut self, to: usize, message: &Json) {
        if let Some(session) = self.sessions.get_mut(&to) {
            session.outbox.push(message.to_string());
        }
    }

    /// Takes a client's message and puts the answers, and what others are to hear, into the outboxes.
    pub(super) fn receive(&mut self, from: usize, text: &str) {
        let message: Json = serde_json::from_str(text).unwrap();
        let event = message["client-event-id"].clone();
        match message["op"].as_str().unwrap() {
            "init" => {
                self.sessions.get_mut(&from).unwrap().is_open = true;
                let attrs = self.attrs();
                self.say(from, &json!({"op": "init-ok", "session-id": "s", "attrs": attrs, "client-event-id": event}));
            }
            "add-query" => {
                let q = message["q"].clone();
                let result = self.result(&q);
                let told = canonical_json(&result);
                let session = self.sessions.get_mut(&from).unwrap();
                assert!(session.is_open, "add-query before init-ok");
                session.queries.insert(canonical_json(&q), (q.clone(), told));
                let position = self.position;
                self.say(
                    from,
                    &json!({"op": "add-query-ok", "q": q, "result": result,
                    "processed-tx-id": position, "client-event-id": event}),
                );
            }
            "remove-query" => {
                let key = canonical_json(&message["q"]);
                self.sessions.get_mut(&from).unwrap().queries.remove(&key);
                self.say(from, &json!({"op": "remove-query-ok", "q": message["q"]}));
            }
            "transact" => self.transact(from, &event, &message["tx-steps"]),
            other => panic!("unexpected {other}"),
        }
    }

    fn transact(&mut self, from: usize, event: &Json, steps: &Json) {
        assert!(self.sessions[&from].is_open, "transact before init-ok");
        let name = event.as_str().unwrap().to_owned();
        if let Some(outcome) = self.outcomes.get(&name).filter(|_| !self.forgets).cloned() {
            self.say(from, &outcome);
            return;
        }
        self.now += 1;
        let before = self.attrs();
        let next_id = &mut self.next_id;
        let mut ids = || {
            *next_id += 1;
            uuid::Uuid::from_u128(*next_id)
        };
        let mut context = ExecuteContext { now: self.now, ids: &mut ids, actor: Actor::Client };
        let outcome =
            parse_steps(steps).and_then(|steps| execute(&mut self.index, &steps, &mut context));
        let answer = match outcome {
            Ok(_) => {
                self.position += 1;
                self.commits += 1;
                json!({"op": "transact-ok", "tx-id": self.position, "client-event-id": event})
            }
            Err(error) => json!({"op": "error", "status": 400, "type": error.kind().type_name(),
                "message": error.message(), "hint": error.hint(), "client-event-id": event,
                "original-event": {"op": "transact"}}),
        };
        self.outcomes.insert(name, answer.clone());
        self.say(from, &answer);
        let attrs = (self.attrs() != before).then(|| self.attrs());
        self.refresh(attrs.as_deref());
    }

    fn refresh(&mut self, attrs: Option<&[Arc<Attr>]>) {
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            let mut computations = Vec::new();
            let queries = self.sessions[&id].queries.clone();
            for (key, (q, told)) in queries {
                let result = self.result(&q);
                let tells = canonical_json(&result);
                if tells != told {
                    computations.push(json!({"instaql-query": q, "instaql-result": result}));
                    let queries = &mut self.sessions.get_mut(&id).unwrap().queries;
                    queries.insert(key, (q, tells));
                }
            }
            if self.sessions[&id].is_open && (!computations.is_empty() || attrs.is_some()) {
                let mut message = json!({"op": "refresh-ok", "computations": computations,
                    "processed-tx-id": self.position});
                if let Some(attrs) = attrs {
                    message["attrs"] = json!(attrs);
                }
                self.say(id, &message);
            }
        }
    }

    fn result(&self, q: &Json) -> Json {
        let query = Query::try_from(q).unwrap();
        let result = evaluate(&self.index, &query, &EvalOptions::socket()).unwrap();
        let mut wire = Vec::new();
        result.write_wire(&self.index, &mut wire);
        serde_json::from_slice(&wire).unwrap()
    }

    /// What the server itself would show.
    pub(super) fn shows(&self, q: &Json) -> Json {
        let query = Query::try_from(q).unwrap();
        let result = evaluate(&self.index, &query, &EvalOptions::client()).unwrap();
        result.to_object(&self.index, tricedb_core::query::Inference::Arrays)
    }

    pub(super) fn position(&self) -> TxId {
        TxId(self.position)
    }
}
