//! A client's process, its disk and its side of the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use tricedb_core::id::{AppId, TxId};
use tricedb_core::port::{Batch, Storage};
use tricedb_store::{MemoryDisk, MemoryStorage};
use tricedb_sync::{
    Input, Millis, OnceId, Output, PendingState, PendingTransaction, QueryResultSnapshot,
    RoomReport, Settings, SyncEngine, SyncEvent,
};

use super::{Event, World, millis, sanity};
use crate::network::{ConnId, frame_bytes};
use crate::plan::{ClientMode, Disk};
use crate::random::Random;
use crate::violation::{Violation, hold};

/// A client's machine: what is in memory and what is on the disk.
pub(super) struct Client {
    number: usize,
    mode: ClientMode,
    settings: Settings,
    seed: u64,
    disk: MemoryDisk,
    pub(super) health: Disk,
    pub(super) clock_ms: i64,
    pub(super) process: u64,
    pub(super) running: Option<Running>,
    /// Whether its program wants a connection.
    pub(super) is_wanted: bool,
    pub(super) reads: bool,
    /// The queries that its program watches.
    pub(super) watched: BTreeSet<usize>,
    attempts: u64,
    sessions: u64,
}

/// What a crash takes away.
pub(super) struct Running {
    pub(super) engine: SyncEngine,
    storage: MemoryStorage,
    pub(super) conn: Option<ConnId>,
    /// The attempt to connect that is under way.
    attempt: Option<u64>,
    writing: Option<Batch>,
    pub(super) once: BTreeMap<OnceId, u64>,
}

impl Client {
    pub(super) fn new(number: usize, mode: ClientMode, app: AppId, seed: u64) -> Self {
        Self {
            number,
            mode,
            settings: Settings::new(app),
            seed,
            disk: MemoryDisk::new(),
            health: Disk::Fine,
            clock_ms: 0,
            process: 0,
            running: None,
            is_wanted: true,
            reads: true,
            // Twins and accounts are always watched: they tell whether transactions are whole.
            watched: BTreeSet::from([0, 1, 2, 3 + number]),
            attempts: 0,
            sessions: 0,
        }
    }

    /// When it wants to hear of the time, in the world's.
    pub(super) fn deadline(&self) -> Option<u64> {
        let deadline = self.running.as_ref()?.engine.next_deadline()?;
        let began = millis(0, self.clock_ms);
        Some(u64::try_from(deadline.0.saturating_sub(began.0)).unwrap_or(0))
    }

    pub(super) fn is_parked(&self) -> bool {
        let Some(running) = &self.running else { return false };
        self.is_wanted
            && running.engine.status().is_offline()
            && running.engine.next_deadline().is_none()
    }

    fn start(&mut self, now: u64) -> Result<(), Violation> {
        self.process += 1;
        let storage = self.disk.open().map_err(|error| sanity(&error))?;
        let loaded = storage.load().now_or_never();
        let Some(Ok(snapshot)) = loaded else {
            return Err(sanity(&"a client's storage could not be read"));
        };
        let mut random = Random::new(&[self.seed, 3, self.number as u64, self.process]);
        let ids = Box::new(move || random.uuid());
        let engine = SyncEngine::new(
            settings(&self.settings, self.mode),
            snapshot,
            ids,
            millis(now, self.clock_ms),
        )
        .map_err(|error| sanity(&error))?;
        let once = BTreeMap::new();
        let running = Running { engine, storage, conn: None, attempt: None, writing: None, once };
        self.running = Some(running);
        Ok(())
    }
}

fn settings(settings: &Settings, mode: ClientMode) -> Settings {
    let mut settings = settings.clone();
    settings.native_sessions = mode == ClientMode::Native;
    settings
}

impl World {
    pub(super) fn start_client(&mut self, client: usize) -> Result<(), Violation> {
        if self.clients[client].running.is_some() {
            return Ok(());
        }
        let now = self.now;
        self.trace.note("client starts", now, client as u64, &[]);
        self.trace.tell(now, || format!("  client {client} starts"));
        let machine = &mut self.clients[client];
        machine.start(now)?;
        let at = millis(now, machine.clock_ms);
        let is_wanted = machine.is_wanted;
        let Some(running) = &mut machine.running else { return Ok(()) };
        let pending = running.engine.pending(at);
        self.judge.client_restarted(client, &pending)?;
        if !is_wanted {
            running.engine.disconnect(at);
        }
        for query in &machine.watched {
            running.engine.subscribe(at, &self.judge.history.queries()[*query]);
        }
        let watched: Vec<usize> = machine.watched.iter().copied().collect();
        self.begin_results(client, watched)
    }

    /// What was kept of queries shows at once, before the server says what is new.
    pub(super) fn begin_results(
        &mut self,
        client: usize,
        queries: Vec<usize>,
    ) -> Result<(), Violation> {
        for query in &queries {
            self.judge.begins(client, *query, TxId(u64::MAX));
        }
        self.drain(client)?;
        for (query, result) in self.shown(client) {
            if queries.contains(&query) {
                let kept = result.map_or(TxId(0), |result| result.position());
                self.judge.begins(client, query, kept);
            }
        }
        Ok(())
    }

