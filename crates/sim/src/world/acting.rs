//! Carrying out the actions of a plan.

use serde_json::json;
use tricedb_core::tx::{EntityKey, MissingAttrs, TxStep, parse_operations};
use tricedb_sync::{Input, PendingState, PendingTransaction};
use uuid::Uuid;

use super::server::{word, word_schema};
use super::{Event, World, sanity};
use crate::judge::{AdminEffect, RoomsJudge};
use crate::plan::{Action, AdminChange, Disk, Notice, Write, todo_id};
use crate::violation::{Violation, hold};

/// After how long a side notices a connection whose other end is silently gone.
const SILENCE_MS: u64 = 18_000;

impl World {
    pub(super) fn act(&mut self, action: &Action) -> Result<(), Violation> {
        let now = self.now;
        match *action {
            Action::Wait => Ok(()),
            Action::Write(client, tag, ref writes) => self.write(client, tag, writes),
            Action::Subscribe(client, query) => self.watch(client, query),
            Action::Unsubscribe(client, query) => self.unwatch(client, query),
            Action::Once(client, query) => self.once(client, query),
            Action::Cancel(_) | Action::Retry(_) | Action::Dismiss(_) => self.tidy_queue(action),
            Action::Disconnect(client) | Action::Connect(client) => {
                let at = self.client_now(client);
                let machine = &mut self.clients[client];
                machine.is_wanted = matches!(action, Action::Connect(_));
                let is_wanted = machine.is_wanted;
                let Some(running) = &mut machine.running else { return Ok(()) };
                match is_wanted {
                    true => running.engine.connect(at),
                    false => running.engine.disconnect(at),
                }
                self.drain(client)
            }
            Action::Cut { client, up_bytes, down_bytes, notice } => {
                self.cut(client, up_bytes, down_bytes, notice);
                Ok(())
            }
            Action::Reads(client, reads) => {
                self.clients[client].reads = reads;
                let conn = self.clients[client].running.as_ref().and_then(|r| r.conn);
                let arrived = conn.filter(|conn| {
                    self.net.get(*conn).is_some_and(|line| line.down.has_arrived(now))
                });
                if let Some(conn) = arrived.filter(|_| reads) {
                    self.schedule(now, Event::Down(conn));
                }
                Ok(())
            }
            Action::CrashClient { client, write_survives, restart_ms, clock_ms } => {
                if self.clients[client].running.is_some() {
                    self.crash_client(client, write_survives);
                    self.judge.coverage.clock_jumps += u64::from(clock_ms != 0);
                    self.clients[client].clock_ms += clock_ms;
                    self.schedule(now + restart_ms, Event::ClientStart(client));
                }
                Ok(())
            }
            Action::ClientDisk(client, disk) => {
                self.clients[client].health = disk;
                Ok(())
            }
            Action::CrashServer { batch_survives, restart_ms } => {
                if self.server.is_up() {
                    self.judge.coverage.server_crashes += 1;
                    self.crash_server(batch_survives)?;
                    self.schedule(now + restart_ms, Event::ServerStart);
                }
                Ok(())
            }
            Action::ServerDisk(disk) => {
                self.server.health = disk;
                Ok(())
            }
            Action::ServerClock(ms) => {
                self.judge.coverage.clock_jumps += 1;
                self.server.clock_ms += ms;
                Ok(())
            }
            Action::Admin(change) => self.administer(change),
            Action::Join(..) | Action::Leave(..) | Action::Show(..) | Action::Publish(..) => {
                self.use_room(action)
            }
            Action::Quiet => self.quiet(),
        }
    }

