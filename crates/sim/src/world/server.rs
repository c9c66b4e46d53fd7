//! The server's process: the app's state, its side of the connections, and its disk.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tricedb_core::id::{SessionId, TxId};
use tricedb_core::port::Frame;
use tricedb_core::tx::{MissingAttrs, parse_operations};
use tricedb_protocol::ClientMessage;
use tricedb_server::app::{
    self, AppIdentity, AppLimits, AppState, OpenSession, Output, SessionKey, Ticket,
};
use tricedb_server::log::{EventKey, LogEntry, SnapshotImage};
use tricedb_server::session::{Opening, Step};
use uuid::Uuid;

use super::{Event, World, app_id, sanity, wall};
use crate::disks::LogDisk;
use crate::judge::AdminEffect;
use crate::network::{ConnId, frame_bytes};
use crate::plan::{self, Disk};
use crate::random::Random;
use crate::violation::{Violation, hold};

/// Bytes that a socket takes before its reader has read any.
const SOCKET_BYTES_MAX: usize = 3_000;

/// Failed appends in a row after which the app is given up and opened anew, as in the server's own task.
const FAILURES_MAX: u32 = 3;

/// The server's machine.
pub(super) struct Server {
    seed: u64,
    limits: AppLimits,
    log: LogDisk,
    pub(super) health: Disk,
    pub(super) clock_ms: i64,
    process: u64,
    running: Option<Running>,
}

/// What a crash takes away.
struct Running {
    app: AppState,
    peers: BTreeMap<ConnId, Peer>,
    by_session: BTreeMap<SessionKey, ConnId>,
    commands: VecDeque<LogCommand>,
    is_writing: bool,
    last_append_held: bool,
    failures: u32,
    /// Where it stands without a commit.
    base: TxId,
    ids: Random,
    tickets: u64,
    /// Large results that were encoded beside the app, in the order in which it gets them.
    encoded: VecDeque<app::Encoded>,
    /// When the process began, on the clock of rooms.
    began: u64,
}

struct Peer {
    client: usize,
    opening: Opening,
    session: Option<SessionKey>,
    native_client: Option<Uuid>,
    /// Frames that the socket has not taken.
    outlet: VecDeque<Frame>,
    owed: usize,
    is_congested: bool,
    /// Messages that wait until their answers have room.
    backlog: VecDeque<ClientMessage>,
}

enum LogCommand {
    Append { expected: TxId, entries: Arc<[LogEntry]> },
    Snapshot { position: TxId, image: SnapshotImage },
}

impl Server {
    pub(super) fn new(seed: u64, outbound_bytes_max: usize) -> Self {
        let limits =
            AppLimits { outbound_bytes_max, snapshot_changes_min: 60, ..AppLimits::default() };
        Self {
            seed,
            limits,
            log: LogDisk::new(1),
            health: Disk::Fine,
            clock_ms: 0,
            process: 0,
            running: None,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn rooms_deadline(&self) -> Option<u64> {
        let running = self.running.as_ref()?;
        let at = running.app.rooms_deadline()?;
        Some(running.began + u64::try_from(at.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX))
    }

    /// A client has connected.
    pub(super) fn meet(&mut self, conn: ConnId, client: usize) {
        let peer = Peer {
            client,
            opening: Opening::default(),
            session: None,
            native_client: None,
            outlet: VecDeque::new(),
            owed: 0,
            is_congested: false,
            backlog: VecDeque::new(),
        };
        if let Some(running) = &mut self.running {
            running.peers.insert(conn, peer);
        }
    }

    /// Whether everything is durable and on its way.
    pub(super) fn is_settled(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.app.is_settled()
                && running.commands.is_empty()
                && running.encoded.is_empty()
                && running.peers.values().all(|p| p.outlet.is_empty() && p.backlog.is_empty())
        })
    }

    pub(super) fn app(&self) -> Option<&AppState> {
        self.running.as_ref().map(|running| &running.app)
    }
}

impl World {
    fn server_wall(&self) -> i64 {
        wall(self.now, self.server.clock_ms)
    }

