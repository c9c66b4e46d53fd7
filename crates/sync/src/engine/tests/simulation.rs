//! Several clients, one server, connections that break at any moment; all from a seed.

use serde_json::json;
use tricedb_core::tx::{UpdateMode, tx};

use super::server::{Server, Session};
use super::*;

/// A client and its connection.
pub(super) struct Line {
    pub(super) client: Client,
    id: usize,
    connected: bool,
    /// Messages on their way to the server.
    upstream: Vec<Json>,
    downstream: Vec<String>,
    asked: usize,
}

impl Line {
    pub(super) fn new(client: Client, id: usize) -> Self {
        Self {
            client,
            id,
            connected: false,
            upstream: Vec::new(),
            downstream: Vec::new(),
            asked: 0,
        }
    }

    pub(super) fn connect(&mut self, server: &mut Server) {
        assert!(self.client.connects > self.asked, "the client did not ask");
        self.asked = self.client.connects;
        server.sessions.insert(self.id, Session::default());
        self.connected = true;
        self.client.handle(Input::Connected);
    }

    fn cut(&mut self, server: &mut Server) {
        self.forget(server);
        self.client.lose();
    }

    fn forget(&mut self, server: &mut Server) {
        server.sessions.remove(&self.id);
        self.connected = false;
        self.upstream.clear();
        self.downstream.clear();
        self.client.sent.clear();
    }

    /// Lets time pass; the client may give the connection up, or ask for one.
    fn pass(&mut self, ms: i64, server: &mut Server) {
        if !self.connected && self.client.connects > self.asked {
            self.connect(server);
        }
        let closes = self.client.closes;
        self.client.pass(ms);
        if self.client.closes > closes {
            self.forget(server);
        }
        if !self.connected && self.client.connects > self.asked {
            self.connect(server);
        }
    }

    fn upload_one(&mut self, server: &mut Server) {
        self.upstream.append(&mut self.client.sent);
        if !self.upstream.is_empty() {
            let message = self.upstream.remove(0);
            server.receive(self.id, &message.to_string());
        }
    }

    fn download_one(&mut self, server: &mut Server) {
        if let Some(session) = server.sessions.get_mut(&self.id) {
            self.downstream.append(&mut session.outbox);
        }
        if !self.downstream.is_empty() {
            let text = self.downstream.remove(0);
            self.client.handle(Input::Frame(Frame::Text(text)));
        }
    }

    fn is_idle(&self, server: &Server) -> bool {
        self.upstream.is_empty()
            && self.downstream.is_empty()
            && self.client.sent.is_empty()
            && server.sessions.get(&self.id).is_none_or(|session| session.outbox.is_empty())
    }

