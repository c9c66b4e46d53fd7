//! What clients show.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use tricedb_core::id::TxId;
use tricedb_sync::{PendingState, PendingTransaction, QueryResultSnapshot};
use uuid::Uuid;

use super::transactions::{Fate, changes_title, tag_of};
use super::{Judge, plain_key};
use crate::violation::{Violation, hold};

/// What one process of a client has shown so far.
#[derive(Debug, Default)]
pub(super) struct ClientView {
    /// By query, the version of the server's state that was shown last.
    matched: BTreeMap<usize, usize>,
    /// By query and to-do, where the title shown last was committed.
    seen: BTreeMap<(usize, Uuid), TxId>,
    /// By to-do, where the client's own last title was committed, as it was told.
    floors: BTreeMap<Uuid, TxId>,
    /// By query, the claimed position shown last.
    claimed: BTreeMap<usize, TxId>,
    /// By query, the position of a kept result from before it was watched. Until the server answers, it is
    /// shown with the newest facts that the client has, which is no state that the server ever had.
    kept: BTreeMap<usize, TxId>,
    /// By query, the rows shown last of one that has a limit.
    rows: BTreeMap<usize, Vec<Json>>,
}

impl ClientView {
    pub(super) fn raise(&mut self, todo: Uuid, position: TxId) {
        let floor = self.floors.entry(todo).or_default();
        *floor = (*floor).max(position);
    }

    /// The process died; what it had shown and not stored may be seen later again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// All objects with an id and a title.
fn titles(json: &Json, found: &mut Vec<(Uuid, u32)>) {
    match json {
        Json::Object(object) => {
            let id = object.get("id").and_then(Json::as_str).and_then(|id| id.parse().ok());
            if let (Some(id), Some(tag)) = (id, object.get("title").and_then(tag_of)) {
                found.push((id, tag));
            }
            object.values().for_each(|inner| titles(inner, found));
        }
        Json::Array(items) => items.iter().for_each(|inner| titles(inner, found)),
        _ => {}
    }
}

impl Judge {
    /// A client begins to watch a query of which it had kept a result of this position.
    pub(crate) fn begins(&mut self, client: usize, query: usize, kept: TxId) {
        self.views[client].kept.insert(query, kept);
    }

    /// A client shows a result.
    pub(crate) fn shows(
        &mut self,
        client: usize,
        query: usize,
        result: &QueryResultSnapshot,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        self.coverage.results += 1;
        self.whole(client, query, result)?;
        self.titles_are_right(client, query, result.data(), pending)?;
        let position = result.position();
        let claimed = self.views[client].claimed.entry(query).or_default();
        hold!(
            position >= *claimed,
            Order,
            "client {client} went from {claimed} back to {position} in query {query}"
        );
        *claimed = position;
        let waits = pending.iter().any(|p| p.state != PendingState::Rejected);
        let is_kept = self.views[client].kept.get(&query).is_some_and(|kept| position <= *kept);
        if !waits && !is_kept && result.is_complete() {
            self.matches(client, query, result.data())?;
        }
        Ok(())
    }

    /// What is always written together is always shown together.
    fn whole(
        &self,
        client: usize,
        query: usize,
        result: &QueryResultSnapshot,
    ) -> Result<(), Violation> {
        if let [a, b] = result.rows("twins") {
            hold!(
                a["value"] == b["value"],
                Atomic,
                "client {client} shows half of a transaction in query {query}: twins {} and {}",
                a["value"],
                b["value"]
            );
        }
        let accounts = result.rows("accounts");
        if result.is_complete() && accounts.len() == 4 {
            let sum: i64 = accounts.iter().filter_map(|row| row["balance"].as_i64()).sum();
            hold!(
                sum == 400,
                Atomic,
                "client {client} shows half of a transfer in query {query}: the sum is {sum}"
            );
        }
        Ok(())
    }