    /// The process dies. What is under way to its disk is there or not.
    pub(super) fn crash_client(&mut self, client: usize, write_survives: bool) {
        let machine = &mut self.clients[client];
        let Some(running) = machine.running.take() else { return };
        let Running { storage, conn, writing, .. } = running;
        if let Some(batch) = writing.filter(|_| write_survives && machine.health != Disk::Full) {
            // A memory disk never waits, and takes every batch.
            let _ = storage.commit(batch).now_or_never();
        }
        drop(storage);
        self.judge.coverage.client_crashes += 1;
        self.judge.client_crashed(client);
        self.judge.rooms.crashed(client);
        if let Some(conn) = conn {
            let bytes = self.random.below(3_000) as usize;
            let late = if self.random.percent(30) { 15_000 } else { 0 };
            let mut lost = 0;
            if let Some(line) = self.net.get(conn) {
                line.client_open = false;
                lost = line.up.cut(bytes) + line.down.cut(0);
            }
            self.judge.coverage.frames_lost += lost;
            let at = self.now + late + 1_000;
            self.schedule(at, Event::ServerLost(conn));
        }
    }

    pub(super) fn client_now(&self, client: usize) -> Millis {
        millis(self.now, self.clients[client].clock_ms)
    }

    /// Tells a client's engine what happened, and does what it asks for.
    pub(super) fn tell(&mut self, client: usize, input: Input) -> Result<(), Violation> {
        let at = self.client_now(client);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        running.engine.handle(at, input);
        self.drain(client)
    }

    /// Does what a client's engine asks for.
    pub(super) fn drain(&mut self, client: usize) -> Result<(), Violation> {
        let at = self.client_now(client);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        let outputs: Vec<Output> = std::iter::from_fn(|| running.engine.poll_output(at)).collect();
        let pending = match outputs
            .iter()
            .any(|o| matches!(o, Output::Result { .. } | Output::Settled { .. }))
        {
            true => running.engine.pending(at),
            false => Vec::new(),
        };
        let mut was_rejected = false;
        for output in outputs {
            was_rejected |= matches!(output, Output::Settled { outcome: Err(_), .. });
            self.carry_out(client, output, &pending)?;
        }
        if was_rejected {
            self.nothing_taken_back_is_left(client, &pending)?;
        }
        Ok(())
    }

    fn carry_out(
        &mut self,
        client: usize,
        output: Output,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        let now = self.now;
        let who = client as u64;
        match output {
            Output::Connect => {
                let latency = self.latency() + 1;
                let machine = &mut self.clients[client];
                machine.attempts += 1;
                let attempt = machine.attempts;
                if let Some(running) = &mut machine.running {
                    running.attempt = Some(attempt);
                }
                self.schedule(now + latency, Event::Connect { client, attempt });
            }
            Output::Close => self.hang_up(client),
            Output::Send(frame) => {
                self.trace.note("send", now, who, frame_bytes(&frame));
                let latency = self.latency();
                let conn = self.clients[client].running.as_ref().and_then(|r| r.conn);
                let sent = conn.and_then(|conn| {
                    let line = self.net.get(conn)?;
                    Some((conn, line.up.send(frame, now + latency)?))
                });
                if let Some((conn, at)) = sent {
                    self.schedule(at, Event::Up(conn));
                }
            }
            Output::Persist(batch) => {
                let wait = match self.clients[client].health {
                    Disk::Slow => self.random.between(100, 1_000),
                    _ => self.random.between(0, 4),
                };
                let machine = &mut self.clients[client];
                let process = machine.process;
                if let Some(running) = &mut machine.running {
                    hold!(
                        running.writing.is_none(),
                        Sanity,
                        "client {client} writes twice at once"
                    );
                    running.writing = Some(batch);
                }
                self.schedule(now + wait, Event::ClientDisk { client, process });
            }
            Output::Result { query, result } => {
                let number =
                    self.judge.history.queries().iter().position(|q| q.canonical() == query);
                if let (Some(number), Ok(result)) = (number, result) {
                    self.trace.note(
                        "shows",
                        now,
                        who,
                        result.position().0.to_le_bytes().as_slice(),
                    );
                    self.judge.shows(client, number, &result, pending)?;
                }
            }
            Output::Answer { id, .. } => {
                if let Some(running) = &mut self.clients[client].running {
                    running.once.remove(&id);
                }
            }
            Output::Stored { seq, result: Ok(()) } => self.judge.stored(client, seq),
            Output::Stored { .. } => {}
            Output::Settled { seq, outcome } => {
                self.trace
                    .tell(now, || format!("  client {client}: {seq} is settled: {outcome:?}"));
                let outcome = outcome.as_ref();
                let outcome = outcome.copied().map_err(|e| e.as_ref().map(|e| &*e.message));
                self.judge.settled(client, seq, outcome)?;
            }
            Output::Room { id, report: RoomReport::Message(message) } => {
                self.judge.hears(client, &id, &message)?;
            }
            Output::Event(event) => self.note_event(client, &event),
            Output::Room { .. } | Output::Status(_) | Output::PendingChanged => {}
            // A newer kind of output: nothing of the simulation depends on it.
            _ => {}
        }
        Ok(())
    }

