//! Plans from seeds.

use super::write::queries;
use super::{Action, AdminChange, ClientMode, Disk, Notice, Plan, Population, Step, Write};
use crate::random::Random;

/// To-dos that all clients know and write.
const SHARED: u64 = 10;

struct Maker {
    random: Random,
    clients: u64,
    /// The next number for values and new entities.
    next: u32,
}

pub(super) fn plan(seed: u64, count: usize, population: Population) -> Plan {
    let mut random = Random::new(&[seed, 1]);
    let native = match population {
        Population::Plain => 0,
        Population::Native => 100,
        Population::Mixed => 50,
    };
    let mode = |random: &mut Random| match random.percent(native) {
        true => ClientMode::Native,
        false => ClientMode::Plain,
    };
    let clients: Vec<ClientMode> = (0..random.between(2, 4)).map(|_| mode(&mut random)).collect();
    let outbound_bytes_max = 1_usize << random.between(11, 15);
    let mut maker = Maker { random, clients: clients.len() as u64, next: 1 };
    let mut steps: Vec<Step> = Vec::with_capacity(count);
    for at in 0..count {
        let action = match at % 170 {
            169 => Action::Quiet,
            _ => maker.action(),
        };
        steps.push(Step { action, then_ms: maker.pause() });
    }
    steps.push(Step { action: Action::Quiet, then_ms: 0 });
    Plan { seed, clients, outbound_bytes_max, steps }
}

impl Maker {
    const fn pause(&mut self) -> u64 {
        match self.random.below(20) {
            0..=6 => 0,
            7..=14 => self.random.between(1, 40),
            15..=17 => self.random.between(40, 400),
            18 => self.random.between(400, 3_000),
            _ => self.random.between(3_000, 20_000),
        }
    }

    const fn client(&mut self) -> usize {
        self.random.below(self.clients) as usize
    }

    const fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn action(&mut self) -> Action {
        let client = self.client();
        match self.random.below(100) {
            0..=46 => self.write(client),
            47..=49 => Action::Wait,
            50..=53 => Action::Join(client, self.room(), self.number()),
            54..=58 => Action::Cut {
                client,
                up_bytes: self.bytes(),
                down_bytes: self.bytes(),
                notice: match self.random.below(4) {
                    0 => Notice::Client,
                    1 => Notice::Server,
                    _ => Notice::Both,
                },
            },
            59..=60 => Action::Reads(client, false),
            61..=63 => Action::Reads(client, true),
            64..=66 => Action::CrashClient {
                client,
                write_survives: self.random.percent(50),
                restart_ms: self.random.between(0, 2_000),
                clock_ms: match self.random.below(5) {
                    0 => -(self.random.below(90_000_000) as i64),
                    1 => self.random.below(90_000_000) as i64,
                    _ => 0,
                },
            },
            67 => Action::ClientDisk(client, self.client_disk()),
            68..=69 => Action::ClientDisk(client, Disk::Fine),
            70 => Action::CrashServer {
                batch_survives: self.random.percent(50),
                restart_ms: self.random.between(0, 4_000),
            },
            71 => Action::ServerDisk(self.server_disk()),
            72..=74 => Action::ServerDisk(Disk::Fine),
            75 => {
                let by = self.random.below(7_200_000) as i64;
                Action::ServerClock(if self.random.percent(50) { by } else { -by })
            }
            76..=78 => Action::Admin(self.admin()),
            79..=81 => Action::Subscribe(client, self.query()),
            82..=83 => Action::Unsubscribe(client, self.query()),
            84 => Action::Once(client, self.query()),
            85 => Action::Cancel(client),
            86 => Action::Retry(client),
            87 => Action::Dismiss(client),
            88 => Action::Disconnect(client),
            89..=90 => Action::Connect(client),
            91..=93 => Action::Join(client, self.room(), self.number()),
            94 => Action::Leave(client, self.room()),
            95..=96 => Action::Show(client, self.room(), self.number()),
            _ => Action::Publish(client, self.room()),
        }
    }

    const fn bytes(&mut self) -> usize {
        match self.random.below(3) {
            0 => 0,
            1 => self.random.below(400) as usize,
            _ => self.random.below(6_000) as usize,
        }
    }

    const fn room(&mut self) -> u8 {
        self.random.below(2) as u8
    }

    fn query(&mut self) -> usize {
        self.random.below(queries().len() as u64) as usize
    }

    const fn client_disk(&mut self) -> Disk {
        if self.random.percent(50) { Disk::Slow } else { Disk::Full }
    }

    const fn server_disk(&mut self) -> Disk {
        match self.random.below(3) {
            0 => Disk::Slow,
            1 => Disk::Full,
            _ => Disk::InDoubt,
        }
    }

    const fn admin(&mut self) -> AdminChange {
        match self.random.below(6) {
            0 => AdminChange::Define(self.random.below(12) as u8),
            1 | 2 => AdminChange::Drop(self.random.below(12) as u8),
            3 => AdminChange::Delete(self.random.below(SHARED) as u32),
            _ => AdminChange::Rename(self.random.below(SHARED) as u32, self.number()),
        }
    }

    fn write(&mut self, client: usize) -> Action {
        let tag = self.number();
        let mut writes = vec![self.one(tag)];
        // Parts that could meet each other in one transaction are left to transactions of their own.
        if self.random.percent(15) && !matches!(writes[0], Write::Delete(_) | Write::ByCode(_)) {
            writes.push(Write::Twins);
            writes.push(Write::Count(self.random.below(4) as u8, 0, 1));
            if matches!(writes[0], Write::Twins | Write::Count(..) | Write::Transfer(..)) {
                writes.remove(0);
            }
        }
        Action::Write(client, tag, writes)
    }

    fn one(&mut self, tag: u32) -> Write {
        let random = &mut self.random;
        let shared = random.below(SHARED) as u32;
        match random.below(40) {
            0..=3 => {
                let code = random.percent(30).then(|| random.below(6) as u8);
                Write::Create(1_000 + tag, random.below(20) as i64, code)
            }
            4..=5 => Write::Create(shared, random.below(20) as i64, None),
            6..=10 => Write::Rename(shared),
            11..=13 => Write::Upsert(shared),
            14..=15 => Write::Done(shared, random.percent(50)),
            16..=18 => Write::Rank(shared, random.below(20) as i64),
            19..=20 => Write::Merge(shared, random.below(4) as u8, random.below(100) as u8),
            21..=22 => Write::Code(shared, random.below(6) as u8),
            23 => Write::ByCode(random.below(6) as u8),
            24..=25 => Write::Tag(random.below(3) as u8, shared),
            26 => Write::Untag(random.below(3) as u8, shared),
            27..=28 => Write::NameTag(random.below(3) as u8, random.below(3) as u8),
            29..=30 => Write::Delete(shared),
            31..=32 => Write::Twins,
            33..=35 => {
                let from = random.below(4) as u8;
                Write::Transfer(from, (from + 1) % 4, random.between(1, 9) as i64)
            }
            36..=37 => {
                let (account, kind) = (random.below(4) as u8, random.below(8) as u8);
                Write::Count(account, kind, random.below(10) as i64)
            }
            _ => Write::Note(random.below(2) as u8, random.below(12) as u8),
        }
    }
}