    fn titles_are_right(
        &mut self,
        client: usize,
        query: usize,
        data: &Json,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        let mut shown = Vec::new();
        titles(data, &mut shown);
        for (todo, tag) in shown {
            let author = self.titles.get(&tag).copied();
            hold!(author.is_some(), Sanity, "client {client} shows w{tag}, which nobody wrote");
            let Some(author) = author else { continue };
            self.own_latest(client, query, todo, tag, pending)?;
            let own = author.transaction.map(|tx| &self.transactions[tx.0]).filter(|t| {
                t.client == client
                    && pending
                        .iter()
                        .any(|p| p.state != PendingState::Rejected && p.id.as_str() == t.name)
            });
            if own.is_some() {
                continue;
            }
            if let Some(transaction) = author.transaction.map(|tx| &self.transactions[tx.0]) {
                hold!(
                    transaction.client != client || transaction.fate != Fate::Rejected,
                    Rollback,
                    "client {client} shows w{tag} in query {query}, which was rejected"
                );
            }
            let Some(position) = author.committed else {
                hold!(
                    false,
                    Durable,
                    "client {client} shows w{tag} in query {query}, which is not in the log"
                );
                continue;
            };
            let view = &mut self.views[client];
            let floor = view.floors.get(&todo).copied().unwrap_or_default();
            hold!(
                position >= floor,
                OwnWrites,
                "client {client} shows w{tag} of {position} in query {query} after its own title of \
                 {floor}"
            );
            let seen = view.seen.entry((query, todo)).or_default();
            hold!(
                position >= *seen,
                Order,
                "client {client} shows w{tag} of {position} in query {query} after one of {seen}"
            );
            *seen = position;
        }
        Ok(())
    }

    /// While the client's last word on a title is under way, it is what is shown.
    fn own_latest(
        &self,
        client: usize,
        query: usize,
        todo: Uuid,
        tag: u32,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        let last = pending
            .iter()
            .filter(|p| matches!(p.state, PendingState::Queued | PendingState::Sent))
            .rfind(|p| changes_title(&p.operations, todo));
        let Some(tx) = last.and_then(|p| self.wire.get(&plain_key(p.id.as_str()))) else {
            return Ok(());
        };
        if let Some((_, own)) = self.transactions[tx.0].sure.filter(|(of, _)| *of == todo) {
            hold!(
                own == tag,
                OwnWrites,
                "client {client} wrote w{own} and shows w{tag} in query {query}"
            );
        }
        Ok(())
    }

    /// With nothing under way, a result is the server's at one position, and never an earlier one.
    fn matches(&mut self, client: usize, query: usize, data: &Json) -> Result<(), Violation> {
        let from = self.views[client].matched.get(&query).copied().unwrap_or(0);
        match self.history.find(query, from, data) {
            Some(version) => {
                self.coverage.results_matched += 1;
                self.views[client].matched.insert(query, version);
                self.note_refill(client, query, data);
                Ok(())
            }
            None => {
                let newest = self.history.newest();
                let now = self.history.shown(query, newest);
                let now = now.as_ref().as_ref().map(|shown| shown.data.clone());
                hold!(
                    self.history.find(query, 0, data).is_some(),
                    Atomic,
                    "client {client} shows in query {query} what the server never had: {data}; \
                     it has {now:?}"
                );
                hold!(
                    false,
                    Order,
                    "client {client} shows in query {query} what the server had before what was \
                     shown already: {data}; it has {now:?}"
                );
                Ok(())
            }
        }
    }

    /// A page that stays full when a row leaves it was filled from behind.
    fn note_refill(&mut self, client: usize, query: usize, data: &Json) {
        let limit = self.history.queries()[query].json()["todos"]["$"]["limit"].as_u64();
        let (Some(limit), Some(rows)) = (limit, data["todos"].as_array()) else { return };
        let ids: Vec<Json> = rows.iter().map(|row| row["id"].clone()).collect();
        let is_full = ids.len() as u64 == limit;
        let before = self.views[client].rows.insert(query, ids.clone()).unwrap_or_default();
        let lost = before.iter().any(|id| !ids.contains(id));
        if is_full && before.len() as u64 == limit && lost {
            self.coverage.refills += 1;
        }
    }

    /// A query of a client begins anew, or the client learnt of a rejection: nothing taken back may be left.
    pub(crate) fn still_shows(
        &mut self,
        client: usize,
        query: usize,
        result: &QueryResultSnapshot,
        pending: &[PendingTransaction],
    ) -> Result<(), Violation> {
        self.titles_are_right(client, query, result.data(), pending)
    }
}
