//! The world: time, and everything that happens in it, one event after the other.

mod acting;
mod client;
mod quiet;
mod server;

use std::collections::BTreeMap;

use tricedb_core::id::AppId;
use tricedb_core::query::Query;
use tricedb_sync::{Input, Millis};
use uuid::Uuid;

use crate::coverage::Coverage;
use crate::judge::Judge;
use crate::network::{ConnId, Network};
use crate::plan::Plan;
use crate::random::Random;
use crate::trace::Trace;
use crate::violation::{Violation, hold};
use client::Client;
use server::Server;

/// The wall clock at the beginning, in milliseconds since 1970.
const BEGAN: i64 = 1_700_000_000_000;

/// Ticks of a client within one millisecond of virtual time, after which it counts as running in circles.
const SPINS_MAX: u32 = 1_000;

/// Something that will happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    /// An attempt to connect comes to its end.
    Connect { client: usize, attempt: u64 },
    /// A frame arrives at the server.
    Up(ConnId),
    /// A frame arrives at the client.
    Down(ConnId),
    /// The client notices that its connection is gone.
    ClientLost(ConnId),
    /// The server does.
    ServerLost(ConnId),
    /// A client's write is through, if that process still lives.
    ClientDisk { client: usize, process: u64 },
    /// A client's process starts.
    ClientStart(usize),
    /// The server's write is through, if that process still lives.
    ServerDisk { process: u64 },
    /// The server has encoded a large result, if that process still lives.
    ServerEncoded { process: u64 },
    /// The server's process starts.
    ServerStart,
}

pub(crate) struct World {
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
    random: Random,
    net: Network,
    server: Server,
    clients: Vec<Client>,
    judge: Judge,
    trace: Trace,
}

impl World {
    /// A world in which the server has its first data and every client its first connection.
    pub(crate) fn new(plan: &Plan, tells: bool) -> Result<Self, Violation> {
        let read = |json| Query::try_from(&json).map_err(|error| sanity(&error));
        let queries: Vec<Query> =
            crate::plan::queries().into_iter().map(read).collect::<Result<_, _>>()?;
        let clients: Vec<Client> = plan
            .clients
            .iter()
            .enumerate()
            .map(|(at, mode)| Client::new(at, *mode, app_id(), plan.seed))
            .collect();
        let mut world = Self {
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            random: Random::new(&[plan.seed, 2]),
            net: Network::default(),
            server: Server::new(plan.seed, plan.outbound_bytes_max),
            judge: Judge::new(queries, clients.len()),
            clients,
            trace: Trace::new(tells),
        };
        world.start_server()?;
        world.found()?;
        for client in 0..world.clients.len() {
            world.start_client(client)?;
        }
        Ok(world)
    }

    /// Carries out a plan.
    pub(crate) fn run(&mut self, plan: &Plan) -> Result<(), Violation> {
        for step in &plan.steps {
            self.judge.coverage.steps += 1;
            self.trace.tell(self.now, || step.action.to_string());
            self.trace.note("act", self.now, self.judge.coverage.steps, &[]);
            self.act(&step.action)?;
            self.run_until(self.now + step.then_ms)?;
        }
        Ok(())
    }

    pub(crate) const fn coverage(&self) -> &Coverage {
        &self.judge.coverage
    }

    pub(crate) fn into_trace(self) -> Trace {
        self.trace
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.scheduled += 1;
        self.events.insert((at.max(self.now), self.scheduled), event);
    }

    /// Lets everything happen that is due by then.
    fn run_until(&mut self, end: u64) -> Result<(), Violation> {
        let mut spins = 0;
        loop {
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let tick = self.next_tick();
            let rooms = self.server.rooms_deadline();
            let first = [event, tick.map(|(at, _)| at), rooms].into_iter().flatten().min();
            let Some(at) = first.filter(|at| *at <= end) else { break };
            spins = if at > self.now { 0 } else { spins + 1 };
            self.now = self.now.max(at);
            if event == Some(at) {
                if let Some((_, event)) = self.events.pop_first() {
                    self.happen(event)?;
                }
                spins = 0;
            } else if rooms == Some(at) {
                self.server_turn()?;
            } else if let Some((_, client)) = tick {
                hold!(spins < SPINS_MAX, Liveness, "client {client} runs in circles");
                self.tell(client, Input::Tick)?;
            }
        }
        self.now = self.now.max(end);
        self.nobody_parks()
    }

    /// The next point in time that a client asked to hear of.
    fn next_tick(&self) -> Option<(u64, usize)> {
        self.clients
            .iter()
            .enumerate()
            .filter_map(|(at, client)| Some((client.deadline()?.max(self.now), at)))
            .min()
    }

    fn happen(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::Connect { client, attempt } => self.connect_ends(client, attempt),
            Event::Up(conn) => self.arrives_at_server(conn),
            Event::Down(conn) => self.arrives_at_client(conn),
            Event::ClientLost(conn) => self.client_loses(conn),
            Event::ServerLost(conn) => self.server_loses(conn),
            Event::ClientDisk { client, process } => self.client_write_ends(client, process),
            Event::ClientStart(client) => self.start_client(client),
            Event::ServerDisk { process } => self.server_write_ends(process),
            Event::ServerEncoded { process } => self.server_has_encoded(process),
            Event::ServerStart => self.start_server(),
        }
    }

    /// Whoever is to be online and is not will try again by itself.
    fn nobody_parks(&self) -> Result<(), Violation> {
        for (at, client) in self.clients.iter().enumerate() {
            hold!(
                !client.is_parked(),
                Liveness,
                "client {at} is offline and will never try to connect"
            );
        }
        Ok(())
    }

    fn latency(&mut self) -> u64 {
        match self.random.below(20) {
            0 => self.random.between(50, 800),
            1..=4 => self.random.between(5, 50),
            _ => self.random.between(0, 5),
        }
    }
}

const fn app_id() -> AppId {
    AppId(Uuid::from_u128(0x1111_1111_2222_4333_8444_5555_5555_5555))
}

/// The wall clock of a process whose clock is off.
const fn wall(now: u64, off_ms: i64) -> i64 {
    BEGAN + off_ms + now as i64
}

const fn millis(now: u64, off_ms: i64) -> Millis {
    Millis(wall(now, off_ms))
}

fn sanity(error: &dyn std::fmt::Display) -> Violation {
    Violation::new(crate::violation::Promise::Sanity, error.to_string())
}
