//! The engine against scripted frames and against a small server, on a clock that only the test moves.

mod server;
mod simulation;

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
            statuses: Vec::new(),
            connects: 0,
            closes: 0,
        };
        client.drain();
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

#[test]
fn an_acknowledgement_before_the_refresh_never_lets_the_write_flicker() {
    let (mut client, key, transact) = one_sent();
    client.results.clear();
    client.say(&ack(&transact, 101));
    assert_eq!(client.settled, [(1, Ok(TxId(101)))]);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Synced]);
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [], "the result contains it: nothing is pending");
    assert!(client.results.is_empty(), "nothing changed on screen: {:?}", client.results);
}

#[test]
fn a_refresh_before_the_acknowledgement_never_lets_the_write_flicker() {
    let (mut client, key, transact) = one_sent();
    client.results.clear();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    assert_eq!(client.titles(&key), ["one"]);
    client.say(&ack(&transact, 101));
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), []);
    assert!(client.results.is_empty(), "{:?}", client.results);
}

#[test]
fn an_acknowledged_write_stays_until_a_result_contains_it_or_none_comes() {
    let (mut client, key, transact) = one_sent();
    client.say(&ack(&transact, 101));
    client.pass(5_000);
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Synced]);
    // The server's result came out the same as before, so that it sent none: somebody deleted it again.
    client.pass(6_000);
    assert_eq!(client.kinds(), []);
    assert_eq!(client.titles(&key), Vec::<String>::new());
}

#[test]
fn a_rejected_write_is_undone_and_later_ones_stand() {
    let (mut client, key, transact) = one_sent();
    // The first made attributes: nothing follows it until it is answered.
    client.transact(todo(2, "two"));
    assert!(client.sent.is_empty());
    assert_eq!(client.titles(&key), ["one", "two"]);
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    assert_eq!(client.titles(&key), ["two"]);
    let (seq, outcome) = client.settled.pop().unwrap();
    assert_eq!(seq, 1);
    assert_eq!(outcome.unwrap_err().unwrap().kind, "permission-denied");
    assert!(client.events.iter().any(|e| matches!(e, SyncEvent::Rejected { .. })));
    assert_eq!(client.kinds(), [PendingState::Rejected, PendingState::Sent]);
    // The second brings the attributes itself now.
    assert_eq!(client.ops(), ["transact"]);
    assert_eq!(attrs_of(&client.sent[0]).len(), 3);

    client.write();
    assert_eq!(client.disk.outbox.len(), 2);
    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    assert_eq!(again.kinds(), [PendingState::Rejected, PendingState::Queued]);
    let id = again.engine.pending(again.now)[0].id.clone();
    again.engine.dismiss(&id).unwrap();
    again.write();
    assert_eq!(again.disk.outbox.len(), 1);
}

#[test]
fn what_was_not_answered_is_sent_again_in_order_under_the_same_names_after_the_queries() {
    let (mut client, key, first) = one_sent();
    client.transact(todo(2, "two"));
    client.transact(todo(3, "three"));
    client.say(&ack(&first, 101));
    assert_eq!(client.ops(), ["transact", "transact"]);
    let names: Vec<Json> = client.sent.iter().map(|m| m["client-event-id"].clone()).collect();
    client.sent.clear();
    client.lose();
    assert_eq!(client.titles(&key), ["one", "two", "three"]);
    client.pass(30_000);
    assert_eq!(client.connects, 2);
    client.open_session();
    assert_eq!(client.ops(), ["add-query", "transact", "transact"]);
    let again: Vec<Json> = client.sent[1..].iter().map(|m| m["client-event-id"].clone()).collect();
    assert_eq!(again, names);
    assert_eq!(client.engine.pending(client.now)[1].attempts, 2);
}

#[test]
fn writes_made_offline_show_persist_and_leave_in_order() {
    let mut client = Client::new(1);
    client.lose();
    let key = client.subscribe(q());
    assert_eq!(client.shows(&key), json!({"todos": []}), "offline, what there is shows");
    client.transact(todo(1, "one"));
    client.transact(tx("todos", entity(1)).update(json!({"title": "uno"})));
    client.transact(todo(2, "two"));
    assert_eq!(client.titles(&key), ["uno", "two"]);
    client.write();
    assert_eq!(client.stored, [1, 2, 3]);
    assert_eq!(client.disk.outbox.len(), 3);

    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["uno", "two"], "a restart shows them at once");
    assert!(!again.engine.shown(&key).unwrap().is_complete());
    again.open_session();
    assert_eq!(again.ops(), ["add-query", "transact"]);
    let first = again.sent[1].clone();
    assert_eq!(first["client-event-id"], json!(client.disk.outbox[0].event.as_str()));
    again.sent.clear();
    again.say(&ack(&first, 101));
    assert_eq!(again.ops(), ["transact", "transact"]);
    // The update of what was visible is strict.
    assert_eq!(again.sent[0]["tx-steps"][0][4]["mode"], "update");
}