    fn write(&mut self, client: usize, tag: u32, writes: &[Write]) -> Result<(), Violation> {
        let at = self.client_now(client);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        let operations = writes.iter().flat_map(|write| write.operations(tag)).collect();
        // A write that contradicts what the client knows is refused at once, and nothing happened.
        let Ok(queued) = running.engine.transact(at, operations) else {
            return self.drain(client);
        };
        let pending = running.engine.pending(at);
        let decided = pending.iter().find(|p| p.id == queued.id).map(|p| p.operations.clone());
        hold!(decided.is_some(), OwnWrites, "a queued transaction is not listed");
        let sure = match writes {
            [one] => one.sure_title().map(|todo| (todo_id(todo), tag)),
            _ => None,
        };
        let name = queued.id.as_str().to_owned();
        self.judge.queued(client, (queued.seq, &name), decided.unwrap_or_default(), sure);
        self.drain(client)?;
        if let [Write::Upsert(n) | Write::Create(n, _, None)] = writes {
            // A deletion of it that is under way may be at odds with it: then the server decides.
            let is_alone = !pending.iter().any(|p| p.id != queued.id && writes_to(p, todo_id(*n)));
            if is_alone {
                self.is_seen_at_once(client, *n, tag)?;
            }
        }
        Ok(())
    }

    /// A new row, or a new title, is on the screen before the call returns.
    fn is_seen_at_once(&self, client: usize, todo: u32, tag: u32) -> Result<(), Violation> {
        let shown = self.shown(client);
        let Some((0, Some(all))) = shown.first() else { return Ok(()) };
        let (id, title) = (json!(todo_id(todo)), json!(format!("w{tag}")));
        let row = all.rows("todos").iter().find(|row| row["id"] == id);
        hold!(
            row.is_some_and(|row| row["title"] == title),
            OwnWrites,
            "client {client} wrote {title} and sees {row:?}"
        );
        Ok(())
    }

    fn watch(&mut self, client: usize, query: usize) -> Result<(), Violation> {
        let at = self.client_now(client);
        let machine = &mut self.clients[client];
        if machine.watched.insert(query)
            && let Some(running) = &mut machine.running
        {
            running.engine.subscribe(at, &self.judge.history.queries()[query]);
        }
        self.begin_results(client, vec![query])
    }

    fn unwatch(&mut self, client: usize, query: usize) -> Result<(), Violation> {
        let at = self.client_now(client);
        let machine = &mut self.clients[client];
        // Those that tell of whole transactions are always watched.
        if query > 2
            && machine.watched.remove(&query)
            && let Some(running) = &mut machine.running
        {
            let canonical = self.judge.history.queries()[query].canonical();
            running.engine.unsubscribe(at, &canonical);
        }
        self.drain(client)
    }

    fn once(&mut self, client: usize, query: usize) -> Result<(), Violation> {
        let (at, now) = (self.client_now(client), self.now);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        if let Ok(id) = running.engine.query_once(at, &self.judge.history.queries()[query]) {
            running.once.insert(id, now);
        }
        self.drain(client)
    }

    fn tidy_queue(&mut self, action: &Action) -> Result<(), Violation> {
        let (Action::Cancel(client) | Action::Retry(client) | Action::Dismiss(client)) = *action
        else {
            return Ok(());
        };
        let at = self.client_now(client);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        let pending = running.engine.pending(at);
        let rejected = pending.iter().find(|p| p.state == PendingState::Rejected);
        match (action, rejected) {
            (Action::Cancel(_), _) => {
                if let Some(newest) = pending.last().filter(|p| p.attempts == 0) {
                    // Refused if it was sent after all.
                    let _ = running.engine.cancel(at, &newest.id);
                }
            }
            (Action::Retry(_), Some(rejected)) => {
                if let Ok(queued) = running.engine.retry(at, &rejected.id) {
                    let pending = running.engine.pending(at);
                    let again = pending.iter().find(|p| p.id == queued.id);
                    let operations = again.map(|p| p.operations.clone()).unwrap_or_default();
                    let name = queued.id.as_str().to_owned();
                    self.judge.queued(client, (queued.seq, &name), operations, None);
                }
            }
            (Action::Dismiss(_), Some(rejected)) => {
                let done = running.engine.dismiss(&rejected.id);
                hold!(done.is_ok(), Sanity, "a rejected transaction cannot be dismissed");
            }
            _ => {}
        }
        self.drain(client)
    }

