//! A member of the room, official or Rust.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use tokio::runtime::Handle;
use tricedb::{Client, Config, Room, TopicMessages};

use crate::Failure;
use crate::process::Process;

pub(crate) const ROOM: &str = "mixed";
const KIND: &str = "chat";
const TOPIC: &str = "wave";

/// For one change to be seen; generous, for machines under load and clients that wait before they connect
/// again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client in the room.
pub(crate) enum Member {
    /// `tests/js/peer.mjs` in a process of its own.
    Official { process: Process, peers: Vec<Json>, told: VecDeque<(Json, Json)> },
    /// A client of this process.
    Rust { name: String, runtime: Handle, client: Client, room: Option<Room>, told: TopicMessages },
}

impl Member {
    pub(crate) fn official(
        name: &str,
        folder: &Path,
        app: &str,
        line: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut command = Command::new("node");
        command
            .arg("peer.mjs")
            .args([app, &format!("http://{line}"), &format!("ws://{line}/runtime/session")])
            .current_dir(folder);
        let mut process = Process::start(name, &mut command)?;
        process.send(&json!({
            "cmd": "join", "type": KIND, "room": ROOM, "presence": { "name": name }, "topic": TOPIC,
        }))?;
        Ok(Self::Official { process, peers: Vec::new(), told: VecDeque::new() })
    }

    pub(crate) fn rust(
        name: &str,
        runtime: &Handle,
        app: &str,
        line: SocketAddr,
    ) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.reconnect_min = Duration::from_millis(10);
        let opening = Client::builder(app).config(config).url(format!("ws://{line}")).open();
        let client = runtime.block_on(opening)?;
        let room = client.room(KIND, ROOM).join(json!({ "name": name }))?;
        let told = room.subscribe(TOPIC);
        let runtime = runtime.clone();
        Ok(Self::Rust { name: name.to_owned(), runtime, client, room: Some(room), told })
    }

    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Official { process, .. } => process.name(),
            Self::Rust { name, .. } => name,
        }
    }

    /// The room of a Rust client.
    pub(crate) fn room(&self) -> Result<Room, Failure> {
        match self {
            Self::Rust { room: Some(room), .. } => Ok(room.clone()),
            _ => Err(format!("{} has no room here", self.name()).into()),
        }
    }

    /// Merges something over what it shows.
    pub(crate) fn show(&mut self, presence: &Json) -> Result<(), Failure> {
        match self {
            Self::Official { process, .. } => {
                process.send(&json!({ "cmd": "show", "room": ROOM, "presence": presence }))
            }
            Self::Rust { .. } => Ok(self.room()?.set_presence(presence)?),
        }
    }

    pub(crate) fn tell(&mut self, data: &Json) -> Result<(), Failure> {
        match self {
            Self::Official { process, .. } => {
                process.send(&json!({ "cmd": "tell", "room": ROOM, "topic": TOPIC, "data": data }))
            }
            Self::Rust { .. } => Ok(self.room()?.publish(TOPIC, data)?),
        }
    }

    pub(crate) fn leave(&mut self) -> Result<(), Failure> {
        match self {
            Self::Official { process, .. } => {
                process.send(&json!({ "cmd": "leave", "room": ROOM }))
            }
            Self::Rust { room, .. } => {
                room.take();
                Ok(())
            }
        }
    }

    /// Waits until what the others show satisfies a condition.
    pub(crate) fn sees(
        &mut self,
        what: &str,
        condition: impl Fn(&[Json]) -> bool,
    ) -> Result<(), Failure> {
        if let Self::Official { .. } = self {
            return self.follow(what, |peers, _| condition(peers).then_some(()));
        }
        let mut peers = self.room()?.peers();
        let Self::Rust { runtime, name, .. } = self else { return Ok(()) };
        let shown = |peers: &tricedb::Peers| -> Vec<Json> {
            peers.values().map(|peer| Json::Object(peer.data.clone())).collect()
        };
        let waiting = async {
            tokio::time::timeout(PATIENCE, peers.wait_for(|peers| condition(&shown(peers))))
                .await
                .is_ok()
        };
        if runtime.block_on(waiting) {
            return Ok(());
        }
        let seen = shown(&peers.borrow());
        Err(format!("{name} does not see {what}; it sees {seen:?}").into())
    }

    /// The next message that it is told, and what its sender showed.
    pub(crate) fn next_told(&mut self) -> Result<(Json, Json), Failure> {
        if let Self::Official { .. } = self {
            return self.follow("a message", |_, told| told.pop_front());
        }
        let Self::Rust { runtime, name, told, .. } = self else { return Ok(Default::default()) };
        let message = runtime.block_on(async { tokio::time::timeout(PATIENCE, told.next()).await });
        let message = message.map_err(|_| format!("{name} is told nothing"))?.ok_or("left")?;
        let peer = message.peer.as_ref().map(|peer| Json::Object(peer.data.clone()));
        Ok((message.data.clone(), peer.unwrap_or_default()))
    }

    /// Reads what an official client says until it answers a question.
    fn follow<T>(
        &mut self,
        what: &str,
        mut answer: impl FnMut(&[Json], &mut VecDeque<(Json, Json)>) -> Option<T>,
    ) -> Result<T, Failure> {
        let Self::Official { process, peers, told } = self else {
            return Err("no official client".into());
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = answer(peers, told) {
                return Ok(answer);
            }
            let Some(line) = process.line(deadline)? else {
                return Err(process.failure(&format!("does not see {what}; it sees {peers:?}")));
            };
            let mut event: Json = serde_json::from_str(&line)?;
            match event["event"].as_str() {
                Some("peers") => {
                    if let Json::Array(list) = event["peers"].take() {
                        *peers = list;
                    }
                }
                Some("told") => told.push_back((event["data"].take(), event["peer"].take())),
                Some("error") => return Err(process.failure(&format!("is refused: {event}"))),
                _ => {}
            }
        }
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        match self {
            Self::Official { process, .. } => process.close(),
            Self::Rust { runtime, client, .. } => Ok(runtime.block_on(client.close())?),
        }
    }
}
