//! The engine against scripted frames and against a small server, on a clock that only the test moves.

mod conflicts;
mod connection;
mod layers;
mod reading;
mod rooms;
mod server;
mod simulation;
mod storing;
mod unsupported;
mod writing;

use serde_json::{Value as Json, json};
use tricedb_core::id::EventId;
use tricedb_core::port::{OutboxChange, SubscriptionChange};
use tricedb_core::tx::{TxBuilder, tx};

use super::*;

const APP: &str = "11111111-2222-4333-8444-555555555555";

fn ids(seed: u128) -> Box<dyn IdSource + Send> {
    let mut next = seed << 64;
    Box::new(move || {
        next += 1;
        // Spread over all bits, as random ids are.
        uuid::Builder::from_random_bytes(
            next.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_le_bytes(),
        )
        .into_uuid()
    })
}

type Shown = Result<Arc<QueryResultSnapshot>, QueryFailure>;

/// An engine with everything that it asked for.
struct Client {
    engine: SyncEngine,
    now: Millis,
    disk: Snapshot,
    /// The batch under way.
    writing: Option<Batch>,
    sent: Vec<Json>,
    results: Vec<(Arc<str>, Shown)>,
    answers: Vec<Shown>,
    settled: Vec<(u64, Result<TxId, Option<ServerError>>)>,
    stored: Vec<u64>,
    events: Vec<SyncEvent>,
    rooms: Vec<(Arc<str>, RoomReport)>,
    statuses: Vec<ConnectionStatus>,
    connects: usize,
    closes: usize,
}

impl Client {
    fn new(seed: u128) -> Self {
        Self::on(seed, Snapshot::default(), Settings::new(AppId::parse(APP).unwrap()))
    }

    fn on(seed: u128, disk: Snapshot, settings: Settings) -> Self {
        let now = Millis(1_700_000_000_000);
        let engine = SyncEngine::new(settings, disk.clone(), ids(seed), now).unwrap();
        let mut client = Self {
            engine,
            now,
            disk,
            writing: None,
            sent: Vec::new(),
            results: Vec::new(),
            answers: Vec::new(),
            settled: Vec::new(),
            stored: Vec::new(),
            events: Vec::new(),
            rooms: Vec::new(),
            statuses: Vec::new(),
            connects: 0,
            closes: 0,
        };
        client.drain();
        // Who it is, and its first numbers, are written at once.
        client.store();
        client
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output(self.now) {
            match output {
                Output::Connect => self.connects += 1,
                Output::Close => self.closes += 1,
                Output::Send(Frame::Text(text)) => {
                    self.sent.push(serde_json::from_str(&text).unwrap());
                }
                Output::Send(Frame::Binary(_)) => panic!("a binary frame"),
                Output::Persist(batch) => {
                    assert!(self.writing.replace(batch).is_none(), "two batches at once");
                }
                Output::Status(status) => self.statuses.push(status),
                Output::Result { query, result } => self.results.push((query, result)),
                Output::Answer { result, .. } => self.answers.push(result),
                Output::Stored { seq, result } => {
                    result.unwrap();
                    self.stored.push(seq);
                }
                Output::Settled { seq, outcome } => self.settled.push((seq, outcome)),
                Output::PendingChanged => {}
                Output::Room { id, report } => self.rooms.push((id, report)),
                Output::Event(event) => self.events.push(event),
            }
        }
        let deadline = self.engine.next_deadline();
        assert!(
            deadline.is_none_or(|t| t > self.now),
            "a deadline that passing time does not clear"
        );
    }

    fn handle(&mut self, input: Input) {
        self.engine.handle(self.now, input);
        self.drain();
    }

    fn say(&mut self, message: &Json) {
        self.handle(Input::Frame(Frame::Text(message.to_string())));
    }

    fn pass(&mut self, ms: i64) {
        self.now.0 += ms;
        self.handle(Input::Tick);
    }

    /// Writes what is to be written, until there is nothing more.
    fn write(&mut self) {
        self.pass(250);
        self.store();
    }

    /// Ends the writing of batches until there is none.
    fn store(&mut self) {
        while let Some(batch) = self.writing.take() {
            apply(&mut self.disk, batch);
            self.handle(Input::Committed);
        }
    }

    fn open_session(&mut self) {
        self.handle(Input::Connected);
        let init = self.sent.remove(0);
        assert_eq!(init["op"], "init");
        assert!(self.sent.is_empty(), "nothing is said before the answer to init");
        let attrs = self.engine.names.server().to_vec();
        self.say(&json!({"op": "init-ok", "session-id": "s", "attrs": attrs}));
    }

    fn lose(&mut self) {
        self.handle(Input::Disconnected { reason: "test".into(), hopeless: false });
    }