#[test]
fn confirmed_results_survive_a_restart_and_show_offline() {
    let (mut client, _, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.write();
    assert_eq!(client.disk.outbox, []);
    assert_eq!(client.disk.subscriptions.len(), 1);

    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    again.lose();
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["one"]);
    let shown = again.engine.shown(&key).unwrap();
    assert!(shown.is_complete());
    assert_eq!(shown.position(), TxId(101));
    let other = Query::try_from(json!({"todos": {"$": {"where": {"done": false}}}})).unwrap();
    let local = again.engine.query_local(again.now, &other).unwrap();
    assert_eq!(local.rows("todos").len(), 1);
    assert!(!local.is_complete());
}

#[test]
fn an_acknowledged_write_is_not_sent_again_after_a_restart() {
    let (mut client, _, transact) = one_sent();
    client.say(&ack(&transact, 101));
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    let mut again = Client::on(2, client.disk.clone(), client.engine.settings.clone());
    let key = again.subscribe(q());
    assert_eq!(again.titles(&key), ["one"]);
    again.open_session();
    assert_eq!(again.ops(), ["add-query"]);
}

#[test]
fn an_attribute_that_another_client_made_first_is_taken_over() {
    let (mut client, key, transact) = one_sent();
    // Somebody else made all three under other ids and wrote a todo.
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    for (n, attr) in attrs_of(&transact).into_iter().enumerate() {
        let mut other = attr;
        other["id"] =
            json!(uuid::Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n as u128));
        attrs.push(other);
    }
    client.say(&json!({"op": "error", "status": 400, "type": "record-not-unique",
        "message": "`title` already exists on `todos`",
        "hint": {"record-type": "ident", "etype": "todos", "label": "title"},
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    assert_eq!(client.titles(&key), ["one"], "it stays: the race is to be run again");
    assert!(client.sent.is_empty());
    client.say(
        &json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": []}),
    );
    assert_eq!(client.ops(), ["transact"]);
    assert_eq!(attrs_of(&client.sent[0]), Vec::<Json>::new());
    assert_ne!(client.sent[0]["client-event-id"], transact["client-event-id"]);
    assert!(client.sent[0]["tx-steps"][0][2].as_str().unwrap().starts_with("aaaa"));
    assert_eq!(client.titles(&key), ["one"]);
    let again = client.sent.remove(0);
    client.say(&ack(&again, 102));
    assert_eq!(client.settled, [(1, Ok(TxId(102)))], "the receipt is the first one's");
}

#[test]
fn a_write_that_contradicts_local_knowledge_is_refused_at_the_call() {
    let (mut client, key, _) = one_sent();
    let again = client.engine.transact(client.now, todo(1, "again").into_operations());
    assert!(matches!(again, Err(TransactError::Invalid(_))), "{again:?}");
    client.drain();
    assert_eq!(client.titles(&key), ["one"]);
    assert_eq!(client.kinds(), [PendingState::Sent]);
    assert!(matches!(client.engine.transact(client.now, Vec::new()), Err(TransactError::Empty)));
}

#[test]
fn failures_of_the_server_postpone_a_write_and_end_some_time() {
    let (mut client, key, transact) = one_sent();
    let failure = json!({"op": "error", "status": 500, "type": "operation-timed-out", "message": "slow",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}});
    let mut sends = 1;
    while client.settled.is_empty() {
        client.say(&failure);
        assert!(sends < 20, "an end");
        client.pass(40_000);
        sends += client.sent.len();
        assert!(client.sent.iter().all(|m| m["client-event-id"] == transact["client-event-id"]));
        client.sent.clear();
    }
    assert_eq!(sends, 9);
    assert_eq!(client.titles(&key), Vec::<String>::new());
    assert_eq!(client.kinds(), [PendingState::Rejected]);
}

#[test]
fn the_status_tells_the_connections_life() {
    use ConnectionStatus::{Authenticated, Closed, Connecting, Disabled, Errored, Opened};
    let mut client = Client::new(1);
    assert_eq!(client.engine.status(), Connecting);
    client.open_session();
    client.lose();
    client.pass(60_000);
    client.handle(Input::Connected);
    client.say(&json!({"op": "error", "status": 400, "type": "record-not-found",
        "message": "Record not found: app", "hint": {"record-type": "app"}, "original-event": {"op": "init"}}));
    assert!(matches!(client.events.last(), Some(SyncEvent::SessionRefused { error, .. })
        if error.kind == "record-not-found"));
    assert_eq!(client.closes, 1);
    // Long before the usual delay is over, nothing happens.
    client.pass(5_000);
    assert_eq!(client.connects, 2);
    client.engine.set_sync_enabled(false, client.now);
    client.drain();
    client.pass(600_000);
    assert_eq!(client.connects, 2, "disabled means quiet");
    client.engine.set_sync_enabled(true, client.now);
    client.drain();
    assert_eq!(client.connects, 3);
    client.engine.disconnect(client.now);
    client.drain();
    client.pass(600_000);
    let [lost, refused] =
        [[Opened, Authenticated, Closed, Connecting], [Opened, Errored, Disabled, Connecting]];
    assert_eq!(client.statuses, [&[Connecting][..], &lost, &refused, &[Closed]].concat());
}

#[test]
fn a_silent_server_and_malformed_frames_end_the_connection() {
    let mut client = Client::new(1);
    client.pass(15_000);
    assert_eq!(client.closes, 1, "no connection in time");
    client.pass(20_000);
    client.handle(Input::Connected);
    client.pass(15_000);
    assert_eq!(client.closes, 2, "no answer to init");
    client.pass(20_000);
    client.sent.clear();
    client.open_session();
    client.subscribe(q());
    client.pass(60_000);
    assert_eq!(client.closes, 3, "no answer to a query");
    client.pass(20_000);
    client.sent.clear();
    client.open_session();
    client.handle(Input::Frame(Frame::Text("{\"op\": \"refresh-ok\"}".into())));
    assert_eq!(client.closes, 4);
    client.say(&json!({"op": "of-tomorrow"}));
}

#[test]
fn unknown_messages_and_arrays_are_fine() {
    let mut client = Client::new(1);
    client.open_session();
    client.say(&json!([]));
    client.say(&json!([{"op": "of-tomorrow", "x": null}, {"op": "remove-query-ok", "q": q()}]));
    assert_eq!(client.engine.status(), ConnectionStatus::Authenticated);
}

#[test]
fn cancel_takes_back_only_what_was_never_sent() {
    let mut client = Client::new(1);
    client.lose();
    let key = client.subscribe(q());
    let one = client.transact(todo(1, "one"));
    let two = client.transact(todo(2, "two"));
    client.engine.cancel(client.now, &one.id).unwrap();
    client.drain();
    assert_eq!(client.titles(&key), ["two"]);
    assert_eq!(client.settled, [(one.seq, Err(None))]);
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.engine.cancel(client.now, &two.id), Err(QueueError::AlreadySent));
    assert_eq!(client.engine.cancel(client.now, &EventId::new("x")), Err(QueueError::Unknown));
    assert_eq!(client.engine.dismiss(&two.id), Err(QueueError::NotRejected));
}