    pub(super) fn start_server(&mut self) -> Result<(), Violation> {
        if self.server.running.is_some() {
            return Ok(());
        }
        let at = self.server_wall();
        let server = &mut self.server;
        server.process += 1;
        let loaded = server.log.load();
        if loaded.position > TxId(0) {
            self.judge.server_loaded(&loaded)?;
        }
        self.trace.note("server starts", self.now, server.process, &[]);
        self.trace.tell(self.now, || format!("  the server starts at {}", loaded.position));
        let mut random = Random::new(&[server.seed, 4, server.process]);
        let ids = Random::new(&[server.seed, 5, server.process]);
        let identity = AppIdentity { id: app_id(), title: "simulated".into() };
        let ids_of_app = Box::new(move || random.uuid());
        let app = AppState::new(identity, server.limits.clone(), loaded, false, ids_of_app, at);
        server.running = Some(Running {
            base: app.position(),
            app,
            peers: BTreeMap::new(),
            by_session: BTreeMap::new(),
            commands: VecDeque::new(),
            is_writing: false,
            last_append_held: true,
            failures: 0,
            ids,
            tickets: 0,
            encoded: VecDeque::new(),
            began: self.now,
        });
        Ok(())
    }

    /// The app gets its schema and its first data, durably.
    pub(super) fn found(&mut self) -> Result<(), Violation> {
        let schema = tricedb_core::schema::parse(&plan::schema()).map_err(|e| sanity(&e))?;
        let now = self.server_wall();
        self.admin(None, |app, ticket| app.push_schema(ticket, &schema, now))?;
        let steps = plan::beginning();
        let parsed = parse_operations(&steps).map_err(|e| sanity(&e.message()))?;
        let effect = AdminEffect::Operations(parsed.operations);
        self.admin(Some(effect), |app, ticket| {
            app.admin_transact(ticket, &steps, MissingAttrs::Refuse, now);
        })?;
        self.run_until(self.now + 100)?;
        hold!(self.judge.history.newest() == 2, Sanity, "the app could not be founded");
        Ok(())
    }

    /// The administrator calls; `effect` is what a commit of it would do.
    pub(super) fn admin(
        &mut self,
        effect: Option<AdminEffect>,
        call: impl FnOnce(&mut AppState, Ticket),
    ) -> Result<bool, Violation> {
        let Some(running) = &mut self.server.running else { return Ok(false) };
        running.tickets += 1;
        let before = running.app.position();
        call(&mut running.app, Ticket(running.tickets));
        let after = running.app.position();
        if let Some(effect) = effect.filter(|_| after > before) {
            self.judge.admin.insert(after, effect);
        }
        self.server_turn()?;
        Ok(after > before)
    }

    pub(super) fn crash_server(&mut self, batch_survives: bool) -> Result<(), Violation> {
        let Some(running) = self.server.running.take() else { return Ok(()) };
        if let Some(LogCommand::Append { expected, entries }) = running.commands.front() {
            if batch_survives && self.server.health != Disk::Full {
                self.judge.coverage.batches_survived += 1;
                self.server.log.append(*expected, entries).map_err(|e| sanity(&e))?;
                self.judge.durable(entries)?;
            } else {
                self.judge.coverage.batches_lost += 1;
            }
        }
        self.forget_lost_commits();
        for conn in self.net.at_server() {
            let (bytes, late) = (self.random.below(3_000) as usize, self.random.percent(20));
            let mut lost = 0;
            if let Some(line) = self.net.get(conn) {
                line.server_open = false;
                lost = line.down.cut(bytes) + line.up.cut(0);
            }
            self.net.tidy(conn);
            self.judge.coverage.frames_lost += lost;
            self.judge.coverage.half_open += u64::from(late);
            let at = self.now + if late { 20_000 } else { 1_000 };
            self.schedule(at, Event::ClientLost(conn));
        }
        Ok(())
    }

    fn forget_lost_commits(&mut self) {
        let durable = self.judge.history.position();
        self.judge.admin.retain(|position, _| *position <= durable);
    }

    pub(super) fn arrives_at_server(&mut self, conn: ConnId) -> Result<(), Violation> {
        let now = self.now;
        loop {
            let Some(line) = self.net.get(conn) else { return Ok(()) };
            if !line.server_open {
                return Ok(());
            }
            let Some(frame) = line.up.receive(now) else { break };
            self.trace.note("server receives", now, conn.0, frame_bytes(&frame));
            if let Frame::Text(text) = frame {
                self.server_receives(conn, &text);
            }
            self.server_turn()?;
        }
        Ok(())
    }

