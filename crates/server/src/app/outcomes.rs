//! What became of named transactions, so that a resend gets the first answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rustc_hash::FxBuildHasher;
use sha2::{Digest, Sha256};
use tricedb_core::id::parse_uuid;
use tricedb_protocol::ErrorBody;
use uuid::Uuid;

use crate::log::{EventKey, LoggedOutcome, Outcome};

/// The outcomes of the retention time, oldest first, all in memory: about 80 bytes each. A filter in front
/// of the durable table would cost as much per transaction as it saves per outcome until there are
/// millions; [`super::AppLimits::outcomes_max`] bounds them.
#[derive(Debug)]
pub(super) struct Outcomes {
    by_name: HashMap<Name, Outcome, FxBuildHasher>,
    /// In the order of recording, with the time of each.
    order: VecDeque<(Name, i64)>,
    count_max: usize,
    retention_ms: i64,
    /// For native clients the number up to which outcomes may be forgotten.
    floors: HashMap<Uuid, u64, FxBuildHasher>,
}

/// An [`EventKey`] in few bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Name {
    /// An anonymous session's UUID.
    Uuid(Uuid),
    /// The number of a native client's transaction.
    Numbered(Uuid, u64),
    /// Anything else: the head of its SHA-256.
    Digest([u8; 16]),
}

impl Name {
    fn of(key: &EventKey) -> Self {
        let event = key.event.as_str();
        if key.user.is_none()
            && let Some(uuid) = parse_uuid(event)
            // Two spellings of one UUID are two names.
            && !event.bytes().any(|b| b.is_ascii_uppercase())
        {
            return Self::Uuid(uuid);
        }
        if let Some((client, seq)) = key.number() {
            return Self::Numbered(client, seq);
        }
        let mut sha = Sha256::new();
        match &key.user {
            None => sha.update([0]),
            Some(user) => {
                sha.update([1]);
                sha.update((user.len() as u64).to_le_bytes());
                sha.update(user.as_bytes());
            }
        }
        sha.update(event.as_bytes());
        let mut head = [0; 16];
        head.copy_from_slice(&sha.finalize()[..16]);
        Self::Digest(head)
    }
}

impl Outcomes {
    pub(super) fn new(
        count_max: usize,
        retention_ms: i64,
        logged: Vec<LoggedOutcome>,
        floors: Vec<(Uuid, u64)>,
    ) -> Self {
        let mut outcomes = Self {
            by_name: HashMap::default(),
            order: VecDeque::new(),
            count_max,
            retention_ms,
            floors: floors.into_iter().collect(),
        };
        for LoggedOutcome { event, outcome, at } in logged {
            outcomes.record(&event, outcome, at);
        }
        outcomes
    }

    pub(super) fn get(&self, key: &EventKey) -> Option<&Outcome> {
        #[cfg(feature = "mutants")]
        if tricedb_core::mutant::Mutant::ResendRunsAgain.is_planted() {
            return None;
        }
        self.by_name.get(&Name::of(key))
    }

    /// Remembers an outcome unless the name has one already; forgets what is too old or too much.
    pub(super) fn record(&mut self, key: &EventKey, outcome: Outcome, at: i64) {
        let name = Name::of(key);
        if let std::collections::hash_map::Entry::Vacant(entry) = self.by_name.entry(name) {
            entry.insert(outcome);
            self.order.push_back((name, at));
        }
        while let Some(&(oldest, recorded_at)) = self.order.front() {
            let is_old = recorded_at < at.saturating_sub(self.retention_ms);
            if !is_old && self.order.len() <= self.count_max {
                break;
            }
            self.order.pop_front();
            self.by_name.remove(&oldest);
            if let Name::Numbered(client, seq) = oldest {
                let floor = self.floors.entry(client).or_default();
                *floor = seq.max(*floor);
            }
        }
    }

    /// Whether a native client's transaction may have an outcome that nobody remembers.
    pub(super) fn is_forgotten(&self, client: Uuid, seq: u64) -> bool {
        self.floors.get(&client).is_some_and(|floor| seq <= *floor)
    }

    /// Forgets outcomes that did not become durable. They are the latest recorded, given last first.
    pub(super) fn take_back(&mut self, key: &EventKey) {
        let name = Name::of(key);
        self.by_name.remove(&name);
        if self.order.back().is_some_and(|(last, _)| *last == name) {
            self.order.pop_back();
        } else {
            self.order.retain(|(other, _)| *other != name);
        }
    }
}

/// A rejection as an outcome.
pub(super) fn rejected(error: &Arc<ErrorBody>) -> Outcome {
    Outcome::Rejected(error.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tricedb_core::id::{EventId, TxId};

    fn key(user: Option<&str>, event: &str) -> EventKey {
        EventKey { user: user.map(str::to_owned), event: EventId::new(event) }
    }

    #[test]
    fn names_are_apart_by_user_and_spelling() {
        let uuid = "0f7f3f0a-0000-4000-8000-00000000abcd";
        let upper = uuid.to_uppercase();
        let keys = [
            key(None, uuid),
            key(None, &upper),
            key(Some(""), uuid),
            key(Some("u"), uuid),
            key(None, "x"),
        ];
        let mut outcomes = Outcomes::new(10, 1_000, Vec::new(), Vec::new());
        for (at, key) in keys.iter().enumerate() {
            outcomes.record(key, Outcome::Accepted(TxId(at as u64)), 0);
        }
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(outcomes.get(key), Some(&Outcome::Accepted(TxId(at as u64))));
        }
    }

    #[test]
    fn the_first_outcome_stays_and_the_oldest_goes() {
        let mut outcomes = Outcomes::new(2, 1_000, Vec::new(), Vec::new());
        outcomes.record(&key(None, "a"), Outcome::Accepted(TxId(1)), 10);
        outcomes.record(&key(None, "a"), Outcome::Accepted(TxId(9)), 11);
        assert_eq!(outcomes.get(&key(None, "a")), Some(&Outcome::Accepted(TxId(1))));
        outcomes.record(&key(None, "b"), Outcome::Accepted(TxId(2)), 12);
        outcomes.record(&key(None, "c"), Outcome::Accepted(TxId(3)), 13);
        assert_eq!(outcomes.get(&key(None, "a")), None);
        outcomes.record(&key(None, "d"), Outcome::Accepted(TxId(4)), 1_013);
        assert_eq!(outcomes.get(&key(None, "b")), None);
        assert!(outcomes.get(&key(None, "c")).is_some());
        outcomes.take_back(&key(None, "d"));
        assert_eq!(outcomes.get(&key(None, "d")), None);
    }
}