#[test]
fn a_rejected_write_can_be_tried_again_under_a_new_name() {
    let (mut client, key, transact) = one_sent();
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "client-event-id": transact["client-event-id"], "original-event": {"op": "transact"}}));
    let id = client.engine.pending(client.now)[0].id.clone();
    let queued = client.engine.retry(client.now, &id).unwrap();
    client.drain();
    assert_ne!(queued.id, id);
    assert_eq!(client.kinds(), [PendingState::Sent]);
    assert_eq!(client.titles(&key), ["one"]);
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    assert_eq!(client.disk.outbox[0].event, queued.id);
}

#[test]
fn asking_once_needs_a_server_and_leaves_no_subscription() {
    let mut client = Client::new(1);
    client.lose();
    let query = Query::try_from(q()).unwrap();
    let offline = client.engine.query_once(client.now, &query);
    assert_eq!(offline, Err(QueryFailure::Offline));
    client.pass(60_000);
    client.engine.query_once(client.now, &query).unwrap();
    client.open_session();
    assert_eq!(client.ops(), ["add-query"]);
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 100}),
    );
    assert_eq!(client.answers.len(), 1);
    assert_eq!(client.answers[0].as_ref().unwrap().rows("todos").len(), 0);
    assert_eq!(client.ops(), ["add-query", "remove-query"]);
    assert!(client.results.is_empty());

    client.engine.query_once(client.now, &query).unwrap();
    client.drain();
    client.pass(30_000);
    assert!(matches!(client.answers[1], Err(QueryFailure::TimedOut { .. })));
    client.engine.query_once(client.now, &query).unwrap();
    client.drain();
    client.lose();
    assert!(matches!(client.answers[2], Err(QueryFailure::ConnectionLost)));
}

