//! One room of a client.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::Value as Json;
use tricedb_core::id::EventId;
use tricedb_protocol::PresenceData;

use super::report::{Peer, Peers, RoomStatus};
use crate::engine::Millis;

/// Where the client is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Not in the room, and not asked to be.
    Outside,
    /// Asked by the message of this name.
    Entering {
        event: EventId,
    },
    Inside,
    /// Kept out for this session.
    Refused,
}

/// One room.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) kind: Arc<str>,
    pub(super) stage: Stage,
    pub(super) status: RoomStatus,
    /// How many handles use it.
    pub(super) uses: usize,
    /// What the client shows.
    pub(super) presence: Arc<PresenceData>,
    /// Whether that changed since it was sent last.
    pub(super) is_changed: bool,
    pub(super) sent_at: Option<Millis>,
    /// Keys of what the client shows that go by themselves, and when.
    lapsing: BTreeMap<String, Millis>,
    /// Whether the present session has brought the list of those present.
    pub(super) is_listed: bool,
    /// Topics and data that wait for the room to be entered.
    pub(super) unsent: VecDeque<(Arc<str>, Json)>,
    /// How many of them had to make way for others.
    pub(super) unsent_dropped: u64,
    /// Everyone, as the server told it.
    pub(super) entries: BTreeMap<String, Json>,
    /// The others, as the program sees them.
    pub(super) peers: Arc<Peers>,
}

impl Room {
    pub(super) fn new(kind: &str, presence: PresenceData) -> Self {
        Self {
            kind: kind.into(),
            stage: Stage::Outside,
            status: RoomStatus::default(),
            uses: 1,
            presence: Arc::new(presence),
            is_changed: false,
            sent_at: None,
            lapsing: BTreeMap::new(),
            is_listed: false,
            unsent: VecDeque::new(),
            unsent_dropped: 0,
            entries: BTreeMap::new(),
            peers: Arc::default(),
        }
    }

    pub(super) fn merge(&mut self, changes: PresenceData) {
        self.lapsing.retain(|key, _| !changes.contains_key(key));
        if changes.iter().all(|(key, value)| self.presence.get(key) == Some(value)) {
            return;
        }
        Arc::make_mut(&mut self.presence).extend(changes);
        self.is_changed = true;
    }

    /// Shows something that goes by itself at a time.
    pub(super) fn merge_until(&mut self, at: Millis, changes: PresenceData) {
        let keys: Vec<String> = changes.keys().cloned().collect();
        self.merge(changes);
        self.lapsing.extend(keys.into_iter().map(|key| (key, at)));
    }

    /// Shows some keys no more.
    pub(super) fn remove<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        for key in keys {
            self.lapsing.remove(key);
            if self.presence.contains_key(key) {
                Arc::make_mut(&mut self.presence).remove(key);
                self.is_changed = true;
            }
        }
    }

    /// Removes what was shown for a time only.
    pub(super) fn lapse(&mut self, now: Millis) {
        let due = |at: &Millis| *at <= now;
        if self.lapsing.values().any(due) {
            let over: Vec<String> =
                self.lapsing.iter().filter(|(_, at)| due(at)).map(|(key, _)| key.clone()).collect();
            self.remove(over.iter().map(String::as_str));
        }
    }

    /// When [`Self::lapse`] has something to do.
    pub(super) fn lapses_at(&self) -> Option<Millis> {
        self.lapsing.values().min().copied()
    }

    /// When what the client shows is to be sent.
    pub(super) fn presence_due(&self) -> Option<Millis> {
        let is_due = self.is_changed && self.stage == Stage::Inside;
        is_due.then(|| self.sent_at.map_or(Millis(0), |at| at.plus(super::PRESENCE_EVERY)))
    }

    /// Takes over what the server told of some peers, of all if `is_all`; whether the program sees
    /// anything new.
    pub(super) fn show(
        &mut self,
        touched: BTreeSet<String>,
        is_all: bool,
        own_peers: &[String],
    ) -> bool {
        let mut changes: Vec<(Arc<str>, Option<Arc<Peer>>)> = Vec::new();
        for id in touched.into_iter().filter(|id| !own_peers.contains(id)) {
            let now = self.entries.get(&id).map(|entry| peer(&id, entry));
            if now.as_ref() != self.peers.get(&*id).map(|peer| &**peer) {
                changes.push((id.into(), now.map(Arc::new)));
            }
        }
        if is_all {
            let gone = self.peers.keys().filter(|id| !self.entries.contains_key(&***id));
            changes.extend(gone.map(|id| (id.clone(), None)));
        }
        if changes.is_empty() {
            return false;
        }
        let peers = Arc::make_mut(&mut self.peers);
        for (id, peer) in changes {
            match peer {
                Some(peer) => drop(peers.insert(id, peer)),
                None => drop(peers.remove(&id)),
            }
        }
        true
    }
}

/// Reads an entry as it came; what is not of the right form counts as absent.
fn peer(id: &str, entry: &Json) -> Peer {
    Peer {
        id: id.into(),
        user: entry["user"]["id"].as_str().map(Arc::from),
        data: entry["data"].as_object().cloned().unwrap_or_default(),
    }
}
