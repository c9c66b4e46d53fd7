//! What is done in a run: a list of actions, made from a seed, that can be cut down.

mod generate;
mod write;

use std::fmt;

pub use write::Write;
pub(crate) use write::{beginning, queries, schema, todo_id};

/// How a client speaks to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMode {
    /// The plain protocol, as towards an official server.
    Plain,
    /// Native sessions, if the server agrees.
    Native,
}

/// Which clients there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Population {
    /// Plain ones alone.
    Plain,
    /// Native ones alone.
    Native,
    /// Both together.
    Mixed,
}

/// Everything that decides a run. Actions may be left out without changing what the others mean.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where latencies and ids come from.
    pub seed: u64,
    /// The clients.
    pub clients: Vec<ClientMode>,
    /// Bytes that may wait for a slow reader at the server.
    pub outbound_bytes_max: usize,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// An action, and how long things then take their course.
#[derive(Clone, Debug)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// Milliseconds until the next one.
    pub then_ms: u64,
}

/// Who notices first that a connection was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Both at once.
    Both,
    /// The client; the server only after some time.
    Client,
    /// The server; the client only after some time.
    Server,
}

/// How a disk does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disk {
    /// Writes take a few milliseconds.
    Fine,
    /// Writes take up to a second.
    Slow,
    /// Writes fail.
    Full,
    /// The next write of the server ends without anybody knowing whether it went through.
    InDoubt,
}

/// A change by the administrator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AdminChange {
    /// Defines the word as an attribute of notes that takes strings only.
    Define(u8),
    /// Deletes the word's attribute.
    Drop(u8),
    /// Deletes a to-do.
    Delete(u32),
    /// Renames a to-do; the number makes the title.
    Rename(u32, u32),
}

/// One thing that is done.
#[derive(Clone, Debug)]
pub enum Action {
    /// Nothing: time passes.
    Wait,
    /// A client transacts; the number makes its values unlike all others.
    Write(usize, u32, Vec<Write>),
    /// A client begins to watch a query.
    Subscribe(usize, usize),
    /// A client ends watching a query.
    Unsubscribe(usize, usize),
    /// A client asks once.
    Once(usize, usize),
    /// A client takes back its newest transaction, if it was not sent.
    Cancel(usize),
    /// A client tries its oldest rejected transaction again.
    Retry(usize),
    /// A client forgets its oldest rejected transaction.
    Dismiss(usize),
    /// A client goes offline on purpose.
    Disconnect(usize),
    /// A client wants a connection.
    Connect(usize),
    /// A client's connection is cut. So many bytes of what is under way still arrive.
    Cut {
        /// Whose.
        client: usize,
        /// Towards the server.
        up_bytes: usize,
        /// Towards the client.
        down_bytes: usize,
        /// Who notices.
        notice: Notice,
    },
    /// A client stops reading, or begins again.
    Reads(usize, bool),
    /// A client's process dies.
    CrashClient {
        /// Whose.
        client: usize,
        /// Whether the write under way is on the disk.
        write_survives: bool,
        /// Until it starts again.
        restart_ms: u64,
        /// By how much its clock is off then.
        clock_ms: i64,
    },
    /// A client's disk changes.
    ClientDisk(usize, Disk),
    /// The server's process dies.
    CrashServer {
        /// Whether the batch under way is in the log.
        batch_survives: bool,
        /// Until it starts again.
        restart_ms: u64,
    },
    /// The server's disk changes.
    ServerDisk(Disk),
    /// The server's clock jumps.
    ServerClock(i64),
    /// The administrator does something.
    Admin(AdminChange),
    /// A client enters a room; the number is what it shows.
    Join(usize, u8, u32),
    /// A client leaves a room.
    Leave(usize, u8),
    /// A client shows something else in a room.
    Show(usize, u8, u32),
    /// A client tells the others in a room something.
    Publish(usize, u8),
    /// Everything heals, and is compared when it has become quiet.
    Quiet,
}

impl Plan {
    /// The plan of a seed, with so many actions.
    pub fn of(seed: u64, steps: usize, population: Population) -> Self {
        generate::plan(seed, steps, population)
    }

    /// Whether some client speaks native sessions.
    pub fn has_native(&self) -> bool {
        self.clients.contains(&ClientMode::Native)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait => f.write_str("time passes"),
            Self::Write(client, tag, writes) => {
                write!(f, "client {client} transacts #{tag}:")?;
                writes.iter().try_for_each(|one| write!(f, " {one};"))
            }
            Self::Subscribe(client, q) => write!(f, "client {client} watches query {q}"),
            Self::Unsubscribe(client, q) => write!(f, "client {client} stops watching query {q}"),
            Self::Once(client, q) => write!(f, "client {client} asks query {q} once"),
            Self::Cancel(client) => write!(f, "client {client} cancels its newest transaction"),
            Self::Retry(client) => write!(f, "client {client} retries a rejected transaction"),
            Self::Dismiss(client) => write!(f, "client {client} dismisses a rejected transaction"),
            Self::Disconnect(client) => write!(f, "client {client} goes offline"),
            Self::Connect(client) => write!(f, "client {client} goes online"),
            Self::Cut { client, up_bytes, down_bytes, notice } => write!(
                f,
                "client {client}'s connection is cut; {up_bytes} bytes up and {down_bytes} down \
                 still arrive; noticed by {notice:?}"
            ),
            Self::Reads(client, true) => write!(f, "client {client} reads again"),
            Self::Reads(client, false) => write!(f, "client {client} stops reading"),
            Self::CrashClient { client, write_survives, restart_ms, clock_ms } => write!(
                f,
                "client {client} crashes (write under way {}), back in {restart_ms} ms with its \
                 clock off by {clock_ms} ms",
                if *write_survives { "survives" } else { "lost" }
            ),
            Self::ClientDisk(client, disk) => write!(f, "client {client}'s disk is {disk:?}"),
            Self::CrashServer { batch_survives, restart_ms } => write!(
                f,
                "the server crashes (batch under way {}), back in {restart_ms} ms",
                if *batch_survives { "survives" } else { "lost" }
            ),
            Self::ServerDisk(disk) => write!(f, "the server's disk is {disk:?}"),
            Self::ServerClock(ms) => write!(f, "the server's clock jumps by {ms} ms"),
            Self::Admin(change) => write!(f, "the administrator: {change:?}"),
            Self::Join(client, room, n) => write!(f, "client {client} joins room {room} as {n}"),
            Self::Leave(client, room) => write!(f, "client {client} leaves room {room}"),
            Self::Show(client, room, n) => write!(f, "client {client} shows {n} in room {room}"),
            Self::Publish(client, room) => write!(f, "client {client} publishes in room {room}"),
            Self::Quiet => f.write_str("everything heals until it is quiet"),
        }
    }
}