#[test]
fn a_refused_query_is_told_and_asked_again_with_the_next_connection() {
    let mut client = Client::new(1);
    client.open_session();
    client.subscribe(q());
    client.say(&json!({"op": "error", "status": 400, "type": "permission-denied", "message": "no",
        "original-event": {"op": "add-query", "q": q()}}));
    assert!(matches!(&client.results[0].1, Err(QueryFailure::Refused(e)) if e.message == "no"));
    client.sent.clear();
    client.lose();
    client.pass(60_000);
    client.open_session();
    assert_eq!(client.ops(), ["add-query"]);
}

#[test]
fn a_failed_refresh_makes_the_client_ask_again() {
    let (mut client, _, _) = one_sent();
    client.say(&json!({"op": "error", "status": 500, "type": "timeout", "message": "slow",
        "original-event": {"op": "refresh"}}));
    assert_eq!(client.ops(), ["remove-query", "add-query"]);
}

#[test]
fn an_older_result_does_not_replace_a_newer_one_within_a_session() {
    let (mut client, key, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.say(
        &json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 99}),
    );
    assert_eq!(client.titles(&key), ["one"]);
    // A new session may follow a restored backup: its word counts.
    client.lose();
    client.pass(60_000);
    client.open_session();
    client
        .say(&json!({"op": "add-query-ok", "q": q(), "result": result(&[]), "processed-tx-id": 7}));
    assert_eq!(client.titles(&key), Vec::<String>::new());
}

/// The conflicts told so far.
fn conflicts(client: &Client) -> Vec<(Option<Json>, Option<Json>, Winner)> {
    let told = client.events.iter().filter_map(|event| match event {
        SyncEvent::ConflictResolved(c) => Some((c.local.clone(), c.remote.clone(), c.winner)),
        _ => None,
    });
    told.collect()
}

/// A client that renamed a todo, and the result of its query with another title.
fn one_renamed() -> (Client, Json, impl Fn(&str) -> Json) {
    let (mut client, _, transact) = one_sent();
    let refresh = refresh(&client, &transact, 101);
    client.say(&refresh);
    client.say(&ack(&transact, 101));
    client.transact(tx("todos", entity(1)).update(json!({"title": "mine"})));
    let renamed = client.sent.pop().unwrap();
    let triples = triples_of(&transact, 1_700_000_000_500);
    let titled = move |title: &str| {
        let retitled = triples.iter().map(|triple| {
            let title = if triple[2] == "one" { json!(title) } else { triple[2].clone() };
            json!([triple[0], triple[1], title, triple[3]])
        });
        result(&retitled.collect::<Vec<_>>())
    };
    (client, renamed, titled)
}

fn refreshed(result: Json, tx: u64) -> Json {
    json!({"op": "refresh-ok", "processed-tx-id": tx,
        "computations": [{"instaql-query": q(), "instaql-result": result}]})
}

#[test]
fn a_write_that_overtakes_anothers_tells_both_values() {
    let (mut client, renamed, titled) = one_renamed();
    client.say(&refreshed(titled("theirs"), 102));
    assert_eq!(conflicts(&client), [], "not settled yet");
    client.say(&ack(&renamed, 103));
    let (mine, theirs) = (Some(json!("mine")), Some(json!("theirs")));
    assert_eq!(conflicts(&client), [(mine, theirs, Winner::Local)]);
    client.say(&refreshed(titled("mine"), 103));
    assert_eq!(conflicts(&client).len(), 1);
}

#[test]
fn a_write_that_is_overtaken_tells_both_values() {
    let (mut client, renamed, titled) = one_renamed();
    client.say(&ack(&renamed, 102));
    client.say(&refreshed(titled("theirs"), 103));
    let (mine, theirs) = (Some(json!("mine")), Some(json!("theirs")));
    assert_eq!(conflicts(&client), [(mine.clone(), theirs.clone(), Winner::Remote)]);
    // The same when the result is there before the acknowledgement.
    let (mut client, renamed, titled) = one_renamed();
    client.say(&refreshed(titled("theirs"), 103));
    client.say(&ack(&renamed, 102));
    assert_eq!(conflicts(&client), [(mine, theirs, Winner::Remote)]);
}