    fn note_event(&mut self, client: usize, event: &SyncEvent) {
        let now = self.now;
        match event {
            SyncEvent::Connected => {
                let machine = &mut self.clients[client];
                machine.sessions += 1;
                self.judge.coverage.reconnects += u64::from(machine.sessions > 1);
                self.trace.tell(now, || format!("  client {client} is connected"));
            }
            SyncEvent::Disconnected { reason, .. } => {
                self.trace.tell(now, || format!("  client {client} is disconnected: {reason}"));
            }
            SyncEvent::Postponed { error, .. } if error.kind == "record-not-unique" => {
                self.judge.coverage.attribute_races += 1;
            }
            SyncEvent::ConflictResolved(_) => self.judge.coverage.conflicts += 1,
            _ => {}
        }
    }

    /// The client ends its connection, or its attempt, by itself.
    fn hang_up(&mut self, client: usize) {
        let Some(running) = &mut self.clients[client].running else { return };
        running.attempt = None;
        let Some(conn) = running.conn.take() else { return };
        let latency = self.latency();
        let Some(line) = self.net.get(conn) else { return };
        line.client_open = false;
        line.down.cut(0);
        // What was sent arrives before the end does.
        let at = self.now + latency + 2_000;
        self.schedule(at, Event::ServerLost(conn));
    }

    pub(super) fn connect_ends(&mut self, client: usize, attempt: u64) -> Result<(), Violation> {
        let is_up = self.server.is_up();
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        if running.attempt != Some(attempt) {
            return Ok(());
        }
        running.attempt = None;
        if is_up {
            let conn = self.net.open(client);
            running.conn = Some(conn);
            self.server.meet(conn, client);
            return self.tell(client, Input::Connected);
        }
        let reason = "nobody listens".to_owned();
        self.tell(client, Input::Disconnected { reason, hopeless: false })
    }

    pub(super) fn arrives_at_client(&mut self, conn: ConnId) -> Result<(), Violation> {
        let now = self.now;
        loop {
            let Some(line) = self.net.get(conn) else { return Ok(()) };
            let client = line.client;
            if !line.client_open || !self.clients[client].reads {
                return Ok(());
            }
            let Some(frame) = line.down.receive(now) else { break };
            self.trace.note("receive", now, client as u64, frame_bytes(&frame));
            self.tell(client, Input::Frame(frame))?;
        }
        self.pump(conn)
    }

    pub(super) fn client_loses(&mut self, conn: ConnId) -> Result<(), Violation> {
        let Some(line) = self.net.get(conn).filter(|line| line.client_open) else { return Ok(()) };
        line.client_open = false;
        line.down.cut(0);
        line.up.cut(usize::MAX);
        let client = line.client;
        self.net.tidy(conn);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        if running.conn != Some(conn) {
            return Ok(());
        }
        running.conn = None;
        let reason = "the connection was cut".to_owned();
        self.tell(client, Input::Disconnected { reason, hopeless: false })
    }

    pub(super) fn client_write_ends(
        &mut self,
        client: usize,
        process: u64,
    ) -> Result<(), Violation> {
        let machine = &mut self.clients[client];
        let (health, is_it) = (machine.health, machine.process == process);
        let Some(running) = machine.running.as_mut().filter(|_| is_it) else { return Ok(()) };
        let Some(batch) = running.writing.take() else { return Ok(()) };
        let input = if health == Disk::Full {
            self.judge.coverage.client_disk_full += 1;
            Input::CommitFailed { message: "the disk is full".to_owned() }
        } else {
            let done = running.storage.commit(batch).now_or_never();
            hold!(matches!(done, Some(Ok(()))), Sanity, "a memory disk failed: {done:?}");
            Input::Committed
        };
        self.tell(client, input)
    }

    fn nothing_taken_back_is_left(
        &mut self,
        client: usize,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        for (query, result) in self.shown(client) {
            if let Some(result) = result {
                self.judge.still_shows(client, query, &result, pending)?;
            }
        }
        Ok(())
    }

    /// What a client's program sees at present.
    pub(super) fn shown(&self, client: usize) -> Vec<(usize, Option<Arc<QueryResultSnapshot>>)> {
        let machine = &self.clients[client];
        let Some(running) = &machine.running else { return Vec::new() };
        let queries = self.judge.history.queries();
        machine
            .watched
            .iter()
            .map(|query| (*query, running.engine.shown(&queries[*query].canonical())))
            .collect()
    }

    /// Whether a client has something to wait for.
    pub(super) fn is_client_busy(&self, client: usize) -> bool {
        let at = self.client_now(client);
        let machine = &self.clients[client];
        let Some(running) = &machine.running else { return true };
        let waits = |p: &PendingTransaction| p.state != PendingState::Rejected;
        !running.engine.status().is_online()
            || running.engine.results_due()
            || running.writing.is_some()
            || !running.once.is_empty()
            || running.engine.pending(at).iter().any(waits)
    }
}