    fn server_receives(&mut self, conn: ConnId, text: &str) {
        let at = self.server_wall();
        let Some(running) = &mut self.server.running else { return };
        let Some(peer) = running.peers.get_mut(&conn) else { return };
        match peer.opening.receive(text) {
            Step::Reply(frame) => {
                peer.owed += frame.len();
                peer.outlet.push_back(to_port(&frame));
            }
            Step::Open(init) => {
                let open = OpenSession {
                    id: SessionId(running.ids.uuid()),
                    features: init.versions.features(),
                    is_admin: false,
                    event: init.client_event_id.clone(),
                    native: init.native.clone(),
                };
                peer.native_client = init.native.as_ref().map(|offer| offer.client);
                // Refused only beyond more sessions than any plan has.
                let Ok(session) = running.app.open_session(open, at) else { return };
                peer.opening.opened();
                peer.session = Some(session);
                running.by_session.insert(session, conn);
            }
            Step::Forward(message) => {
                if let ClientMessage::Transact(transact) = &message {
                    let event = transact.client_event_id.clone();
                    let key = match (transact.seq, peer.native_client) {
                        (Some(seq), Some(client)) => Some(EventKey {
                            user: Some(format!("client:{}", client.hyphenated())),
                            event: tricedb_core::id::EventId::new(seq.to_string()),
                        }),
                        _ => event.clone().map(|event| EventKey { user: None, event }),
                    };
                    if let Some(key) = key {
                        let seq = transact.seq.or_else(|| order_of(text));
                        let event = event.map_or_else(String::new, |e| e.as_str().to_owned());
                        self.judge.received(peer.client, seq, key, &event);
                    }
                }
                let Some(session) = peer.session else { return };
                let waits = running.app.queued_bytes(session) + peer.owed;
                if waits > self.server.limits.outbound_bytes_max || !peer.backlog.is_empty() {
                    peer.backlog.push_back(message);
                    if !std::mem::replace(&mut peer.is_congested, true) {
                        self.judge.coverage.conflations += 1;
                        running.app.pause(session);
                    }
                } else {
                    running.app.message(session, message, at);
                }
            }
        }
    }