    fn transact(&mut self, builder: TxBuilder) -> Queued {
        let queued = self.engine.transact(self.now, builder.into_operations()).unwrap();
        self.drain();
        queued
    }

    fn subscribe(&mut self, q: Json) -> Arc<str> {
        let query = Query::try_from(q).unwrap();
        self.engine.subscribe(self.now, &query);
        self.drain();
        query.canonical()
    }

    fn shows(&self, key: &str) -> Json {
        self.engine.shown(key).map_or(Json::Null, |shown| shown.data().clone())
    }

    fn titles(&self, key: &str) -> Vec<String> {
        let shown = self.shows(key);
        let rows = shown["todos"].as_array().cloned().unwrap_or_default();
        rows.iter().map(|row| row["title"].as_str().unwrap_or("-").to_owned()).collect()
    }

    fn ops(&self) -> Vec<&str> {
        self.sent.iter().map(|message| message["op"].as_str().unwrap()).collect()
    }

    fn kinds(&self) -> Vec<PendingState> {
        self.engine.pending(self.now).iter().map(|pending| pending.state).collect()
    }
}

fn apply(disk: &mut Snapshot, batch: Batch) {
    let row_key = |row: &tricedb_core::port::EntityRow| (row.entity, row.etype.clone());
    for row in batch.put_entities {
        disk.entities.retain(|old| row_key(old) != row_key(&row));
        disk.entities.push(row);
    }
    disk.entities.retain(|old| !batch.remove_entities.contains(&row_key(old)));
    if let Some(attrs) = batch.attrs {
        disk.attrs = attrs.iter().map(|attr| tricedb_core::attr::Attr::clone(attr)).collect();
    }
    for change in batch.outbox {
        match change {
            OutboxChange::Put(row) => {
                disk.outbox.retain(|old| old.seq != row.seq);
                disk.outbox.push(row);
                disk.outbox.sort_by_key(|row| row.seq);
            }
            OutboxChange::Remove(seq) => disk.outbox.retain(|old| old.seq != seq),
        }
    }
    for change in batch.subscriptions {
        match change {
            SubscriptionChange::Put(row) => {
                disk.subscriptions.retain(|old| old.query != row.query);
                disk.subscriptions.push(row);
            }
            SubscriptionChange::Remove(query) => {
                disk.subscriptions.retain(|old| old.query != query);
            }
        }
    }
    for (key, value) in batch.key_values {
        disk.key_values.retain(|(old, _)| *old != key);
        disk.key_values.extend(value.map(|value| (key, value)));
    }
}

fn entity(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x7d00_0000_0000_4000_8000_0000_0000_0000 + n)
}

fn todo(n: u128, title: &str) -> TxBuilder {
    tx("todos", entity(n)).create(json!({"title": title, "done": false}))
}

/// The steps of a transact message as the facts that a server would make of them.
fn triples_of(transact: &Json, at: i64) -> Vec<Json> {
    let steps = transact["tx-steps"].as_array().unwrap();
    let adds = steps.iter().filter(|step| step[0] == "add-triple");
    adds.map(|step| json!([step[1], step[2], step[3], at])).collect()
}

fn attrs_of(transact: &Json) -> Vec<Json> {
    let steps = transact["tx-steps"].as_array().unwrap();
    steps.iter().filter(|s| s[0] == "add-attr").map(|s| s[1].clone()).collect()
}

fn result(triples: &[Json]) -> Json {
    json!([{"data": {"datalog-result": {"join-rows": [triples]}}, "child-nodes": []}])
}

fn q() -> Json {
    json!({"todos": {}})
}

/// A client with a session, the query of all todos answered as empty, and one todo sent.
fn one_sent() -> (Client, Arc<str>, Json) {
    let mut client = Client::new(1);
    client.open_session();
    let key = client.subscribe(q());
    assert_eq!(client.ops(), ["add-query"]);
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 100}),
    );
    client.transact(todo(1, "one"));
    assert_eq!(client.titles(&key), ["one"], "a write shows when the call returns");
    let transact = client.sent.pop().unwrap();
    assert_eq!(transact["op"], "transact");
    client.sent.clear();
    (client, key, transact)
}

fn ack(transact: &Json, tx: u64) -> Json {
    json!({"op": "transact-ok", "tx-id": tx, "client-event-id": transact["client-event-id"]})
}

fn refresh(client: &Client, transact: &Json, tx: u64) -> Json {
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    for attr in attrs_of(transact) {
        if !attrs.iter().any(|known| known["id"] == attr["id"]) {
            attrs.push(attr);
        }
    }
    json!({"op": "refresh-ok", "processed-tx-id": tx, "attrs": attrs, "computations": [
        {"instaql-query": q(), "instaql-result": result(&triples_of(transact, 1_700_000_000_500))}]})
}