#[test]
fn own_writes_in_a_row_are_no_conflict() {
    let (mut client, renamed, titled) = one_renamed();
    client.transact(tx("todos", entity(1)).update(json!({"title": "mine again"})));
    let again = client.sent.pop().unwrap();
    client.say(&refreshed(titled("mine"), 102));
    client.say(&ack(&renamed, 102));
    client.say(&ack(&again, 103));
    client.say(&refreshed(titled("mine again"), 103));
    assert_eq!(conflicts(&client), []);
}

#[test]
fn a_result_that_comes_before_its_attributes_is_not_lost() {
    let (_, _, transact) = one_sent();
    let mut client = Client::new(5);
    client.open_session();
    let key = client.subscribe(q());
    let triples = triples_of(&transact, 1_700_000_000_500);
    client.say(&json!({"op": "add-query-ok", "q": q(), "result": result(&triples), "processed-tx-id": 101}));
    assert_eq!(client.titles(&key), Vec::<String>::new());
    let mut attrs = json!(client.engine.names.server()).as_array().unwrap().clone();
    attrs.extend(attrs_of(&transact));
    client.say(
        &json!({"op": "refresh-ok", "processed-tx-id": 101, "attrs": attrs, "computations": []}),
    );
    assert_eq!(client.titles(&key), ["one"]);
}

#[test]
fn a_storage_failure_is_told_and_tried_again() {
    let mut client = Client::new(1);
    client.lose();
    client.transact(todo(1, "one"));
    client.writing.take().unwrap();
    client.engine.handle(client.now, Input::CommitFailed { message: "disk full".into() });
    let mut failed = Vec::new();
    while let Some(output) = client.engine.poll_output(client.now) {
        match output {
            Output::Stored { seq, result } => failed.push((seq, result)),
            Output::Event(event) => client.events.push(event),
            Output::Persist(_) => panic!("tried again at once"),
            _ => {}
        }
    }
    assert_eq!(failed, [(1, Err("disk full".to_owned()))]);
    client.pass(1_000);
    let batch = client.writing.as_ref().unwrap();
    assert_eq!(batch.outbox.len(), 1);
    client.write();
    assert_eq!(client.disk.outbox.len(), 1);
    assert!(client.disk.key_values.iter().any(|(key, _)| key == "app"));
}

#[test]
fn a_database_of_another_app_is_not_opened() {
    let mut client = Client::new(1);
    client.write();
    let other = AppId::parse("99999999-2222-4333-8444-555555555555").unwrap();
    let restored = SyncEngine::new(Settings::new(other), client.disk, ids(3), Millis(0));
    assert!(matches!(restored, Err(RestoreError::OtherApp { .. })));
}

#[test]
fn results_without_a_watcher_are_kept_within_bounds() {
    let mut client = Client::new(1);
    client.engine.settings.kept_queries_max = 2;
    client.open_session();
    for n in 0..4 {
        let q = json!({"todos": {"$": {"limit": n + 1}}});
        let key = client.subscribe(q.clone());
        client.say(
            &json!({"op": "add-query-ok", "q": q, "result": result(&[]), "processed-tx-id": 100}),
        );
        client.now.0 += 1;
        client.engine.unsubscribe(client.now, &key);
        client.drain();
    }
    client.write();
    assert_eq!(client.disk.subscriptions.len(), 2);
    assert_eq!(client.engine.queries.len(), 2);
}

#[test]
fn two_lists_of_one_kind_both_show_a_change_at_once() {
    let mut server = server::Server::new();
    let mut link = simulation::Line::new(Client::new(1), 0);
    link.connect(&mut server);
    link.exchange(&mut server);
    let open = link.client.subscribe(json!({"todos": {"$": {"where": {"done": false}}}}));
    let done = link.client.subscribe(json!({"todos": {"$": {"where": {"done": true}}}}));
    link.client.transact(todo(1, "one"));
    link.exchange(&mut server);
    assert_eq!(link.client.titles(&open), ["one"]);
    link.client.transact(tx("todos", entity(1)).update(json!({"done": true})));
    assert_eq!(link.client.titles(&open), Vec::<String>::new());
    assert_eq!(link.client.titles(&done), ["one"], "before the server heard of it");
    link.client.results.clear();
    link.exchange(&mut server);
    assert_eq!(link.client.titles(&done), ["one"]);
    assert!(link.client.results.is_empty(), "{:?}", link.client.results);
}