    fn cut(&mut self, client: usize, up_bytes: usize, down_bytes: usize, notice: Notice) {
        let Some(conn) = self.clients[client].running.as_ref().and_then(|r| r.conn) else { return };
        let Some(line) = self.net.get(conn) else { return };
        let lost = line.up.cut(up_bytes) + line.down.cut(down_bytes);
        self.judge.coverage.frames_lost += lost;
        self.judge.coverage.cuts += 1;
        self.judge.coverage.half_open += u64::from(notice != Notice::Both);
        let (soon, late) = (self.now + 1_000, self.now + SILENCE_MS);
        let (client_at, server_at) = match notice {
            Notice::Both => (soon, soon),
            Notice::Client => (soon, late),
            Notice::Server => (late, soon),
        };
        self.schedule(client_at, Event::ClientLost(conn));
        self.schedule(server_at, Event::ServerLost(conn));
    }

    fn administer(&mut self, change: AdminChange) -> Result<(), Violation> {
        let Some(app) = self.server.app() else { return Ok(()) };
        let now = super::wall(self.now, self.server.clock_ms);
        let steps = match change {
            AdminChange::Define(n) => {
                let schema =
                    tricedb_core::schema::parse(&word_schema(n)).map_err(|e| sanity(&e))?;
                let made = self.admin(None, |app, ticket| app.push_schema(ticket, &schema, now))?;
                self.judge.coverage.schema_changes += u64::from(made);
                return Ok(());
            }
            AdminChange::Drop(n) => {
                let found = app.index().catalog().forward("notes", &word(n)).map(|attr| attr.id);
                let Some(id) = found else { return Ok(()) };
                let effect = AdminEffect::DropAttr("notes".to_owned(), word(n));
                let made = self.admin(Some(effect), |app, ticket| {
                    app.admin_steps(ticket, &[TxStep::DeleteAttr(id)], now);
                })?;
                self.judge.coverage.schema_changes += u64::from(made);
                return Ok(());
            }
            AdminChange::Delete(n) => json!([["delete", "todos", todo_id(n)]]),
            AdminChange::Rename(n, tag) => {
                self.judge.admin_title(tag);
                json!([["update", "todos", todo_id(n), { "title": format!("w{tag}") }]])
            }
        };
        let parsed = parse_operations(&steps).map_err(|e| sanity(&e.message()))?;
        let effect = AdminEffect::Operations(parsed.operations);
        self.admin(Some(effect), |app, ticket| {
            app.admin_transact(ticket, &steps, MissingAttrs::Create, now);
        })?;
        Ok(())
    }

    fn use_room(&mut self, action: &Action) -> Result<(), Violation> {
        let (Action::Join(client, room, _)
        | Action::Leave(client, room)
        | Action::Show(client, room, _)
        | Action::Publish(client, room)) = *action
        else {
            return Ok(());
        };
        let at = self.client_now(client);
        let id = format!("room{room}").into();
        let is_in = self.judge.rooms.is_in(client, room);
        let Some(running) = &mut self.clients[client].running else { return Ok(()) };
        let engine = &mut running.engine;
        let done = match *action {
            Action::Join(_, _, n) if !is_in => {
                self.judge.rooms.shows(client, room, n);
                engine.join_room(at, "room", &id, RoomsJudge::presence(client, n))
            }
            Action::Leave(..) if is_in => {
                self.judge.rooms.left(client, room);
                engine.leave_room(at, &id);
                Ok(())
            }
            Action::Show(_, _, n) if is_in => {
                self.judge.rooms.shows(client, room, n);
                engine.set_presence(at, &id, RoomsJudge::presence(client, n))
            }
            Action::Publish(..) if is_in => {
                let told = self.judge.rooms.tells(client);
                engine.publish(at, &id, "topic", told)
            }
            _ => Ok(()),
        };
        hold!(done.is_ok(), Rooms, "client {client}: {action} failed: {done:?}");
        self.drain(client)
    }

    /// Heals everything that is ill.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.server.health = Disk::Fine;
        for client in 0..self.clients.len() {
            self.clients[client].health = Disk::Fine;
            self.act(&Action::Reads(client, true))?;
            self.act(&Action::Connect(client))?;
            self.tell(client, Input::Tick)?;
        }
        Ok(())
    }
}

/// Whether a transaction is about an entity.
fn writes_to(pending: &PendingTransaction, entity: Uuid) -> bool {
    pending.state != PendingState::Rejected
        && pending.operations.iter().any(|operation| match &operation.key {
            EntityKey::Id(id) => id.uuid() == entity,
            _ => true,
        })
}
