//! An app driven by hand: the test is its clock, its sockets and its log.

mod attr_limit;
mod durability;
mod flushes;
mod native;
mod presence;
mod refreshes;
mod schema_jobs;
mod status;
mod task;

use std::collections::HashMap;

use serde_json::{Value as Json, json};
use tricedb_core::id::{AppId, SessionId, TxId};
use tricedb_core::query::Inference;
use tricedb_core::tx::MissingAttrs;
use tricedb_protocol::{ClientMessage, ErrorBody, Features, ServerMessage};
use uuid::Uuid;

use super::*;
use crate::log::{LoadedLog, LogEntry};

/// 2023-11-14, in milliseconds.
const NOW: i64 = 1_700_000_000_000;

struct Harness {
    state: AppState,
    now: i64,
    /// Batches given out and not yet flushed; at most one.
    appended: Vec<Vec<LogEntry>>,
    frames: HashMap<SessionKey, Vec<Frame>>,
    answers: HashMap<Ticket, Result<Answer, ErrorBody>>,
    snapshots: usize,
    tickets: u64,
    /// Encodings that were asked for and not done.
    jobs: Vec<EncodeJob>,
}

fn ids() -> Box<dyn tricedb_core::id::IdSource + Send> {
    let mut n = 0_u128;
    Box::new(move || {
        n += 1;
        Uuid::from_u128(0xf00d << 64 | n)
    })
}