    /// Carries everything both ways.
    pub(super) fn exchange(&mut self, server: &mut Server) {
        while !self.is_idle(server) {
            self.upload_one(server);
            self.download_one(server);
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn queries() -> Vec<Json> {
    vec![
        json!({"todos": {}}),
        json!({"todos": {"$": {"where": {"done": false}}}}),
        json!({"todos": {"tags": {}}}),
        json!({"tags": {"todos": {}}}),
    ]
}

fn write(line: &mut Line, random: &mut Random, created: &mut Vec<uuid::Uuid>) {
    let one = entity(u128::from(random.below(12)));
    let tag = entity(100 + u128::from(random.below(3)));
    let title = format!("t{}", random.below(1000));
    let builder = match random.below(8) {
        0 | 1 => {
            let fresh = entity(1_000 + (line.id as u128) * 100_000 + created.len() as u128);
            created.push(fresh);
            tx("todos", fresh).create(json!({"title": title, "done": false}))
        }
        2 => tx("todos", one).update(json!({"title": title})),
        3 => {
            tx("todos", one).update_with(json!({"done": random.below(2) == 0}), UpdateMode::Upsert)
        }
        4 => tx("todos", one).merge(json!({"meta": {title.as_str(): random.below(10)}})),
        5 => tx("tags", tag).update(json!({"name": title})).link("todos", one),
        6 => tx("todos", one).unlink("tags", tag),
        _ => tx("todos", one).delete(),
    };
    // Refused locally is fine: nothing happened then.
    let _ = line.client.engine.transact(line.client.now, builder.into_operations());
    line.client.drain();
}

fn run(seed: u64, server_forgets: bool) {
    let mut random = Random(seed);
    let mut server = Server::new();
    server.forgets = server_forgets;
    let mut lines: Vec<Line> =
        (0..3).map(|id| Line::new(Client::new(id as u128 + 1), id)).collect();
    let mut created: Vec<Vec<uuid::Uuid>> = vec![Vec::new(); lines.len()];
    let mut keys = Vec::new();
    for line in &mut lines {
        keys.push(queries().into_iter().map(|q| line.client.subscribe(q)).collect::<Vec<_>>());
    }
    for _ in 0..300 {
        let at = random.below(3) as usize;
        let line = &mut lines[at];
        match random.below(20) {
            0 if line.connected => line.cut(&mut server),
            2 => {
                line.client.write();
                if line.client.engine.status().is_offline() {
                    line.forget(&mut server);
                }
                let disk = line.client.disk.clone();
                let settings = line.client.engine.settings.clone();
                if line.connected {
                    line.cut(&mut server);
                }
                line.asked = 0;
                line.client = Client::on(u128::from(random.below(1 << 30)) + 10, disk, settings);
                for q in queries() {
                    line.client.subscribe(q);
                }
            }
            3..=6 => write(line, &mut random, &mut created[at]),
            7 | 8 => {
                let ms = 1 + random.below(20_000) as i64;
                line.pass(ms, &mut server);
            }
            9..=13 if line.connected => line.upload_one(&mut server),
            _ if line.connected => line.download_one(&mut server),
            _ => {}
        }
        // A client sees its own new rows, from the call on, in whatever state the connection is.
        let shown = line.client.shows(&keys[at][0]);
        let pending: Vec<uuid::Uuid> = line
            .client
            .engine
            .pending(line.client.now)
            .iter()
            .filter(|p| p.state != PendingState::Rejected)
            .flat_map(|p| p.operations.clone())
            .filter(|op| matches!(op.action, tricedb_core::tx::Action::Create(_)))
            .filter_map(|op| match op.key {
                tricedb_core::tx::EntityKey::Id(id) => Some(id.uuid()),
                _ => None,
            })
            .collect();
        for id in pending {
            let rows = shown["todos"].as_array().expect("a result");
            assert!(
                rows.iter().any(|row| row["id"] == json!(id)),
                "seed {seed}: {id} is not shown"
            );
        }
    }
    for _ in 0..5 {
        for line in &mut lines {
            line.pass(20_000, &mut server);
        }
        for _ in 0..50 {
            for line in &mut lines {
                line.exchange(&mut server);
            }
        }
    }
    for (line, keys) in lines.iter_mut().zip(&keys) {
        assert!(line.connected);
        let open: Vec<_> = line
            .client
            .engine
            .pending(line.client.now)
            .into_iter()
            .filter(|p| p.state != PendingState::Rejected)
            .collect();
        let state = (line.client.engine.status(), &line.client.events);
        assert!(open.is_empty(), "seed {seed}, {state:?}: {open:?}");
        for (key, q) in keys.iter().zip(queries()) {
            assert_eq!(line.client.shows(key), server.shows(&q), "seed {seed}, {key}");
            assert!(line.client.engine.shown(key).unwrap().position() <= server.position());
        }
        line.client.write();
        let rows = line.client.disk.outbox.iter();
        assert!(rows.clone().all(|r| r.state != OutboxState::Queued), "seed {seed}");
        // What is stored says the same.
        let disk = line.client.disk.clone();
        let mut again = Client::on(99, disk, line.client.engine.settings.clone());
        again.lose();
        for (key, q) in keys.iter().zip(queries()) {
            again.subscribe(q);
            assert_eq!(again.shows(key), line.client.shows(key), "seed {seed}, restored {key}");
        }
    }
    let total: usize = server.commits;
    assert!(total > 0, "seed {seed}: something was written");
}

#[test]
fn clients_converge_whatever_breaks() {
    for seed in 0..12 {
        run(seed, false);
    }
}

#[test]
fn clients_converge_with_a_server_that_runs_resent_transactions_again() {
    for seed in 1_000..1_006 {
        run(seed, true);
    }
}