    /// Ends a round of the server: what it has to say goes to the sockets and to the disk.
    pub(super) fn server_turn(&mut self) -> Result<(), Violation> {
        loop {
            let now = self.now;
            let Some(running) = &mut self.server.running else { return Ok(()) };
            let mut encodings = 0;
            running.app.seal();
            if running.app.rooms_deadline().is_some() {
                running.app.tell_rooms(Duration::from_millis(now - running.began));
            }
            while let Some(output) = running.app.poll() {
                match output {
                    Output::Send { session, frame } => {
                        if let Some(text) = frame.text() {
                            self.judge.leaves_server(text, running.base)?;
                        }
                        let Some(conn) = running.by_session.get(&session) else { continue };
                        let Some(peer) = running.peers.get_mut(conn) else { continue };
                        peer.owed += frame.len();
                        peer.outlet.push_back(to_port(&frame));
                        let is_much = peer.owed > self.server.limits.outbound_bytes_max;
                        if is_much && !std::mem::replace(&mut peer.is_congested, true) {
                            self.judge.coverage.conflations += 1;
                            running.app.pause(session);
                        }
                    }
                    Output::Answer { .. } => {}
                    Output::Encode(job) => {
                        running.encoded.push_back(job.run());
                        encodings += 1;
                    }
                    Output::Append { expected, entries } => {
                        running.commands.push_back(LogCommand::Append { expected, entries });
                    }
                    Output::Snapshot { position, image } => {
                        running.commands.push_back(LogCommand::Snapshot { position, image });
                    }
                }
            }
            for _ in 0..encodings {
                let (process, wait) = (self.server.process, self.random.below(10));
                self.schedule(now + wait, Event::ServerEncoded { process });
            }
            self.write_next();
            let mut goes_on = false;
            for conn in self.net.at_server() {
                goes_on |= self.fill_socket(conn);
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Begins the next write to the log, if none is under way.
    fn write_next(&mut self) {
        let wait = match self.server.health {
            Disk::Slow => self.random.between(100, 1_000),
            _ => self.random.between(0, 6),
        };
        let process = self.server.process;
        let Some(running) = &mut self.server.running else { return };
        if !running.is_writing && !running.commands.is_empty() {
            running.is_writing = true;
            self.schedule(self.now + wait, Event::ServerDisk { process });
        }
    }

    pub(super) fn server_write_ends(&mut self, process: u64) -> Result<(), Violation> {
        if self.server.process != process {
            return Ok(());
        }
        let health = self.server.health;
        let Some(running) = &mut self.server.running else { return Ok(()) };
        running.is_writing = false;
        let is_append = matches!(running.commands.front(), Some(LogCommand::Append { .. }));
        if is_append && health == Disk::InDoubt {
            // Nobody knows: the app is opened anew from what is there.
            self.server.health = Disk::Fine;
            self.judge.coverage.in_doubt += 1;
            let survives = self.random.percent(50);
            self.crash_server(survives)?;
            self.schedule(self.now + 10, Event::ServerStart);
            return Ok(());
        }
        let Some(command) = running.commands.pop_front() else { return Ok(()) };
        match command {
            LogCommand::Append { .. } if health == Disk::Full => {
                self.judge.coverage.server_disk_full += 1;
                self.judge.coverage.server_rollbacks += 1;
                running.last_append_held = false;
                running.failures += 1;
                let is_hopeless = running.failures >= FAILURES_MAX;
                self.trace.tell(self.now, || "  the server's disk is full".to_owned());
                running.app.flush_failed();
                self.forget_lost_commits();
                if is_hopeless {
                    self.server_turn()?;
                    self.crash_server(false)?;
                    self.schedule(self.now + 500, Event::ServerStart);
                    return Ok(());
                }
            }
            LogCommand::Append { expected, entries } => {
                running.last_append_held = true;
                running.failures = 0;
                self.server.log.append(expected, &entries).map_err(|e| sanity(&e))?;
                self.trace.note("durable", self.now, self.server.log.position().0, &[]);
                self.judge.durable(&entries)?;
                running.app.flushed();
            }
            LogCommand::Snapshot { position, image } => {
                if running.last_append_held && health != Disk::Full {
                    self.judge.coverage.snapshots += 1;
                    self.server.log.snapshot(position, &image);
                }
            }
        }
        self.server_turn()
    }

    /// A large result is encoded.
    pub(super) fn server_has_encoded(&mut self, process: u64) -> Result<(), Violation> {
        if self.server.process == process
            && let Some(running) = &mut self.server.running
            && let Some(encoded) = running.encoded.pop_front()
        {
            running.app.encoded(encoded);
        }
        self.server_turn()
    }

    /// Moves frames to the socket as far as it takes them. Whether the app has something to do then.
    fn fill_socket(&mut self, conn: ConnId) -> bool {
        let (at, latency) = (self.server_wall(), self.latency());
        let Some(running) = &mut self.server.running else { return false };
        let Some(peer) = running.peers.get_mut(&conn) else { return false };
        let Some(line) = self.net.get(conn) else { return false };
        let mut arrivals = Vec::new();
        while let Some(frame) = peer.outlet.front() {
            let size = frame_bytes(frame).len();
            if line.down.bytes() > 0 && line.down.bytes() + size > SOCKET_BYTES_MAX {
                break;
            }
            let Some(frame) = peer.outlet.pop_front() else { break };
            peer.owed -= size;
            self.trace.note("server sends", self.now, conn.0, frame_bytes(&frame));
            arrivals.extend(line.down.send(frame, self.now + latency));
        }
        let limit = self.server.limits.outbound_bytes_max;
        let mut goes_on = false;
        if let Some(session) = peer.session {
            if peer.is_congested && peer.owed <= limit / 2 {
                peer.is_congested = false;
                running.app.resume(session);
                goes_on = true;
            }
            while peer.owed + running.app.queued_bytes(session) <= limit {
                let Some(message) = peer.backlog.pop_front() else { break };
                running.app.message(session, message, at);
                goes_on = true;
            }
        }
        for at in arrivals {
            self.schedule(at, Event::Down(conn));
        }
        goes_on
    }

    /// A reader has read: its socket takes more.
    pub(super) fn pump(&mut self, conn: ConnId) -> Result<(), Violation> {
        if self.fill_socket(conn) { self.server_turn() } else { Ok(()) }
    }

    pub(super) fn server_loses(&mut self, conn: ConnId) -> Result<(), Violation> {
        let Some(line) = self.net.get(conn).filter(|line| line.server_open) else { return Ok(()) };
        line.server_open = false;
        line.up.cut(0);
        self.net.tidy(conn);
        let Some(running) = &mut self.server.running else { return Ok(()) };
        if let Some(session) = running.peers.remove(&conn).and_then(|peer| peer.session) {
            running.by_session.remove(&session);
            running.app.close_session(session);
        }
        self.server_turn()
    }
}

/// The number that a client gives its transactions in plain sessions too; the server does not read it.
fn order_of(text: &str) -> Option<u64> {
    let json: Json = serde_json::from_str(text).ok()?;
    json.get("order")?.as_u64()
}

fn to_port(frame: &app::Frame) -> Frame {
    match frame {
        app::Frame::Text(text) => Frame::Text(text.to_string()),
        app::Frame::Binary(bytes) => Frame::Binary(bytes.to_vec()),
    }
}

/// The label of a word's attribute.
pub(super) fn word(n: u8) -> String {
    format!("word{n}")
}

/// A schema that defines one word.
pub(super) fn word_schema(n: u8) -> Json {
    serde_json::json!({ "entities": { "notes": { "attrs": {
        word(n): { "valueType": "string", "required": false,
            "config": { "unique": false, "indexed": false } },
    }}}})
}
