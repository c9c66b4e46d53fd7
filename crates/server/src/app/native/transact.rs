//! Transactions of native sessions: numbered by their client, run once, answered with the frame that
//! shows them.

use serde_json::Value as Json;
use tricedb_core::id::{EventId, TxId};
use tricedb_core::tx::{Actor, Commit, TxStep, parse_steps};
use tricedb_protocol::native::{Accepted, Ack, AckOutcome, Replaced};
use tricedb_protocol::{ErrorBody, Transact};
use uuid::Uuid;

use super::super::outcomes;
use super::super::refusal::{too_many_steps, tx_refused};
use super::super::sessions::SessionKey;
use super::super::state::AppState;
use super::propose::{Known, resolve};
use crate::log::{EventKey, LogEntry, Outcome};

impl AppState {
    pub(super) fn transact_native(
        &mut self,
        session: SessionKey,
        seq: u64,
        transact: Transact,
        now: i64,
    ) {
        let Some(client) = self.native_of(session).map(|reader| reader.client) else { return };
        let Transact { tx_steps, client_event_id: event, base, .. } = transact;
        let key = EventKey::numbered(client, seq);
        // A client may have sent it before in a plain session, by its name.
        let named = event.map(|event| EventKey { user: None, event });
        let first = self.outcomes.get(&key).or_else(|| self.outcomes.get(named.as_ref()?)).cloned();
        let outcome = match first {
            Some(first) => self.answer_again(first, &tx_steps),
            None if self.outcomes.is_forgotten(client, seq) => AckOutcome::Forgotten,
            None => self.run_native(client, key, &tx_steps, base, now),
        };
        let Some(reader) = self.native_of(session) else { return };
        reader.acks.push(Ack { seq, outcome });
        self.native.owed.insert(session);
    }

    fn run_native(
        &mut self,
        client: Uuid,
        key: EventKey,
        steps: &Json,
        base: Option<TxId>,
        now: i64,
    ) -> AckOutcome {
        match self.execute_native(steps, now) {
            Ok((commit, known)) => {
                let was = self.replaced(&commit, client, base);
                let tx = self.commit(commit, Some(key), now);
                AckOutcome::Accepted(Accepted { tx, attrs: known.into_iter().collect(), was })
            }
            Err(body) => {
                let error = std::sync::Arc::new(body);
                let at = self.time(now);
                self.outcomes.record(&key, outcomes::rejected(&error), at);
                let entry = LogEntry::Rejected { at, event: key, error: error.clone() };
                self.pipeline.push(entry);
                AckOutcome::Rejected(ErrorBody::clone(&error))
            }
        }
    }

    fn execute_native(&mut self, steps: &Json, now: i64) -> Result<(Commit, Known), ErrorBody> {
        let count_max = self.limits.steps_per_transaction_max;
        if steps.as_array().is_some_and(|steps| steps.len() > count_max) {
            return Err(too_many_steps("tx-steps", count_max));
        }
        self.settings.may_write()?;
        let mut steps: Vec<TxStep> = parse_steps(steps).map_err(|error| tx_refused(&error))?;
        let known = resolve(&mut steps, self.index.catalog());
        let commit =
            self.execute(&steps, Actor::Client, now).map_err(|error| tx_refused(&error))?;
        Ok((commit, known))
    }

    /// The answer to a transaction that was sent again: as the first time, but for what it replaced.
    fn answer_again(&self, first: Outcome, steps: &Json) -> AckOutcome {
        match first {
            Outcome::Rejected(error) => AckOutcome::Rejected(ErrorBody::clone(&error)),
            Outcome::Accepted(tx) => {
                let mut steps = parse_steps(steps).unwrap_or_default();
                let attrs = resolve(&mut steps, self.index.catalog()).into_iter().collect();
                AckOutcome::Accepted(Accepted { tx, attrs, was: Vec::new() })
            }
        }
    }

    /// The values that a commit replaces and that others wrote after the position on which its client based
    /// it. The commit is applied and has no position yet.
    fn replaced(&self, commit: &Commit, client: Uuid, base: Option<TxId>) -> Vec<Replaced> {
        let Some(base) = base.filter(|base| *base < self.position) else { return Vec::new() };
        let changed = self.native.tail.changed_by_others(client, base, self.position.next());
        if changed.is_empty() {
            return Vec::new();
        }
        let mut was: Vec<Replaced> = Vec::new();
        for fact in commit.facts() {
            let is_first =
                !was.iter().any(|known| known.entity == fact.entity && known.attr == fact.attr);
            if is_first && changed.contains(&(fact.entity, fact.attr)) {
                let value = fact.old.as_ref().map(|old| old.0.clone());
                was.push(Replaced { entity: fact.entity, attr: fact.attr, value });
            }
        }
        was
    }
}

impl EventKey {
    /// Names a transaction by its number among those of a native client.
    pub(crate) fn numbered(client: Uuid, seq: u64) -> Self {
        let user = Some(format!("{CLIENT}{}", client.hyphenated()));
        Self { user, event: EventId::new(seq.to_string()) }
    }

    /// The client and number of a transaction that [`Self::numbered`] names.
    pub(crate) fn number(&self) -> Option<(Uuid, u64)> {
        let client = self.user.as_deref()?.strip_prefix(CLIENT)?;
        Some((Uuid::parse_str(client).ok()?, self.event.as_str().parse().ok()?))
    }
}

/// Before the id of a native client, where users' ids stand otherwise: these are UUIDs.
const CLIENT: &str = "client:";