fn id(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

impl Harness {
    /// An app that writes to a log.
    fn logged() -> Self {
        Self::with(AppLimits::default(), LoadedLog::default(), false)
    }

    /// An app for which everything is durable at once.
    fn volatile() -> Self {
        Self::with(AppLimits::default(), LoadedLog::default(), true)
    }

    fn with(limits: AppLimits, loaded: LoadedLog, is_volatile: bool) -> Self {
        let identity = AppIdentity { id: AppId(Uuid::from_u128(1)), title: "test".into() };
        Self {
            state: AppState::new(identity, limits, loaded, is_volatile, ids(), NOW),
            now: NOW,
            appended: Vec::new(),
            frames: HashMap::new(),
            answers: HashMap::new(),
            snapshots: 0,
            tickets: 0,
            jobs: Vec::new(),
        }
    }

    fn settle(&mut self) {
        self.state.seal();
        while let Some(output) = self.state.poll() {
            match output {
                Output::Send { session, frame } => {
                    self.frames.entry(session).or_default().push(frame);
                }
                Output::Answer { ticket, answer } => {
                    assert!(self.answers.insert(ticket, answer).is_none());
                }
                Output::Append { entries, .. } => {
                    assert!(self.appended.is_empty(), "one batch at a time");
                    self.appended.push(entries.to_vec());
                }
                Output::Encode(job) => self.jobs.push(*job),
                Output::Snapshot { .. } => self.snapshots += 1,
            }
        }
    }

    /// Does the encodings that were asked for.
    fn encode(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            self.state.encoded(job.run());
        }
        self.settle();
    }

    /// The log says that the batch is durable; gives the batch.
    fn flush(&mut self) -> Vec<LogEntry> {
        let batch = self.appended.pop().expect("a batch is in flight");
        self.state.flushed();
        self.settle();
        batch
    }

    fn fail_flush(&mut self) {
        self.appended.pop().expect("a batch is in flight");
        self.state.flush_failed();
        self.settle();
    }

    fn flush_all(&mut self) {
        while !self.appended.is_empty() {
            self.flush();
        }
    }

    fn open_with(&mut self, features: Features) -> SessionKey {
        let id = SessionId(Uuid::from_u128(u128::from(self.state.session_count() as u64 + 1)));
        let open = OpenSession { id, features, is_admin: false, event: None, native: None };
        let session = self.state.open_session(open, self.now).unwrap();
        self.settle();
        session
    }

    /// A session of a present-day client whose `init-ok` has come.
    fn open(&mut self) -> SessionKey {
        let session = self.open_with(Features::of("1.0.67"));
        self.flush_all();
        assert_eq!(self.ops(session), ["init-ok"]);
        self.take(session);
        session
    }

    fn send(&mut self, session: SessionKey, message: &Json) {
        let message = ClientMessage::decode(&message.to_string()).unwrap();
        self.state.message(session, message, self.now);
        self.settle();
    }

    fn add_query(&mut self, session: SessionKey, q: &Json) {
        self.send(session, &json!({"op": "add-query", "q": q, "client-event-id": "q"}));
    }

    fn transact(&mut self, session: SessionKey, event: &str, steps: &Json) {
        let message = json!({"op": "transact", "tx-steps": steps, "client-event-id": event});
        self.send(session, &message);
    }

    fn take_frames(&mut self, session: SessionKey) -> Vec<Frame> {
        self.frames.remove(&session).unwrap_or_default()
    }

    fn take(&mut self, session: SessionKey) -> Vec<ServerMessage> {
        let frames = self.take_frames(session);
        frames.iter().map(read).collect()
    }

    /// The ops of what a session was sent and the test has not taken.
    fn ops(&self, session: SessionKey) -> Vec<String> {
        let frames = self.frames.get(&session).map_or(&[][..], Vec::as_slice);
        frames.iter().map(|frame| read(frame).op().to_owned()).collect()
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn admin(&mut self, steps: &Json) -> Ticket {
        let ticket = self.ticket();
        self.state.admin_transact(ticket, steps, MissingAttrs::Create, self.now);
        self.settle();
        ticket
    }

    /// Runs admin steps that must be accepted, and makes them durable.
    fn seed(&mut self, steps: &Json) -> TxId {
        let ticket = self.admin(steps);
        self.flush_all();
        match self.answers.remove(&ticket).unwrap() {
            Ok(Answer::Committed(position)) => position,
            other => panic!("{other:?}"),
        }
    }

    fn tree(&mut self, query: &Json) -> Json {
        let ticket = self.ticket();
        self.state.admin_query(ticket, query, Inference::Arrays);
        self.settle();
        self.flush_all();
        match self.answers.remove(&ticket).unwrap() {
            Ok(Answer::Tree(tree)) => tree,
            other => panic!("{other:?}"),
        }
    }

    fn attr(&self, etype: &str, label: &str) -> String {
        self.state.index().catalog().forward(etype, label).unwrap().id.to_string()
    }

    /// The steps of a client that sets a title.
    fn set_title(&self, n: u32, title: &str) -> Json {
        let (id_attr, title_attr) = (self.attr("todos", "id"), self.attr("todos", "title"));
        json!([["add-triple", id(n), id_attr, id(n)], ["add-triple", id(n), title_attr, title]])
    }

    /// Todo `n` must exist before; fails otherwise.
    fn update_title(&self, n: u32, title: &str) -> Json {
        let title_attr = self.attr("todos", "title");
        json!([["add-triple", id(n), title_attr, title, {"mode": "update"}]])
    }
}

/// Two todos.
fn todos() -> Json {
    json!([["create", "todos", id(1), {"title": "one"}], ["create", "todos", id(2), {"title": "two"}]])
}

fn titles(message: &ServerMessage) -> Vec<String> {
    let answer = match message {
        ServerMessage::AddQueryOk(ok) => &ok.result,
        ServerMessage::RefreshOk(ok) => &ok.computations[0].instaql_result,
        other => panic!("{other:?} has no result"),
    };
    let mut titles: Vec<String> =
        answer.triples().filter_map(|t| Some(t.value.as_str()?.to_owned())).collect();
    titles.retain(|text| text.len() != 36);
    titles.sort();
    titles
}

fn tx_id(message: &ServerMessage) -> TxId {
    match message {
        ServerMessage::TransactOk(ok) => ok.tx_id,
        other => panic!("{other:?}"),
    }
}

fn error(message: &ServerMessage) -> &tricedb_protocol::ErrorMessage {
    match message {
        ServerMessage::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

/// The message of a text frame.
fn read(frame: &Frame) -> ServerMessage {
    ServerMessage::decode(frame.text().unwrap()).unwrap()
}
